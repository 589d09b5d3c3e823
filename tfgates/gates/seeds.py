"""Noise that goes on where it was after a model is saved and loaded."""

from typing import Any

import keras
from keras import ops


class SeededLayer(keras.layers.Layer):
    """A layer with a `seed_generator`, whose state it saves beside its variables.

    Keras saves no seed generators; without this a resumed run would draw other noise.
    """

    def save_own_variables(self, store: Any) -> None:
        super().save_own_variables(store)
        store["seed_state"] = ops.convert_to_numpy(self.seed_generator.state)

    def load_own_variables(self, store: Any) -> None:
        # A store of Keras has no other way to ask; files of plain layers have no such entry.
        names = list(store.keys())
        if "seed_state" in names:
            self.seed_generator.state.assign(store["seed_state"])
        super().load_own_variables({name: store[name] for name in names if name != "seed_state"})
