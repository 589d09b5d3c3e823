"""One call from a network to a smaller one: train with gates, choose units, prune, fine-tune."""

import functools
import os
import pathlib
import reprlib
import warnings
from collections.abc import Iterable, Sequence
from typing import Any

import keras
import numpy as np

from tfgates.callbacks.resume import Resume
from tfgates.compression.across_phases import AcrossPhases
from tfgates.compression.phase_optimizers import LEARNING_RATE, WEIGHT_DECAY, PhaseOptimizers
from tfgates.compression.phases import GatesPhase, ImportancePhase, fine_tuning_epochs
from tfgates.compression.run_page import check_page, watching, write_run
from tfgates.compression.statistics import reestimate_statistics
from tfgates.compression.teacher import taught, teacher_of
from tfgates.constraints import Budget
from tfgates.constraints.structure import list_of
from tfgates.gating.gate_model import check_arguments
from tfgates.graph.classes import own_methods, user_class
from tfgates.optimizers.gated_optimizer import of_weights
from tfgates.pruning.compiling import NOT_COMPILED, config_of
from tfgates.pruning.plan import PruningPlan
from tfgates.pruning.report import History, report_of
from tfgates.shrinking.parts import fit, settings_of
from tfgates.tables import whole
from tfgates.training.ahead import build_ahead
from tfgates.training.batches import check_targets
from tfgates.training.steps import example_of, steps_per_epoch
from tfgates.training.within_budget import chooses


