"""Arguments that nobody knows: named, with the one that was probably meant."""

import difflib
import functools
import inspect
from collections.abc import Callable, Iterable, Mapping
from typing import Any


def check_known(function: str, given: Mapping[str, Any], allowed: Iterable[str]) -> None:
    """Raises a `TypeError` if an argument of a call is none of `allowed`."""
    allowed = list(dict.fromkeys(allowed))
    for name, value in given.items():
        if name not in allowed:
            meant = nearest(name, allowed)
            hint = f" Did you mean `{meant}`?" if meant else ""
            raise TypeError(
                f"`{function}` has no argument `{name}`.{hint} It takes {', '.join(allowed)}. "
                f"Received: {name}={value!r}"
            )


def nearest(name: str, allowed: list[str]) -> str | None:
    """The argument that `name` was probably meant to be: alike, or its initials; None if there is none."""
    for each in allowed:
        if len(name) > 1 and name.lower() == "".join(word[0] for word in each.split("_")):
            return each
    return next(iter(difflib.get_close_matches(name, allowed, 1)), None)


def arguments_of(function: Callable[..., Any]) -> list[str]:
    """The names of the arguments of a function, or of a class and what it hands on to its bases."""
    if isinstance(function, functools.partial):
        function = function.func
    if not isinstance(function, type):
        parameters = inspect.signature(function).parameters.values()
        return [p.name for p in parameters if p.kind not in (p.VAR_KEYWORD, p.VAR_POSITIONAL)]
    names: list[str] = []
    for kind in function.__mro__:
        if "__init__" in vars(kind) and kind is not object:
            parameters = inspect.signature(vars(kind)["__init__"]).parameters.values()
            names += [p.name for p in parameters if p.kind not in (p.VAR_KEYWORD, p.VAR_POSITIONAL)][1:]
            if not any(p.kind is p.VAR_KEYWORD for p in parameters):
                break
    return list(dict.fromkeys(names))
