"""When a network is to shrink: watched from epoch to epoch."""

import math
from typing import Any

import keras
import numpy as np
from keras import ops

from tfgates.gates import gates_of
from tfgates.keras_internals import initial_epoch_of, set_initial_epoch
from tfgates.notices import warn
from tfgates.shrinking.candidates import candidates_of
from tfgates.shrinking.plan import ShrinkingPlan
from tfgates.training.callback_marks import PausingCallback

# The name in the logs of how often the network has shrunk.
REBUILDS = "rebuilds"

# How much more than a rebuild costs it has to save in the epochs that are left.
WORTH = 1.5

# What a step takes less where so much fewer MACs are left, as a share: not all of it are products.
REALISED = 0.7


@keras.saving.register_keras_serializable(package="tfgates")
class Shrinking:
    """When a network shrinks in the middle of its training.

    At the end of each epoch the units that are closed for good are found (`tfgates.shrinking.candidates_of`); those
    found in `checks` consecutive epochs are ripe. The network is rebuilt without the ripe units as soon as what they
    have cost since the last rebuild, because they were still there, amounts to what a rebuild costs, and if rebuilding
    saves more than one and a half times as much in the remaining epochs. So there are few rebuilds where an epoch
    takes no longer than tracing a training step, and one after nearly every epoch where it takes an hour.

    Args:
        checks: int > 0, in how many consecutive epochs a unit has to be closed. Defaults to 1.
        least_saving: float in (0, 1), the smallest saving for which the network is rebuilt, as a share of the
            multiply-accumulates that it has now. Defaults to 0.05.
        rebuild: what a rebuild costs, in training steps of the dense network, a float >= 0. Defaults to 50, about what
            tracing and rebuilding the network take for convolutional networks on a CPU; for small networks tracing
            takes as long as hundreds of steps. It is not measured, so that the same seed gives the same run, on all
            workers.
        spare: float >= 1, how many times what the budget allows stays at least while there are gates, so that they
            can still exchange units. Defaults to 1: everything closed is removed, down to the budget.

    Raises:
        ValueError: for an argument that is out of range.
    """

    def __init__(self, checks: int = 1, least_saving: float = 0.05, rebuild: float = 50.0, spare: float = 1.0) -> None:
        if not isinstance(checks, int) or checks < 1:
            raise ValueError(f"`checks` must be a positive integer. Received: checks={checks}")
        if not 0.0 < least_saving < 1.0:
            raise ValueError(f"`least_saving` must lie strictly between 0 and 1. Received: least_saving={least_saving}")
        if isinstance(rebuild, bool) or not isinstance(rebuild, (int, float)) or not 0.0 <= rebuild < math.inf:
            raise ValueError(f"`rebuild` must be a number of training steps >= 0. Received: rebuild={rebuild!r}")
        if isinstance(spare, bool) or not isinstance(spare, (int, float)) or not 1.0 <= spare < math.inf:
            raise ValueError(f"`spare` must be a number >= 1. Received: spare={spare!r}")
        self.checks, self.least_saving, self.rebuild, self.spare = checks, least_saving, rebuild, spare

    def get_config(self) -> dict[str, Any]:
        names = ("checks", "least_saving", "rebuild", "spare")
        return {name: getattr(self, name) for name in names}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> "Shrinking":
        return cls(**config)


