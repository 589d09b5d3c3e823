"""The packed size of models whose single weights are gated."""

import zipfile

import keras
import numpy as np
import pytest

import tfgates
from tfgates.pruning import compressed_bytes


def weight_gated(share_open):
    inputs = keras.Input((40,))
    layer = tfgates.layers.GatedDense(50, gate="hard_concrete", granularity="weight")
    model = tfgates.GatedModel(inputs, keras.layers.Dense(3)(layer(inputs)))
    logits = layer.gate.logits
    is_open = np.random.default_rng(0).random(logits.shape) < share_open
    logits.assign(np.where(is_open, 6.0, -6.0))
    return model


def test_weights_that_are_gone_take_no_room_when_packed(tmp_path):
    sizes, packed = {}, {}
    for share in (1.0, 0.1):
        small = tfgates.prune(weight_gated(share))
        kernel = keras.ops.convert_to_numpy(small.weights[0])
        assert np.mean(kernel != 0.0) == pytest.approx(share, abs=0.03)
        path = tmp_path / f"{share}.keras"
        small.save(path)
        sizes[share], packed[share] = path.stat().st_size, compressed_bytes(path)
    assert sizes[0.1] == pytest.approx(sizes[1.0], rel=0.01)
    assert packed[0.1] < 0.5 * packed[1.0]


def test_it_is_the_sum_of_what_zip_makes_of_each_file(tmp_path):
    folder = tmp_path / "model"
    (folder / "variables").mkdir(parents=True)
    (folder / "zeros").write_bytes(bytes(10_000))
    (folder / "variables" / "random").write_bytes(np.random.default_rng(0).bytes(3_000))
    with zipfile.ZipFile(tmp_path / "packed.zip", "w", zipfile.ZIP_DEFLATED, compresslevel=9) as archive:
        for file in ("zeros", "variables/random"):
            archive.write(folder / file)
        expected = sum(entry.compress_size for entry in archive.infolist())
    # zlib adds a head and a checksum of 6 bytes.
    assert compressed_bytes(folder) == pytest.approx(expected, abs=2 * 6 + 8)
    with zipfile.ZipFile(tmp_path / "stored.zip", "w", zipfile.ZIP_STORED) as archive:
        archive.write(folder / "zeros")
    assert compressed_bytes(tmp_path / "stored.zip") == compressed_bytes(folder / "zeros") < 100


def test_nothing_there(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"`path` must be a file or a folder. Received: path="):
        compressed_bytes(tmp_path / "missing.keras")
