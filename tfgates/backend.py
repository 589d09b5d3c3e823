"""The few things that depend on the backend in use; everything else is keras.ops."""

import contextlib
from collections.abc import Iterator
from typing import Any

try:
    import keras
except ModuleNotFoundError as error:
    if str(error.name).partition(".")[0] not in ("tensorflow", "jax", "torch"):
        raise
    raise ModuleNotFoundError(
        "tfgates runs on a backend of Keras: TensorFlow, or with KERAS_BACKEND=jax or torch one of these. Install it: "
        '"pip install tensorflow", "pip install jax" or "pip install torch". '
        f"Received: a Keras that asks for {error.name}, which is not installed",
        name=error.name,
    ) from error
import numpy as np

# Noise stays this far from 0 and 1, so that log(u / (1 - u)) is finite in float32.
EDGE = 1e-6


def uniform(shape: Any, seed_generator: Any, per_replica: bool) -> Any:
    """Uniform float32 noise within (0, 1).

    Args:
        shape: shape of the noise; its first entry may be a scalar tensor.
        seed_generator: a `keras.random.SeedGenerator`, advanced once.
        per_replica: bool. A SeedGenerator draws the same numbers on every replica of
            `tf.distribute`: wanted for one draw per global batch, wrong for draws per example.
    """
    if per_replica and keras.backend.backend() == "tensorflow":
        import tensorflow as tf

        context = tf.distribute.get_replica_context()
        if context is not None and context.num_replicas_in_sync > 1:
            seed = tf.cast(seed_generator.next(), tf.int64)
            replica = tf.cast(context.replica_id_in_sync_group, tf.int64)
            seed = seed + tf.stack([replica * 1_000_003, tf.zeros_like(replica)])
            return tf.random.stateless_uniform(shape, seed, EDGE, 1.0 - EDGE)
    return keras.random.uniform(shape, EDGE, 1.0 - EDGE, dtype="float32", seed=seed_generator)


def array(tensor: Any) -> np.ndarray:
    """A tensor or variable as a NumPy array with memory of its own."""
    return np.array(keras.ops.convert_to_numpy(tensor))


def unkept_noise() -> list[Any]:
    """The states of random generators that no variable of a model holds.

    These are PyTorch's own, from which Keras's layers without a seed draw with that backend; elsewhere there is none.

    Returns:
        A list of arrays, empty on other backends.
    """
    if keras.backend.backend() != "torch":
        return []
    import torch

    states = [torch.get_rng_state(), *(torch.cuda.get_rng_state_all() if torch.cuda.is_available() else [])]
    return [state.numpy().copy() for state in states]


def set_unkept_noise(states: list[Any]) -> None:
    """Sets those generators to what `unkept_noise` has returned."""
    if not states:
        return
    import torch

    first, *others = (torch.as_tensor(state) for state in states)
    torch.set_rng_state(first)
    if others:
        torch.cuda.set_rng_state_all(others)


@contextlib.contextmanager
def noise_from(states: list[Any]) -> Iterator[None]:
    """Within it those generators start from `states`; afterwards they go on where they were."""
    before = unkept_noise()
    set_unkept_noise(states)
    try:
        yield
    finally:
        set_unkept_noise(before)


@contextlib.contextmanager
def full_precision() -> Iterator[None]:
    """Within it products of float32 are rounded as float32, on accelerators too.

    There TensorFlow, JAX and cuDNN's convolutions with PyTorch round factors to TensorFloat-32 by default, 10 bits of
    mantissa: by a thousandth, where two networks that compute the same are told apart by a tenth of that. Programs
    that are compiled within it keep what it was; networks are called eagerly to be compared.
    """
    backend = keras.backend.backend()
    if backend == "jax":
        import jax

        # Programs are compiled for each precision: on a processor, where there is one, not twice for nothing.
        with jax.default_matmul_precision("highest") if jax.default_backend() != "cpu" else contextlib.nullcontext():
            yield
    elif backend == "torch":
        import torch

        products, convolutions = torch.get_float32_matmul_precision(), torch.backends.cudnn.allow_tf32
        torch.set_float32_matmul_precision("highest")
        torch.backends.cudnn.allow_tf32 = False
        try:
            yield
        finally:
            torch.set_float32_matmul_precision(products)
            torch.backends.cudnn.allow_tf32 = convolutions
    elif backend == "tensorflow":
        import tensorflow as tf

        before = tf.config.experimental.tensor_float_32_execution_enabled()
        tf.config.experimental.enable_tensor_float_32_execution(False)
        try:
            yield
        finally:
            tf.config.experimental.enable_tensor_float_32_execution(before)
    else:
        yield


