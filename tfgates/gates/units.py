"""Which positions of a tensor make up the units of a gate."""

from typing import Any

from keras import ops


class UnitsAlongAxis:
    """A unit is one position along `axis`, one of `groups` of positions, or the whole tensor.

    Attributes:
        axis, groups, interleaved: see `tfgates.gates.Gate`.
        unit_shape: shape of what has one entry for each unit; None before the gate is built.
    """

    axis: int | None
    groups: int | None
    interleaved: bool = False
    unit_shape: Any
    name: str

    def unit_shape_of(self, input_shape: Any) -> tuple[int, ...]:
        """The shape of what has one entry for each unit of an input."""
        if self.axis is None:
            return (1,)
        rank = len(input_shape)
        if not -rank <= self.axis < rank or self.axis % rank == 0:
            raise ValueError(
                f"`axis` must name an axis of the input other than the batch axis, here one of "
                f"1 to {rank - 1} or -1 to {1 - rank}. "
                f"Received: axis={self.axis}, input shape {tuple(input_shape)}"
            )
        size = input_shape[self.axis]
        if size is None:
            raise ValueError(
                f"The length of `axis` must be known. Received: axis={self.axis}, input shape {tuple(input_shape)}"
            )
        if self.groups is None:
            return (size,)
        if size % self.groups:
            raise ValueError(f"`groups` must divide the length of `axis`, {size}. Received: groups={self.groups}")
        return (self.groups,)

    @property
    def units(self) -> int:
        """Number of units, an int; known once the gate is built."""
        if self.unit_shape is None:
            raise ValueError(f"Gate `{self.name}` has no units yet: call it on a tensor or build it first.")
        units = 1
        for size in self.unit_shape:
            units *= size
        return units

    def positions(self, z: Any, size: int) -> Any:
        """Repeats `z` (units last) so that it has one entry for each of `size` positions."""
        if self.groups is None or size == self.groups:
            return z
        if self.interleaved:
            return ops.tile(z, (1,) * (len(z.shape) - 1) + (size // self.groups,))
        return ops.repeat(z, size // self.groups, axis=-1)

    def broadcastable(self, z: Any, shape: Any) -> Any:
        """Reshapes `z` from `draw` so that it multiplies a tensor of `shape`."""
        rank = len(shape)
        if self.axis is None:
            return ops.reshape(z, (-1,) + (1,) * (rank - 1))
        axis = self.axis % rank
        z = self.positions(z, shape[axis])
        target = [1] * rank
        target[axis] = shape[axis]
        if len(z.shape) > 1:
            target[0] = -1
        return ops.reshape(z, target)
