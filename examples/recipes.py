"""The papers' settings as plain data, for `train.py --recipe=NAME`.

Each recipe is a dict with, where the paper says so,

    model, dataset: names that `train.py` knows.
    gate: name of a gate, as in `tfgates.gates.NAMES`.
    gate_arguments: its arguments.
    generator: `"forward"` or `"backward"`, for Dep-L0.
    l0: penalty in loss per expected open weight, a number or one per gate in the order of the network.
    penalty_params: penalty in loss per expected parameter of the whole network, in place of `l0`.
    strength: of `SparseScaling`, loss per unit of scale.
    epochs, batch_size: ints.
    finetune_epochs: of the epochs, how many at the end train on with frozen gates and no penalty.
    optimizer: of the weights: `name` as in `keras.optimizers` and its arguments; `boundaries` are the
        epochs at which the learning rate is multiplied by `factor`.
    finetune_learning_rate: of fine-tuning, by an optimizer like that of the weights.
    gate_optimizer: the same for the gates and the generator, which have no weight decay.
    average: momentum of the average of the weights that is evaluated.
    augment: bool, whether images are padded by 4, cropped and flipped.

A penalty that the paper divides by the number N of training images is divided here. Where a
source gives no value, a comment says what was chosen.
"""

import networks

MNIST, CIFAR = 60_000, 50_000


def _sgd(learning_rate, boundaries, factor, l2, nesterov=False, momentum=0.9):
    return {
        "name": "SGD",
        "learning_rate": learning_rate,
        "momentum": momentum,
        "nesterov": nesterov,
        # The papers add the decay to the gradient, where momentum multiplies it; Keras decays beside it.
        "weight_decay": l2 / (1.0 - momentum),
        "boundaries": boundaries,
        "factor": factor,
    }


_ADAM = {"name": "Adam", "learning_rate": 1e-3}

# Louizos et al. 2018, arXiv 1712.01312, and the authors' code.
_L0_HC_MNIST = {
    "dataset": "mnist",
    "gate": "hard_concrete",
    "epochs": 200,
    "batch_size": 100,
    "optimizer": {**_ADAM, "weight_decay": 5e-4},
    "gate_optimizer": _ADAM,
    "average": 0.999,
}

# Li and Ji 2021, arXiv 2107.00070, and the authors' code.
_DEP_L0_CIFAR = {
    "dataset": "cifar10",
    "gate": "hard_concrete",
    "epochs": 300,
    "batch_size": 128,
    "gate_optimizer": _ADAM,
    # The open probability where the generator's biases are the paper's 3, log(100) * tanh(3) = 4.58.
    "gate_arguments": {"initial_open_probability": 0.99794},
    "augment": True,
}
# The source gives the epochs of the steps; their factor is that of the wide ResNets.
_DEP_L0_STEPS = ([60, 120, 180, 240], 0.2, 5e-4)

# Huang and Wang 2018, arXiv 1707.01213, section 4.2.
_SSS_IMAGENET = {
    "dataset": "imagenet2012",
    "gate": "scaling",
    "strength": 0.01,
    "epochs": 100,
    "batch_size": 128,
    "optimizer": _sgd(0.1, [30, 60, 90], 0.1, 1e-4, nesterov=True),
    "augment": True,
}

