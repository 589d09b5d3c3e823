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
        counting: which way of counting MACs it was: 1 has no `STEPS`, and counts all of the first layers; 2 counts
            products between channels of which none can go where both were made by the network.
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
    counting: int = 3


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


def prepared(network, counts):
    """The calls that multiply without weights, and read inputs of the network alone: cutting an image into patches.

    What they make are given functions of the inputs, in which no unit of the network has part: it goes only where
    nothing reads it.
    """
    found = set()
    plain = set()
    for node in network.nodes:
        weights = node.layer is not None and node.layer.weights
        before = [network.producer[tensor] for tensor in node.inputs]
        if not weights and all(n is None or n.index in plain for n in before):
            plain.add(node.index)
            if counts[node.index]:
                found.add(node.index)
    return found


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

    Removable is all that is multiplied but what nobody can take anything out of exactly, see `stuck`. Sequences have
    `STEPS`. In what goes as in what could, that one of many units is open is taken for granted: a branch does not go
    because all of its units could close.
    """
    with lengthened(network.model, STEPS), lengthened(gated, STEPS):
        return counted(gated, network)


def stuck(network, counts):
    """The MACs that nobody can take out exactly, by the index of the call.

    Those of products between channels of which none can go, on either side:

    * channels that a layer normalisation averages. Proof: without channel i the mean of the others is another, unless
      it equals theirs, and so is what the normalisation makes of each; weights behind it could undo that for no more
      than one mean and variance, while both differ from place to place. So for nearly all weights and inputs no smaller
      network computes the same, whatever else is closed, as long as anything reads what is normalised; that something
      does is taken for granted, as in what is counted as gone (`share_behind`);
    * inputs of the network and its outputs, which are given.

    And products without weights of inputs of the network (`prepared`), where all that multiplies what they make is
    stuck: it reads all of it.
    """
    walk = Walk(network, symbolic=True)
    given = prepared(network, counts)
    first, _ = ends(network, {i: 0 if i in given else macs for i, macs in counts.items()})
    found = {}
    for node in network.nodes:
        found[node.index] = 0.0
        if node.index in given or not counts[node.index]:
            continue
        read = set(inputs_of(walk, node)) if node.index in first else set()
        for term in rule_of(node).terms(walk, node):
            left = [sum(group in read or is_fixed(walk, group) for group in groups) for groups in term.over]
            found[node.index] += macs_of(term) * math.prod(left) if left else 0.0
    for i in sorted(given, reverse=True):
        readers = list(multiplied_next(network, network.nodes[i], counts))
        found[i] = counts[i] if all(r >= 0 and found[r] == counts[r] for r in readers) else 0.0
    return found


def is_fixed(walk, group):
    """Whether a channel is averaged with others, or one of the network's outputs."""
    reason = walk.reason(group) or ""
    return "averaged over the channels" in reason or reason == "an output of the model"


def inputs_of(walk, node):
    """The groups of the channels that a call of a layer reads; none where it has none of its own."""
    slots = walk.slots.get(id(node.op), {})
    return slots["inputs"].tolist() if "inputs" in slots else []


def multiplied_next(network, node, counts):
    """The next calls that multiply what a call makes; -1 for an output of the network."""
    for tensor in node.outputs:
        if tensor in network.outputs:
            yield -1
        for reader in network.consumers[tensor]:
            if counts[reader.index]:
                yield reader.index
            else:
                yield from multiplied_next(network, reader, counts)


def counted(gated, network):
    counts = products(network)
    last = ends(network, counts)[1]
    gateable = units_that_could(network, counts, last)
    total = sum(counts.values())
    removable = total - sum(stuck(network, counts).values())
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
    return layers, gateable, max(0.0, total - left) / removable if removable > 0 else 1.0


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
