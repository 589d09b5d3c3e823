"""The layers of a network that are opened: each is followed once, those in it with it where nothing else does."""

from collections.abc import Callable, Collection
from typing import Any

import keras
from keras import tree

from tfgates.graph.calls import in_form
from tfgates.graph.opened import Found
from tfgates.graph.opening import may_be_opened, open_layer
from tfgates.graph.unrolling import Call, NotOpenedError, Unrolled


class Openings:
    """Follows layers, and knows what it has found."""

    def __init__(self) -> None:
        # So that twelve equal blocks are compared in full once.
        self._compared: dict[Any, Found] = {}
        # The calls of layers in layers, by their ids, with what they were followed as when those were.
        self._found: dict[int, tuple[Call, Any]] = {}

    def of(
        self, call: Call, args: Any, kwargs: Any, masks: bool, beside: Callable[..., Collection[int]] | None = None
    ) -> Any:
        """The calls that a layer makes, and the tensors among its arguments.

        Args:
            call: a call of it.
            args, kwargs: its arguments in one form, `training` apart.
            masks: bool, whether anything reads the masks of what it makes.
            beside: function of symbolic tensors that returns the ids of those whose first axis is not that of the
                examples. It is asked where the layer cannot be opened as if that were the first axis of all.

        Raises:
            NotOpenedError: if it stays whole.
        """
        before, found = self._found.pop(id(call), (None, None))
        if before is not call:
            try:
                return self._follow(call, args, kwargs, masks)
            except NotOpenedError:
                others = () if beside is None else beside(tree.flatten((args, kwargs)))
                if not others:
                    raise
                return self._follow(call, args, kwargs, masks, others)
        if isinstance(found, NotOpenedError):
            raise found
        return found

    def _follow(
        self, call: Call, args: Any, kwargs: Any, masks: bool, beside: Collection[int] = ()
    ) -> tuple[Unrolled, list[Any]]:
        """The same; with those of layers in it that can be followed here alone, as where sizes follow from its own."""
        outputs = tree.flatten(call.outputs)
        opened = open_layer(call.op, args, kwargs, outputs, masks, self._compared, beside=beside)
        stuck = {id(each.op) for each in opened[0].calls if self._is_stuck(each, masks)}
        if stuck:
            try:
                return open_layer(call.op, args, kwargs, outputs, masks, self._compared, stuck, beside)
            except NotOpenedError:
                # Each of them says for itself why it stays whole.
                pass
        return opened

    def _is_stuck(self, call: Call, masks: bool) -> bool:
        """Whether a call that a layer makes is of one that holds others, or weights, and cannot be opened by itself."""
        if isinstance(call.op, keras.Model) or not may_be_opened(call.op):
            return False
        args, kwargs = in_form(call.op, call.args, call.kwargs)
        kwargs = {key: value for key, value in kwargs.items() if key != "training"}
        try:
            found: Any = self._follow(call, args, kwargs, masks)
        except NotOpenedError as reason:
            found = reason
        self._found[id(call)] = call, found
        return isinstance(found, NotOpenedError)
