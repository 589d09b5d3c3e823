"""The numbers that `SparsityMonitor` shows."""

import keras

from tfgates.optimizers import GatedOptimizer


def fractions(costs, model):
    """Parameters and MACs, actual and expected, of those of the dense network.

    Args:
        costs: a `tfgates.costs.Cost` of `model`.
        model: a model; of a `GatedModel` its `dense_reference` is the dense network.
    """
    reference = getattr(model, "dense_reference", None)
    totals = {} if reference is None else reference.totals
    dense = totals.get("params", costs.dense_params)
    found = {"params": costs.params / dense, "expected_params": costs.expected_params / dense}
    try:
        dense = totals.get("macs", costs.dense_macs)
    except ValueError:
        # Inputs of unknown size, for which `tfgates.cost` refuses to tell MACs.
        return found
    return {**found, "macs": costs.macs / dense, "expected_macs": costs.expected_macs / dense}


def targets(model):
    """What budgets on the whole model ask for, of the dense network."""
    structure = getattr(model, "_structure", None)
    bounds = [] if structure is None else structure.bounds
    return {f"cost/{bound.name}": bound.target / bound.dense for bound in bounds if bound.layer is None}


def learning_rates(model):
    """The learning rates of weights and gates, if the gates have an optimizer of their own."""
    optimizer = getattr(model.optimizer, "inner_optimizer", model.optimizer)
    if not isinstance(optimizer, GatedOptimizer):
        return {}
    rates = {"weights": optimizer.learning_rate, "gates": optimizer.gate_optimizer.learning_rate}
    return {f"learning_rate/{name}": float(keras.ops.convert_to_numpy(rate)) for name, rate in rates.items()}


def left(report):
    """Parameters and MACs of a network that was pruned, of those of the dense network."""
    pairs = {name: (report.plan[name], report.plan[f"dense_{name}"]) for name in ("params", "macs")}
    # MACs are None where those of a layer are not known.
    return {name: after / before for name, (after, before) in pairs.items() if after is not None and before}
