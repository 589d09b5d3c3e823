"""What happens to each public layer of `keras.layers` and operator of `keras.ops`; writes docs/supported_layers.md.

    python benchmarks/supported.py
    python benchmarks/supported.py --only=Conv2D,einsum        # prints these rows, writes nothing

Each stands between a dense layer whose channels could be gated and one that reads what comes out, in a network that
has another layer to gate; the network is gated, everything randomised, half of the units closed, and pruned, which
compares the outputs. Nothing in the table is written by hand but what cannot stand in a graph.
"""

import argparse
import dataclasses
import pathlib
import warnings

import keras
import numpy as np
from keras import ops

import tfgates

K = keras.layers
PAGE = pathlib.Path(__file__).parents[1] / "docs" / "supported_layers.md"
# What a case is tried on, by name; the channels come last, or where the case puts them.
OUTSIDE = ("before", "behind", "other", "last")
SHAPES = {"image": (8, 8, 8), "sequence": (8, 8), "volume": (4, 4, 4, 8), "vector": (8,)}


@dataclasses.dataclass(frozen=True)
class Row:
    """A line of the table."""

    name: str
    # "followed", "kept whole", "refused" or "no part of a graph".
    what: str
    # Whether its own units get gates.
    gated: bool = False
    why: str = ""


def on(shape, make):
    """A layer made anew, on a tensor of a shape."""
    return shape, lambda x: make()(x)


