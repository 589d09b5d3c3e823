"""A training in parts, between which the network shrinks; to callbacks it is one."""

import contextlib
import inspect
from collections.abc import Callable, Iterator
from typing import Any

import keras
import numpy as np
from keras import ops

from tfgates.gates import gates_of
from tfgates.graph.slices import Heir, folded
from tfgates.keras_internals import set_initial_epoch
from tfgates.notices import warn
from tfgates.shrinking.record import KeepsRecords, plan_of, replayed, watched_by
from tfgates.shrinking.shrink import plan_shrinking, shrunk
from tfgates.shrinking.watch import Pause, Shrinking, Watch
from tfgates.training.callback_checks import check_instances, flat


def fit(model: Any, *args: Any, shrink: Any = True, **kwargs: Any) -> keras.callbacks.History:
    """As `model.fit`, of a `GatedModel` that gets smaller, and cheaper to train, while its gates close.

    Between epochs the network is rebuilt without the units that are closed for good. `tfgates.shrink` says what is
    kept, and how the training differs from one that keeps these units; `tfgates.shrinking.Shrinking` says when it
    happens. `model` itself is left as it was at the first rebuild: the trained network is the `model` of what is
    returned.

    If the network cannot be rebuilt, because of an optimizer whose state cannot be cut or because of a fault, a
    `GatesWarning` says why, and the training continues as it is to its end.

    Callbacks see one training run: its beginning and its end are announced to them once, epochs are numbered
    consecutively, and their `model` is the one that is being trained. The weights that `EarlyStopping` keeps as the
    best get smaller as well. The logs contain `rebuilds`, how often the network has shrunk; it marks the rebuilds in
    TensorBoard. With a `tfgates.callbacks.Resume` an interrupted training continues from where it was, in the shape
    that it had.

    With `steps_per_epoch` a `tf.data.Dataset` goes on after a rebuild where it was: what was read is skipped, which
    means to read it once more. Other data that Keras would read on in begin anew, and a `GatesWarning` says so.

    Args:
        model: a compiled, functional `GatedModel`.
        *args, **kwargs: as in `keras.Model.fit`.
        shrink: True, a `Shrinking`, or False: then nothing is removed. Defaults to True.

    Returns:
        The `keras.callbacks.History` of all epochs; its `model` is the network that was trained.

    Raises:
        ValueError: for a model that cannot shrink, for callbacks whose files are of one network only
            (`BackupAndRestore`), and for a `CallbackList`.

    Example:

    >>> history = tfgates.fit(gated, x, y, epochs=50)
    >>> small = tfgates.prune(history.model)
    """
    given = dict(inspect.signature(keras.Model.fit).bind(model, *args, **kwargs).arguments)
    del given["self"]
    settings = settings_of(shrink)
    if settings is False or not getattr(model, "compiled", True):
        # Keras says what is missing.
        return model.fit(**given)
    plan_shrinking(model, {})
    callbacks = given.pop("callbacks", None)
    check_callbacks(callbacks)
    check_instances(callbacks)
    callbacks = flat(callbacks)
    watch = Watch(settings)
    watch.state["gates"] = [gate.name for gate in gates_of(model)]
    pause = Pause(watch)
    model, pause.at_once = resumed(model, callbacks, watch)
    history, start = None, given.pop("initial_epoch", 0)
    rest_of_data = data_of(given)
    continued = Continued(callbacks)
    while True:
        watched_by(model, watch)
        with continued.part(model, pause):
            data = rest_of_data(0 if history is None else len(history.epoch))
            part = model.fit(**{**given, **data}, initial_epoch=start, callbacks=[watch, *callbacks, pause])
        history = part if history is None else joined(history, part)
        if not pause.paused:
            return history
        set_initial_epoch(model, None)
        start, pause.at_once = pause.epoch, False
        try:
            plan = watch.plan or plan_of(model, watch.state["pending"])
            small, heirs = shrunk(plan)
        except Exception as error:
            # What was trained so far is worth more than what the epochs that are left would save.
            watch.give_up(error)
            continue
        watch.shrank(plan, small)
        for callback in callbacks:
            shrink_best_weights(callback, model, small, heirs)
        small.stop_training = False
        if given.get("verbose", "auto"):
            _say(small, start)
        model = small


