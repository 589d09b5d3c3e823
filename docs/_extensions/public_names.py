"""The public names of tfgates, and the pages of the reference that list them."""

import functools
import importlib
import pathlib
import pkgutil
import re
import types

API = pathlib.Path(__file__).resolve().parents[1] / "api"


def public():
    """Each public name but for modules, in full: what the `__all__` of tfgates and of each of its packages has."""
    package = importlib.import_module("tfgates")
    modules = [
        package,
        *(importlib.import_module(f"tfgates.{m.name}") for m in pkgutil.iter_modules(package.__path__) if m.ispkg),
    ]
    return {
        f"{module.__name__}.{name}": getattr(module, name)
        for module in modules
        for name in module.__all__
        if not isinstance(getattr(module, name), types.ModuleType)
    }


def listed():
    """Each name in full that a page of the reference lists, with a page of its own or (data) described in place."""
    names = set()
    for path in API.glob("*.md"):
        text = path.read_text("utf-8")
        for block in re.findall(r"^```\{eval-rst\}\n(.*?)^```$", text, re.M | re.S):
            (module,) = re.findall(r"currentmodule:: (\S+)", block)
            names |= {f"{module}.{name}" for name in re.findall(r"^   (\w+)$", block, re.M)}
        names |= {name for name in re.findall(r"^`(tfgates\.[\w.]+)` is\b", text, re.M)}
    return names


@functools.cache
def pages():
    """From a name, short or in full, to the full name under which it has a page."""
    found = {}
    for path in sorted(API.glob("*.md")):
        for block in re.findall(r"^```\{eval-rst\}\n(.*?)^```$", path.read_text("utf-8"), re.M | re.S):
            (module,) = re.findall(r"currentmodule:: (\S+)", block)
            for name in re.findall(r"^   (\w+)$", block, re.M):
                full = f"{module}.{name}"
                found[full] = full
                found.setdefault(f"{module.removeprefix('tfgates.')}.{name}", full)
                if name not in ("get",):
                    found.setdefault(name, full)
    return found
