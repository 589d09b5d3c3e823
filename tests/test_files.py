"""Files and folders that appear whole or not at all, and never in place of what is not theirs."""

import os
import pathlib
import types

import pytest

from tfgates.files import export_whole, write_whole


def test_a_file_appears_whole_or_not_at_all(tmp_path):
    path = tmp_path / "file.txt"
    path.write_text("before")

    def half(temporary):
        temporary.write_text("ha")
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_whole(path, half)
    assert path.read_text() == "before"
    write_whole(path, lambda temporary: temporary.write_text("after"))
    assert path.read_text() == "after"
    assert list(tmp_path.iterdir()) == [path]


def model_of(text, fails=False):
    """Something that exports a file of this text."""

    def export(folder, verbose):
        pathlib.Path(folder).mkdir()
        (pathlib.Path(folder) / "saved_model.pb").write_text(text)
        if fails:
            raise KeyboardInterrupt

    return types.SimpleNamespace(export=export)


def test_a_folder_appears_whole_or_not_at_all(tmp_path):
    folder = tmp_path / "model"
    with pytest.raises(KeyboardInterrupt):
        export_whole(model_of("half", fails=True), folder)
    assert list(tmp_path.iterdir()) == []
    export_whole(model_of("before"), folder)
    with pytest.raises(KeyboardInterrupt):
        export_whole(model_of("half", fails=True), folder)
    assert (folder / "saved_model.pb").read_text() == "before"
    export_whole(model_of("after"), folder)
    assert (folder / "saved_model.pb").read_text() == "after"
    assert list(tmp_path.iterdir()) == [folder]


def test_a_failure_to_rename_leaves_the_old_folder(tmp_path, monkeypatch):
    folder = tmp_path / "model"
    export_whole(model_of("before"), folder)
    replace = os.replace

    def failing(source, target):
        if pathlib.Path(target) == folder and not str(source).endswith(".old"):
            raise OSError("no rename")
        replace(source, target)

    monkeypatch.setattr(os, "replace", failing)
    with pytest.raises(OSError, match="no rename"):
        export_whole(model_of("after"), folder)
    assert (folder / "saved_model.pb").read_text() == "before"
    assert list(tmp_path.iterdir()) == [folder]


def test_the_old_folder_is_kept_where_it_cannot_be_put_back(tmp_path, monkeypatch):
    folder = tmp_path / "model"
    export_whole(model_of("before"), folder)
    replace = os.replace

    def failing(source, target):
        if pathlib.Path(target) == folder:
            raise OSError("no rename")
        replace(source, target)

    monkeypatch.setattr(os, "replace", failing)
    with pytest.raises(OSError, match="no rename"):
        export_whole(model_of("after"), folder)
    (kept,) = tmp_path.iterdir()
    assert kept.name.endswith(".old") and (kept / "saved_model.pb").read_text() == "before"


def test_a_link_to_a_folder_stays(tmp_path):
    export_whole(model_of("before"), tmp_path / "model")
    (tmp_path / "link").symlink_to(tmp_path / "model")
    export_whole(model_of("after"), tmp_path / "link")
    assert (tmp_path / "link").is_symlink() and (tmp_path / "model" / "saved_model.pb").read_text() == "after"
    assert sorted(p.name for p in tmp_path.iterdir()) == ["link", "model"]


@pytest.mark.parametrize("name", ["file", "folder"])
def test_what_is_no_saved_model_is_not_replaced(name, tmp_path):
    (tmp_path / "file").write_text("mine")
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "thesis.tex").write_text("mine")
    with pytest.raises(ValueError, match="`folder` must be new, empty or hold a SavedModel alone.*Received: folder="):
        export_whole(model_of("after"), tmp_path / name)
    assert (tmp_path / "file").read_text() == (tmp_path / "folder" / "thesis.tex").read_text() == "mine"
    (tmp_path / "folder" / "thesis.tex").unlink()
    export_whole(model_of("after"), tmp_path / "folder")
