"""Trains a gated network, prunes it, fine-tunes what is left, exports it and reports.

python examples/train.py                                       # bundled digits, no download
python examples/train.py --dataset=mnist --data_dir=~/tensorflow_datasets --epochs=20 --batch_size=128
"""

import os
import pathlib

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import data as datasets
import keras
import networks
import report
from absl import app, flags, logging

import tfgates
from tfgates.callbacks.sparsity_monitor import check_writable

FLAGS = flags.FLAGS
flags.DEFINE_enum("model", "lenet5", sorted(tfgates.applications.__all__), "Network.")
flags.DEFINE_string("dataset", "digits", "digits, or a name that tensorflow-datasets knows.")
flags.DEFINE_string("data_dir", None, "Folder of tensorflow-datasets.")
flags.DEFINE_enum("gate", "hard_concrete", sorted(tfgates.gates.NAMES), "Method.")
flags.DEFINE_list("l0", None, "Loss per 60,000 weights: one number, or one per gated layer.")
flags.DEFINE_float("scaling_strength", 0.01, "L1 strength, for --gate=scaling.")
flags.DEFINE_float("initial_open_probability", 0.832, "Of each gate; 0.832 is hard concrete at logits 0.")
flags.DEFINE_integer("epochs", 60, "Epochs in total, fine-tuning included.", lower_bound=1)
flags.DEFINE_integer("finetune_epochs", 10, "How many of them fine-tune the pruned network.", lower_bound=0)
flags.DEFINE_integer("min_units", 1, "Units to keep in a layer that has closed altogether.", lower_bound=0)
flags.DEFINE_integer("round_to", 1, "Round widths up to a multiple of this.", lower_bound=1)
flags.DEFINE_integer("batch_size", 32, "Images per step.", lower_bound=1)
flags.DEFINE_integer("image_size", None, "Resize images to this; 28 for digits.")
flags.DEFINE_float("learning_rate", 2e-3, "Of the weights (Adam), decayed by a cosine to 0.")
flags.DEFINE_float("gate_learning_rate", 0.02, "Of the gates (Adam), constant.")
flags.DEFINE_float("finetune_learning_rate", 2e-3, "Of the pruned network (Adam), decayed by a cosine to 0.")
flags.DEFINE_float("validation_share", 1 / 12, "Share of the training images held out for validation.")
flags.DEFINE_integer("seed", 0, "Of the weights, the gates and the shuffling.")
flags.DEFINE_string("out", "runs/digits", "Folder for models and logs.")
flags.DEFINE_integer("verbose", 1, "0 silent, 1 progress bar, 2 one line per epoch.")


def optimizer(learning_rate, epochs, data):
    steps = epochs * data.train.cardinality().numpy()
    return keras.optimizers.Adam(keras.optimizers.schedules.CosineDecay(learning_rate, max(1, int(steps))))


def train(model, data, epochs, logs):
    """Trains weights and gates together."""
    callbacks = [tfgates.callbacks.SparsityMonitor(logs), keras.callbacks.TensorBoard(logs)]
    weights_optimizer = optimizer(FLAGS.learning_rate, epochs, data)
    if FLAGS.gate == "scaling":
        # It puts an optimizer of its own in charge of the factors.
        callbacks.insert(0, tfgates.callbacks.SparseScaling(FLAGS.scaling_strength))
        both = weights_optimizer
    else:
        both = tfgates.optimizers.with_gate_optimizer(
            weights_optimizer, keras.optimizers.Adam(FLAGS.gate_learning_rate)
        )
    model.compile(both, loss="sparse_categorical_crossentropy", metrics=["accuracy"])
    model.fit(
        data.train,
        validation_data=data.validation,
        epochs=epochs,
        callbacks=callbacks,
        shuffle=False,  # The pipeline shuffles.
        verbose=FLAGS.verbose,
    )


def finetune(model, data, epochs, logs):
    """Trains the plain network that pruning left."""
    model.compile(
        optimizer(FLAGS.finetune_learning_rate, epochs, data),
        loss="sparse_categorical_crossentropy",
        metrics=["accuracy"],
    )
    model.fit(
        data.train,
        validation_data=data.validation,
        epochs=epochs,
        callbacks=[keras.callbacks.TensorBoard(os.path.join(logs, "finetune"))],
        shuffle=False,  # The pipeline shuffles.
        verbose=FLAGS.verbose,
    )


