"""Guide 4: transfer learning: a frozen backbone with a new head, unfrozen, gated and pruned. About a minute.

python examples/transfer_learning.py
python examples/transfer_learning.py 30 0.3    # epochs, share of the MACs

The backbone has learned the digits 0 to 4, the new head is for 5 to 9. With one of keras.applications it is the same:
`backbone = keras.applications.MobileNetV2(include_top=False, pooling="avg", name="backbone")`.
"""

import sys

import keras
from sklearn.datasets import load_digits

import tfgates

EPOCHS = int(sys.argv[1]) if len(sys.argv) > 1 else 20
SHARE = float(sys.argv[2]) if len(sys.argv) > 2 else 0.3
LOSS = "sparse_categorical_crossentropy"

keras.utils.set_random_seed(0)
digits = load_digits()
images, labels = digits.images[..., None] / 16.0, digits.target
old, new = labels < 5, labels >= 5


def network(backbone):
    """A head of five classes on a backbone, a model inside of the model."""
    inputs = keras.Input((8, 8, 1))
    return keras.Model(inputs, keras.layers.Dense(5, activation="softmax", name="head")(backbone(inputs)))


def convolution(filters):
    return [
        keras.layers.Conv2D(filters, 3, padding="same", use_bias=False),
        keras.layers.BatchNormalization(),
        keras.layers.ReLU(),
    ]


# 0. A backbone that has learned something.
backbone = keras.Sequential(
    [
        keras.Input((8, 8, 1)),
        *(layer for filters in (32, 64, 64) for layer in convolution(filters)),
        keras.layers.GlobalAveragePooling2D(),
    ],
    name="backbone",
)
teacher = network(backbone)
teacher.compile("adam", loss=LOSS, metrics=["accuracy"])
teacher.fit(images[old], labels[old], epochs=EPOCHS, batch_size=32, verbose=0)

# 1. The new head on the frozen backbone, whose batch normalisation keeps its averages while it is frozen.
train, test = ((images[new][part], labels[new][part] - 5) for part in (slice(600), slice(600, None)))
backbone.trainable = False
model = network(backbone)
model.compile("adam", loss=LOSS, metrics=["accuracy"])
model.fit(*train, epochs=EPOCHS, batch_size=32, verbose=0)
head_alone = model.evaluate(*test, verbose=0)[1]

# 2. Gate it. What was frozen still is, but for its gates: they could already learn which channels the new task does
# without. The backbone was laid out flat; `layers_of` finds its layers again.
gated = tfgates.gate_model(model, budget=tfgates.Budget(macs=SHARE), seed=0)
print("The backbone's layers:", ", ".join(layer.name for layer in gated.layers_of("backbone")))

# 3. Unfreeze it, compile, and train all of it under the budget at a low rate, which is that of the weights alone. The
# pull of the budget grows over the first `fit`, so unfreeze before that. (Later is possible too: compile again then.)
for layer in gated.layers_of("backbone"):
    layer.trainable = True
gated.compile(keras.optimizers.Adam(3e-4), loss=LOSS, metrics=["accuracy"])
gated.fit(*train, epochs=EPOCHS, batch_size=32, verbose=0)

# 4. Prune, gather averages again, and train on for a while. Names stay: `small.get_layer("head")`.
small = tfgates.finish(gated, train)
more = max(1, EPOCHS // 2)
small.fit(*train, epochs=EPOCHS + more, initial_epoch=EPOCHS, batch_size=32, verbose=0)

# 5. What did that cost? The same without gates.
backbone.trainable = True
model.compile(keras.optimizers.Adam(3e-4), loss=LOSS, metrics=["accuracy"])
model.fit(*train, epochs=EPOCHS + more, batch_size=32, verbose=0)
before, after = (100 * network.evaluate(*test, verbose=0)[1] for network in (model, small))
print(tfgates.report_of(small))
print(
    f"Test accuracy of the pruned network: {after:.1f} %, dense: {before:.1f} %, "
    f"of the head on the frozen backbone: {100 * head_alone:.1f} %"
)
