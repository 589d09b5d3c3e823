"""The losses of a compiled model as its gates see them: untracked, and one value per example."""

from typing import Any

import keras
from keras import ops


def clone(instance, **attributes):
    """A shallow copy with other attributes; Keras has no `copy.copy` of a loss.

    The losses of a model are shared between replicas, each in a thread of its own, so they are never
    changed themselves.
    """
    copied = object.__new__(type(instance))
    copied.__dict__.update(instance.__dict__, **attributes)
    return copied


def without_value(loss: Any) -> Any:
    """0 with the gradient of `loss`; not a number where `loss` is none."""
    return loss - ops.stop_gradient(loss)


def penalties_of(model: Any) -> list[Any]:
    """What the gates of a model added to its losses in its last call, each for its `l0`."""
    return [loss for gate in model.gates for loss in gate.losses]


class PerExampleLoss:
    """A compiled loss whose values add up, over the examples, to what it returns itself.

    Args:
        loss: a `keras.losses.Loss`.
        name: str, what the loss is called in the model.
    """

    def __init__(self, loss, name):
        self.loss = loss
        self.name = name

    def __call__(self, y_true, y_pred, sample_weight=None):
        values = clone(self.loss, reduction=None)(y_true, y_pred, sample_weight)
        shape = tuple(values.shape)
        if not shape or shape[0] != y_pred.shape[0]:
            raise ValueError(
                'A gate with `sampling="example"` needs a loss with one value per example. '
                f"Received: loss `{self.loss.name}` of output `{self.name}`, whose values have the shape "
                f"{shape} for predictions of shape {tuple(y_pred.shape)}"
            )
        # What Keras would make of a loss of 1 everywhere holds all that the reduction multiplies
        # by: the number of values, of replicas, of values that are not masked, the weights.
        ones = ops.ones_like(values)
        weights = clone(self.loss, reduction=None, call=lambda *_: ones)(y_true, y_pred, sample_weight)
        reduced = clone(self.loss, call=lambda *_: ones)(y_true, y_pred, sample_weight)
        factor = ops.divide_no_nan(ops.sum(reduced), ops.sum(weights))
        return factor * ops.sum(ops.reshape(values, (ops.shape(values)[0], -1)), axis=-1)


def untracked(compile_loss, per_example=False):
    """A copy of a model's compiled losses that updates no metric.

    The one place that looks into `model._compile_loss` of Keras, which has no public counterpart:
    it holds the resolved losses, their weights, and which output and target each belongs to.

    Args:
        compile_loss: `model._compile_loss`, called at least once.
        per_example: bool, whether it returns a tensor of shape `(batch,)` that adds up to the
            loss, rather than the loss.
    """
    losses = compile_loss._flat_losses
    if per_example:
        losses = [entry._replace(loss=PerExampleLoss(entry.loss, entry.name)) for entry in losses]
    return clone(compile_loss, _flat_losses=losses, _metrics=[None] * len(losses))


def layer_losses(model):
    """The sum of the losses of the layers that may depend on the gates, or None if there are none.

    That is all of `model.losses` but the penalties of the gates and the weight regularisers: they
    do not depend on the state of a gate, and would be mere noise for an estimator of one pass.
    """
    losses = list(model.losses)
    penalties = [id(loss) for loss in penalties_of(model)]
    losses = [loss for loss in losses if id(loss) not in penalties]
    regularized = [weight for weight in model.trainable_weights if weight.regularizer is not None]
    if len(losses) <= len(regularized):
        return None
    total = sum(model._aggregate_additional_loss(loss) for loss in losses)
    for weight in regularized:
        total = total - model._aggregate_additional_loss(weight.regularizer(weight))
    return total


def losses_of(model, y, y_pred, sample_weight, per_example):
    """The loss of one pass, and the losses of its examples, both without gradient.

    Args:
        model: a `tfgates.GatedModel` whose last call gave `y_pred`.
        y, y_pred, sample_weight: as in `keras.Model.compute_loss`.
        per_example: bool, whether the losses of the examples are wanted.

    Returns:
        A dictionary: `"batch"`, a scalar, and, if wanted, `"example"`, a tensor of shape
        `(batch,)`. Terms that have no value per example count in full for each.
    """
    compile_loss = model._compile_loss
    found = {"batch": ops.zeros(())}
    if per_example:
        batch_size = ops.shape(ops.convert_to_tensor(keras.tree.flatten(y_pred)[0]))[0]
        found["example"] = ops.zeros((batch_size,))
    if compile_loss is not None:
        value = untracked(compile_loss)(y, y_pred, sample_weight)
        found["batch"] = ops.sum(ops.cast(value, "float32"))
        if per_example:
            values = untracked(compile_loss, per_example=True)(y, y_pred, sample_weight)
            found["example"] = ops.cast(values, "float32")
    others = layer_losses(model)
    if others is not None:
        found = {name: value + ops.cast(others, "float32") for name, value in found.items()}
    return {name: ops.stop_gradient(value) for name, value in found.items()}
