"""What of the tests runs unchanged on each backend, and what does not, with the reason.

`KERAS_BACKEND=jax pytest -m "backends and not slow"` runs the files below, and so with torch; with TensorFlow they are
a part of the whole. `python -m tests.backends.suite` prints the list.
"""

import collections
import pathlib

ROOT = pathlib.Path(__file__).resolve().parents[2]

# Folders and files, by what they are about.
FILES = {
    "gates": ["gates"],
    "layers": ["layers"],
    "anatomy": ["anatomy"],
    "costs": ["costs"],
    "selection": ["selection"],
    "graph": ["graph"],
    "pruning": ["pruning"],
    "shrinking": ["shrinking"],
    "importance": ["importance"],
    "reconstruction": ["reconstruction"],
    "constraints": ["constraints"],
    "optimizers": ["optimizers"],
    "callbacks": ["callbacks"],
    "compression": ["compression"],
    "training": ["training"],
    "interruption": ["interruption"],
    "programs": ["examples/test_plain_data.py"],
    "tour": ["test_readme.py"],
    "backends": ["backends", "test_backend.py"],
}

# By the beginning of a test's id, below `tests/`: the backends that leave it out, and why.
LEFT_OUT = {}


def is_of_suite(path):
    """Whether a test file belongs to it."""
    place = pathlib.Path(path).resolve()
    if ROOT / "tests" not in place.parents:
        return False
    name = place.relative_to(ROOT / "tests").as_posix()
    return any(name == each or name.startswith(f"{each}/") for some in FILES.values() for each in some)


def imports_tensorflow(path):
    """Whether a file asks for TensorFlow as soon as it is read."""
    lines = pathlib.Path(path).read_text("utf-8").splitlines()
    return any(line.startswith(("import tensorflow", "from tensorflow")) for line in lines)


def reason(name, backend):
    """Why a test, its id below `tests/`, is left out with a backend; an empty string where it is not."""
    for beginning, (backends, why) in LEFT_OUT.items():
        if backend in backends and name.startswith(beginning):
            return why
    return ""


def main():
    for subject, places in FILES.items():
        files = [f for each in places for f in ([ROOT / "tests" / each] if each.endswith(".py") else found(each))]
        of_tensorflow = [file.relative_to(ROOT / "tests").as_posix() for file in files if imports_tensorflow(file)]
        print(f"{subject}: {len(files) - len(of_tensorflow)} files; of TensorFlow alone: {of_tensorflow or 'none'}")
    counted = collections.Counter(why for _, why in LEFT_OUT.values())
    for name, (backends, why) in LEFT_OUT.items():
        print(f"left out with {' and '.join(backends)}: {name}: {why}")
    print(f"{sum(counted.values())} left out, for {len(counted)} reasons")


def found(folder):
    return sorted((ROOT / "tests" / folder).rglob("test_*.py"))


if __name__ == "__main__":
    main()
