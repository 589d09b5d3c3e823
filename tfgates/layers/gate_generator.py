"""The logits of all gates of a network from one chain of small layers (Li and Ji 2021)."""

import contextlib
import itertools
import math
import threading
from collections.abc import Iterator, Sequence
from typing import Any

import keras
from keras import initializers, ops

from tfgates.gates.arguments import check_choice, check_probability
from tfgates.gates.source import LogitsSource

# P(z != 0) = sigmoid(logits + this) for hard-concrete gates with the settings of the paper.
HARD_CONCRETE_SHIFT = -2.0 / 3.0 * math.log(0.1 / 1.1)

# Bound of the logits in the paper.
LIMIT = math.log(100.0)

_SHARED = threading.local()


@contextlib.contextmanager
def generated_once() -> Iterator[None]:
    """While this is open, each generator is evaluated once, however many gates ask for their logits.

    Inside, no variable of a generator may change, and a gradient tape, if any, must be open
    around the whole.
    """
    before = getattr(_SHARED, "logits", None)
    _SHARED.logits = {} if before is None else before
    try:
        yield
    finally:
        _SHARED.logits = before


@keras.saving.register_keras_serializable(package="tfgates")
class GateGenerator(LogitsSource, keras.layers.Layer):
    """Makes the logits of several gates, each from those of the gate before it.

    `logits_1 = limit * tanh(b_1)`, `logits_l = limit * tanh(W_l logits_{l-1} + b_l)`, where 1, 2, ...
    is the order of the chain. With `hidden`, a small relu network replaces the linear map
    from the second gate on. The paper multiplies a constant vector of ones by W_1, which is the
    same as a bias, so there is no W_1. The generator does not see the data. Each gate gets its
    logits by name, `gate(y, logits=logits[i])`, creates no variable of its own, and finds the
    generator again when the model is loaded.

    A kernel is stored as `W * limit * (its number of inputs)`. An optimizer such as Adam moves each entry by the same
    amount per step; stored this way, a step moves a logit as far through all entries of W together as through its bias.
    When W itself was stored, the entries together moved it further by that factor: the logits of all gates except the
    first jumped to their limits within a few steps, before anything had been learnt, and stayed there.

    All weights are float32. They are evaluated once per forward pass; the number of operations is
    linear in the number of gates.

    Args:
        units: list of ints, the number of units of each gate in the order of the network.
        order: `"forward"`, a chain from the first gate to the last, or `"backward"`, from the last
            to the first. Defaults to `"forward"`.
        hidden: sequence of ints, widths of the hidden layers of each link. Defaults to none.
        initial_logits: float in (-limit, limit), the value with which all logits start. Defaults to
            None: every b starts from a normal distribution with mean 3 and deviation 0.01, as
            in the paper, which leaves the logits near `limit * tanh(3)`, and gradients near 0.01 of
            what they are at 0.
        initial_open_probability: float in (0, 1), instead of `initial_logits`: the open
            probability with which hard-concrete gates of the default temperature and limits start.
        limit: float > 0, bound of the logits. Defaults to `log(100)`.
        kernel_initializer: initializer of the W. Defaults to None: normal with deviation 0.01.
            (With PyTorch's default, as in the authors' code, 5 to 9 % of the gates start closed,
            unless `initial_logits` is given.)
        seed: int or None, seed of the initial weights.

    Call arguments:
        inputs: any tensor of the model. It only ties the generator to the graph.

    Returns:
        A list of float32 tensors of shape `(units_l,)`, in the order of `units`.

    Raises:
        ValueError: if an argument is out of range, or the initial logits are not within the limit.

    Example:

    >>> logits = tfgates.layers.GateGenerator([64, 64], initial_open_probability=0.9)(inputs)
    >>> x = tfgates.layers.GatedConv2D(64, 3)(inputs, logits=logits[0])
    >>> x = tfgates.layers.GatedConv2D(64, 3)(x, logits=logits[1])

    Reference: Li and Ji, "Dep-L0: Improving L0-based Network Sparsification via Dependency
    Modeling", ECML 2021, arXiv 2107.00070, section 4.
    """

    # Tells the walk over the graph that this layer is no part of the pruned network.
    feeds_gates = True

    # Of a generator in a network that has shrunk: the units of the dense one, by which its kernels are stored.
    dense_units: list[int] | None = None

    def __init__(
        self,
        units: Sequence[int],
        order: str = "forward",
        hidden: Sequence[int] = (),
        initial_logits: Any = None,
        initial_open_probability: float | None = None,
        limit: float = LIMIT,
        kernel_initializer: Any = None,
        seed: int | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        for name, sizes, least in (("units", units, 1), ("hidden", hidden, 0)):
            if (
                not isinstance(sizes, (list, tuple))
                or len(sizes) < least
                or any(not isinstance(size, int) or size < 1 for size in sizes)
            ):
                raise ValueError(f"`{name}` must be a list of positive integers. Received: {name}={sizes}")
        if not 0.0 < limit < math.inf:
            raise ValueError(f"`limit` must be a finite number > 0. Received: limit={limit}")
        if initial_open_probability is not None:
            if initial_logits is not None:
                raise ValueError(
                    "`initial_logits` must be None where `initial_open_probability` is given. "
                    f"Received: initial_logits={initial_logits}"
                )
            p = check_probability("initial_open_probability", initial_open_probability)
            start = math.log(p / (1.0 - p)) - HARD_CONCRETE_SHIFT
        else:
            start = initial_logits
        if start is not None and not -limit < start < limit:
            raise ValueError(
                f"`initial_logits` must lie between minus and plus `limit`, {limit:.4g}: with a generator "
                "an `initial_open_probability` nearer to 0 or 1 cannot be had. "
                f"Received: initial_logits={start}"
            )
        self.units = list(units)
        self.order = check_choice("order", order, ("forward", "backward"))
        self.hidden = tuple(hidden)
        self.initial_logits = initial_logits
        self.initial_open_probability = initial_open_probability
        self.limit = float(limit)
        self.kernel_initializer = initializers.get(kernel_initializer)
        self.seed = seed
        self._start = start
        # Nothing in the computation depends on the input's dtype.
        self.supports_masking = True

    def build(self, input_shape: Any) -> None:
        sizes = self.units if self.order == "forward" else self.units[::-1]
        self._links = [[self._add_first(sizes[0])]]
        for number, (before, after) in enumerate(itertools.pairwise(sizes), 1):
            self._links.append(self._add_link(number, [before, *self.hidden, after]))
        self.built = True

    def _weight(self, name: str, value: Any) -> Any:
        variable = self.add_weight(
            name=name,
            shape=tuple(value.shape),
            dtype="float32",
            autocast=False,
            initializer=lambda shape, dtype=None: ops.convert_to_tensor(value),
        )
        # It serves gates: it is updated by their optimizer, which has no weight decay.
        variable.belongs_to_gate = True
        return variable

    def _seed(self, number: int) -> int | None:
        return None if self.seed is None else self.seed + number

    def _add_first(self, size: int) -> Any:
        return self._weight("bias_0", self._bias(size, 0))

    def _bias(self, size: int, number: int, offset: Any = 0.0) -> Any:
        """The biases of a link; `offset` is what the rest of the link adds at the start."""
        if self._start is None:
            return initializers.RandomNormal(3.0, 0.01, self._seed(1000 * number))((size,), "float32")
        return ops.zeros((size,), "float32") + math.atanh(self._start / self.limit) - offset

    def _add_link(self, number: int, sizes: Sequence[int]) -> list[tuple[Any, Any]]:
        """The (kernel, bias) pairs of one link; its last biases make the initial logits exact."""
        pairs = []
        flow = None if self._start is None else ops.full((sizes[0],), self._start, "float32")
        for layer, shape in enumerate(itertools.pairwise(sizes)):
            last = layer == len(sizes) - 2
            kernel = self._kernel(shape, self._seed(1000 * number + layer + 1), last)
            flow = None if flow is None else ops.matmul(flow, kernel)
            if last:
                bias = self._bias(shape[1], number, 0.0 if flow is None else flow)
            else:
                bias = ops.zeros(shape[1:])
                flow = None if flow is None else ops.relu(flow)
            name = f"{number}" if last else f"{number}_{layer}"
            kernel = kernel * self.spread(number, layer)
            pairs.append((self._weight(f"kernel_{name}", kernel), self._weight(f"bias_{name}", bias)))
        return pairs

    def _kernel(self, shape: tuple[int, int], seed: int | None, last: bool) -> Any:
        if self.kernel_initializer is not None:
            return self.kernel_initializer.clone()(shape, "float32")
        # Wide enough for a signal through the hidden layers, small at the logits.
        deviation = 0.01 if last else math.sqrt(2.0 / shape[0])
        return initializers.RandomNormal(0.0, deviation, seed)(shape, "float32")

    def _chain(self) -> list[Any]:
        (first,) = self._links[0]
        logits = [self.limit * ops.tanh(ops.convert_to_tensor(first))]
        for number, link in enumerate(self._links[1:], 1):
            flow = ops.expand_dims(logits[-1], 0)
            for layer, (kernel, bias) in enumerate(link):
                flow = ops.matmul(flow, kernel) / self.spread(number, layer) + bias
                flow = ops.relu(flow) if layer < len(link) - 1 else ops.squeeze(flow, 0)
            logits.append(self.limit * ops.tanh(flow))
        return logits if self.order == "forward" else logits[::-1]

    def spread(self, number: int, layer: int = 0) -> float:
        """The divisor of the stored kernel of a link: how far a step of 1 of all its entries moves what the link makes.

        Args:
            number: int > 0, which of the links.
            layer: int, which of its kernels. Defaults to 0, the one that reads the logits before.
        """
        units = self.units if self.dense_units is None else self.dense_units
        before = units[number - 1] if self.order == "forward" else units[-number]
        return self.limit * (before, *self.hidden)[layer]

    def call(self, inputs: Any) -> list[Any]:
        return self._chain()

    def generate(self) -> list[Any]:
        """The current logits, one float32 tensor of shape `(units_l,)` for each gate."""
        shared = getattr(_SHARED, "logits", None)
        if shared is None:
            return self._chain()
        if self not in shared:
            shared[self] = self._chain()
        return shared[self]

    def compute_output_spec(self, inputs: Any) -> list[keras.KerasTensor]:
        return [keras.KerasTensor((size,), dtype="float32") for size in self.units]

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> Any:
        config = dict(config)
        dense = config.pop("dense_units", None)
        generator = super().from_config(config)
        generator.dense_units = dense
        return generator

    def get_config(self) -> dict[str, Any]:
        config = super().get_config()
        if self.dense_units is not None:
            config["dense_units"] = self.dense_units
        config.update(
            units=self.units,
            order=self.order,
            hidden=list(self.hidden),
            initial_logits=self.initial_logits,
            initial_open_probability=self.initial_open_probability,
            limit=self.limit,
            kernel_initializer=(
                None if self.kernel_initializer is None else initializers.serialize(self.kernel_initializer)
            ),
            seed=self.seed,
        )
        return config
