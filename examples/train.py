"""Trains a gated network, prunes it, fine-tunes what is left, exports it and reports.

python examples/train.py                                       # bundled digits, no download
python examples/train.py --nodense                             # without the network to compare with
python examples/train.py --macs=0.3                            # a budget in place of penalties
python examples/train.py --dataset=mnist --data_dir=~/tensorflow_datasets --epochs=20 --batch_size=128
python examples/train.py --recipe=dep_l0_vgg16_cifar10 --data_dir=~/tensorflow_datasets
"""

import os
import pathlib

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

if __name__ == "__main__":
    print("Starting Keras", flush=True)

import data as datasets
import exports
import frontiers
import keras
import networks
import optimization
import report
import settings
import strategies
import write_report
from absl import app, flags, logging
from failure import Failure

import tfgates
from tfgates.callbacks.sparsity_monitor import check_writable
from tfgates.files import check_replaceable

FLAGS = settings.FLAGS
# So that `--help` lists them.
flags.adopt_module_key_flags(settings)


def weights_optimizer(data, epochs, weight_decay):
    return optimization.optimizer(
        FLAGS.optimizer,
        optimization.schedule(
            FLAGS.learning_rate, settings.boundaries(), FLAGS.factor, int(data.train.cardinality()), epochs
        ),
        FLAGS.momentum,
        FLAGS.nesterov,
        weight_decay,
        FLAGS.average,
    )


def gates_optimizer(data, epochs):
    """The optimizer of the gates, which never has weight decay; None where scaling factors bring theirs.

    A budget sets their pace by the number of steps, unless a recipe or the command line does.
    """
    if FLAGS.gate == "scaling":
        return None
    if settings.budget() is not None and FLAGS.recipe is None and not settings.explicit("gate_learning_rate"):
        return "auto"
    if FLAGS.gate_learning_rate is None:
        return weights_optimizer(data, epochs, weight_decay=0.0)
    return optimization.optimizer("adam", FLAGS.gate_learning_rate, average=FLAGS.average)


def build(data):
    try:
        return networks.build(
            FLAGS.model,
            data,
            FLAGS.gate,
            l0=settings.penalties(),
            seed=FLAGS.seed,
            generator=FLAGS.generator,
            sampling=FLAGS.sampling,
            budget=settings.budget(),
            penalty_params=settings.penalty_params(),
            initial_open_probability=FLAGS.initial_open_probability,
        )
    except ValueError as error:
        raise Failure(error) from error


def train(data, place, logs):
    """Builds a network and trains weights and gates together; returns it and its history."""
    epochs = FLAGS.epochs - FLAGS.finetune_epochs
    with place.scope():
        model = build(data)
        model.compile(
            weights_optimizer(data, epochs, FLAGS.weight_decay),
            loss="sparse_categorical_crossentropy",
            metrics=["accuracy"],
            gate_optimizer=gates_optimizer(data, epochs),
        )
    callbacks = [*boards(logs), tfgates.callbacks.SparsityMonitor(logs)]
    if FLAGS.gate == "scaling":
        # It puts an optimizer of its own in charge of the factors.
        callbacks.insert(0, tfgates.callbacks.SparseScaling(FLAGS.scaling_strength))
    return model, fit(model, data, epochs, callbacks)


def plain(data):
    """The network without gates."""
    return getattr(tfgates.applications, FLAGS.model)(input_shape=data.input_shape, classes=data.classes)


def train_dense(data, place, logs):
    """Trains the network without gates for as many epochs as the other takes in all; returns it and its history."""
    if not FLAGS.dense:
        return plain(data), {}
    say(f"Training {FLAGS.model} without gates, to compare with")
    with place.scope():
        model = plain(data)
        model.compile(
            weights_optimizer(data, FLAGS.epochs, FLAGS.weight_decay),
            loss="sparse_categorical_crossentropy",
            metrics=["accuracy"],
        )
    history = fit(model, data, FLAGS.epochs, boards(os.path.join(logs, "dense")))
    return place.local(model, lambda: plain(data)), history


def finetune(model, data, logs):
    """Trains the plain network that pruning left; returns its history."""
    steps = int(data.train.cardinality())
    rate = optimization.schedule(FLAGS.finetune_learning_rate, "cosine", 1.0, steps, FLAGS.finetune_epochs)
    decay = FLAGS.weight_decay if FLAGS.finetune_optimizer == FLAGS.optimizer else 0.0
    optimizer = optimization.optimizer(FLAGS.finetune_optimizer, rate, FLAGS.momentum, FLAGS.nesterov, decay)
    model.compile(optimizer, loss="sparse_categorical_crossentropy", metrics=["accuracy"])
    callbacks = [*boards(os.path.join(logs, "finetune")), tfgates.callbacks.SparsityMonitor(logs)]
    return fit(model, data, FLAGS.epochs, callbacks, initial_epoch=FLAGS.epochs - FLAGS.finetune_epochs)


