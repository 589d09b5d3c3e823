"""Classes of the user's that say how a model is trained, carried over to its gated network."""

import functools
import types
import weakref
from collections.abc import Callable
from typing import Any

import keras

from tfgates.gating.attributes import Carrier, NotCarriedError, attributes_of
from tfgates.graph.classes import is_own, own_methods, user_class
from tfgates.graph.network import Network
from tfgates.keras_internals import attributes_of_object, layers_within
from tfgates.training.gated_model import FunctionalGatedModel, GatedModel

# What says of which layers a model is made, which for a gated network its graph does.
STRUCTURE = (
    "build",
    "build_from_config",
    "call",
    "compute_mask",
    "compute_output_shape",
    "compute_output_spec",
    "from_config",
    "get_build_config",
    "get_config",
)


@keras.saving.register_keras_serializable(package="tfgates")
class GatedSubclass(FunctionalGatedModel):
    """A functional model with gates that is trained by the methods of a user's class.

    `gate_model` makes a class for each class of the user's, with both among its bases, and an instance by the
    graph of the gated network: the user's `__init__` is not run, what it has set is carried over.
    Saved with the user's class by its registered name and what was carried over; to load it, the class
    must be registered or among the `custom_objects`.
    """

    # The user's class.
    kind: type

    def __init__(self, inputs: Any, outputs: Any, name: Any = None, **kwargs: Any) -> None:
        FunctionalGatedModel.__init__(self, inputs, outputs, name=name, **kwargs)
        # Names of what was carried over, and why the rest was not.
        self._carried: list[str] = []
        self._not_carried: dict[str, str] = {}

    def __getattr__(self, name: str) -> Any:
        reason = vars(self).get("_not_carried", {}).get(name)
        if reason is not None:
            raise AttributeError(
                f"The gated network of a `{self.kind.__name__}` has no `{name}`: {reason}. Use what both have, such as "
                f"the model itself or layers by `get_layer`, or set `{name}` on the gated model. Received: {name!r}"
            )
        inherited = getattr(super(), "__getattr__", None)
        if inherited is None:
            raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")
        return inherited(name)

    def compile(self, *args: Any, **kwargs: Any) -> None:
        original: Any = vars(self).get("_original", lambda: None)()
        bound_to = None if original is None else f"{type(original).__name__} named {original.name!r}"
        for loss in keras.tree.flatten((args, kwargs)):
            if bound_to and isinstance(loss, types.MethodType) and loss.__self__ is original:
                raise ValueError(
                    f"`{loss.__name__}` is a method of the original model, whose state it would use: give that of the "
                    f"gated one, `gated.{loss.__name__}`. Received: a method of the {bound_to}"
                )
        super().compile(*args, **kwargs)

    def compile_from_config(self, config: dict[str, Any]) -> None:
        if is_own(type(self), "compile"):
            # Warns that only the user knows what it takes.
            keras.Model.compile_from_config(self, config)
        else:
            super().compile_from_config(config)

    def get_config(self) -> dict[str, Any]:
        config = super().get_config()
        config["subclass"] = keras.saving.get_registered_name(self.kind)
        config["attributes"] = {name: self._described(name, getattr(self, name)) for name in self._carried}
        config["not_carried"] = dict(self._not_carried)
        return config

    def _described(self, name: str, value: Any) -> Any:
        """An attribute as it is written down."""
        if isinstance(value, keras.Layer) and any(value is layer for layer in self.layers):
            return {"layer": value.name}
        if isinstance(value, types.MethodType) and value.__self__ is self:
            return {"method": value.__name__}
        if isinstance(value, keras.Variable):
            return {"variable": [list(value.shape), value.dtype, value.trainable, value.name]}
        try:
            return {"object": keras.saving.serialize_keras_object(value)}
        except Exception as error:
            # Objects of the user's can raise anything here.
            raise ValueError(
                f"`{name}` of the gated `{self.kind.__name__}` cannot be saved: give its class a `get_config` and "
                "register it by keras.saving.register_keras_serializable, or save the weights alone by "
                f"`save_weights`. Received: {type(value).__name__} ({error})"
            ) from error

    def _restored(self, described: dict[str, Any], custom_objects: Any) -> Any:
        ((how, what),) = described.items()
        if how == "layer":
            return self.get_layer(what)
        if how == "method":
            return getattr(self, what)
        if how == "variable":
            shape, dtype, trainable, name = what
            return keras.Variable(keras.ops.zeros(shape, dtype), trainable=trainable, dtype=dtype, name=name)
        return keras.saving.deserialize_keras_object(what, custom_objects)

    @classmethod
    def from_config(cls, config: dict[str, Any], custom_objects: Any = None) -> Any:
        config = dict(config)
        name, attributes = config.pop("subclass"), config.pop("attributes")
        not_carried = config.pop("not_carried")
        kind = keras.saving.get_registered_object(name, custom_objects)
        if kind is None:
            raise ValueError(
                f"The class `{name}` of a gated model must be registered by keras.saving.register_keras_serializable "
                f"or given as `custom_objects={{{name!r}: ...}}`. Received: a saved model of that class, not found"
            )
        made_class: Any = gated_class(kind)
        made = super(GatedSubclass, made_class).from_config(config, custom_objects)
        for attribute, described in attributes.items():
            setattr(made, attribute, made._restored(described, custom_objects))
        made._carried, made._not_carried = list(attributes), not_carried
        return made


