"""Dense layers whose kernels are stacked in one weight."""

import keras
import numpy as np
import pytest

from tests.layer_test import run_layer_test
from tfgates.layers import StackedDense


@pytest.mark.slow
def test_the_layer():
    arguments = {
        "equation": "bsd,edf->besf",
        "kernel_shape": (3, 4, 6),
        "kernel_regularizer": keras.regularizers.L2(0.1),
        "kernel_constraint": "max_norm",
    }
    layer = run_layer_test(StackedDense, arguments, (5, 4), (3, 5, 6), 1, random=False)
    assert len(layer.losses) == 1 and isinstance(layer.kernel_constraint, keras.constraints.MaxNorm)


def test_each_kernel_by_itself():
    generator = np.random.default_rng(0)
    x = generator.normal(size=(2, 3, 4)).astype("float32")
    layer = StackedDense("bed,edf->bef", (3, 4, 6))
    found = np.array(layer(x))
    for i, kernel in enumerate(np.array(layer.kernel)):
        np.testing.assert_allclose(found[:, i], x[:, i] @ kernel, rtol=1e-5, atol=1e-6)
    assert layer(keras.Input((3, 4))).shape == (None, 3, 6)


@pytest.mark.parametrize(
    "equation, shape",
    [
        ("bsd,edf", (3, 4, 6)),
        ("bsd,edf->bsef", (4, 6)),
        ("bds,edf->bsef", (3, 4, 6)),
        ("bsd,edf->bsedf", (3, 4, 6)),
        ("bsf,edf->bsef", (3, 4, 6)),
        ("...d,edf->...ef", (3, 4, 6)),
        ("bdd,edf->bef", (3, 4, 6)),
        ("bsd,edf,g->bsef", (3, 4, 6)),
        ("bsd,edf->bsf", (3, 4, 6)),
        ("bsd,edf->tsef", (3, 4, 6)),
    ],
)
def test_other_equations_are_refused(equation, shape):
    with pytest.raises(ValueError, match="`equation` must name the axes .* Received: equation="):
        StackedDense(equation, shape)
