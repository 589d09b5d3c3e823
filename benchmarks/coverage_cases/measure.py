"""What one network says of "any Keras network": gated, randomised, half closed, pruned, compared."""

import dataclasses
import math
import time
import warnings

import keras
import numpy as np

import tfgates
from tfgates.anatomy import anatomy_of
from tfgates.gates import Gate
from tfgates.graph.equality import CALLS, amplified, default_tolerance, first_difference, outputs_of
from tfgates.graph.examples import NoExamplesError, batches
from tfgates.graph.formula import TRUE
from tfgates.graph.lengths import lengthened
from tfgates.graph.network import Network
from tfgates.graph.rule import rule_of
from tfgates.graph.walk import Walk
from tfgates.pruning.prune import PruningError

# How long sequences are where the inputs leave it open.
STEPS = 16


@dataclasses.dataclass
class Row:
    """What was found of a network.

    Attributes:
        result: "equal"; "refused" where `gate_model` or `prune` says why it does not; "unequal" and "fault" (any
            other exception) where it is wrong.
        gated, gateable: layers that multiply and lose units when gates close, and those that could.
        behind: share of the MACs that could be made removable that are behind gates.
        params: share of the parameters that are left with half of the units closed.
        seconds: of gating, planning and pruning.
        why: what was raised, or the commonest reasons of what has no gate.
        counting: which way of counting MACs it was: 1 has no `STEPS`, and counts all of the first layers.
    """

    name: str
    source: str
    result: str
    gated: int = 0
    gateable: int = 0
    behind: float = 0.0
    params: float = 1.0
    seconds: float = 0.0
    why: str = ""
    counting: int = 2


def randomise(model, generator):
    """Weights and statistics as training could leave them: none is 0 or 1, none like another."""
    for layer in model._flatten_layers(include_self=False):
        if isinstance(layer, Gate) or not getattr(layer, "_trainable_variables", None):
            continue
        for variable in [*layer._trainable_variables, *layer._non_trainable_variables]:
            if "float" not in str(variable.dtype):
                continue
            value = np.asarray(keras.ops.convert_to_numpy(variable), np.float32)
            if variable.name == "moving_mean":
                value = generator.normal(0.0, 0.3, value.shape)
            elif variable.name == "moving_variance":
                value = generator.uniform(0.7, 1.4, value.shape)
            elif np.ptp(value) == 0.0 if value.size else False:
                value = value + generator.uniform(0.05, 0.3, value.shape) * generator.choice((-1.0, 1.0), value.shape)
            else:
                value = value * generator.uniform(0.7, 1.3, value.shape)
            variable.assign(value)


def close(gated, fraction, generator):
    """Closes a share of the units of each gate; what stays open gets values below and at 1."""
    for gate in gated.gates:
        shape = tuple(gate.logits.shape)
        order = generator.permutation(math.prod(shape)).reshape(shape)
        shut = order < max(1, int(fraction * math.prod(shape)))
        gate.logits.assign(np.where(shut, -4.0, generator.uniform(-1.0, 3.0, shape)))


def products(network):
    """MACs of each call, by its index."""
    walk = Walk(network, symbolic=True)
    return {
        node.index: sum(macs_of(term) * math.prod(map(len, term.over)) for term in rule_of(node).terms(walk, node))
        for node in network.nodes
    }


def macs_of(term):
    """MACs of a term; for one place where it is not known how many there are."""
    return term.params if math.isnan(term.macs) else term.macs


def ends(network, counts):
    """The calls that multiply and read nothing that another made, and those of which none reads what they make."""
    from_products, to_products = set(), set()
    for node in network.nodes:
        before = [network.producer[tensor] for tensor in node.inputs]
        if any(n is not None and (counts[n.index] or n.index in from_products) for n in before):
            from_products.add(node.index)
    for node in reversed(network.nodes):
        behind = [n for tensor in node.outputs for n in network.consumers[tensor]]
        if any(counts[n.index] or n.index in to_products for n in behind):
            to_products.add(node.index)
    first = {i for i in counts if counts[i] and i not in from_products}
    last = {i for i in counts if counts[i] and i not in to_products}
    return first, last


def units_that_could(network, counts, last):
    """How many layers with weights multiply and make what is no output; those in layers that stay whole count too."""
    return sum(len(parts(node)) for node in network.nodes if counts[node.index] and node.index not in last)


def parts(node):
    """The layers with kernels of a call: itself, or those in a layer that stays whole."""
    if node.layer is None or not node.layer.weights:
        return []
    if node.whole is None:
        return [node.layer]
    inner = [layer for layer in node.layer._flatten_layers(include_self=False) if holds_kernel(layer)]
    return inner or [node.layer]


def holds_kernel(layer):
    """Whether a layer multiplies by a kernel of its own."""
    anatomy = anatomy_of(layer)
    return bool(anatomy is not None and anatomy.products) or (
        any(len(v.shape) > 1 for v in layer._trainable_variables) and not isinstance(layer, keras.layers.Embedding)
    )


