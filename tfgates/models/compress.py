"""One call from a network to a smaller one: train with gates, choose units, prune, fine-tune."""

import os

import keras

from tfgates.callbacks.resume import Resume
from tfgates.costs.structure import list_of
from tfgates.graph.classes import own_methods, user_class
from tfgates.models.batches import check_targets
from tfgates.models.finishing import reestimate_statistics
from tfgates.models.gate_model import check_arguments
from tfgates.models.phases import GatesPhase, ImportancePhase
from tfgates.models.steps import example_of, steps_per_epoch
from tfgates.pruning.plan import PruningPlan
from tfgates.pruning.report import History, report_of
from tfgates.tables import whole


def compress(
    model,
    data,
    budget,
    loss,
    epochs=30,
    validation_data=None,
    metrics=None,
    batch_size=128,
    gate="hard_concrete",
    learning_rate=1e-3,
    weight_decay=0.1,
    fine_tune=0.4,
    residual="inner",
    flattened=True,
    generator=None,
    layers=None,
    callbacks=None,
    resume=None,
    round_to=1,
    importance=None,
    verbose=1,
    **gate_arguments,
):
    """Trains a network under a budget and returns the smaller network that is left.

    Four phases in one call: the gated network is trained under the budget (whose warm-up and ramp
    follow the number of steps, see `tfgates.Budget`); the units are chosen so that the actual cost
    fits; what is closed is removed, and averages of batch normalisation are
    estimated again (`tfgates.reestimate_statistics`); the network that is left is fine-tuned.
    Gates learn by Adam at the rate of `tfgates.optimizers.gate_learning_rate`, weights by AdamW, the rate
    constant with gates and falling to 0 by a cosine after them. With `importance` there are no gates: the
    dense network is trained as long, and pruned by that criterion.

    Args:
        model: a Sequential or Functional `keras.Model`, trained or not; it is left untouched.
        data: a `tf.data.Dataset` of batches `(x, y)` or `(x, y, sample_weight)`, or a tuple of arrays.
        budget: a `tfgates.Budget` or a list of them.
        loss: as in `keras.Model.compile`.
        epochs: int, number of epochs in total. Defaults to 30.
        validation_data: as in `keras.Model.fit`, shown while training.
        metrics: as in `keras.Model.compile`.
        batch_size: int, for arrays. Defaults to 128.
        gate, residual, flattened, generator, layers, **gate_arguments: see `tfgates.gate_model`. Gates
            named by a string start at an open probability of 0.95 unless `initial_open_probability` says
            otherwise.
        learning_rate: float, that of the weights. Defaults to 1e-3.
        weight_decay: float, decoupled decay of the weights (not of the gates) by AdamW, as a share of the
            learning rate: each step takes `learning_rate * weight_decay` of a weight. Defaults
            to 0.1: what is left is small and fits its training data to the last example otherwise.
        fine_tune: float, share of the epochs after pruning. Defaults to 0.4.
        callbacks: list of Keras callbacks for both trainings, or None. `SparseScaling`, which needs gates, sees
            the first alone.
        resume: a folder, or None. The whole state is kept there after each epoch, and the same call,
            started again after an interruption, goes on from it to where it would have
            ended (see `tfgates.callbacks.Resume`). Defaults to None.
        round_to: see `tfgates.prune`. Widths are rounded within the budget. Defaults to 1.
        importance: None, or a criterion of `tfgates.prune_by` in place of gates, the control for them: a name, a
            function, or a dict of its arguments such as `{"importance": "l1", "compare": "uniform"}`. The
            epochs with gates are then epochs of the dense network, and all else is the same. Defaults to None.
        verbose: 0 (silent), 1 (progress bars) or 2 (a line per epoch). Defaults to 1.

    Returns:
        The pruned `keras.Model`, compiled with `loss` and `metrics`, its cost at or below the budget.
        `tfgates.report_of` says what was removed, and has the logs of all epochs.

    Raises:
        TypeError: for an argument that neither `compress` nor the gate has.
        ValueError: for a budget that cannot be reached, a model that cannot be gated, `data` without targets, `epochs`
            and `fine_tune` that leave no epoch for the training with gates, a `Resume` among the
            callbacks: one cannot serve two models, a model whose class has a `train_step` or another method of
            training of its own, or gates beside `importance`.
    """
    check_arguments("compress", compress, gate, gate_arguments)
    callbacks = list(callbacks or ())
    if any(isinstance(callback, Resume) for callback in callbacks):
        raise ValueError("`callbacks` must not hold a Resume: give its folder as `resume`. Received: one")
    check_class(model)
    last = fine_tuning_epochs(epochs, fine_tune)
    first = epochs - last
    check_targets(data, loss)
    steps = steps_per_epoch(data, batch_size)
    budgets = list_of(budget)
    if not budgets or steps is None:
        name, value = ("data", data) if budgets else ("budget", budget)
        wanted = "finite arrays or a finite data set" if budgets else "a tfgates.Budget or a list of them"
        raise ValueError(f"`{name}` must be {wanted}. Received: {name}={value!r}")
    places = {
        "layers": layers,
        "residual": residual,
        "flattened": flattened,
        "budget": budgets,
        "inputs": example_of(data),
    }
    phase: GatesPhase | ImportancePhase
    if importance is None:
        phase = GatesPhase(model, gate, round_to, generator=generator, **places, **gate_arguments)
    elif gate != "hard_concrete" or generator is not None or gate_arguments:
        raise ValueError(
            "`importance` takes the place of gates: leave out what describes them. "
            f"Received: gate={gate!r}, generator={generator!r}, {gate_arguments}"
        )
    else:
        phase = ImportancePhase(model, importance, round_to, **places)
    trained = phase.model
    trained.compile(keras.optimizers.AdamW(learning_rate, weight_decay), loss=loss, metrics=metrics)
    settings = {"validation_data": validation_data, "verbose": verbose}
    if isinstance(data, (tuple, list)):
        settings["batch_size"] = batch_size
    _say(verbose, f"compress: epochs 1 to {first} of {epochs} {phase.description}")
    without_gates = [c for c in callbacks if not getattr(c, "needs_gates", False)]
    history = History()
    followed = (callbacks if phase.has_gates else without_gates) + _resumed(resume, phase.folder)
    followed.append(history.recorder(phase.folder))
    _fit(trained, data, epochs=first, callbacks=followed, **settings)
    small = phase.pruned(data, loss, batch_size)
    report_of(small).history = history
    plan = PruningPlan(small)
    _say(verbose, f"compress: pruned to {plan.params:,} parameters and {whole(plan.macs)} MACs")
    reestimate_statistics(small, data, batch_size)
    rate = keras.optimizers.schedules.CosineDecay(learning_rate, max(1, steps * last))
    small.compile(keras.optimizers.AdamW(rate, weight_decay), loss=loss, metrics=metrics)
    if last:
        _say(verbose, f"compress: epochs {first + 1} to {epochs} of {epochs}, fine-tuning")
        after = [c for c in callbacks if c in without_gates or getattr(c, "follows_pruning", False)]
        followed = [*after, *_resumed(resume, "pruned"), history.recorder("fine-tuning")]
        _fit(small, data, epochs=epochs, initial_epoch=first, callbacks=followed, **settings)
    return small


