"""What an installation brings along."""

import importlib
import pathlib

import tfgates

ROOT = pathlib.Path(__file__).parents[1]


def test_what_is_installed(monkeypatch):
    monkeypatch.chdir(ROOT)
    core = importlib.import_module("setuptools")._distutils.core
    distribution = core.run_setup("setup.py", stop_after="init")
    assert distribution.metadata.version == tfgates.__version__
    assert distribution.package_data == {"tfgates": ["py.typed"]} and (ROOT / "tfgates" / "py.typed").exists()
    (script,) = distribution.entry_points["console_scripts"]
    name, _, place = script.partition(" = ")
    module, _, function = place.partition(":")
    assert name == "tfgates" and module in distribution.py_modules
    assert callable(getattr(importlib.import_module(module), function))
    assert "pandas>=2.2" in distribution.extras_require["pandas"]
