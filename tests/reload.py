"""Loads saved models in a fresh process: one that did not build them.

The process is started once and then serves all tests, because importing TensorFlow takes most of
the time. It imports tfgates, or, with `plain=True`, refuses to, and has nothing else in common
with the process that saved the model.
"""

import json
import pathlib

import numpy as np

from tests.forked import Program

WORKER = pathlib.Path(__file__).with_name("reload_worker.py")


class ReloadProcess:
    """The processes in use, by whether tfgates is kept out of them."""

    running: dict[bool, Program] = {}

    @classmethod
    def ask(cls, request, plain):
        process = cls.running.get(plain)
        if process is None or process.poll() is not None:
            process = cls.running[plain] = Program([WORKER, *(["--plain"] if plain else [])], talks=True)
        process.stdin.write(json.dumps(request) + "\n")
        process.stdin.flush()
        line = process.stdout.readline()
        if not line:
            raise RuntimeError("The reloading process ended without an answer.")
        answer = json.loads(line)
        if "error" in answer:
            raise RuntimeError(f"In the fresh process: {answer['error']}")
        return answer

    @classmethod
    def close(cls):
        for process in cls.running.values():
            process.stdin.close()
            process.stdout.close()
            process.wait()
        cls.running.clear()


def predict_in_fresh_process(path, inputs, folder, plain=False):
    """Outputs for `inputs` of the `.keras` file or SavedModel at `path`, loaded elsewhere.

    Args:
        path: a `.keras` file, or the folder of a SavedModel.
        inputs: array, or list of arrays.
        folder: an existing folder for the arrays that pass between the processes.
        plain: bool, whether the process must do without tfgates.

    Returns:
        A list with one array per output.
    """
    inputs = inputs if isinstance(inputs, list | tuple) else [inputs]
    given, made = pathlib.Path(folder) / "given.npz", pathlib.Path(folder) / "made.npz"
    np.savez(given, *inputs)
    ReloadProcess.ask({"path": str(path), "given": str(given), "made": str(made)}, plain)
    with np.load(made) as arrays:
        return [arrays[f"arr_{i}"] for i in range(len(arrays.files))]