def check_class(model: keras.Model) -> None:
    """Refuses a model whose class says itself how it is trained."""
    methods = own_methods(type(model))
    if methods:
        name = user_class(type(model)).__name__
        raise ValueError(
            f"`compress` trains by `loss`, with gates and after pruning, and would do so without what `{name}` has of "
            "its own. Write it in steps: `gated = tfgates.gate_model(model, budget=...)` keeps the class; "
            "`gated.compile(...)`, `gated.fit(...)`, `small = tfgates.prune(gated)`, and train on with "
            f"`{name}(small.input, small.output)` if its constructor takes a graph. Received: {name} with {methods}"
        )


def fine_tuning_epochs(epochs, share):
    """The number of epochs after pruning: at least one, unless the share is 0."""
    if not 0.0 <= share < 1.0:
        raise ValueError(f"`fine_tune` must be a share of the epochs in [0, 1). Received: fine_tune={share}")
    least = 1 + (share > 0)
    if not isinstance(epochs, int) or epochs < least:
        raise ValueError(f"`epochs` must be an integer of at least {least}. Received: epochs={epochs}")
    return min(epochs - 1, max(1, round(share * epochs))) if share else 0


def _resumed(folder, phase):
    """The callback that keeps the state of one phase, in a list; none without a folder."""
    return [] if folder is None else [Resume(os.path.join(folder, phase))]


def _fit(model, data, **settings):
    if isinstance(data, (tuple, list)):
        x, y, weights = keras.utils.unpack_x_y_sample_weight(tuple(data))
        return model.fit(x, y, sample_weight=weights, **settings)
    # A data set shuffles by itself; Keras warns when it is asked to.
    return model.fit(data, shuffle=False, **settings)


def _say(verbose, text):
    if verbose:
        print(text, flush=True)
