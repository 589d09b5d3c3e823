"""What a model has from a class of the user's rather than from Keras."""

# What says how a model is trained, evaluated and used.
TRAINING = (
    "compile",
    "compute_loss",
    "compute_metrics",
    "evaluate",
    "fit",
    "get_metrics_result",
    "make_predict_function",
    "make_test_function",
    "make_train_function",
    "metrics",
    "predict",
    "predict_on_batch",
    "predict_step",
    "reset_metrics",
    "test_on_batch",
    "test_step",
    "train_on_batch",
    "train_step",
)


def is_own(kind: type, name: str) -> bool:
    """Whether a class, or one of its bases, has the method or property `name` from a user."""
    owner = next((base for base in kind.__mro__ if name in vars(base)), object)
    value = vars(owner).get(name)
    function = getattr(value, "fget", None) or getattr(value, "__func__", value)
    # Of a function it is where it was written, also for one that a class was given.
    module = getattr(function, "__module__", None) or owner.__module__
    return owner is not object and module.partition(".")[0] not in ("keras", "tfgates")


def own_methods(kind: type) -> list[str]:
    """The methods of training that a class has from a user."""
    return [name for name in TRAINING if is_own(kind, name)]


def user_class(kind: type) -> type:
    """The class that the user wrote, of the class of a gated network that was made of it."""
    return getattr(kind, "kind", kind)
