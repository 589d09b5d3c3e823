"""What Keras cannot do on several replicas is refused with a message."""

import json
import pathlib

from tests import forked

WORKER = pathlib.Path(__file__).with_name("limits_worker.py")


def test_what_keras_cannot_do_is_refused_with_a_message():
    done = forked.run([WORKER], cwd=pathlib.Path(__file__).parents[2])
    assert done.returncode == 0, done.stderr[-3000:]
    messages = json.loads(done.stdout.splitlines()[-1])
    where = "under MirroredStrategy with 2 replicas"
    for case in ("accumulation", "accumulation with a budget", "accumulation on one replica"):
        assert "`gradient_accumulation_steps` must be None under a mirrored strategy" in messages[case]
        assert messages[case].endswith("Received: gradient_accumulation_steps=2 in SGD under MirroredStrategy")
    for case in ("overwriting", "overwriting, scaled"):
        assert messages[case].endswith("Received: ema_overwrite_frequency=2 in SGD under MirroredStrategy")
    assert "`steps_per_execution` must be 1 on more than one replica" in messages["steps"]
    assert "tf.distribute.ReductionToOneDevice()" in messages["steps"]
    assert messages["steps"].endswith(f"Received: steps_per_execution=2 {where}")
    assert "`jit_compile` must be False where replicas are CPUs" in messages["jit"]
    assert "Received: jit_compile=True under MirroredStrategy on [" in messages["jit"]
    allowed = {case: message for case, message in messages.items() if case.startswith("allowed")}
    assert allowed
    assert not any(allowed.values())
