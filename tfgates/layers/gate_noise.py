"""Noise for gates that share their draw."""

from typing import Any

import keras
from keras import ops

from tfgates.backend import uniform
from tfgates.gates.seeds import SeededLayer


@keras.saving.register_keras_serializable(package="tfgates")
class GateNoise(SeededLayer):
    """Draws the uniform noise of one gate, so that several calls of the gate share one draw.

    A gate that is called twice in a model, `gate(a)` and `gate(b)`, draws twice, and may be open in
    one place and closed in the other. With `gate(a, noise=noise)` and `gate(b, noise=noise)` both
    have the same `z`.

    Args:
        units: int, the number of units of the gate.
        seed: int or None, seed of the noise.

    Call arguments:
        inputs: any tensor of the model. It only ties the layer to the graph.
        training: bool. Without training gates need no noise, and it is 1/2.

    Returns:
        A float32 tensor of shape `(units,)`, uniform in (0, 1); the same for all examples and
        all replicas.

    Raises:
        ValueError: if `units` is not a positive integer.

    Example:

    >>> gate = tfgates.gates.HardConcreteGate()
    >>> noise = tfgates.layers.GateNoise(64)(inputs)
    >>> x, y = gate(x, noise=noise), gate(y, noise=noise)
    """

    feeds_gates = True

    def __init__(self, units: int, seed: int | None = None, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        if not isinstance(units, int) or units < 1:
            raise ValueError(f"`units` must be a positive integer. Received: units={units}")
        self.units = units
        self.seed = seed
        self.seed_generator = keras.random.SeedGenerator(seed)

    def build(self, input_shape: Any) -> None:
        self.built = True

    def call(self, inputs: Any, training: Any = False) -> Any:
        if not training:
            return ops.full((self.units,), 0.5, dtype="float32")
        return uniform((self.units,), self.seed_generator, per_replica=False)

    def compute_output_spec(self, inputs: Any, training: Any = False) -> keras.KerasTensor:
        return keras.KerasTensor((self.units,), dtype="float32")

    def get_config(self) -> dict[str, Any]:
        config = super().get_config()
        config.update(units=self.units, seed=self.seed)
        return config
