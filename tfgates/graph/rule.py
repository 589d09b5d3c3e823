"""A rule: what one kind of layer does to the channels of its tensors."""

import dataclasses
import math
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np

from tfgates.anatomy import anatomy_of, declared_base
from tfgates.graph.formula import TRUE
from tfgates.graph.network import Node
from tfgates.graph.traced import UNKNOWN_SIZES, traced_macs
from tfgates.graph.uncounted import UncountedError
from tfgates.keras_internals import has_graph

if TYPE_CHECKING:
    from tfgates.graph.walk import Walk

_RULES: dict[Any, Any] = {}

# Functions that find a rule for an operation by more than its class; asked in order.
FALLBACKS: list[Any] = []


@dataclasses.dataclass
class Term:
    """A block of weights, or of products of what a call reads: `amount * product over arrays of (channels left)`.

    Attributes:
        layer: name of the layer.
        params: parameters per combination of channels.
        macs: multiply-accumulates per combination of channels, for one example.
        over: up to two arrays of groups, the channels that the summand counts.
        unless: groups; while all of them remain the summand does not count. None: it always counts.
        why: where `macs` is nan, why they are not known.
    """

    layer: str
    params: float
    macs: float
    over: tuple[Any, ...] = ()
    unless: Any = None
    why: str = UNKNOWN_SIZES


class Rule:
    """How the walk treats one kind of layer; subclass it and register it with `register_rule` for your own layers.

    The base class is what an unknown layer gets: nothing around it is removed.

    `forward` says what is known of the output's channels and ties groups, `backward` what of the
    inputs is needed, `terms` what the layer costs, and `emit` makes the smaller layer that
    replaces it. Each takes the running `Walk` (or, for `emit`, the surgery) and the `Node`.

    `terms` of the base class counts the parameters, and, unless `multiplies` is False, the products
    that the call is seen to compute when it is traced; both count whatever is closed.
    """

    reason = "tfgates has no rule for this layer"

    # Whether anything is known of the layer: if not, and it holds others, it is opened (`tfgates.graph.opening`).
    known = False

    # Why what the layer makes gets no gate, for the report; nothing for what may have one.
    keeps = ""

    # Whether pruning leaves a call of its own, as it does of all but gates and what feeds them.
    remains = True

    # Whether the layer asks the tensors that it is called on for their masks, and leaves masked steps out.
    leaves_masked_out = False

    # Whether the call moves entries and nothing else, so that channels along several axes are followed through it.
    moves_entries = False

    # Whether the layer sums products: biases, normalisations and activations count no MACs.
    multiplies = True

    # Whether the layer is a convolution, a dense layer or attention of some kind: what gates are placed on.
    linear = False

    def why(self, node: Node) -> str:
        """The reason to report for what an unknown layer keeps."""
        whole = "" if node.whole is None else f", and it stays whole: {node.whole}"
        reason = unknown(node.op) if type(self) is Rule else self.reason
        return f"{node.name} ({node.op.__class__.__name__}): {reason}{whole}"

    def forward(self, walk: "Walk", node: Node) -> None:
        self.refuse(walk, node)

    def refuse(self, walk: "Walk", node: Node, reason: str | None = None) -> None:
        """Keeps everything that the call reads, and what it makes, whole."""
        reason = reason or self.why(node)
        for channels in walk.inputs(node):
            if channels is not None:
                walk.groups.lock(channels.group, reason)
        for tensor in node.outputs:
            walk.channels[tensor] = None
        walk.refused[node.index] = reason

    def backward(self, walk: "Walk", node: Node) -> None:
        for channels in walk.inputs(node):
            if channels is not None:
                walk.need(channels, TRUE)

    def terms(self, walk: "Walk", node: Node) -> list[Term]:
        params = 0 if node.layer is None or walk.seen_before(node) else node.layer.count_params()
        macs, why = 0.0, ""
        if self.multiplies:
            try:
                macs = traced_macs(walk.network, node)
            except UncountedError as error:
                macs, why = math.nan, str(error)
        return [Term(node.name, params, macs, why=why)] if params or macs else []

    def terms_left(self, walk: "Walk", node: Node, keep: Callable[[np.ndarray], np.ndarray]) -> list[Term]:
        """The terms when only the groups stay for which the function `keep` is true: what the call costs then."""
        return self.terms(walk, node)

    def sources(self, walk: "Walk", node: Node, keep: Callable[[np.ndarray], np.ndarray]) -> list[int]:
        """The inputs that the smaller call still reads, as numbers of tensors."""
        return node.inputs

    def reads(self, walk: "Walk", node: Node) -> dict[int, int]:
        """For each input that the smaller call may still read, the formula under which it reads it."""
        return dict.fromkeys(self.sources(walk, node, lambda groups: np.ones(len(groups), bool)), TRUE)

    def emit(self, surgery: Any, node: Node, args: Any, kwargs: Any) -> Any:
        return surgery.called(node, args, kwargs)

    def slices(self, walk: "Walk", node: Node, keep: Any) -> dict[str, dict[int, np.ndarray]] | None:
        """For each variable of the layer that remains the positions that stay, by axis; None: all, whole."""
        return None

    def scales_outputs(self, node: Node, factor: np.ndarray) -> bool:
        """Whether `factor`, one for each channel that the call makes, can go into the layer's weights."""
        return False

    def scales_inputs(self, walk: "Walk", node: Node) -> bool:
        """Whether factors on the channels that the call reads can go into the layer's weights."""
        return False

    def factor_behind(self, walk: "Walk", node: Node) -> np.ndarray | None:
        """Factors for each channel that the call makes, of a gate inside it, that its own weights cannot absorb."""
        return None


