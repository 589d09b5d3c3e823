"""What Keras itself cannot do on several replicas, said before training rather than met in it."""

from typing import Any

import keras

from tfgates.distribution.multi_worker import in_multi_worker, strategy_of
from tfgates.keras_internals import cross_device_ops, inner_optimizers


def check_supported(model: Any) -> None:
    """Raises a `ValueError` if a compiled model cannot be trained as compiled under its strategy.

    Keras 3.15 fails, with any model, in the middle of the first step, with

    * gradient accumulation, or moving averages that overwrite the weights, under a mirrored strategy,
      whatever its number of replicas: a `merge_call` within a condition;
    * `steps_per_execution` above 1 on more than one replica, unless the strategy reduces to one device;
    * `jit_compile=True` where there are several replicas on CPUs.

    Args:
        model: a compiled `keras.Model`.
    """
    strategy = strategy_of(model)
    if strategy is None or not _mirrored(strategy):
        return
    kind, replicas = type(strategy).__name__, strategy.num_replicas_in_sync
    for optimizer in _optimizers(getattr(model, "optimizer", None)):
        for name in ("gradient_accumulation_steps", "ema_overwrite_frequency"):
            value = getattr(optimizer, name, None)
            if value and (name != "ema_overwrite_frequency" or optimizer.use_ema):
                raise ValueError(
                    f"`{name}` must be None under a mirrored strategy: Keras's optimizers cannot do it there. "
                    f"Received: {name}={value} in {type(optimizer).__name__} under {kind}"
                )
    if replicas < 2:
        return
    steps = model.steps_per_execution
    if steps > 1 and (in_multi_worker(strategy) or not _reduces_to_one_device(strategy)):
        several = in_multi_worker(strategy)
        advice = "" if several else " unless the strategy has `cross_device_ops=tf.distribute.ReductionToOneDevice()`"
        raise ValueError(
            f"`steps_per_execution` must be 1 on more than one replica{advice}: Keras's loop over steps fails "
            f"there. Received: steps_per_execution={steps} under {kind} with {replicas} replicas"
        )
    devices = [device for device in strategy.extended.worker_devices if "CPU" in device.upper()]
    if model.jit_compile and devices:
        raise ValueError(
            "`jit_compile` must be False where replicas are CPUs: TensorFlow cannot compile a step for several "
            f"of them. Received: jit_compile=True under {kind} on {list(strategy.extended.worker_devices)}"
        )


def _mirrored(strategy: Any) -> bool:
    import tensorflow as tf

    return isinstance(strategy, (tf.distribute.MirroredStrategy, tf.distribute.MultiWorkerMirroredStrategy))


def _reduces_to_one_device(strategy: Any) -> bool:
    import tensorflow as tf

    # What the strategy was made with; there is no public way to ask.
    return isinstance(cross_device_ops(strategy), tf.distribute.ReductionToOneDevice)


def _optimizers(optimizer: Any) -> Any:
    """An optimizer and those inside of it."""
    if optimizer is None:
        return []
    inner = inner_optimizers(optimizer)
    if isinstance(optimizer, keras.optimizers.LossScaleOptimizer):
        inner.append(optimizer.inner_optimizer)
    return [optimizer] + [found for one in inner for found in _optimizers(one)]
