"""What `fit` would create while it traces the first step, made before: the step is then traced once, not twice."""

from typing import Any

import keras
import numpy as np

from tfgates.keras_internals import has_graph, strategy_of_model
from tfgates.training.callback_marks import says


def build_ahead(model: Any, x: Any, y: Any = None, callbacks: Any = None) -> None:
    """Makes the variables of the optimizer and of compiled metrics, as the first step would.

    Tracing is most of the time of a short run of a deep network. Where it does not apply (`tf.distribute`, another
    backend, a model that is not built, metrics that are computed in another way, data that would have to be read),
    Keras makes the variables as always.

    Args:
        model: a compiled `keras.Model`.
        x, y, callbacks: as in `keras.Model.fit`.
    """
    # Set for a model that was made in the scope of a strategy, be it of one device.
    if keras.backend.backend() != "tensorflow" or strategy_of_model(model) is not None:
        return
    if not model.built or not model.compiled or model.run_eagerly:
        return
    # SparseScaling puts another optimizer in the place of this one.
    replaced = any(says(callback, "closes_gates") for callback in callbacks_of(callbacks))
    if model.optimizer is not None and not model.optimizer.built and not replaced:
        model.optimizer.build(model.trainable_variables)
    if type(model).compute_metrics is keras.Model.compute_metrics:
        _build_metrics(model, one_of(x) if y is None else _first(y))


def callbacks_of(callbacks: Any) -> list[Any]:
    """The callbacks that `fit` is given, as a list."""
    if isinstance(callbacks, keras.callbacks.CallbackList):
        return list(callbacks.callbacks)
    return list(callbacks) if isinstance(callbacks, (list, tuple)) else [callbacks]


def _build_metrics(model: Any, targets: Any) -> None:
    """Lets the compiled metrics see one made-up prediction, and forgets it."""
    outputs = getattr(model, "output", None) if has_graph(model) else None
    if targets is None or outputs is None:
        return
    tensors = keras.tree.flatten(outputs)
    if any(tensor.sparse or None in tensor.shape[1:] for tensor in tensors):
        return
    predictions = keras.tree.map_structure(lambda t: np.zeros((1, *t.shape[1:]), t.dtype), outputs)
    try:
        model.compute_metrics(None, targets, predictions)
    except Exception:
        # A metric of the user's can ask anything of its arguments; in training it gets what it expects.
        return
    finally:
        model.reset_metrics()


def one_of(data: Any) -> Any:
    """Targets like those of a data set, for one example, or None."""
    spec = getattr(data, "element_spec", None)
    if not isinstance(spec, tuple) or len(spec) < 2:
        return None
    parts = keras.tree.flatten(spec[1])
    if any(getattr(part, "shape", None) is None or None in tuple(part.shape)[1:] for part in parts):
        return None
    return keras.tree.map_structure(lambda part: np.zeros((1, *part.shape[1:]), part.dtype.as_numpy_dtype), spec[1])


def _first(targets: Any) -> Any:
    if any(not hasattr(part, "shape") for part in keras.tree.flatten(targets)):
        return None
    return keras.tree.map_structure(lambda part: np.asarray(part[:1]), targets)