@functools.cache
def gated_class(kind: Any) -> type:
    """The class of gated networks that are trained as models of class `kind` are.

    Raises:
        ValueError: for a subclass of keras.Sequential with methods of training, and for a class that has
            a name of GatedModel's for something else.
    """
    methods = own_methods(kind)
    if not methods:
        return GatedModel
    if issubclass(kind, keras.Sequential):
        raise ValueError(
            f"What a subclass of keras.Sequential has of its own cannot be carried over to a gated network: derive it "
            f"from keras.Model and make the model as `{kind.__name__}(inputs, outputs)`. "
            f"Received: {kind.__name__} with {methods}"
        )
    check_names(kind, [name for name in names_of_gated_models() if is_own(kind, name)])
    namespace: dict[str, Any] = {"kind": user_class(kind), "__module__": kind.__module__, "__doc__": kind.__doc__}
    for name in STRUCTURE:
        if is_own(kind, name):
            owner = next(base for base in GatedSubclass.__mro__ if name in vars(base))
            namespace[name] = vars(owner)[name]

    def initialize(self: Any, inputs: Any, outputs: Any, name: Any = None, **kwargs: Any) -> None:
        GatedSubclass.__init__(self, inputs, outputs, name=name, **kwargs)

    namespace["__init__"] = initialize
    bases = (kind,) if issubclass(kind, GatedSubclass) else (kind, GatedSubclass)
    made = types.new_class(f"Gated{kind.__name__}", bases, {}, lambda body: body.update(namespace))
    # It is written down as the class that knows how to make it again.
    keras.saving.register_keras_serializable("tfgates", GatedSubclass.__name__)(made)
    keras.saving.get_custom_objects()[keras.saving.get_registered_name(made)] = GatedSubclass
    return made


@functools.cache
def names_of_gated_models() -> frozenset[str]:
    """The names that a GatedModel has beside those of a keras.Model."""
    names = {*dir(GatedSubclass), *vars(GatedModel())} - {*dir(keras.Model), *vars(keras.Model())}
    return frozenset(name for name in names if not name.startswith("__"))


def check_names(kind: type, taken: list[str]) -> None:
    if taken and not issubclass(kind, GatedModel):
        raise ValueError(
            f"The class `{kind.__name__}` uses names that a tfgates.GatedModel has for something else: rename them, so "
            f"that its methods can be carried over. Received: {sorted(taken)}"
        )


def carry_over(network: Network, gated: Any, successor: Callable[[Any], Any]) -> None:
    """Gives a gated network what its original holds beside its graph.

    Plain values, losses and layers without trainable variables are shared; metrics and optimizers are made
    anew by their configs; layers of the network become those that took their places; other layers,
    variables and seed generators are copied. What cannot be carried over is an error where it is used.

    Args:
        network: the original's.
        gated: what was made of it, of the class `gated_class` gives.
        successor: a function from a layer of the network to the one in its place, or None.
    """
    if not isinstance(gated, GatedSubclass):
        return
    model = network.model
    held = attributes_of_object(gated)
    attributes = {name: value for name, value in attributes_of(model).items() if name not in held}
    check_names(type(model), sorted({*attributes_of(model)} & names_of_gated_models()))
    gated._original = weakref.ref(model)
    inside = {id(layer) for node in network.nodes if node.layer is not None for layer in layers_within(node.op)}
    carrier = Carrier(model, gated, successor, inside)
    for name, value in attributes.items():
        try:
            setattr(gated, name, carrier.carried(value))
            gated._carried.append(name)
        except NotCarriedError as error:
            gated._not_carried[name] = str(error)
