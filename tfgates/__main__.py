"""tfgates on models on disk.

python -m tfgates inspect MODEL.keras                  # what would go, what stays, why, what it costs
python -m tfgates prune MODEL.keras --out=SMALL.keras  # and --export=FOLDER for a SavedModel
python -m tfgates report MODEL.keras --out=FOLDER      # report.md and a picture of the layers
"""

import os
import pathlib
import zipfile

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras
from absl import app, flags, logging

import tfgates
from tfgates.pruning import compressed_bytes
from tfgates.pruning.picture import draw_plan, summary_line, write_whole

FLAGS = flags.FLAGS
flags.DEFINE_string("out", None, "prune: the file to write, ending in .keras. report: the folder.")
flags.DEFINE_string("export", None, "prune: folder for a SavedModel of the pruned network, too.")
flags.DEFINE_integer("min_units", 0, "Units to keep in a layer that has closed altogether.", lower_bound=0)
flags.DEFINE_integer("round_to", 1, "Round widths up to a multiple of this.", lower_bound=1)
flags.DEFINE_bool(
    "unsafe", False, "Let the file run code of its own while loading (lambdas). Only for files you trust."
)

COMMANDS = ("inspect", "prune", "report")


class Failure(SystemExit):
    """Ends the program with a message and status 1, without a wall of usage."""

    def __init__(self, message):
        super().__init__(f"tfgates: {message}")


def load(path):
    """Loads a model; ends the program with a clear message if that cannot be done."""
    if not path.exists():
        raise Failure(f"There is no file {path}")
    if path.suffix != ".keras":
        raise Failure(f"{path} must be a model saved as .keras")
    if not zipfile.is_zipfile(path):
        raise Failure(f"{path} is no model in Keras's format, or was cut off while it was written")
    try:
        return keras.models.load_model(path, compile=False, safe_mode=not FLAGS.unsafe)
    except Exception as error:
        # Whatever a broken or foreign file makes Keras raise, the user needs its last words.
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise Failure(f"{path} cannot be loaded: {reason}") from error


def inspect(model):
    print(tfgates.plan_pruning(model, FLAGS.min_units, FLAGS.round_to))
    print()
    print(tfgates.cost(model))


def prune(model):
    if FLAGS.out is None or pathlib.Path(FLAGS.out).suffix != ".keras":
        raise Failure("prune needs --out=SMALL.keras")
    out = pathlib.Path(FLAGS.out).expanduser()
    check_folder(out.parent)
    plan = tfgates.plan_pruning(model, FLAGS.min_units, FLAGS.round_to)
    small = tfgates.prune(model, plan=plan)
    write_whole(out, small.save)
    print(f"{out}: {summary_line(plan)}")
    if plan.params == plan.dense_params:
        print("Nothing is closed, so nothing was removed")
    if FLAGS.export is not None:
        small.export(FLAGS.export, verbose=False)
        print(f"{FLAGS.export}: SavedModel")


def report(model, path):
    if FLAGS.out is None:
        raise Failure("report needs --out=FOLDER")
    out = pathlib.Path(FLAGS.out).expanduser()
    check_folder(out)
    plan = tfgates.plan_pruning(model, FLAGS.min_units, FLAGS.round_to)
    draw_plan(plan, out / "layers.png")
    text = (
        f"# {model.name}\n\n{summary_line(plan)}. {path.name} has {path.stat().st_size / 1024:,.1f} KiB, "
        f"{compressed_bytes(path) / 1024:,.1f} KiB packed.\n\n![Kept and removed, layer by layer](layers.png)\n\n"
        f"```\n{plan}\n```\n\nKeras {keras.__version__}\n"
    )
    write_whole(out / "report.md", lambda temporary: temporary.write_text(text))
    print(f"{out / 'report.md'}, {out / 'layers.png'}")


def check_folder(folder):
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise Failure(f"{folder} cannot be made: {error.strerror}") from error
    if not os.access(folder, os.W_OK):
        raise Failure(f"{folder} cannot be written")


def main(argv):
    if len(argv) != 3 or argv[1] not in COMMANDS:
        raise app.UsageError(f"Give one of {', '.join(COMMANDS)} and a model. Received: {' '.join(argv[1:])}")
    # TensorFlow tells each step of an export.
    logging.set_verbosity(logging.WARNING)
    path = pathlib.Path(argv[2]).expanduser()
    model = load(path)
    if argv[1] == "report":
        report(model, path)
    else:
        {"inspect": inspect, "prune": prune}[argv[1]](model)


if __name__ == "__main__":
    app.run(main)
