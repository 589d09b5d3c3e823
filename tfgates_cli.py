"""The command `tfgates`: what it is asked for, checked before TensorFlow is loaded.

It lies beside the package, not in it: whatever is in the package can only be imported after all of it, seconds later.
"""

import argparse
import contextlib
import faulthandler
import importlib
import importlib.util
import os
import pathlib
import sys
import tempfile
import zipfile
from collections.abc import Callable, Iterator, Sequence
from types import ModuleType
from typing import NoReturn

EXAMPLES = """examples:
  tfgates inspect MODEL.keras                    what would go, what stays, why, what it costs
  tfgates prune MODEL.keras --out=SMALL.keras    the smaller network; --export=FOLDER for a SavedModel too
  tfgates report MODEL.keras --out=FOLDER        report.md and a picture of the layers
"""


class Failure(SystemExit):
    """Ends the program with a message in one sentence and status 1."""

    def __init__(self, message: str):
        super().__init__(f"tfgates: {message}")


class Parser(argparse.ArgumentParser):
    """Ends the program with a message in one sentence and status 2 where arguments are wrong."""

    def error(self, message: str) -> NoReturn:
        self.exit(2, f"tfgates: {message} (see {self.prog} --help)\n")


def parser() -> argparse.ArgumentParser:
    """What the command takes."""
    formatter = argparse.RawDescriptionHelpFormatter
    result = Parser(
        "tfgates",
        description="tfgates on models on disk.",
        epilog=EXAMPLES,
        formatter_class=formatter,
        allow_abbrev=False,
    )
    result.add_argument("--version", action="version", version=f"tfgates {part_of_tfgates('version').__version__}")
    commands = result.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for name, text in (
        ("inspect", "show what pruning would remove, what stays and why, and what the network costs"),
        ("prune", "write the smaller network"),
        ("report", "write report.md and a picture of the layers"),
    ):
        command = commands.add_parser(name, help=text, description=f"{text.capitalize()}.", allow_abbrev=False)
        command.add_argument("model", metavar="MODEL.keras", help="a model saved as .keras")
        if name == "prune":
            command.add_argument("--out", metavar="SMALL.keras", help="the file to write, ending in .keras")
            command.add_argument("--export", metavar="FOLDER", help="a SavedModel of the smaller network, too")
        elif name == "report":
            command.add_argument("--out", metavar="FOLDER", help="the folder to write to")
        command.add_argument(
            "--min_units",
            type=at_least(0),
            default=0,
            metavar="N",
            help="units to keep in a layer that has closed altogether (default: 0)",
        )
        command.add_argument(
            "--round_to",
            type=at_least(1),
            default=1,
            metavar="N",
            help="round widths up to a multiple of this (default: 1)",
        )
        command.add_argument(
            "--length",
            type=at_least(1),
            metavar="N",
            help="length of sequences, where the inputs leave it open (default: that of `gate_model`, if it was given)",
        )
        command.add_argument(
            "--unsafe",
            action="store_true",
            help="let the file run code of its own while loading (lambdas); only for files you trust",
        )
        command.add_argument("--json", action="store_true", help="print JSON")
    return result


def at_least(least: int) -> Callable[[str], int]:
    """A type of argument: integers that are not below `least`."""

    def integer(text: str) -> int:
        if not text.strip().lstrip("+-").isdecimal() or int(text) < least:
            raise argparse.ArgumentTypeError(f"must be an integer of at least {least}. Received: {text}")
        return int(text)

    return integer


def check(arguments: argparse.Namespace) -> None:
    """Ends the program if it is asked for what cannot be done, the model first."""
    path = as_path(arguments.model)
    if not path.exists():
        raise Failure(f"There is no file {path}")
    if path.suffix != ".keras":
        raise Failure(f"{path} must be a model saved as .keras")
    if not zipfile.is_zipfile(path):
        raise Failure(f"{path} is no model in Keras's format, or was cut off while it was written")
    if arguments.command == "prune":
        check_prune(arguments, path)
    elif arguments.command == "report":
        if not arguments.out:
            raise Failure("report needs --out=FOLDER")
        if importlib.util.find_spec("matplotlib") is None:
            raise Failure("report draws a picture, which needs matplotlib: pip install matplotlib")
        check_folder(as_path(arguments.out))


def check_prune(arguments: argparse.Namespace, path: pathlib.Path) -> None:
    """Ends the program if the files that `prune` is asked for cannot be written."""
    if not arguments.out or pathlib.Path(arguments.out).suffix != ".keras":
        raise Failure(f"prune needs --out=SMALL.keras. Received: --out={arguments.out}")
    out = as_path(arguments.out)
    if out.is_dir():
        raise Failure(f"--out must be a file. Received: --out={arguments.out}, which is a folder")
    if out.exists() and out.samefile(path):
        raise Failure(f"--out must be another file than the model. Received: {path} --out={arguments.out}")
    if arguments.export is not None:
        export = as_path(arguments.export)
        for kept in (path.resolve(), out.resolve()):
            if export.resolve() in (kept, *kept.parents):
                raise Failure(
                    f"--export must be a folder of its own. Received: --export={arguments.export}, with {kept}"
                )
        try:
            part_of_tfgates("files").check_replaceable(export)
        except ValueError as error:
            raise Failure(f"--export: {error}") from error
        check_folder(export.resolve().parent)
    check_folder(out.parent)


def check_folder(folder: pathlib.Path) -> None:
    """Makes a folder; ends the program if that cannot be done, or nothing can be written into it."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise Failure(f"{folder} cannot be made: {error.strerror}") from error
    if not os.access(folder, os.W_OK):
        raise Failure(f"{folder} cannot be written")


def as_path(text: str) -> pathlib.Path:
    """A path as a user writes it."""
    return pathlib.Path(text).expanduser()


def part_of_tfgates(name: str) -> ModuleType:
    """A module of tfgates that needs no other, loaded without the package."""
    package = importlib.util.find_spec("tfgates")
    assert package is not None and package.origin is not None
    path = pathlib.Path(package.origin).with_name(f"{name}.py")
    spec = importlib.util.spec_from_file_location(f"tfgates_cli.{name}", path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@contextlib.contextmanager
def standard_error_kept() -> Iterator[None]:
    """Keeps from the screen what libraries write to the standard error, unless it ends in an exception.

    TensorFlow tells of processors and drivers while it loads, before any setting of its own can stop it.
    """
    sys.stderr.flush()
    screen = os.dup(2)
    # Should the process be ended from within, this tells where.
    faulthandler.enable(screen)
    with tempfile.TemporaryFile() as kept:
        os.dup2(kept.fileno(), 2)
        try:
            yield
        except BaseException:
            sys.stderr.flush()
            kept.seek(0)
            os.write(screen, kept.read())
            raise
        finally:
            sys.stderr.flush()
            os.dup2(screen, 2)
            faulthandler.disable()
            os.close(screen)


def main(argv: Sequence[str] | None = None) -> None:
    """Does what the command line says; `argv` is what follows the program's name."""
    arguments = parser().parse_args(argv)
    check(arguments)
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    with standard_error_kept():
        commands = importlib.import_module("tfgates.commands")
    try:
        commands.run(arguments)
        sys.stdout.flush()
    except BrokenPipeError:
        # Whoever read the output has had enough; Python would complain of it once more at the end.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise SystemExit(1) from None


if __name__ == "__main__":
    main()
