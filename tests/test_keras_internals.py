"""The privates of Keras and TensorFlow: named in one file, and each of them does what that file says of it."""

import ast
import inspect
import pathlib

import keras
import numpy as np
import pytest
import tensorflow as tf

from tfgates import keras_internals as internals

ROOT = pathlib.Path(__file__).parents[1]
K = keras.layers
# Of named tuples, public in spite of the underscore.
PUBLIC = {"_replace"}


def own_names(trees):
    """Names that begin with an underscore and that the package gives itself."""
    for tree in trees:
        for node in ast.walk(tree):
            if isinstance(node, ast.FunctionDef | ast.ClassDef):
                yield node.name
            elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
                yield node.id
            elif isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store):
                # Also in `gated._original = model`: what is set on an object of Keras's is refused below, by its class.
                yield node.attr


def private_names(tree):
    for node in ast.walk(tree):
        name = None
        if isinstance(node, ast.Attribute):
            name = node.attr
        elif isinstance(node, ast.Call) and ast.unparse(node.func) in ("getattr", "hasattr", "setattr", "delattr"):
            name = getattr(node.args[1], "value", None) if isinstance(node.args[1], ast.Constant) else None
        if name is not None and name.startswith("_") and not name.startswith("__"):
            yield name


def of_keras():
    """Private names of objects of Keras's of all kinds that matter here."""
    model = functional()
    model.compile(keras.optimizers.Adam(), "mse")
    model.fit(np.ones((1, 2)), np.ones((1, 1)), verbose=0)
    made = [model, *model.layers, model.optimizer, model.inputs[0], model.weights[0], K.Lambda(abs)]
    made += [keras.losses.MeanSquaredError(), K.MultiHeadAttention(1, 1), model.layers[0].dtype_policy]
    return {name for each in made for name in dir(each) if name.startswith("_") and not name.startswith("__")}


def functional():
    inputs = keras.Input((2,))
    return keras.Model(inputs, K.Dense(1)(inputs))


def named_outside(files):
    """The private names of Keras's in files other than the one that fences them."""
    trees = {path: ast.parse(text) for path, text in files.items()}
    own, of_others = {*own_names(trees.values())}, of_keras()
    found = []
    for path, tree in trees.items():
        names = {*private_names(tree)} - PUBLIC - {*internals.OVERRIDDEN}
        found += [f"{path}: {name}" for name in sorted(names) if name in of_others - SHARED or name not in own]
    return found


# Names of our own that Keras has too, for something else.
SHARED = {"_called", "_kernel", "_layers", "_layout", "_nodes", "_variables"}


def test_privates_are_named_in_one_file():
    files = {path.relative_to(ROOT): path.read_text() for path in (ROOT / "tfgates").rglob("*.py")}
    assert named_outside({path: text for path, text in files.items() if path.name != "keras_internals.py"}) == []
    # A control: the file that may name them does.
    assert len(named_outside({path: text for path, text in files.items() if path.name == "keras_internals.py"})) > 30


@pytest.mark.parametrize("line", ["model._losses = []", "getattr(model, '_inputs_struct')", "layer._flatten_layers()"])
def test_a_private_elsewhere_is_found(line):
    assert len(named_outside({"new.py": line})) == 1


# What each function does, on the installed versions: a function without a row fails.


def attention():
    x = keras.Input((3, 4))
    layer = K.MultiHeadAttention(2, 5, value_dim=6)
    layer(x, x)
    assert internals.widths_of_attention(layer) == (5, 6)
    assert [part.name for part in internals.input_projections(layer)] == ["query", "key", "value"]
    assert internals.output_projection(layer).kernel.shape == (2, 6, 4)