def unknown(op: Any) -> str:
    """Why a layer or operator without a rule has none."""
    if has_graph(op):
        return "it is a model whose `call` is its own, so that its layers cannot be followed; it is kept whole"
    base = next((kind for kind in type(op).__mro__[1:] if kind in _RULES), None) or declared_base(type(op))
    if base is None:
        return Rule.reason
    is_own = getattr(type(op), "call", None) is not getattr(base, "call", None)
    own = " whose `call` is its own" if is_own else ""
    return f"{Rule.reason}, a subclass of {base.__name__}{own}; it is kept whole"


class TiedRule(Rule):
    """A call that shares weights with calls of other layers: what it has stays as it is, there and here."""

    known = True

    def why(self, node: Node) -> str:
        tie: Any = node.tie
        return f"{node.name} ({node.op.__class__.__name__}): {tie.why}"

    def terms(self, walk: "Walk", node: Node) -> list[Term]:
        params = 0
        if node.layer is not None and not walk.seen_before(node):
            before = {id(w) for layer in walk.layers_before(node) for w in layer.weights}
            params = sum(math.prod(w.shape) for w in node.layer.weights if id(w) not in before)
        costs = [dataclasses.replace(term, params=0) for term in super().terms(walk, node) if term.macs]
        return [*costs, Term(node.name, params, 0.0)] if params else costs

    def emit(self, surgery: Any, node: Node, args: Any, kwargs: Any) -> Any:
        return surgery.call(node, args, kwargs)


# The class of a rule, which `register_rule` gives back as it is.
Kind = TypeVar("Kind", bound=type[Rule])


def register_rule(*kinds: Any) -> Callable[[Kind], Kind]:
    """Class decorator: uses the rule for the given layer classes, or for operators by class name.

    Args:
        *kinds: layer classes, or names of classes (for Keras's operators, which have no public
            class). A rule applies to subclasses of a layer class only when they are registered too.
            Or classes of anatomies: then it applies to all layers of such an anatomy that have no rule of their own.

    Example:

    >>> @tfgates.graph.register_rule(MyActivation)
    ... class MyActivationRule(tfgates.graph.ElementwiseRule):
    ...     def apply(self, walk, node, x):
    ...         return tfgates.graph.map_constants(node.op, x.value)
    """

    def register(rule: Kind) -> Kind:
        for kind in kinds:
            _RULES[kind] = rule()
            _RULES[kind].known = True
        return rule

    return register


# Functions that find a rule for a call by more than its layer; asked before those for layers.
NODE_RULES: list[Callable[[Node], Rule | None]] = []


def rule_of(node: Node) -> Any:
    """The rule for a call: that for its layer or operator, unless it shares weights with others."""
    if node.tie is not None:
        return TiedRule()
    for find in NODE_RULES if node.by_channel else ():
        rule = find(node)
        if rule is not None:
            return rule
    return rule_for(node.op)


def rule_for(op: Any) -> Any:
    """The rule for a layer or operator; the base class, which refuses, for an unknown one."""
    kind = type(op)
    if kind in _RULES:
        return _RULES[kind]
    if kind.__module__.split(".")[0] == "keras" and kind.__name__ in _RULES:
        return _RULES[kind.__name__]
    for anatomy in type(anatomy_of(op)).__mro__:
        if anatomy in _RULES:
            return _RULES[anatomy]
    for find in FALLBACKS:
        rule = find(op)
        if rule is not None:
            return rule
    return Rule()
