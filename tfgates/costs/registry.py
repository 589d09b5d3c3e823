"""The costs that are counted."""

from typing import TypeVar

from tfgates.costs.protocol import Cost
from tfgates.unknown import nearest

_COSTS: dict[str, Cost] = {}

# What the arguments of a budget and the attributes of tables are called already.
TAKEN = (
    "per_layer",
    "multiplier_rate",
    "warm_up",
    "ramp",
    "restart",
    "layers",
    "uncounted",
    "unknown",
    "gated",
    "name",
)

Kind = TypeVar("Kind", bound=type[Cost])


def register_cost(kind: Kind) -> Kind:
    """Class decorator: from now on a `Cost` is counted in addition to parameters and MACs.

    A class of the same name in the same module replaces the earlier one, as happens in a notebook. A saved model
    with a budget on a cost can be loaded once the cost is registered.

    Raises:
        ValueError: for a class that is not a `Cost`, has no unit, or has a name that cannot be an argument or is
            taken.
    """
    if not (isinstance(kind, type) and issubclass(kind, Cost)):
        raise ValueError(f"`register_cost` takes a subclass of tfgates.costs.Cost. Received: {kind!r}")
    name = kind.name
    if not isinstance(name, str) or not name.isidentifier() or name.startswith(("_", "expected_", "dense_")):
        raise ValueError(
            "`name` of a cost must be an identifier that does not begin with an underscore, 'expected_' or 'dense_'. "
            f"Received: name={name!r} of {kind.__name__}"
        )
    if not kind.unit:
        raise ValueError(f"`unit` of a cost must say what is counted. Received: unit={kind.unit!r} of {kind.__name__}")
    before = type(_COSTS[name]) if name in _COSTS else None
    same = before is not None and (before.__module__, before.__qualname__) == (kind.__module__, kind.__qualname__)
    if name in TAKEN or (before is not None and not same):
        raise ValueError(
            f"`name` of a cost must not be taken: those are {', '.join([*_COSTS, *TAKEN])}. "
            f"Received: name={name!r} of {kind.__name__}"
        )
    _COSTS[name] = kind()
    return kind


def unregister_cost(name: str) -> None:
    """Stops counting a cost of your own.

    Raises:
        ValueError: if it is not registered, or is one of the costs of tfgates.
    """
    own = [each for each, cost in _COSTS.items() if type(cost).__module__.partition(".")[0] != "tfgates"]
    if name not in own:
        raise ValueError(f"`name` must be that of a cost that was registered: one of {own}. Received: name={name!r}")
    del _COSTS[name]


def registered_costs() -> tuple[Cost, ...]:
    """The costs that are counted, parameters and MACs first."""
    return tuple(_COSTS.values())


def cost_named(name: str) -> Cost:
    """A registered cost by its name."""
    if name not in _COSTS:
        meant = nearest(name, list(_COSTS))
        hint = f" Did you mean `{meant}`?" if meant else ""
        raise ValueError(f"There is no cost of that name.{hint} There are {', '.join(_COSTS)}. Received: {name!r}")
    return _COSTS[name]
