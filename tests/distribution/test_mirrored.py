"""Two replicas of `tf.distribute.MirroredStrategy` against one device: the same global batches."""

import functools
import json
import pathlib

import numpy as np
import pytest

from tests import forked
from tfgates.testing import METHODS

WORKER = pathlib.Path(__file__).with_name("mirrored_worker.py")
ROOT = pathlib.Path(__file__).parents[2]

# What CI runs; the others need as long again each.
QUICK = ("hard_concrete_budget", "disarm_budget", "taught", "taught_plain")
SLOW = (
    "frozen",
    "sparse_scaling",
    "scaling",
    "hard_concrete",
    "hard_concrete_l0",
    "hard_concrete_penalty",
    "disarm",
    "arm",
    "ar",
    "generator",
    "generator_budget",
    "monitor",
    "shrinking",
)
# Every other gate of the list.
SLOW += tuple(name for name, each in METHODS.items() if name not in QUICK + SLOW and each.generator is None)


@functools.cache
def results(*cases):
    """What `mirrored_worker.py` found for the cases."""
    done = forked.run([WORKER, *cases], cwd=ROOT)
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads(done.stdout.splitlines()[-1])


def check(case, found):
    single, mirrored = found[case]["single"], found[case]["mirrored"]
    for step, (one, two) in enumerate(zip(single["weights"], mirrored["weights"], strict=True)):
        for a, b in zip(one, two, strict=True):
            # With SGD the first step is the gradient itself.
            np.testing.assert_allclose(b, a, atol=1e-5, rtol=1e-5, err_msg=f"{case}, step {step}")
    # A control: the steps did something, so that equal weights say something.
    assert max(np.max(np.abs(np.subtract(a, b))) for a, b in zip(*single["weights"][1:3], strict=True)) > 1e-3
    for one, two in zip(single["logs"], mirrored["logs"], strict=True):
        assert one.keys() == two.keys()
        for name, value in one.items():
            np.testing.assert_allclose(two[name], value, rtol=1e-5, atol=1e-5, err_msg=f"{case}, {name}")
    for name, value in single["evaluated"].items():
        np.testing.assert_allclose(mirrored["evaluated"][name], value, rtol=1e-5, atol=1e-5, err_msg=name)
    if "multipliers" in single:
        (expected,) = single["multipliers"]
        assert np.all(np.array(expected) > 0.0)
        first, second = mirrored["multipliers"]
        assert first == second
        np.testing.assert_allclose(first, expected, rtol=1e-5)
        assert mirrored["steps"] == 2 * single["steps"]
    assert mirrored.get("seeds") == (2 * single["seeds"] if "seeds" in single else None)


@pytest.mark.parametrize("case", QUICK)
def test_two_replicas_do_what_one_device_does(case):
    check(case, results(*QUICK))


@pytest.mark.slow
@pytest.mark.parametrize("case", SLOW)
def test_every_method_on_two_replicas_does_what_it_does_on_one_device(case):
    check(case, results(*SLOW))


def test_draws_per_example_are_independent_on_each_replica():
    draws = {name: np.array(values) for name, values in results(*QUICK)["draws"].items()}
    first, second = draws["example"]
    assert first.shape == (4, 6)
    # A hard concrete gate is exactly 0 or 1 in part of its draws, so some entries agree.
    assert np.mean(first != second) > 0.5
    np.testing.assert_array_equal(*draws["batch"])
