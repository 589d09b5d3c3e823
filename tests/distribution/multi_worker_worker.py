"""A worker of `MultiWorkerMirroredStrategy`, or one device alone; prints what it trained as JSON.

Usage: multi_worker_worker.py GATE EPOCHS FOLDER KILL_EPOCH

`TF_CONFIG` says which worker it is; without it there is one device. FOLDER is where to save and
resume, "" for nowhere. The worker with index 1 ends itself in KILL_EPOCH (-1: never), as kill -9
would.
"""

import json
import os
import signal
import sys

import keras
import numpy as np
import tensorflow as tf

import tfgates

config = json.loads(os.environ.get("TF_CONFIG", "{}"))
# It must come before any operation.
strategy = tf.distribute.MultiWorkerMirroredStrategy() if config else tf.distribute.get_strategy()
gate, epochs, folder, kill_epoch = sys.argv[1], int(sys.argv[2]), sys.argv[3], int(sys.argv[4])


class KillInEpoch(keras.callbacks.Callback):
    def on_train_batch_end(self, batch, logs=None):
        if self.epoch == kill_epoch:
            os.kill(os.getpid(), signal.SIGKILL)

    def on_epoch_begin(self, epoch, logs=None):
        self.epoch = epoch


def main():
    keras.utils.set_random_seed(0)
    with strategy.scope():
        inputs = keras.Input((5,))
        x = keras.layers.Dense(7, activation="tanh")(inputs)
        x = keras.layers.Dense(6, activation="tanh")(x)
        budget = tfgates.Budget(macs=0.2, multiplier_rate=0.1, warm_up=0, ramp=0)
        model = tfgates.gate_model(
            keras.Model(inputs, keras.layers.Dense(2)(x)),
            gate=gate,
            budget=budget,
            seed=3,
            initial_open_probability=0.6,
        )
        refusal = ""
        try:
            model.compile(keras.optimizers.Adam(0.01), "mse", steps_per_execution=2)
        except ValueError as error:
            refusal = str(error)
        model.compile(keras.optimizers.Adam(0.01), "mse", metrics=["mae"])
    draw = np.random.default_rng(0)
    x = draw.normal(size=(48, 5)).astype("float32")
    y = draw.normal(size=(48, 2)).astype("float32")
    data = tf.data.Dataset.from_tensor_slices((x, y)).batch(12)
    options = tf.data.Options()
    options.experimental_distribute.auto_shard_policy = tf.data.experimental.AutoShardPolicy.DATA
    data = data.with_options(options)
    callbacks = [tfgates.callbacks.Resume(folder)] if folder else []
    callbacks += [KillInEpoch()] if config and config["task"]["index"] == 1 else []
    history = model.fit(data, epochs=epochs, verbose=0, callbacks=callbacks, validation_data=data)
    print(
        json.dumps(
            {
                "history": {name: [float(v) for v in values] for name, values in history.history.items()},
                "epochs": history.epoch,
                "refusal": refusal,
                "weights": [v.numpy().tolist() for v in model.trainable_variables],
                "optimizer": [np.asarray(v.numpy()).tolist() for v in model.optimizer.variables],
                "multipliers": model.multipliers.numpy().tolist(),
                "evaluated": {k: float(v) for k, v in model.evaluate(data, verbose=0, return_dict=True).items()},
                "predicted": model.predict(x, batch_size=12, verbose=0).shape[0],
            }
        ),
        flush=True,
    )


main()
