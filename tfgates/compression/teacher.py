"""The dense network as teacher: its predictions beside the labels, and what its layers make."""

import contextlib
from collections.abc import Iterator
from typing import Any

import keras
from keras import ops, tree

from tfgates.compression.layer_outputs import LayerOutputs
from tfgates.gates import gates_of
from tfgates.gates.arguments import check_choice
from tfgates.keras_internals import arguments_of_loss, as_reported, outputs_structure
from tfgates.training.gated_model import GatedModel

# How the predictions of an output are compared, by what they are.
KINDS = ("probabilities", "logits", "yes_or_no", "values")

# Losses of probabilities over the last axis, and of each entry by itself.
OF_CLASSES = ("CategoricalCrossentropy", "SparseCategoricalCrossentropy", "CategoricalFocalCrossentropy")
OF_ENTRIES = ("BinaryCrossentropy", "BinaryFocalCrossentropy")
OF_VALUES = ("MeanSquaredError", "MeanAbsoluteError", "MeanSquaredLogarithmicError", "Huber", "LogCosh")
SMALLEST = 1e-7


@keras.saving.register_keras_serializable(package="tfgates")
class Teacher:
    """Adds to the loss of a training step how far its predictions are from those of another network:

        loss + weight * T^2 * KL(softmax(t / T) || softmax(s / T)),    T = temperature,

    where t and s are the logits of teacher and student (logarithms of their probabilities where they output
    probabilities), mean over the examples. For outputs that are not classes it is `weight` times the mean square of
    their difference; for sigmoids it is the same divergence, of each entry separately, summed over the entries.
    `val_loss` does not contain it.

    With `layers` it also adds, for the outputs T_i of these layers and S_j of those of them that remain in the student,

        layer_weight * mean_i min_j mean((T_i - S_j)^2),

    so each layer is matched to the nearest one that is still open. All steps of sequences count alike, padding too.

    Args:
        model: a trained `keras.Model` with the same inputs and outputs. It predicts at inference and is not trained.
        temperature: float > 0. Defaults to 2.
        weight: float > 0. Defaults to 1.
        outputs: what the outputs are: `"probabilities"` (over the last axis), `"logits"`, `"yes_or_no"` (a probability
            for each entry) or `"values"`, or a structure of these like the outputs. Defaults to `"auto"`: by the loss.
        layers: None, or which layers of `model` are matched: a regular expression that matches their whole names, a
            list of names, or a function of a layer. Each must be called once and make one tensor, as wide in the
            student as in the teacher: the layers of an encoder, say. Defaults to None.
        layer_weight: float > 0, the factor for the error of the layers. Defaults to 1.

    Raises:
        ValueError: for settings that are not positive, a model with gates, layers that cannot be matched, and where
            `"auto"` does not know the loss.

    References: Hinton et al., "Distilling the Knowledge in a Neural Network", 2015, arXiv 1503.02531, section 2.
    Xia et al., "Structured Pruning Learns Compact and Accurate Models", 2022, arXiv 2204.00408, section 3.2 (layers;
    there with a linear map between the two, which is the identity here).

    Example:

    >>> small = tfgates.compress(model, data, budget=tfgates.Budget(macs=0.25), loss=loss,
    ...                          teacher=tfgates.Teacher(model, temperature=4.0, layers=r"transformer_layer_\\d+"))
    """

    def __init__(
        self,
        model: keras.Model,
        temperature: float = 2.0,
        weight: float = 1.0,
        outputs: Any = "auto",
        layers: Any = None,
        layer_weight: float = 1.0,
    ) -> None:
        if not isinstance(model, keras.Model) or gates_of(model):
            raise ValueError(f"`model` must be a keras.Model without gates. Received: model={model!r}")
        for name, value in (("temperature", temperature), ("weight", weight), ("layer_weight", layer_weight)):
            if not value > 0.0:
                raise ValueError(f"`{name}` must be positive. Received: {name}={value}")
        for kind in tree.flatten(outputs):
            check_choice("outputs", kind, ("auto", *KINDS))
        self.model, self.temperature, self.weight, self.outputs = model, temperature, weight, outputs
        self.layers, self.layer_weight = layers, layer_weight
        self._kinds: list[str] = []
        self._inside = None if layers is None else LayerOutputs(model, layers)

    def get_config(self) -> dict[str, Any]:
        model = keras.saving.serialize_keras_object(self.model)
        names = ("temperature", "weight", "outputs", "layers", "layer_weight")
        return {"model": model, **{name: getattr(self, name) for name in names}}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> "Teacher":
        return cls(**{**config, "model": keras.saving.deserialize_keras_object(config["model"])})

    def follow(self, student: keras.Model, loss: Any) -> None:
        """Determines how the outputs of `student` are compared, and refuses what does not fit.

        Args:
            loss: as in `keras.Model.compile`.
        """
        shapes = [[tuple(t.shape[1:]) for t in tree.flatten(m.outputs)] for m in (self.model, student)]
        inputs = [[tuple(t.shape[1:]) for t in tree.flatten(m.inputs)] for m in (self.model, student)]
        if shapes[0] != shapes[1] or inputs[0] != inputs[1]:
            raise ValueError(
                "`teacher` must have the inputs and outputs of the model: "
                f"{inputs[1]} to {shapes[1]}. Received: {inputs[0]} to {shapes[0]}"
            )
        kinds = tree.flatten(self.outputs)
        losses = flat_losses(loss, student)
        if len(kinds) == 1:
            kinds = kinds * len(losses)
        if len(kinds) != len(losses):
            raise ValueError(
                f"`outputs` must have an entry for each of {len(losses)} outputs. Received: outputs={self.outputs!r}"
            )
        if self._inside is not None:
            self._inside.follow(student)
        self._kinds = [kind_of(each) if kind == "auto" else kind for kind, each in zip(kinds, losses, strict=True)]

    @property
    def looks_inside(self) -> bool:
        """Whether `called` must be used instead of the student's `call`."""
        return self._inside is not None

    def called(self, student: keras.Model, inputs: Any, **told: Any) -> Any:
        """What the student's `call` returns; notes what its layers compute, for the `loss` of the same step."""
        assert self._inside is not None
        return self._inside.called(student, inputs, **told)

    def loss(self, x: Any, y_pred: Any) -> Any:
        """What is added to the loss of a step, a scalar."""
        inside = self._inside
        made = self.model(x, training=False) if inside is None else inside.teacher(x, training=False)
        given = tree.flatten(made if inside is None else made["outputs"])
        found = zip(self._kinds, given, tree.flatten(y_pred), strict=True)
        total = self.weight * sum(divergence(kind, ops.stop_gradient(t), s, self.temperature) for kind, t, s in found)
        return total if inside is None else total + self.layer_weight * inside.distance(made["tensors"])