class Watch(keras.callbacks.Callback):
    """Finds out at the end of each epoch whether the network is to shrink, and notes it in the logs.

    Args:
        settings: a `Shrinking`.

    Attributes:
        plan: the `ShrinkingPlan` that is to be followed now, or None.
        state: what it remembers, as data.
    """

    # Keras gives it before training begins.
    params: dict[str, Any]

    def __init__(self, settings: Shrinking) -> None:
        super().__init__()
        self.settings = settings
        self.plan: ShrinkingPlan | None = None
        self.state: dict[str, Any] = {"streaks": {}, "lost": 0.0, "pending": None}
        # The number of the training step with which the epoch began.
        self.start = 0
        # Whether it has turned out that the network cannot be made again.
        self.given_up = False

    def on_train_begin(self, logs: Any = None) -> None:
        structure = getattr(self.model, "_structure", None)
        if self.settings.spare > 1.0 and not (structure is not None and structure.bounds):
            raise ValueError(
                "`spare` says how many times what the budget allows stays, and the model has none: use "
                f"`gate_model(..., budget=...)`, or leave it at 1. Received: spare={self.settings.spare}"
            )

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        self.start = self._step()

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        self.plan, self.state["pending"] = None, None
        if logs is not None:
            logs[REBUILDS] = len(self.model.removals)
        if self.given_up:
            return
        ripe = self._ripe()
        left = self.params["epochs"] - epoch - 1
        if left < 1 or not any(units.any() for units in ripe.values()):
            return
        try:
            plan = ShrinkingPlan(self.model, ripe)
        except Exception as error:
            return self.give_up(error)
        saving = saving_of(plan)
        # In epochs of the dense network.
        each = REALISED * saving * plan.dense_macs / max(self.model.dense_reference.totals["macs"], 1.0)
        self.state["lost"] += each
        cost = self.settings.rebuild / max(self._step() - self.start, 1)
        pays = self.state["lost"] >= cost and each * left > WORTH * cost
        if pays and saving >= self.settings.least_saving and not plan.empty:
            self.plan, self.state["lost"] = plan, 0.0
            self.state["pending"] = {g.name: np.flatnonzero(gone).tolist() for g, gone in plan.gone.items()}

    def _ripe(self) -> dict[Any, np.ndarray]:
        streaks, ripe = {}, {}
        for gate, closed in candidates_of(self.model, self.settings.spare).items():
            before = self.state["streaks"].get(gate.name, [0] * gate.units)
            streak = np.where(closed, np.array(before) + 1, 0)
            streaks[gate.name] = streak.tolist()
            ripe[gate] = streak >= self.settings.checks
        self.state["streaks"] = streaks
        return ripe

    def _step(self) -> int:
        return int(ops.convert_to_numpy(self.model.optimizer.iterations))

    def give_up(self, error: Exception) -> None:
        """Lets the network as it is from now on, and says why."""
        self.given_up, self.plan, self.state["pending"] = True, None, None
        warn(
            "The network cannot be made smaller in the midst of this training, which goes on without: what is closed "
            f"is removed at its end alone. `shrink=False` leaves this out. {type(error).__name__}: {error}"
        )

    def shrank(self, plan: ShrinkingPlan, small: Any) -> None:
        """Told of the network that is left, whose gates have fewer units."""
        left = {gate.name for gate in gates_of(small)}
        for gate in gates_of(plan.model):
            streak = self.state["streaks"].pop(gate.name, None)
            if streak is not None and gate.name in left:
                kept = ~plan.gone_of(gate)
                self.state["streaks"][gate.name] = np.array(streak)[kept].tolist()
        self.plan, self.state["pending"] = None, None


def saving_of(plan: ShrinkingPlan) -> float:
    """The share of the MACs that a plan saves; of the parameters, where MACs are not known."""
    before, after = (plan.dense_params, plan.params) if plan.uncounted else (plan.dense_macs, plan.macs)
    return 1.0 - after / max(before, 1.0)


class Pause(PausingCallback, keras.callbacks.Callback):
    """Ends a part of a `fit` where the network is to shrink, unless another callback has ended it for good."""

    params: dict[str, Any]

    def __init__(self, watch: Watch) -> None:
        super().__init__()
        self.watch = watch
        # Whether the part ends before its first epoch.
        self.at_once = False
        self.epoch = 0

    def on_train_begin(self, logs: Any = None) -> None:
        self.paused = self.at_once
        self.epoch = initial_epoch_of(self.model) or 0
        if self.at_once:
            set_initial_epoch(self.model, self.params["epochs"])

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        self.epoch = epoch + 1
        if self.watch.plan is not None and not self.model.stop_training:
            self.paused = self.model.stop_training = True
