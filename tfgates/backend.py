"""The few things that depend on the backend in use; everything else is keras.ops."""

import keras

# Noise stays this far from 0 and 1, so that log(u / (1 - u)) is finite in float32.
EDGE = 1e-6


def uniform(shape, seed_generator, per_replica):
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


def watched(tensor, check):
    """`tensor` itself; when its gradient is asked for, `check()` is called, which may raise.

    Args:
        tensor: a tensor.
        check: a function without arguments. It is called when the gradient is made: with the backward pass, and
            not before, so that what happens between the passes counts.
    """
    if keras.backend.backend() == "jax":
        import jax

        # The rules of `keras.ops.custom_gradient` are traced with the forward pass.
        def backward(_, upstream):
            check()
            return (1.0 * upstream,)

        same = jax.custom_vjp(lambda x: 1.0 * x)
        same.defvjp(lambda x: (1.0 * x, None), backward)
        return same(keras.ops.convert_to_tensor(tensor))

    @keras.ops.custom_gradient
    def same(x):
        def backward(*arguments, upstream=None):
            upstream = arguments[0] if upstream is None else upstream
            check()
            return 1.0 * upstream

        return 1.0 * x, backward

    # Of a variable a copy: TensorFlow's custom gradients take no variables.
    return same(keras.ops.copy(tensor))


def gradients(function, values):
    """The gradients of `function(values)`, a scalar, with respect to a list of tensors.

    Args:
        function: function of such a list.
        values: list of tensors.

    Returns:
        A list of arrays; None where the scalar does not depend on a value, or an array of zeros.

    Raises:
        NotImplementedError: on a backend other than TensorFlow and JAX.
    """
    backend = keras.backend.backend()
    if backend == "jax":
        import jax

        return [keras.ops.convert_to_numpy(gradient) for gradient in jax.grad(function)(list(values))]
    if backend != "tensorflow":
        raise NotImplementedError(f"Gradients need the TensorFlow or the JAX backend. Received: backend={backend!r}")
    import tensorflow as tf

    with tf.GradientTape(watch_accessed_variables=False) as tape:
        tape.watch(values)
        found = function(values)
    return [None if g is None else keras.ops.convert_to_numpy(g) for g in tape.gradient(found, values)]
