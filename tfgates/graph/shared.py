"""One network of each model while a function of tfgates works on it: its layers are opened, and compared, once."""

import contextlib
import contextvars
from collections.abc import Iterator
from typing import Any

from tfgates.graph.network import Network

# By the id of a model its network, which holds the model; None outside of `networks_shared`.
_NETWORKS: contextvars.ContextVar[dict[int, Network] | None] = contextvars.ContextVar("networks", default=None)


@contextlib.contextmanager
def networks_shared() -> Iterator[None]:
    """Within it `network_of` makes one network of each model. Of several within each other the outermost counts.

    Nothing that a network says of a model, its graph and what layers compute, may change within it; the values of
    variables may.
    """
    if _NETWORKS.get() is not None:
        yield
        return
    token = _NETWORKS.set({})
    try:
        yield
    finally:
        _NETWORKS.reset(token)


def network_of(model: Any, example: Any = None) -> Network:
    """The network of a model: see `Network`."""
    shared = _NETWORKS.get()
    if shared is None:
        return Network(model, example)
    if id(model) not in shared:
        shared[id(model)] = Network(model, example)
    return shared[id(model)]
