"""Docstrings and signatures as they stand in the code, made ready for Sphinx.

Docstrings are plain text with code in single backticks, lists, and sections as Keras has them. Sphinx reads them as
reStructuredText, in which stars, bars and a trailing underscore mean something and a list needs a blank line before it.
"""

import re

import public_names
from formulas import latex
from sphinx.util.inspect import signature, stringify_signature

LITERAL = re.compile(r"(``.+?``|`[^`]+`)")
ITEM = re.compile(r"^(\s*)([*-]|\d+\.) +\S")
# Names as long as these are words of the language, or of another module, as often as names of tfgates.
WORDS = {"cost", "get", "held", "take", "summary", "prune"}


def _escaped(text):
    """Text without code: what would be markup is escaped."""
    text = re.sub(r"(?<!\\)([*|])", r"\\\1", text)
    return re.sub(r"(\w)_(?=\W|$)", r"\1\\_", text)


def _code(text, here):
    """Code in backticks: a link where it is a public name that has a page, other than the page `here`."""
    text = text.strip("`")
    full = public_names.pages().get(text)
    if full and full != here and text not in WORDS:
        return f":py:obj:`{text} <{full}>`"
    formula = latex(text)
    return f":math:`{formula}`" if formula else f"``{text}``"


def _line(line, here):
    item = ITEM.match(line)
    start = item.end() - 1 if item else 0
    parts = LITERAL.split(line[start:])
    return line[:start] + "".join(_code(part, here) if i % 2 else _escaped(part) for i, part in enumerate(parts))


def _joined(lines):
    """Code in backticks that goes on in the next line comes whole into the first of them."""
    joined = []
    for line in lines:
        if joined and joined[-1].replace("``", "").count("`") % 2 and line.strip() and ">>>" not in line:
            joined[-1] += " " + line.strip()
        else:
            joined.append(line)
    return joined


def _depth(line):
    return len(line) - len(line.lstrip())


def process_docstring(app, what, name, documented, options, lines):
    """Rewrites the lines of a docstring in place; examples (`>>>`) and indented code stay as they are."""
    made, literal = [], None
    for line in _joined(lines):
        if literal is not None and line.strip() and _depth(line) <= literal:
            literal = None
        if literal is not None or line.lstrip().startswith((">>>", "...", ":", "..")):
            made.append(line)
            continue
        if (
            ITEM.match(line)
            and made
            and made[-1].strip()
            and not ITEM.match(made[-1])
            and _depth(line) <= _depth(made[-1])
        ):
            made.append("")
        made.append(_line(line, name))
        if line.rstrip().endswith("::"):
            literal = _depth(line)
    lines[:] = made


def process_signature(app, what, name, documented, options, text, returns):
    """The signature of a class is that of its `__init__`: the `__new__` of Keras's classes takes anything."""
    if what != "class" or "__init__" not in vars(documented):
        return None
    return stringify_signature(signature(documented.__init__, bound_method=True), unqualified_typehints=True), None


def setup(app):
    """Comes before napoleon, which turns sections into fields."""
    app.connect("autodoc-process-docstring", process_docstring, priority=100)
    app.connect("autodoc-process-signature", process_signature)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
