"""What the command `tfgates` does once its arguments are checked (`tfgates_cli.py`)."""

import argparse
import json
import pathlib
import sys
import warnings
from typing import Any

import keras
from absl import logging

import tfgates
from tfgates.compression.statistics import is_reestimated
from tfgates.files import export_whole, write_whole
from tfgates.graph.examples import NoExamplesError
from tfgates.graph.lengths import set_length
from tfgates.keras_internals import layers_within
from tfgates.pruning import NetworkCost, PruningError, PruningPlan, compressed_bytes
from tfgates.pruning.picture import draw_plan, summary_line
from tfgates_cli import Failure, as_path


def load(path: pathlib.Path, unsafe: bool = False) -> keras.Model:
    """Loads a model; ends the program with a clear message if that cannot be done."""
    try:
        return keras.models.load_model(path, compile=False, safe_mode=not unsafe)
    except Exception as error:
        # Whatever a broken or foreign file makes Keras raise, the user needs its last words.
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise Failure(f"{path} cannot be loaded: {reason}") from error


def inspect(model: keras.Model, plan: PruningPlan, arguments: argparse.Namespace) -> tuple[str, dict[str, Any]]:
    """What would go, what stays and why, and what it costs."""
    cost = NetworkCost(model, plan=plan)
    result = plan.to_dict()
    if cost.gated:
        expected = tuple(f"expected_{name}" for name in cost.expected)
        result |= {name: cost.to_dict()[name] for name in expected}
        for row, means in zip(result["layers"], cost.records(), strict=True):
            row |= {name: means[name] for name in expected}
    return plan.table(cost if cost.gated else None), result


def prune(model: keras.Model, plan: PruningPlan, arguments: argparse.Namespace) -> tuple[str, dict[str, Any]]:
    """Writes the smaller network."""
    out = as_path(arguments.out)
    try:
        small = tfgates.prune(model, plan=plan)
    except NoExamplesError as error:
        raise Failure(f"The command has no data: `tfgates.prune` in Python has `inputs`. {error}") from error
    write_whole(out, small.save)
    if tfgates.gates.gates_of(model) and any(is_reestimated(layer) for layer in layers_within(small)):
        say(
            "The command has no data: averages of batch normalisation stay as they are in the file, gathered under "
            "gates that changed unless `tfgates.reestimate_statistics` was called since. In Python, "
            "`tfgates.reestimate_statistics(small, data)` gathers them again."
        )
    lines = [f"{out}: {summary_line(plan)}"]
    if arguments.export is not None:
        export_whole(small, as_path(arguments.export))
        lines.append(f"{arguments.export}: SavedModel")
    return "\n".join(lines), {"out": str(out), "export": arguments.export, **plan.to_dict()}


def report(model: keras.Model, plan: PruningPlan, arguments: argparse.Namespace) -> tuple[str, dict[str, Any]]:
    """Writes report.md and a picture of the layers."""
    path, out = as_path(arguments.model), as_path(arguments.out)
    sizes = {"bytes": path.stat().st_size, "compressed_bytes": compressed_bytes(path)}
    draw_plan(plan, out / "layers.png")
    text = (
        f"# {model.name}\n\n{summary_line(plan)}. {path.name} has {sizes['bytes'] / 1024:,.1f} KiB, "
        f"{sizes['compressed_bytes'] / 1024:,.1f} KiB packed.\n\n![Kept and removed, layer by layer](layers.png)\n\n"
        f"```\n{plan}\n```\n\ntfgates {tfgates.__version__}, Keras {keras.__version__}\n"
    )
    write_whole(out / "report.md", lambda temporary: temporary.write_text(text))
    files = [str(out / "report.md"), str(out / "layers.png")]
    return ", ".join(files), {"files": files, **sizes, **plan.to_dict()}


COMMANDS = {"inspect": inspect, "prune": prune, "report": report}


def run(arguments: argparse.Namespace) -> None:
    """Loads the model, does what is asked for and prints what came of it."""
    # TensorFlow tells each step of an export.
    logging.set_verbosity(logging.WARNING)
    with warnings.catch_warnings():
        warnings.showwarning = say
        text, result = outcome(arguments)
    print(json.dumps(result, indent=2) if arguments.json else text)


def say(message: Warning | str, *_: Any, **__: Any) -> None:
    """Shows a warning as the sentence that it is."""
    print(f"tfgates: {' '.join(str(message).split())}", file=sys.stderr)


def outcome(arguments: argparse.Namespace) -> tuple[str, dict[str, Any]]:
    """What came of a command, as text and as data."""
    model = load(as_path(arguments.model), arguments.unsafe)
    try:
        set_length(model, arguments.length)
        plan = tfgates.plan_pruning(model, arguments.min_units, arguments.round_to)
        return COMMANDS[arguments.command](model, plan, arguments)
    except (ValueError, PruningError, ImportError, OSError) as error:
        # What a model, a disk or an installation can be like; anything else is a bug and shows where it is.
        raise Failure(" ".join(str(error).split()) or type(error).__name__) from error
