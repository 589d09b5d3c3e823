"""How large a model on disk is when it is packed."""

import os
import pathlib
import zipfile
import zlib
from collections.abc import Iterator


def compressed_bytes(path: str | os.PathLike[str]) -> int:
    """The number of bytes of a saved model when each of its files is compressed by deflate (zip, gzip).

    The zeros that gates on single weights leave take as much room in a file as other numbers; packed,
    for storage or transport, they take next to none. A file that is itself an archive, such as a
    `.keras` file, counts by what it holds.

    Args:
        path: a file, or a folder such as a SavedModel.

    Returns:
        An int.

    Raises:
        FileNotFoundError: if there is nothing at `path`.
    """
    path = pathlib.Path(path)
    if not path.exists():
        raise FileNotFoundError(f"`path` must be a file or a folder. Received: path={str(path)!r}")
    files = sorted(found for found in path.rglob("*") if found.is_file()) if path.is_dir() else [path]
    return sum(_packed(content) for file in files for content in _contents(file))


def _contents(file: pathlib.Path) -> Iterator[bytes]:
    if not zipfile.is_zipfile(file):
        yield file.read_bytes()
        return
    with zipfile.ZipFile(file) as archive:
        for name in archive.namelist():
            yield archive.read(name)


def _packed(content: bytes) -> int:
    return len(zlib.compress(content, 9))
