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
from tfgates.files import check_replaceable, export_whole, write_whole
from tfgates.pruning import PruningError, compressed_bytes
from tfgates.pruning.picture import draw_plan, summary_line

FLAGS = flags.FLAGS
flags.DEFINE_string("out", None, "prune: the file to write, ending in .keras. report: the folder.")
flags.DEFINE_string("export", None, "prune: folder for a SavedModel of the pruned network, too.")
flags.DEFINE_integer("min_units", 0, "Units to keep in a layer that has closed altogether.", lower_bound=0)
flags.DEFINE_integer("round_to", 1, "Round widths up to a multiple of this.", lower_bound=1)
flags.DEFINE_bool(
    "unsafe", False, "Let the file run code of its own while loading (lambdas). Only for files you trust."
)


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


def inspect(model, path):
    print(tfgates.plan_pruning(model, FLAGS.min_units, FLAGS.round_to))
    print()
    print(tfgates.cost(model))


def prune(model, path):
    out = as_path(FLAGS.out)
    plan = tfgates.plan_pruning(model, FLAGS.min_units, FLAGS.round_to)
    small = tfgates.prune(model, plan=plan)
    write_whole(out, small.save)
    print(f"{out}: {summary_line(plan)}")
    if plan.params == plan.dense_params:
        print("Nothing is closed, so nothing was removed")
    if FLAGS.export is not None:
        export_whole(small, as_path(FLAGS.export))
        print(f"{FLAGS.export}: SavedModel")


def report(model, path):
    out = as_path(FLAGS.out)
    plan = tfgates.plan_pruning(model, FLAGS.min_units, FLAGS.round_to)
    draw_plan(plan, out / "layers.png")
    text = (
        f"# {model.name}\n\n{summary_line(plan)}. {path.name} has {path.stat().st_size / 1024:,.1f} KiB, "
        f"{compressed_bytes(path) / 1024:,.1f} KiB packed.\n\n![Kept and removed, layer by layer](layers.png)\n\n"
        f"```\n{plan}\n```\n\nKeras {keras.__version__}\n"
    )
    write_whole(out / "report.md", lambda temporary: temporary.write_text(text))
    print(f"{out / 'report.md'}, {out / 'layers.png'}")


COMMANDS = {"inspect": inspect, "prune": prune, "report": report}


def as_path(text):
    return pathlib.Path(text).expanduser()


def check(command, path):
    """Ends the program if the flags ask for what cannot be done, before a large model takes time to load."""
    if command != "prune" and FLAGS.export is not None:
        raise Failure(f"--export is for prune. Received: {command} --export={FLAGS.export}")
    if command == "prune":
        check_prune(path)
    elif command == "report":
        if not FLAGS.out:
            raise Failure("report needs --out=FOLDER")
        check_folder(as_path(FLAGS.out))


def check_prune(path):
    if not FLAGS.out or pathlib.Path(FLAGS.out).suffix != ".keras":
        raise Failure(f"prune needs --out=SMALL.keras. Received: --out={FLAGS.out}")
    out = as_path(FLAGS.out)
    if out.is_dir():
        raise Failure(f"--out must be a file. Received: --out={FLAGS.out}, which is a folder")
    if out.exists() and path.exists() and out.samefile(path):
        raise Failure(f"--out must be another file than the model. Received: {path} --out={FLAGS.out}")
    if FLAGS.export is not None:
        export = as_path(FLAGS.export)
        for kept in (path.resolve(), out.resolve()):
            if export.resolve() in (kept, *kept.parents):
                raise Failure(f"--export must be a folder of its own. Received: --export={FLAGS.export}, with {kept}")
        try:
            check_replaceable(export)
        except ValueError as error:
            raise Failure(f"--export: {error}") from error
        check_folder(export.resolve().parent)
    check_folder(out.parent)


def check_folder(folder):
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise Failure(f"{folder} cannot be made: {error.strerror}") from error
    if not os.access(folder, os.W_OK):
        raise Failure(f"{folder} cannot be written")


def main(argv):
    if len(argv) != 3 or argv[1] not in COMMANDS:
        received = " ".join(argv[1:]) or "nothing"
        raise app.UsageError(f"Give one of {', '.join(COMMANDS)} and a model. Received: {received}")
    # TensorFlow tells each step of an export.
    logging.set_verbosity(logging.WARNING)
    path = as_path(argv[2])
    check(argv[1], path)
    model = load(path)
    try:
        COMMANDS[argv[1]](model, path)
    except (ValueError, PruningError, ImportError, OSError) as error:
        # What a model, a disk or an installation can be like; anything else is a bug and shows where it is.
        raise Failure(" ".join(str(error).split()) or type(error).__name__) from error


if __name__ == "__main__":
    app.run(main)
