"""The recipes name what exists and fit together."""

import importlib
import math
import pathlib
import sys

import keras
import pytest

import tfgates

EXAMPLES = pathlib.Path(__file__).parents[2] / "examples"

sys.path.insert(0, str(EXAMPLES))
try:
    recipes = importlib.import_module("recipes")
finally:
    sys.path.remove(str(EXAMPLES))


@pytest.mark.parametrize("name", sorted(recipes.RECIPES))
def test_recipe(name):
    recipe = recipes.RECIPES[name]
    documented = {line.split(":")[0].strip() for line in recipes.__doc__.splitlines() if line.startswith("    ")}
    documented = {word.strip() for words in documented for word in words.split(",")}
    assert set(recipe) <= documented
    assert recipe["model"] in tfgates.applications.__all__
    arguments = recipe.get("gate_arguments", {})
    assert isinstance(tfgates.gates.get(recipe["gate"], **arguments), tfgates.gates.Gate)
    assert ("l0" in recipe) + ("penalty_params" in recipe) + ("strength" in recipe) == 1
    for key in ("optimizer", "gate_optimizer"):
        settings = dict(recipe.get(key, {"name": "SGD"}))
        boundaries = settings.pop("boundaries", [])
        assert boundaries == sorted(boundaries)
        assert all(0 < epoch < recipe["epochs"] for epoch in boundaries)
        assert 0 < settings.pop("factor", 0.1) < 1
        optimizer = keras.optimizers.deserialize({"class_name": settings.pop("name"), "config": settings})
        assert isinstance(optimizer, keras.optimizers.Optimizer)


@pytest.mark.parametrize("name", [name for name in recipes.RECIPES if "lenet5" in name or "vgg16" in name])
def test_network_of_a_recipe(name):
    recipe = recipes.RECIPES[name]
    model = getattr(tfgates.applications, recipe["model"])(
        gate=tfgates.gates.get(recipe["gate"], **recipe.get("gate_arguments", {})),
        generator=recipe.get("generator"),
        l0=recipe.get("l0"),
    )
    assert any("gate_generator" in layer.name for layer in model.layers) == ("generator" in recipe)


def test_flags_of_a_recipe():
    flags = recipes.as_flags("l0_hc_lenet5_mnist_separate")
    # The papers' lambdas, times the number of images.
    assert [round(float(value), 6) for value in flags["l0"]] == [10, 0.5, 0.1, 10]
    assert flags["gate_learning_rate"] == 1e-3 and flags["boundaries"] == [] and flags["average"] == 0.999
    flags = recipes.as_flags("dep_l0_resnet50_imagenet")
    assert flags["penalty_params"] == 5e-9 and flags["generator"] == "forward"
    assert flags["finetune_epochs"] == 10 and flags["boundaries"] == ["30", "60"] and flags["augment"]
    # Fine-tuning goes on with the optimizer of the weights, at the rate where its schedule ended.
    assert flags["finetune_optimizer"] == flags["optimizer"] == "sgd" and flags["finetune_learning_rate"] == 1e-3
    # The open probability of logits log(100) * tanh(3).
    start = math.log(100) * math.tanh(3) + 2 / 3 * math.log(11)
    assert flags["initial_open_probability"] == pytest.approx(1 / (1 + math.exp(-start)), abs=1e-5)
    # Its gates follow the optimizer of the weights.
    assert recipes.as_flags("l0_hc_wrn28_10_cifar10")["gate_learning_rate"] is None


def test_weight_decay_pulls_as_that_of_the_papers():
    """Added to the gradient, as the papers do, momentum multiplies it; Keras decays beside the gradient."""
    recipe = recipes.RECIPES["dep_l0_vgg16_cifar10"]["optimizer"]
    rate, momentum, steps = recipe["learning_rate"], recipe["momentum"], 1000
    optimizer = keras.optimizers.SGD(rate, momentum, weight_decay=recipe["weight_decay"])
    weight, by_hand, velocity = keras.Variable([1.0]), 1.0, 0.0
    for _ in range(steps):
        optimizer.apply([keras.ops.zeros((1,))], [weight])
        velocity = momentum * velocity - rate * 5e-4 * by_hand
        by_hand += velocity
    assert by_hand < 0.85
    assert float(weight[0]) == pytest.approx(by_hand, rel=0.01)
