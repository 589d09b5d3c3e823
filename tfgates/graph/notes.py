"""What rules note of a call on the way forward, for the way back, the smaller layer, and who asks for places."""

import dataclasses
from typing import Any

import numpy as np

from tfgates.graph.channels import Channels


@dataclasses.dataclass
class CallNotes:
    """What is noted of one call; each entry is None where its rule notes none.

    Attributes:
        x: what a layer takes its input to be, where that is not simply the channels of the tensor it reads.
        constants: the formulas and the constants of what a linear layer reads, which its bias takes up.
        parts: of what is merged, its axis, its operands, and the constant operands that are dropped.
        channel: of a reshape, which channel of the input each position of the output is.
        moved: for each output of what moves channels about, where they are.
        whole: whether what moves channels about leaves them where they were.
        picked: whether only one position of an axis is taken.
        joined: of what spreads channels over several axes, along which of them they can be told.
        heads: the heads of attention.
        taken: by the name of a projection of attention, what it reads.
        states: the initial states that a recurrent layer reads.
        read: the units of a recurrent layer, as they read one another.
        width: of a reshape into heads, how many channels each has.
        across: of a reshape into heads that are folded into the batch, how many heads it cuts its channels into.
        keeps_last: whether a reshape leaves the last axis as it is, and joins others with the batch or splits them off.
        factors: of a product along an axis that is kept, what its factors have there; None for one without the axis.
        summed: of a sum of products over channels, the factors and the pairs.
        along: of what treats each position along an axis by itself, which tensors have it, and where 0 stays 0.
        read_in_part: by each tensor that stays whole, of whose channels only what the output needs is read, their axis.
        candidate: the formulas of a gate that is imagined on the output.
        branch: the formula of a gate that is imagined on all of the output, by channel.
    """

    # `Any` where only the rule that has noted it reads it.
    x: Any = None
    constants: Any = None
    parts: tuple[int, list[Any], dict[int, np.ndarray]] | None = None
    channel: np.ndarray | None = None
    moved: list[Any] | None = None
    whole: bool | None = None
    picked: bool = False
    joined: Any = None
    heads: Any = None
    taken: dict[str, Channels] = dataclasses.field(default_factory=dict)
    states: list[Any] = dataclasses.field(default_factory=list)
    read: Any = None
    width: int | None = None
    across: int | None = None
    keeps_last: bool = False
    factors: list[Channels | None] | None = None
    summed: Any = None
    along: Any = None
    read_in_part: dict[int, int] = dataclasses.field(default_factory=dict)
    candidate: np.ndarray | None = None
    branch: np.ndarray | None = None


@dataclasses.dataclass
class LayerNotes:
    """What is noted of a layer, for all of its calls.

    Attributes:
        counts: how many units of each kind it has.
        folded: the constants of its inputs that go into its bias where the inputs do: those of a call that needs them.
        needed: which inputs any of its calls needs.
    """

    counts: dict[str, int] | None = None
    folded: np.ndarray | None = None
    needed: np.ndarray | None = None