def dtype_in_use(dtype: str) -> str:
    """What a backend makes of a dtype: JAX has numbers of 64 bits where it was told to alone, and warns of others."""
    if keras.backend.backend() != "jax" or not dtype.endswith("64"):
        return dtype
    import jax

    return str(jax.dtypes.canonicalize_dtype(dtype))


def may_be_out_of_range(arrays: list[np.ndarray]) -> bool:
    """Whether results may come of indices out of range: with JAX they give nan, where other backends raise."""
    return keras.backend.backend() == "jax" and any(a.dtype.kind == "f" and np.isnan(a).any() for a in arrays)


def memory_of(tensor: Any) -> int:
    """Where the memory of a tensor of PyTorch begins; 0 for all else.

    A transpose or a slice of a variable lies in the variable's there, and changes with it.
    """
    return int(tensor.untyped_storage().data_ptr()) if _is_of_torch(tensor) else 0


def kept(tensor: Any) -> Any:
    """A tensor as it is now: with PyTorch a copy, which does not change with a variable that it is a view of."""
    return tensor.detach().clone() if _is_of_torch(tensor) else tensor


def _is_of_torch(tensor: Any) -> bool:
    if keras.backend.backend() != "torch":
        return False
    import torch

    return isinstance(tensor, torch.Tensor)


def watched(tensor: Any, check: Any) -> Any:
    """`tensor` itself; when its gradient is asked for, `check()` is called, which may raise.

    Args:
        tensor: a tensor.
        check: a function without arguments. It is called when the gradient is made: with the backward pass, and
            not before, so that what happens between the passes counts.
    """
    if keras.backend.backend() == "jax":
        import jax

        # The rules of `keras.ops.custom_gradient` are traced with the forward pass.
        def backward(_: Any, upstream: Any) -> Any:
            check()
            return (1.0 * upstream,)

        copied = jax.custom_vjp(lambda x: 1.0 * x)
        copied.defvjp(lambda x: (1.0 * x, None), backward)
        return copied(keras.ops.convert_to_tensor(tensor))

    @keras.ops.custom_gradient
    def same(x: Any) -> Any:
        def backward(*arguments: Any, upstream: Any = None) -> Any:
            upstream = arguments[0] if upstream is None else upstream
            check()
            return 1.0 * upstream

        return 1.0 * x, backward

    # Of a variable a copy: TensorFlow's custom gradients take no variables.
    return same(keras.ops.copy(tensor))


def gradients(function: Any, values: Any) -> Any:
    """The gradients of `function(values)`, a scalar, with respect to a list of tensors.

    Args:
        function: function of such a list.
        values: list of tensors.

    Returns:
        A list of arrays; None where the scalar does not depend on a value, or an array of zeros.

    Raises:
        NotImplementedError: on a backend other than TensorFlow, JAX and PyTorch.
    """
    backend = keras.backend.backend()
    if backend == "jax":
        import jax

        return [keras.ops.convert_to_numpy(gradient) for gradient in jax.grad(function)(list(values))]
    if backend == "torch":
        import torch

        leaves = [keras.ops.convert_to_tensor(value).detach().clone().requires_grad_(True) for value in values]
        found = torch.autograd.grad(function(leaves), leaves, allow_unused=True)
        return [None if gradient is None else keras.ops.convert_to_numpy(gradient) for gradient in found]
    if backend != "tensorflow":
        raise NotImplementedError(
            f"Gradients need the TensorFlow, the JAX or the PyTorch backend. Received: backend={backend!r}"
        )
    import tensorflow as tf

    with tf.GradientTape(watch_accessed_variables=False) as tape:
        tape.watch(values)
        found = function(values)
    return [None if g is None else keras.ops.convert_to_numpy(g) for g in tape.gradient(found, values)]