def data_of(given: dict[str, Any]) -> Callable[[int], dict[str, Any]]:
    """A function from the number of epochs that were read to what `fit` is given as data for the next part.

    With `steps_per_epoch` Keras reads on in a data set from epoch to epoch of one `fit`, and begins anew in the next.
    A part skips what was read, which means to read it again: order counts here, and rebuilds are few. Where the length
    of the data is no multiple of `steps_per_epoch`, Keras ends an epoch early; after a rebuild epochs are whole.

    Args:
        given: the arguments of the whole training.
    """
    data, steps = given.get("x"), given.get("steps_per_epoch")
    if steps is None or isinstance(data, (tuple, list, dict)) or hasattr(data, "shape") or hasattr(data, "__next__"):
        # Arrays are shuffled anew in any case; a generator goes on by itself.
        return lambda epochs: {}
    if not hasattr(data, "skip"):
        warn(
            "With `steps_per_epoch` the data begin anew after each rebuild of the network, unless they are a "
            "`tf.data.Dataset`: give one, leave out `steps_per_epoch`, or give `shrink=False`. "
            f"Received: steps_per_epoch={steps}, data of type {type(data).__name__}"
        )
        return lambda epochs: {}
    dataset: Any = data
    batches = int(dataset.cardinality())

    def rest(epochs: int) -> dict[str, Any]:
        if not epochs:
            return {}
        if batches > 0:
            # In each pass a whole number of epochs begins.
            epochs %= -(-batches // steps)
            return {"x": dataset.skip(steps * epochs).concatenate(dataset.repeat())}
        # Of what is endless `repeat` changes nothing.
        return {"x": dataset.repeat().skip(steps * epochs)}

    return rest


def _say(small: Any, epoch: int) -> None:
    last, dense = small.removals[-1], small.dense_reference.totals
    name = "params" if last["macs"] is None else "macs"
    print(
        f"Epoch {epoch}: {last['units']:,} closed units removed, {last[name] / dense[name]:.0%} of the dense "
        f"{'parameters' if name == 'params' else 'MACs'} left to train",
        flush=True,
    )


def settings_of(shrink: Any) -> Any:
    """The `Shrinking` that an argument asks for, or False."""
    if shrink is True:
        return Shrinking()
    if shrink is False or isinstance(shrink, Shrinking):
        return shrink
    raise ValueError(f"`shrink` must be True, False or a tfgates.shrinking.Shrinking. Received: shrink={shrink!r}")


def check_callbacks(callbacks: Any) -> None:
    """Refuses callbacks that cannot follow a network that shrinks."""
    if isinstance(callbacks, keras.callbacks.CallbackList):
        raise ValueError(
            "`callbacks` must be a list of callbacks, which follow several networks. Received: a CallbackList"
        )
    for callback in flat(callbacks):
        if isinstance(callback, keras.callbacks.BackupAndRestore):
            raise ValueError(
                "`callbacks` must not hold a BackupAndRestore, whose files have the shape of one network: write "
                f"tfgates.callbacks.Resume({str(callback.backup_dir)!r}) in its place, which goes on with one that has "
                "shrunk, or give `shrink=False`. Received: one"
            )


def resumed(model: Any, callbacks: list[Any], watch: Watch) -> tuple[Any, bool]:
    """The model in the shape that an interrupted training has left, and whether it was about to shrink."""
    for callback in callbacks:
        record = callback.saved_record(model) if isinstance(callback, KeepsRecords) else ""
        if record:
            return replayed(model, record, watch), bool(watch.state["pending"])
    return model, False


def joined(history: Any, part: Any) -> Any:
    """`part` with the epochs of `history` in front of its own."""
    before = len(history.epoch)
    after = len(part.epoch)
    names = dict.fromkeys([*history.history, *part.history])
    merged = {}
    for name in names:
        # What only one of the parts has logged is None in the other.
        first, second = history.history.get(name, [None] * before), part.history.get(name, [None] * after)
        merged[name] = [*first, *second]
    part.history, part.epoch = merged, [*history.epoch, *part.epoch]
    return part


class Continued:
    """Tells callbacks of the begin and the end of a training in parts once.

    Args:
        callbacks: list of callbacks, which are as they were behind each part.
    """

    def __init__(self, callbacks: list[Any]) -> None:
        self._callbacks = callbacks
        self._begun = False

    @contextlib.contextmanager
    def part(self, model: Any, pause: Pause) -> Iterator[None]:
        """Within it a part is trained."""
        # Of optimizers with averages Keras puts these into the weights when a `fit` ends.
        replaced = [(model.optimizer, "finalize_variable_values", True)]
        for callback in self._callbacks:
            replaced.append((callback, "on_train_end", True))
            if self._begun:
                replaced.append((callback, "on_train_begin", False))
        # A callback may have these as attributes of its own, as `LambdaCallback` does.
        own = [vars(target).get(name) for target, name, _ in replaced]
        for target, name, at_end in replaced:
            # Keras tracks what is set on an optimizer.
            vars(target)[name] = unless(getattr(target, name), (lambda: pause.paused) if at_end else (lambda: True))
        try:
            yield
            self._begun = True
        finally:
            for (target, name, _), before in zip(replaced, own, strict=True):
                if before is None:
                    del vars(target)[name]
                else:
                    vars(target)[name] = before


def unless(function: Callable[..., Any], silent: Callable[[], bool]) -> Callable[..., Any]:
    """`function`, which does nothing where `silent()`."""

    def call(*args: Any, **kwargs: Any) -> Any:
        return None if silent() else function(*args, **kwargs)

    return call


def shrink_best_weights(callback: Any, model: Any, small: Any, heirs: list[Heir]) -> None:
    """Cuts the weights that a callback keeps as the best, if it has any, as those of the network."""
    best = getattr(callback, "best_weights", None)
    if not best:
        return
    before = {id(weight): np.asarray(value) for weight, value in zip(model.weights, best, strict=True)}
    known = {id(each.variable): each for each in heirs}
    found = []
    for weight in small.weights:
        heir = known.get(id(weight))
        if heir is None:
            # Of the model itself: multipliers and their pace.
            place = [v.path for v in model.weights].index(weight.path)
            found.append(np.asarray(best[place]))
        elif heir.source is None:
            found.append(np.broadcast_to(folded(np.zeros(weight.shape), heir.folds), weight.shape))
        else:
            value = before[id(heir.source.variable)]
            for axis, indices in heir.source.kept.items():
                value = np.take(value, indices, axis=axis)
            found.append(np.asarray(folded(value, heir.folds), ops.convert_to_numpy(weight).dtype))
    callback.best_weights = found
