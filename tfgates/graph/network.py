"""A Keras model as one flat list of calls, nested models and shared layers included."""

import contextlib
import dataclasses
import functools
from collections.abc import Container
from typing import Any

import keras
from keras import tree

from tfgates.anatomy.weightless import is_dropout
from tfgates.graph.calls import called_with_mask, check_nested, has_own_mask, in_form, nested_inputs
from tfgates.graph.classes import is_own
from tfgates.graph.corrected import Corrected, NotCorrectedError
from tfgates.graph.masks import all_given, masks_of
from tfgates.graph.opening import ToldOtherwiseError, call_names, may_be_opened, may_combine
from tfgates.graph.openings import Openings
from tfgates.graph.over_places import mark_over_places
from tfgates.graph.own_products import as_dense_layers
from tfgates.graph.own_weights import Given, as_layer
from tfgates.graph.phase import Phase, write_down
from tfgates.graph.picked_parts import cut_out_of_channels
from tfgates.graph.state import complete
from tfgates.graph.subclassed import check_inputs, graph_of_call, unopened
from tfgates.graph.tying import Tie, find_ties
from tfgates.graph.unrolling import Call, NotOpenedError
from tfgates.keras_internals import has_graph, mask_of, nodes_by_depth


@dataclasses.dataclass(frozen=True)
class Ref:
    """Stands for a tensor, identified by its number, in the arguments of a call."""

    tensor: int


@dataclasses.dataclass
class Node:
    """One call of a layer or operator."""

    index: int
    op: Any
    args: Any
    kwargs: Any
    inputs: list[int]
    outputs: list[int]
    name: str
    # For a layer that holds others: why it was not opened.
    whole: str | None = None
    # Whether the call is one that a layer of the model makes.
    inside: bool = False
    # What it shares weights with.
    tie: Tie | None = None
    # Whether what it makes is read channel by channel, and it makes each by itself: see `tfgates.graph.over_places`.
    by_channel: bool = False

    @property
    def layer(self) -> Any:
        """The layer, or None if the call is of an operator that is not a layer."""
        return self.op if isinstance(self.op, keras.Layer) else None


