"""What tfgates takes from the inside of Keras and TensorFlow: the only file that names their privates.

Each function says why nothing public does. `tests/test_keras_internals.py` fails where a new version changes one.
"""

import contextlib
import sys
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import keras

# What classes of tfgates override, or build upon, because no public method is in its place:
# how a loss of a layer enters the sum; what `fit` builds before its first step, which must be fed one worker's batch;
# the layer behind the heads, which has a gate in it here.
OVERRIDDEN = ("_aggregate_additional_loss", "_maybe_symbolic_build", "_make_output_dense")

# The lists in an optimizer that are no slots: of what it has elsewhere too, or of what is not its own.
LISTS_OF_OPTIMIZERS = ("_variables", "_trainable_variables", "_inner_optimizers")

# What Keras itself keeps in layers and operators, beside what they compute with: names, calls that were made, the
# lists by which it finds what an attribute holds, and what it wraps or reads from the class.
BOOKKEEPING = {
    *("name", "build", "quantize", "built", "call_signature_parameters", "_path", "_parent_path", "_auto_config"),
    *("_inbound_nodes", "_outbound_nodes", "_tracker", "_tracked", "_lock", "_called", "_losses", "_loss_ids"),
    *("_losses_override", "_call_signature", "_call_context_args", "_call_has_context_arg", "_build_shapes_dict"),
    *("_input_spec", "_saved_model_inputs_spec", "_saved_model_arg_spec"),
}


def own_attributes(operation: Any) -> dict[str, Any]:
    """The attributes that a layer or operator computes with: `get_config` need not have all of them."""
    kept = attributes_of_object(operation).items()
    return {name: value for name, value in kept if name not in BOOKKEEPING and not name.startswith("_self_")}


def layers_within(layer: Any, include_self: bool = True, recursive: bool = True) -> Iterator[Any]:
    """A layer and all layers that it holds: `keras.Model.layers` has those of a model alone, and not those within."""
    return layer._flatten_layers(include_self=include_self, recursive=recursive)


def holds_layers(layer: Any) -> bool:
    """Whether a layer holds others."""
    return any(True for _ in layers_within(layer, include_self=False))


def has_graph(model: Any) -> bool:
    """Whether a model is functional: the class `Functional` is not public."""
    return hasattr(model, "_nodes_by_depth")


def nodes_by_depth(model: Any) -> dict[int, list[Any]]:
    """The calls of a functional model: `model.operations` names what is called, not how often and on what."""
    return model._nodes_by_depth


def inputs_structure(model: Any) -> Any:
    """What a functional model is called on, as it was made: `model.inputs` is a flat list. None where there is none."""
    return getattr(model, "_inputs_struct", None)


def outputs_structure(model: Any) -> Any:
    """What a functional model returns, as it was made: `model.outputs` is a flat list."""
    return model._outputs_struct


def calls_of(operation: Any) -> list[Any]:
    """The symbolic calls of a layer or operator; taking one out of the list makes Keras forget it."""
    return operation._inbound_nodes


def readers_of(operation: Any) -> list[Any]:
    """The symbolic calls that read what a layer or operator makes."""
    return operation._outbound_nodes


def dense(tensor: Any) -> Any:
    """A symbolic tensor that is told to be dense: Keras takes a product with a number or an array for a sparse one."""
    if getattr(tensor, "sparse", False):
        tensor._sparse = False
    return tensor


def history_of(tensor: Any) -> Any:
    """The call that a symbolic tensor comes from (`operation`, `node_index`, `tensor_index`), or None."""
    return getattr(tensor, "_keras_history", None)


def call_of(history: Any) -> Any:
    """The call itself, for what `history_of` returned."""
    return calls_of(history.operation)[history.node_index]


def mask_of(tensor: Any) -> Any:
    """The mask of steps that a tensor carries, or None: the public function is not in all backends."""
    return getattr(tensor, "_keras_mask", None)


@contextlib.contextmanager
def symbolic_tensors_compared(is_asked: Callable[[Any], bool]) -> Iterator[None]:
    """Lets `==` of symbolic tensors be what it is of tensors: Keras has an operator, and compares addresses here.

    Args:
        is_asked: function of the frame in which the comparison stands that says whether it is to be so there: where
            symbolic tensors are kept, in Keras itself above all, they are told apart by their addresses.
    """
    name, kind = "__eq__", keras.KerasTensor

    def compared(self: Any, other: Any) -> Any:
        is_number = hasattr(other, "dtype") or isinstance(other, (int, float))
        return keras.ops.equal(self, other) if is_number and is_asked(sys._getframe(1)) else self is other

    setattr(kind, name, compared)
    try:
        yield
    finally:
        delattr(kind, name)


@contextlib.contextmanager
def arrays_beside_symbolic_tensors() -> Iterator[None]:
    """Lets a symbolic tensor do what an operator does of it and an array of JAX before it: Keras makes it raise."""
    name, kind = "__jax_array__", keras.KerasTensor
    asked = vars(kind).get(name)
    if asked is None or keras.backend.backend() != "jax":
        yield
        return
    delattr(kind, name)
    try:
        yield
    finally:
        setattr(kind, name, asked)