def main(argv):
    if len(argv) > 1:
        raise app.UsageError(f"Unknown arguments: {argv[1:]}")
    if FLAGS.finetune_epochs >= FLAGS.epochs:
        raise app.UsageError("--finetune_epochs must be less than --epochs")
    # TensorFlow tells each step of an export.
    logging.set_verbosity(logging.WARNING)
    out = pathlib.Path(FLAGS.out).expanduser()
    logs = str(out / "logs")
    # An unwritable folder should be known now, not after training.
    check_writable("out", str(out))
    keras.utils.set_random_seed(FLAGS.seed)
    data_dir = None if FLAGS.data_dir is None else os.path.expanduser(FLAGS.data_dir)
    data = datasets.load(
        FLAGS.dataset,
        data_dir,
        FLAGS.batch_size,
        image_size=FLAGS.image_size,
        validation_share=FLAGS.validation_share,
        seed=FLAGS.seed,
    )
    gated = networks.build(
        FLAGS.model,
        data,
        FLAGS.gate,
        l0=None if FLAGS.l0 is None else [float(value) for value in FLAGS.l0],
        seed=FLAGS.seed,
        initial_open_probability=FLAGS.initial_open_probability,
    )

    train(gated, data, FLAGS.epochs - FLAGS.finetune_epochs, logs)
    plan = tfgates.plan_pruning(gated, min_units=FLAGS.min_units, round_to=FLAGS.round_to)
    print(plan)
    # It raises an error if the outputs are not those of the gated network.
    small = tfgates.prune(gated, plan=plan)
    if FLAGS.finetune_epochs:
        finetune(small, data, FLAGS.finetune_epochs, logs)
    summarize(gated, small, data, out, logs)


def summarize(gated, small, data, out, logs):
    """Exports both networks, checks and measures what was exported, and touches the test set."""
    images = next(iter(data.validation))[0].numpy()
    folders = {}
    for name, model in (("gated", gated), ("pruned", small)):
        folders[name] = out / f"{name}_saved_model"
        model.export(str(folders[name]), verbose=False)
        model.save(out / f"{name}.keras")
    expected = keras.ops.convert_to_numpy(small(images, training=False))
    difference = report.reload_difference(folders["pruned"], images, expected, out)
    if difference > 1e-5:
        raise RuntimeError(f"The exported network differs by {difference:.2e} from the pruned one")

    # All choices are made: the test set is read here for the first time, and only here.
    accuracy = {}
    for name, model in (("gated", gated), ("pruned", small)):
        accuracy[name] = model.evaluate(data.test, return_dict=True, verbose=0)["accuracy"]
    cost = tfgates.cost(gated)

    def percent_left(after, before):
        return f"{after:,} ({100 * after / before:.2f} %)"

    rows = [("", "gated", "pruned")]
    rows.append(("test accuracy", *(f"{100 * accuracy[name]:.2f} %" for name in folders)))
    rows.append(
        ("parameters", f"{cost.dense_params:,}", percent_left(small.count_params(), cost.dense_params))
    )
    removed = 1.0 - report.kernel_weights(small) / report.kernel_weights(gated)
    rows.append(("weights removed", "", f"{100 * removed:.2f} %"))
    rows.append(("MACs", f"{cost.dense_macs:,}", percent_left(cost.macs, cost.dense_macs)))
    rows.append(
        ("SavedModel", *(f"{report.folder_bytes(folder) / 1024:,.0f} KiB" for folder in folders.values()))
    )
    for size in (1, len(images)):
        times = [report.latency(folder, images[:size]) for folder in folders.values()]
        rows.append((f"latency, {size} image{'s' * (size > 1)}", *(f"{ms:.2f} ms" for ms in times)))
    report.show(rows, f"{FLAGS.model} on {FLAGS.dataset}, {FLAGS.gate} gates, last epoch")
    for name, folder in folders.items():
        print(f"{name.capitalize()}: {folder}, {folder.parent / name}.keras")
    print(f"Reloaded without tfgates: outputs equal to {difference:.1e}.")
    print(f"TensorBoard: tensorboard --logdir {logs}")


if __name__ == "__main__":
    app.run(main)
