"""Packaging of tfgates; tool settings are in pyproject.toml."""

import pathlib
import runpy

from setuptools import find_packages, setup

ROOT = pathlib.Path(__file__).parent
EXAMPLES = [
    "tensorflow-datasets>=4.9.6",
    # tensorflow-datasets imports these two without asking for them.
    "importlib_resources>=5",
    "importlib_metadata>=4",
    # TensorFlow needs it for tf.summary but no longer brings it.
    "tensorboard>=2.20",
    "absl-py>=2.0",
    "scikit-learn>=1.4",
    "matplotlib>=3.8",
    "rich>=13",
]
# What Keras's `model.export(format="onnx")` needs.
ONNX = ["onnx>=1.17", "tf2onnx>=1.16"]
# What `to_pandas()` of a plan, a cost or a report needs.
PANDAS = ["pandas>=2.2"]
# Instead of TensorFlow, which is installed all the same: with KERAS_BACKEND=jax it is not imported.
JAX = ["jax>=0.10"]
TEST = ["pytest>=8", "pytest-cov>=5", "pytest-xdist>=3.6", "hypothesis>=6.100", *EXAMPLES, *ONNX, *PANDAS]
DEV = ["ruff>=0.6", "mypy>=1.11", *TEST]

setup(
    name="tfgates",
    version=runpy.run_path(str(ROOT / "tfgates" / "version.py"))["__version__"],
    description="Gates for Keras: learn which parts of a network to keep, and remove the rest.",
    long_description=(ROOT / "README.md").read_text(encoding="utf-8"),
    long_description_content_type="text/markdown",
    license="Apache-2.0",
    classifiers=[
        "Development Status :: 4 - Beta",
        "Intended Audience :: Developers",
        "Intended Audience :: Science/Research",
        "Operating System :: OS Independent",
        "Programming Language :: Python :: 3 :: Only",
        "Programming Language :: Python :: 3.11",
        "Topic :: Scientific/Engineering :: Artificial Intelligence",
        "Typing :: Typed",
    ],
    keywords="keras tensorflow pruning sparsity compression gates",
    packages=find_packages(include=["tfgates", "tfgates.*"]),
    # The command is no part of the package: it answers before the package is loaded.
    py_modules=["tfgates_cli"],
    package_data={"tfgates": ["py.typed"]},
    entry_points={"console_scripts": ["tfgates = tfgates_cli:main"]},
    python_requires=">=3.11",
    install_requires=["keras>=3.15", "tensorflow>=2.21"],
    extras_require={"examples": EXAMPLES, "jax": JAX, "onnx": ONNX, "pandas": PANDAS, "test": TEST, "dev": DEV},
)