def flat_losses(loss: Any, model: keras.Model) -> list[Any]:
    """The loss of each output, in the order of the outputs."""
    outputs = len(tree.flatten(model.outputs))
    if isinstance(loss, dict):
        names = list(model.output_names)
        structure = outputs_structure(model)
        if isinstance(structure, dict):
            # By the keys, as Keras: a layer may have the name of another output's key.
            for key, place in tree.pack_sequence_as(structure, list(range(outputs))).items():
                if key in loss and isinstance(place, int):
                    names[place] = key
        return [loss.get(name) for name in names]
    return list(loss) if isinstance(loss, (list, tuple)) else [loss] * outputs


def kind_of(loss: Any) -> str:
    """What an output with this loss is, one of `KINDS`."""
    found = keras.losses.get(loss) if isinstance(loss, str) else loss
    # Names come as functions too: `keras.losses.mean_squared_error`.
    name = type(found).__name__ if isinstance(found, keras.losses.Loss) else getattr(found, "__name__", "")
    name = name.replace("_", "").lower()
    logits = bool(arguments_of_loss(found).get("from_logits", getattr(found, "from_logits", False)))
    if name in (known.lower() for known in OF_CLASSES):
        return "logits" if logits else "probabilities"
    if name in (known.lower() for known in OF_ENTRIES) and not logits:
        return "yes_or_no"
    if name in (known.lower() for known in OF_VALUES):
        return "values"
    raise ValueError(
        "`outputs` of the teacher must be given where the loss does not say what the outputs are: one of "
        f"{', '.join(map(repr, KINDS))}, as in `tfgates.Teacher(model, outputs='logits')`. "
        f"Received: loss={loss!r}"
    )


def divergence(kind: str, teacher: Any, student: Any, temperature: float) -> Any:
    """How far the predictions of one output are apart, a scalar, mean over the examples."""
    t, s = ops.cast(teacher, "float32"), ops.cast(student, "float32")
    if kind == "values":
        return ops.mean(ops.square(t - s))
    if kind == "yes_or_no":
        # The two logits of yes and no.
        t, s = (ops.stack([logarithm(1.0 - p), logarithm(p)], axis=-1) for p in (t, s))
    elif kind == "probabilities":
        t, s = logarithm(t), logarithm(s)
    t, s = ops.log_softmax(t / temperature), ops.log_softmax(s / temperature)
    total = ops.sum(ops.exp(t) * (t - s))
    examples = ops.cast(ops.shape(t)[0], "float32")
    return temperature**2 * total / examples


def logarithm(p: Any) -> Any:
    return ops.log(ops.clip(p, SMALLEST, 1.0))


@contextlib.contextmanager
def taught(model: keras.Model, teacher: Teacher | None) -> Iterator[None]:
    """Within it the loss of each training step of a compiled model has what its teacher adds."""
    if teacher is None:
        yield
        return
    if isinstance(model, GatedModel):
        # Gates see it in each of their passes.
        model._taught_by = teacher
        try:
            yield
        finally:
            model._taught_by = None
            model.make_train_function(force=True)
        return
    compute_loss = model.compute_loss

    def watched(inputs: Any, training: Any = None, mask: Any = None, **told: Any) -> Any:
        return teacher.called(model, inputs, training=training, mask=mask, **told)

    def with_teacher(
        x: Any = None, y: Any = None, y_pred: Any = None, sample_weight: Any = None, training: Any = True
    ) -> Any:
        loss = compute_loss(x=x, y=y, y_pred=y_pred, sample_weight=sample_weight, training=training)
        # Of a replica its share.
        return loss + as_reported(model, teacher.loss(x, y_pred)) if training else loss

    trained: Any = model
    trained.compute_loss = with_teacher
    if teacher.looks_inside:
        trained.call = watched
    try:
        yield
    finally:
        # What is left is the method of its class.
        del model.compute_loss
        if teacher.looks_inside:
            del model.call
        model.make_train_function(force=True)


def teacher_of(teacher: Any, model: keras.Model) -> Teacher | None:
    """The `Teacher` that an argument asks for."""
    if teacher is None or teacher is False:
        return None
    if isinstance(teacher, Teacher):
        return teacher
    if teacher is True or isinstance(teacher, keras.Model):
        return Teacher(model if teacher is True else teacher)
    raise ValueError(
        "`teacher` must be None, True (the model itself, trained), a keras.Model or a tfgates.Teacher. "
        f"Received: teacher={teacher!r}"
    )