def boards(folder):
    """Keras's callback for TensorBoard, which writes by TensorFlow; what is of gates is written without."""
    return [keras.callbacks.TensorBoard(folder)] if datasets.HAS_TENSORFLOW else []


def fit(model, data, epochs, callbacks, initial_epoch=0):
    try:
        return model.fit(
            data.train,
            validation_data=data.validation,
            epochs=epochs,
            initial_epoch=initial_epoch,
            callbacks=callbacks,
            shuffle=False,  # The pipeline shuffles.
            verbose=FLAGS.verbose,
        ).history
    except Exception as error:
        # Of TensorFlow, which need not be there.
        if type(error).__name__ != "DataLossError":
            raise
        raise Failure(f"The data set {FLAGS.dataset} is corrupt: {error.message.splitlines()[0]}") from error


def main(argv):
    if len(argv) > 1:
        raise Failure(f"Flags start with --. Received: {' '.join(argv[1:])}")
    settings.apply_recipe()
    settings.check()
    # TensorFlow tells each step of an export.
    logging.set_verbosity(logging.ERROR)
    place = strategies.Place(FLAGS.strategy, FLAGS.replicas)
    out = pathlib.Path(FLAGS.out).expanduser()
    logs = str(out / ("logs" if place.chief else f"logs_of_worker_{place.index}"))
    try:
        # What cannot be written or read should be known now, not after training.
        check_writable("out", str(out))
        for folder in report.folders(out).values():
            check_replaceable(folder)
        frontiers.read(out)
    except ValueError as error:
        raise Failure(error) from error
    keras.utils.set_random_seed(FLAGS.seed)
    say(f"Loading {FLAGS.dataset}")
    try:
        data = datasets.load(
            FLAGS.dataset,
            None if FLAGS.data_dir is None else os.path.expanduser(FLAGS.data_dir),
            FLAGS.batch_size,
            image_size=FLAGS.image_size,
            validation_share=FLAGS.validation_share,
            seed=FLAGS.seed,
            augment=FLAGS.augment,
            download=FLAGS.download,
        )
    except ValueError as error:
        raise Failure(error) from error
    say(f"Training {FLAGS.model} with {FLAGS.gate} gates on {data.train_examples:,} images, {place}")
    gated, history = train(data, place, logs)
    gated = place.local(gated, lambda: build(data))
    # On one machine it comes last, so that the others see the same images with and without it.
    early = train_dense(data, place, logs) if place.workers > 1 else None
    if not place.chief:
        return
    plan = tfgates.plan_pruning(gated, min_units=FLAGS.min_units, round_to=FLAGS.round_to)
    print(plan)
    # It raises an error if the outputs are not those of the gated network.
    small = tfgates.prune(gated, plan=plan)
    # Those of training were gathered under random gates.
    tfgates.reestimate_statistics(small, data.train)
    later = finetune(small, data, logs) if FLAGS.finetune_epochs else {}
    dense, dense_history = early or train_dense(data, place, logs)
    print("Exporting, reloading and measuring", flush=True)
    found = report.measure(dense, gated, small, plan, data, out, dense_is_trained=FLAGS.dense)
    title = f"{FLAGS.model} on {FLAGS.dataset}, {FLAGS.gate} gates, last epoch"
    report.show(found.rows, title, found.notes)
    runs = [r for r in frontiers.read(out) if (r["model"], r["dataset"]) == (FLAGS.model, FLAGS.dataset)]
    given = {name: getattr(FLAGS, name) for name in own_flags()}
    write_report.write(out, title, found, plan, history, dense_history, given, runs, later)
    for name, folder in report.folders(out).items():
        saved = f"{folder}, " if exports.HAS_SAVED_MODEL else ""
        print(f"{name.capitalize()}: {saved}{folder.parent / name}.keras")
    print(f"Reloaded without tfgates: outputs equal to {found.difference:.1e}.")
    print(f"Report: {out / 'report.md'}, in one page: {out / 'report.html'}")
    print(f"TensorBoard: tensorboard --logdir {logs}")


def own_flags():
    """The names of this program's flags, without those of the libraries."""
    return sorted(flag.name for flag in FLAGS.flags_by_module_dict()["settings"])


def say(text):
    if FLAGS.verbose:
        print(text, flush=True)


if __name__ == "__main__":
    app.run(main)