def layer_cases():
    """For each layer how it is called; a string says why it cannot stand in a graph."""
    cases = {}
    for rank, shape in ((1, "sequence"), (2, "image"), (3, "volume")):
        for name in (f"Conv{rank}D", f"Conv{rank}DTranspose"):
            cases[name] = on(shape, lambda name=name: getattr(K, name)(6, 3, padding="same"))
        for name in (f"AveragePooling{rank}D", f"MaxPooling{rank}D", f"UpSampling{rank}D"):
            cases[name] = on(shape, lambda name=name: getattr(K, name)(2))
        for name in (f"ZeroPadding{rank}D", f"Cropping{rank}D"):
            cases[name] = on(shape, lambda name=name: getattr(K, name)(1))
        for name in (f"GlobalAveragePooling{rank}D", f"GlobalMaxPooling{rank}D"):
            cases[name] = on(shape, lambda name=name: getattr(K, name)())
        for name in (f"AdaptiveAveragePooling{rank}D", f"AdaptiveMaxPooling{rank}D"):
            cases[name] = on(shape, lambda name=name: getattr(K, name)(2))
        cases[f"SpatialDropout{rank}D"] = on(shape, lambda rank=rank: getattr(K, f"SpatialDropout{rank}D")(0.3))
    for rank, shape in ((1, "sequence"), (2, "image")):
        cases[f"DepthwiseConv{rank}D"] = on(shape, lambda rank=rank: getattr(K, f"DepthwiseConv{rank}D")(3))
        cases[f"SeparableConv{rank}D"] = on(shape, lambda rank=rank: getattr(K, f"SeparableConv{rank}D")(6, 3))
    for name in ("Add", "Average", "Maximum", "Minimum", "Multiply", "Subtract", "Concatenate"):
        cases[name] = ("image", lambda x, name=name: getattr(K, name)()([x, x * 2.0]))
    for name in ("Attention", "AdditiveAttention"):
        cases[name] = ("sequence", lambda x, name=name: getattr(K, name)()([x, x]))
    for name, make in {
        "ActivityRegularization": lambda: K.ActivityRegularization(l2=1e-3),
        "Activation": lambda: K.Activation("gelu"),
        "AlphaDropout": lambda: K.AlphaDropout(0.2),
        "BatchNormalization": lambda: K.BatchNormalization(),
        "CenterCrop": lambda: K.CenterCrop(4, 4),
        "Dense": lambda: K.Dense(6),
        "Dropout": lambda: K.Dropout(0.2),
        "ELU": lambda: K.ELU(),
        "EinsumDense": lambda: K.EinsumDense("abcd,de->abce", (8, 8, 6), bias_axes="e"),
        "Flatten": lambda: K.Flatten(),
        "GaussianDropout": lambda: K.GaussianDropout(0.2),
        "GaussianNoise": lambda: K.GaussianNoise(0.2),
        "GroupNormalization": lambda: K.GroupNormalization(4),
        "Identity": lambda: K.Identity(),
        "LayerNormalization": lambda: K.LayerNormalization(),
        "LeakyReLU": lambda: K.LeakyReLU(),
        "Lambda": lambda: K.Lambda(keras.activations.relu),
        "Normalization": lambda: K.Normalization(mean=[0.5] * 8, variance=[2.0] * 8),
        "PReLU": lambda: K.PReLU(shared_axes=[1, 2]),
        "Permute": lambda: K.Permute((2, 1, 3)),
        "RMSNormalization": lambda: K.RMSNormalization(),
        "ReLU": lambda: K.ReLU(),
        "Rescaling": lambda: K.Rescaling(2.0, 0.5),
        "Reshape": lambda: K.Reshape((64, 8)),
        "Resizing": lambda: K.Resizing(4, 4),
        "Softmax": lambda: K.Softmax(axis=1),
        "SpectralNormalization": lambda: K.SpectralNormalization(K.Conv2D(6, 3)),
        "UnitNormalization": lambda: K.UnitNormalization(),
        "TimeDistributed": lambda: K.TimeDistributed(K.Dense(6)),
    }.items():
        cases[name] = on("image", make)
    for name, make in {
        "Bidirectional": lambda: K.Bidirectional(K.LSTM(4)),
        "GRU": lambda: K.GRU(4),
        "LSTM": lambda: K.LSTM(4),
        "SimpleRNN": lambda: K.SimpleRNN(4),
        "RNN": lambda: K.RNN([K.LSTMCell(4), K.GRUCell(4)]),
        "Masking": lambda: K.Masking(),
        "GroupQueryAttention": lambda: lambda x: K.GroupQueryAttention(4, 4, 2)(x, x),
        "MultiHeadAttention": lambda: lambda x: K.MultiHeadAttention(2, 4)(x, x),
        "Dot": lambda: lambda x: K.Dot(axes=(2, 2))([x, x]),
    }.items():
        cases[name] = on("sequence", make)
    cases["RepeatVector"] = on("vector", lambda: K.RepeatVector(3))
    cases["ConvLSTM1D"] = on("image", lambda: K.ConvLSTM1D(4, 3))
    cases["ConvLSTM2D"] = on("volume", lambda: K.ConvLSTM2D(4, 3, padding="same"))
    cases["ConvLSTM3D"] = ("volume", lambda x: K.ConvLSTM3D(4, 2)(ops.stack([x, x * 2.0], axis=1)))
    whole = "for images as they are read: it stands before the network"
    image = (
        "AugMix AutoContrast ContrastLimitedAdaptiveHistogramEqualization CutMix Equalization MaxNumBoundingBoxes "
        "MixUp RandAugment RandomBrightness RandomColorDegeneration RandomColorJitter RandomContrast RandomCrop "
        "RandomElasticTransform RandomErasing RandomFlip RandomGaussianBlur RandomGrayscale RandomHue RandomInvert "
        "RandomPerspective RandomPosterization RandomRotation RandomSaturation RandomSharpness RandomShear "
        "RandomTranslation RandomZoom Solarization"
    )
    cases |= dict.fromkeys(image.split(), whole)
    whole = "it takes integers, strings or sound: it stands before layers with channels, and is copied"
    cases |= dict.fromkeys(
        (
            "CategoryEncoding", "Discretization", "HashedCrossing", "Hashing", "IntegerLookup", "MelSpectrogram",
            "STFTSpectrogram", "StringLookup", "TextVectorization",
        ),
        whole,
    )  # fmt: skip
    cases["Embedding"] = "it takes integers: its columns go with a gate of yours behind it (see the tests of sequences)"
    cases["ReversibleEmbedding"] = cases["Embedding"].split(":")[0] + "; its table is read twice, and kept whole"
    cases |= dict.fromkeys(("GRUCell", "LSTMCell", "SimpleRNNCell", "StackedRNNCells"), "a cell: see RNN")
    cases |= dict.fromkeys(("Input", "InputLayer", "InputSpec", "Layer", "Wrapper", "Pipeline"), "no layer of its own")
    cases |= dict.fromkeys(
        ("FlaxLayer", "JaxLayer", "TFSMLayer", "TorchModuleWrapper"), "code of another library: kept whole"
    )
    return cases


