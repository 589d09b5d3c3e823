"""Trains with `Resume` and kills itself at a random moment; one process for each try.

Reads requests from stdin, one JSON object a line: `method`, `folder`, `epochs`, `seed` (None: to the
end, else kill by that seed) and `log`. Importing TensorFlow takes most of the time of a try, so the
tries are forks of a process that has imported all and computed nothing.
"""

import json
import os
import random
import signal
import sys
import threading

import keras
import numpy as np

from tests.interruption import methods
from tfgates.callbacks import Resume, resume
from tfgates.shrinking import parts

MOMENTS = ("batch", "clock", "writing", "written", "renamed")
REBUILDS = ("rebuilding", "rebuilt")


def die():
    os.kill(os.getpid(), signal.SIGKILL)


class Log(keras.callbacks.Callback):
    """Writes down which epochs began, and kills in the midst of one."""

    def __init__(self, path, kill=None):
        super().__init__()
        self.path, self.kill = path, kill

    def on_epoch_begin(self, epoch, logs=None):
        self.epoch = epoch
        with open(self.path, "a") as file:
            file.write(f"{epoch}\n")

    def on_train_batch_end(self, batch, logs=None):
        if self.kill is not None and (self.epoch, batch) == self.kill:
            die()


def arm(moment, epoch, draw):
    """Sets the trap; returns the (epoch, batch) at which the log must kill, or None."""
    if moment == "batch":
        return epoch, draw.randrange(4)
    if moment == "clock":
        timer = threading.Timer(draw.uniform(0.5, 4.0), die)
        timer.daemon = True
        timer.start()
        return None
    if moment in REBUILDS:
        shrunk = parts.shrunk

        def killing_shrunk(*arguments):
            if moment == "rebuilt":
                shrunk(*arguments)
            die()

        parts.shrunk = killing_shrunk
        return None
    savez, replace = np.savez, os.replace
    kill_at = f"epoch-{epoch + 1:05d}.npz"

    def killing_savez(path, **values):
        savez(path, **values)
        if moment == "writing" and f".{kill_at[:-4]}" in str(path):
            # What a kill within the writing leaves: the first part of the file.
            os.truncate(path, draw.randrange(os.path.getsize(path)))
            die()

    def killing_replace(source, target):
        here = str(target).endswith(kill_at)
        if here and moment == "written":
            die()
        replace(source, target)
        if here and moment == "renamed":
            die()

    np.savez, os.replace = killing_savez, killing_replace
    return None


def attempt(method, folder, epochs, seed, log):
    kill = None
    if seed is not None:
        draw = random.Random(seed)
        saved = max(resume.epochs_in(folder), default=0)
        # Of this epoch or of the next, so that kills come before any state, and after some.
        moments = (*MOMENTS, *REBUILDS) if method in methods.SHRINKING else MOMENTS
        kill = arm(moments[seed % len(moments)], min(saved + draw.randrange(2), epochs - 1), draw)
    model = methods.build(method)
    history = methods.fit(model, method, epochs, [Resume(folder), Log(log, kill)])
    np.savez(os.path.join(folder, "end.npz"), *methods.state(history.model))


def main():
    answers = os.fdopen(os.dup(sys.stdout.fileno()), "w")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    for line in sys.stdin:
        child = os.fork()
        if child == 0:
            try:
                attempt(**json.loads(line))
                os._exit(0)
            except BaseException:
                import traceback

                traceback.print_exc()
                os._exit(1)
        _, status = os.waitpid(child, 0)
        print(json.dumps(os.waitstatus_to_exitcode(status)), file=answers, flush=True)


main()
