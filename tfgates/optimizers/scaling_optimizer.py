"""One optimizer for the weights, APG for the scaling factors."""

from typing import Any

import keras
from keras import saving

from tfgates.keras_internals import inner_optimizers, learning_rate_of, routes_of
from tfgates.optimizers.gated_optimizer import GATES


@keras.saving.register_keras_serializable(package="tfgates")
class FollowedRate:
    """The learning rate of another optimizer, read at every step."""

    source: Any = None

    def __call__(self) -> Any:
        return self.source.learning_rate

    def get_config(self) -> dict[str, Any]:
        return {}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> Any:
        return cls(**config)


class _Routes:
    """Says which optimizer serves a variable: by exact path first, then as the map says."""

    def __init__(self, optimizer_map: Any, scaling: Any, paths: Any) -> None:
        self.optimizer_map = optimizer_map
        self.scaling = scaling
        self.paths = frozenset(paths)
        self.default_optimizer = optimizer_map.default_optimizer

    def values(self) -> Any:
        # APG comes first: a rate that it follows must be read before its owner counts the step.
        return [self.scaling, *self.optimizer_map.values()]

    def __call__(self, variable: Any) -> Any:
        return self.scaling if variable.path in self.paths else self.optimizer_map(variable)


@keras.saving.register_keras_serializable(package="tfgates")
class ScalingOptimizer(keras.optimizers.MultiOptimizer):
    """Updates the variables named by `paths` with `scaling` and all others with `optimizer`.

    Unlike its base class it has a `learning_rate`, that of `optimizer`, and its `optimizers` are
    those whose learning rate can be set, so that `keras.callbacks.LearningRateScheduler` and
    `ReduceLROnPlateau` work.

    Args:
        optimizer: a Keras optimizer, or a `keras.optimizers.OptimizerMap` of several.
        scaling: a `tfgates.optimizers.APG`. Where its learning rate is a `FollowedRate`, it has
            the learning rate of `optimizer` at every step.
        paths: the `path` of each variable that `scaling` updates.
        name: string.
    """

    def __init__(self, optimizer: Any, scaling: Any, paths: Any, name: str = "scaling_optimizer") -> None:
        if not isinstance(optimizer, keras.optimizers.OptimizerMap):
            optimizer = keras.optimizers.OptimizerMap(optimizer)
        routes = _Routes(optimizer, scaling, paths)
        base = routes.default_optimizer
        super().__init__(routes, loss_scale_factor=base.loss_scale_factor, name=name)
        rate = learning_rate_of(scaling)
        if isinstance(rate, FollowedRate):
            rate.source = base

    @property
    def scaling(self) -> Any:
        """The optimizer of the scaling factors."""
        return routes_of(self).scaling

    @property
    def weights_optimizer(self) -> Any:
        """The optimizer of the variables that are neither factors nor gates."""
        return routes_of(self).default_optimizer

    @property
    def paths(self) -> Any:
        """The paths of the variables that `scaling` updates, a frozenset."""
        return routes_of(self).paths

    @property
    def optimizers(self) -> Any:
        # Of gates of another kind the pace stands, as in a `GatedOptimizer`.
        routes = routes_of(self).optimizer_map
        # A map of Keras finds the default optimizer under every name.
        kept = [routes[GATES]] if GATES in list(routes) else []
        if isinstance(learning_rate_of(self.scaling), FollowedRate):
            kept.append(self.scaling)
        return [inner for inner in inner_optimizers(self) if not any(inner is other for other in kept)]

    @property
    def learning_rate(self) -> Any:
        return routes_of(self).default_optimizer.learning_rate

    @learning_rate.setter
    def learning_rate(self, value: Any) -> None:
        routes_of(self).default_optimizer.learning_rate = value

    def get_config(self) -> dict[str, Any]:
        return {
            "optimizer": saving.serialize_keras_object(routes_of(self).optimizer_map),
            "scaling": saving.serialize_keras_object(self.scaling),
            "paths": sorted(self.paths),
            "name": self.name,
        }

    @classmethod
    def from_config(cls, config: dict[str, Any], custom_objects: Any = None) -> Any:
        config = dict(config)
        for key in ("optimizer", "scaling"):
            config[key] = saving.deserialize_keras_object(config[key], custom_objects=custom_objects)
        return cls(**config)
