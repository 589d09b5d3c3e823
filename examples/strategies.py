"""One device, several devices, several machines: `train.py --strategy=NAME`."""

import contextlib
import json
import os

import keras
from failure import Failure

STRATEGIES = ("none", "mirrored", "multiworker")


class Place:
    """Where a run trains.

    Attributes:
        replicas: int, devices that share out each batch.
        index: int, number of this worker.
        chief: bool, whether this worker writes the results.
    """

    def __init__(self, name, replicas=None):
        """`name` is one of `STRATEGIES`, `replicas` the number of devices on this machine or None for all GPUs."""
        self.index, self.workers, self._strategy = 0, 1, None
        if name == "multiworker":
            self.index, self.workers = _cluster()
        if name != "none":
            self._strategy = _strategy(name, replicas)
        self.replicas = 1 if self._strategy is None else self._strategy.num_replicas_in_sync
        self.chief = self.index == 0

    def scope(self):
        """Context manager in which to build and compile a model."""
        return contextlib.nullcontext() if self._strategy is None else self._strategy.scope()

    def local(self, model, rebuild):
        """`model` with its weights on this machine alone; all workers must call it.

        Pruning, evaluation and export are then those of one device, and need no other worker.
        """
        if self._strategy is None:
            return model
        weights = model.get_weights()
        copy = rebuild()
        copy.set_weights(weights)
        return copy

    def __str__(self):
        if self._strategy is None:
            return "one device"
        return f"{self.replicas} replicas" + (f" on {self.workers} workers" if self.workers > 1 else "")


def _cluster():
    """The number of this worker and of all, from TF_CONFIG."""
    text = os.environ.get("TF_CONFIG", "")
    try:
        config = json.loads(text)
        return int(config["task"]["index"]), len(config["cluster"]["worker"])
    except (ValueError, KeyError, TypeError) as error:
        raise Failure(
            "--strategy=multiworker needs TF_CONFIG in the environment of each worker, such as "
            '\'{"cluster": {"worker": ["host0:2222", "host1:2222"]}, "task": {"type": "worker", "index": 0}}\'. '
            f"Received: TF_CONFIG={text!r}"
        ) from error


def _strategy(name, replicas):
    if keras.backend.backend() != "tensorflow":
        raise Failure(
            "--strategy must be none with other backends than TensorFlow; with JAX, set a keras.distribution."
            f"DataParallel in a program of your own. Received: --strategy={name} with {keras.backend.backend()}"
        )
    import tensorflow as tf

    gpus = tf.config.list_physical_devices("GPU")
    if replicas is None:
        replicas = max(1, len(gpus))
    kind = "GPU" if gpus else "CPU"
    if gpus and replicas > len(gpus):
        raise Failure(f"--replicas must be at most the number of GPUs, {len(gpus)}. Received: {replicas}")
    if not gpus and replicas > 1:
        # Not faster than one; it shows that a program runs on several.
        (device,) = tf.config.list_physical_devices("CPU")
        tf.config.set_logical_device_configuration(device, [tf.config.LogicalDeviceConfiguration()] * replicas)
    if name == "multiworker":
        return tf.distribute.MultiWorkerMirroredStrategy()
    return tf.distribute.MirroredStrategy([f"{kind}:{i}" for i in range(replicas)])