class Network:
    """The calls of a model in topological order.

    Args:
        model: a Functional or Sequential `keras.Model`, or a subclassed one that can be opened.
        example: for a subclassed model, an example to call it on.

    Raises:
        ValueError: if the model is not built, or is a subclassed one whose `call` cannot be followed.
    """

    def __init__(self, model: Any, example: Any = None) -> None:
        self.model = model
        self._openings = Openings()
        # What rules have found out by trying, by index of the call: it holds for every walk.
        self.proofs: dict[Any, Any] = {}
        # What was found of it already, see `tfgates.graph.walk.symbolic_walk`.
        self.walks: dict[Any, Any] = {}
        if not isinstance(model, keras.Model):
            raise ValueError(
                "`model` must be a keras.Model; load one from a file by keras.models.load_model. "
                f"Received: model={model!r}"
            )
        functional = as_functional(model)
        subclassed = functional is None
        if subclassed:
            functional = graph_of_call(model, example)
        self.functional = functional
        self._read_corrected()
        as_dense_layers(self.nodes, self._phases, self.shapes, self.dtypes, self.outputs)
        cut_out_of_channels(self, self._phases)
        if self.has_modes:
            write_down(self.nodes, self._phases)
        find_ties(self.nodes)
        self.consumers: list[list[Node]] = [[] for _ in self.shapes]
        for node in self.nodes:
            for tensor in dict.fromkeys(node.inputs):
                self.consumers[tensor].append(node)
        mark_over_places(self)
        if subclassed:
            check_inputs(self)

    def _read_corrected(self) -> None:
        """Reads the graph, of layers that tell Keras something else than they make what they make."""
        wrong, given_up = set[int](), set[int]()
        while True:
            try:
                self._read(wrong)
            except NotCorrectedError:
                wrong, given_up = set(), given_up | wrong
                continue
            # A copy of what stays whole would tell Keras the same again.
            whole = {id(node.op) for node in self.nodes} & wrong
            more = self._told_otherwise - wrong - given_up
            if not whole and not more:
                return
            wrong, given_up = (wrong | more) - whole, given_up | whole

    def _read(self, wrong: set[int]) -> None:
        """Reads the graph; `wrong` are ids of layers that tell Keras something else than they make."""
        self.nodes: list[Node] = []
        self.shapes: list[tuple[Any, ...]] = []
        self.dtypes: list[str] = []
        self.producer: list[Node | None] = []
        self._kept: list[Any] = []
        self._weights: dict[int, int] = {}
        # Paths of weights that are left out, since no call reads them.
        self.unread: list[str] = []
        self._masked = False
        # Tensors that carried a mask which now all calls that read it are given: see `tfgates.graph.masks.all_given`.
        self.masks_given: set[int] = set()
        self._phase = Phase()
        self._phases: list[Any] = []
        # Ids of layers of which it was found that they do.
        self._told_otherwise: set[int] = set()
        self._corrected = Corrected(wrong)
        functional = self.functional
        self.inputs = [self._tensor(t) for t in functional.inputs]
        produced = dict(zip(map(id, functional.inputs), self.inputs, strict=True))
        self._expand(functional, produced, prefix="")
        self.outputs = [produced[id(t)] for t in functional.outputs]

    @property
    def has_modes(self) -> bool:
        """Whether calls have their own modes, which each then has among its keywords: see `tfgates.graph.phase`."""
        return self._phase.asked

    @functools.cached_property
    def _all_masks_given(self) -> bool:
        return isinstance(self.functional.outputs, list) and all_given(self.functional)

    @functools.cached_property
    def masks(self) -> list[Any]:
        """For each tensor the mask that it carries, or None: see `tfgates.graph.masks`."""
        return masks_of(self) if self._masked else [None] * len(self.shapes)

    def reader(self, tensor: int, used: Container[int] | None = None) -> Any:
        """The one call that reads a tensor, dropout passed over; None if there are more or none.

        Args:
            used: indices of the calls that count; all by default.
        """
        while True:
            readers = [n for n in self.consumers[tensor] if used is None or n.index in used]
            if len(readers) != 1 or tensor in self.outputs:
                return None
            if not is_dropout(readers[0].op):
                return readers[0]
            tensor = readers[0].outputs[0]

    def _tensor(self, keras_tensor: Any, producer: Node | None = None) -> int:
        self.shapes.append(tuple(keras_tensor.shape))
        self.dtypes.append(keras_tensor.dtype)
        self.producer.append(producer)
        self._masked |= mask_of(keras_tensor) is not None
        return len(self.shapes) - 1

    def _expand(
        self,
        functional: keras.Model,
        produced: dict[int, int],
        prefix: str,
        is_inside: bool = False,
        training: Any = None,
    ) -> None:
        """Adds the calls of `functional`; `produced` maps its tensors to numbers, and grows."""
        by_depth = nodes_by_depth(functional)
        for depth in sorted(by_depth, reverse=True):
            for node in by_depth[depth]:
                if not node.is_input:
                    call = self._corrected.call(node)
                    self._call(call, produced, prefix, is_inside=is_inside, training=training)
                    produced.update(
                        (id(told), produced[id(made)]) for told, made in zip(node.outputs, call.outputs, strict=True)
                    )
                    # Symbolic tensors are told apart by their addresses: none may be freed and its address used again.
                    self._kept.append(call)

    def _call(
        self,
        call: Call,
        produced: dict[int, int],
        prefix: str,
        name: str | None = None,
        is_inside: bool = False,
        training: Any = None,
    ) -> None:
        """Adds a call, or those that it makes; `training` is what the model or layer around it tells all of them."""
        op, name = call.op, f"{prefix}{name or call.op.name}"
        args, kwargs = in_form(op, call.args, call.kwargs)
        phase = None
        if isinstance(op, keras.Layer):
            phase = self._phase.of(op, kwargs, training)
            kwargs = {key: value for key, value in kwargs.items() if key != "training"}
        inner = as_functional(op) if isinstance(op, keras.Model) else None
        masked = inner is not None and (has_own_mask(args, kwargs) or called_with_mask(op))
        if inner is not None and not masked:
            check_nested(op.name, kwargs)
            given = nested_inputs(inner, args[0], op.name)
            inside = {id(t): produced[id(outer)] for t, outer in zip(inner.inputs, given, strict=True)}
            self._expand(inner, inside, f"{name}/", is_inside, phase)
            for outer, tensor in zip(tree.flatten(call.outputs), inner.outputs, strict=True):
                produced[id(outer)] = inside[id(tensor)]
            return
        (source, *more), (made, *_) = tree.flatten((args, kwargs)) or [None], call.outputs
        if is_inside and type(op).__name__ == "Cast" and not more and source.dtype == made.dtype:
            produced[id(made)] = produced[id(source)]
            return
        whole = "it is called with a `mask`" if masked else None
        if not masked and may_be_opened(op):
            try:
                return self._open(call, args, kwargs, produced, name, phase)
            except NotOpenedError as reason:
                if op is self.model:
                    raise unopened(op, str(reason)) from reason
                if isinstance(reason, ToldOtherwiseError) and not is_inside:
                    self._told_otherwise.add(id(op))
                whole = str(reason)
        elif not masked and may_combine(op, args, kwargs, call.outputs):
            # What cannot be opened is tried as a function.
            with contextlib.suppress(NotOpenedError):
                return self._open(call, args, kwargs, produced, name, phase)
        if whole is not None:
            self._phase.within(op, args, kwargs, phase)

        def ref(x: Any) -> Any:
            return Ref(produced[id(x)]) if isinstance(x, keras.KerasTensor) else x

        if isinstance(op, keras.Layer) and "call" in vars(op):
            raise ValueError(
                f"Layer {op.name!r} has a `call` that was set on the object. Neither its class nor its config has it, "
                f"so that a copy would compute something else: put it into a subclass. Received: {type(op).__name__}"
            )
        complete(op)
        args, kwargs = tree.map_structure(ref, (args, kwargs))
        inputs = [r.tensor for r in tree.flatten((args, kwargs)) if isinstance(r, Ref)]
        new = Node(len(self.nodes), op, args, kwargs, inputs, [], name, whole, is_inside)
        for tensor in tree.flatten(call.outputs):
            new.outputs.append(self._tensor(tensor, new))
            produced[id(tensor)] = new.outputs[-1]
        self.nodes.append(new)
        self._phases.append(phase)

    def _open(self, call: Call, args: Any, kwargs: Any, produced: dict[int, int], name: str, phase: Any) -> None:
        """Adds the calls that a layer makes in place of its own."""
        unrolled, tensors = self._openings.of(
            call, args, kwargs, self._reads_masks(call), self._corrected.beside_examples
        )
        within = {id(t): produced[id(outer)] for t, outer in zip(unrolled.inputs, tensors, strict=True)}
        within.update((id(each.tensor), self._weight(each, name, call.op)) for each in unrolled.given)
        for each, own_name in zip(unrolled.calls, call_names(unrolled.calls), strict=True):
            prefix = "" if call.op is self.model else f"{name}/"
            self._call(each, within, prefix, own_name, is_inside=True, training=phase)
        for outer, tensor in zip(tree.flatten(call.outputs), unrolled.outputs, strict=True):
            produced[id(outer)] = within[id(tensor)]
            if not self._reads_masks(call) and mask_of(outer) is not None:
                self.masks_given.add(within[id(tensor)])
        self._kept.append(unrolled)
        self.unread.extend(unrolled.unread)

    def _reads_masks(self, call: Call) -> bool:
        """Whether anything may read the masks of what a call makes."""
        return call.op is self.model or not self._all_masks_given

    def _weight(self, given: Given, name: str, holder: keras.Layer) -> int:
        """The tensor of a weight that a layer uses itself: a call, for all that read it, of a layer that returns it."""
        key = id(given.source)
        if key not in self._weights:
            args, own_name = (Ref(self.inputs[0]),), getattr(given.source, "name", f"{given.layer.name}_constant")
            # One of a layer inside is named after it.
            own_name = own_name if given.layer is holder else f"{given.layer.name}/{own_name}"
            new = Node(len(self.nodes), as_layer(given), args, {}, self.inputs[:1], [], f"{name}/{own_name}")
            new.inside = True
            self._weights[key] = self._tensor(given.tensor, new)
            new.outputs.append(self._weights[key])
            self.nodes.append(new)
            self._phases.append(None)
        return self._weights[key]


def as_functional(model: keras.Model) -> Any:
    """The graph of a model as a Functional model, or None if it has none, or a `call` that does otherwise."""
    if has_own_call(model):
        return None
    if isinstance(model, keras.Sequential):
        if not model.built or not model.layers:
            raise ValueError(
                "`model` must be built: give it a keras.Input as first layer, or call it on data once. "
                f"Received: Sequential {model.name!r}, not built"
            )
        return keras.Model(model.inputs[0], model.outputs[0])
    return model if has_graph(model) else None


def has_own_call(layer: keras.Layer) -> bool:
    """Whether the `call` of a layer is neither Keras's nor of tfgates, but the user's."""
    return "call" in vars(layer) or is_own(type(layer), "call")
