"""Proving that the calls that a layer makes compute what the layer does."""

import contextlib
import dataclasses
import functools
from collections.abc import Collection
from typing import Any

import keras
from keras import tree

from tfgates.graph.likeness import likeness
from tfgates.graph.observed import (
    Sizes,
    call_layer,
    has_open_sizes,
    observed,
    other_weights,
    random_values,
    runnable_sizes,
    same,
    shapes_for,
)
from tfgates.graph.unrolling import NotOpenedError, Unrolled, calls_forgotten, first_line
from tfgates.keras_internals import layers_within
from tfgates.layers.added_loss import AddedLoss

TIED = "it computes with weights of layers that it holds, beside calling them, as with weights that are tied"

# Few examples and steps.
FEW = ((1, 1), (2, 3))

# How a layer can differ from the calls that it makes.
KINDS = ("gives something else", "hands on other masks", "keeps other state")


def differing(kind: str, training: bool) -> str:
    """How a layer differs from the calls that it makes."""
    return f"it {kind} {'in training' if training else 'at inference'} than the calls that it makes"


# Where what it adds to the loss in training is not among them.
IN_TRAINING_ALONE = differing(KINDS[2], training=True)

# Where the mask that it hands on is not that of what they make.
OTHER_MASKS = tuple(differing(KINDS[1], training) for training in (False, True))


class UntriedError(NotOpenedError):
    """A layer cannot be called on what it is given."""


@dataclasses.dataclass(frozen=True)
class Trial:
    """How a layer is called: on so many examples, in training or not, with other weights or its own."""

    batch: int
    training: bool
    others: bool
    sizes: Sizes


@dataclasses.dataclass(frozen=True)
class Found:
    """What came of a comparison: why it failed, nothing where it did not; and one of its trials, of own weights."""

    reason: str
    trial: Trial | None


