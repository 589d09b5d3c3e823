"""A metric that reports the last value."""

from typing import Any

import keras


@keras.saving.register_keras_serializable(package="tfgates")
class Latest(keras.metrics.Mean):
    """The last value it was given; its mean over the replicas of `tf.distribute`."""

    def update_state(self, values: Any, sample_weight: Any = None) -> None:
        self.total.assign(keras.ops.cast(values, self.dtype))
        self.count.assign(keras.ops.ones(self.count.shape, self.count.dtype))
