"""Making new layers from the layers of a network, each once, weights included."""

from collections.abc import Iterable
from typing import Any

import keras

from tfgates.graph.configs import config_of, give_functions, give_functions_within, is_foreign, layer_from
from tfgates.graph.copied_parts import copy_by_attributes
from tfgates.graph.fresh import draw, wait
from tfgates.graph.frozen import copy_flag, copy_flags
from tfgates.graph.init_arguments import config_of_attributes
from tfgates.graph.network import Network, Node
from tfgates.graph.rebuild import rebuild
from tfgates.graph.state import activation_variables, check_saved, complete, copy_state, set_value, states_of
from tfgates.graph.tying import parts_of
from tfgates.keras_internals import layers_within


def uncopyable(layer: keras.Layer, error: Exception, more: str = "") -> ValueError:
    """What to raise for a layer that no copy can be made of, because of `error`, and of `more`."""
    advice = "Give the class a complete `get_config` (and `from_config`)"
    if not layer.weights:
        advice += ", or the layer a name that no other has: without weights it is then used again as it is"
    if "lambda" in str(error).lower():
        advice += (
            "; a Python lambda in its config is read after `keras.config.enable_unsafe_deserialization()`, where you "
            "trust it, and a function registered by `keras.saving.register_keras_serializable` always"
        )
    return ValueError(
        f"Layer {layer.name!r} cannot be copied: `{type(layer).__name__}.from_config(layer.get_config())` and then its "
        f"weights must give a layer like it. {advice}; rebuild a subclassed model as `keras.Model(inputs, outputs)`. "
        f"Received: {type(error).__name__}: {error}{more}"
    )


class Copier:
    """Makes layers while a network is rebuilt and fills in their weights at the end.

    Args:
        taken: names that the new layers must not have: those of the new model's inputs.
    """

    def __init__(self, taken: Iterable[str] = ()) -> None:
        self._made: dict[int, Any] = {}
        # Copies of layers inside of others.
        self._inside: dict[int, keras.Layer] = {}
        self._pending: list[tuple[Any, dict[str, Any] | None, Any]] = []
        self._names = set(taken)

    def made(self, node: Node) -> Any:
        """The successor of the call's layer if an earlier call made it, else None."""
        return self._made.get(id(node.op))

    def successor(self, layer: Any) -> Any:
        """What was made of a layer of the network, or None."""
        return self._made.get(id(layer))

    def make(self, node: Node, kind: Any, config: dict[str, Any], weights: dict[str, Any] | None) -> Any:
        """Makes the successor of the call's layer.

        Args:
            kind: its class.
            config: its config.
            weights: dict from the attribute of a variable to its value; `"activation"` to the list of
                those of an activation that is a layer. None: all that the call's layer holds.
        """
        name = self.name(node)
        layer = layer_from(kind, dict(config, name=name) if "name" in config else config)
        # A class of the user's may take no name.
        layer.name = name
        wait(layer)
        self._made[id(node.op)] = layer
        self._pending.append((layer, weights, node.op))
        return layer

    def copy(self, node: Node) -> Any:
        """A layer or operator like the call's, with its weights."""
        if id(node.op) in self._made:
            return self._made[id(node.op)]
        if not isinstance(node.op, keras.Layer):
            return self._copy_operator(node)
        if id(node.op) in self._inside:
            layer = self._made[id(node.op)] = self._inside[id(node.op)]
            layer.name = self.name(node)
            return layer
        names = set(self._names)
        try:
            if not node.op.weights:
                check_saved(node.op)
            layer = self.make(node, type(node.op), config_of(node.op), None)
            self._tie(layer, node.op)
            if isinstance(node.op, keras.Model):
                give_functions_within(layer, node.op)
            return layer
        except Exception as error:
            # A layer of the user's can raise anything here.
            self._names = names
            return self._used_again(node, error)

    def _tie(self, new: keras.Layer, old: keras.Layer) -> None:
        """Lets a copy hold what it shares with copies that were made before."""
        for inner, source, replace in list(parts_of(new, old)):
            other = self._made.get(id(source)) or self._inside.get(id(source))
            if type(other) is type(inner):
                replace(other)
            else:
                self._inside[id(source)] = inner
                give_functions(inner, source)
                self._tie(inner, source)

    def call(self, node: Node, args: Any, kwargs: Any) -> Any:
        """Calls a copy; weights among the arguments become those of the copies."""
        if node.tie is not None:
            args, kwargs = keras.tree.map_structure(
                lambda x: self._variable(node, x) if isinstance(x, keras.Variable) else x, (args, kwargs)
            )
        return self.called(node, args, kwargs)

    def called(self, node: Node, args: Any, kwargs: Any) -> Any:
        """What a copy of the call's layer or operator makes of the arguments."""
        copy = self.copy(node)
        try:
            return copy(*args, **kwargs)
        except Exception as error:
            # A layer of the user's that was read from an incomplete config can raise anything here.
            if copy is node.op or not isinstance(node.op, keras.Layer) or not is_foreign(node.op):
                raise
            raise uncopyable(node.op, error) from error

    def _variable(self, node: Node, variable: Any) -> Any:
        for layer, weights, source in self._pending:
            found = [i for i, each in enumerate(source.variables) if each is variable] if weights is None else []
            if found and layer.built:
                return layer.variables[found[0]]
        raise ValueError(
            f"`{node.name}` is given a weight of a layer that comes behind it, so that the copy of the one cannot be "
            f"given that of the other: call the layer first, or make both one layer. Received: {variable.path}"
        )

    def _used_again(self, node: Node, error: Exception) -> keras.Layer:
        """A layer that cannot be copied, as it is: without weights it can serve two models; else as it was made."""
        layer = node.op
        if layer.weights or layer.name in self._names:
            config = config_of_attributes(layer)
            return self._by_attributes(node, error) if config is None else self.make(node, type(layer), config, None)
        self._names.add(layer.name)
        self._made[id(layer)] = layer
        return layer

    def _by_attributes(self, node: Node, error: Exception) -> keras.Layer:
        """A copy of a layer that has weights and no config that makes one like it."""
        try:
            layer = copy_by_attributes(node.op)
        except Exception as reason:
            # A class of the user's can raise anything here.
            raise uncopyable(node.op, error, f"; its attributes cannot be copied either: {reason}") from reason
        layer.name = self.name(node)
        self._made[id(node.op)] = layer
        self._pending.append((layer, None, node.op))
        self._tie(layer, node.op)
        return layer

    def _copy_operator(self, node: Node) -> Any:
        """A fresh operator, so that the original takes no part in another graph."""
        try:
            operator = node.op.__class__.from_config(node.op.get_config())
        except (TypeError, ValueError, NotImplementedError):
            return node.op
        # One for each call: a nested model that is called twice is laid out twice.
        operator.name = self.name(node)
        return operator

    def name(self, node: Node) -> str:
        """The layer's own name, or the path to it: inside of layers, and where nested models share names."""
        path = node.name.replace("/", "_")
        return self.unused(path if node.inside else node.op.name, path)

    def unused(self, name: str, path: str) -> str:
        """`name` if no layer has it yet, else `path`, with a number behind it where that is taken too."""
        if name in self._names:
            name = path
        count = 1
        while name in self._names:
            name, count = f"{path}_{count}", count + 1
        self._names.add(name)
        return name

    def finish(self) -> None:
        """Fills in the weights, once all layers are built."""
        for layer, weights, source in self._pending:
            complete(layer)
            if weights is None:
                try:
                    copy_state(layer, source)
                    copy_flags(layer, source)
                except Exception as error:
                    raise uncopyable(source, error) from error
            given = {id(v) for v in layer.variables} if weights is None else fill(layer, weights, source)
            draw(layer, given)
        self._check_ties()

    def _check_ties(self) -> None:
        """Refuses what shares weights in the network and does not in the copy."""
        copies: dict[int, tuple[str, Any]] = {}
        for layer, weights, source in self._pending:
            for variable, old in zip(layer.weights, source.weights, strict=True) if weights is None else ():
                name, copied = copies.setdefault(id(old), (source.name, variable))
                if copied is not variable:
                    raise ValueError(
                        f"Layers {name!r} and {source.name!r} share weights that their copies do not share. A layer "
                        "that uses those of another one must hold that layer as an attribute, in a list or in a dict, "
                        "be given it as an argument, and have it in its `get_config`. "
                        f"Received: {source.name!r} ({type(source).__name__}) with {old.path}"
                    )


