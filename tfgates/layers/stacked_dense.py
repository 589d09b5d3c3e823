"""Products with kernels that lie in one weight, stacked along further axes."""

from typing import Any

import keras
from keras import ops


@keras.saving.register_keras_serializable(package="tfgates")
class StackedDense(keras.layers.Layer):
    """Dense layers without a bias whose kernels lie in one weight: `einsum(equation, inputs, kernel)`.

    Where the `call` of a layer multiplies by its own weight with more than two axes, such as the kernels of
    all experts of a mixture, `tfgates.gate_model` lays the layer out flat with one `StackedDense` for it. A unit of it
    consists of one unit of each of its kernels.

    Args:
        equation: str, of the inputs and the kernel. The last axis of the inputs is summed over. The last axis of the
            result belongs to the kernel too, and so do all axes that are not in both. `"bsd,edf->bsef"` applies each
            expert e to the same inputs, `"bsef,efd->bsed"` each to its own.
        kernel_shape: tuple, the shape of the kernel.
        kernel_initializer: where it starts. Defaults to `"glorot_uniform"`.
        kernel_regularizer: or None.
        kernel_constraint: or None.

    Call arguments:
        inputs: a tensor with the axes that the equation names.

    Returns:
        A tensor with the axes that the equation gives for the result.

    Raises:
        ValueError: if the equation is none of these, or the kernel has other axes than it says.

    Example:

    >>> hidden = tfgates.layers.StackedDense("bd,edf->bef", (4, 16, 32))(inputs)
    """

    # Said of it where it is left in a pruned network: loading that needs this class.
    stays = "kernels in one weight that a layer of yours multiplies by; no layer of Keras holds them like this"

    def __init__(
        self,
        equation: str,
        kernel_shape: Any,
        kernel_initializer: Any = "glorot_uniform",
        kernel_regularizer: Any = None,
        kernel_constraint: Any = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.equation, self.kernel_shape = equation, tuple(kernel_shape)
        parts = letters_of(equation)
        if parts is None or len(parts[1]) != len(self.kernel_shape):
            raise ValueError(
                "`equation` must name the axes of the inputs, of the kernel (as many as `kernel_shape` has) and of "
                "what is made, the last one of the inputs summed over, the last one made of the kernel, such as "
                f"'bsd,edf->bsef'. Received: equation={equation!r}, kernel_shape={kernel_shape!r}"
            )
        self.kernel_initializer = keras.initializers.get(kernel_initializer)
        self.kernel_regularizer = keras.regularizers.get(kernel_regularizer)
        self.kernel_constraint = keras.constraints.get(kernel_constraint)
        self.kernel: Any = None

    def build(self, input_shape: Any) -> None:
        if self.kernel is None:
            self.kernel = self.add_weight(
                shape=self.kernel_shape,
                initializer=self.kernel_initializer,
                regularizer=self.kernel_regularizer,
                constraint=self.kernel_constraint,
                name="kernel",
            )
        self.built = True

    def call(self, inputs: Any) -> Any:
        return ops.einsum(self.equation, inputs, self.kernel)

    def compute_output_shape(self, input_shape: Any) -> tuple[Any, ...]:
        read, kernel, made = self.letters
        sizes = dict(zip(read, input_shape, strict=True)) | dict(zip(kernel, self.kernel_shape, strict=True))
        return tuple(sizes[letter] for letter in made)

    @property
    def letters(self) -> tuple[str, str, str]:
        """The letters of the axes of the inputs, of the kernel and of what is made."""
        found = letters_of(self.equation)
        assert found is not None
        return found

    def get_config(self) -> dict[str, Any]:
        config = super().get_config()
        config.update(
            equation=self.equation,
            kernel_shape=list(self.kernel_shape),
            kernel_initializer=keras.initializers.serialize(self.kernel_initializer),
            kernel_regularizer=keras.regularizers.serialize(self.kernel_regularizer),
            kernel_constraint=keras.constraints.serialize(self.kernel_constraint),
        )
        return config


def letters_of(equation: str) -> tuple[str, str, str] | None:
    """The letters of an equation of a `StackedDense`; None where it is another one."""
    left, arrow, made = equation.replace(" ", "").partition("->")
    read, comma, kernel = left.partition(",")
    parts = (read, kernel, made)
    if not arrow or not comma or not all(each.isalpha() and len(set(each)) == len(each) for each in parts):
        return None
    summed, new = read[-1], made[-1]
    multiplies = {summed, new} <= set(kernel) and summed not in made and new not in read
    return parts if multiplies and set(kernel) <= {*read, *made} and set(made) <= {*read, *kernel} else None
