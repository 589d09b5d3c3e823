"""The way from a network to a smaller one, on the backend that KERAS_BACKEND names, without TensorFlow."""

import json
import sys

# Makes the import of TensorFlow fail, as where it is not installed.
sys.modules["tensorflow"] = None

import keras  # noqa: E402 (after TensorFlow is barred)
import numpy as np  # noqa: E402 (as above)

import tfgates  # noqa: E402 (as above)

K = keras.layers


def network():
    """Two gated layers, so that little has to be compiled."""
    inputs = keras.Input((6, 6, 2))
    x = K.ReLU()(K.BatchNormalization()(K.Conv2D(8, 3, use_bias=False)(inputs)))
    x = K.Dense(12, activation="relu", kernel_regularizer=keras.regularizers.L2(1e-3))(K.GlobalAveragePooling2D()(x))
    return keras.Model(inputs, K.Dense(3, activation="softmax")(x))


def trained(gate, x, y):
    """A gated network and what `finish` leaves of it."""
    gated = tfgates.gate_model(network(), gate, budget=tfgates.Budget(macs=0.5))
    gated.compile("adam", "sparse_categorical_crossentropy", metrics=["accuracy"])
    history = gated.fit(x, y, batch_size=32, epochs=15, verbose=0).history
    small = tfgates.finish(gated, (x, y), steps=2)
    return gated, small, history


def losses_of_a_penalty(x, y):
    """`loss` and `structure_loss` in the logs where a penalty is by far the largest part of the loss."""
    gated = tfgates.gate_model(network(), l0=1e4)
    gated.compile(keras.optimizers.SGD(0.0), "sparse_categorical_crossentropy", gate_optimizer=None)
    history = gated.fit(x, y, epochs=1, verbose=0).history
    return history["loss"][0], history["structure_loss"][0]


def refused(model, x, y):
    """What training says where the gradient of Bernoulli gates is not estimated: a plain model around a gated one."""
    inputs = keras.Input((6, 6, 2))
    around = keras.Model(inputs, model(inputs))
    around.compile("sgd", "sparse_categorical_crossentropy")
    try:
        around.fit(x, y, epochs=1, verbose=0)
    except ValueError as error:
        return str(error)
    return ""


def main():
    keras.utils.set_random_seed(0)
    generator = np.random.default_rng(0)
    x, y = generator.normal(size=(64, 6, 6, 2)).astype("float32"), generator.integers(0, 3, 64)
    gated, small, history = trained("disarm", x, y)
    model = network()
    pruned = tfgates.prune_by(model, tfgates.Budget(macs=0.5))
    pruned.compile("adam", "sparse_categorical_crossentropy")
    pruned.fit(x, y, epochs=1, verbose=0)
    small.fit(x, y, epochs=1, verbose=0)
    found = {
        "backend": keras.backend.backend(),
        "expected_macs": history["expected_macs"],
        "share": tfgates.cost(small).macs / tfgates.cost(network()).macs,
        "share_by_magnitude": tfgates.cost(pruned).macs / tfgates.cost(model).macs,
        # After both were trained on: what one gave to the other was a copy.
        "finite": bool(
            np.isfinite(gated.predict(x, verbose=0)).all() and np.isfinite(model.predict(x, verbose=0)).all()
        ),
        "refused": refused(tfgates.gate_model(network(), "arm", budget=tfgates.Budget(macs=0.5)), x, y),
        "losses": losses_of_a_penalty(x, y),
        "tensorflow": sys.modules["tensorflow"] is not None,
    }
    print(json.dumps(found))


if __name__ == "__main__":
    main()
