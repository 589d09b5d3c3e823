"""What a saved model says of how it was compiled, so that another backend can read it."""

from typing import Any

import keras

# Keras compiles with classes of its own in the place of those that were given, and saves their names. Files say so:
# nothing is imported from there.
OF_TORCH = "keras.src.backend.torch.optimizers."


def portable(config: Any) -> Any:
    """A compile config with the optimizers under their public names, which every backend knows."""
    if isinstance(config, dict):
        config = {name: portable(value) for name, value in config.items()}
        if str(config.get("module", "")).startswith(OF_TORCH):
            config.update(module="keras.optimizers", registered_name=None)
        return config
    return [portable(each) for each in config] if isinstance(config, (list, tuple)) else config


def as_here(config: dict[str, Any]) -> dict[str, Any]:
    """A compile config as this backend takes it: files of TensorFlow and JAX say what their compilers are to do."""
    if keras.backend.backend() == "torch" and config.get("jit_compile"):
        return {**config, "jit_compile": "auto"}
    return dict(config)
