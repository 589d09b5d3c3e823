"""Programs that are forked are like programs that are started."""

import os
import signal

import pytest

from tests import forked

# What it prints, computes and leaves behind.
PROGRAM = """
import os, sys
import keras, numpy as np, tensorflow as tf
tf.config.set_logical_device_configuration(
    tf.config.list_physical_devices("CPU")[0], [tf.config.LogicalDeviceConfiguration()] * 2
)
print(sys.argv[1:], os.getcwd(), os.environ["MINE"], "tfgates" in sys.modules, __name__)
import tfgates
print(len(tf.config.list_logical_devices("CPU")), float(keras.ops.sum(tf.function(lambda x: x + x)(np.ones(3)))))
sys.exit("wrong" if sys.argv[1] == "ends" else 3)
"""


@pytest.mark.parametrize("name, code, error", [("ends", 1, "wrong\n"), ("other", 3, "")])
def test_a_program(name, code, error, tmp_path):
    (tmp_path / "program.py").write_text(PROGRAM)
    for line in (["-c", PROGRAM, name], [tmp_path / "program.py", name]):
        done = forked.run(line, cwd=tmp_path, env={**os.environ, "MINE": "yes"})
        assert done.stdout.splitlines() == [f"['{name}'] {tmp_path} yes False __main__", "2 6.0"]
        assert (done.returncode, done.stderr.splitlines()[-1:]) == (code, error.splitlines())


def test_an_error_a_kill_and_a_talk():
    done = forked.run(["-c", "def f():\n    raise KeyError('here')\nf()"])
    assert done.returncode == 1 and done.stderr.endswith("KeyError: 'here'\n")
    program = forked.Program(
        ["-c", "import sys\nfor line in sys.stdin: print(line * 2, end='', flush=True)"], talks=True
    )
    program.stdin.write("once\n")
    program.stdin.flush()
    assert [program.stdout.readline() for _ in range(2)] == ["once\n"] * 2
    assert program.poll() is None
    os.kill(program.pid, signal.SIGKILL)
    assert program.wait() == -9
    program.stdin.close()
    program.stdout.close()