@contextlib.contextmanager
def lone_slices() -> Iterator[None]:
    """Lets a symbolic tensor be cut by one slice, `x[:5]`, as an array can be: Keras 3.15 wants `x[:5,]`."""
    kind: Any = keras.KerasTensor
    get = kind.__getitem__

    def get_item(tensor: Any, key: Any) -> Any:
        return get(tensor, (key,) if key is None or key is Ellipsis or isinstance(key, slice) else key)

    kind.__getitem__ = get_item
    try:
        yield
    finally:
        kind.__getitem__ = get


def give_mask(tensor: Any, mask: Any) -> None:
    """Makes a tensor carry a mask, as a `Masking` layer does."""
    tensor._keras_mask = mask


def give_shape(tensor: Any, shape: Any) -> None:
    """Tells a symbolic tensor the sizes that the layer that made it has not told it: public it is to read alone."""
    tensor._shape = tuple(shape)


def tells_training(operation: Any) -> bool:
    """Whether the `call` of a layer has an argument `training`, as Keras sees it."""
    return bool(getattr(operation, "_call_has_training_arg", False))


def takes_arguments_as_they_are(layer: Any) -> bool:
    """Whether Keras leaves the dtypes of what a layer is called on alone: `autocast` would spare the weights too."""
    return not layer._convert_input_args


def take_arguments_as_they_are(layer: Any) -> None:
    """Makes Keras leave them alone."""
    layer._convert_input_args = False


def forget_losses(layer: Any) -> None:
    """Forgets what `add_loss` gathered: otherwise only a call within another layer does."""
    layer._clear_losses()


def added_losses(layer: Any) -> list[Any]:
    """What `add_loss` gathered in this layer alone: `layer.losses` has regularisers and inner layers too."""
    return layer._losses


def give_added_losses(layer: Any, losses: list[Any]) -> None:
    """Puts back what `added_losses` returned."""
    layer._losses = losses


def own_trainable_variables(owner: Any) -> list[Any]:
    """The variables that were made trainable in a layer itself, or those that an optimizer updates, frozen or not."""
    return owner._trainable_variables


def attributes_of_object(holder: Any) -> dict[str, Any]:
    """`vars(holder)`, and the layers among its attributes, which with PyTorch are no entries of it."""
    if keras.backend.backend() != "torch":
        return dict(vars(holder))
    # Beside the layers it is the tensors of all variables, which Keras gathers for PyTorch. Operators are no modules.
    held = dict(vars(holder))
    modules = {name: module for name, module in held.pop("_modules", {}).items() if name != "_torch_params"}
    return {**held, **modules}


def may_be_cast(variable: Any) -> bool:
    """Whether a variable is seen in the dtype that a layer computes in: an argument that cannot be read."""
    return bool(variable._autocast)


@contextlib.contextmanager
def computing_in_float32(layers: Iterable[Any]) -> Iterator[None]:
    """Lets layers compute in float32 meanwhile, whatever their weights are kept in: no name of a policy says that."""
    with contextlib.ExitStack() as stack:
        for layer in layers:
            policy = keras.DTypePolicy("float32")
            policy._variable_dtype = layer.variable_dtype
            stack.callback(setattr, layer, "_dtype_policy", layer._dtype_policy)
            layer._dtype_policy = policy
        yield


def hold_kernel(layer: Any, kernel: Any) -> None:
    """Lets a dense layer without a bias have a variable as its kernel: `kernel` can be read alone."""
    layer._kernel, layer.bias = kernel, None
    layer.built = True


def tracked_layers(holder: Any) -> tuple[list[Any], set[int]]:
    """The layers that one holds, as a list that can be changed, and the ids by which Keras knows that it holds them."""
    return holder._layers, holder._tracker.stored_ids["layers"]


def output_shape_of_lambda(layer: Any) -> Any:
    """The argument `output_shape` of a `keras.layers.Lambda`: its config holds it only where it is no function."""
    return layer._output_shape


def widths_of_attention(layer: Any) -> tuple[int, int]:
    """The width of a head's keys and of its values: public under two pairs of names, by the class."""
    return layer._key_dim, layer._value_dim


def input_projections(layer: Any) -> list[Any]:
    """The layers that an attention layer projects with before its heads, the gates of `GroupedQueryAttention` too."""
    parts = [layer._query_dense, layer._key_dense, layer._value_dense, getattr(layer, "_gate_dense", None)]
    return [part for part in parts if part is not None]


def output_projection(layer: Any) -> Any:
    """The layer that an attention layer projects with behind its heads."""
    return layer._output_dense


def learning_rate_of(optimizer: Any) -> Any:
    """The learning rate as it was given, or its variable; None without one: `learning_rate` is a number."""
    return getattr(optimizer, "_learning_rate", None)


@contextlib.contextmanager
def without_schedule(optimizer: Any) -> Iterator[None]:
    """Within it the learning rate is a number, so that the config of an optimizer needs none of a schedule."""
    rate = learning_rate_of(optimizer)
    if not callable(rate):
        yield
        return
    optimizer._learning_rate = 0.0
    try:
        yield
    finally:
        optimizer._learning_rate = rate