RECIPES = {
    "l0_hc_lenet5_mnist": {
        **_L0_HC_MNIST,
        "model": "lenet5",
        "gate_arguments": {"initial_open_probability": 0.832},
        "l0": 0.1 / MNIST,
    },
    "l0_hc_lenet5_mnist_separate": {
        **_L0_HC_MNIST,
        "model": "lenet5",
        "gate_arguments": {"initial_open_probability": 0.832},
        "l0": [10.0 / MNIST, 0.5 / MNIST, 0.1 / MNIST, 10.0 / MNIST],
    },
    "l0_arm_lenet5_mnist": {
        **_L0_HC_MNIST,
        "model": "lenet5",
        "gate": "arm",
        "gate_arguments": {"initial_open_probability": 0.5},
        "l0": 0.1 / MNIST,
    },
    "l0_hc_wrn28_10_cifar10": {
        "model": "wrn28_10",
        "dataset": "cifar10",
        "gate": "hard_concrete",
        "l0": 1e-3 / CIFAR,
        "epochs": 200,
        "batch_size": 128,
        # Weight decay as in arXiv 1605.07146.
        "optimizer": _sgd(0.1, [60, 120, 160], 0.2, 5e-4, nesterov=True),
        "augment": True,
    },
    "dep_l0_vgg16_cifar10": {
        **_DEP_L0_CIFAR,
        "model": "vgg16",
        "generator": "forward",
        "penalty_params": 1e-6,
        "optimizer": _sgd(0.05, *_DEP_L0_STEPS),
    },
    "dep_l0_vgg16_cifar10_backward": {
        **_DEP_L0_CIFAR,
        "model": "vgg16",
        "generator": "backward",
        "penalty_params": 1e-6,
        "optimizer": _sgd(0.05, *_DEP_L0_STEPS),
    },
    "dep_l0_resnet56_cifar10": {
        **_DEP_L0_CIFAR,
        "model": "resnet56",
        "generator": "forward",
        "penalty_params": 5e-7,
        "optimizer": _sgd(0.1, *_DEP_L0_STEPS),
    },
    "dep_l0_resnet56_cifar10_backward": {
        **_DEP_L0_CIFAR,
        "model": "resnet56",
        "generator": "backward",
        "penalty_params": 1e-6,
        "optimizer": _sgd(0.1, *_DEP_L0_STEPS),
    },
    "dep_l0_resnet50_imagenet": {
        "model": "resnet50",
        "dataset": "imagenet2012",
        "gate": "hard_concrete",
        "generator": "forward",
        "penalty_params": 5e-9,
        "gate_arguments": _DEP_L0_CIFAR["gate_arguments"],
        "epochs": 100,
        "finetune_epochs": 10,
        "batch_size": 256,
        # Learning rate and steps are the usual ones for 90 epochs of this data set.
        "optimizer": _sgd(0.1, [30, 60], 0.1, 1e-4),
        "finetune_learning_rate": 1e-3,
        "gate_optimizer": _ADAM,
        "augment": True,
    },
    "sss_resnet50_imagenet": {**_SSS_IMAGENET, "model": "resnet50"},
    "sss_resnext50_imagenet": {**_SSS_IMAGENET, "model": "resnext50"},
}


def as_flags(name):
    """The flags of `train.py` that make up a recipe, as a dict."""
    recipe = RECIPES[name]
    direct = ("model", "dataset", "gate", "generator", "epochs", "batch_size", "average", "augment", "penalty_params")
    found = {key: recipe[key] for key in direct if key in recipe}
    found["finetune_epochs"] = recipe.get("finetune_epochs", 0)
    found["initial_open_probability"] = recipe.get("gate_arguments", {}).get("initial_open_probability", 0.9)
    if "l0" in recipe:
        l0 = recipe["l0"] if isinstance(recipe["l0"], list) else [recipe["l0"]]
        # The flag counts as the papers do, times the number of images.
        found["l0"] = [str(value * networks.IMAGES) for value in l0]
    if "strength" in recipe:
        found["scaling_strength"] = recipe["strength"]
    settings = recipe["optimizer"]
    found["optimizer"] = settings["name"].lower()
    found["boundaries"] = [str(epoch) for epoch in settings.get("boundaries", [])]
    found.update({key: settings[key] for key in OPTIMIZER_FLAGS if key in settings})
    if "finetune_learning_rate" in recipe:
        # With the optimizer of the weights, from where its schedule ended.
        found["finetune_optimizer"] = found["optimizer"]
        found["finetune_learning_rate"] = recipe["finetune_learning_rate"]
    # Without an optimizer of their own the gates have that of the weights, without its decay.
    found["gate_learning_rate"] = recipe.get("gate_optimizer", {}).get("learning_rate")
    return found


OPTIMIZER_FLAGS = ("learning_rate", "factor", "momentum", "nesterov", "weight_decay")