def share_behind(gated, network):
    """Layers that lose units, those that could, and the share of the removable MACs that goes when every gate closes.

    Removable is all that is multiplied but in calls that read inputs of the network and make its outputs, or what is
    normalised by statistics over its channels: nobody can take channels out of these exactly. Sequences have `STEPS`.
    """
    with lengthened(network.model, STEPS), lengthened(gated, STEPS):
        return counted(gated, network)


def normalised(walk, node):
    """Whether a layer has one kernel, and makes channels of which none can go, by statistics over all of them."""
    anatomy, channels = anatomy_of(node.op), walk.output(node)
    if anatomy is None or len(anatomy.products) != 1 or anatomy.recurs or channels is None:
        return False
    return all("averaged over the channels" in (walk.reason(group) or "") for group in channels.group)


def counted(gated, network):
    counts = products(network)
    first, last = ends(network, counts)
    gateable = units_that_could(network, counts, last)
    walk = Walk(network, symbolic=True)
    stuck = {i for i in first if i in last or normalised(walk, network.nodes[i])}
    removable = sum(counts.values()) - sum(counts[i] for i in stuck)
    inner = Network(gated)
    walk = Walk(inner, symbolic=True)
    left = layers = 0
    for node in inner.nodes:
        if isinstance(node.op, Gate):
            continue
        rule = rule_of(node)
        stays = walk.used[node.index] == TRUE
        for term in rule.terms(walk, node):
            left += stays * macs_of(term) * math.prod(int(np.sum(walk.alive[groups] == TRUE)) for groups in term.over)
        units = walk.units_of(node)
        goes = not stays or (units is not None and len(units) and bool(np.any(walk.alive[units] != TRUE)))
        layers += bool(goes and node.layer is not None and holds_kernel(node.layer))
    total = sum(counts.values())
    return layers, gateable, max(0.0, total - left) / removable if removable else 1.0


def compare(gated, pruned, network, inputs):
    """The first difference between both on data that `prune` did not see, in each mode; None if there is none."""
    try:
        made = [batches(network, like=inputs)[1]]
    except NoExamplesError:
        made = []
    for x in [*made, *([] if inputs is None else [inputs])]:
        for call in CALLS:
            expected = outputs_of(gated, x, call)
            found = first_difference(expected, pruned, x, default_tolerance(gated), call)
            if found is not None and not amplified(gated, x, expected, found, call):
                return found
    return None


def commonest(report):
    """The reasons why layers have no gate, most frequent first, as one line."""
    reasons = {}
    for _, reason in report.skipped:
        if " with the gate" in reason or reason == "an output of the model":
            continue
        reasons[reason] = reasons.get(reason, 0) + 1
    most = sorted(reasons.items(), key=lambda pair: -pair[1])
    return "; ".join(f"{count}: {reason}" for reason, count in most[:4])


def measure(name, source, build, seed=0):
    """A `Row` for what `build` returns: a model, or a pair of it and of an example to call it on."""
    generator = np.random.default_rng(seed)
    keras.utils.clear_session()
    keras.utils.set_random_seed(seed)
    model = build()
    model, inputs = model if isinstance(model, tuple) else (model, None)
    row = Row(name, source, "fault")
    start = time.perf_counter()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            try:
                gated = tfgates.gate_model(model, inputs=inputs)
            except (ValueError, TypeError) as error:
                row.result = "refused"
                row.gateable, row.why = len(parts_of(model)), text(error)
                return row
            row.seconds = time.perf_counter() - start
            row.gated, row.gateable, row.behind = share_behind(gated, Network(model, inputs))
            row.gateable = max(row.gated, row.gateable)
            row.why = commonest(gated.report)
            randomise(gated, generator)
            close(gated, 0.5, generator)
            start = time.perf_counter()
            plan = tfgates.plan_pruning(gated, min_units=1)
            try:
                pruned = tfgates.prune(gated, plan=plan, inputs=inputs)
            except ValueError as error:
                row.result, row.why = "refused", text(error)
                return row
            row.seconds += time.perf_counter() - start
            row.params = plan.params / max(1, plan.dense_params)
            if pruned.count_params() != plan.params:
                row.result, row.why = "unequal", f"{pruned.count_params():,} parameters, planned {plan.params:,}"
                return row
            difference = compare(gated, pruned, Network(gated), inputs)
            row.result = "equal" if difference is None else "unequal"
            row.why = row.why if difference is None else str(difference)
    except PruningError as error:
        row.result, row.why = "unequal", text(error)
    except Exception as error:
        row.why = text(error)
    return row


def parts_of(model):
    """The layers of a model that hold kernels."""
    return [layer for layer in model._flatten_layers(include_self=False) if holds_kernel(layer)]


def text(error):
    """An exception in one line."""
    return f"{type(error).__name__}: {' '.join(str(error).split())}"[:600]
