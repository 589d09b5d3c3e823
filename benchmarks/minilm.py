"""A real MiniLM (22.7 M parameters, 6 layers of 12 heads) on a text task, and 60 % of its encoder removed.

    python benchmarks/minilm_data.py --out=minilm.npz
    python benchmarks/minilm.py --prepared=minilm.npz --seeds 0 --examples=3000
    python benchmarks/minilm.py --table

The task needs no download: the section of a package of Debian by its description, one line of about six words, as
`apt-cache dumpavail` lists them, the largest 20 sections, split by source package. Sequences have 16 tokens, the
table of words and its positions are frozen and count as parameters. Runs, in their order:

    dense       the network fine-tuned
    compress    from there, `tfgates.compress` with heads, units and whole branches, taught by the dense network
    magnitude   from there, `compress(importance="magnitude")`: pruned after some epochs, the others are fine-tuning
    layers      from there, the layers 1, 3 and 5 alone (half of the encoder), taught likewise

The last three train for as many epochs. What is there is not run again, and an interrupted `compress` goes on. Runs
may be processes of their own, several at a time, once their dense network is there: `--seeds 0 --runs compress`, each
with the settings of its own; settings that are tried get an `--out` of their own, and `--dense` says where the dense
networks are. With JAX (`KERAS_BACKEND=jax`) and an accelerator it trains there and prunes on the processor; TensorFlow
is needed for `--latency` alone.
"""

import argparse
import json
import os
import pathlib
import re
import time

import numpy as np
from minilm_data import CLASSES, LENGTH, Prepared

RUNS = ("dense", "compress", "magnitude", "layers")
FROZEN = ("token_embedding", "position_embedding", "segment_embedding")
# What makes a run what it is.
SETTINGS = ("examples", "epochs", "dense_epochs", "batch", "rate", "removed", "logits")
SETTINGS_OF_COMPRESS = ("residual", "layer_weight", "fine_tune")


def arguments(given=None):
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--prepared", type=pathlib.Path, help="the file that minilm_data.py makes")
    parser.add_argument("--seeds", type=int, nargs="*", default=[0])
    parser.add_argument("--runs", nargs="*", choices=RUNS, default=RUNS)
    parser.add_argument("--examples", type=int, help="texts to train on, by chance; all unless given")
    parser.add_argument("--epochs", type=int, default=5, help="of each run after the dense one")
    parser.add_argument("--dense_epochs", type=int, default=3)
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--rate", type=float, default=1.5e-4, help="largest learning rate")
    parser.add_argument(
        "--residual", default="block", choices=("block", "layer", "both"), help="what `compress` gates as a whole"
    )
    parser.add_argument("--layer_weight", type=float, default=0.0, help="of the layers' error to the teacher's")
    parser.add_argument(
        "--logits", action="store_true", help="compute the teacher's logits once and not in each step: the same loss"
    )
    parser.add_argument("--fine_tune", type=float, default=0.4, help="share of the epochs of `compress` after pruning")
    parser.add_argument("--before", type=int, default=1, help="epochs of `magnitude` before it is pruned")
    parser.add_argument("--removed", type=float, default=0.6, help="share of the encoder's parameters")
    parser.add_argument("--out", type=pathlib.Path, default=pathlib.Path("runs/minilm"))
    parser.add_argument("--dense", type=pathlib.Path, help="folder of the dense networks; `--out` unless given")
    parser.add_argument("--latency", action="store_true", help="measure what is there, in turns, and run nothing")
    parser.add_argument("--table", action="store_true", help="print the results that are there, and run nothing")
    parser.add_argument("--results", type=pathlib.Path, help="with --table: write them all into this file")
    options = parser.parse_args(given)
    options.dense = options.dense or options.out
    if options.prepared is None and not options.table and not options.latency:
        parser.error("--prepared must name the file that benchmarks/minilm_data.py makes. Received: none")
    return options


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