def fill(layer: Any, weights: dict[str, Any], source: keras.Layer) -> set[int]:
    """Gives a layer that was made from `source` its weights, and what is known of their flags; the ids of these."""
    weights = dict(weights)
    given = {id(v) for v in activation_variables(layer)}
    variables, values = activation_variables(layer), weights.pop("activation", ())
    for variable, value, old in zip(variables, values, activation_variables(source), strict=True):
        set_value(variable, value)
        copy_flag(variable, old)
    for path, value in weights.items():
        variable, old = layer, source
        for part in path.split("."):
            variable, old = getattr(variable, part), getattr(old, part, None)
        set_value(variable, value.reshape(variable.shape))
        copy_flag(variable, old)
        given.add(id(variable))
    for state, old in zip(states_of(layer), states_of(source), strict=True):
        if state.shape == old.shape:
            set_value(state, old)
    if kinds_inside(layer) == kinds_inside(source) and len(layer.variables) == len(source.variables):
        copy_flags(layer, source)
    return given


def kinds_inside(layer: keras.Layer) -> list[type]:
    """The classes of the layers that a layer holds."""
    return [type(each) for each in layers_within(layer, include_self=False)]


def copy_of(network: Any) -> keras.Model:
    """A copy of a network, laid out flat."""
    copier = Copier(taken=input_names(network))
    inputs, outputs = rebuild(network, copier.call)
    model = keras.Model(inputs, outputs, name=network.model.name)
    copier.finish()
    return model


def input_names(network: Network) -> list[str]:
    """The names of a network's inputs, which no layer can have."""
    return [tensor.name for tensor in network.functional.inputs]


def own_names(network: Network) -> list[str]:
    """The names of a network's inputs and layers, for use of the layers themselves.

    Raises:
        ValueError: if two have the same name, as layers of different nested models can.
    """
    layers = {id(node.op): node.op.name for node in network.nodes if node.layer is not None}
    names = [*input_names(network), *layers.values()]
    shared = sorted({name for name in names if names.count(name) > 1})
    if shared:
        raise ValueError(
            "`copy_weights=False` uses the layers of the model itself, laid out flat: no two layers of its nested "
            "models can share a name, nor have that of an input. Use `copy_weights=True`, which renames the "
            f"copies. Received: several named {shared}"
        )
    return names
