"""The other side of `tests/reload.py`: reads requests from stdin, answers on stdout."""

import json
import os
import sys
import traceback

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

if "--plain" in sys.argv:
    # With None in its place, any import of the package fails.
    sys.modules["tfgates"] = None
else:
    import tfgates  # noqa: F401 (registers its layers for loading)

import keras
import numpy as np


def predict(path, given, made):
    with np.load(given) as arrays:
        inputs = [arrays[f"arr_{i}"] for i in range(len(arrays.files))]
    if os.path.isdir(path):
        import tensorflow as tf

        # Its variables live as long as this reference.
        artifact = tf.saved_model.load(path)
        outputs = artifact.serve(*[tf.constant(x) for x in inputs])
    else:
        model = keras.saving.load_model(path)
        outputs = model(inputs[0] if len(inputs) == 1 else inputs, training=False)
    outputs = outputs if isinstance(outputs, list | tuple) else [outputs]
    np.savez(made, *[keras.ops.convert_to_numpy(keras.ops.cast(y, "float32")) for y in outputs])


answers = os.fdopen(os.dup(sys.stdout.fileno()), "w")
# Whatever a library prints must not mix with the answers.
os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
for line in sys.stdin:
    try:
        predict(**json.loads(line))
        answer = {"done": True}
    except Exception:
        answer = {"error": traceback.format_exc()}
    print(json.dumps(answer), file=answers, flush=True)
