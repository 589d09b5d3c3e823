"""What a layer is made of, declared once for all that slices, counts, folds, places and reports."""

import math
from collections.abc import Mapping
from typing import Any

import keras
import numpy as np

from tfgates.anatomy.axes import Axis, Keep, positions, spelled_out, stretches
from tfgates.anatomy.registry import anatomy_of


class Anatomy:
    """What a kind of layer is made of: a declaration without any state.

    A subclass declares it by class attributes, and overrides the methods below only for what they cannot express.
    Units of one kind have a name: `"inputs"` and `"outputs"` are the positions along the axis of the
    channels of what the layer reads and makes, `"channels"` what is both, and any other name, such as
    `"heads"`, is for units inside. The declaration promises that when a layer is made smaller by removing a unit,
    the unit had only zeros in its weights or, for inputs, was 0.

    Attributes:
        variables: dict from the attribute of a variable (dots lead into layers that the layer holds) to what
            each of its axes carries: the name of a kind of units, each of which has equally many positions in a
            row, however many; None for what stays whole; a tuple of names for stretches of equal
            length one after the other; `...` for any number of axes that stay whole. Variables that a
            layer does not have (`use_bias=False`) do not matter.
        widths: dict from an entry of the layer's config to the kind of units whose number it is.
        products: the variables whose entries each multiply a number at each place: they make the MACs.
            The others add, scale or look up. Defaults to `"kernel"`.
        reads: dict from the argument of each tensor that the layer is called on, in their order, to the kind of
            units along the axis of its channels.
        makes: the kind of units along the axis of the channels of what it returns.
        applied: the tensor for each of whose places `products` are applied once: `"outputs"`, or an argument of
            `reads`; a dict where it differs by variable.
        recurs: whether the layer reads its own outputs again: a gate on them must be inside it.
        inseparable: why none of the channels can be removed although the weights are theirs; empty where they can.

    Example:

    >>> @tfgates.anatomy.register_anatomy(MyDense)
    ... class MyDenseAnatomy(tfgates.anatomy.Anatomy):
    ...     variables = {"kernel": ("inputs", "outputs"), "bias": ("outputs",)}
    ...     widths = {"units": "outputs"}
    """

    variables: Mapping[str, tuple[Any, ...]] = {}
    widths: Mapping[str, str] = {}
    products: tuple[str, ...] = ("kernel",)
    reads: Mapping[str, str] = {"inputs": "inputs"}
    makes: str = "outputs"
    applied: str | Mapping[str, str] = "outputs"
    recurs: bool = False
    inseparable: str = ""

    def axes(self, layer: keras.Layer) -> dict[str, tuple[Axis, ...]]:
        """For each variable that the layer has, what its axes carry; the variables of its activation are among them."""
        found = {}
        for path, axes in self.declared(layer).items():
            variable = variable_of(layer, path)
            if variable is not None:
                found[path] = checked(self, path, spelled_out(axes, len(variable.shape)), variable)
        found.update(self.of_activation(layer))
        return found

    def declared(self, layer: keras.Layer) -> Mapping[str, tuple[Any, ...]]:
        """`variables`; to override for kinds of layers where they depend on the layer."""
        return self.variables

    def of_activation(self, layer: keras.Layer) -> dict[str, tuple[Axis, ...]]:
        """The same for the variables of an activation that is a layer, whose channels are what the layer makes."""
        activation = getattr(layer, "activation", None)
        if not isinstance(activation, keras.Layer):
            return {}
        anatomy = anatomy_of(activation)
        known = {} if anatomy is None else anatomy.axes(activation)
        carried = {id(variable_of(activation, path)): axes for path, axes in known.items()}
        found: dict[str, tuple[Axis, ...]] = {}
        for i, variable in enumerate(activation.weights):
            axes = carried.get(id(variable), (None,) * len(variable.shape))
            found[f"activation.weights.{i}"] = tuple(self.makes if axis == "channels" else None for axis in axes)
        return found

    def counts(self, layer: keras.Layer) -> dict[str, int]:
        """How many units of each kind there are: as many as the shortest stretch that carries them has positions."""
        found: dict[str, int] = {}
        for path, axes in self.axes(layer).items():
            for axis, size in zip(axes, variable_of(layer, path).shape, strict=True):
                for kind in stretches(axis):
                    length = size // len(stretches(axis))
                    found[kind] = min(found.get(kind, length), length)
        return found

    @property
    def by_channel(self) -> bool:
        """Whether what is made belongs to what is read, channel by channel."""
        return self.makes in self.reads.values()

    def parts(self, layer: keras.Layer) -> int:
        """Number of equal parts of inputs and outputs that stay or go as a whole, as in a grouped convolution."""
        return 1

    def obstacle(self, layer: keras.Layer) -> str | None:
        """None, or why this anatomy does not fit a layer of the class."""
        return None

    def plain(self, layer: keras.Layer) -> type[keras.Layer]:
        """The class of a smaller layer: without the gate, for layers that tfgates derives from those of Keras."""
        kind = type(layer)
        if kind.__module__.partition(".")[0] == "tfgates":
            return next((base for base in kind.__mro__ if base.__module__.partition(".")[0] == "keras"), kind)
        return kind

    def kept(self, layer: keras.Layer, keep: Keep) -> dict[str, dict[int, np.ndarray]]:
        """For each variable of the layer and each of its axes that is cut, which positions stay.

        Args:
            layer: a built layer.
            keep: dict from the name of a kind of units to a boolean for each of them; others stay whole.
        """
        found: dict[str, dict[int, np.ndarray]] = {}
        for path, axes in self.axes(layer).items():
            found[path] = {}
            for i, (axis, size) in enumerate(zip(axes, variable_of(layer, path).shape, strict=True)):
                indices = positions(axis, size, keep)
                if indices is not None and len(indices) < size:
                    found[path][i] = indices
        return found

    def resize(self, layer: keras.Layer, config: dict[str, Any], keep: Keep) -> None:
        """Writes into `config`, that of a layer, how many units there are when those of `keep` stay."""
        for entry, kind in self.widths.items():
            if kind in keep:
                config[entry] = int(np.sum(keep[kind]))

    def summands(
        self, layer: keras.Layer, counts: Mapping[str, int] | None = None
    ) -> list[tuple[str, int, tuple[str, ...]]]:
        """For each variable its name, how many weights there are for one unit of each kind, and these kinds.

        The parameters are the sum over variables of the number times those of the units of the kinds.

        Args:
            layer: a built layer.
            counts: what `counts` says of it, to save asking again.
        """
        counts, found = counts or self.counts(layer), []
        for path, axes in self.axes(layer).items():
            each, kinds = 1, list[str]()
            for axis, size in zip(axes, variable_of(layer, path).shape, strict=True):
                of_axis = dict.fromkeys(stretches(axis))
                if len(of_axis) > 1:
                    raise ValueError(
                        "Stretches of one axis in `variables` must be of one kind of units to be counted. "
                        f"Received: {path}={axes!r}"
                    )
                kinds.extend(of_axis)
                each *= size // math.prod(counts[kind] for kind in of_axis)
            found.append((path, each, tuple(kinds)))
        return found

    def parameters(self, layer: keras.Layer, counts: Mapping[str, int] | None = None) -> int:
        """The number of parameters, of the layer itself or with other numbers of units in `counts`."""
        counts = {**self.counts(layer), **(counts or {})}
        return sum(each * math.prod(counts[kind] for kind in kinds) for _, each, kinds in self.summands(layer))

    def applied_at(self, layer: keras.Layer, path: str) -> str:
        """For each place of which tensor a variable of `products` is applied once."""
        return self.applied if isinstance(self.applied, str) else self.applied[path]

    def macs(self, layer: keras.Layer, places: Mapping[str, float], counts: Mapping[str, int] | None = None) -> float:
        """The multiply-accumulates of one example.

        Args:
            layer: a built layer.
            places: for each tensor that counts (see `applied`) how many places it has, the axis of the
                channels left out.
            counts: other numbers of units.
        """
        counts = {**self.counts(layer), **(counts or {})}
        return sum(
            places[self.applied_at(layer, path)] * each * math.prod(counts[kind] for kind in kinds)
            for path, each, kinds in self.summands(layer)
            if path in self.products
        )

    def filters(self, layer: keras.Layer, values: Mapping[str, np.ndarray], kind: str = "outputs") -> np.ndarray:
        """The weights that each unit owns, a row for each.

        Args:
            layer: a built layer.
            values: the arrays of the variables `products` that the layer has.
            kind: of which units: `"outputs"`, what the layer makes, whose weights are those of the last of
                `products`; or a kind inside it, whose weights are those of all of them.
        """
        axes, path = self.axes(layer), self.products[-1]
        if kind == "outputs":
            value = np.moveaxis(values[path], axes[path].index(self.makes), 0)
            return value.reshape(len(value), -1)
        count = self.counts(layer)[kind]
        rows = [np.moveaxis(value, axes[path].index(kind), 0) for path, value in values.items() if kind in axes[path]]
        return np.concatenate([row.reshape(count, -1) for row in rows], axis=1)

    def channel_axis(self, layer: keras.Layer, rank: int) -> int:
        """The axis of the channels in tensors of `rank` axes, the batch among them."""
        return 1 if getattr(layer, "data_format", None) == "channels_first" else rank - 1


def variable_of(layer: keras.Layer, path: str) -> Any:
    """The variable at a path such as `"cell.kernel"`, or None where there is none."""
    found: Any = layer
    for part in path.split("."):
        found = found[int(part)] if part.isdecimal() else getattr(found, part, None)
        if found is None:
            return None
    return found


def checked(anatomy: Anatomy, path: str, axes: tuple[Axis, ...], variable: Any) -> tuple[Axis, ...]:
    """`axes`, if they are as many as those of the variable."""
    if len(axes) != len(variable.shape):
        raise ValueError(
            f"`variables` of {type(anatomy).__name__} must say for each axis of a variable what it carries, None "
            f"for nothing. Received: {path}={axes!r} for the shape {tuple(variable.shape)}"
        )
    return axes
