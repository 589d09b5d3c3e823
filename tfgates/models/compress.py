"""One call from a network to a smaller one: train with gates, land, prune, fine-tune."""

import dataclasses

import keras

from tfgates.costs.structure import list_of
from tfgates.models.gate_model import gate_model
from tfgates.pruning.landing import landing_of
from tfgates.pruning.plan import PruningPlan
from tfgates.pruning.prune import prune


@dataclasses.dataclass(frozen=True)
class Schedule:
    """How many epochs each phase of `compress` has."""

    warm_up: int
    gated: int
    fine_tune: int


def schedule(epochs, warm_up, fine_tune):
    """Splits `epochs` into phases; each has at least one, but those whose share is 0."""
    for name, share in (("warm_up", warm_up), ("fine_tune", fine_tune)):
        if not 0.0 <= share < 1.0:
            raise ValueError(f"`{name}` must be a share of the epochs in [0, 1). Received: {name}={share}")
    if warm_up + fine_tune >= 1.0:
        raise ValueError(
            "`warm_up` and `fine_tune` must leave epochs for the training under the budget. "
            f"Received: warm_up={warm_up}, fine_tune={fine_tune}"
        )
    least = 1 + (warm_up > 0) + (fine_tune > 0)
    if not isinstance(epochs, int) or epochs < least:
        raise ValueError(f"`epochs` must be an integer of at least {least}. Received: epochs={epochs}")
    first = max(1, round(warm_up * epochs)) if warm_up > 0 else 0
    last = max(1, round(fine_tune * epochs)) if fine_tune > 0 else 0
    first = min(first, epochs - last - 1)
    return Schedule(first, epochs - first - last, last)


def count_steps(data, batch_size):
    """Number of batches in an epoch; counts them where the data set does not know."""
    if isinstance(data, (tuple, list)):
        return -(-len(data[0]) // batch_size)
    steps = int(data.cardinality()) if hasattr(data, "cardinality") else len(data)
    return steps if steps > 0 else sum(1 for _ in data)


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
    warm_up=0.2,
    fine_tune=0.4,
    residual="inner",
    layers=None,
    callbacks=None,
    round_to=1,
    verbose=1,
    **gate_arguments,
):
    """Trains a network under a budget and returns the smaller network that is left.

    Four phases in one call: the gated network is trained with the budget at rest (`warm_up`), then
    under the budget; it lands, that is, the units are chosen so that the actual cost fits; what
    is closed is removed; the network that is left is fine-tuned. The rates that depend on the number
    of steps are set from it: gates learn at `150 / steps` (within 0.01 and 0.1), so that a logit can
    cross its whole range several times, and multipliers grow at `10 / steps`, so that the pull on
    the structure passes the strength of the loss in the first third of the phase, whatever its length.
    Weights are trained by Adam, the rate constant with gates and falling to 0 by a cosine after them.

    Args:
        model: a Sequential or Functional `keras.Model`, trained or not; it is left untouched.
        data: a `tf.data.Dataset` of batches `(x, y)` or `(x, y, sample_weight)`, or a tuple of arrays.
        budget: a `tfgates.Budget` or a list of them.
        loss: as in `keras.Model.compile`.
        epochs: int, number of epochs in total. Defaults to 30.
        validation_data: as in `keras.Model.fit`, shown while training.
        metrics: as in `keras.Model.compile`.
        batch_size: int, for arrays. Defaults to 128.
        gate, residual, layers, **gate_arguments: see `tfgates.gate_model`. Gates start at an open
            probability of 0.95 unless `initial_open_probability` says otherwise: an untrained network
            learns, and a trained one keeps what it knows.
        learning_rate: float, that of the weights. Defaults to 1e-3.
        warm_up: float, share of the epochs before the budget takes effect. Defaults to 0.2. A trained
            model can do with less.
        fine_tune: float, share of the epochs after pruning. Defaults to 0.4.
        callbacks: list of Keras callbacks for all phases, or None.
        round_to: see `tfgates.prune`. Rounding up can exceed the budget. Defaults to 1.
        verbose: 0 (silent), 1 (progress bars) or 2 (a line per epoch). Defaults to 1.

    Returns:
        The pruned `keras.Model`, compiled with `loss` and `metrics`, its cost at or below the budget.

    Raises:
        ValueError: for a budget that cannot be reached, a model that cannot be gated, or shares
            and epochs that leave no phase for training.
    """
    phases = schedule(epochs, warm_up, fine_tune)
    steps = count_steps(data, batch_size)
    gated_steps = steps * phases.gated
    budgets = [_paced(each, gated_steps, steps * phases.warm_up) for each in list_of(budget)]
    if not budgets:
        raise ValueError(f"`budget` must be a tfgates.Budget or a list of them. Received: budget={budget!r}")
    if isinstance(gate, str):
        gate_arguments.setdefault("initial_open_probability", 0.95)
        if gate == "scaling":
            gate_arguments.pop("initial_open_probability")
    gated = gate_model(model, gate, layers=layers, residual=residual, budget=budgets, **gate_arguments)
    gated.compile(
        keras.optimizers.Adam(learning_rate),
        loss=loss,
        metrics=metrics,
        gate_optimizer=keras.optimizers.Adam(min(0.1, max(0.01, 150.0 / gated_steps))),
    )
    settings = {"validation_data": validation_data, "callbacks": callbacks, "verbose": verbose}
    if isinstance(data, (tuple, list)):
        settings["batch_size"] = batch_size
    first = phases.warm_up + phases.gated
    _say(verbose, f"compress: epochs 1 to {first} of {epochs} with {len(gated.gates)} gates, {budgets}")
    _fit(gated, data, epochs=first, **settings)
    plan = PruningPlan(gated, round_to=round_to, landing=landing_of(gated, fill=True))
    small = prune(gated, plan=plan)
    _say(verbose, f"compress: pruned to {plan.params:,} parameters and {plan.macs:,.0f} MACs")
    rate = keras.optimizers.schedules.CosineDecay(learning_rate, max(1, steps * phases.fine_tune))
    small.compile(keras.optimizers.Adam(rate), loss=loss, metrics=metrics)
    if phases.fine_tune:
        _say(verbose, f"compress: epochs {first + 1} to {epochs} of {epochs}, fine-tuning")
        _fit(small, data, epochs=epochs, initial_epoch=first, **settings)
    return small


def _paced(budget, gated_steps, warm_up_steps):
    """The budget with multipliers paced for the number of steps."""
    config = budget.get_config()
    config["multiplier_rate"] = 10.0 / gated_steps
    config["warm_up"] = warm_up_steps
    return type(budget).from_config(config)


def _fit(model, data, **settings):
    if isinstance(data, (tuple, list)):
        x, y, *weights = data
        return model.fit(x, y, sample_weight=weights[0] if weights else None, **settings)
    return model.fit(data, **settings)


def _say(verbose, text):
    if verbose:
        print(text, flush=True)
