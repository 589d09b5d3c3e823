"""The networks that `train.py` knows: those of `tfgates.applications`, with gates."""

import tfgates

# The papers' lambda is the loss per weight times the number of training images, 60,000 for MNIST.
IMAGES = 60_000
# Lambda for each gate in the order of the network; one for all gates of other networks and of generators.
DEFAULT_L0 = {"lenet5": [10.0, 0.5, 0.1, 10.0]}

# Hard concrete with a generator, Dep-L0.
GENERATED = "dep_hc"
GATES = sorted([*tfgates.gates.NAMES, GENERATED])


def draws_per_example(gate):
    """Whether the gates of a name can be drawn for each example on its own: they draw zeros and ones, and the estimator
    of their gradients takes losses of examples."""
    made = None if gate == GENERATED else tfgates.gates.get(gate)
    return isinstance(made, tfgates.gates.BernoulliGate) and not made.flips


def build(
    name,
    data,
    gate,
    l0=None,
    seed=0,
    generator=None,
    sampling=None,
    budget=None,
    penalty_params=None,
    **gate_arguments,
):
    """Builds a network for `data`.

    Args:
        name: one of `tfgates.applications`.
        data: a `Data`.
        gate: name of a gate, or `"dep_hc"`: hard concrete, with logits from a generator.
        l0: list of penalties, one for each gate or one for all, in loss per `IMAGES` weights.
            Defaults to `DEFAULT_L0`, to 0.1 for other networks and with a generator, which closes the
            gates of a layer together and so needs less, and to none for scaling factors, which
            close by other means, and beside `budget` and `penalty_params`.
        seed: int, of the gates' noise.
        generator: None, `"forward"` or `"backward"`. Defaults to `"forward"` for `"dep_hc"`.
        sampling: `"batch"` or `"example"`. Defaults to `"example"` for Bernoulli gates, whose gradients
            are far less noisy that way, and to `"batch"` otherwise.
        budget: a `tfgates.Budget`, or None.
        penalty_params: loss per expected parameter of the whole network, or None.
        **gate_arguments: further arguments of the gates.

    Returns:
        A `tfgates.GatedModel`.
    """
    if gate == GENERATED:
        gate, generator = "hard_concrete", generator or "forward"
    if l0 is None:
        free = gate == "scaling" or budget is not None or penalty_params is not None
        l0 = [0.0] if free else [0.1] if generator else DEFAULT_L0.get(name, [0.1])
    penalties = [value / IMAGES for value in l0]
    sampling = sampling or ("example" if draws_per_example(gate) else "batch")
    model = getattr(tfgates.applications, name)(
        input_shape=data.input_shape,
        classes=data.classes,
        gate=tfgates.gates.get(gate, seed=seed, sampling=sampling, **gate_arguments),
        generator=generator,
        l0=penalties[0] if len(penalties) == 1 else penalties,
    )
    penalty = None
    if penalty_params is not None:
        penalty = {"params": penalty_params * tfgates.cost(model, chosen=False).dense_params}
    if budget is None and penalty is None:
        return model
    return tfgates.GatedModel(model.input, model.output, name=model.name, budget=budget, penalty=penalty)
