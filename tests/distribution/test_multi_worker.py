"""Two processes of `tf.distribute.MultiWorkerMirroredStrategy` on the loopback."""

import json
import os
import pathlib
import socket

import numpy as np
import pytest

from tests.forked import Program

WORKER = pathlib.Path(__file__).with_name("multi_worker_worker.py")
ROOT = pathlib.Path(__file__).parents[2]
EPOCHS = 3


def start(arguments, workers=0):
    """Starts the workers, or one process alone."""
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(workers)]
    cluster = {"worker": [f"127.0.0.1:{s.getsockname()[1]}" for s in sockets]}
    for one in sockets:
        one.close()
    processes = []
    for index in range(max(workers, 1)):
        environment = dict(os.environ)
        environment.pop("TF_CONFIG", None)
        if workers:
            task = {"cluster": cluster, "task": {"type": "worker", "index": index}}
            environment["TF_CONFIG"] = json.dumps(task)
        processes.append(Program([WORKER, *arguments], cwd=ROOT, env=environment))
    return processes


def results(processes):
    """What the processes printed; each must end well."""
    found = []
    for process in processes:
        output, errors = process.communicate(timeout=600)
        assert process.returncode == 0, errors[-3000:]
        found.append(json.loads(output.splitlines()[-1]))
    return found


def flat(nested):
    return np.concatenate([np.ravel(np.array(entry, "float64")) for entry in nested])


def compare(alone, together, epochs):
    """Two workers against one device."""
    assert together[0] == together[1]
    assert together[0]["epochs"] == epochs
    assert together[0]["predicted"] == 48
    assert "`steps_per_execution` must be 1 on more than one replica: Keras's loop" in together[0]["refusal"]
    assert alone["refusal"] == ""
    for name in ("weights", "optimizer"):
        np.testing.assert_allclose(flat(together[0][name]), flat(alone[name]), atol=1e-5, err_msg=name)
    np.testing.assert_allclose(together[0]["multipliers"], alone["multipliers"], rtol=1e-5)
    assert alone["multipliers"][0] > 0.0
    for kind in ("history", "evaluated"):
        for name, value in alone[kind].items():
            value = np.array(value)[epochs] if kind == "history" else value
            np.testing.assert_allclose(together[0][kind][name], value, atol=1e-5, err_msg=name)


def killed_and_resumed(gate, tmp_path):
    """What two workers come to of which one was killed in the second epoch; both were restarted."""
    folder = tmp_path / "state"
    first, second = start([gate, EPOCHS, folder, 1], workers=2)
    second.communicate(timeout=600)
    assert second.returncode == -9
    # Without its partner the other cannot go on, and says so.
    _, errors = first.communicate(timeout=600)
    assert first.returncode != 0
    assert "Error" in errors
    return results(start([gate, EPOCHS, folder, -1], workers=2))


def test_two_workers_end_where_one_device_does():
    """Those of which one is killed, and which go on, are slow."""
    one = start(["disarm", 1, "", -1])
    together = results(start(["disarm", 1, "", -1], workers=2))
    (alone,) = results(one)
    compare(alone, together, [0])


@pytest.mark.slow
@pytest.mark.parametrize("gate", ["hard_concrete", "arm", "disarm"])
def test_resuming_is_exact_on_two_workers(gate, tmp_path):
    (alone,) = results(start([gate, EPOCHS, "", -1]))
    together = results(start([gate, EPOCHS, "", -1], workers=2))
    compare(alone, together, [0, 1, 2])
    resumed = killed_and_resumed(gate, tmp_path)
    compare(alone, resumed, [1, 2])
    for name in ("weights", "optimizer", "multipliers", "evaluated"):
        assert resumed[0][name] == resumed[1][name] == together[0][name], name