def function_of_metric(metric: Any) -> Any:
    """The function that a `keras.metrics.MeanMetricWrapper` averages: its config has but the name."""
    return metric._fn


def inner_optimizers(optimizer: Any) -> list[Any]:
    """The optimizers in a `MultiOptimizer`, each once; none in another."""
    return list(getattr(optimizer, "_inner_optimizers", ()))


def routes_of(optimizer: Any) -> Any:
    """The map of a `MultiOptimizer`, as it was given."""
    return optimizer._optimizer_map


def index_of(optimizer: Any, variable: Any) -> int:
    """The place of a variable among those of an optimizer: where the slots are that belong to it."""
    return optimizer._get_variable_index(variable)


def carry_undecayed_names(new: Any, old: Any) -> None:
    """Tells an optimizer which names have no weight decay: `exclude_from_weight_decay` is not in the config."""
    if hasattr(old, "_exclude_from_weight_decay_pattern"):
        new._exclude_from_weight_decay_pattern = old._exclude_from_weight_decay_pattern


def undecayed(optimizer: Any) -> bool:
    """Whether variables, and not names, are told to have no weight decay."""
    return bool(getattr(optimizer, "_exclude_from_weight_decay", None))


def carry_undecayed(new: Any, old: Any, pairs: list[tuple[Any, Any]]) -> None:
    """Tells it which variables have none: pairs of one of `new` and the one of `old` that it takes the place of."""
    keys = getattr(old, "_exclude_from_weight_decay", None)
    if keys is not None:
        new._exclude_from_weight_decay = {new._var_key(v) for v, source in pairs if old._var_key(source) in keys}


def initial_epoch_of(model: Any) -> int | None:
    """The epoch at which a `fit` that has begun starts, if a callback has said so."""
    return model._initial_epoch


def set_initial_epoch(model: Any, epoch: int | None) -> None:
    """Makes a `fit` that has begun start at another epoch, as `keras.callbacks.BackupAndRestore` does."""
    model._initial_epoch = epoch


def compile_settings(model: Any) -> dict[str, Any]:
    """The arguments of `compile` as objects, to be changed: `get_compile_config` writes them down."""
    return model._compile_config.config


def compile_loss_of(model: Any) -> Any:
    """The compiled losses of a model: `compute_loss` returns their sum alone."""
    return model._compile_loss


def losses_by_output(compile_loss: Any) -> list[Any]:
    """The entries of compiled losses, built: one for each output and loss."""
    return compile_loss._flat_losses


def as_reported(model: Any, loss: Any) -> Any:
    """A loss of a layer as Keras adds it to that of the outputs, divided by the replicas."""
    return model._aggregate_additional_loss(loss)


def losses_in_place(model: Any) -> list[Any]:
    """The losses that the trainer of JAX gives a model in place of its layers'."""
    return model._losses_override


def give_losses_in_place(model: Any, losses: list[Any]) -> None:
    """Puts others in their place."""
    model._losses_override = losses


def arguments_of_loss(loss: Any) -> dict[str, Any]:
    """What a loss hands to its function, such as `from_logits`: the config is not complete for functions of users."""
    return getattr(loss, "_fn_kwargs", {})


def strategy_of_model(model: Any) -> Any:
    """The strategy in whose scope a model was made, or None: `distribute_strategy` is that of where it is used."""
    return getattr(model, "_distribute_strategy", None)


# Of TensorFlow.


def is_multi_worker(strategy: Any) -> bool:
    """Whether a strategy of `tf.distribute` spans several processes."""
    return strategy.extended._in_multi_worker_mode()


def cross_device_ops(strategy: Any) -> Any:
    """How a strategy of `tf.distribute` reduces across devices, or None: it is an argument that cannot be read."""
    return getattr(strategy.extended, "_cross_device_ops", None)


def graph_of_function(graph: Any, name: str) -> Any:
    """The graph of a function that a TensorFlow graph calls by its name, or None if it has no such function."""
    function = graph._get_function(name)
    try:
        return None if function is None else function.graph
    except AttributeError:
        # One of the old kind, which the CTC loss of TensorFlow makes in a loop, has a definition alone.
        from tensorflow.python.framework.function_def_to_graph import function_def_to_graph

        with graph.as_default():
            return function_def_to_graph(function.definition)


def answer_for_symbolic_tensors(answer: Any) -> None:
    """Has TensorFlow ask a function what one of its own functions makes of arguments that it cannot take.

    `tf.experimental.dispatch_for_api` wants to be told each function, with types for its arguments.

    Args:
        answer: function of the function of TensorFlow, its arguments and its keywords; NotImplemented where it has no
            answer, so that TensorFlow's error stands.
    """
    import tensorflow as tf

    class Answering(tf.__internal__.dispatch.GlobalOpDispatcher):
        def handle(self, op: Any, args: Any, kwargs: Any) -> Any:
            found = answer(op, args, kwargs)
            return self.NOT_SUPPORTED if found is NotImplemented else found

    Answering().register()