# Operators that need more than one tensor, or other arguments than none or an axis.
OPERATORS = {
    "ldexp": "of integers",
    "append": lambda x: ops.append(x, x, axis=-1),
    "adaptive_average_pool": "Keras computes another shape than it infers; the layers of this name are followed",
    "adaptive_max_pool": "Keras computes another shape than it infers; the layers of this name are followed",
    "argpartition": lambda x: ops.argpartition(x, 2, axis=1),
    "array_split": lambda x: ops.array_split(x, 2, axis=1)[0],
    "average_pool": lambda x: ops.average_pool(x, 2),
    "batch_normalization": lambda x: ops.batch_normalization(x, np.ones(8), np.ones(8), -1),
    "broadcast_to": "it takes a fixed number of examples",
    "cast": lambda x: ops.cast(x, "float64"),
    "clip": lambda x: ops.clip(x, -1.0, 1.0),
    "concatenate": lambda x: ops.concatenate([x, x * 2.0], axis=-1),
    "conv": lambda x: ops.conv(x, np.ones((1, 1, 8, 4), "float32")),
    "conv_transpose": lambda x: ops.conv_transpose(x, np.ones((2, 2, 4, 8), "float32"), strides=2),
    "depthwise_conv": lambda x: ops.depthwise_conv(x, np.ones((2, 2, 8, 1), "float32")),
    "separable_conv": lambda x: ops.separable_conv(
        x, np.ones((2, 2, 8, 1), "float32"), np.ones((1, 1, 8, 4), "float32")
    ),
    "depth_to_space": lambda x: ops.depth_to_space(x, 2),
    "space_to_depth": lambda x: ops.space_to_depth(x, 2),
    "dot_product_attention": lambda x: ops.dot_product_attention(x, x, x),
    "einsum": lambda x: ops.einsum("bhwc,bhwc->bhw", x, x),
    "expand_dims": lambda x: ops.expand_dims(x, 1),
    "fold": lambda x: ops.fold(ops.reshape(x, (-1, 8, 64)), (8, 8), 1),
    "get_item": lambda x: x[..., :4],
    "hstack": lambda x: ops.hstack([x, x]),
    "vstack": "it stacks examples",
    "dstack": lambda x: ops.dstack([x, x]),
    "hsplit": lambda x: ops.hsplit(x, 2)[0],
    "vsplit": "it splits examples",
    "dsplit": lambda x: ops.dsplit(x, 2)[0],
    "layer_normalization": lambda x: ops.layer_normalization(x, axis=-1),
    "max_pool": lambda x: ops.max_pool(x, 2),
    "moments": lambda x: ops.moments(x, axes=[1])[0],
    "moveaxis": lambda x: ops.moveaxis(x, -1, 1),
    "pad": lambda x: ops.pad(x, [[0, 0], [1, 1], [1, 1], [0, 0]]),
    "percentile": lambda x: ops.percentile(x, 50, axis=1),
    "nanpercentile": lambda x: ops.nanpercentile(x, 50, axis=1),
    "quantile": lambda x: ops.quantile(x, 0.5, axis=1),
    "nanquantile": lambda x: ops.nanquantile(x, 0.5, axis=1),
    "power": lambda x: ops.power(x, 2.0),
    "repeat": lambda x: ops.repeat(x, 2, axis=-1),
    "reshape": lambda x: ops.reshape(x, (-1, 64, 8)),
    "roll": lambda x: ops.roll(x, 1, axis=-1),
    "rms_normalization": lambda x: ops.rms_normalization(x),
    "rot90": lambda x: ops.rot90(x, axes=(1, 2)),
    "saturate_cast": lambda x: ops.saturate_cast(x, "float32"),
    "select": lambda x: ops.select([x > 0.5], [x], 0.0),
    "slice_update": lambda x: ops.slice_update(x, (0, 0, 0, 0), x[:, :1]),
    "split": lambda x: ops.split(x, 2, axis=-1)[0],
    "stack": lambda x: ops.stack([x, x * 2.0], axis=-1),
    "swapaxes": lambda x: ops.swapaxes(x, 1, 2),
    "take": lambda x: ops.take(x, np.array([0, 2]), axis=-1),
    "take_along_axis": lambda x: ops.take_along_axis(x, np.zeros((1, 1, 1, 8), "int32"), axis=1),
    "tensordot": lambda x: ops.tensordot(x, np.ones((8, 4), "float32"), 1),
    "threshold": lambda x: ops.threshold(x, 0.5, 0.0),
    "tile": lambda x: ops.tile(x, (1, 1, 1, 2)),
    "top_k": lambda x: ops.top_k(x, 2)[0],
    "transpose": lambda x: ops.transpose(x, (0, 2, 1, 3)),
    "unfold": lambda x: ops.unfold(ops.transpose(x, (0, 3, 1, 2)), 2),
    "unstack": lambda x: ops.unstack(x, axis=1)[0],
    "where": lambda x: ops.where(x > 0.5, x, 0.0),
    "extract_sequences": lambda x: ops.extract_sequences(ops.reshape(x, (-1, 8, 64)), 8, 8),
    "flip": lambda x: ops.flip(x, axis=-1),
    "matmul": lambda x: ops.matmul(x, np.ones((8, 4), "float32")),
    "glu": lambda x: ops.glu(x),
    "softmax": lambda x: ops.softmax(x, axis=1),
    "log_softmax": lambda x: ops.log_softmax(x, axis=1),
    "sparsemax": lambda x: ops.sparsemax(x, axis=1),
    "squeeze": lambda x: ops.squeeze(x[:, :1], axis=1),
}
NOTHING = {
    "makes a tensor from numbers": (
        "arange array bartlett blackman empty empty_like eye full full_like geomspace hamming hanning "
        "identity kaiser linspace logspace meshgrid multi_hot one_hot ones ones_like tri unravel_index zeros "
        "zeros_like"
    ),
    "control flow, or a function of functions": (
        "associative_scan cond custom_gradient fori_loop jvp map scan switch vectorize vectorized_map while_loop"
    ),
    "asks about a tensor, or takes it out of the graph": (
        "convert_to_numpy convert_to_tensor dtype is_tensor ndim shape size"
    ),
    "a namespace": ("image linalg nn numpy"),
    "a loss or a score of whole batches": (
        "binary_crossentropy categorical_crossentropy ctc_decode ctc_loss in_top_k psnr sparse_categorical_crossentropy"
    ),
    "of integers": (
        "bincount bitwise_and bitwise_invert bitwise_left_shift bitwise_not bitwise_or bitwise_right_shift "
        "bitwise_xor gcd lcm left_shift right_shift scatter scatter_update segment_max segment_min "
        "segment_prod segment_sum"
    ),
    "of complex numbers": (
        "angle conj conjugate fft fft2 ifft2 imag irfft isreal istft polar real rfft stft view "
        "view_as_complex view_as_real"
    ),
    "of matrices, or of all examples at once": (
        "allclose cdist cholesky cholesky_inverse corrcoef correlate cross det diag diagflat diagonal "
        "digitize dot eig eigh fliplr flipud histogram inner inv kron logdet lstsq lu_factor matrix_rank "
        "nonzero outer pinv qr ravel rearrange searchsorted slice slogdet solve solve_triangular svd trace "
        "unique vander vdot"
    ),
}