def compress(
    model: Any,
    data: Any,
    budget: Budget | Sequence[Budget],
    loss: Any,
    epochs: int = 30,
    validation_data: Any = None,
    metrics: Any = None,
    batch_size: int = 128,
    gate: Any = "hard_concrete",
    learning_rate: Any = LEARNING_RATE,
    weight_decay: Any = WEIGHT_DECAY,
    optimizer: Any = None,
    fine_tune: float = 0.4,
    fine_tuning_learning_rate: Any = None,
    residual: str | tuple[str, ...] = "inner",
    flattened: bool = True,
    generator: Any = None,
    layers: Any = None,
    callbacks: Any = None,
    resume: str | os.PathLike[str] | None = None,
    round_to: int = 1,
    importance: Any = None,
    teacher: Any = None,
    shrink: Any = True,
    length: Any = None,
    report: str | os.PathLike[str] | None = None,
    verbose: Any = 1,
    **gate_arguments: Any,
) -> Any:
    """Trains a network under a budget and returns the smaller, pruned network.

    One call runs four phases:

    1. The gated network is trained under the budget, whose warm-up and ramp follow the number of steps
       (see `tfgates.Budget`).
    2. Units are chosen so that the actual cost fits.
    3. What is closed is removed, and the averages of batch normalisation are estimated again
       (`tfgates.reestimate_statistics`).
    4. The pruned network is fine-tuned.

    Gates learn by Adam at the rate of `tfgates.optimizers.gate_learning_rate`, weights by AdamW. The rate of the
    weights is constant while there are gates and falls to 0 by a cosine after them; the returned model has the constant
    rate again. With `importance` there are no gates: the dense network is trained for as many epochs and pruned by that
    criterion.

    Args:
        model: a Sequential or Functional `keras.Model`, trained or not; it is left untouched.
        data: a `tf.data.Dataset` of batches `(x, y)` or `(x, y, sample_weight)`, or a tuple of arrays.
        budget: a `tfgates.Budget` or a list of them.
        loss: as in `keras.Model.compile`.
        epochs: int, number of epochs in total. Defaults to 30.
        validation_data: as in `keras.Model.fit`, evaluated and shown while training.
        metrics: as in `keras.Model.compile`.
        batch_size: int, for arrays. Defaults to 128.
        gate, residual, flattened, generator, layers, **gate_arguments: see `tfgates.gate_model`.
        learning_rate: float or `keras.optimizers.schedules.LearningRateSchedule`, the rate of the weights. Use the one
            that trains the dense network best. Defaults to 1e-3.
        weight_decay: float, decoupled decay of the weights (not of the gates) by AdamW, as a share of the
            learning rate: each step removes `learning_rate * weight_decay` of a weight. Defaults
            to 0.1: without it the pruned network, small as it is, fits its training data to the last example.
        optimizer: None, or an optimizer to use instead of that AdamW, also by name or with a loss scale. Each of the
            two training runs gets a new one with its settings. Defaults to None.
        fine_tune: float, share of the epochs after pruning, in [0, 1). A larger share makes the whole run cheaper,
            since more of it trains the small network, but makes the choice of units worse. Defaults to 0.4.
        fine_tuning_learning_rate: the rate of the weights after pruning: a float; a schedule, which counts the steps
            from pruning on; or a whole optimizer. Defaults to None: where the rate with gates is a number, it falls
            from there to 0 by a cosine, or stays there if a callback sets the rate; a schedule goes on.
        callbacks: Keras callbacks for both training runs, or None; see below.
        resume: a folder, or None. The whole state is saved there after each epoch. The same call,
            started again after an interruption, continues from it to where it would have
            ended (see `tfgates.callbacks.Resume`). Defaults to None.
        round_to: see `tfgates.prune`. Widths are rounded within the budget. Defaults to 1.
        importance: None, or a criterion of `tfgates.prune_by` to use instead of gates, as a control for them: a name, a
            function, or a dict of its arguments such as `{"importance": "l1", "compare": "uniform"}`. The
            epochs with gates are then epochs of the dense network; all else is the same. Defaults to None.
        teacher: None, or what the network learns from in addition to the labels, in both training runs: True for
            `model` itself as it was given, which must then be trained already; another trained `keras.Model` with the
            same inputs and outputs; or a `tfgates.Teacher`, which says how: Kullback-Leibler divergence at temperature
            2 with weight 1 unless set differently. The logs' `loss` contains it, `val_loss` does not. Defaults to None.
        shrink: True, False, or a `tfgates.shrinking.Shrinking`: whether the network gets smaller while its gates
            close, so that its epochs get cheaper (see `tfgates.fit`). Defaults to True.
        length: see `tfgates.gate_model`, where `data` do not tell how long sequences are. Defaults to None.
        report: None, or the path of an HTML file to write at the end. It shows the network with what is kept and
            removed of each layer, curves of both training runs, sizes and the table. It is one file, without scripts,
            and can be read without a server. The logs then have what `tfgates.callbacks.SparsityMonitor` adds. Defaults
            to None.
        verbose: 0 (silent), 1 (progress bars) or 2 (a line per epoch). Defaults to 1.

    Callbacks follow two training runs, whose epochs are numbered consecutively. Each run begins with a new optimizer
    and its own learning rate, so `ReduceLROnPlateau` and a relative `LearningRateScheduler` begin again. While there
    are gates, the rules of `tfgates.GatedModel.fit` apply: callbacks that act on a monitored value see only those
    epochs at which the budget is met.

    * `EarlyStopping` begins again after pruning. If it ends the training with gates, pruning follows, and then as many
      epochs of fine-tuning as without it.
    * `ModelCheckpoint(save_best_only=True)` begins again too. A file with a fixed name therefore ends as the best
      pruned network, never as one with gates that was better (with `fine_tune=0` it remains the one with gates);
      `{epoch}` in the name keeps both.
    * `CSVLogger` continues in the same file and columns, with `NA` for what only gates have.
    * `TensorBoard` writes fine-tuning into the runs `fine-tuning/train` and `fine-tuning/validation` of its folder.
    * `History` gathers both.
    * `SwapEMAWeights` needs an `optimizer` with `use_ema=True`, and starts its averages anew from pruning on.
    * `SparseScaling`, which needs gates, sees only the first run.
    * `BackupAndRestore` is refused; use `resume` instead. With it `EarlyStopping`, `ReduceLROnPlateau` and
      `ModelCheckpoint` remember what they had seen.
    * `OrbaxCheckpoint` behaves like `ModelCheckpoint`; it may save only by epochs.

    Returns:
        The pruned `keras.Model`, compiled with `loss` and `metrics`, its cost at or below the budget.
        `tfgates.report_of` says what was removed, and has the logs of all epochs.

    Raises:
        TypeError: for an argument that neither `compress` nor the gate has.
        ValueError: for a budget that cannot be reached; a model that cannot be gated; `data` without targets; `epochs`
            and `fine_tune` that leave no epoch for the training with gates; callbacks that cannot follow two
            networks (`Resume`, `BackupAndRestore`) or would fail with the optimizer; a model whose
            class has its own `train_step` or another training method; or gates in addition to `importance`.
        RuntimeError: if weights are not finite after one of the training runs, whether or not `TerminateOnNaN` ended
            it.
    """
    check_arguments("compress", compress, gate, gate_arguments)
    check_page(report)
    across = AcrossPhases(callbacks, resumed=resume is not None and is_begun(resume))
    check_class(model)
    shrinking = settings_of(shrink) if importance is None else False
    check_targets(data, loss)
    if validation_data is not None:
        check_targets(validation_data, loss, "validation_data")
        if hasattr(validation_data, "__next__"):
            raise ValueError(
                "`validation_data` must be arrays or a data set that can be read again, in each epoch and in both "
                f"training runs. Received: validation_data of type {type(validation_data).__name__}"
            )
    if isinstance(batch_size, bool) or not isinstance(batch_size, (int, np.integer)) or batch_size < 1:
        raise ValueError(f"`batch_size` must be a positive integer. Received: batch_size={batch_size}")
    batch_size = int(batch_size)
    teacher = teacher_of(teacher, model)
    steps = steps_per_epoch(data, batch_size)
    last = fine_tuning_epochs(epochs, fine_tune)
    first = epochs - last
    budgets = list_of(budget)
    if not budgets or not steps:
        name, value = ("data", data) if budgets else ("budget", budget)
        wanted = "a tfgates.Budget or a list of them"
        if budgets:
            wanted = "arrays or a finite data set" + ("" if steps is None else ", with at least one example")
        # Lists of numbers can be long.
        raise ValueError(f"`{name}` must be {wanted}. Received: {name}={reprlib.repr(value)}")
    optimizers = PhaseOptimizers(
        optimizer,
        learning_rate,
        weight_decay,
        fine_tuning_learning_rate,
        across.callbacks,
        (steps * first, steps * last),
    )
    places = {
        "layers": layers,
        "residual": residual,
        "flattened": flattened,
        "budget": budgets,
        "inputs": example_of(data),
        "length": length,
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
    if teacher is not None:
        teacher.follow(trained, loss)
    trained.compile(optimizers.first, loss=loss, metrics=metrics)
    settings = {"validation_data": validation_data, "verbose": verbose}
    if isinstance(data, (tuple, list)):
        settings["batch_size"] = batch_size
    _say(verbose, f"compress: epochs 1 to {first} of {epochs} {phase.description}")
    history = History()
    followed = [*across.of_whole(phase.has_gates), *watching(report, phase.has_gates, across.callbacks)]
    followed += [*_resumed(resume, phase.folder, across.callbacks), history.recorder(phase.folder)]
    with taught(trained, teacher):
        trained = _fit(trained, data, shrinking, epochs=first, callbacks=followed, **settings)
    phase.finished(trained)
    check_finite(
        trained, "the training with gates" if phase.has_gates else "the training before pruning", optimizers.first
    )
    with warnings.catch_warnings():
        # It is compiled below.
        warnings.filterwarnings("ignore", NOT_COMPILED)
        small = phase.pruned(data, loss, batch_size)
    report_of(small).history = history
    plan = PruningPlan(small)
    _say(verbose, f"compress: pruned to {plan.params:,} parameters and {whole(plan.macs)} MACs")
    reestimate_statistics(small, data, batch_size, verbose=min(1, verbose))
    small.compile(optimizers.second, loss=loss, metrics=metrics)
    if last:
        _say(verbose, f"compress: epochs {first + 1} to {epochs} of {epochs}, fine-tuning")
        with across.of_pruned() as followed, taught(small, teacher):
            others = [*_resumed(resume, "pruned", across.callbacks), history.recorder("fine-tuning")]
            followed = [*optimizers.callbacks, *followed, *others]
            _fit(small, data, False, epochs=epochs, initial_epoch=first, callbacks=followed, **settings)
        check_finite(small, "fine-tuning", optimizers.second)
    asked = {"budget": ", ".join(map(str, budgets)), "epochs": f"{first} and {last} of fine-tuning"}
    asked |= {"gates": gate} if phase.has_gates else {"importance": importance}
    write_run(report, small, model, {**asked, "batch_size": batch_size, "round_to": round_to, "loss": loss})
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


def check_finite(model: Any, phase: str, optimizer: Any) -> None:
    """Refuses to go on with a network whose weights are no numbers any more."""
    bad = [v.path for v in model.trainable_variables if not np.all(np.isfinite(keras.ops.convert_to_numpy(v)))]
    if bad:
        raise RuntimeError(
            f"`compress` has to end: after {phase} {len(bad)} of the trainable variables hold values that are not "
            f"finite, {bad[0]!r} the first. Lower `learning_rate`, or clip gradients by "
            f"`optimizer=keras.optimizers.{type(of_weights(optimizer)).__name__}(..., clipnorm=1.0)`. "
            f"Received: optimizer={config_of(of_weights(optimizer))}"
        )


def is_begun(folder: str | os.PathLike[str]) -> bool:
    """Whether an earlier process has left a state in the folder of `resume`."""
    return any(pathlib.Path(folder).rglob("epoch-*.npz"))


def _resumed(folder: str | os.PathLike[str] | None, phase: str, callbacks: Iterable[Any]) -> list[Resume]:
    """The callback that keeps the state of one phase, in a list; none without a folder."""
    if folder is None:
        return []
    return [Resume(os.path.join(folder, phase), [each for each in callbacks if chooses(each)])]


def _fit(model: Any, data: Any, shrinking: Any, **settings: Any) -> Any:
    """Trains a network, and returns it, or what it has become."""
    train = model.fit if shrinking is False else functools.partial(fit, model, shrink=shrinking)
    if isinstance(data, (tuple, list)):
        x, y, weights = keras.utils.unpack_x_y_sample_weight(tuple(data))
        build_ahead(model, x, y)
        return train(x, y, sample_weight=weights, **settings).model
    build_ahead(model, data)
    # A data set shuffles by itself; Keras warns when it is asked to.
    return train(data, shuffle=False, **settings).model


def _say(verbose: Any, text: str) -> None:
    if verbose:
        print(text, flush=True)
