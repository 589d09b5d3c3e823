"""The other side of `tests/forked.py`: has imported what takes long, computed nothing, and forks for each program.

Called with the number of a socket. A request is a JSON object: `line`, `folder` and `environment` of a program, with
its three standard streams, or `wait`, the number of a process.
"""

import atexit
import io
import json
import os
import random
import runpy
import socket
import sys
import traceback
import types

import keras
import numpy as np

BACKEND = keras.backend.backend()
if BACKEND == "tensorflow":
    import tensorflow as tf  # noqa: F401 (it takes longest to import)


def run(line, folder, environment, streams):
    """Runs a program as the interpreter would; returns its exit code."""
    for number, stream in enumerate(streams):
        os.dup2(stream, number)
    sys.stdin, sys.stdout, sys.stderr = (
        io.TextIOWrapper(os.fdopen(number, mode, closefd=False), line_buffering=number == 2)
        for number, mode in enumerate(("rb", "wb", "wb"))
    )
    os.chdir(folder)
    os.environ.clear()
    os.environ.update(environment)
    random.seed()
    np.random.seed()
    # The number of threads, warnings and the like are asked for when something is computed.
    sys.path[0] = "" if line[0] == "-c" else os.path.dirname(os.path.abspath(line[0]))
    sys.path[1:1] = [
        path for path in environment.get("PYTHONPATH", "").split(os.pathsep) if path not in ("", *sys.path)
    ]
    sys.argv[:] = ["-c", *line[2:]] if line[0] == "-c" else line
    code = 0
    try:
        if line[0] == "-c":
            main = sys.modules["__main__"] = types.ModuleType("__main__")
            exec(compile(line[1], "<string>", "exec"), main.__dict__)
        else:
            runpy.run_path(line[0], run_name="__main__")
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else int(end.code is not None)
        if not isinstance(end.code, int | None):
            print(end.code, file=sys.stderr)
    except BaseException:
        traceback.print_exc()
        code = 1
    atexit._run_exitfuncs()
    sys.stdout.flush()
    sys.stderr.flush()
    return code


def serve(requests):
    while True:
        message, streams, _, _ = socket.recv_fds(requests, 1 << 20, 3)
        if not message:
            return
        request = json.loads(message)
        if "wait" in request:
            process, status, _ = os.wait4(request["wait"], os.WNOHANG)
            answer = os.waitstatus_to_exitcode(status) if process else None
        else:
            answer = os.fork()
            if answer == 0:
                requests.close()
                os._exit(run(streams=streams, **request))
            for stream in streams:
                os.close(stream)
        requests.send(json.dumps(answer).encode())


if __name__ == "__main__":
    serve(socket.socket(fileno=int(sys.argv[1])))