def operator_cases():
    """For each operator how it is called; None: tried by itself."""
    said = {name: why for why, names in NOTHING.items() for name in names.split()}
    public = [name for name in dir(ops) if not name.startswith("_")]
    return {name: OPERATORS.get(name, said.get(name)) for name in public}


def by_itself(name, x):
    """The first call of an operator that takes a tensor of images."""
    operator, errors = getattr(ops, name), []
    for call in (
        lambda: operator(x),
        lambda: operator(x, axis=1),
        lambda: operator(x, x * 2.0),
        lambda: operator([x, x * 2.0]),
    ):
        try:
            made = call()
        except Exception as error:
            errors.append(error)
            continue
        made = made[0] if isinstance(made, (tuple, list)) else made
        if isinstance(made, keras.KerasTensor) and len(made.shape) > 1 and made.shape[0] is None:
            return made
    raise TypeError(f"no call of it was found that keeps the examples apart ({errors[-1] if errors else 'all in one'})")


def network(shape, call):
    """The case between two dense layers, beside a branch that can always be gated."""
    inputs = keras.Input(SHAPES[shape])
    x = call(K.Dense(8, activation="relu", name="before")(inputs))
    x = x[0] if isinstance(x, (tuple, list)) else x
    x = x if x.dtype in ("float32", "float16") else ops.cast(x, "float32")
    x = K.Dense(4, name="behind")(K.Flatten()(x))
    other = K.Dense(4, name="last")(K.Dense(6, activation="relu", name="other")(K.Flatten()(inputs)))
    return keras.Model(inputs, K.Concatenate()([x, other]))


