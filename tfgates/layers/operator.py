"""A function of Keras or TensorFlow as a layer."""

import importlib
import math
import operator
from typing import Any

import keras
from keras import ops

# Where functions are looked for; a file names none elsewhere.
KERAS = "keras.ops."
TENSORFLOW = ("linalg", "math", "nn", "image", "signal", "strings")
# Of the functions of TensorFlow that are in none of these, those that only compute.
PLAIN = frozenset(
    """
    argsort boolean_mask broadcast_to clip_by_value concat cumsum einsum expand_dims eye fill gather
    gather_nd identity linspace meshgrid norm one_hot ones ones_like pad range rank realdiv repeat reshape
    reverse roll scatter_nd searchsorted sequence_mask shape size slice sort split squeeze stack stop_gradient
    strided_slice tensordot tensor_scatter_nd_update tile transpose unstack where zeros zeros_like cast
    round matmul add subtract multiply divide maximum minimum exp sqrt square abs sigmoid tanh sin cos
    floor sign greater greater_equal less less_equal equal not_equal logical_and logical_or logical_not
    reduce_mean reduce_sum reduce_max reduce_min reduce_prod reduce_any reduce_all reduce_logsumexp
    argmax argmin
    """.split()  # noqa: SIM905
)
GETITEM = "getitem"


def function_of(name: str) -> Any:
    """The function that is called so.

    Raises:
        ValueError: if none is, or none that may be named in a file.
    """
    found = None
    if name == GETITEM:
        return operator.getitem
    if name.startswith(KERAS):
        found = getattr(ops, name.removeprefix(KERAS), None)
    elif name.startswith("tensorflow."):
        *spaces, last = name.split(".")[1:]
        if (len(spaces) == 1 and spaces[0] in TENSORFLOW) or (not spaces and last in PLAIN):
            found = importlib.import_module("tensorflow")
            for part in [*spaces, last]:
                found = getattr(found, part, None)
    if not callable(found) or isinstance(found, type):
        raise ValueError(
            "`function` must be 'getitem', or the name of a function of `keras.ops`, or of one of TensorFlow that only "
            f"computes, such as 'keras.ops.roll' or 'tensorflow.linalg.band_part'. Received: function={name!r}"
        )
    return found


@keras.saving.register_keras_serializable(package="tfgates")
class Operator(keras.layers.Layer):
    """A function of `keras.ops` or TensorFlow, with arguments that may be sizes of tensors.

    Where your own `call` computes something by a function that a graph of Keras cannot hold (`tf.linalg.band_part`, or
    `keras.ops.reshape` to two sizes that are known only when it runs), `tfgates.gate_model` lays it out flat with one
    `Operator` for that function.

    Args:
        function: str, such as `"keras.ops.reshape"` or `"tensorflow.linalg.band_part"`, or `"getitem"`.
        arguments: list of what it is called with: numbers, strings, None, lists and dicts of such. Dicts with one of
            these keys stand for something else: `{"tensor": 0}` for the first of `inputs`;
            `{"size": [[0, 1]], "times": 1, "plus": 0}` for a size of a tensor in `like` (that of axis 1 of the first),
            or the product of several, times a number, plus another or such a dict; `{"slice": [start, stop, step]}`;
            `{"ellipsis": 1}`; `{"dict": {...}}` for a dict.
        keywords: dict of the same, by name. Defaults to none.

    Call arguments:
        inputs: list of tensors.
        like: list of tensors whose sizes are used. Defaults to none.

    Returns:
        What the function returns.

    Raises:
        ValueError: if there is no such function.

    Example:

    >>> split = tfgates.layers.Operator(
    ...     "keras.ops.reshape", [{"tensor": 0}, [{"size": [[0, 0]]}, {"size": [[0, 1]]}, 16]]
    ... )
    >>> y = split([keras.ops.ones((6, 16))], [keras.ops.ones((2, 3, 1))])
    """

    # Said of it where it is left in a pruned network: loading that needs this class.
    stays = "a function, or sizes, that a graph of Keras cannot hold by itself"

    def __init__(
        self, function: str, arguments: Any = (), keywords: dict[str, Any] | None = None, **kwargs: Any
    ) -> None:
        kwargs.setdefault("autocast", False)
        super().__init__(**kwargs)
        self._function = function_of(function)
        self.function, self.arguments, self.keywords = function, list(arguments), dict(keywords or {})
        # What it makes has no mask, whatever comes in.
        self.supports_masking = True
        self.built = True

    def compute_mask(self, inputs: Any, previous_mask: Any = None) -> None:
        return None

    def call(self, inputs: Any, like: Any = ()) -> Any:
        args = [self._filled(x, inputs, like) for x in self.arguments]
        keywords = {name: self._filled(x, inputs, like) for name, x in self.keywords.items()}
        return self._function(*args, **keywords)

    def _filled(self, x: Any, inputs: Any, like: Any) -> Any:
        """An argument, with what it stands for in its place."""
        if isinstance(x, (list, tuple)):
            filled = [self._filled(each, inputs, like) for each in x]
            # Indices of several axes are a tuple.
            return tuple(filled) if self.function == GETITEM else filled
        if not isinstance(x, dict):
            return x
        if "tensor" in x:
            return inputs[x["tensor"]]
        if "size" in x:
            size = math.prod([ops.shape(like[i])[axis] for i, axis in x["size"]])
            return size * x.get("times", 1) + self._filled(x.get("plus", 0), inputs, like)
        if "slice" in x:
            return slice(*(self._filled(each, inputs, like) for each in x["slice"]))
        if "ellipsis" in x:
            return Ellipsis
        return {key: self._filled(each, inputs, like) for key, each in x["dict"].items()}

    def get_config(self) -> dict[str, Any]:
        config = super().get_config()
        config.update(function=self.function, arguments=self.arguments, keywords=self.keywords)
        return config
