"""Gates, trains, prunes and saves a small network: what an installed wheel must be able to do, without pytest."""

import pathlib
import tempfile

import keras
import numpy as np

import tfgates

keras.utils.set_random_seed(0)
inputs = keras.Input((8, 8, 3))
x = keras.layers.Conv2D(8, 3, padding="same", activation="relu")(inputs)
y = keras.layers.BatchNormalization()(keras.layers.Conv2D(8, 3, padding="same")(x))
x = keras.layers.ReLU()(keras.layers.Add()([x, y]))
x = keras.layers.GlobalAveragePooling2D()(keras.layers.Conv2D(12, 3, activation="relu")(x))
model = keras.Model(inputs, keras.layers.Dense(4, activation="softmax")(x))
numbers = np.random.default_rng(0)
data = numbers.normal(size=(64, 8, 8, 3)).astype("float32"), numbers.integers(0, 4, 64)

gated = tfgates.gate_model(model, budget=tfgates.Budget(macs=0.7))
gated.compile("adam", loss="sparse_categorical_crossentropy")
gated.fit(*data, epochs=3, verbose=0)
small = tfgates.finish(gated, data)
assert tfgates.cost(small).macs <= 0.7 * tfgates.cost(model).macs
with tempfile.TemporaryDirectory() as folder:
    path = pathlib.Path(folder) / "small.keras"
    small.save(path)
    again = keras.saving.load_model(path)
np.testing.assert_allclose(again.predict(data[0], verbose=0), small.predict(data[0], verbose=0), rtol=1e-5)
print(f"{tfgates.__file__}: tfgates {tfgates.__version__}, Keras {keras.__version__}")
print(f"pruned to {small.count_params()} parameters")
