"""The layers of a gated network that stand for a layer, or a nested model, of the original."""

from typing import Any

import keras


def layers_named(model: Any, name: str) -> list[keras.Layer]:
    """See `GatedModel.layers_of`."""
    if not isinstance(name, str) or not name.strip("/"):
        raise ValueError(f"`name` must be that of a layer or a nested model. Received: name={name!r}")
    wanted = f"/{name.strip('/')}/"
    # A network that was not made by `gate_model` has the names that it has.
    paths = {layer.name: model._origins.get(layer.name, [layer.name]) for layer in model.layers}
    found = [layer for layer in model.layers if any(wanted in f"/{path}/" for path in paths[layer.name])]
    if not found:
        outer = {path.split("/")[0] for own in paths.values() for path in own}
        raise ValueError(
            "`name` must be that of a layer or a nested model of the network that was gated, or a path of such names. "
            f"Received: name={name!r}, which is none; the outermost are {sorted(outer)}"
        )
    return found
