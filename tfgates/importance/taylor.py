"""First-order Taylor importance: the gradient of the loss with respect to gates that stand open."""

from collections.abc import Iterable
from typing import Any

import keras
import numpy as np
from keras import ops

from tfgates.backend import gradients
from tfgates.graph.equality import state_kept
from tfgates.keras_internals import inputs_structure, outputs_structure
from tfgates.selection.held import held


def first_order_taylor(model: Any, gates: list[Any], batches: Iterable[Any], loss: Any) -> dict[Any, np.ndarray]:
    """`mean over batches of (dL / dz)^2` at `z = 1`, by gate.

    `dL / dz` is the sum of gradient times value over everything that a unit makes, so its square is the square of the
    first-order change of the loss when the unit is removed.

    Args:
        model: a gated model.
        gates: the gates to be judged.
        batches: batches `(x, y)` or `(x, y, sample_weight)`.
        loss: as in `keras.Model.compile`.

    Returns:
        A dict from each gate to an array of one number per unit.

    Raises:
        ValueError: if there is no batch.

    Reference: Molchanov et al., "Importance Estimation for Neural Network Pruning", CVPR 2019, arXiv 1906.10771,
    equations 8 and 9 (gates).
    """
    # The same layers without what a gated model adds to the loss, which is not what is judged.
    plain = keras.Model(inputs_structure(model), outputs_structure(model))
    plain.compile(loss=loss)
    sums, count = {gate: np.zeros(gate.units) for gate in gates}, 0
    with state_kept(model):
        for batch in batches:
            x, y, weight = keras.utils.unpack_x_y_sample_weight(batch)

            def loss_at(values: list[Any], x: Any = x, y: Any = y, weight: Any = weight) -> Any:
                with held(dict(zip(gates, values, strict=True))):
                    outputs = plain(x, training=False)
                return plain.compute_loss(x, y, outputs, weight, training=False)

            found = gradients(loss_at, [ops.ones(gate.unit_shape, "float32") for gate in gates])
            for gate, gradient in zip(gates, found, strict=True):
                if gradient is not None:
                    sums[gate] += np.ravel(gradient).astype(np.float64) ** 2
            count += 1
    if not count:
        raise ValueError("`data` must have at least one batch. Received: none")
    return {gate: total / count for gate, total in sums.items()}
