"""What stock Keras lacks to train with several workers (keras issue 20585).

Under `tf.distribute.MultiWorkerMirroredStrategy` Keras 3.15 fails in two places: it builds a model
from the mean of a batch over the replicas, which it takes wrongly, and it reduces the logs of a
step over their first axis, which scalars do not have. `tfgates.GatedModel` does both right.
"""

from typing import Any

import keras

from tfgates.keras_internals import is_multi_worker


def in_multi_worker(strategy: Any) -> bool:
    """Whether a strategy has several workers, each in its own process."""
    if keras.backend.backend() != "tensorflow":
        return False
    import tensorflow as tf

    # MultiWorkerMirroredStrategy without a cluster is a MirroredStrategy.
    several = isinstance(strategy, tf.distribute.MultiWorkerMirroredStrategy)
    return several and is_multi_worker(strategy)


def strategy_of(model: Any) -> Any:
    """The `tf.distribute` strategy of a model, or None on other backends."""
    return getattr(model, "distribute_strategy", None)


def worker_of(model: Any) -> Any:
    """`(index of this worker, number of workers)`; `(0, 1)` without several."""
    strategy = strategy_of(model)
    if not in_multi_worker(strategy):
        return 0, 1
    resolver = strategy.cluster_resolver
    return resolver.task_id, resolver.cluster_spec().num_tasks("worker")


def local_batch(model: Any, iterator: Any, data_batch: Any) -> Any:
    """With several workers `(None, what the first replica of this worker has of a batch)`.

    Without several workers its arguments, those of Keras's symbolic build: an epoch iterator and a batch.
    """
    strategy = strategy_of(model)
    if iterator is None or not in_multi_worker(strategy):
        return iterator, data_batch
    for _, _, batches in iterator:
        batch = next(batches)
        return None, keras.tree.map_structure(lambda v: strategy.experimental_local_results(v)[0], batch)
    return iterator, data_batch


def reducible(model: Any, logs: Any) -> Any:
    """Logs of a step; with several workers with one axis, over which Keras takes their mean."""
    if not in_multi_worker(strategy_of(model)):
        return logs
    return keras.tree.map_structure(lambda value: keras.ops.reshape(value, (1,)), logs)
