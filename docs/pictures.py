"""The picture of the page *How it works*: a walk over a real small network, channel by channel."""

import html
import pathlib

import keras
import numpy as np

import tfgates
from tfgates.graph.formula import TRUE

PATH = pathlib.Path(__file__).resolve().parent / "images" / "walk.svg"
COLOURS = {
    "stays": "#2b6cb0",
    "goes: it is 0": "#d9d9d9",
    "goes: another constant, which a bias takes up": "#f0b64d",
    "goes: nothing needs it": "#ffffff",
    "closed, but stays": "#c53030",
}
ROW, CELL, LEFT = 34, 16, 330


def network():
    """Three gates: behind a normalisation in a residual branch, in front of a padded convolution, on a dense layer."""
    keras.utils.set_random_seed(0)
    inputs = keras.Input((8, 8, 3), name="image")
    x = start = keras.layers.Conv2D(4, 3, padding="same", activation="relu", name="stem")(inputs)
    x = keras.layers.Conv2D(8, 3, padding="same", use_bias=False, name="inner")(x)
    x = keras.layers.BatchNormalization(name="normalise")(x)
    x = tfgates.gates.HardConcreteGate(name="gate")(x)
    x = keras.layers.Conv2D(4, 1, name="back")(keras.layers.ReLU(name="relu")(x))
    x = keras.layers.Add(name="add")([start, x])
    x = tfgates.layers.GatedConv2D(6, 1, name="squeeze")(x)
    x = keras.layers.Activation("sigmoid", name="sigmoid")(x)
    x = keras.layers.Conv2D(6, 3, padding="same", activation="relu", name="padded")(x)
    x = keras.layers.GlobalAveragePooling2D(name="pool")(x)
    x = tfgates.layers.GatedDense(8, name="hidden")(x)
    x = keras.layers.Activation("sigmoid", name="sigmoid_2")(x)
    model = keras.Model(inputs, keras.layers.Dense(3, activation="softmax", name="classes")(x), name="small")
    for name, closed in (("gate", (1, 4, 6)), ("squeeze", (2,)), ("hidden", (0, 3, 7))):
        layer = model.get_layer(name)
        gate = getattr(layer, "gate", layer)
        gate.logits.assign([-4.0 if unit in closed else 4.0 for unit in range(gate.logits.shape[0])])
    return model


def states(plan, tensor):
    """For each channel of a tensor the word of `COLOURS` that says what becomes of it."""
    channels = plan.walk.channels[tensor]
    if channels is None:
        return []
    kept = plan.keep[channels.group]
    words = []
    for stays, live, value in zip(kept, channels.live == TRUE, channels.value, strict=True):
        if stays:
            words.append("stays" if live else "closed, but stays")
        elif live:
            words.append("goes: nothing needs it")
        else:
            words.append("goes: it is 0" if value == 0 else "goes: another constant, which a bias takes up")
    return words


def draw(plan):
    """The network as SVG: a line for each call, a square for each channel that it makes, a bow for what skips lines."""
    nodes = plan.network.nodes
    rows = {tensor: 1 + i for i, node in enumerate(nodes) for tensor in node.outputs}
    rows |= {tensor: 0 for tensor in plan.network.inputs}
    parts, legend = [], 20 * len(COLOURS) + 20
    for tensor, row in rows.items():
        y = 24 + row * ROW
        node = plan.network.producer[tensor]
        name = "image" if node is None else f"{node.name}  ({type(node.op).__name__})"
        parts.append(f'<text x="{LEFT - 16}" y="{y + 12}" text-anchor="end">{html.escape(name)}</text>')
        words = states(plan, tensor) or ["stays"] * plan.network.shapes[tensor][-1]
        for i, word in enumerate(words):
            parts.append(
                f'<rect x="{LEFT + i * (CELL + 4)}" y="{y}" width="{CELL}" height="{CELL}" fill="{COLOURS[word]}" '
                f'stroke="#4a5568"><title>{name}, channel {i}: {word}</title></rect>'
            )
    for node in nodes:
        for tensor in node.inputs:
            a, b = 24 + rows[tensor] * ROW + CELL, 24 + rows[node.outputs[0]] * ROW
            if rows[node.outputs[0]] - rows[tensor] == 1:
                parts.append(f'<path d="M{LEFT + 8} {a} V{b}" class="edge"/>')
            else:
                x = LEFT + 190
                parts.append(f'<path d="M{LEFT + 82} {a - 8} H{x} V{b + 8} H{LEFT + 82}" class="edge"/>')
    top = 24 + len(rows) * ROW + 10
    for i, (word, colour) in enumerate(COLOURS.items()):
        parts.append(f'<rect x="40" y="{top + 20 * i}" width="12" height="12" fill="{colour}" stroke="#4a5568"/>')
        parts.append(f'<text x="60" y="{top + 20 * i + 11}">{word}</text>')
    style = "text{font:13px sans-serif;fill:#1a202c}.edge{fill:none;stroke:#718096;stroke-width:1.5}"
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="640" height="{top + legend}" viewBox="0 0 640 {top + legend}">'
        f'<style>{style}</style><rect width="100%" height="100%" fill="#fff"/>{"".join(parts)}</svg>\n'
    )


def remake():
    """Writes the picture, after the pruned network has been compared with the one that it shows."""
    model = network()
    plan = tfgates.plan_pruning(model)
    small = tfgates.prune(model)
    images = np.random.default_rng(0).normal(size=(4, 8, 8, 3)).astype("float32")
    np.testing.assert_allclose(small.predict(images, verbose=0), model.predict(images, verbose=0), atol=1e-5)
    PATH.write_text(draw(plan), "utf-8")
    print(plan)
