"""What the gates of a model drew in a training step, until the loss of that step is known.

Gates whose gradient cannot flow through their draw leave a note here on each draw; the model that
is being trained collects the notes when it computes its loss. Neither the gates nor the model keep
anything: replicas of `tf.distribute` share both and interleave, each in a thread of its own.
"""

import contextlib
import threading

_thread = threading.local()


class Draw:
    """One draw of one gate: what an estimator needs once the losses are known.

    Attributes:
        gate: the gate.
        value: what the gate was computed from, a tensor through which gradients flow.
        noise: the uniform noise of the first state.
        states: pair of float tensors, the gate values in the two passes.
    """

    def __init__(self, gate, value, noise, states):
        self.gate = gate
        self.value = value
        self.noise = noise
        self.states = states


class Recording:
    """The draws of one forward pass, to be repeated in a second one.

    Args:
        model: the outermost model of the pass.
        repeat: a function without arguments that repeats the `__call__` of the model.
        state: list of pairs (variable, its value before the first pass).
    """

    def __init__(self, model, repeat, state):
        self.model = model
        self.repeat = repeat
        self.state = state
        self.draws = []
        # Set once the loss has got the gradient that the draws themselves do not pass on.
        self.settled = False
        self._calls = []
        self._next_call = None

    @property
    def replaying(self):
        """Whether the second pass is under way."""
        return self._next_call is not None

    def find(self, gate, noise):
        """The draw that `gate` already made from the very same `noise`, or None."""
        for draw in self.draws:
            if draw.gate is gate and draw.noise is noise:
                return draw
        return None

    def add(self, draw):
        """Notes a draw, or that an earlier one was used once more."""
        if not any(draw is other for other in self.draws):
            self.draws.append(draw)
        self._calls.append(draw)
        return draw

    @contextlib.contextmanager
    def replay(self):
        """Within it `next_draw` goes through the draws again, in the order they were made."""
        self._next_call = 0
        try:
            with active(self):
                yield
            if self._next_call != len(self._calls):
                raise self._out_of_order()
        finally:
            self._next_call = None

    def next_draw(self, gate):
        """The draw that belongs to the next call of `gate` in the second pass."""
        position = self._next_call
        if position >= len(self._calls) or self._calls[position].gate is not gate:
            raise self._out_of_order()
        self._next_call = position + 1
        return self._calls[position]

    def _out_of_order(self):
        return ValueError(
            f"The two passes through `{self.model.name}` must call the same gates in the same order. "
            f"Received: {[draw.gate.name for draw in self._calls]} in the first pass, a different "
            f"sequence from position {self._next_call} on in the second."
        )


def current():
    """The recording of the pass that is under way in this thread, or None."""
    return getattr(_thread, "active", None)


@contextlib.contextmanager
def active(recording):
    """Makes `recording` the current one of this thread."""
    before = current()
    _thread.active = recording
    try:
        yield recording
    finally:
        _thread.active = before


@contextlib.contextmanager
def entered(model, repeat):
    """Notes how to repeat the `__call__` of `model` while it is under way in this thread."""
    before = getattr(_thread, "entry", None)
    _thread.entry = (model, repeat)
    try:
        yield
    finally:
        _thread.entry = before


def entry_of(model):
    """How to repeat the `__call__` of `model`, if that is the innermost one under way, or None."""
    entry = getattr(_thread, "entry", None)
    return entry[1] if entry is not None and entry[0] is model else None


def keep(recording):
    """Keeps a finished recording of this thread until its model computes the loss."""
    _thread.finished = recording


def take(model):
    """Hands out the last recording of `model` in this thread, once, or None."""
    recording = getattr(_thread, "finished", None)
    if recording is None or recording.model is not model:
        return None
    _thread.finished = None
    return recording
