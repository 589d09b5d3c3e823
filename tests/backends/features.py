"""What trains, prunes, saves and counts, on the backend that KERAS_BACKEND names: each feature once, on small networks.

`python -m tests.backends.features FOLDER [names]` prints a line of JSON for each feature.
"""

import contextlib
import importlib.util
import json
import pathlib
import sys
import warnings

import keras
import numpy as np

import tfgates
from tests.calculus import array

K = keras.layers
X = np.random.default_rng(0).normal(size=(64, 6)).astype("float32")
Y = np.argmax(X[:, :3], axis=1)


def network():
    """Dropout without a seed, batch statistics, and a layer that only tracing can count."""
    inputs = keras.Input((6,))
    x = K.Dense(8, activation="relu", name="first")(inputs)
    x = K.Dropout(0.2)(K.BatchNormalization()(x))
    x = K.Dense(8, activation="relu", name="second")(x)
    return keras.Model(inputs, K.Dense(3, activation="softmax", name="last")(x))


def trained(gate="hard_concrete", epochs=12, callbacks=(), optimizer="adam", **arguments):
    if gate != "scaling" and "penalty" not in arguments:
        arguments["budget"] = tfgates.Budget(macs=0.5)
    gated = tfgates.gate_model(network(), gate, **arguments)
    gated.compile(optimizer, "sparse_categorical_crossentropy", metrics=["accuracy"])
    history = gated.fit(X, Y, batch_size=16, epochs=epochs, verbose=0, callbacks=list(callbacks)).history
    return gated, history


def difference(one, other):
    return float(np.max(np.abs(one.predict(X, verbose=0) - other.predict(X, verbose=0))))


def share(model):
    return tfgates.cost(model).macs / tfgates.cost(network()).macs


def hard_concrete(folder):
    gated, history = trained()
    small = tfgates.finish(gated, (X, Y), steps=2)
    assert history["expected_macs"][-1] < 0.75 and share(small) <= 0.5
    return {"share": share(small)}


def generator(folder):
    gated, _ = trained(generator="forward", epochs=4)
    small = tfgates.finish(gated, (X, Y), steps=2)
    assert share(small) <= 0.5
    return {"share": share(small)}


def penalty(folder):
    _, history = trained("disarm", epochs=4, penalty={"params": 5.0})
    assert history["structure_loss"][-1] < history["structure_loss"][0]
    return {"structure_loss": history["structure_loss"]}


def example_sampling(folder):
    _, history = trained("arm", epochs=2, sampling="example")
    assert np.isfinite(history["loss"]).all()
    return {"loss": history["loss"][-1]}


def sparse_scaling(folder):
    callback = tfgates.callbacks.SparseScaling(0.5, stop_at=9)
    optimizer = keras.optimizers.SGD(0.05)
    gated, history = trained("scaling", callbacks=[callback], optimizer=optimizer)
    assert history["open_structures"][-1] == 9
    small = tfgates.prune(gated)
    assert difference(gated, small) < 1e-5
    # Ended within an epoch: what a callback sees there is up to date.
    callback = tfgates.callbacks.SparseScaling(0.5, stop_at=9, when_reached="stop")
    stopped, _ = trained("scaling", callbacks=[callback], optimizer=keras.optimizers.SGD(0.05))
    assert int(array(stopped.optimizer.iterations)) < 48
    return {"open": history["open_structures"]}


class InterruptedError(Exception):
    """Raised in place of a crash."""


def interrupt(epoch, logs):
    if epoch == 2:
        raise InterruptedError


