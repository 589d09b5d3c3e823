"""Formulas of docstrings are told from code."""

import pytest


@pytest.mark.parametrize(
    ("text", "made"),
    [
        (
            "z = clip(s * (zeta - gamma) + gamma, 0, 1)",
            r"z = \operatorname{clip}(s \, (\zeta - \gamma) + \gamma, 0, 1)",
        ),
        ("log u - log(1 - u)", r"\operatorname{log}(u) - \operatorname{log}(1 - u)"),
        ("a / (b / c) - (d - e)", "a / (b / c) - (d - e)"),
        ("P(z != 0) <= 0.5", r"P(z \ne 0) \le 0.5"),
        ("sigmoid(logits / temperature)", r"\operatorname{sigmoid}(\text{logits} / \text{temperature})"),
        ("rate <- max(0, rate + x)", r"\text{rate} \leftarrow \operatorname{max}(0, \text{rate} + x)"),
        ("p * (1 - p)", r"p \, (1 - p)"),
    ],
)
def test_formulas(of_docs, text, made):
    assert of_docs("formulas").latex(text) == made


@pytest.mark.parametrize(
    "text",
    [
        *(
            "axis=-1",
            "round_to=8",
            "training=True",
            "(x, y)",
            "(units,)",
            "0.95",
            "-1",
            '"sigmoid"',
            "x",
            "l0",
            "model",
        ),
        *(
            "tfgates.cost(model)",
            "gate(y, logits=logits[i])",
            "plan.slices[variable].take(value)",
            "finish(gated, train)",
        ),
    ],
)
def test_code(of_docs, text):
    assert of_docs("formulas").latex(text) is None
