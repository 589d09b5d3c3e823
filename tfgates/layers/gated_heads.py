"""What attention layers with a gate on their heads have in common."""

import contextlib
import math
import threading
from collections.abc import Iterator
from typing import Any

import keras
from keras import ops, tree

from tfgates.keras_internals import (
    input_projections,
    output_projection,
    take_arguments_as_they_are,
    takes_arguments_as_they_are,
)
from tfgates.layers.gated import GatedLayer

# Of a thread, since replicas interleave: the gate values of the attention layers that are being called.
_thread = threading.local()


@contextlib.contextmanager
def scaled_by(z: Any) -> Iterator[None]:
    """Within it the output projection of an attention layer scales its heads by `z`."""
    before = getattr(_thread, "scale", None)
    _thread.scale = z
    try:
        yield
    finally:
        _thread.scale = before


class HeadProjection(keras.layers.EinsumDense):
    """The output projection of attention, `sum_h z_h context_h W_h + b`; heads and their width are its last axes."""

    def call(self, inputs: Any, training: Any = None) -> Any:
        z = getattr(_thread, "scale", None)
        kernel = self.kernel
        if z is not None and len(z.shape) == 1 and GatedLayer._cheaper_on_kernel(self, z, inputs.shape):
            kernel = kernel * ops.reshape(ops.cast(z, kernel.dtype), (-1,) + (1,) * (len(kernel.shape) - 1))
        elif z is not None:
            axes = (1,) * (len(inputs.shape) - 3)
            z = ops.reshape(z, (-1, *axes, z.shape[-1], 1))
            inputs = inputs * ops.cast(z, inputs.dtype)
        outputs = ops.einsum(self.equation, inputs, kernel)
        return outputs if self.bias is None else ops.add(outputs, self.bias)


class GatedHeads(GatedLayer):
    """Mixin for an attention layer of Keras whose `_output_dense` projects the heads.

    The gate is placed between the heads and the output projection. With one draw per batch it multiplies the
    projection's kernel, which costs next to nothing.
    """

    # Which units of the layer its gate is on.
    gated = "heads"

    def _set_gate(self, gate: Any, granularity: str, channel_axis: int = -1) -> None:
        if granularity != "unit":
            raise ValueError(
                f"`granularity` must be 'unit' for attention, whose units are its heads. "
                f"Received: granularity={granularity!r}"
            )
        super()._set_gate(gate, granularity, channel_axis)

    def __call__(self, query: Any, *args: Any, logits: Any = None, noise: Any = None, **kwargs: Any) -> Any:  # type: ignore[override]
        if logits is not None:
            self.gate.bind(logits)
        given = {name: x for name, x in (("logits", logits), ("noise", noise)) if x is not None}
        if given or takes_arguments_as_they_are(self):
            # As in `with_full_precision`: all is cast but logits and noise.
            take_arguments_as_they_are(self)
            query, args, kwargs = tree.map_structure(
                lambda x: self.dtype_policy.convert_input(x, self.autocast, self.input_dtype), (query, args, kwargs)
            )
        return keras.Layer.__call__(self, query, *args, **kwargs, **given)

    def compute_output_spec(self, *args: Any, logits: Any = None, noise: Any = None, **kwargs: Any) -> Any:
        return super().compute_output_spec(*args, **kwargs)

    def _build_gate(self, heads: int) -> None:
        """Builds the gate on `heads` units, once the projections are built."""
        self.gate.build((None, heads))
        weights = [part.weights for part in input_projections(self)] + [[output_projection(self).kernel]]
        owned = sum(math.prod(variable.shape) for each in weights for variable in each)
        self.gate.weights_per_unit = owned // self.gate.units

    def _scale(self, query: Any, training: Any, logits: Any, noise: Any) -> Any:
        """One gate value for each head that the output projection reads, heads last."""
        z = self._draw(query, training, logits, noise)
        heads = output_projection(self).kernel.shape[0]
        units = z.shape[-1]
        return ops.repeat(z, heads // units, axis=-1) if units < heads else z
