"""Settings that every test shares."""

import gc
import os

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
# One process per core runs tests; more threads than that would only get into each other's way.
os.environ.setdefault("TF_NUM_INTRAOP_THREADS", "1")
# Only with it can a CPU convolve with the channels first; on some processors TensorFlow leaves it off by itself.
os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "1")

import keras
import pytest

from tests.backends import suite
from tests.calculus import detach_in_tests
from tests.drawn import initial_weights_by_numpy
from tests.forked import Forking
from tests.matrices import pytest_terminal_summary  # noqa: F401 (pytest finds hooks here)
from tests.reload import ReloadProcess

BACKEND = keras.backend.backend()
if BACKEND == "torch":
    detach_in_tests()
elif BACKEND == "jax":
    initial_weights_by_numpy()


def pytest_ignore_collect(collection_path, config):
    """On other backends than TensorFlow, tests of TensorFlow are not even read."""
    if BACKEND != "tensorflow" and collection_path.suffix == ".py" and collection_path.name.startswith("test_"):
        wanted = suite.is_of_suite(collection_path) or "backends" not in config.option.markexpr
        return True if not wanted or suite.imports_tensorflow(collection_path) else None
    return None


def pytest_collection_modifyitems(items):
    """Marks what runs on every backend; what does not is skipped there, with the reason."""
    for item in items:
        if suite.is_of_suite(item.path):
            item.add_marker(pytest.mark.backends)
        why = suite.reason(item.nodeid.removeprefix("tests/"), BACKEND)
        if why:
            item.add_marker(pytest.mark.skip(reason=why))


@pytest.fixture(autouse=True)
def clean_state():
    """Every test starts from the same seed and names and leaves the dtype policy as it was."""
    policy = keras.config.dtype_policy()
    keras.utils.clear_session()
    # What is still alive stays out of later garbage collections, of which Keras runs one here.
    gc.freeze()
    keras.utils.set_random_seed(1)
    yield
    keras.config.set_dtype_policy(policy)


@pytest.fixture(scope="session", autouse=True)
def close_shared_processes():
    """Ends the processes that tests share, if one has started them."""
    yield
    ReloadProcess.close()
    Forking.close()


@pytest.fixture
def costs_of_the_page():
    """What a page of the documents has counted is not counted in later tests."""
    import tfgates

    yield
    for cost in tfgates.costs.registered_costs():
        if not type(cost).__module__.startswith("tfgates."):
            tfgates.costs.unregister_cost(cost.name)
