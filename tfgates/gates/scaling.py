"""Scaling factors (Huang and Wang 2018)."""

from typing import Any, NoReturn

import keras
from keras import ops

from tfgates.gates import dues
from tfgates.gates.base import Gate


@keras.saving.register_keras_serializable(package="tfgates")
class ScalingGate(Gate):
    """Gate with a trainable factor and no noise: `z = scale`, in training and at inference.

    Placed on the outputs of a layer it scales neurons or channels, with `groups` the branches
    of a grouped convolution, with `axis=None` a whole residual branch. It is closed by an L1
    penalty with a proximal update, which reaches exact zeros: `tfgates.optimizers.APG`, put in
    place by `tfgates.callbacks.SparseScaling`. Under any other optimizer no factor becomes
    exactly 0, unless `nonnegative` is True.

    Place it after the last batch normalisation of a branch, or where none follows: a later one
    would undo the scale.

    Args:
        initial_scale: float other than 0, the factor at the start. Defaults to 1.
        nonnegative: bool. True: factors that an update takes below 0 become exactly 0, whatever
            the optimizer (`gate="scaling"` sets it). False: only `tfgates.optimizers.APG` closes
            units. Defaults to False.
        axis, groups, l0, seed: see `tfgates.gates.Gate`. `l0` adds
            `l0 * |g| * (number of non-zero factors)`, in loss per weight; its gradient is that of
            `l0 * |g| * sum(|scale|)`.

    Example:

    >>> gate = tfgates.gates.ScalingGate(axis=None)
    >>> y = keras.layers.Add()([shortcut, gate(branch)])

    Reference: Huang and Wang, "Data-Driven Sparse Structure Selection for Deep Neural
    Networks", ECCV 2018, arXiv 1707.01213, section 3.2.
    """

    variable_name = "scale"

    closed_below = 0.0

    def __init__(
        self,
        axis: int | None = -1,
        groups: int | None = None,
        l0: float = 0.0,
        initial_scale: float = 1.0,
        nonnegative: bool = False,
        seed: int | None = None,
        **kwargs: Any,
    ) -> None:
        # The base knows settings of random gates that mean nothing here; a config carries them.
        kwargs.pop("sampling", None)
        kwargs.pop("initial_open_probability", None)
        super().__init__(axis=axis, groups=groups, l0=l0, seed=seed, **kwargs)
        if initial_scale == 0 or initial_scale != initial_scale:
            raise ValueError(f"`initial_scale` must be a number other than 0. Received: initial_scale={initial_scale}")
        self.initial_scale = float(initial_scale)
        self.nonnegative = bool(nonnegative)

    def initial_value(self) -> float:
        return self.initial_scale

    def travel(self) -> float:
        return abs(self.initial_scale)

    def variable_constraint(self) -> Any:
        return keras.constraints.NonNeg() if self.nonnegative else None

    def probability_from(self, value: Any) -> Any:
        # Forward 1 or 0; backward that of |scale|: what costs per open unit pulls like an L1 norm.
        open_now = ops.cast(ops.not_equal(value, 0.0), "float32")
        size = size_of(value)
        return open_now + size - ops.stop_gradient(size)

    def openness(self) -> Any:
        """The size of each factor relative to the largest of the gate, `|scale| / max(|scale|)`.

        A count of non-zero factors does not move until some are 0; this measure falls on the way. It is relative
        because weights after the gate compensate for factors that shrink all together. A gate
        with one unit has nothing to compare with: `min(1, |scale / initial_scale|)`.
        """
        size = size_of(self.value())
        if self.units == 1:
            size = size / abs(self.initial_scale)
            # The pull on a factor above the initial one is the same.
            return size + ops.stop_gradient(ops.minimum(size, 1.0) - size)
        return size / ops.maximum(ops.max(size), keras.config.epsilon())

    def test_gates_from(self, value: Any) -> Any:
        return ops.convert_to_tensor(value)

    def sample_from(self, value: Any, noise: Any) -> Any:
        return value

    def draw(self, training: Any = False, batch_size: Any = None, logits: Any = None, noise: Any = None) -> Any:
        if self._held is not None:
            return self._held
        return dues.guarded(self.value(), self, self.dues()) if training and self.trainable else self.value()

    def bind(self, logits: Any) -> NoReturn:
        raise ValueError(
            "`logits` must be None for a ScalingGate: its factors are variables of their own. "
            f"Received: logits={logits}"
        )

    def get_config(self) -> dict[str, Any]:
        config = super().get_config()
        del config["sampling"], config["initial_open_probability"]
        config["initial_scale"] = self.initial_scale
        config["nonnegative"] = self.nonnegative
        return config


def size_of(value: Any) -> Any:
    """`|value|`, with the gradient 0 at 0 on each backend: that of `ops.abs` is 1 there with JAX."""
    return value * ops.stop_gradient(ops.sign(value))