def calls():
    x = keras.Input((2,))
    layer, reader = K.Dense(2), K.ReLU()
    y = layer(layer(x))
    reader(y)
    history = internals.history_of(y)
    assert history.operation is layer and history.node_index == 1 and internals.history_of(np.ones(2)) is None
    assert internals.call_of(history) is internals.calls_of(layer)[1]
    assert len(internals.calls_of(layer)) == 2 and len(internals.readers_of(layer)) == 2
    del internals.calls_of(layer)[1:]
    assert len(internals.calls_of(layer)) == 1


def graphs():
    x = {"a": keras.Input((2,), name="a"), "b": keras.Input((2,), name="b")}
    model = keras.Model(x, [K.Add()([x["a"], x["b"]])])
    assert internals.has_graph(model) and not internals.has_graph(K.Dense(1))
    assert {*internals.inputs_structure(model)} == {"a", "b"} and isinstance(internals.outputs_structure(model), list)
    assert internals.inputs_structure(K.Dense(1)) is None
    assert sum(len(nodes) for nodes in internals.nodes_by_depth(model).values()) == 3
    outer = keras.Sequential([keras.Input((2,)), functional()])
    assert len([*internals.layers_within(outer)]) > len([*internals.layers_within(outer, include_self=False)]) > 2
    assert internals.holds_layers(outer) and not internals.holds_layers(K.Dense(1))
    layers, ids = internals.tracked_layers(outer)
    assert id(outer.layers[0]) in ids and outer.layers[0] in layers
    outer.inner = inner = K.Dense(1)
    assert internals.attributes_of_object(outer)["inner"] is inner
    fixed = keras.Variable([1.0], autocast=False)
    assert internals.may_be_cast(keras.Variable([1.0])) and not internals.may_be_cast(fixed)


def precision():
    for name, kept in (("mixed_bfloat16", "float32"), ("bfloat16", "bfloat16")):
        layer = K.Dense(2, dtype=name)
        half = layer(np.ones((1, 3), "float32"))
        with internals.computing_in_float32([layer]):
            found = layer(np.ones((1, 3), "float32"))
            assert (layer.compute_dtype, layer.variable_dtype) == ("float32", kept)
        assert [keras.backend.standardize_dtype(x.dtype) for x in (half, found)] == ["bfloat16", "float32"]
        assert layer.compute_dtype == "bfloat16" and layer.dtype_policy.name == name


def masks():
    x = keras.Input((3, 1))
    assert internals.mask_of(x) is None and internals.mask_of(K.Masking()(x)) is not None
    given = keras.ops.ones((1, 3, 1))
    internals.give_mask(given, keras.ops.convert_to_tensor([[True, False, True]]))
    assert K.GlobalAveragePooling1D()(given * 1.0).shape == (1, 1) and internals.mask_of(given) is not None
    np.testing.assert_array_equal(K.LSTM(1).compute_mask(given, internals.mask_of(given)), None)


def arguments():
    assert internals.tells_training(K.Dropout(0.5)) and not internals.tells_training(K.ReLU())
    layer = K.Dense(2, dtype="float16")
    assert not internals.takes_arguments_as_they_are(layer)
    internals.take_arguments_as_they_are(layer)
    assert internals.takes_arguments_as_they_are(layer)

    class Seen(K.Layer):
        def call(self, x):
            self.dtypes = keras.backend.standardize_dtype(x.dtype)
            return x

    seen = Seen(dtype="float16")
    seen(keras.ops.ones((1, 1), "float32"))
    assert seen.dtypes == "float16"
    internals.take_arguments_as_they_are(seen)
    seen(keras.ops.ones((1, 1), "float32"))
    assert seen.dtypes == "float32"
    assert internals.output_shape_of_lambda(K.Lambda(abs, output_shape=(3,))) == (3,)


