"""Recurrent layers with a gate on their hidden units."""

import contextlib
import inspect
import math
from collections.abc import Iterator
from typing import Any

import keras
from keras import ops, tree

from tfgates.keras_internals import mask_of
from tfgates.layers.gated import GatedLayer


class GatedRecurrent(GatedLayer):
    """Mixin for a recurrent layer of Keras with a gate on its hidden units.

    A unit is gated wherever a kernel reads it: before the recurrent kernel, at each step, and in what the
    layer returns. With `h` the state and `z` one draw for all steps,

        h[t] = cell(x[t], h[t - 1]), in which the recurrent kernel U is diag(z) U
        output[t] = z * h[t]

    so no other unit and no reader sees a closed unit. Its columns of kernel, recurrent kernel
    and bias, its row of the recurrent kernel and the rows of the readers can be removed. What a unit passes on only to
    itself, the cell state of an LSTM and the part of `h[t - 1]` that a GRU keeps, is not multiplied: it would
    die away step by step under a gate of 0.9, and no weight could absorb the factor. States that are returned
    (`return_state=True`) are `z * h` and `z * c`; an initial state is that of `h`. A gate only on the outputs would
    not be enough: the other units would still read what is closed.

    Since the same `z` applies at every step, the gradient of a gate gathers what its unit does at all of them.
    """

    def __init__(self, *args: Any, gate: Any = "hard_concrete", granularity: str = "unit", **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        if granularity != "unit":
            raise ValueError(
                f"`granularity` must be 'unit' for a recurrent layer. Received: granularity={granularity!r}"
            )
        self._set_gate(gate, granularity, channel_axis=-1)
        if self.gate.axis is None or self.gate.sampling == "example":
            raise ValueError(
                "A gate of a recurrent layer must have `axis=-1` and `sampling='batch'`: one recurrent kernel serves "
                f"all examples. Received: axis={self.gate.axis}, sampling={self.gate.sampling!r}"
            )

    def build(self, sequences_shape: Any, initial_state_shape: Any = None) -> None:
        super().build(sequences_shape)
        self.gate.build((None, self.units))
        group = self.units // self.gate.units
        owned = sum(math.prod(weight.shape) for weight in self.cell.weights)
        self.gate.weights_per_unit = group * owned // self.units

    def __call__(  # type: ignore[override]
        self,
        sequences: Any,
        initial_state: Any = None,
        mask: Any = None,
        logits: Any = None,
        noise: Any = None,
        **kwargs: Any,
    ) -> Any:
        if mask is None and initial_state is None and (logits is not None or noise is not None):
            # Keras hands masks on to calls with one tensor alone.
            mask = mask_of(sequences)
        given = {name: value for name, value in (("initial_state", initial_state), ("mask", mask)) if value is not None}
        return super().__call__(sequences, logits=logits, noise=noise, **given, **kwargs)

    def call(
        self,
        sequences: Any,
        initial_state: Any = None,
        mask: Any = None,
        training: Any = False,
        logits: Any = None,
        noise: Any = None,
    ) -> Any:
        z = self.gate.positions(self._draw(sequences, training, logits, noise), self.units)
        z = ops.cast(z, self.compute_dtype)
        with self._read_through(z):
            outputs = super().call(sequences, initial_state=initial_state, mask=mask, training=training)
        return tree.map_structure(lambda y: y * z, outputs)

    @contextlib.contextmanager
    def _read_through(self, z: Any) -> Iterator[None]:
        """Has the cell read its recurrent kernel times `z`, row by row, while it is called.

        Past `__setattr__`, by which Keras would take the product for a new part of the layer. Nothing within
        waits for other replicas, so that none of them sees the kernel of another.
        """
        kernel, attributes = self.cell.recurrent_kernel, self.cell.__dict__
        attributes["recurrent_kernel"] = ops.expand_dims(z, -1) * ops.cast(kernel, z.dtype)
        try:
            yield
        finally:
            attributes["recurrent_kernel"] = kernel


def with_gate_arguments(kind: type) -> inspect.Signature:
    """The signature of a layer of Keras with the arguments of its gate."""
    known = list(inspect.signature(kind).parameters.values())
    gate = inspect.Parameter("gate", inspect.Parameter.KEYWORD_ONLY, default="hard_concrete")
    granularity = inspect.Parameter("granularity", inspect.Parameter.KEYWORD_ONLY, default="unit")
    return inspect.Signature([*known[:-1], gate, granularity, known[-1]])


# `from_config` of Keras's recurrent layers takes `custom_objects` too, which these have no use for: hence the `misc`.
@keras.saving.register_keras_serializable(package="tfgates")
class GatedLSTM(GatedRecurrent, keras.layers.LSTM):  # type: ignore[misc]
    """`keras.layers.LSTM` with a gate on its hidden units: see `tfgates.layers.GatedRecurrent`.

    Args:
        units, activation, ...: as in `keras.layers.LSTM`.
        gate: a `tfgates.gates.Gate`, its name as a string, or its config; with one draw per batch. Defaults to
            `"hard_concrete"`.

    Example:

    >>> layer = tfgates.layers.GatedLSTM(100, return_sequences=True, gate="hard_concrete")
    """

    __signature__ = with_gate_arguments(keras.layers.LSTM)


@keras.saving.register_keras_serializable(package="tfgates")
class GatedGRU(GatedRecurrent, keras.layers.GRU):  # type: ignore[misc]
    """`keras.layers.GRU` with a gate on its hidden units: see `tfgates.layers.GatedRecurrent`.

    Args:
        units, activation, ...: as in `keras.layers.GRU`.
        gate: a `tfgates.gates.Gate`, its name as a string, or its config; with one draw per batch. Defaults to
            `"hard_concrete"`.

    Example:

    >>> layer = tfgates.layers.GatedGRU(100, gate="hard_concrete")
    """

    __signature__ = with_gate_arguments(keras.layers.GRU)


@keras.saving.register_keras_serializable(package="tfgates")
class GatedSimpleRNN(GatedRecurrent, keras.layers.SimpleRNN):  # type: ignore[misc]
    """`keras.layers.SimpleRNN` with a gate on its hidden units: see `tfgates.layers.GatedRecurrent`.

    Args:
        units, activation, ...: as in `keras.layers.SimpleRNN`.
        gate: a `tfgates.gates.Gate`, its name as a string, or its config; with one draw per batch. Defaults to
            `"hard_concrete"`.

    Example:

    >>> layer = tfgates.layers.GatedSimpleRNN(100, gate="hard_concrete")
    """

    __signature__ = with_gate_arguments(keras.layers.SimpleRNN)
