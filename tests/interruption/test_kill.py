"""kill -9 at random moments of training and of saving: nothing is lost but the current epoch."""

import json
import os
import pathlib

import numpy as np
import pytest

from tests.forked import Program
from tfgates.callbacks.resume import epochs_in, path_of

WORKER = pathlib.Path(__file__).with_name("killed_worker.py")
ROOT = pathlib.Path(__file__).parents[2]


class Tries:
    """The process that forks the tries."""

    def __enter__(self):
        self.process = Program([WORKER], cwd=ROOT, env={**os.environ, "PYTHONPATH": str(ROOT)}, talks=True)
        return self

    def __exit__(self, *args):
        self.process.stdin.close()
        self.process.stdout.close()
        self.process.wait()

    def run(self, **request):
        """The exit code of a try: 0 at the end of the run, -9 when it was killed."""
        self.process.stdin.write(json.dumps(request) + "\n")
        self.process.stdin.flush()
        return json.loads(self.process.stdout.readline())


def check_whole(folder):
    """Every file under its final name can be read to the end."""
    for epoch in epochs_in(folder):
        with np.load(path_of(folder, epoch)) as saved:
            for name in saved.files:
                assert saved[name] is not None


def end_of(folder):
    with np.load(folder / "end.npz") as saved:
        return [saved[name] for name in saved.files]


def kill_and_go_on(tries, method, tmp_path, epochs, kills, first_seed):
    """Kills runs of a method until there were `kills`; each must end as the one that was left alone."""
    alone = tmp_path / "alone"
    log = tmp_path / "log"
    assert tries.run(method=method, folder=str(alone), epochs=epochs, seed=None, log=str(log)) == 0
    expected = end_of(alone)
    done, seed = 0, first_seed
    while done < kills:
        folder, log = tmp_path / f"run-{seed}", tmp_path / f"log-{seed}"
        folder.mkdir()
        for _ in range(3 * epochs):
            saved = max(epochs_in(folder), default=0)
            began = len(log.read_text().split()) if log.exists() else 0
            again = seed if done < kills else None
            code = tries.run(method=method, folder=str(folder), epochs=epochs, seed=again, log=str(log))
            assert code in (0, -9)
            check_whole(folder)
            new = log.read_text().split()[began:] if log.exists() else []
            if new:
                # It went on right behind the last state that was saved.
                assert int(new[0]) == saved
            # What began before the current epoch is saved.
            assert max(epochs_in(folder), default=0) >= (int(new[-1]) if new else saved)
            seed += 1
            done += code == -9
            if code == 0:
                break
        else:
            code = tries.run(method=method, folder=str(folder), epochs=epochs, seed=None, log=str(log))
            assert code == 0
        for a, b in zip(expected, end_of(folder), strict=True):
            np.testing.assert_array_equal(b, a)
        assert not list(folder.glob(".epoch-*")), "what a kill left behind is removed"
    return done


def test_killed_runs_end_as_if_nothing_had_happened(tmp_path):
    with Tries() as tries:
        assert kill_and_go_on(tries, "disarm_budget", tmp_path, epochs=2, kills=3, first_seed=0) == 3


@pytest.mark.slow
def test_fifty_kills_around_rebuilds(tmp_path):
    with Tries() as tries:
        kills = kill_and_go_on(tries, "shrinking", tmp_path, epochs=6, kills=50, first_seed=0)
    print(f"\nkill -9 of a training that shrinks: {kills} kills")
    assert kills >= 50


@pytest.mark.slow
def test_fifty_kills(tmp_path):
    methods = ("hard_concrete_budget", "disarm_budget", "generator_budget", "sparse_scaling", "tied")
    kills = {}
    with Tries() as tries:
        for number, method in enumerate(methods):
            folder = tmp_path / method
            folder.mkdir()
            kills[method] = kill_and_go_on(tries, method, folder, epochs=6, kills=11, first_seed=100 * number)
    print(f"\nkill -9: {sum(kills.values())} kills, {kills}")
    assert sum(kills.values()) >= 50