def half(dense, prepared):
    """The dense network with every other layer of its encoder."""
    model = classifier(prepared.backbone(num_layers=prepared.config["num_layers"] // 2))
    for layer in model.layers:
        match = re.fullmatch(r"transformer_layer_(\d)", layer.name)
        if layer.weights:
            name = f"transformer_layer_{2 * int(match[1]) + 1}" if match else layer.name
            layer.set_weights(dense.get_layer(name).get_weights())
    return model


# Where programs run.


class Processor:
    """Where everything is."""

    shrink, callbacks, name = True, (), "processor"

    def __init__(self):
        self.teachers = []


class Accelerator:
    """With JAX: training and prediction run on the first device, all else on the processor.

    Analysis and pruning are many small programs, each of which would be compiled for the accelerator, and compare in
    full precision. `callbacks` belong to each `fit` and `predict`. Networks do not shrink while they train, which
    would compile each step again where steps of any size take as long.
    """

    shrink = False

    def __init__(self):
        import jax
        import keras

        device, processor = jax.devices()[0], jax.devices("cpu")[0]

        placed = keras.callbacks.Callback()
        teachers = self.teachers = []

        def move(to):
            """What the model and its teachers hold: what a program closes over would be copied in each step."""
            jax.config.update("jax_default_device", to)
            for model in (placed.model, *teachers):
                for variable in model.variables:
                    variable.assign(np.asarray(variable.value))

        placed.on_train_begin = placed.on_predict_begin = lambda logs=None: move(device)
        placed.on_train_end = placed.on_predict_end = lambda logs=None: move(processor)
        jax.config.update("jax_default_device", processor)
        self.callbacks, self.name = [placed], device.device_kind


def place():
    import keras

    return Accelerator() if keras.backend.backend() == "jax" else Processor()


# The runs.


def loss():
    import keras

    return keras.losses.SparseCategoricalCrossentropy(from_logits=True)


def distilled(teacher, x, y, device):
    """What `tfgates.Teacher` adds to the loss, from logits that are computed once: the loss, and its targets."""
    import keras

    plain = loss()

    def asked(y_true, y_pred):
        t, s = y_true[:, 1:] / 2.0, y_pred / 2.0
        apart = keras.ops.softmax(t) * (keras.ops.log_softmax(t) - keras.ops.log_softmax(s))
        return plain(y_true[:, 0], y_pred) + 4.0 * keras.ops.mean(keras.ops.sum(apart, axis=-1))

    return asked, np.concatenate([y[:, None], predicted(teacher, x, device)], axis=1).astype("float32")


def fitted(model, x, y, epochs, options, device, taught_by=None):
    """Trained with a rate that falls to 0 by a cosine, after a tenth of the steps of warm-up."""
    import keras

    steps = epochs * -(-len(y) // options.batch)
    schedule = keras.optimizers.schedules.CosineDecay(
        options.rate / 10, steps - steps // 10, warmup_target=options.rate, warmup_steps=steps // 10
    )
    asked, targets = (loss(), y) if taught_by is None else distilled(taught_by, x, y, device)
    model.compile(keras.optimizers.AdamW(schedule, weight_decay=0.01), loss=asked)
    model.fit(x, targets, batch_size=options.batch, epochs=epochs, verbose=2, callbacks=[*device.callbacks])
    return model


def predicted(model, x, device):
    return model.predict(x, batch_size=512, verbose=0, callbacks=[*device.callbacks])


def run(name, options, seed, prepared, dense, device):
    """The network of one run."""
    import keras

    import tfgates

    keras.utils.set_random_seed(seed)
    x, y = prepared.part("train", options.examples, seed)
    if name == "dense":
        return fitted(classifier(prepared.backbone()), x, y, options.dense_epochs, options, device)
    if name == "layers":
        return fitted(half(dense, prepared), x, y, options.epochs, options, device, taught_by=dense)
    asked, targets, teacher = loss(), y, True
    if options.layer_weight and name == "compress":
        matched = {"layers": r"transformer_layer_\d+", "layer_weight": options.layer_weight}
        teacher = tfgates.Teacher(dense, **matched)
    elif options.logits:
        (asked, targets), teacher = distilled(dense, x, y, device), None
    device.teachers[:] = [dense]
    budget = tfgates.Budget(params=int(dense.count_params() - options.removed * encoder_size(dense)))
    if name == "magnitude":
        given = {"importance": "magnitude", "fine_tune": (options.epochs - options.before) / options.epochs}
    else:
        wholes = ("block", "layer") if options.residual == "both" else (options.residual,)
        given = {"residual": ("inner", *wholes), "fine_tune": options.fine_tune}
    return tfgates.compress(
        dense,
        (x, targets),
        budget=budget,
        loss=asked,
        teacher=teacher,
        epochs=options.epochs,
        batch_size=options.batch,
        learning_rate=options.rate,
        weight_decay=0.01,
        callbacks=[*device.callbacks],
        shrink=device.shrink,
        resume=options.out / f"{name}_{seed}",
        verbose=2,
        **given,
    )


def measured(model, prepared, dense, device):
    """Accuracies on the texts that were held out, for choices, and on the test texts; sizes."""
    import tfgates

    found = {}
    for key, part in (("validation", "validation"), ("accuracy", "test")):
        x, y = prepared.part(part)
        found[key] = float(np.mean(np.argmax(predicted(model, x, device), axis=-1) == y))
        found[f"{part}_texts"] = len(y)
    cost = tfgates.cost(model, length=LENGTH)
    left = 1 - (dense.count_params() - cost.params) / encoder_size(dense)
    return {**found, "params": cost.params, "macs": cost.macs, "encoder_left": left}


def settings(options, name):
    names = [*SETTINGS, *{"compress": SETTINGS_OF_COMPRESS, "magnitude": ("before",)}.get(name, ())]
    return {key: getattr(options, key) for key in names}


def results(out):
    """What the runs in a folder have written, by run and seed."""
    return [json.loads(path.read_text()) for name in (*RUNS, "latency") for path in sorted(out.glob(f"{name}_*.json"))]


def latency(options, seed):
    """Milliseconds a batch of 1 and of 8, as SavedModels in turns, one thread.

    Of the networks that the runs have written as text: the shapes of their layers, with weights by chance.
    """
    import keras
    import keras_hub  # noqa: F401 (reading a network needs its classes)
    import tensorflow as tf
    from timing import interleaved, ratios

    import tfgates  # noqa: F401 (likewise)

    served = {}
    for name in RUNS:
        path, folder = options.out / f"{name}_{seed}.network", options.out / f"saved_{name}_{seed}"
        if path.exists():
            if not folder.exists():
                # What it was trained by is of this program.
                config = {key: v for key, v in json.loads(path.read_text()).items() if key != "compile_config"}
                keras.models.model_from_json(json.dumps(config)).export(folder, verbose=False)
            served[name] = tf.saved_model.load(folder)
    found = {}
    ids = np.random.default_rng(seed).integers(1, 1000, (8, LENGTH)).astype("int32")
    x = {"token_ids": ids, "segment_ids": np.zeros_like(ids), "padding_mask": np.ones_like(ids)}
    for batch in (1, 8):
        given = {name: tf.constant(value[:batch]) for name, value in x.items()}
        functions = {name: lambda model=model, given=given: model.serve(given) for name, model in served.items()}
        clock, _ = interleaved(functions, 100)
        for name, (middle, _, _) in ratios(clock, "dense").items():
            found.setdefault(name, {})[f"batch_{batch}"] = [1e3 * float(np.median(clock[name])), middle]
    return {"run": "latency", "seed": seed, "milliseconds_and_over_dense": found}


def table(rows):
    """The results that are there, as text: means over the seeds."""
    heads = ("run", "validation", "test", "of dense", "parameters", "encoder left", "MACs", "seconds", "seeds", "below")
    lines = ["| " + " | ".join(heads) + " |", "|" + "---|" * len(heads)]
    by_run = {name: {row["seed"]: row for row in rows if row["run"] == name} for name in RUNS}
    for name, runs in by_run.items():
        if runs:
            keys = ("validation", "accuracy", "params", "macs", "encoder_left", "seconds")
            means = {key: np.mean([row[key] for row in runs.values()]) for key in keys}
            dense = [by_run["dense"][seed]["accuracy"] for seed in runs if seed in by_run["dense"]]
            share = f"{100 * means['accuracy'] / np.mean(dense):.1f} %" if dense else ""
            ours = by_run["compress"]
            below = sum(ours[seed]["accuracy"] > row["accuracy"] for seed, row in runs.items() if seed in ours)
            lines.append(
                f"| {name} | {means['validation']:.4f} | {means['accuracy']:.4f} | {share} | {means['params']:,.0f} | "
                f"{100 * means['encoder_left']:.1f} % | {means['macs']:,.0f} | {means['seconds']:,.0f} | "
                f"{', '.join(map(str, sorted(runs)))} | compress in {below} |"
            )
    return "\n".join(lines)


def run_missing(options):
    """The runs that are asked for and not there."""
    import keras
    import keras_hub  # noqa: F401 (loading a file needs its classes)
    import stored

    from tfgates.files import write_whole

    device = place()
    prepared = Prepared(options.prepared)
    options.out.mkdir(parents=True, exist_ok=True)
    for seed in options.seeds:
        dense = None
        for name in RUNS:
            path = (options.dense if name == "dense" else options.out) / f"{name}_{seed}.keras"
            if not path.exists() and name in options.runs:
                start, start_of_processor = time.perf_counter(), time.process_time()
                model = run(name, options, seed, prepared, dense, device)
                row = {
                    "run": name,
                    "seed": seed,
                    "seconds": time.perf_counter() - start,
                    "processor_seconds": time.process_time() - start_of_processor,
                    "device": device.name,
                }
                if name == "dense":
                    dense = model
                row |= {**measured(model, prepared, dense, device), "settings": settings(options, name)}
                row |= {"texts": len(prepared.part("train", options.examples)[1]), "versions": stored.versions()}
                print(row, flush=True)
                for suffix, write in (
                    (".network", lambda file, model=model: file.write_text(model.to_json())),
                    (".json", lambda file, row=row: file.write_text(json.dumps(row))),
                    (".keras", model.save),
                ):
                    write_whole(path.with_suffix(suffix), write)
            elif name == "dense":
                if not path.exists():
                    raise FileNotFoundError(f"`--dense` must hold the dense network of the seed. Received: no {path}")
                dense = keras.saving.load_model(path, compile=False)
                dense.compile(loss=loss())


def main(given=None):
    options = arguments(given)
    if options.latency:
        for seed in options.seeds:
            found = latency(options, seed)
            (options.out / f"latency_{seed}.json").write_text(json.dumps(found))
            print(found)
        return
    if not options.table:
        run_missing(options)
    rows = results(options.out)
    print(table(rows))
    if options.results:
        import stored

        stored.store(options.results, rows)


if __name__ == "__main__":
    for variable in ("TF_NUM_INTRAOP_THREADS", "TF_NUM_INTEROP_THREADS"):
        os.environ.setdefault(variable, "1")
    main()
