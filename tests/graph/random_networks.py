"""Random small networks of all families of layers, with gates, closed units and zero filters."""

import keras
import numpy as np
from keras import ops

from tests.calculus import array
from tests.graph.odd_layers import OddSteps
from tfgates import gates, layers

K = keras.layers
# None most often; some do not leave 0 at 0, the last mixes the channels.
ACTIVATIONS = [
    None, None, None, "relu", "relu", "relu", "sigmoid", "softplus", "tanh", "gelu", "softmax", ops.gelu, K.PReLU,
    lambda x: ops.where(x > 1.0, 2.0 * x, x),
]  # fmt: skip
INPUTS = {
    "image": (6, 6, 3), "sequence": (5, 4), "vector": (6,), "volume": (4, 4, 4, 2), "tokens": (5,),
}  # fmt: skip


# Operators on a tensor whose axes of places are given.
MOVES = [
    lambda x, places: ops.max(x, axis=places, keepdims=True) + x,
    lambda x, places: ops.mean(x, axis=places) if places else x * 2.0,
    lambda x, places: ops.concatenate(
        ops.split(x, [1, 3] if x.shape[-1] > 3 else [x.shape[-1] // 2], axis=-1)[1:], axis=-1
    ),
    lambda x, places: ops.flip(x, axis=-1) * np.linspace(0.0, 1.0, x.shape[-1], dtype="float32"),
    lambda x, places: ops.pad(x, [[0, 0], *([[0, 1]] * len(places)), [1, 0]])[..., : x.shape[-1]],
    lambda x, places: ops.sum(ops.stack([x, ops.relu(x)], axis=1), axis=1),
    lambda x, places: x * ops.mean(ops.square(x), axis=-1, keepdims=True) + ops.max(x, axis=-1, keepdims=True),
    lambda x, places: ops.repeat(x[..., ::2], 2, axis=-1)[..., : x.shape[-1]],
    lambda x, places: ops.where(x > 0.3, x, -0.1),
    lambda x, places: ops.moveaxis(ops.tanh(ops.moveaxis(x, -1, 1)), 1, -1),
    # Of what mixes the channels it is read what is left.
    lambda x, places: x * ops.softmax(x, axis=-1),
    lambda x, places: ops.where(x[..., :1] > 0.1, ops.relu(x), 0.0),
    # Keras takes the product with an array for sparse.
    lambda x, places: ops.relu(x) if x.sparse else Parts(x.shape[-1])(x),
    lambda x, places: ops.relu(x) if x.sparse else Parts(x.shape[-1])(x, training=True),
    # Another function for each channel; and what is followed of sequences alone.
    lambda x, places: ops.where(np.arange(x.shape[-1]) % 2 == 0, x, 0.5 * x),
    lambda x, places: of_sequences(non_local, x, places),
    lambda x, places: of_sequences(lambda x: K.Attention()([ops.tanh(x), x]), x, places),
    lambda x, places: of_sequences(spatial_unit, x, places),
    lambda x, places: of_sequences(cut_into_heads, x, places),
]


def of_sequences(function, x, places):
    """A function of sequences whose channels can be cut into two parts of two heads; of others something else."""
    fits = len(places) == 1 and x.shape[-1] % 4 == 0 and not x.sparse
    return function(x) if fits else 0.5 * x


def non_local(x):
    scores = ops.einsum("bic,bjc->bij", x, ops.tanh(x))
    return ops.matmul(ops.softmax(0.1 * scores, axis=-1), x)


def spatial_unit(x):
    y = K.Dense(x.shape[1])(ops.transpose(K.LayerNormalization()(x), (0, 2, 1)))
    return x * ops.transpose(y, (0, 2, 1))


def cut_into_heads(x):
    steps, width = x.shape[1], x.shape[-1] // 4
    y = ops.transpose(ops.reshape(x, (-1, steps, 2, 2, width)), (2, 0, 3, 1, 4))
    scores, values = ops.unstack(y, axis=0)
    weights = ops.softmax(ops.matmul(scores, ops.transpose(scores, (0, 1, 3, 2))), axis=-1)
    return ops.reshape(ops.transpose(ops.matmul(weights, values), (0, 2, 1, 3)), (-1, steps, 2 * width))


@keras.saving.register_keras_serializable(package="tests")
class Parts(K.Layer):
    """A layer that calls layers."""

    def __init__(self, width, **kwargs):
        super().__init__(**kwargs)
        self.dense, self.norm, self.drop = K.Dense(width, activation="relu"), K.BatchNormalization(), K.Dropout(0.2)

    def call(self, x, training=None):
        return x + self.drop(self.norm(self.dense(x), training=training), training=training)


class Builder(OddSteps):
    """Grows a graph from an input, one random step at a time.

    Args:
        pick: function from a sequence to one of its elements: where the randomness comes from.
        gated: bool, whether it has gates.
    """

    def __init__(self, pick, gated=True):
        self.pick, self.gated = pick, gated
        # Once told to train, all that comes later trains: most networks tell nothing.
        self.tells = pick([True, False, False])
        self.kind = pick([*INPUTS, "image", "image", "image", "sequence"])
        self.inputs = [self.new_input()]
        self.pool = self.inputs[:]
        # Layers made so far with the shape they take, to be used again.
        self.made = []
        if self.kind == "tokens":
            self.add(K.Embedding(7, self.width(), mask_zero=self.pick([False, False, True])), self.inputs[0])
            self.pool.pop(0)
        elif pick([True, False, False, False]):
            self.second_input()
        elif pick([True, False, False, False]):
            self.adapted(self.inputs[0])

    def new_input(self):
        return keras.Input(INPUTS[self.kind], dtype="int32" if self.kind == "tokens" else "float32")

    def second_input(self):
        """Another input like the first, joined with it by an operator or side by side."""
        first, second = self.inputs[0], self.new_input()
        self.inputs.append(second)
        self.pool.append(second)
        if self.flag():
            self.pool.append(first - 2.0 * second)
        else:
            self.add(K.Concatenate(), [first, second])

    def adapted(self, x):
        layer = K.Normalization()
        layer.adapt(np.random.default_rng(0).normal(3.0, 2.0, size=(20, *x.shape[1:])))
        self.add(layer, x)

    def width(self):
        return self.pick([4, 6, 8])

    def activation(self):
        kind = self.pick(ACTIVATIONS)
        return kind("ones") if kind is K.PReLU else kind

    def flag(self):
        return self.pick([True, False])

    def mode(self):
        """Keywords of a call that tell it whether to train, or nothing."""
        if not self.tells:
            return {}
        return self.pick([{}, {}, {"training": True}, {"training": True}, {"training": False}, {"training": None}])

    def mask(self, x):
        """Keywords of a call with a mask of the steps of x, or nothing."""
        if len(x.shape) != 3 or self.pick([True, True, True, False]):
            return {}
        return {"mask": ops.any(x > 0.3, axis=-1)}

    def add(self, layer, *inputs, **keywords):
        """Calls a layer and puts the result into the pool."""
        x = layer(*inputs, **keywords)
        if len(inputs) == 1 and isinstance(layer, (K.Conv1D, K.Conv2D, K.Dense, K.BatchNormalization)):
            self.made.append((layer, tuple(inputs[0].shape)))
        self.pool.append(x)
        return x

    def tensor(self, ranks=(2, 3, 4, 5)):
        """A tensor of the pool, the latest most often; None if there is none of these ranks."""
        found = [x for x in self.pool if len(x.shape) in ranks]
        if not found:
            return None
        return found[-1] if self.pick([True] * 6 + [False]) else self.pick(found)

    def step(self):
        """One more layer or merge, chosen among those that the tensors allow."""
        x = self.tensor()
        family = self.pick(
            ["linear"] * 5
            + ["normal"] * 2
            + ["gate"] * 3
            + ["merge"] * 2
            + ["activation", "shape", "pooling", "noise", "rare", "again", "operator", "odd", "odd"]
        )
        getattr(self, f"step_{family}")(x, len(x.shape) - 2)

    # Layers with kernels. `dims` is the number of axes of places.

    def step_linear(self, x, dims):
        if dims == 0 or self.pick([True] + [False] * 5):
            self.dense(x, dims)
            return
        size = min(x.shape[1:-1])
        kernel = self.pick([k for k in (1, 2, 3) if k <= size])
        padding = self.pick(["valid", "same"])
        settings = {"padding": padding, "use_bias": self.flag(), "activation": self.activation()}
        kinds = ["plain"] * 4 + ["grouped", "depthwise", "separable", "transposed", "dilated"]
        kinds += ["gated"] * 4 if dims == 2 and self.gated else []
        kind = self.pick(kinds)
        if kind in ("depthwise", "separable") and dims < 3:
            settings["depth_multiplier"] = self.pick([1, 2])
            if kind == "depthwise":
                self.add(getattr(K, f"DepthwiseConv{dims}D")(kernel, **settings), x)
            else:
                self.add(getattr(K, f"SeparableConv{dims}D")(self.width(), kernel, **settings), x)
        elif kind == "transposed" and size <= 6:
            stride = self.pick([1, 2]) if size <= 3 else 1
            self.add(getattr(K, f"Conv{dims}DTranspose")(self.width(), kernel, strides=stride, **settings), x)
        elif kind == "gated":
            self.add(layers.GatedConv2D(self.width(), kernel, gate=self.gate(inside=True), **settings), x)
        else:
            channels = x.shape[-1]
            if kind == "grouped" and dims < 3 and channels % 2 == 0:
                settings["groups"] = self.pick([2, channels]) if channels in (4, 6, 8) else 2
            elif kind == "dilated" and kernel > 1 and (kernel - 1) * 2 < size:
                settings["dilation_rate"] = 2
            else:
                settings["strides"] = self.pick([1, 1, 2])
            filters = self.width()
            groups = settings.get("groups", 1)
            filters = filters if filters % groups == 0 else groups
            self.add(getattr(K, f"Conv{dims}D")(filters, kernel, **settings), x)

    def dense(self, x, dims):
        units, settings = self.width(), {"use_bias": self.flag(), "activation": self.activation()}
        kind = self.pick(["plain", "einsum", *(["outputs", "inputs", "weight"] if self.gated else [])])
        if kind == "einsum" and dims > 0:
            letters = "abcde"[: dims + 1]
            shape = (*x.shape[1:-1], units)
            bias = "y" if settings["use_bias"] else None
            equation = f"{letters}x,xy->{letters}y"
            self.add(K.EinsumDense(equation, shape, bias_axes=bias, activation=settings["activation"]), x)
        elif kind in ("outputs", "inputs"):
            self.add(layers.GatedDense(units, gate=self.gate(inside=True), gated=kind, **settings), x)
        elif kind == "weight":
            gate = gates.HardConcreteGate()
            self.add(layers.GatedDense(units, gate=gate, granularity="weight", **settings), x)
        else:
            self.add(K.Dense(units, **settings), x)

    # Gates.

    def gate(self, inside=False, size=None, axis=-1):
        if not self.gated:
            return K.Identity()
        kind = self.pick([gates.HardConcreteGate, gates.BernoulliGate, gates.ScalingGate])
        groups = 2 if size is not None and size % 2 == 0 and self.pick([True, False, False]) else None
        return kind() if inside else kind(axis=axis, groups=groups)

    def step_gate(self, x, dims):
        where = self.pick(["channels"] * 8 + ["places", "whole"])
        if where == "whole":
            self.add(self.gate(axis=None), x)
        elif where == "places" and dims:
            self.add(self.gate(axis=1, size=x.shape[1]), x)
        else:
            self.add(self.gate(size=x.shape[-1]), x)

    # Layers that keep the shape.

    def step_normal(self, x, dims):
        kind = self.pick(["batch"] * 6 + ["gated"] * 6 * self.gated + ["layer", "group", "unit", "rms", "rms"])
        if kind == "batch":
            layer = K.BatchNormalization(center=self.flag(), scale=self.flag())
            x = self.add(layer, x, **self.mode(), **self.mask(x))
        elif kind == "gated":
            settings = {"center": self.flag(), "scale": self.flag()}
            x = self.add(layers.GatedBatchNormalization(gate=self.gate(inside=True), **settings), x)
        elif kind == "layer":
            x = self.add(K.LayerNormalization(epsilon=0.1), x)
        elif kind == "group":
            divisors = [d for d in range(1, x.shape[-1] + 1) if x.shape[-1] % d == 0]
            settings = {"center": self.flag(), "scale": self.flag()}
            x = self.add(K.GroupNormalization(self.pick([*divisors, -1]), epsilon=0.1, **settings), x)
        elif kind == "unit":
            # Of all zeros it would divide rounding errors by nothing.
            x = self.add(K.UnitNormalization(), K.Rescaling(1.0, 0.5)(x))
        else:
            x = self.add(K.RMSNormalization(epsilon=0.1), x if self.flag() else K.ReLU()(x))
        if self.flag():
            self.add(K.ReLU(), x)

    def step_activation(self, x, dims):
        kind = self.pick(["name", "name", "name", "leaky", "prelu", "elu", "softmax"])
        if kind == "name":
            self.add(K.Activation(self.pick(["relu", "sigmoid", "softplus", "tanh", "hard_silu", "softmax"])), x)
        elif kind == "prelu":
            self.add(K.PReLU("ones", shared_axes=list(range(1, dims + 1)) if self.flag() else None), x)
        elif kind == "softmax" and getattr(x, "_keras_mask", None) is not None:
            # Keras wants a mask of the features, and none of the steps.
            return
        elif kind == "softmax":
            self.add(K.Softmax(axis=1 if x.shape[1] > 1 and self.flag() else -1), x)
        else:
            self.add({"leaky": K.LeakyReLU, "elu": K.ELU}[kind](), x)

    def step_noise(self, x, dims):
        spatial = [[], [], [K.SpatialDropout1D], [K.SpatialDropout2D], [K.SpatialDropout3D]][dims + 1]
        if dims == 1 and self.pick([True, False, False]):
            self.add(K.Masking(self.pick([0.0, 0.5])), x)
        else:
            self.add(self.pick([K.Dropout, K.GaussianNoise, K.GaussianDropout, *spatial])(0.3), x, **self.mode())

    def step_operator(self, x, dims):
        kind = self.pick(["plus", "times", "minus", "function", "rescale", "half", "difference", "moved", "moved"])
        if kind == "plus":
            self.pool.append(x + 3.0)
        elif kind == "times":
            self.pool.append(x * self.pick([0.5, -1.0, 0.0]))
        elif kind == "minus":
            self.pool.append(1.0 - x)
        elif kind == "half":
            self.pool.append(x / 2.0)
        elif kind == "moved":
            self.pool.append(self.pick(MOVES)(x, list(range(1, dims + 1))))
        elif kind == "difference":
            self.pool.append(x - ops.tanh(x))
        elif kind == "rescale":
            offset = self.pick([0.0, 0.5])
            self.add(K.Rescaling(2.0 if self.flag() else [1.0 + i for i in range(x.shape[-1])], offset), x)
        else:
            self.pool.append(self.pick([ops.relu, ops.sigmoid, ops.softplus, ops.negative, ops.abs])(x))

    # Layers that move places.

    def step_shape(self, x, dims):
        kinds = ["flatten", "flatten", "reshape", "permute", "crop", "pad", "up", "slice", "repeat"]
        kind = self.pick([*kinds, "spread", "spread"])
        if kind == "spread" and not x.sparse:
            self.step_spread(x, dims)
            return
        if dims == 0:
            if kind == "repeat":
                self.add(K.RepeatVector(3), x)
            else:
                halves = x.shape[-1] % 2 == 0 and self.flag()
                self.add(K.Reshape((x.shape[-1] // 2, 2) if halves else (1, x.shape[-1])), x)
            return
        size = min(x.shape[1:-1])
        if kind == "flatten" and np.prod(x.shape[1:]) < 300:
            self.add(K.Flatten(), x)
        elif kind == "reshape":
            places = int(np.prod(x.shape[1:-1]))
            shape = (places, x.shape[-1]) if self.flag() else (x.shape[-1], places)
            self.add(K.Reshape(shape), x)
        elif kind == "permute":
            order = list(range(1, dims + 2))
            self.add(K.Permute(order[::-1] if self.flag() else [*order[1::-1], *order[2:]]), x)
        elif kind == "crop" and size > 2:
            self.add(getattr(K, f"Cropping{dims}D")(1), x)
        elif kind == "pad":
            self.add(getattr(K, f"ZeroPadding{dims}D")(1), x)
        elif kind == "up" and max(x.shape[1:-1]) <= 4 and dims < 3:
            self.add(getattr(K, f"UpSampling{dims}D")(2), x)
        elif kind == "slice" and size > 1:
            self.pool.append(x[:, 1:] if self.flag() else x[..., : max(x.shape[-1] // 2, 1)])

    def step_pooling(self, x, dims):
        if dims == 0:
            return
        kind = self.pick(["Max", "Average"])
        if self.flag():
            masks = self.mask(x) if kind == "Average" else {}
            self.add(getattr(K, f"Global{kind}Pooling{dims}D")(keepdims=self.flag()), x, **masks)
        elif min(x.shape[1:-1]) > 1:
            self.add(getattr(K, f"{kind}Pooling{dims}D")(2, padding=self.pick(["valid", "same"])), x)

    # Merges.

    def step_merge(self, x, dims):
        kinds = ["residual", "residual", "padded", "excite", "concatenate", "same", "same", "branch", "inverted"]
        kind = self.pick(kinds)
        if kind == "padded" and not x.sparse:
            return self.padded(x)
        if kind == "inverted" and dims in (1, 2):
            return self.inverted_residual(x, dims)
        if kind == "excite" and dims in (1, 2):
            return self.squeeze_and_excite(x, dims)
        if kind == "residual":
            return self.residual(x, dims)
        if kind == "concatenate":
            axis = self.pick([-1, -1, -1, 1]) if dims else -1
            others = [y for y in self.pool if differs_only_along(axis, x.shape, y.shape)]
            self.add(K.Concatenate(axis=axis), [x, self.pick(others)])
            return None
        others = [y for y in self.pool if tuple(y.shape) == tuple(x.shape) and y is not x]
        y = self.pick(others) if others else self.like(x)
        merge = self.pick([K.Add, K.Add, K.Subtract, K.Multiply, K.Maximum, K.Minimum, K.Average])
        self.add(merge(), [x, y])
        return None

    def like(self, x):
        """A tensor of the shape of x, made from x."""
        dims = len(x.shape) - 2
        if dims in (1, 2):
            conv = getattr(K, f"Conv{dims}D")(x.shape[-1], self.pick([1, 3]), padding="same")
            return conv(x)
        return K.Dense(x.shape[-1], activation=self.pick([None, "relu", "sigmoid"]))(x)

    def residual(self, x, dims):
        """`x + z * f(x)`; with the gate closed the addition goes."""
        y = self.like(x)
        if self.flag():
            y = K.BatchNormalization()(y, **self.mode())
        where = self.pick([None, -1, -1])
        y = self.gate(axis=where)(y) if self.pick([True, True, False]) else y
        # Normalised before it is added, as in RepVGG.
        x = K.BatchNormalization()(x, **self.mode()) if self.pick([True, False, False, False]) else x
        self.add(K.Add(), [x, y])

    def padded(self, x):
        """`pad(x) + z * f(x)`, with more channels than x has."""
        new = [self.pick([0, 1, 2]), self.pick([1, 2])]
        filler = self.pick([0.0, 0.0, 0.0, 0.5])
        start = ops.pad(x, [*([[0, 0]] * (len(x.shape) - 1)), new], constant_values=filler)
        y = K.Dense(x.shape[-1] + sum(new), activation=self.activation())(x)
        self.add(K.Add(), [self.gate()(start) if self.flag() else start, self.gate()(y) if self.flag() else y])

    def inverted_residual(self, x, dims):
        """A wide depthwise convolution between two pointwise ones, as in mobile networks."""
        filters, function = self.width(), self.pick(["relu", "silu", "hard_silu"])
        conv, depthwise = getattr(K, f"Conv{dims}D"), getattr(K, f"DepthwiseConv{dims}D")
        y = K.Activation(function)(K.BatchNormalization()(conv(filters, 1, use_bias=False)(x)))
        y = K.BatchNormalization()(depthwise(self.pick([1, 3]), padding="same", use_bias=self.flag())(y))
        y = self.add(K.Activation(function), y)
        y = self.squeeze_and_excite(y, dims) if self.flag() else y
        y = K.BatchNormalization(gamma_initializer=self.pick(["ones", "zeros"]))(conv(x.shape[-1], 1)(y))
        self.add(K.Add(), [x, y])

    def squeeze_and_excite(self, x, dims):
        channels = x.shape[-1]
        s = getattr(K, f"GlobalAveragePooling{dims}D")()(x)
        s = K.Reshape((1,) * dims + (channels,))(s)
        conv = getattr(K, f"Conv{dims}D")
        s = self.pick([K.Dense(4, activation="relu"), conv(4, 1, activation="relu")])(s)
        s = self.pick([K.Dense(channels, activation="sigmoid"), conv(channels, 1, activation="hard_sigmoid")])(s)
        return self.add(K.Multiply(), [x, s])

    # Layers used twice, nested models, attention, recurrence.

    def step_again(self, x, dims):
        fitting = [(layer, y) for layer, shape in self.made for y in self.pool if tuple(y.shape) == shape]
        if fitting:
            layer, y = self.pick(fitting)
            self.pool.append(layer(y))

    def step_rare(self, x, dims):
        kind = self.pick(["nested", "attention", "attention", "recurrent", "recurrent"])
        if kind == "nested":
            inside = keras.Input(x.shape[1:])
            y = K.Dense(self.width(), activation=self.activation())(inside)
            y = self.gate(size=y.shape[-1])(y)
            if self.flag():
                y = K.Dropout(0.3)(K.BatchNormalization()(y, **self.mode()))
            if self.flag():
                outside = K.Dense(self.width())(y)
                if self.flag():
                    outside = self.pick([1.0, 0.5]) * outside + K.Dense(outside.shape[-1])(inside)
                model = keras.Model(inside, outside)
            else:
                model = keras.Sequential([keras.Input(x.shape[1:]), K.Dense(5), K.Activation(self.activation())])
            # With a mask of its own it stays whole, and no gate can be in what stays whole.
            gated = any(isinstance(layer, gates.Gate) for layer in model._flatten_layers())
            masks = {} if gated else self.mask(x)
            self.pool.append(model(x, **self.mode(), **masks))
            if self.flag():
                self.pool.append(model(x, **self.mode()))
            return
        x = self.tensor((3,))
        if x is None:
            return
        if kind == "attention":
            others = [y for y in self.pool if len(y.shape) == 3]
            y = self.pick(others)
            rate = self.pick([0.0, 0.0, 0.3])
            attention = K.MultiHeadAttention(
                2, 2, value_dim=self.pick([2, 3]), use_bias=self.flag(), dropout=rate, flash_attention=False
            )
            more = self.pick([{}, {}, {"use_causal_mask": True}, {"return_attention_scores": True}])
            self.pool.extend(keras.tree.flatten(attention(x, y, **more, **self.mode()))[:1])
        else:
            recurrent, rate = self.pick([K.LSTM, K.GRU, K.SimpleRNN]), self.pick([0.0, 0.0, 0.3])
            settings = {"return_sequences": self.flag(), "dropout": rate}
            settings["return_state"] = self.pick([True, False, False])
            if recurrent is K.GRU:
                settings["reset_after"] = self.flag()
            if self.gated and self.flag():
                kinds = {K.LSTM: layers.GatedLSTM, K.GRU: layers.GatedGRU, K.SimpleRNN: layers.GatedSimpleRNN}
                recurrent = kinds[recurrent]
                settings["gate"] = self.gate(inside=True)
            layer = recurrent(4, go_backwards=self.flag(), **settings)
            state = self.pick([True, False, False, False])
            started = {"initial_state": [K.Dense(4)(x[:, 0]) for _ in layer.state_size]} if state else {}
            mode = {} if isinstance(layer, layers.GatedRecurrent) else self.mode()
            made = keras.tree.flatten(layer(x, **started, **self.mask(x), **mode))
            self.pool.extend(made[: self.pick([1, len(made)])])

    # The whole.

    def finish(self, make=keras.Model):
        """A model with one or two outputs behind all that was made."""
        ends = [self.pool[-1], self.pick(self.pool)]
        outputs = []
        for x in ends if self.flag() and ends[1] is not ends[0] else ends[:1]:
            head = self.pick(["dense", "dense", "dense", "flatten", "flatten", "none"])
            if head == "flatten" and len(x.shape) > 2 and np.prod(x.shape[1:]) < 300:
                x = K.Flatten()(x)
            outputs.append(K.Identity()(x) if head == "none" else K.Dense(3)(x))
        inputs = self.inputs[0] if len(self.inputs) == 1 else self.inputs
        return self.freeze(make(inputs, outputs[0] if len(outputs) == 1 else outputs))


def differs_only_along(axis, a, b):
    """Whether two shapes are equal but for one axis."""
    a, b = list(a), list(b)
    if len(a) != len(b):
        return False
    a[axis] = b[axis] = None
    return a == b


def random_network(pick, steps, gated=True):
    """A random network of about `steps` layers, with gates or without."""
    builder = Builder(pick, gated)
    for _ in range(steps):
        builder.step()
    return builder.finish()


def randomise(model, seed, closed=0.5, zeros=0.2):
    """Random statistics, biases and gates; some units closed, some filters exactly zero."""
    generator = np.random.default_rng(seed)
    for layer in model._flatten_layers(include_self=False):
        if isinstance(layer, gates.Gate):
            close(layer, generator, closed)
        elif isinstance(layer, K.BatchNormalization):
            shape = layer.moving_mean.shape
            layer.moving_mean.assign(generator.normal(size=shape))
            layer.moving_variance.assign(generator.uniform(0.5, 2.0, shape))
            for name, low, high in (("gamma", 0.5, 1.5), ("beta", -1.0, 1.0)):
                if getattr(layer, name) is not None:
                    getattr(layer, name).assign(generator.uniform(low, high, shape))
        else:
            for variable in layer.trainable_variables:
                if variable.name in ("bias", "alpha") and not variable.path.count("cell"):
                    variable.assign(generator.normal(size=variable.shape))
                if variable.name == "kernel" and "recurrent" not in variable.path and generator.random() < 0.5:
                    kernel = array(variable)
                    kernel[..., generator.random(kernel.shape[-1]) < zeros] = 0.0
                    variable.assign(kernel)


def close(gate, generator, closed):
    """Closes each unit with probability `closed`; the others get values below and above 1."""
    shape = gate.unit_shape
    shut = generator.random(shape) < closed
    if isinstance(gate, gates.ScalingGate):
        gate.scale.assign(np.where(shut, 0.0, generator.uniform(0.3, 1.3, shape)))
    else:
        gate.logits.assign(np.where(shut, -4.0, generator.uniform(0.2, 3.0, shape)))
