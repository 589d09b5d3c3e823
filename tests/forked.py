"""Programs in a process of their own that has not to import TensorFlow first, which would take most of the time.

They are forks of one process that has imported Keras and TensorFlow and computed nothing: each has its own folder,
environment, arguments, devices and exit code, and imports tfgates itself. What must be seen from the very start of the
interpreter, or with another backend, is started by `subprocess`.
"""

import json
import os
import pathlib
import socket
import subprocess
import sys
import tempfile
import time

WORKER = pathlib.Path(__file__).with_name("forked_worker.py")


class Forking:
    """The process that forks, if it runs."""

    process: subprocess.Popen | None = None
    requests: socket.socket

    @classmethod
    def ask(cls, request, streams=()):
        if cls.process is None:
            cls.requests, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
            line = [sys.executable, str(WORKER), str(theirs.fileno())]
            cls.process = subprocess.Popen(line, pass_fds=[theirs.fileno()])
            theirs.close()
        socket.send_fds(cls.requests, [json.dumps(request).encode()], streams)
        answer = cls.requests.recv(1 << 10)
        if not answer:
            raise RuntimeError("The forking process ended without an answer.")
        return json.loads(answer)

    @classmethod
    def close(cls):
        if cls.process is not None:
            cls.requests.close()
            cls.process.wait()
            cls.process = None


class Program:
    """A program that was started, with the part of `subprocess.Popen` that tests use.

    Args:
        line: list of strings, the file of a program, or `"-c"` and its text, and its arguments.
        cwd, env: folder and environment; those of this process by default.
        talks: bool, whether it is talked to by `stdin` and `stdout`, and prints errors where this process does.
    """

    def __init__(self, line, cwd=None, env=None, talks=False):
        self.line, self.returncode = list(map(str, line)), None
        request = {"line": self.line, "folder": str(cwd or pathlib.Path.cwd()), "environment": dict(env or os.environ)}
        if talks:
            (read, stdin), (stdout, write) = os.pipe(), os.pipe()
            self.stdin, self.stdout = os.fdopen(stdin, "w"), os.fdopen(stdout)
            self.pid = Forking.ask(request, [read, write, 2])
            os.close(read)
            os.close(write)
            return
        with (
            open(os.devnull) as nothing,
            tempfile.TemporaryFile("w+") as output,
            tempfile.TemporaryFile("w+") as errors,
        ):
            self.pid = Forking.ask(request, [nothing.fileno(), output.fileno(), errors.fileno()])
            self.printed = [os.dup(output.fileno()), os.dup(errors.fileno())]

    def poll(self):
        """Its exit code, negative for that of a signal; None while it runs."""
        if self.returncode is None:
            self.returncode = Forking.ask({"wait": self.pid})
        return self.returncode

    def wait(self, timeout=600):
        end = time.monotonic() + timeout
        while self.poll() is None:
            if time.monotonic() > end:
                os.kill(self.pid, 9)
                raise subprocess.TimeoutExpired(self.line, timeout)
            time.sleep(0.02)
        return self.returncode

    def communicate(self, timeout=600):
        """What it printed and its errors, at its end."""
        self.wait(timeout)
        found = []
        for number in self.printed:
            with os.fdopen(number) as file:
                file.seek(0)
                found.append(file.read())
        return found


def run(line, cwd=None, env=None):
    """Runs a program to its end, as `subprocess.run` with its output as text."""
    program = Program(line, cwd, env)
    output, errors = program.communicate()
    return subprocess.CompletedProcess(program.line, program.returncode, output, errors)