def losses():
    layer = K.ActivityRegularization(1.0)
    layer(keras.ops.ones((1, 2)))
    assert len(layer.losses) == len(internals.added_losses(layer)) == 1
    kept = internals.added_losses(layer)
    internals.give_added_losses(layer, [])
    assert layer.losses == []
    internals.give_added_losses(layer, kept)
    internals.forget_losses(layer)
    assert layer.losses == []
    model = functional()
    model.compile("sgd", ["mse"])
    x, y = np.ones((2, 2), "float32"), np.ones((2, 1), "float32")
    model.compute_loss(x, y, model(x))
    (entry,) = internals.losses_by_output(internals.compile_loss_of(model))
    assert entry.name is None or isinstance(entry.name, str)
    assert float(entry.loss(y, y * 3.0)) == 4.0
    assert internals.compile_settings(model)["loss"] == ["mse"]
    assert float(internals.as_reported(model, keras.ops.ones(()))) == 1.0
    assert internals.losses_in_place(model) == []
    internals.give_losses_in_place(model, [3.0])
    assert model.losses == [3.0]
    assert internals.arguments_of_loss(keras.losses.BinaryCrossentropy(from_logits=True))["from_logits"]
    assert internals.arguments_of_loss(abs) == {}


def optimizers():
    schedule = keras.optimizers.schedules.CosineDecay(0.1, 10)
    optimizer = keras.optimizers.SGD(schedule, momentum=0.9, weight_decay=0.1)
    assert internals.learning_rate_of(optimizer) is schedule and internals.learning_rate_of(abs) is None
    assert internals.function_of_metric(keras.metrics.MeanMetricWrapper(abs)) is abs
    with internals.without_schedule(optimizer):
        assert isinstance(optimizer.get_config()["learning_rate"], float)
    assert internals.learning_rate_of(optimizer) is schedule
    variables = [keras.Variable(np.ones(2)), keras.Variable(np.ones(3))]
    assert not internals.undecayed(optimizer)
    optimizer.exclude_from_weight_decay(variables[1:], ["bias"])
    assert internals.undecayed(optimizer)
    optimizer.build(variables)
    assert internals.index_of(optimizer, variables[1]) == 1
    assert [id(v) for v in internals.own_trainable_variables(optimizer)] == [id(v) for v in variables]
    other, heirs = keras.optimizers.SGD(0.1, weight_decay=0.1), [keras.Variable(np.ones(1)), keras.Variable(np.ones(1))]
    internals.carry_undecayed_names(other, optimizer)
    internals.carry_undecayed(other, optimizer, [*zip(heirs, variables, strict=True)])
    other.build(heirs)
    other.learning_rate = 0.0
    decays = [bool(other._use_weight_decay(v)) for v in heirs]
    assert decays == [True, False]
    routes = keras.optimizers.OptimizerMap(keras.optimizers.SGD(), {"x": keras.optimizers.Adam()})
    several = keras.optimizers.MultiOptimizer(routes)
    assert internals.routes_of(several) is routes
    assert {type(each).__name__ for each in internals.inner_optimizers(several)} == {"SGD", "Adam"}
    assert internals.inner_optimizers(optimizer) == []


def trainers():
    model, seen = functional(), []

    class Start(keras.callbacks.Callback):
        def on_train_begin(self, logs=None):
            internals.set_initial_epoch(self.model, 2)
            assert internals.initial_epoch_of(self.model) == 2

        def on_epoch_begin(self, epoch, logs=None):
            seen.append(epoch)

    model.compile("sgd", "mse")
    model.fit(np.ones((1, 2)), np.ones((1, 1)), epochs=4, verbose=0, callbacks=[Start()])
    assert seen == [2, 3]


def strategies():
    strategy = tf.distribute.MirroredStrategy(["CPU:0"], cross_device_ops=tf.distribute.ReductionToOneDevice())
    assert isinstance(internals.cross_device_ops(strategy), tf.distribute.ReductionToOneDevice)
    assert not internals.is_multi_worker(strategy)
    with strategy.scope():
        assert internals.strategy_of_model(functional()) is strategy
    assert internals.strategy_of_model(functional()) is None


