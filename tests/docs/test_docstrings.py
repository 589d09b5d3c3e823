"""The examples in the docstrings of public names: they name what exists, and run."""

import doctest
import inspect
import json
import re
import types

import keras
import numpy as np
import pytest
import tensorflow as tf

import tfgates

PARSER = doctest.DocTestParser()


def docstrings(public):
    """From the name of each public object, and of each method of a public class, to its docstring."""
    for name, value in public.items():
        yield name, inspect.getdoc(value)
        for method, function in vars(value).items() if inspect.isclass(value) else ():
            if isinstance(function, (types.FunctionType, property, classmethod)) and not method.startswith("_"):
                yield f"{name}.{method}", inspect.getdoc(function)


@pytest.fixture(scope="module")
def examples(of_docs):
    """From names to the programs of their docstrings; classes that are public twice come once."""
    found = {}
    for name, text in docstrings(of_docs("public_names").public()):
        code = "".join(example.source for example in PARSER.get_examples(text or "", name))
        if code and code not in found.values():
            found[name] = code
    return found


def test_there_are_examples(examples):
    assert len(examples) >= 20 and {"tfgates.gate_model", "tfgates.finish"} <= set(examples)


def test_examples_name_what_exists(examples):
    from tests.docs.test_pages import faults

    assert {name: found for name, code in examples.items() if (found := list(faults(code)))} == {}


@keras.saving.register_keras_serializable(package="tests.docs")
class MyDense(keras.layers.Dense):
    pass


@keras.saving.register_keras_serializable(package="tests.docs")
class MyActivation(keras.layers.ReLU):
    pass


def network():
    keras.utils.set_random_seed(0)
    inputs = keras.Input((4,))
    x = keras.layers.Dense(6, activation="relu", name="first")(inputs)
    return keras.Model(inputs, keras.layers.Dense(3, activation="softmax", name="classes")(x))


def names_for(name):
    """What an example takes as given, as its words say."""
    numbers = np.random.default_rng(0)
    x, y = numbers.normal(size=(32, 4)).astype("float32"), numbers.integers(0, 3, 32)
    loss = "sparse_categorical_crossentropy"
    model = network()
    model.compile("adam", loss=loss)
    names = {"x": x, "y": y, "x_test": x, "y_test": y, "data": (x, y), "loss": loss, "model": model, "trained": model}
    names |= {"keras": keras, "tfgates": tfgates, "json": json, "MyDense": MyDense, "MyActivation": MyActivation}
    names["inputs"] = keras.Input((8, 8, 3))
    if "layers_of" in name:
        inner = keras.Sequential([keras.Input((4,)), keras.layers.Dense(6, activation="relu")], name="backbone")
        model = keras.Sequential([keras.Input((4,)), inner, keras.layers.Dense(3)])
    names["gated"] = tfgates.gate_model(model, budget=tfgates.Budget(macs=0.5))
    names["gated"].compile("adam", loss=loss)
    if "callbacks" in name or "optimizers" in name:
        names["model"] = names["gated"]
    if "Resume" in name:
        names["data"] = tf.data.Dataset.from_tensor_slices((x, y)).batch(16)
    names["patches"] = keras.Input((4, 16))
    if "Attention" in name:
        names["x"] = keras.Input((5, 8))
    if "GateNoise" in name:
        names |= {"x": keras.Input((8, 8, 64)), "y": keras.Input((8, 8, 64))}
    if "report_of" in name:
        # Its loss is the squared error.
        names["data"] = (x, np.eye(3, dtype="float32")[y])
    names |= {"shortcut": keras.Input((8,)), "branch": keras.Input((8,))}
    return names


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::tfgates.GatesWarning")
# Examples leave the order of a data set to `fit`, as short ones do.
@pytest.mark.filterwarnings("ignore:`shuffle=True` was passed")
def test_examples_run(examples, monkeypatch, tmp_path, capsys):
    """With one epoch or two in the place of each number of epochs, and a small network in that of others."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(keras.applications, "ResNet50", lambda **_: network())
    failed = {}
    for name, code in examples.items():
        code = re.sub(r"epochs=(\d+)", lambda found: f"epochs={1 + (int(found[1]) > 10)}", code)
        code = code.replace("initial_epoch=2", "initial_epoch=1").replace(r"transformer_layer_\d+", "classes")
        try:
            exec(compile(code, name, "exec"), names_for(name))
        except Exception as error:
            failed[name] = repr(error)
    assert failed == {}
