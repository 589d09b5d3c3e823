"""When a network is to shrink: watched from epoch to epoch."""

import math
import time
from typing import Any

import keras
import numpy as np

from tfgates.distribution import in_multi_worker
from tfgates.gates import gates_of
from tfgates.keras_internals import initial_epoch_of, set_initial_epoch, strategy_of_model
from tfgates.shrinking.candidates import candidates_of
from tfgates.shrinking.plan import ShrinkingPlan
from tfgates.training.callback_marks import PausingCallback

# The name in the logs of how often the network has shrunk.
REBUILDS = "rebuilds"

# How much more than tracing costs a removal has to save.
WORTH = 1.5

# What a step takes less where so much fewer MACs are left, as a share: not all of it are products.
REALISED = 0.7


@keras.saving.register_keras_serializable(package="tfgates")
class Shrinking:
    """When a network shrinks in the midst of its training.

    At the end of each epoch the units are found that are closed for good (`tfgates.shrinking.candidates_of`); those
    that were found in `checks` epochs in a row are ripe. The network shrinks once all that is ripe saves at least
    `least_saving` of the multiply-accumulates that it has now, or less if nothing more has ripened since the epoch
    before, provided that what it saves in the epochs that are left is worth tracing the training step anew.

    Args:
        checks: int > 0, in how many epochs in a row a unit has to be closed. Defaults to 2.
        least_saving: float in (0, 1). More asks for fewer rebuilds. Defaults to 0.12.
        tracing: what a rebuild costs, in epochs of the dense network, a float >= 0. Defaults to `"measured"`: what
            the first epoch took longer than the second; nothing where several workers, who must agree, train.

    Raises:
        ValueError: for an argument that is out of range.
    """

    def __init__(self, checks: int = 2, least_saving: float = 0.12, tracing: float | str = "measured") -> None:
        if not isinstance(checks, int) or checks < 1:
            raise ValueError(f"`checks` must be a positive integer. Received: checks={checks}")
        if not 0.0 < least_saving < 1.0:
            raise ValueError(f"`least_saving` must lie strictly between 0 and 1. Received: least_saving={least_saving}")
        if tracing != "measured" and (not isinstance(tracing, (int, float)) or not 0.0 <= tracing < math.inf):
            raise ValueError(f"`tracing` must be a number of epochs >= 0 or 'measured'. Received: tracing={tracing!r}")
        self.checks, self.least_saving, self.tracing = checks, least_saving, tracing

    def get_config(self) -> dict[str, Any]:
        return {"checks": self.checks, "least_saving": self.least_saving, "tracing": self.tracing}

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

    def __init__(self, settings: Shrinking) -> None:
        super().__init__()
        self.settings = settings
        self.plan: ShrinkingPlan | None = None
        self.state: dict[str, Any] = {"streaks": {}, "seconds": [], "ripe": 0, "pending": None}

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        self._start = time.perf_counter()

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        self.plan, self.state["pending"] = None, None
        if len(self.state["seconds"]) < 2:
            # Later epochs are cheaper, and after an interruption the same numbers are to decide.
            self.state["seconds"].append(time.perf_counter() - self._start)
        if logs is not None:
            logs[REBUILDS] = len(self.model.removals)
        ripe = self._ripe()
        left = self.params["epochs"] - epoch - 1
        count, before = sum(int(units.sum()) for units in ripe.values()), self.state["ripe"]
        self.state["ripe"] = count
        if not count or left < 1:
            return
        plan = ShrinkingPlan(self.model, ripe)
        saving = saving_of(plan)
        wanted = self.settings.least_saving if count > before else 0.02
        if not plan.empty and saving >= wanted and self._pays(plan, saving, left):
            self.plan, self.state["ripe"] = plan, 0
            self.state["pending"] = {g.name: np.flatnonzero(gone).tolist() for g, gone in plan.gone.items()}

    def _ripe(self) -> dict[Any, np.ndarray]:
        streaks, ripe = {}, {}
        for gate, closed in candidates_of(self.model).items():
            before = self.state["streaks"].get(gate.name, [0] * gate.units)
            streak = np.where(closed, np.array(before) + 1, 0)
            streaks[gate.name] = streak.tolist()
            ripe[gate] = streak >= self.settings.checks
        self.state["streaks"] = streaks
        return ripe

    def _pays(self, plan: ShrinkingPlan, saving: float, left: int) -> bool:
        """Whether what is saved in the epochs that are left is worth a rebuild."""
        tracing = self.settings.tracing
        if tracing == "measured":
            seconds = self.state["seconds"]
            if len(seconds) < 2 or in_multi_worker(strategy_of_model(self.model)):
                return True
            tracing = max(0.0, seconds[0] - seconds[1]) / max(seconds[1], 1e-9)
        now = plan.dense_macs / max(self.model.dense_reference.totals["macs"], 1.0)
        return REALISED * saving * now * left > WORTH * float(tracing)

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