def graphs_of_functions():
    inner = tf.function(lambda x: x + 1.0)
    graph = tf.function(lambda x: inner(x)).get_concrete_function(tf.TensorSpec((), "float32")).graph
    (call,) = [op for op in graph.get_operations() if op.type.endswith("PartitionedCall")]
    name = call.get_attr("f").name
    assert any("Add" in op.type for op in internals.graph_of_function(graph, name).get_operations())
    assert internals.graph_of_function(graph, "another") is None
    from tensorflow.python.framework import function

    # Of the old kind.
    older = function.Defun(tf.float32, func_name="older")(lambda x: x * 2.0)
    graph = tf.function(lambda x: older(x)).get_concrete_function(tf.TensorSpec((), "float32")).graph
    assert any(op.type == "Mul" for op in internals.graph_of_function(graph, "older").get_operations())


def overridden():
    owners = (keras.Model, keras.Model, K.MultiHeadAttention)
    for owner, name in zip(owners, internals.OVERRIDDEN, strict=True):
        assert callable(getattr(owner, name))
    assert {*internals.LISTS_OF_OPTIMIZERS} <= {*vars(keras.optimizers.MultiOptimizer({"a": keras.optimizers.SGD()}))}


def attributes():
    layer = K.Dropout(0.25, seed=3)
    layer(keras.Input((2,)))
    assert {"rate", "seed", "noise_shape", "_dtype_policy"} <= {*internals.own_attributes(layer)}
    assert {*internals.BOOKKEEPING} <= {*vars(layer)} and not {*internals.BOOKKEEPING} & {
        *internals.own_attributes(layer)
    }


def products():
    """A product with a number is taken for sparse; a dense layer holds another's kernel."""
    x = keras.Input((3,)) * 2.0
    assert x.sparse and not internals.dense(x).sparse
    kernel, layer = keras.Variable(np.ones((3, 2))), K.Dense(2, use_bias=False)
    internals.hold_kernel(layer, kernel)
    assert layer.kernel is kernel and layer.weights == [kernel] and layer(keras.Input((3,))).shape == (None, 2)


def symbolic():
    x = keras.KerasTensor((None, 3))
    internals.give_shape(x, (2, 3))
    with internals.arrays_beside_symbolic_tensors():
        assert isinstance(keras.ops.ones((2, 3)) * x, keras.KerasTensor) and "__jax_array__" in vars(keras.KerasTensor)
    assert tuple(x.shape) == (2, 3)
    with internals.lone_slices():
        assert [tuple(x[key].shape) for key in (slice(1), None, ..., 0)] == [(1, 3), (1, 2, 3), (2, 3), (3,)]
    with internals.symbolic_tensors_compared(lambda frame: frame.f_code is symbolic.__code__):
        assert isinstance(x == 1, keras.KerasTensor) and (x == "x") is False and x in [x]
    assert x == x and "__eq__" not in vars(keras.KerasTensor)
    # Asked about what it cannot take, it asks; where there is no answer its error stands.
    given = []
    internals.answer_for_symbolic_tensors(
        lambda function, args, kwargs: (
            given.append(function) or (x if kwargs.get("name") == "tried" else NotImplemented)
        )
    )
    assert tf.linalg.norm(x, name="tried") is x and given
    with pytest.raises(ValueError, match="cannot be used as input to a TensorFlow function"):
        tf.linalg.norm(x)


TRIES = (
    symbolic,
    overridden,
    products,
    attributes,
    precision,
    attention,
    calls,
    graphs,
    masks,
    arguments,
    losses,
    optimizers,
    trainers,
    strategies,
    graphs_of_functions,
)


@pytest.mark.parametrize("tried", TRIES)
def test_they_do_what_is_said_of_them(tried):
    tried()


def test_every_function_is_tried():
    source = "".join(inspect.getsource(tried) for tried in TRIES)
    functions = [name for name, value in vars(internals).items() if inspect.isfunction(value)]
    assert [name for name in functions if f"internals.{name}(" not in source] == []
