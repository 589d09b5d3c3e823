"""Folders that appear whole or not at all."""

import os
import pathlib
import shutil


def export_whole(model, folder):
    """Exports a SavedModel beside `folder`, then renames it: there is the old one or the new one."""
    folder = pathlib.Path(folder)
    made = folder.with_name(f".{folder.name}.{os.getpid()}")
    old = folder.with_name(f".{folder.name}.{os.getpid()}.old")
    try:
        model.export(str(made), verbose=False)
        if folder.exists():
            os.replace(folder, old)
        os.replace(made, folder)
    finally:
        for left in (made, old):
            shutil.rmtree(left, ignore_errors=True)
