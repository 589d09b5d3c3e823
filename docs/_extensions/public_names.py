"""The public names of tfgates, and the pages of the reference that list them."""

import functools
import importlib
import pathlib
import pkgutil
import re
import types

API = pathlib.Path(__file__).resolve().parents[1] / "api"


def public():
    """Each public name but for modules, in full: what `__all__` has of tfgates, its packages and its public modules."""
    package = importlib.import_module("tfgates")
    parts = [m.name for m in pkgutil.iter_modules(package.__path__) if m.ispkg or m.name in package.__all__]
    modules = [package, *(importlib.import_module(f"tfgates.{name}") for name in parts)]
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


def missing():
    """Public names in full that no page lists, by module; a name that two modules have is listed once."""
    known = listed()
    objects = [value for name, value in public().items() if name in known]
    found = {}
    for full, value in public().items():
        if full not in known and not any(value is other for other in objects):
            objects.append(value)
            module, _, name = full.rpartition(".")
            found.setdefault(module, []).append(name)
    return found


def complete():
    """Adds what is missing to the pages of its modules, to the last list of names; a new module gets a page."""
    for module, names in missing().items():
        path = API / f"{module.rpartition('.')[2]}.md"
        if not path.exists():
            short = module.rpartition(".")[2]
            summary = (importlib.import_module(module).__doc__ or "").strip().splitlines()[0]
            path.write_text(f"# {short.capitalize()}\n\n`{module}`: {summary[:1].lower()}{summary[1:]}\n", "utf-8")
            index = API / "index.md"
            index.write_text(index.read_text("utf-8").removesuffix("```\n") + f"{short}\n```\n", "utf-8")
        text = path.read_text("utf-8")
        lines = "".join(f"   {name}\n" for name in names)
        head, block, tail = text.rpartition("   :toctree: names\n\n")
        if block:
            listing, fence, rest = tail.partition("```\n")
            text = head + block + listing + lines + fence + rest
        else:
            start, also, end = text.partition("On [the first page]")
            block = (
                f"```{{eval-rst}}\n.. currentmodule:: {module}\n\n.. autosummary::\n   :toctree: names\n\n{lines}```\n"
            )
            text = f"{start.rstrip()}\n\n{block}" + (f"\n{also}{end}" if also else "")
        path.write_text(text, "utf-8")
