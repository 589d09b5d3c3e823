"""The rooms of the package, in one order: what imports what, and what asks another room by name."""

import ast
import collections
import pathlib
import re

import keras
import pytest

ROOT = pathlib.Path(__file__).parents[1]
PACKAGE = ROOT / "tfgates"
# Where one room above the others imports all of them.
FRONT = "__init__"


def rows(heading):
    """The names in the first column (and the second) of the table behind a heading of CONTRIBUTING.md."""
    text = (ROOT / "CONTRIBUTING.md").read_text().partition(heading)[2]
    table = re.search(r"\|---\|---\|\n((?:\|.*\n)+)", text)[1]
    return [[re.findall(r"`(\w+)`", cell) for cell in line.strip("|").split("|")] for line in table.splitlines()]


ROOMS = [name for first, _ in rows("## Rooms") for name in first]
PLACE = {room: place for place, room in enumerate([*ROOMS, FRONT])}


def room_of(path):
    parts = path.relative_to(PACKAGE).with_suffix("").parts
    return parts[0]


def parsed():
    """All files of the package: their room, their name and their syntax tree."""
    for path in sorted(PACKAGE.rglob("*.py")):
        yield room_of(path), path.relative_to(ROOT), ast.parse(path.read_text())


def imported(tree):
    """The rooms that a file imports from, in functions too."""
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom):
            assert node.level == 0, "imports name their file in full"
            names = [f"{node.module}.{alias.name}" for alias in node.names]
        elif isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        else:
            continue
        for name in names:
            package, _, rest = name.partition(".")
            if package == "tfgates":
                yield rest.partition(".")[0] if (PACKAGE / rest.partition(".")[0]).exists() else file_of(rest)


def file_of(rest):
    name = rest.partition(".")[0]
    return name if (PACKAGE / f"{name}.py").exists() else FRONT


def wrong_way(files, place):
    """The imports that go down, or to a room that is not in the table."""
    found = []
    for room, path, tree in files:
        for other in imported(tree):
            if other != room and not place.get(other, len(place)) < place.get(room, -1):
                found.append(f"{path} imports {other}")
    return found


def test_every_room_is_in_the_table():
    assert len(set(ROOMS)) == len(ROOMS)
    assert set(ROOMS) == {room for room, _, _ in parsed()} - {FRONT}


def test_rooms_import_only_from_those_above_them():
    # The command's parameters are all that `commands` and `__main__` have from the front and from beside the package.
    files = [(room, path, tree) for room, path, tree in parsed() if room not in (FRONT, "commands", "__main__")]
    assert wrong_way(files, PLACE) == []


def test_an_import_the_wrong_way_is_found():
    tree = ast.parse("def f():\n    from tfgates.training.losses import total\n")
    assert wrong_way([("gates", "gates/new.py", tree)], PLACE) == ["gates/new.py imports training"]
    assert wrong_way([("compression", "compression/new.py", tree)], PLACE) == []


def defined(tree):
    """Names of functions, methods and attributes that a file defines."""
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef):
            yield node.name
        elif isinstance(node, (ast.Name, ast.Attribute)) and isinstance(node.ctx, ast.Store):
            yield node.attr if isinstance(node, ast.Attribute) else node.id


def asked(tree):
    """Names that a file asks an object of unknown kind for, and private ones."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in ("getattr", "hasattr"):
            if len(node.args) > 1 and isinstance(node.args[1], ast.Constant):
                yield node.args[1].value
        elif isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Load) and node.attr.startswith("_"):
            yield node.attr


def of_keras():
    """What objects of Keras answer to, whatever this package calls the same."""
    kinds = (type, keras.Variable)
    model = keras.Sequential([keras.Input((1, 1)), keras.layers.Conv1D(1, 1)])
    model.compile("adam", "mse")
    stopping = keras.callbacks.EarlyStopping()
    stopping.set_model(model)
    found = {name for kind in kinds for name in dir(kind)} | set(dir(stopping)) | {"best"}
    return found | set(dir(model)) | set(dir(model.layers[0])) | set(dir(model.optimizer))


def hidden(files, place):
    """Names that a room asks for and only rooms below it have."""
    files = list(files)
    owners = collections.defaultdict(set)
    for room, _, tree in files:
        for name in defined(tree):
            owners[name].add(place[room])
    keras_knows, found = of_keras(), []
    for room, path, tree in files:
        for name in asked(tree):
            if owners[name] and place[room] < min(owners[name]) and name not in keras_knows:
                found.append(f"{path} asks for {name}")
    return found


def test_no_room_asks_for_what_only_a_room_below_it_has():
    assert hidden(parsed(), PLACE) == []


@pytest.mark.parametrize("asking", ["getattr(model, 'bound_by', None)", "hasattr(model, 'bound_by')", "model._bound"])
def test_a_hidden_dependency_is_found(asking):
    owner = ast.parse("class A:\n    def __init__(self):\n        self.bound_by = self._bound = 1")
    files = [("gates", "gates/new.py", ast.parse(asking)), ("training", "training/new.py", owner)]
    (found,) = hidden(files, PLACE)
    assert found.startswith("gates/new.py asks for")
    assert hidden(reversed([("compression", *files[0][1:]), files[1]]), PLACE) == []


def test_every_file_of_the_graph_is_in_one_group():
    files = [name for _, second in rows("The files of `graph/`") for name in second]
    there = {path.stem for path in (PACKAGE / "graph").glob("*.py")} - {"__init__"} | {"rules"}
    assert len(set(files)) == len(files)
    assert set(files) == there


def layer_classes_asked_for(tree):
    """The classes of Keras's layers that a file compares objects with."""
    for node in ast.walk(tree):
        if (
            isinstance(node, ast.Call)
            and isinstance(node.func, ast.Name)
            and node.func.id in ("isinstance", "issubclass")
        ):
            compared = node.args[1:]
        elif isinstance(node, ast.Compare):
            compared = node.comparators
        else:
            continue
        for part in compared:
            yield from re.findall(r"\blayers\.([A-Z]\w+)", ast.unparse(part))


def test_only_anatomies_ask_which_layer_of_keras_a_layer_is():
    found = [
        f"{path}: {name}"
        for room, path, tree in parsed()
        for name in layer_classes_asked_for(tree)
        if room != "anatomy"
    ]
    assert found == []


@pytest.mark.parametrize(
    "asking",
    [
        "isinstance(x, keras.layers.Dense)",
        "isinstance(x, (int, layers.Dense))",
        "type(x) is keras.layers.Dense",
        "type(x) in (layers.Dense,)",
        "kind is layers.Dense",
    ],
)
def test_a_class_that_is_asked_for_is_found(asking):
    assert [*layer_classes_asked_for(ast.parse(asking))] == ["Dense"]


def test_where_one_would_change_things_exists():
    """The files of the table for newcomers; a name alone is in the folder of the one before it."""
    rows = (ROOT / "CONTRIBUTING.md").read_text().partition("| where would I change | file |")[2].partition("\n\n")[0]
    found = []
    for row in rows.splitlines()[2:]:
        folder = pathlib.PurePosixPath()
        for name in re.findall(r"`([\w/]+\.py)`", row):
            folder = pathlib.PurePosixPath(name).parent if "/" in name else folder
            found.append(folder / pathlib.PurePosixPath(name).name)
    assert len(found) > 20 and [str(path) for path in found if not (ROOT / "tfgates" / path).exists()] == []
