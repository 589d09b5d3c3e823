"""A callback that stands before another one."""

from typing import Any

import keras


class Wrapped(keras.callbacks.Callback):
    """Hands everything that `fit` tells to another callback; what a subclass overrides it can change.

    Args:
        callback: a `keras.callbacks.Callback`.
    """

    def __init__(self, callback: Any) -> None:
        super().__init__()
        self.callback = callback

    def set_params(self, params: Any) -> None:
        super().set_params(params)
        self.callback.set_params(params)

    def set_model(self, model: Any) -> None:
        super().set_model(model)
        self.callback.set_model(model)

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        self.callback.on_epoch_begin(epoch, logs)

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        self.callback.on_epoch_end(epoch, logs)

    def on_train_begin(self, logs: Any = None) -> None:
        self.callback.on_train_begin(logs)

    def on_train_end(self, logs: Any = None) -> None:
        self.callback.on_train_end(logs)

    def on_train_batch_begin(self, batch: int, logs: Any = None) -> None:
        self.callback.on_train_batch_begin(batch, logs)

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        self.callback.on_train_batch_end(batch, logs)

    def on_test_begin(self, logs: Any = None) -> None:
        self.callback.on_test_begin(logs)

    def on_test_end(self, logs: Any = None) -> None:
        self.callback.on_test_end(logs)

    def on_test_batch_begin(self, batch: int, logs: Any = None) -> None:
        self.callback.on_test_batch_begin(batch, logs)

    def on_test_batch_end(self, batch: int, logs: Any = None) -> None:
        self.callback.on_test_batch_end(batch, logs)
