"""The gate: the layer that every method subclasses."""

import contextlib
import math
import weakref
from collections.abc import Iterable, Iterator
from typing import Any

import keras
from keras import ops

from tfgates.backend import uniform
from tfgates.gates import dues, recording
from tfgates.gates.arguments import INITIAL_OPEN_PROBABILITY, check_choice, check_probability, with_full_precision
from tfgates.gates.seeds import SeededLayer
from tfgates.gates.source import LogitsSource
from tfgates.gates.units import UnitsAlongAxis
from tfgates.keras_internals import history_of


def missing(gate: Any, name: str) -> str:
    """What is said of a subclass that does not say how its gate works."""
    return f"{type(gate).__name__} must override `{name}`, as every subclass of `tfgates.gates.Gate`."


class Gate(UnitsAlongAxis, SeededLayer):
    """Multiplies its input by one gate value `z` per unit: the base of every method.

    A unit is one position along `axis`, a group of positions (`groups`), or the
    whole tensor (`axis=None`). While training, `z` is drawn at random; at inference it is
    `test_gates()`. A subclass defines both by four small overrides: `initial_value`,
    `probability_from`, `test_gates_from` and `sample_from`. The last three take the gate's trainable
    variable (or what a `tfgates.layers.GateGenerator` computes instead of it), in float32
    whatever the dtype policy.

    Args:
        axis: int or None. The axis along which the units lie. `None` makes the whole tensor
            one unit. Defaults to -1.
        groups: int or None. Number of units when each unit is a group of neighbouring
            positions; must divide the length of `axis`. `None`: one unit per position.
        interleaved: bool, with `groups`: whether unit `i` consists not of neighbours but of the positions `i`,
            `i + groups`, `i + 2 * groups` and so on, as where channels are concatenated with others that are made from
            them one by one. Defaults to False.
        sampling: `"batch"` (one draw per step, shared by all examples and all replicas) or
            `"example"` (one draw per example). Defaults to `"batch"`.
        l0: float, the penalty added to the loss for each expected open weight: the layer adds
            `l0 * |g| * sum(open_probability())`, where `|g|` is the number of weights that one
            unit owns (1 for a gate that stands alone, for which `l0` is therefore per unit). Its unit
            is loss per weight. Defaults to 0.
        initial_open_probability: float in (0, 1). Defaults to 0.95: nearly open, so that an untrained network
            learns and a trained one keeps what it knows, but not so extreme that hardly anything moves a gate.
        seed: int or None, seed of the noise.

    Call arguments:
        inputs: the tensor to gate.
        logits: optional tensor of shape `(units,)` from a `GateGenerator`, used instead of
            the gate's own variable.
        noise: optional tensor of shape `(units,)` from a `GateNoise`, uniform in (0, 1), so
            that several calls of one gate share one draw.
        training: bool, whether to draw (True) or to use `test_gates()` (False). A gate that is
            not `trainable` always uses `test_gates()`: that is how gates are frozen.

    Output shape: that of the input.
    """

    # Whether Keras has built it.
    built: bool

    variable_name = "logits"

    # Up to which open probability a unit counts as closed for good, in training that removes such units.
    closed_below = 0.05

    # Of a gate in a network that has shrunk: the weights that one of its units had in the dense one.
    dense_weights_per_unit: int | None = None

    def __init__(
        self,
        axis: int | None = -1,
        groups: int | None = None,
        sampling: str = "batch",
        l0: float = 0.0,
        initial_open_probability: float = INITIAL_OPEN_PROBABILITY,
        seed: int | None = None,
        interleaved: bool = False,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        if groups is not None and (not isinstance(groups, int) or groups < 1):
            raise ValueError(f"`groups` must be a positive integer or None. Received: groups={groups}")
        if groups is not None and axis is None:
            raise ValueError(f"`groups` needs an `axis`. Received: groups={groups}, axis=None")
        if interleaved and groups is None:
            raise ValueError("`interleaved` needs `groups`. Received: interleaved=True, groups=None")
        if not 0 <= l0 < math.inf:
            raise ValueError(f"`l0` must be a finite number >= 0. Received: l0={l0}")
        self.axis = axis
        self.groups = groups
        self.interleaved = bool(interleaved)
        self.sampling = check_choice("sampling", sampling, ("batch", "example"))
        self.l0 = float(l0)
        self.initial_open_probability = check_probability("initial_open_probability", initial_open_probability)
        self.seed = seed
        self.seed_generator = keras.random.SeedGenerator(seed)
        self.weights_per_unit = 1
        self.unit_shape: Any = None
        self._source: Any = None
        self._held: Any = None
        self.supports_masking = True

    # What a method overrides.

    def initial_value(self) -> float:
        """The initial value of the trainable variable, a float."""
        raise NotImplementedError(missing(self, "initial_value"))

    def probability_from(self, value: Any) -> Any:
        """P(z != 0) for each unit, from the variable's `value`."""
        raise NotImplementedError(missing(self, "probability_from"))

    def test_gates_from(self, value: Any) -> Any:
        """The gate values used at inference, from the variable's `value`."""
        raise NotImplementedError(missing(self, "test_gates_from"))

    def sample_from(self, value: Any, noise: Any) -> Any:
        """Gate values for training from the variable's `value` and uniform `noise` of its shape."""
        raise NotImplementedError(missing(self, "sample_from"))

    def variable_constraint(self) -> Any:
        """Constraint of the trainable variable, or None."""
        return None

    # What everything else uses.

    def build(self, input_shape: Any) -> None:
        self.build_units(self.unit_shape_of(input_shape))

    def build_units(self, unit_shape: Iterable[int]) -> None:
        """Creates the trainable variable, with one entry per unit."""
        unit_shape = tuple(unit_shape)
        if self.built:
            if unit_shape != self.unit_shape:
                raise ValueError(
                    f"A gate can be shared only between tensors with the same units. `{self.name}` "
                    f"was built for units of shape {self.unit_shape}. Received: {unit_shape}"
                )
            return
        self.unit_shape = unit_shape
        if self._source is None:
            variable = self.add_weight(
                name=self.variable_name,
                shape=unit_shape,
                dtype="float32",
                autocast=False,
                initializer=keras.initializers.Constant(self.initial_value()),
                constraint=self.variable_constraint(),
            )
            # How optimizers tell it from weights.
            variable.belongs_to_gate = True
            setattr(self, self.variable_name, variable)
        self.built = True

    def __call__(self, inputs: Any, *args: Any, logits: Any = None, noise: Any = None, **kwargs: Any) -> Any:
        if logits is not None:
            self.bind(logits)
        return super().__call__(*with_full_precision(self, inputs, logits, noise, kwargs), *args, **kwargs)

    def get_build_config(self) -> dict[str, Any] | None:
        # Built from a config, before it is called, it would create a variable that it must not have.
        return None if self._source is not None else super().get_build_config()

    def bind(self, logits: Any) -> None:
        """Remembers which `GateGenerator` the symbolic tensor `logits` comes from.

        The gate then creates no variable of its own; its methods ask the generator.
        """
        if isinstance(logits, keras.KerasTensor):
            history = history_of(logits)
            if not isinstance(history.operation, LogitsSource):
                raise ValueError(
                    "`logits` must come straight from a tfgates.layers.GateGenerator. "
                    f"Received: the output of {history.operation.name}"
                )
            # A weak reference: the generator belongs to the model, not to each of its gates.
            self._source = (weakref.ref(history.operation), history.tensor_index)

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> Any:
        config = dict(config)
        weights_per_unit = config.pop("weights_per_unit", 1)
        dense = config.pop("dense_weights_per_unit", None)
        gate = super().from_config(config)
        gate.weights_per_unit = weights_per_unit
        gate.dense_weights_per_unit = dense
        return gate

    def travel(self) -> float:
        """How far the variable moves between an open probability of 0.95 and one of 0.05, a float.

        Learning rates of gates are set in units of it, so that they suit every method and link.
        """
        if self._source is not None:
            # The generator's weights act through a tanh, whose own scale is 1.
            return 1.0
        config = self.get_config()
        ends = [type(self).from_config(dict(config, initial_open_probability=p)) for p in (0.95, 0.05)]
        return abs(ends[0].initial_value() - ends[1].initial_value())

    def value(self) -> Any:
        """What the gate is computed from: its own variable, or its generator's current output."""
        if self._source is None:
            return ops.convert_to_tensor(getattr(self, self.variable_name))
        generator, index = self._source
        return generator().generate()[index]

    def open_probability(self) -> Any:
        """P(z != 0) for each unit: a float32 tensor of the variable's shape."""
        return self.probability_from(self.value())

    def openness(self) -> Any:
        """How open each unit is, in [0, 1]: what a differentiable cost counts instead of 0 and 1.

        It is `open_probability()`, unless a method without noise has something smoother.
        """
        return self.open_probability()

    def test_gates(self) -> Any:
        """The gate values used at inference: a float32 tensor of the variable's shape."""
        return self.test_gates_from(self.value()) if self._held is None else self._held

    @contextlib.contextmanager
    def held(self, values: Any) -> Iterator[None]:
        """Context manager: within it the gate values are `values`, whatever the variable says.

        It is for eager use, such as comparing networks before a choice of units is final.

        Args:
            values: array of gate values, one per unit.
        """
        before, self._held = self._held, ops.convert_to_tensor(values, dtype="float32")
        try:
            yield
        finally:
            self._held = before

    def open_units(self) -> Any:
        """Which units are open at inference: a boolean tensor, `test_gates() != 0`."""
        return ops.not_equal(self.test_gates(), 0.0)

    def uniform(self, shape: Any) -> Any:
        """Uniform noise in (0, 1); for `sampling="batch"` the same on all replicas."""
        return uniform(shape, self.seed_generator, per_replica=self.sampling == "example")

    def draw(self, training: Any = False, batch_size: Any = None, logits: Any = None, noise: Any = None) -> Any:
        """Gate values `z`, float32: `(units,)`, or `(batch_size, units)` when drawn per example."""
        if self._held is not None:
            return self._held
        value = self.value() if logits is None else ops.cast(logits, "float32")
        if not training or not self.trainable:
            return self.test_gates_from(value)
        if self.sampling == "example":
            shape = (batch_size, *self.unit_shape)
            value = ops.broadcast_to(ops.expand_dims(value, 0), shape)
            noise = self.uniform(shape)
        elif noise is None:
            noise = self.uniform(self.unit_shape)
        return dues.guarded(self.sample_from(value, noise), self, self.dues())

    def dues(self) -> list[Any]:
        """What the loss must contain before a gradient may pass through the draw, see `tfgates.gates.dues`."""
        # No gradient is taken of a pass that is repeated.
        return [] if recording.is_replaying() else dues.dues_of(self)

    def counted_weights(self) -> int:
        """The number of weights that `l0` counts for one unit: those of the dense network."""
        return self.weights_per_unit if self.dense_weights_per_unit is None else self.dense_weights_per_unit

    def add_penalty(self, logits: Any = None) -> None:
        """Adds `l0 * weights_per_unit * sum(P(open))` to the losses of the current call."""
        # A pass that is repeated gathers what depends on the state of gates.
        if self.l0 and not recording.is_replaying():
            value = self.value() if logits is None else ops.cast(logits, "float32")
            self.add_loss(self.l0 * self.counted_weights() * ops.sum(self.probability_from(value)))

    def call(self, inputs: Any, logits: Any = None, noise: Any = None, training: Any = False) -> Any:
        self.add_penalty(logits)
        z = self.draw(training, ops.shape(inputs)[0], logits, noise)
        return inputs * ops.cast(self.broadcastable(z, inputs.shape), inputs.dtype)

    def compute_output_shape(self, inputs_shape: Any, logits_shape: Any = None, noise_shape: Any = None) -> Any:
        return inputs_shape

    def get_config(self) -> dict[str, Any]:
        config = super().get_config()
        # Set by the layer or by gate_model; a reloaded gate must weigh its units alike.
        if self.weights_per_unit != 1:
            config["weights_per_unit"] = self.weights_per_unit
        if self.dense_weights_per_unit is not None:
            config["dense_weights_per_unit"] = self.dense_weights_per_unit
        config.update(
            axis=self.axis,
            groups=self.groups,
            interleaved=self.interleaved,
            sampling=self.sampling,
            l0=self.l0,
            initial_open_probability=self.initial_open_probability,
            seed=self.seed,
        )
        return config
