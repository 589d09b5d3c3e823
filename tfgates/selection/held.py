"""Looking at a network with other gate values than its own."""

import contextlib
from collections.abc import Iterator, Mapping
from typing import Any


@contextlib.contextmanager
def held(values: Mapping[Any, Any]) -> Iterator[None]:
    """Within it the gates have the given values: a dict from gate to values."""
    with contextlib.ExitStack() as stack:
        for gate, value in values.items():
            stack.enter_context(gate.held(value))
        yield
