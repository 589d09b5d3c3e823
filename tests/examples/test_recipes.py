"""The recipes name what exists and fit together."""

import importlib.util
import pathlib

import keras
import pytest

import tfgates

PATH = pathlib.Path(__file__).parents[2] / "examples" / "recipes.py"
spec = importlib.util.spec_from_file_location("recipes", PATH)
recipes = importlib.util.module_from_spec(spec)
spec.loader.exec_module(recipes)


@pytest.mark.parametrize("name", sorted(recipes.RECIPES))
def test_recipe(name):
    recipe = recipes.RECIPES[name]
    documented = {
        line.split(":")[0].strip() for line in recipes.__doc__.splitlines() if line.startswith("    ")
    }
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