def randomise(model, generator):
    """Every weight as training may leave it."""
    for variable in model.weights:
        if keras.backend.is_int_dtype(variable.dtype) or "logits" in variable.path:
            continue
        value = generator.uniform(0.3, 1.2, variable.shape)
        sign = 1.0 if "variance" in variable.path else np.where(generator.random(variable.shape) < 0.5, -1.0, 1.0)
        variable.assign(value * sign)


def row(name, shape, call):
    """Tries one case."""
    keras.utils.clear_session()
    keras.utils.set_random_seed(0)
    generator = np.random.default_rng(0)
    try:
        model = network(shape, call)
    except Exception as error:
        return Row(name, "no part of a graph", why=first_line(error))
    inside = [
        layer.name
        for layer in model.layers
        if layer.weights and layer.name not in ("before", "behind", "other", "last")
    ]
    try:
        gated = tfgates.gate_model(model)
        randomise(gated, generator)
        for gate in gated.gates:
            gate.logits.assign(np.where(generator.permutation(gate.units) < gate.units // 2, -6.0, 6.0))
        tfgates.prune(gated, min_units=1)
    except (ValueError, RuntimeError) as error:
        return Row(name, "refused", why=first_line(error))
    found, skipped = dict(gated.report.gated), dict(gated.report.skipped)
    own = any(gate.split("/")[0] in inside for gate in found)
    if "before" in found:
        return Row(name, "followed", own)
    return Row(name, "kept whole", own, skipped.get("before", "not in the report"))


def first_line(error):
    return " ".join(str(error).split())[:160]


def rows(only=None):
    """Lists of rows: of the layers, of the operators."""
    layers, seen = [], {}
    cases = layer_cases()
    for name in dir(K):
        kind = getattr(K, name)
        if not name[0].isupper() or (only and name not in only):
            continue
        if getattr(kind, "__name__", name) != name and kind.__name__ in cases:
            layers.append(Row(name, f"another name of {kind.__name__}"))
        else:
            case = cases.get(name, "no case: tell us")
            layers.append(Row(name, "no part of a graph", why=case) if isinstance(case, str) else row(name, *case))
    operators = []
    for name, case in operator_cases().items():
        if only and name not in only:
            continue
        function = getattr(ops, name)
        if id(function) in seen:
            operators.append(Row(name, f"another name of {seen[id(function)]}"))
            continue
        seen[id(function)] = name
        if isinstance(case, str):
            operators.append(Row(name, "no part of a graph", why=case))
        else:
            operators.append(row(name, "image", case or (lambda x, name=name: by_itself(name, x))))
    return layers, operators


KINDS = ("followed", "kept whole", "refused", "no part of a graph")


def table(title, found):
    counts = {kind: sum(r.what == kind for r in found) for kind in KINDS}
    said = ", ".join(f"{count} {kind}" for kind, count in counts.items() if count)
    lines = [f"## {title}", "", f"{len(found)} names: {said}; the rest are other names.", ""]
    lines += ["| name | channels | own units | why |", "|---|---|---|---|"]
    for r in found:
        why = r.why.replace("|", "\\|")
        lines.append(f"| {r.name} | {r.what} | {'gated' if r.gated else ''} | {why} |")
    return "\n".join(lines) + "\n"


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", default="", help="names, separated by commas")
    only = [name for name in parser.parse_args().only.split(",") if name]
    warnings.simplefilter("ignore")
    layers, operators = rows(only)
    text = (
        "# Layers and operators\n\n"
        f"Made by `python benchmarks/supported.py` with Keras {keras.__version__}. **followed**: a channel "
        "that is closed before it is removed before, in and behind it. **kept whole**: it computes as ever, "
        "and channels before it stay, for the reason given, which `gated.report` says too. **own units: "
        "gated**: `gate_model` puts a gate on its own channels. What is not listed here, a layer of your own, "
        "is opened if its `call` calls layers and operators.\n\n"
        + table("Layers of `keras.layers`", layers) + "\n" + table("Operators of `keras.ops`", operators)
    )  # fmt: skip
    if only:
        print(text)
    else:
        PAGE.write_text(text)
        print(f"{PAGE}: {len(layers)} layers, {len(operators)} operators")


if __name__ == "__main__":
    main()