def resume(folder):
    """To the bit, dropout without a seed among it."""

    def run(seed, *callbacks):
        keras.utils.set_random_seed(seed)
        gated = tfgates.gate_model(network(), "disarm", seed=2, budget=tfgates.Budget(macs=0.5))
        gated.compile("adam", "sparse_categorical_crossentropy")
        with contextlib.suppress(InterruptedError):
            gated.fit(X, Y, batch_size=16, epochs=4, verbose=0, shuffle=False, callbacks=list(callbacks))
        return [array(v) for v in [*gated.variables, *gated.optimizer.variables]]

    whole = run(1)
    run(1, tfgates.callbacks.Resume(folder), keras.callbacks.LambdaCallback(on_epoch_begin=interrupt))
    again = run(7, tfgates.callbacks.Resume(folder))
    assert len(whole) == len(again) and all(np.array_equal(a, b) for a, b in zip(whole, again, strict=True))
    return {"variables": len(whole)}


def monitor(folder):
    callback = tfgates.callbacks.SparsityMonitor(folder / "logs")
    _, history = trained(epochs=2, callbacks=[callback])
    files = list((folder / "logs").rglob("events*"))
    assert len(files) >= 3 and "expected_open_units" in history
    return {"files": len(files)}


def without_training(folder):
    model = network()
    model.compile("adam", "sparse_categorical_crossentropy")
    model.fit(X, Y, epochs=2, verbose=0)
    arguments = {"data": (X, Y), "loss": "sparse_categorical_crossentropy"}
    small = tfgates.prune_by(model, tfgates.Budget(macs=0.5), importance="taylor", **arguments)
    tfgates.reconstruct(small, model, (X,))
    assert share(small) <= 0.5
    return {"share": share(small)}


def compress(folder):
    model = network()
    model.compile("adam", "sparse_categorical_crossentropy")
    model.fit(X, Y, epochs=2, verbose=0)
    small = tfgates.compress(
        model,
        (X, Y),
        budget=tfgates.Budget(macs=0.5),
        loss="sparse_categorical_crossentropy",
        epochs=4,
        teacher=model,
        verbose=0,
    )
    assert share(small) <= 0.5
    return {"share": share(small)}


def counted(folder):
    inputs = keras.Input((5, 6))
    model = keras.Model(inputs, K.Dense(2)(K.Bidirectional(K.LSTM(3))(inputs)))
    assert tfgates.cost(model).macs == 2 * 5 * 4 * 3 * (6 + 3) + 6 * 2
    return {"macs": tfgates.cost(model).macs}


def data(folder):
    """A PyDataset, and a loader of PyTorch where that is installed."""

    class Batches(keras.utils.PyDataset):
        def __len__(self):
            return 4

        def __getitem__(self, index):
            return X[16 * index : 16 * index + 16], Y[16 * index : 16 * index + 16]

    kinds = {"PyDataset": Batches()}
    if importlib.util.find_spec("torch"):
        import torch

        tensors = torch.utils.data.TensorDataset(torch.as_tensor(X), torch.as_tensor(Y))
        kinds["DataLoader"] = torch.utils.data.DataLoader(tensors, batch_size=16)
    for kind in kinds.values():
        gated = tfgates.gate_model(network(), budget=tfgates.Budget(macs=0.5))
        gated.compile("adam", "sparse_categorical_crossentropy")
        gated.fit(kind, epochs=2, shuffle=False, verbose=0)
        assert share(tfgates.finish(gated, kind, steps=2)) <= 0.5
    return {"kinds": sorted(kinds)}


def onnx(folder):
    """Where the packages are: the gated network and what is left of it, batches of 1 and 5."""
    import onnxruntime

    gated, _ = trained(epochs=2)
    worst = 0.0
    for name, model in (("gated", gated), ("pruned", tfgates.finish(gated, (X, Y), steps=2))):
        path = str(folder / f"{name}.onnx")
        model.export(path, format="onnx", verbose=False)
        session = onnxruntime.InferenceSession(path)
        for count in (1, 5):
            (outputs,) = session.run(None, {session.get_inputs()[0].name: X[:count]})
            worst = max(worst, float(np.max(np.abs(outputs - model.predict(X[:count], verbose=0)))))
    assert worst < 1e-5
    return {"worst": worst}


