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
