"""What an installation brings along, and that its metadata is of one piece."""

import importlib
import pathlib
import re
import runpy
import shutil
import subprocess
import sys
import tomllib
import zipfile

import pytest
import setuptools

import tfgates

ROOT = pathlib.Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
ENDS = ("-py3-none-any.whl", ".tar.gz")


def given_to_setuptools(**environment):
    """What setup.py gives to setuptools."""
    arguments = {}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("setuptools.setup", lambda **given: arguments.update(given))
        patch.delenv("TFGATES_REPOSITORY", raising=False)
        for name, value in environment.items():
            patch.setenv(name, value)
        runpy.run_path(str(ROOT / "setup.py"), run_name="__main__")
    return arguments


@pytest.fixture(scope="module")
def given():
    return given_to_setuptools()


def test_a_release_has_absolute_links():
    """As the hosted workflow builds it: the package index shows README without the files around it."""
    given = given_to_setuptools(TFGATES_REPOSITORY="https://host/owner/name")
    text = re.sub(r"^```.*?^```$", "", given["long_description"], flags=re.M | re.S)
    targets = re.findall(r"\]\(([^)\s]+)\)", text)
    assert targets and all(target.startswith(("https://", "#")) for target in targets)
    pictures = re.findall(r"!\[[^\]]*\]\(([^)\s]+)\)", text)
    assert pictures and all(picture.startswith("https://host/owner/name/raw/main/docs/") for picture in pictures)
    assert given["project_urls"]["Source"] == "https://host/owner/name"
    release = (ROOT / ".github" / "workflows" / "release.yml").read_text("utf-8")
    assert "TFGATES_REPOSITORY: ${{ github.server_url }}/${{ github.repository }}" in release


def test_what_is_installed():
    tool = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["tool"]["setuptools"]
    assert tool["dynamic"]["version"] == {"attr": "tfgates.version.__version__"}
    assert tool["package-data"] == {"tfgates": ["py.typed"]} and (ROOT / "tfgates" / "py.typed").exists()
    packages = setuptools.find_packages(str(ROOT), include=tool["packages"]["find"]["include"])
    folders = {path.parent for path in (ROOT / "tfgates").rglob("*.py")}
    assert {package.replace(".", "/") for package in packages} == {str(f.relative_to(ROOT)) for f in folders}
    ((name, place),) = PROJECT["scripts"].items()
    module, _, function = place.partition(":")
    assert name == "tfgates" and module in tool["py-modules"]
    assert callable(getattr(importlib.import_module(module), function))


def test_extras_name_extras_that_exist():
    extras = PROJECT["optional-dependencies"]
    for requirements in extras.values():
        for requirement in requirements:
            own = re.fullmatch(r"tfgates\[(.+)\]", requirement)
            assert not own or set(own[1].split(",")) <= set(extras)
    assert "pandas>=2.2" in extras["pandas"]


def test_the_readme_is_the_description(given):
    assert set(PROJECT["dynamic"]) == {"version", "readme", "urls"}
    assert given["long_description"] == (ROOT / "README.md").read_text("utf-8")
    assert given["long_description_content_type"] == "text/markdown"


@pytest.mark.slow
def test_the_package_is_built_and_checked(tmp_path):
    """The command of CONTRIBUTING.md, on a copy; the wheel has the package and its command, and nothing else."""
    pytest.importorskip("build")
    pytest.importorskip("twine")
    kept = shutil.ignore_patterns(".*", "build", "dist", "*.egg-info", "runs", "_build", "__pycache__")
    shutil.copytree(ROOT, tmp_path / "tfgates", ignore=kept)
    for command in (
        ["build"],
        ["twine", "check", "--strict", *(f"dist/tfgates-{tfgates.__version__}{end}" for end in ENDS)],
    ):
        subprocess.run([sys.executable, "-m", *command], cwd=tmp_path / "tfgates", check=True, capture_output=True)
    with zipfile.ZipFile(tmp_path / "tfgates" / "dist" / f"tfgates-{tfgates.__version__}{ENDS[0]}") as wheel:
        tops = {name.split("/")[0] for name in wheel.namelist()}
        assert tops == {"tfgates", "tfgates_cli.py", f"tfgates-{tfgates.__version__}.dist-info"}
        assert "tfgates/py.typed" in wheel.namelist()


