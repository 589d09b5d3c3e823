"""What layers of a teacher make, and what stands for it in a student that gets smaller."""

import threading
import weakref
from collections.abc import Mapping, Sequence
from typing import Any

import keras
from keras import ops

from tfgates.anatomy.weightless import is_input
from tfgates.gating.placement import chooser
from tfgates.graph.shared import network_of
from tfgates.keras_internals import has_graph, inputs_structure, nodes_by_depth, outputs_structure
from tfgates.pruning.lineage import names_of


class LayerOutputs:
    """The outputs of some layers of a teacher, and of those that are left of them in its students.

    Where a layer, laid out flat, is several calls, its output is that of the last of these that is left. What closed is
    gone, or hands on what came in: either way what is left is the output of the last layer before that is still open.

    Args:
        model: the teacher, a functional `keras.Model`.
        layers: which of its layers: a regular expression that matches the whole name, a list of names, or a function.

    Attributes:
        names: the names of the layers.
    """

    def __init__(self, model: keras.Model, layers: Any) -> None:
        if not has_graph(model):
            raise ValueError(
                f"`layers` needs a teacher that is a graph of layers. Received: model={model!r}, layers={layers!r}"
            )
        wanted = chooser(layers)
        made = outputs_by_name(model)
        self.names = [layer.name for layer in model.layers if wanted(layer) and not is_input(layer)]
        several = [name for name in self.names if len(made.get(name, ())) != 1]
        unknown = sorted(set(layers) - set(self.names)) if isinstance(layers, (list, tuple, set)) else []
        if several or unknown or not self.names:
            raise ValueError(
                "`layers` must be of layers of the teacher that are called once and make one tensor. "
                f"Received: layers={layers!r}, which has {several + unknown or 'none'}"
            )
        self._wanted = [made[name][0] for name in self.names]
        self.teacher = with_tensors(model, self._wanted)
        self._ends: list[list[str]] = []
        self._students: weakref.WeakKeyDictionary[Any, Any] = weakref.WeakKeyDictionary()
        # By thread: replicas run side by side.
        self._last = threading.local()

    def follow(self, student: keras.Model) -> None:
        """Finds out by which names layers of a student, and of what is left of it later, stand for the teacher's.

        Raises:
            ValueError: if what stands for one of them is not there, or of another shape.
        """
        own = getattr(student, "_origins", {})
        of_path: dict[str, list[str]] = {}
        for name, paths in own.items():
            for path in paths:
                of_path.setdefault(path, []).append(name)
        ends: dict[str, list[str]] = {name: [] for name in self.names}
        for flat, nodes in names_of(network_of(self.teacher)).items():
            for name in ends:
                if nodes[-1].name == name or nodes[-1].name.startswith(f"{name}/"):
                    # What goes with a gate behind it comes behind it.
                    ends[name] += [flat, *(other for other in of_path.get(nodes[-1].name, ()) if other != flat)]
        self._ends = list(ends.values())
        made = outputs_by_name(student)
        for name, tensor, names in zip(self.names, self._wanted, self._ends, strict=True):
            found = made.get(names[-1], [])
            if len(found) != 1 or found[0].shape != tensor.shape:
                raise ValueError(
                    "`layers` of the teacher must be of layers whose outputs the student has too, of the same shape. "
                    f"Received: {name!r}, {tuple(tensor.shape)} to {[tuple(each.shape) for each in found]}"
                )

    def called(self, student: keras.Model, inputs: Any, **told: Any) -> Any:
        """What `student.call` returns; what stands for the layers of the teacher is kept for `distance`."""
        if student not in self._students:
            made = outputs_by_name(student)
            left = [[name for name in names if len(made.get(name, ())) == 1] for names in self._ends]
            last = dict.fromkeys(names[-1] for names in left if names)
            shapes = [tensor.shape for tensor in self._wanted]
            tensors = [made[name][0] for name in last]
            self._students[student] = with_tensors(student, [t for t in tensors if t.shape in shapes])
        found = self._students[student].call(inputs, **told)
        self._last.tensors = found["tensors"]
        return found["outputs"]

    def distance(self, wanted: Sequence[Any]) -> Any:
        """Mean over the layers of the mean squared error to the nearest output of the student, a scalar."""
        found, self._last.tensors = self._last.tensors, []
        each = []
        for t in wanted:
            errors = [squared(t, s) for s in found if tuple(s.shape[1:]) == tuple(t.shape[1:])]
            each += [ops.min(ops.stack(errors))] if errors else []
        return sum(each) / len(wanted) if each else ops.zeros(())


def squared(teacher: Any, student: Any) -> Any:
    """The mean squared error between what two layers make."""
    t, s = ops.cast(ops.stop_gradient(teacher), "float32"), ops.cast(student, "float32")
    return ops.mean(ops.square(t - s))


def outputs_by_name(model: keras.Model) -> Mapping[str, list[Any]]:
    """By the names of layers and operators what their calls in a functional model make, those of one tensor each."""
    found: dict[str, list[Any]] = {}
    for nodes in nodes_by_depth(model).values():
        for node in nodes:
            if len(node.output_tensors) == 1:
                found.setdefault(node.operation.name, []).append(node.output_tensors[0])
    return found


def with_tensors(model: keras.Model, tensors: Sequence[Any]) -> keras.Model:
    """A model of the same graph that returns some of its tensors beside its outputs."""
    made = {"outputs": outputs_structure(model), "tensors": list(tensors)}
    return keras.Model(inputs_structure(model), made, name=model.name)
