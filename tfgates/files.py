"""Files and folders that appear whole or not at all."""

import os
import pathlib
import shutil
from typing import Any

# What TensorFlow and Keras write into the folder of a SavedModel.
SAVED_MODEL = {
    "saved_model.pb",
    "saved_model.pbtxt",
    "fingerprint.pb",
    "keras_metadata.pb",
    "variables",
    "assets",
    "assets.extra",
}


def write_whole(path: Any, write: Any) -> None:
    """Calls `write` with a temporary path of the same type beside `path`, then renames it.

    Whoever looks sees the old file or the new one, never half of one, whatever interrupts it.
    """
    path = pathlib.Path(path)
    temporary = path.with_name(f".{path.stem}.{os.getpid()}{path.suffix}")
    try:
        write(temporary)
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def check_replaceable(folder: Any) -> None:
    """Raises a `ValueError` unless `folder` is not there, is empty or holds a SavedModel and nothing else.

    A SavedModel is replaced with all that its folder holds, so nothing of anybody else's may be in it.
    """
    folder = pathlib.Path(folder)
    if not os.path.lexists(folder):
        return
    what = None
    if not folder.is_dir():
        what = "no folder"
    else:
        foreign = sorted(found.name for found in folder.iterdir() if found.name not in SAVED_MODEL)
        if foreign:
            what = f"it holds {foreign[0]}" + (f" and {len(foreign) - 1} more" if len(foreign) > 1 else "")
    if what:
        raise ValueError(
            "`folder` must be new, empty or hold a SavedModel alone, which is replaced. "
            f"Received: folder={str(folder)!r} ({what})"
        )


def export_whole(model: Any, folder: Any) -> None:
    """Exports a SavedModel beside `folder`, then renames it; a SavedModel that is there is replaced.

    A failure leaves what was there. A folder cannot be renamed over another, so there is a moment without
    one; whoever is killed in it finds the old one beside it, as `.NAME.PROCESS.old`.

    Args:
        model: a `keras.Model`.
        folder: path of the SavedModel.

    Raises:
        ValueError: if `folder` holds anything but a SavedModel.
    """
    check_replaceable(folder)
    # A link stays one: what it points to is replaced.
    folder = pathlib.Path(folder).resolve()
    made = folder.with_name(f".{folder.name}.{os.getpid()}")
    old = folder.with_name(f".{folder.name}.{os.getpid()}.old")
    try:
        model.export(str(made), verbose=False)
        if folder.exists():
            os.replace(folder, old)
        os.replace(made, folder)
    except BaseException:
        if old.exists() and not folder.exists():
            os.replace(old, folder)
        raise
    else:
        # Only now: until then it may be the only one.
        shutil.rmtree(old, ignore_errors=True)
    finally:
        shutil.rmtree(made, ignore_errors=True)
