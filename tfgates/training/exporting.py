"""What a model can be exported as, on each backend."""

import importlib.util
from typing import Any

import keras

# The packages that Keras needs for ONNX.
ONNX = {
    "torch": ("onnx", "onnxscript"),
    "jax": ("onnx", "jax2onnx"),
}
ONNX_ELSEWHERE = ("onnx", "tf2onnx")


def check_export(format: Any) -> None:
    """Says in a sentence what a format needs that is not there.

    Args:
        format: as in `keras.Model.export`.

    Raises:
        ImportError: if packages are missing.
        ValueError: for what the backend cannot make.
    """
    backend = keras.backend.backend()
    if format == "onnx":
        _check_packages("ONNX", ONNX.get(backend, ONNX_ELSEWHERE), format)
    elif format == "tf_saved_model" and backend == "torch":
        raise ValueError(
            "`format` must be one that PyTorch can make: TensorFlow cannot follow what runs with it. Save the model as "
            "a `.keras` file and export that with KERAS_BACKEND=tensorflow, or export as 'onnx' or 'torch'. "
            "Received: format='tf_saved_model' with the PyTorch backend"
        )
    elif format == "tf_saved_model":
        _check_packages("a SavedModel", ("tensorflow",), format)


def _check_packages(kind: str, names: tuple[str, ...], format: str) -> None:
    missing = [name for name in names if importlib.util.find_spec(name) is None]
    if missing:
        raise ImportError(
            f"Exporting as {kind} needs the packages {' and '.join(names)}: pip install {' '.join(names)}. "
            f"Received: format={format!r}, without {missing}"
        )
