"""Which units are closed for good, as far as can be known in the midst of training."""

from typing import Any

import numpy as np
from keras import ops

from tfgates.gates import gates_of
from tfgates.selection.ranking import as_array


def candidates_of(model: Any, spare: float = 1.0) -> dict[Any, np.ndarray]:
    """The units that training has practically closed and that nothing will open again, as far as can be known.

    A unit counts as closed if it is closed at inference and its open probability is at most `Gate.closed_below` of its
    gate: .05 for hard-concrete gates, which at their bound still open with probability .047, .01 for Bernoulli gates,
    exactly 0 for scaling factors. For a frozen gate its inference values count. In each gate on channels the
    likeliest unit stays. Under a budget the least likely are taken first, and only as long as the network with all the
    others open costs at least what the budget allows: what pruning chooses at the end is then among them.

    Args:
        model: a `GatedModel`.
        spare: float >= 1, how many times what the budget allows is to remain, as long as there is that much, for gates
            to choose from. Defaults to 1.

    Returns:
        A dict from gates to booleans, for each unit whether it is a candidate.
    """
    found: dict[Any, np.ndarray] = {}
    scores: dict[Any, np.ndarray] = {}
    for gate in gates_of(model):
        if gate.unit_shape is None or len(gate.unit_shape) != 1:
            continue
        closed = np.asarray(ops.convert_to_numpy(gate.test_gates())).reshape(-1) == 0.0
        scores[gate] = as_array(gate.open_probability()).reshape(-1)
        if gate.trainable:
            closed &= scores[gate] <= gate.closed_below
        if gate.axis is None and gate._source is not None:
            # Its place in the chain of a generator is not to be empty.
            closed[:] = False
        if gate.axis is not None and closed.all():
            closed[int(np.argmax(scores[gate]))] = False
        found[gate] = closed
    structure = getattr(model, "_structure", None)
    if structure is not None and structure.bounds:
        found = _above_budget(structure, found, scores, spare)
    return found


def _above_budget(
    structure: Any, found: dict[Any, np.ndarray], scores: dict[Any, np.ndarray], spare: float
) -> dict[Any, np.ndarray]:
    """As many of the candidates, the least likely first, as leave a network that is not yet within the budget."""
    pairs = [
        (scores[gate][unit], number, unit) for number, gate in enumerate(found) for unit in np.flatnonzero(found[gate])
    ]
    order, gates = sorted(pairs), list(found)

    def first(count: int) -> dict[Any, np.ndarray]:
        chosen = {gate: np.zeros(gate.units, bool) for gate in gates}
        for _, number, unit in order[:count]:
            chosen[gates[number]][unit] = True
        return chosen

    low, high = 0, len(order)
    while low < high:
        middle = (low + high + 1) // 2
        if _costs_enough(structure, first(middle), spare):
            low = middle
        else:
            high = middle - 1
    return first(low)


def _costs_enough(structure: Any, gone: dict[Any, np.ndarray], spare: float) -> bool:
    """Whether the network with all open but `gone` costs what the budget allows: then nothing else is to be opened."""
    cost = structure.cost
    values = [1.0 - gone[gate] if gate in gone else np.ones(gate.units) for gate in cost.gates]
    kept = [(bound.layer is None, bound.of(cost, values) >= spare * bound.target) for bound in structure.bounds]
    whole = [enough for of_all, enough in kept if of_all]
    # Of several bounds on the whole network one that is used up is enough to open nothing more.
    return all(enough for of_all, enough in kept if not of_all) and (not whole or any(whole))
