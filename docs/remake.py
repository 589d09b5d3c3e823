"""Runs the code of pages and puts what it printed and drew into them; makes tables and pictures anew.

    python docs/remake.py docs/guides/tutorial.md      # minutes; run it when the code or what it prints has changed
    python docs/remake.py --tables                     # seconds: the tables of benchmarks/results/*.json
    python docs/remake.py --pictures                   # seconds: docs/images/walk.svg, cheaper_training.svg
    python docs/remake.py --reference                  # seconds: new public names, into the pages of docs/api

The ```python blocks of a page are one program, run in a folder of its own; a ```text block is what was printed since
the one before it. A block below `<!-- not run -->` is left alone. A picture that the program writes takes the place of
the one of that name in docs/images; of an HTML page that it writes, a picture of that name is taken by Chromium.
"""

import contextlib
import io
import os
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile

DOCS = pathlib.Path(__file__).resolve().parent
BLOCK = re.compile(r"^(<!-- not run -->\n)?```(python|text)\n(.*?)^```$", re.M | re.S)
# What libraries print beside the program.
NOISE = re.compile(r"^.*(Downloading|WARNING:|I0000|oneDNN).*\n", re.M)


def run(text, name, epochs=None):
    """Runs the code of a page in the current folder.

    Args:
        text: the page.
        name: what errors call it.
        epochs: takes the place of the numbers of epochs, for a short trial. Defaults to None: none does.

    Returns:
        Pair of the page with what was printed in its `text` blocks, and the names that the program left.
    """
    names = {"__name__": "__main__"}
    printed = io.StringIO()

    def replaced(block):
        skipped, language, body = block.groups()
        if skipped:
            return block.group()
        if language == "text":
            shown = NOISE.sub("", printed.getvalue())
            printed.seek(0)
            printed.truncate()
            return f"```text\n{shown.strip(chr(10))}\n```"
        if epochs is not None:
            body = re.sub(r"\bepochs=\d+", f"epochs={epochs}", body)
        line = text[: block.start()].count("\n") + 1
        with contextlib.redirect_stdout(printed):
            exec(compile("\n" * line + body, name, "exec"), names)
        return block.group()

    return BLOCK.sub(replaced, text), names


def photograph(page, picture, width=1100, height=735):
    """Takes a picture of the top of an HTML page, as a browser without a window shows it."""
    browser = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    if browser is None:
        raise SystemExit(f"docs/remake.py: a picture of {page.name} needs Chromium")
    flags = ["--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars", f"--window-size={width},{height}"]
    command = [browser, *flags, f"--screenshot={picture}", page.as_uri()]
    subprocess.run(command, check=True, capture_output=True, timeout=600)


def remake(page):
    """Runs a page in a folder of its own and writes it anew."""
    page = pathlib.Path(page).resolve()
    before = pathlib.Path.cwd()
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        try:
            text, _ = run(page.read_text("utf-8"), str(page))
        finally:
            os.chdir(before)
        for picture in pathlib.Path(folder).iterdir():
            if picture.suffix in (".png", ".svg") and f"images/{picture.name}" in text:
                shutil.copy(picture, DOCS / "images" / picture.name)
            if picture.suffix == ".html" and f"images/{picture.stem}.png" in text:
                photograph(picture, DOCS / "images" / f"{picture.stem}.png")
    page.write_text(text, "utf-8")


if __name__ == "__main__":
    sys.path[:0] = [str(DOCS.parent), str(DOCS)]
    for argument in sys.argv[1:] or ["--help"]:
        if argument == "--tables":
            import tables

            tables.remake()
        elif argument == "--pictures":
            import curves
            import pictures

            pictures.remake()
            curves.remake()
        elif argument == "--reference":
            sys.path.insert(0, str(DOCS / "_extensions"))
            import public_names

            public_names.complete()
        elif argument.startswith("-"):
            print(__doc__)
        else:
            remake(argument)
