"""The class with arguments of its own that a network is an instance of, and what became of its layers."""

import dataclasses
import json
import weakref
from collections.abc import Callable, Mapping
from typing import Any

import keras
import numpy as np
from keras import ops

from tfgates.graph.classes import is_own, user_class
from tfgates.graph.network import Network

# Arguments that a config does not carry wholly, such as the vocabulary of a tokenizer.
PARTS = ("preprocessor",)


@dataclasses.dataclass
class Original:
    """What a flat network was before: an instance of a class that says by its arguments what it is made of.

    Attributes:
        kind: the registered name of the class.
        config: its arguments.
        paths: by the name of each layer of the flat network the path that it had.
        weights: likewise where its weights stand among those of the instance.
        places: by the name of each gate pairs (path of the layer, what its units are called).
        others: by place the values of weights that no call of the network uses.
        parts: arguments that are handed on as they are.
    """

    kind: str
    config: dict[str, Any]
    paths: dict[str, str]
    weights: dict[str, list[int]]
    places: dict[str, list[tuple[str, str]]] = dataclasses.field(default_factory=dict)
    others: dict[int, np.ndarray] = dataclasses.field(default_factory=dict)
    parts: dict[str, Any] = dataclasses.field(default_factory=dict)

    def class_itself(self) -> Any:
        """The class, or None where nobody has registered it in this process."""
        return keras.saving.get_registered_object(self.kind)

    def to_dict(self) -> dict[str, Any]:
        """What is kept in files; values of weights and `parts` are not."""
        places = {name: [list(pair) for pair in pairs] for name, pairs in self.places.items()}
        # As text, so that nothing in it is taken for an object of Keras's.
        config = json.dumps(self.config)
        return {
            "kind": self.kind,
            "config": config,
            "paths": self.paths,
            "weights": self.weights,
            "places": places,
        }

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> "Original":
        places = {name: [(path, word) for path, word in pairs] for name, pairs in data["places"].items()}
        weights = {name: list(each) for name, each in data["weights"].items()}
        return cls(data["kind"], json.loads(data["config"]), dict(data["paths"]), weights, places)


# By model.
_ORIGINALS: "weakref.WeakKeyDictionary[keras.Model, Original]" = weakref.WeakKeyDictionary()


def original_of(model: Any) -> Original | None:
    """What a flat network was before, where that is known and has a class with arguments of its own."""
    return _ORIGINALS.get(model)


def set_original(model: keras.Model, original: Original | None) -> None:
    """Keeps what a flat network was before."""
    if original is not None:
        _ORIGINALS[model] = original


def original_from(network: Network, successor: Callable[[Any], Any]) -> Original | None:
    """What is to be known of the model of a network; None where its class has no arguments of its own.

    Args:
        successor: function from a layer of the network to the one that took its place, or None.
    """
    model = network.model
    if not is_own(type(model), "get_config"):
        return None
    try:
        config = json.loads(json.dumps(model.get_config()))
    except (TypeError, ValueError, NotImplementedError):
        # Of a class that cannot be written down nothing can be made again.
        return None
    place = {id(weight): i for i, weight in enumerate(model.weights)}
    paths: dict[str, str] = {}
    weights: dict[str, list[int]] = {}
    for node in network.nodes:
        made = None if node.layer is None else successor(node.op)
        if made is not None and made.name not in paths:
            paths[made.name] = node.name
            weights[made.name] = [place[id(weight)] for weight in node.op.weights if id(weight) in place]
    reached = {i for each in weights.values() for i in each}
    others = {i: np.asarray(ops.convert_to_numpy(weight)) for i, weight in enumerate(model.weights) if i not in reached}
    parts = {name: getattr(model, name) for name in PARTS if name in config and getattr(model, name, None) is not None}
    kind = keras.saving.get_registered_name(user_class(type(model)))
    return Original(kind, config, paths, weights, others=others, parts=parts)
