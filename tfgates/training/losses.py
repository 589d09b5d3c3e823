"""The loss of a training step as its gates see it, and the losses of its examples."""

from typing import Any

from keras import ops

from tfgates.keras_internals import as_reported, compile_loss_of, losses_by_output


def clone(instance: Any, **attributes: Any) -> Any:
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

    def __init__(self, loss: Any, name: str) -> None:
        self.loss = loss
        self.name = name

    def __call__(self, y_true: Any, y_pred: Any, sample_weight: Any = None) -> Any:
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


def per_example(compile_loss: Any) -> Any:
    """A copy of a model's compiled losses that returns a tensor `(batch,)`, which adds up to the loss.

    It looks into the compiled losses of Keras (`tfgates.keras_internals.compile_loss_of`): they hold the resolved
    losses, their weights, and which output and target each belongs to. No metric is updated.

    Args:
        compile_loss: those of a model, called at least once.
    """
    losses = [entry._replace(loss=PerExampleLoss(entry.loss, entry.name)) for entry in losses_by_output(compile_loss)]
    return clone(compile_loss, _flat_losses=losses, _metrics=[None] * len(losses))


def constant_losses(model: Any) -> Any:
    """What does not depend on the state of a gate in the value of the loss, a scalar or None.

    These are the weight regularisers, which would be mere noise for an estimator of one pass. Subtracting the
    same number from the loss of each pass biases none.
    """
    # Keras puts the weight regularisers last.
    regularized = sum(weight.regularizer is not None for weight in model.trainable_weights)
    found = model.losses[len(model.losses) - regularized :] if regularized else []
    return sum(as_reported(model, loss) for loss in found) if found else None


def observed(model: Any, loss: Any, constant: Any, arguments: dict[str, Any], examples: bool) -> dict[str, Any]:
    """The loss of one pass as the gates see it, without gradient.

    Args:
        model: a `tfgates.GatedModel`.
        loss: what its `compute_loss` returned in that pass, a scalar.
        constant: a scalar that does not depend on the gates, or None; it is subtracted.
        arguments: the arguments of `compute_loss` in that pass by name.
        examples: bool, whether the losses of the examples are wanted.

    Returns:
        A dictionary: `"batch"`, a scalar, and, if wanted, `"example"`, a tensor of shape `(batch,)`: for each
        example the loss without what the compiled losses of the others make of it. Terms that have no value
        per example count in full for each.
    """
    total = ops.cast(loss, "float32")
    if constant is not None:
        total = total - ops.cast(constant, "float32")
    found = {"batch": total}
    if examples:
        y, y_pred = arguments.get("y"), arguments.get("y_pred")
        compile_loss = compile_loss_of(model)
        if compile_loss is not None and compile_loss.built and y_pred is not None:
            values = per_example(compile_loss)(y, y_pred, arguments.get("sample_weight"))
            values = ops.cast(values, "float32")
            found["example"] = values + (total - ops.sum(values))
        else:
            found["example"] = ops.expand_dims(total, 0)
    return {name: ops.stop_gradient(value) for name, value in found.items()}
