"""Sizes of the papers' networks against what was published and against sums by hand."""

import math

import keras
import pytest

import tfgates
from tfgates import applications
from tfgates.applications.resnet import _shortcut

pytestmark = pytest.mark.usefixtures("no_initial_weights")


def trainable(model):
    return sum(math.prod(w.shape) for w in model.trainable_weights)


def rounded(value, published):
    """`value` as the paper prints it: a mantissa with the digits of `published`, e.g. `"1.25e8"`."""
    mantissa, exponent = published.split("e")
    digits = len(mantissa.partition(".")[2])
    return f"{value / 10 ** int(exponent):.{digits}f}" == mantissa


# Network, parameters, multiply-accumulates of an example, source.
PUBLISHED = [
    ("vgg16", "1.5e7", "3.13e8"),  # Li et al. 2017, arXiv 1608.08710, table 1
    ("resnet20", "0.27e6", None),  # He et al. 2016, arXiv 1512.03385, table 6
    ("resnet32", "0.46e6", None),  # the same table
    ("resnet56", "0.85e6", "1.25e8"),  # the same table; MACs: arXiv 1608.08710, table 1
    ("resnet110", "1.7e6", "2.53e8"),  # as before
    ("resnet164", "1.70e6", None),  # Liu et al. 2017, arXiv 1708.06519, table 1
    ("wrn28_10", "36.5e6", None),  # Zagoruyko and Komodakis 2016, arXiv 1605.07146, table 4
    ("resnext50", "25.0e6", "4.2e9"),  # Xie et al. 2017, arXiv 1611.05431, table 1
]


@pytest.mark.parametrize("name, params, macs", PUBLISHED)
def test_published(name, params, macs):
    model = getattr(applications, name)()
    assert type(model).__module__.startswith("keras")
    assert rounded(trainable(model), params)
    if macs is not None:
        assert rounded(tfgates.cost(model).macs, macs)


def test_resnet50():
    """25.5e6 and 4.1e9 in arXiv 1611.05431, table 1; that of Keras has biases beside."""
    model = applications.resnet50()
    assert 25.5e6 < trainable(model) < 25.6e6
    assert rounded(tfgates.cost(model).macs, "4.1e9")
    keras_model = keras.applications.ResNet50(weights=None)
    biases = sum(
        layer.bias.shape[0] for layer in keras_model.layers if isinstance(layer, keras.layers.Conv2D) and layer.use_bias
    )
    assert trainable(model) == trainable(keras_model) - biases


def test_mnist_networks():
    """Louizos et al. 2018, arXiv 1712.01312, section 4.1; 431,080 is Caffe's LeNet-5."""
    assert applications.mlp().count_params() == 784 * 300 + 300 * 100 + 100 * 10 + 300 + 100 + 10
    model = applications.lenet5()
    assert model.count_params() == 431_080
    assert tfgates.cost(model).macs == 24**2 * 500 + 8**2 * 25_000 + 400_000 + 5_000


def bottleneck_sum(depth, widths, groups, spatial=32):
    """MACs of a pre- or post-activated bottleneck network for CIFAR, summed by hand."""
    macs, before = spatial**2 * 27 * 16, 16
    for stage, width in enumerate(widths):
        out = 4 * 16 * 2**stage
        for number in range((depth - 2) // 9):
            first = number == 0
            inside = spatial
            if first and stage:
                spatial //= 2
            macs += inside**2 * before * width
            macs += spatial**2 * (9 * width * width // groups + width * out)
            if first:
                macs += spatial**2 * before * out
            before = out
    return macs + 256 * 10


@pytest.mark.parametrize(
    "name, depth, widths, groups",
    [
        ("resnet164", 164, (16, 32, 64), 1),
        ("resnext20", 20, (32, 64, 128), 32),
        ("resnext164", 164, (32, 64, 128), 32),
    ],
)
def test_bottlenecks_by_hand(name, depth, widths, groups):
    assert tfgates.cost(getattr(applications, name)()).macs == bottleneck_sum(depth, widths, groups)


def test_padded_shortcut():
    """Every other position and zeros around the old channels: option A has no weights."""
    inputs = keras.Input((4, 4, 2))
    model = keras.Model(inputs, _shortcut(inputs, 6, 2, "pad", "shortcut"))
    x = keras.random.normal((1, 4, 4, 2), seed=0)
    y = keras.ops.convert_to_numpy(model(x))
    assert model.count_params() == 0
    assert (y[..., 2:4] == keras.ops.convert_to_numpy(x)[:, ::2, ::2]).all()
    assert (y[..., [0, 1, 4, 5]] == 0).all()
