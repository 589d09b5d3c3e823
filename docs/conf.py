"""Settings of the site; CONTRIBUTING.md has the command that builds it."""

import os
import pathlib
import sys

ROOT = pathlib.Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "docs" / "_extensions")]
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import tfgates  # noqa: E402 (after the path and the logging are set)

project = "tfgates"
author = "The tfgates authors"
copyright = author
version = release = tfgates.__version__

extensions = [
    "myst_parser",
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
    "sphinx.ext.napoleon",
    "plain_docstrings",
    "mathml",
]
exclude_patterns = ["_build"]
templates_path = ["_templates"]
nitpicky = False

myst_enable_extensions = ["attrs_inline", "colon_fence", "deflist", "dollarmath"]
myst_heading_anchors = 4
# Attributes of one name in several classes are no fault.
suppress_warnings = ["config.cache", "ref.python"]

autosummary_generate = True
autosummary_imported_members = True
autosummary_ignore_module_all = False
autodoc_inherit_docstrings = False
autodoc_member_order = "bysource"
autodoc_preserve_defaults = True
autodoc_typehints = "signature"
autodoc_typehints_format = "short"
python_use_unqualified_type_names = True
python_maximum_signature_line_length = 90
napoleon_numpy_docstring = False
napoleon_use_ivar = True
# As it stands: a colon in the first line is no type.
napoleon_custom_sections = [("Call arguments", "params_style"), "Returns"]

html_theme = "furo"
html_title = f"tfgates {version}"
html_math_renderer = "mathml"
html_static_path = ["_static"]
html_css_files = ["site.css"]
html_show_copyright = False
html_copy_source = False