class Comparison:
    """A call of a layer, to be compared with the calls that it is said to make, on random inputs.

    Args:
        layer: the layer, left as it was.
        tensors: the symbolic tensors among the arguments of its call, in the order of the inputs of what is compared.
        args, kwargs: the arguments of its call in the model.
        masks: bool, whether anything reads the masks that the outputs carry.
        trained: bool, whether the calls compute in each mode what the layer computes in training alone, of sizes that
            fit then.
        beside: numbers of the tensors whose first axis is not that of the examples.
    """

    def __init__(
        self,
        layer: keras.Layer,
        tensors: list[Any],
        args: Any,
        kwargs: Any,
        masks: bool = True,
        trained: bool = False,
        beside: Collection[int] = (),
    ) -> None:
        self.layer, self.tensors, self._trained, self._beside = layer, tensors, trained, beside
        self._args, self._kwargs, self._masks = args, kwargs, masks
        # What the layer gives in each trial: it may be compared with several lists of calls.
        self._expected: dict[Trial, tuple[list[Any], list[Any], list[Any]]] = {}

    def check(self, unrolled: Unrolled, known: dict[Any, Found]) -> None:
        """Raises unless the calls compute what the layer does.

        At inference, and, with the same random numbers, in training; for different batches; with its weights as they
        are, and with others in their place; with random masks where the inputs carry masks. Outputs, the masks that
        they carry, and what the calls leave in the layer's variables must be the same. All is put back. Where another
        layer that differs in the values of its variables alone (`tfgates.graph.likeness`) was compared so before, one
        trial is made: at inference, with the weights as they are, which is where their values could matter.

        Args:
            unrolled: the calls.
            known: by the likeness of calls that were compared before what was found, nothing or why they differ; it
                grows.

        Raises:
            NotOpenedError: if anything differs, if the layer has weights that none of the calls is of, if it
                adds losses of its own, or if it cannot be called on random inputs.
        """
        unread = check_holdings(self.layer, unrolled)
        unrolled.unread = [weight.path for weight in unread]
        key = likeness(self.layer, self._args, self._kwargs, unrolled, self._masks)
        before = None if key is None else known.get(key)
        if before is not None and before.trial is not None:
            return self._try(unrolled, [before.trial])
        found = before or self._in_full(unrolled)
        if key is not None:
            known[key] = found
        if found.reason:
            raise NotOpenedError(found.reason)
        return None

    def _in_full(self, unrolled: Unrolled) -> Found:
        """What comes of all trials."""
        few = self.of_few
        try:
            try:
                self._try(unrolled, [*few, *self.trials])
            except NotOpenedError:
                enough = [trial for trial in few if not self.too_small(unrolled, trial)]
                if len(enough) == len(few):
                    raise
                self._try(unrolled, [*enough, *self.trials])
        except NotOpenedError as error:
            return Found(str(error), None)
        return Found("", self.trials[0])

    def too_small(self, unrolled: Unrolled, trial: Trial) -> bool:
        """Whether Keras says of a call that nothing is left behind it: what TensorFlow makes there is any number."""
        shapes = shapes_for(self.tensors, trial.batch, trial.sizes, self._beside)
        inputs = [keras.KerasTensor(shape, tensor.dtype) for shape, tensor in zip(shapes, self.tensors, strict=True)]
        with calls_forgotten(self.layer):
            try:
                unrolled.run(inputs, symbolic=True)
            except Exception as error:
                # A layer of the user's can raise anything here.
                return "zero or negative" in str(error)
        return False

    @functools.cached_property
    def trials(self) -> list[Trial]:
        """How the layer is called. Those with other weights follow each other."""
        sizes = runnable_sizes(self.tensors, self._runs, self._beside)
        # Another batch, other sizes and other weights than those with which it may have been followed.
        own = [Trial(2, False, False, size) for size in sizes]
        return [*own, Trial(3, True, True, sizes[-1]), Trial(3, False, True, sizes[0])]

    def _runs(self, sizes: Sizes) -> tuple[list[Any], ...]:
        """What the layer gives at inference for these sizes, if it takes them."""
        if self._trained:
            self._of_layer(Trial(2, True, False, sizes))
        return self._of_layer(Trial(2, False, False, sizes))

    @functools.cached_property
    def of_few(self) -> list[Trial]:
        """One example of one step, and few of few, of which a `call` may make another case; where it takes them."""
        found = []
        open_ones = has_open_sizes(self.tensors, self._beside)
        for batch, size in FEW if open_ones else FEW[:1]:
            trial = Trial(batch, False, False, (size,) * len(self.tensors))
            with contextlib.suppress(NotOpenedError):
                self._of_layer(trial)
                found.append(trial)
        return found

    def _try(self, unrolled: Unrolled, trials: list[Trial]) -> None:
        others = [trial for trial in trials if trial.others]
        failed = self._first(unrolled, [trial for trial in trials if not trial.others])
        if failed is None and others:
            with other_weights(self.layer):
                failed = self._first(unrolled, others)
        if failed is None:
            return
        trial, kind = failed
        if unrolled.unread:
            raise NotOpenedError(f"its `call` uses its weights in a way that cannot be followed: {unrolled.unread[0]}")
        if trial.others and not self.differs(unrolled, dataclasses.replace(trial, others=False)):
            raise NotOpenedError(TIED)
        raise NotOpenedError(differing(kind, trial.training))

    def _first(self, unrolled: Unrolled, trials: list[Trial]) -> tuple[Trial, str] | None:
        """The first trial in which something differs, and what."""
        for trial in trials:
            try:
                kind = self.differs(unrolled, trial)
            except UntriedError:
                if not trial.training or trial.sizes == self.trials[0].sizes:
                    raise
                # Losses that a layer adds in training alone can want sizes that its outputs do not.
                trial = dataclasses.replace(trial, sizes=self.trials[0].sizes)
                kind = self.differs(unrolled, trial)
            if kind:
                return trial, kind
        return None

    def differs(self, unrolled: Unrolled, trial: Trial) -> str:
        """How the layer differs from the calls with the weights that it has now; nothing where it does not."""
        expected, values = self._of_layer(trial), self._values(trial)
        try:
            adding = [call.op for call in unrolled.calls if isinstance(call.op, AddedLoss)]
            found = observed(self.layer, lambda: unrolled.run(values, trial.training), trial.training, adding)
        except Exception as error:
            raise NotOpenedError(f"its parts cannot be called by themselves: {first_line(error)}") from error
        if len(expected[0]) != len(found[0]):
            when = "in training" if trial.training else "at inference"
            raise NotOpenedError(
                f"it returns {len(expected[0])} tensors {when}, and the calls that it makes {len(found[0])}"
            )
        pairs = zip(KINDS, expected, found, strict=True)
        matter = ((kind, one, other) for kind, one, other in pairs if self._masks or kind != KINDS[1])
        return next((kind for kind, one, other in matter if not same(one, other, self.layer)), "")

    def _values(self, trial: Trial) -> list[Any]:
        return random_values(self.layer, self.tensors, trial.batch, trial.sizes, trial.batch, self._beside)

    def _of_layer(self, trial: Trial) -> tuple[list[Any], list[Any], list[Any]]:
        """What can be seen of the layer in a trial, found once."""
        if trial not in self._expected:
            values, training = self._values(trial), trial.training

            def whole() -> list[Any]:
                return call_layer(self.layer, self.tensors, values, self._args, self._kwargs, training)

            try:
                self._expected[trial] = observed(self.layer, whole, training)
            except Exception as error:
                # A layer of the user's can raise anything here.
                raise UntriedError(f"it cannot be tried on random inputs: {first_line(error)}") from error
        return self._expected[trial]


def check_holdings(layer: keras.Layer, unrolled: Unrolled) -> list[keras.Variable]:
    """Refuses layers whose losses are not those of the layers that they call; the weights that none of the calls reads.

    Whether the layer itself reads these shows where they are given other values: numbers that are no floats are not.
    """
    called = {id(call.op): call.op for call in unrolled.calls if isinstance(call.op, keras.Layer)}
    held = {id(inner) for inner in layers_within(layer, include_self=False)}
    for key, inner in called.items():
        if key not in held and inner.variables:
            raise NotOpenedError(f"it calls layer {inner.name!r}, which is none of its own")
    given = {id(x) for call in unrolled.calls for x in tree.flatten((call.args, call.kwargs))}
    tied = any(id(v) in given for inner in called.values() for v in inner.variables)
    if tied and not isinstance(layer, keras.Model):
        # Keras saves a variable that an operator is given as a constant: in a model that is loaded the tie is lost.
        # A subclassed model cannot stay whole.
        raise NotOpenedError(TIED)
    reached = {id(v) for inner in called.values() for v in inner.weights} | {id(each.source) for each in unrolled.given}
    unread = [v for v in layer.weights if id(v) not in reached]
    whole = next((v for v in unread if "float" not in str(v.dtype) or v.regularizer is not None), None)
    if whole is not None:
        raise NotOpenedError(f"its `call` uses its weights itself, or not at all: {whole.path}")
    if getattr(layer, "activity_regularizer", None) is not None:
        raise NotOpenedError("it has an activity regularizer")
    if getattr(layer, "quantization_mode", None):
        raise NotOpenedError("it is quantised")
    return unread
