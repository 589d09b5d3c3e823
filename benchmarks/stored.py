"""Results as data: what a benchmark measured, with the command and the versions that made it."""

import json
import os
import pathlib
import platform
import shlex
import shutil
import subprocess
import sys

import keras

import tfgates
from tfgates.files import write_whole

ROOT = pathlib.Path(__file__).resolve().parents[1]


def command():
    """The command line of this process, as one types it in the repository, without `--out`."""
    script = pathlib.Path(sys.argv[0]).resolve()
    shown = script.relative_to(ROOT) if script.is_relative_to(ROOT) else script.name
    arguments = [argument for argument in sys.argv[1:] if not argument.startswith("--out=")]
    backend = keras.backend.backend()
    before = [] if backend == "tensorflow" else [f"KERAS_BACKEND={backend}"]
    return shlex.join([*before, "python", str(shown), *arguments])


def commit(root=ROOT):
    """Short name of the commit that a checkout stands at, with a + where files differ from it; None without git."""
    if shutil.which("git") is None:
        return None
    done = subprocess.run(
        ["git", "-C", str(root), "describe", "--always", "--dirty=+", "--exclude=*"],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    return done.stdout.strip() or None


def versions():
    """What the figures may depend on."""
    found = {"tfgates": tfgates.__version__, "commit": commit(), "keras": keras.__version__}
    backend = keras.backend.backend()
    found[backend] = sys.modules[backend].__version__
    return {**found, "python": platform.python_version(), "cores": os.cpu_count()}


class Kept:
    """Runs that are kept in one file by name, each as soon as it has ended, so that none is done twice.

    Args:
        path: the file; it need not be there yet.
    """

    def __init__(self, path):
        self.path = pathlib.Path(path)
        self.path.parent.mkdir(parents=True, exist_ok=True)

    def runs(self):
        """All that is there, by name."""
        return json.loads(self.path.read_text("utf-8")) if self.path.exists() else {}

    def grouped(self):
        """Lists of the runs whose names differ in their last word alone, the seed."""
        together: dict = {}
        for name, found in self.runs().items():
            together.setdefault(name.rpartition(" ")[0], []).append(found)
        return together

    def keep(self, name, found):
        """Writes a run beside the others, and prints it."""
        print(name, found, flush=True)
        text = json.dumps({**self.runs(), name: found}, indent=1)
        write_whole(self.path, lambda temporary: temporary.write_text(text, "utf-8"))


def store(path, rows, **more):
    """Writes `rows`, and what else is given, with the command and the versions; the file appears whole.

    Args:
        path: the file, or None: nothing is written.
        rows: list of dicts.
        **more: other entries of the file.
    """
    if path is None:
        return
    text = json.dumps({"command": command(), "versions": versions(), **more, "rows": rows}, indent=1)
    pathlib.Path(path).parent.mkdir(parents=True, exist_ok=True)
    write_whole(pathlib.Path(path), lambda temporary: temporary.write_text(text + "\n", "utf-8"))
    print(f"Written: {path}")
