"""What is under way of a training step: the one place that holds it, for each thread its own.

Between the call of a model and its loss nothing can be handed on by arguments: both are Keras's to call. Neither gates
nor models keep anything of it themselves, since replicas of `tf.distribute` share both and interleave, each in a
thread of its own. All else of a step is functions of what is written down here: see `tfgates.gates.recording`,
`tfgates.gates.dues` and `tfgates.training.passes`.
"""

import contextlib
import threading
import weakref
from collections.abc import Iterator
from typing import Any


class Step(threading.local):
    """The training step of a thread.

    Attributes:
        recording: the `Recording` of the pass that is under way, the first or a repeated one, or None.
        finished: the last `Recording`, until its model computes the loss.
        computing: the model whose loss is being computed.
        stateless: the model whose `stateless_call` is about to run its `call`.
        penalties: what the gates of a model added to its losses in its last `stateless_call`: `(model, losses)`.
        calls: the models whose calls are under way, the outermost first.
        owed: by model the `Due` for its budget and penalty, since it was last settled.
    """

    def __init__(self) -> None:
        self.recording: Any = None
        self.finished: Any = None
        self.computing: Any = None
        self.stateless: Any = None
        self.penalties: tuple[Any, list[Any]] | None = None
        self.calls: tuple[Any, ...] = ()
        self.owed: weakref.WeakKeyDictionary[Any, Any] = weakref.WeakKeyDictionary()

    @contextlib.contextmanager
    def having(self, **entries: Any) -> Iterator[None]:
        """Within it these entries are as given; afterwards they are what they were before."""
        before = {name: getattr(self, name) for name in entries}
        vars(self).update(entries)
        try:
            yield
        finally:
            vars(self).update(before)


step = Step()
