"""What a Keras layer with a gate in it has in common, whatever the layer."""

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import keras
from keras import ops

from tfgates import gates
from tfgates.gates.arguments import check_choice, with_full_precision

# With an unknown batch size the layer assumes this many examples when it decides whether the
# gate multiplies the kernel or the activations; the result is the same either way.
ASSUMED_BATCH = 32

# What it is mixed into is a layer of Keras.
if TYPE_CHECKING:
    from keras.layers import Layer as MixedInto
else:
    MixedInto = object


class GatedLayer(MixedInto):
    """Mixin for a Keras layer that carries a gate on its output channels, inputs or weights.

    The gate is placed between the layer's linear part and its activation.
    """

    def _set_gate(self, gate: Any, granularity: str, channel_axis: int) -> None:
        if gate is None:
            raise ValueError("`gate` must be a gate, its name or its config. Received: gate=None")
        self.granularity = check_choice("granularity", granularity, ("unit", "weight"))
        if self.quantization_mode is not None:
            self._refuse_quantization(self.quantization_mode)
        self.gate = gates.get(gate, name=f"{self.name}_gate") if isinstance(gate, str) else gates.get(gate)
        if granularity == "weight" and self.gate.sampling == "example":
            raise ValueError(
                '`granularity="weight"` needs a gate with `sampling="batch"`: one kernel serves the '
                f"whole batch. Received: sampling={self.gate.sampling!r}"
            )
        if granularity == "unit" and self.gate.axis is not None and self.gate.axis != channel_axis:
            if self.gate.axis != -1:
                raise ValueError(
                    f"The gate of a gated layer lies along the channels, axis {channel_axis}. "
                    f"Received: gate.axis={self.gate.axis}"
                )
            self.gate.axis = channel_axis

    def __call__(self, inputs: Any, *args: Any, logits: Any = None, noise: Any = None, **kwargs: Any) -> Any:
        if logits is not None:
            self.gate.bind(logits)
        return super().__call__(*with_full_precision(self, inputs, logits, noise, kwargs), *args, **kwargs)

    def get_build_config(self) -> dict[str, Any] | None:
        # As for the gate itself.
        return None if self.gate._source is not None else super().get_build_config()

    def gated_kernel(self) -> Any:
        """The kernel that acts at inference: times the test gates where weights are gated."""
        if self.granularity == "unit":
            return ops.convert_to_tensor(self.kernel)
        return self.kernel * ops.cast(self.gate.test_gates(), self.kernel.dtype)

    def _draw(self, inputs: Any, training: Any, logits: Any, noise: Any) -> Any:
        self.gate.add_penalty(logits)
        return self.gate.draw(training, ops.shape(inputs)[0], logits, noise)

    def _cheaper_on_kernel(self, z: Any, output_shape: Sequence[int | None]) -> bool:
        """Whether z times the kernel costs less than z times the activations."""
        if len(z.shape) > 1:
            return False
        # What JAX exports for any batch has symbols there.
        positions = [size if isinstance(size, int) else ASSUMED_BATCH for size in output_shape]
        return math.prod(self.kernel.shape) <= math.prod(positions)

    def quantize(self, mode: Any = None, type_check: Any = True, config: Any = None) -> Any:
        self._refuse_quantization(mode)

    def _refuse_quantization(self, mode: Any) -> None:
        # Keras would go on with a quantised call that knows nothing of the gate.
        raise ValueError(
            f"A gated layer cannot be quantised; quantise what `tfgates.prune` returns. "
            f"Received: layer={self.name!r}, mode={mode!r}"
        )

    def get_config(self) -> dict[str, Any]:
        config = super().get_config()
        gate = keras.saving.serialize_keras_object(self.gate)
        # Built by this layer, in its name scope: a reloaded variable must have the path that it had, by
        # which optimizers may know it.
        gate.pop("build_config", None)
        config.update(gate=gate, granularity=self.granularity)
        return config

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> Any:
        config = dict(config)
        if isinstance(config.get("gate"), dict):
            config["gate"] = keras.saving.deserialize_keras_object(config["gate"])
        return super().from_config(config)
