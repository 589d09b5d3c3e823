"""Dense layers that are written as an einsum: on the last axis, into heads, and out of them."""

import dataclasses
import re
from typing import Any

import keras
import numpy as np

from tfgates.anatomy.axes import Keep
from tfgates.anatomy.declare import register_anatomy
from tfgates.anatomy.linear import LinearAnatomy


@dataclasses.dataclass(frozen=True)
class Form:
    """What the letters of an equation are.

    Attributes:
        read, kernel, made: the letters of the three tensors; those of the batch and of places are among them.
        inputs, outputs: the letters of the axes that carry the units of what is read and of what is made.
    """

    read: str
    kernel: str
    made: str
    inputs: str
    outputs: str

    @property
    def spreads(self) -> bool:
        """Whether a unit of what is made has several numbers at each place: a head has its width."""
        return len([letter for letter in self.made if letter in self.kernel]) > 1


def form_of(equation: str) -> Form | None:
    """What an equation with a kernel says, or None where it is no dense layer of some kind.

    `"abc,cd->abd"` is one on the last axis; `"abc,cde->abde"` makes heads d of the width e, `"abcd,cde->abe"` reads
    heads c of the width d.
    """
    match = re.fullmatch(r"(\.\.\.)?(\w+),(\w+)->(\.\.\.)?(\w+)", equation.replace(" ", ""))
    if match is None or match[1] != match[4]:
        return None
    read, kernel, made = match[2], match[3], match[5]
    summed = [letter for letter in read if letter in kernel]
    new = [letter for letter in made if letter in kernel]
    places = [letter for letter in read if letter not in kernel]
    plain = all(len(set(letters)) == len(letters) for letters in (read, kernel, made))
    if not plain or set(summed) & set(new) or set(kernel) != {*summed, *new} or not summed or not new:
        return None
    if places != [letter for letter in made if letter not in kernel] or (len(summed) > 1 and len(new) > 1):
        return None
    ends = read.endswith("".join(summed)) and (len(summed) > 1 or len(new) > 1 or made.endswith(new[0]))
    batch = match[1] or (places and read[0] == made[0] == places[0])
    # With dots the axes are counted from the right, as they are in a dense layer on the last one.
    if not ends or not batch or (match[1] and len(summed) + len(new) > 2):
        return None
    return Form(read, kernel, made, summed[0], new[0])


def say_sizes(layer: Any, shapes: list[tuple[Any, ...]]) -> None:
    """Writes the sizes of what a layer makes in its calls down with it, if it is one that says them by itself.

    Those that differ from call to call stay open.
    """
    if isinstance(layer, keras.layers.EinsumDense) and "..." not in layer.equation:
        sizes = zip(*(shape[1:] for shape in shapes), strict=True)
        told: Any = tuple(found[0] if len(set(found)) == 1 else None for found in sizes)
        layer.partial_output_shape = told


@register_anatomy(keras.layers.EinsumDense)
class EinsumDenseAnatomy(LinearAnatomy):
    """Equations that are a dense layer on the last axis, such as "abc,cd->abd", or one into heads or out of heads."""

    variables = {"kernel": ("inputs", "outputs"), "bias": ("outputs",)}

    def obstacle(self, layer: Any) -> str | None:
        form = form_of(layer.equation)
        if form is None:
            return f"the equation {layer.equation!r} is no dense layer on the last axis, into heads or out of them"
        if any(letter not in form.kernel for letter in (layer.bias_axes or "")):
            return "its bias differs from place to place"
        return None

    def declared(self, layer: Any) -> dict[str, tuple[Any, ...]]:
        form = form_of(layer.equation)
        if form is None:
            return {"kernel": (...,), "bias": (...,)}
        kinds = {form.inputs: "inputs", form.outputs: "outputs"}
        found = {"kernel": tuple(kinds.get(letter) for letter in form.kernel)}
        if layer.bias is not None:
            # The bias has the last axes of what is made, those that it does not differ along with a size of 1.
            letters = form.made[len(form.made) - len(layer.bias.shape) :]
            found["bias"] = tuple(kinds.get(letter) if letter in layer.bias_axes else None for letter in letters)
        return found

    def channel_axis(self, layer: Any, rank: int) -> int:
        form = form_of(layer.equation)
        if form is None or len(form.read) == len(form.made):
            return rank - 1
        reads = rank == len(form.read)
        return form.read.index(form.inputs) if reads else form.made.index(form.outputs)

    def uniform(self, layer: Any) -> bool:
        form = form_of(layer.equation)
        return form is not None and not form.spreads

    def applied_at(self, layer: Any, path: str) -> str:
        form = form_of(layer.equation)
        # Into heads once for each place of what it reads: of what it makes, a head has several.
        return "inputs" if form is not None and form.spreads else "outputs"

    def resize(self, layer: Any, config: dict[str, Any], keep: Keep) -> None:
        if "outputs" in keep:
            form = form_of(layer.equation)
            assert form is not None
            # The shape of what is made without the batch, counted from the right.
            shape, behind = list(layer.partial_output_shape), len(form.made) - form.made.index(form.outputs)
            shape[len(shape) - behind] = int(np.sum(keep["outputs"]))
            config["output_shape"] = tuple(shape)

    def add_bias(self, layer: Any, config: dict[str, Any]) -> None:
        form = form_of(layer.equation)
        if layer.bias is None and form is not None:
            config["bias_axes"] = "".join(letter for letter in form.made if letter in form.kernel)