def test_setup_repeats_nothing():
    """One source of truth: what pyproject.toml says is not in setup.py, nor in a file of its own."""
    text = (ROOT / "setup.py").read_text("utf-8")
    assert not re.search(r"install_requires|extras_require|classifiers|python_requires|version=|name=", text)
    assert not (ROOT / "setup.cfg").exists() and not (ROOT / "MANIFEST.in").exists()


def test_links_are_made_from_one_place():
    setup = runpy.run_path(str(ROOT / "setup.py"), run_name="setup")
    assert setup["absolute"]("[a](b.md) [c](https://d) [e](#f)", "") == "[a](b.md) [c](https://d) [e](#f)"
    text = setup["absolute"]("[a](b.md) ![p](docs/images/p.png) [c](https://d) [e](#f)", "https://r/x/")
    assert text == "[a](https://r/x/blob/main/b.md) ![p](https://r/x/raw/main/docs/images/p.png) [c](https://d) [e](#f)"
    assert setup["urls"]({"repository": "", "documentation": ""}) == {}
    assert setup["urls"]({"repository": "https://r/x/", "documentation": "https://d"})["Issues"] == "https://r/x/issues"


def test_versions_agree():
    """The version stands in tfgates/version.py; the citation names the newest release, the changelog what comes."""
    citation, changelog = ((ROOT / name).read_text("utf-8") for name in ("CITATION.cff", "CHANGELOG.md"))
    under_way, releases = (
        re.findall(r"^## Unreleased .(.+).$", changelog, re.M),
        re.findall(r"^## (\d.+)$", changelog, re.M),
    )
    assert re.search(r"^version: (.+)$", citation, re.M)[1] == releases[0]
    assert tfgates.__version__ == (f"{under_way[0]}.dev0" if under_way else releases[0])
    assert re.search(r"^license: (.+)$", citation, re.M)[1] == PROJECT["license"]


def test_pythons_agree():
    """Each Python of the classifiers is tried by the hosted workflow, and the oldest is the lower bound."""
    pythons = [c.split()[-1] for c in PROJECT["classifiers"] if re.search(r":: 3\.\d+$", c)]
    assert PROJECT["requires-python"] == f">={pythons[0]}"
    workflow = (ROOT / ".github" / "workflows" / "tests.yml").read_text("utf-8")
    assert set(pythons) <= set(re.findall(r'"(3\.\d+)"', workflow))


def test_workflows_name_what_exists():
    """Extras, files and folders in the commands of the hosted workflows; style is asked for as CI asks."""
    texts = [path.read_text("utf-8") for path in sorted((ROOT / ".github" / "workflows").glob("*.yml"))]
    commands = [line for text in texts for line in text.splitlines() if re.search(r"run: \S|^ {10}\w", line)]
    assert len(commands) > 20
    extras = {
        name for line in commands for name in re.findall(r'"\.\[(\w+)\]"|\)\[(\w+)\]"', line) for name in name if name
    }
    backends = {
        name for text in texts for names in re.findall(r"backend: \[(.*)\]", text) for name in names.split(", ")
    }
    assert {"test", "dev", "docs", "tensorflow"} <= extras and backends == {"jax", "torch"}
    assert extras | backends <= set(PROJECT["optional-dependencies"])
    named = re.compile(r"(?<![\w/.\-$])((?:tests|docs|tfgates|examples|benchmarks)(?:/[\w.]+)*|\w+\.py)(?=[\s)'\"]|$)")
    places = {place for line in commands for place in named.findall(line) if "_build" not in place}
    assert {"tests/backends", "tfgates/version.py", "setup.py"} <= places
    assert [place for place in sorted(places) if not (ROOT / place).exists()] == []
    style = "ruff format --check tfgates tests examples benchmarks docs/*.py docs/_extensions setup.py tfgates_cli.py"
    assert all(
        any(style in line for line in some) for some in (commands, (ROOT / ".ci" / "run").read_text().splitlines())
    )
