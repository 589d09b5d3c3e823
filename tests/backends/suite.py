"""What of the tests runs unchanged on each backend, and what does not, with the reason.

`KERAS_BACKEND=jax pytest -m "backends and not slow"` runs the files below, and so with torch; with TensorFlow they are
a part of the whole. `python -m tests.backends.suite` prints the list.
"""

import collections
import pathlib
import re

ROOT = pathlib.Path(__file__).resolve().parents[2]

# Folders and files, by what they are about.
FILES = {
    "gates": ["gates"],
    "layers": ["layers"],
    "anatomy": ["anatomy"],
    "costs": ["costs"],
    "selection": ["selection"],
    "graph": ["graph"],
    "gating": ["gating"],
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
LEFT_OUT = {
    "graph/test_as_operators.py::test_the_layer_is_opened_and_what_is_in_it_pruned[Experts]": (
        ("torch",),
        "Keras tries open sizes as one number with PyTorch, so that the layer stays whole",
    ),
    "layers/test_operator.py::test_in_a_model_and_its_file": (
        ("torch",),
        "Keras tries open sizes as one number with PyTorch, and no reshape to two of them passes",
    ),
    "graph/test_operators.py::test_operators_that_are_followed[reversed_channels]": (
        ("torch",),
        "PyTorch slices with no negative step",
    ),
    "graph/test_tying.py::test_what_files_hold_of_a_table_that_an_operator_is_given": (
        ("torch", "jax"),
        "Keras cannot save a variable that an operator is given, and says so, but with TensorFlow",
    ),
    **dict.fromkeys(
        (
            "training/test_gated_model.py::test_gradients_are_those_of_the_enumeration",
            "training/test_gated_model.py::test_the_factor_of_the_reference_code_is_found_out",
            "training/test_gated_model.py::test_gradient_per_example",
            "training/test_gated_model.py::test_hard_concrete_and_bernoulli_gates_mix",
            "training/test_gated_model.py::test_shared_noise_is_one_draw",
        ),
        (("torch",), "Keras refuses `steps_per_execution` with PyTorch, without which so many steps take minutes"),
    ),
    **dict.fromkeys(
        (
            "training/test_gated_model.py::test_kinds_of_model_train[arm-compiled]",
            "optimizers/test_gated_optimizer.py::test_the_rate_that_was_set_is_the_one_that_is_used[{'jit_compile'",
        ),
        (
            ("torch",),
            "`jit_compile` is not promised with PyTorch: TorchDynamo warns of what it reads itself",
        ),
    ),
    "training/test_ahead.py::test_keras_alone_traces_twice": (
        ("torch", "jax"),
        "Keras traces a step once with JAX and never with PyTorch",
    ),
    "training/test_ahead.py::test_one_trace": (("torch",), "Keras traces a step once with JAX and never with PyTorch"),
    **dict.fromkeys(
        (
            "callbacks/test_sparse_scaling.py::test_exactly_the_factors_follow_apg[compile_arguments0]",
            "callbacks/test_sparse_scaling.py::test_stops_at_a_wanted_count[fine_tune-3]",
        ),
        (("torch",), "Keras refuses `steps_per_execution` with PyTorch"),
    ),
    **dict.fromkeys(
        (
            "graph/test_randomness.py::test_noise_without_seeds_is_refused_at_gating",
            "graph/test_randomness.py::test_in_a_nested_model",
        ),
        (("jax",), "Keras itself refuses a layer with noise without a seed with JAX"),
    ),
    "graph/test_phase.py::test_a_mode_known_only_later_is_refused": (
        ("jax",),
        "Keras cannot make such a model with JAX: a layer that is told `training` by a tensor is not traced",
    ),
    "shrinking/test_shrink.py::test_every_slot_is_cut_as_its_variable[loss_scale]": (
        ("jax",),
        "Keras's LossScaleOptimizer takes no step by itself with JAX, in `fit` alone",
    ),
    "gates/test_dues.py::test_no_false_alarm_in_fit[steps_per_execution]": (
        ("torch",),
        "Keras refuses `steps_per_execution` with PyTorch",
    ),
    "shrinking/test_parts.py::test_several_steps_at_once_shrink_as_steps_one_by_one": (
        ("torch",),
        "Keras refuses `steps_per_execution` with PyTorch",
    ),
}


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


def files_of(place):
    """The files with tests of a place of `FILES`."""
    path = ROOT / "tests" / place
    return [path] if path.suffix else sorted(path.rglob("test_*.py"))


def skips(path):
    """The reasons that a file gives where it asks for TensorFlow, without which it skips."""
    return re.findall(r'= tensorflow\("([^"]+)"\)', path.read_text("utf-8"))


def main():
    for subject, places in FILES.items():
        files = [file for each in places for file in files_of(each)]
        print(f"{subject}: {len(files)} files")
        for file in files:
            for why, times in collections.Counter(skips(file)).items():
                print(f"  of TensorFlow alone: {times} in {file.relative_to(ROOT / 'tests')}: {why}")
    for name, (backends, why) in LEFT_OUT.items():
        print(f"left out with {' and '.join(backends)}: {name}: {why}")
    print(f"{len(LEFT_OUT)} left out, for {len({why for _, why in LEFT_OUT.values()})} reasons")


if __name__ == "__main__":
    main()
