"""What the gates of a model drew in a forward pass, so that the pass can be repeated with other states.

Gates whose gradient cannot flow through their draw leave a note here on each draw. Neither the gates nor
the model keep anything: replicas of `tf.distribute` share both and interleave, each in a thread of its own.
"""

import contextlib
import itertools
import math
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from keras import ops

from tfgates.gates.dues import Due
from tfgates.gates.step import step

NOT_ESTIMATED = (
    "A Bernoulli gate can be trained only in a tfgates.GatedModel, whose `compute_loss` estimates its gradient. Build "
    "the model as tfgates.GatedModel(inputs, outputs) or subclass tfgates.GatedModel, and train it by `fit`, or call "
    "`compute_loss(..., training=True)` of that very model after its last call."
)


class Draw:
    """One draw of one gate: what an estimator needs once the losses are known.

    Attributes:
        gate: the gate.
        value: what the gate was computed from, a tensor through which gradients flow.
        noise: the uniform noise of the first state.
        states: tuple of float tensors, the gate values in each pass but the one with a flip.
        flips: whether the estimator needs a pass in which one unit of the network is flipped.
        flipped: the gate values in that pass, once the first pass is over; None without one.
        units: of how many units one is flipped.
    """

    def __init__(self, gate: Any, value: Any, noise: Any, states: tuple[Any, ...], flips: bool = False) -> None:
        self.gate = gate
        self.value = value
        self.noise = noise
        self.states = states
        self.flips = flips
        self.flipped: Any = None
        self.units = 1


class Recording:
    """The draws of one forward pass, to be repeated with the other states of the gates.

    Args:
        model: the outermost model of the pass.
        repeat: a function without arguments that repeats the `__call__` of the model.

    Attributes:
        state: list of pairs (variable, its value before the first pass).
        noise: the states of generators that no variable holds, before the first pass.
        draws: list of `Draw`.
        outputs: what the first pass returned.
        choice: uniform noise `(1,)`, which unit is flipped; None where none is.
        due: settled once the loss has got the gradient that the draws themselves do not pass on.
    """

    def __init__(self, model: Any, repeat: Callable[[], Any]) -> None:
        self.model = model
        self.repeat = repeat
        self.outputs: Any = None
        self.due = Due(NOT_ESTIMATED)
        self.begin([])

    def begin(self, state: list[tuple[Any, Any]], noise: Sequence[Any] = ()) -> None:
        """Starts anew: what was drawn before was for building the model."""
        self.state, self.noise = state, list(noise)
        self.draws: list[Draw] = []
        self.choice: Any = None
        self._calls: list[Draw] = []
        self._pass = self._next_call = 0

    @property
    def passes(self) -> int:
        """The number of passes that the gates need."""
        return self._drawn + any(draw.flips for draw in self._trained)

    @property
    def _trained(self) -> list[Draw]:
        return [draw for draw in self.draws if draw.gate.is_trained]

    @property
    def _drawn(self) -> int:
        """The number of passes before that with a flip."""
        return max((len(draw.states) for draw in self._trained), default=1)

    def flip(self) -> None:
        """Flips one of all units whose estimators need that, once it is known how many there are."""
        flipping = [draw for draw in self._trained if draw.flips]
        if not flipping:
            return
        units = [math.prod(draw.gate.unit_shape) for draw in flipping]
        # Noise of 1, which rounding can make, is of the last unit.
        number = ops.minimum(ops.floor(ops.cast(self.choice, "float32") * sum(units)), sum(units) - 1.0)
        for draw, count, before in zip(flipping, units, itertools.accumulate(units, initial=0), strict=False):
            places = ops.arange(before, before + count, dtype="float32")
            chosen = ops.reshape(ops.equal(number, places), draw.gate.unit_shape)
            draw.flipped = ops.where(chosen, 1.0 - draw.states[0], draw.states[0])
            draw.units = sum(units)

    @property
    def replaying(self) -> bool:
        """Whether a later pass is under way."""
        return self._pass > 0

    def find(self, gate: Any, noise: Any) -> Draw | None:
        """The draw that `gate` already made from the very same `noise`, or None."""
        for draw in self.draws:
            if draw.gate is gate and draw.noise is noise:
                return draw
        return None

    def add(self, draw: Draw) -> Draw:
        """Notes a draw, or that an earlier one was used once more."""
        if not any(draw is other for other in self.draws):
            self.draws.append(draw)
        self._calls.append(draw)
        return draw

    @contextlib.contextmanager
    def replay(self, number: int) -> Iterator[None]:
        """Within it `next_states` goes through the draws again, in the order they were made.

        Args:
            number: int > 0, which of the passes it is.
        """
        self._pass, self._next_call = number, 0
        try:
            with step.having(recording=self):
                yield
            if self._next_call != len(self._calls):
                raise self._out_of_order()
        finally:
            self._pass = 0

    def next_states(self, gate: Any) -> Any:
        """What the next call of `gate` is in the pass that is under way; its first state if it needs no more."""
        position = self._next_call
        if position >= len(self._calls) or self._calls[position].gate is not gate:
            raise self._out_of_order()
        self._next_call = position + 1
        draw = self._calls[position]
        if self._pass == self._drawn:
            return draw.states[0] if draw.flipped is None else draw.flipped
        return draw.states[self._pass] if self._pass < len(draw.states) else draw.states[0]

    def _out_of_order(self) -> ValueError:
        return ValueError(
            f"The two passes through `{self.model.name}` must call the same gates in the same order. "
            f"Received: {[draw.gate.name for draw in self._calls]} in the first pass, a different "
            f"sequence from position {self._next_call} on in the second."
        )


def is_replaying() -> bool:
    """Whether a pass is being repeated in this thread."""
    return step.recording is not None and step.recording.replaying