def saved_model(folder):
    """Where TensorFlow is, too: the gated network and what is left of it, batches of 1 and 5."""
    gated, _ = trained(epochs=2)
    worst = 0.0
    for name, model in (("gated", gated), ("pruned", tfgates.finish(gated, (X, Y), steps=2))):
        model.export(folder / name, verbose=False)
        # Not before Keras has asked for it: it is another backend than the one in use.
        import tensorflow as tf

        served = tf.saved_model.load(str(folder / name))
        for count in (1, 5):
            outputs = served.serve(tf.constant(X[:count])).numpy()
            worst = max(worst, float(np.max(np.abs(outputs - model.predict(X[:count], verbose=0)))))
    assert worst < 1e-5
    return {"worst": worst}


def write(folder):
    """Files for `read` on this backend or another: gated, pruned, compiled or not."""
    backend = keras.backend.backend()
    for gate in ("hard_concrete", "disarm"):
        gated, _ = trained(gate, epochs=4)
        small = tfgates.finish(gated, (X, Y), steps=2)
        for name, model in (("gated", gated), ("pruned", small)):
            for compiled in (True, False):
                if compiled and name == "pruned":
                    model.compile("adam", "sparse_categorical_crossentropy")
                    model.fit(X, Y, epochs=1, verbose=0)
                model = model if compiled else keras.models.clone_model(model) if name == "pruned" else model
                path = folder / f"{backend}-{gate}-{name}-{'compiled' if compiled else 'plain'}"
                model.save(f"{path}.keras", include_optimizer=compiled) if compiled else save_plain(model, path)
                np.savez(f"{path}.npz", outputs=model.predict(X, verbose=0))
    return {"files": len(list(folder.glob(f"{backend}-*.keras")))}


def save_plain(model, path):
    """Saves a model that was never compiled, with the weights of `model`."""
    plain = model.__class__.from_config(model.get_config())
    plain.set_weights(model.get_weights())
    plain.save(f"{path}.keras")


def read(folder):
    """All files that `write` has left in a folder: equal outputs, and they train on."""
    found = {}
    for path in sorted(folder.glob("*.keras")):
        # Of plain models Keras's own files name, with PyTorch, an optimizer that other backends have not, and those of
        # the others ask for a compiler.
        kept = "gated" in path.name or path.name.startswith(keras.backend.backend())
        model = keras.saving.load_model(path, compile=kept)
        with np.load(path.with_suffix(".npz")) as expected:
            worst = float(np.max(np.abs(model.predict(X, verbose=0) - expected["outputs"])))
        assert worst < 1e-5, (path.name, worst)
        if not model.compiled:
            model.compile("adam", "sparse_categorical_crossentropy")
        model.fit(X, Y, epochs=1, verbose=0)
        found[path.stem] = worst
    assert found
    return {"worst": max(found.values()), "files": len(found)}


ALONE = (hard_concrete, generator, penalty, example_sampling, sparse_scaling, resume, monitor)
ALONE += (without_training, compress, counted, data)
FEATURES = {feature.__name__: feature for feature in (*ALONE, onnx, saved_model, write, read)}


def main(folder, *names):
    warnings.simplefilter("error")
    for text in (
        "Training had not come",
        "Training had closed",
        "A callback",
        "Nothing asks",
        "__array__ implementation",
    ):
        warnings.filterwarnings("ignore", message=text)
    failed = []
    for name in names or [feature.__name__ for feature in ALONE]:
        keras.utils.clear_session()
        keras.utils.set_random_seed(1)
        place = pathlib.Path(folder) if name in ("write", "read") else pathlib.Path(folder) / name
        place.mkdir(parents=True, exist_ok=True)
        try:
            found = {"passed": True, **FEATURES[name](place)}
        except Exception as error:
            found = {"passed": False, "error": f"{type(error).__name__}: {error}"}
            failed.append(name)
        print(json.dumps({"backend": keras.backend.backend(), "feature": name, **found}), flush=True)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
