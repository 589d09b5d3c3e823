"""CIFAR-10 as a plain folder of arrays, for machines without TensorFlow and without a network.

Makes the folder from what tensorflow-datasets has prepared, in parts small enough to be carried one by one:

    python benchmarks/cifar10_data.py --data_dir=../shared/data/tfds --out=DIRECTORY --parts=2

`load(DIRECTORY)` gives the images back, bit for bit, with NumPy alone. It reads several folders, so that the
parts may lie in different ones.
"""

import argparse
import concurrent.futures
import glob
import lzma
import os

import numpy as np

# Literals alone: neighbours are predicted before, and what is left repeats nowhere.
FILTERS = [{"id": lzma.FILTER_LZMA2, "preset": 6, "lc": 4, "lp": 0, "pb": 0, "dict_size": 1 << 22}]


def _median(left, up, corner):
    """The prediction of LOCO-I: the median of left, up and their plane."""
    low, high = np.minimum(left, up), np.maximum(left, up)
    return np.where(corner >= high, low, np.where(corner <= low, high, left + up - corner))


def encode(images):
    """The residuals of images `(n, height, width, 3)` of bytes: `(n, 3, height, width)` of bytes."""
    values = images.astype(np.int16)
    green = values[..., 1:2]
    values = np.concatenate([(values[..., :1] - green) & 255, green, (values[..., 2:] - green) & 255], axis=-1)
    padded = np.pad(values, ((0, 0), (1, 0), (1, 0), (0, 0)))
    predicted = _median(padded[:, 1:, :-1], padded[:, :-1, 1:], padded[:, :-1, :-1])
    return ((values - predicted) & 255).astype(np.uint8).transpose(0, 3, 1, 2)


def decode(residuals):
    """The images of `encode`."""
    count, _, height, width = residuals.shape
    # Places first: each is predicted from those before it, in all images at once.
    residuals = np.ascontiguousarray(residuals.transpose(2, 3, 0, 1)).astype(np.int16)
    values = np.zeros((height + 1, width + 1, count, 3), np.int16)
    for i in range(height):
        for j in range(width):
            predicted = _median(values[i + 1, j], values[i, j + 1], values[i, j])
            values[i + 1, j + 1] = (residuals[i, j] + predicted) & 255
    values = values[1:, 1:].transpose(2, 0, 1, 3)
    green = values[..., 1:2]
    values = np.concatenate([(values[..., :1] + green) & 255, green, (values[..., 2:] + green) & 255], axis=-1)
    return values.astype(np.uint8)


def write(folder, split, number, images, labels):
    """Writes one part, losslessly compressed, and returns its path."""
    os.makedirs(folder, exist_ok=True)
    path = os.path.join(folder, f"{split}-{number}.npz")
    packed = lzma.compress(encode(images).tobytes(), format=lzma.FORMAT_RAW, filters=FILTERS)
    np.savez(path, packed=np.frombuffer(packed, np.uint8), labels=labels.astype(np.uint8), shape=images.shape)
    return path


def read(path):
    """Images and labels of one part."""
    part = np.load(path)
    count, height, width, channels = part["shape"]
    data = lzma.decompress(part["packed"].tobytes(), format=lzma.FORMAT_RAW, filters=FILTERS)
    return decode(np.frombuffer(data, np.uint8).reshape(count, channels, height, width)), part["labels"]


def load(folders, split):
    """Images `(n, 32, 32, 3)` of bytes and labels `(n,)` of a split, `"train"` or `"test"`, or None without any.

    Args:
        folders: list of folders with parts.
        split: string.
    """
    paths = [path for folder in folders for path in glob.glob(os.path.join(folder, f"{split}-*.npz"))]
    with concurrent.futures.ThreadPoolExecutor() as pool:
        parts = list(pool.map(read, sorted(paths, key=os.path.basename)))
    if not parts:
        return None
    return np.concatenate([images for images, _ in parts]), np.concatenate([labels for _, labels in parts])


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--data_dir", required=True, help="folder of tensorflow-datasets, with cifar10 in it")
    parser.add_argument("--out", required=True, help="folder to make; a folder in it for each part")
    parser.add_argument("--parts", type=int, default=2)
    parser.add_argument("--limit", type=int, help="take so many images of each split alone")
    arguments = parser.parse_args()
    import tensorflow_datasets as tfds

    sizes = np.zeros(arguments.parts)
    for split in ("test", "train"):
        data = tfds.load(
            "cifar10", split=split, data_dir=arguments.data_dir, download=False, batch_size=-1, as_supervised=True
        )
        images, labels = (np.asarray(each)[: arguments.limit] for each in tfds.as_numpy(data))
        # The test images lie in the last part, which gets as many fewer of the others.
        taken = [len(images)] if split == "test" else _shares(len(images), arguments.parts, sizes)
        places = [arguments.parts - 1] if split == "test" else list(range(arguments.parts))
        start = 0
        for number, (part, count) in enumerate(zip(places, taken, strict=True)):
            chosen = slice(start, start + count)
            path = write(os.path.join(arguments.out, f"part{part}"), split, number, images[chosen], labels[chosen])
            again = read(path)
            assert np.array_equal(again[0], images[chosen]) and np.array_equal(again[1], labels[chosen])
            sizes[part] += count
            start += count
            print(f"{path}: {count} images, {os.path.getsize(path) / 2**20:.1f} MiB", flush=True)


def _shares(count, parts, taken):
    """How many of `count` images each part gets, so that all have as many."""
    ends = [round((count + taken.sum()) * (i + 1) / parts) for i in range(parts)]
    shares = np.diff([0, *ends]) - taken
    return [int(share) for share in shares]


if __name__ == "__main__":
    main()
