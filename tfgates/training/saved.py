"""The config of a model with gates: what is kept of it in files beside its layers and variables."""

from typing import TYPE_CHECKING, Any

import keras

from tfgates.graph.frozen import flags_of, set_flags
from tfgates.graph.lengths import length_of
from tfgates.graph.original import Original, original_of, set_original
from tfgates.training.functional import Functional
from tfgates.training.report import Report

# What it is mixed into is a model of Keras.
if TYPE_CHECKING:
    from keras import Model as MixedInto
else:
    MixedInto = object


class SavedWithGates(MixedInto):
    """The part of a `GatedModel` that says what it is made of."""

    def get_config(self) -> dict[str, Any]:
        config = super().get_config()
        # Of a network that counts against itself the reference follows from it.
        state = {"penalty": self.penalty, "budget": self.budget, "dense_reference": self._given_reference}
        for name, value in state.items():
            if value is not None:
                config[name] = keras.saving.serialize_keras_object(value)
        length = length_of(self)
        if length is not None:
            config["length"] = {k: list(v) for k, v in length.items()} if isinstance(length, dict) else length
        if self.report is not None:
            config["report"] = self.report.to_dict()
        original = original_of(self)
        if original is not None:
            config["original"] = original.to_dict()
        if self._origins:
            config["origins"] = self._origins
        if self.removals:
            config["removals"] = [dict(each) for each in self.removals]
        if isinstance(self, Functional):
            flags = {layer.name: flags_of(layer) for layer in self.layers}
            flags = {name: each for name, each in flags.items() if each is not None}
            if flags:
                config["frozen"] = flags
        return config

    @classmethod
    def from_config(cls, config: dict[str, Any], custom_objects: dict[str, Any] | None = None) -> Any:
        config = dict(config)
        for name in ("penalty", "budget", "dense_reference"):
            if config.get(name) is not None:
                config[name] = keras.saving.deserialize_keras_object(config[name], custom_objects)
        report, frozen, origins = config.pop("report", None), config.pop("frozen", {}), config.pop("origins", {})
        removals, original = config.pop("removals", []), config.pop("original", None)
        model = super().from_config(config, custom_objects=custom_objects)
        if original is not None:
            set_original(model, Original.from_dict(original))
        model.removals = [dict(each) for each in removals]
        if report is not None:
            model.report = Report.from_dict(report)
        model._origins = {layer: list(paths) for layer, paths in origins.items()}
        for name, flags in frozen.items():
            set_flags(model.get_layer(name), flags)
        return model
