"""Packaging of tfgates; tool settings are in pyproject.toml."""

import pathlib

from setuptools import find_packages, setup

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
TEST = ["pytest>=8", "pytest-cov>=5", "pytest-xdist>=3.6", "hypothesis>=6.100", *EXAMPLES, *ONNX]
DEV = ["ruff>=0.6", "mypy>=1.11", *TEST]

setup(
    name="tfgates",
    version="0.1.0",
    description="Gates for Keras: learn which parts of a network to keep, and remove the rest.",
    long_description=pathlib.Path(__file__).with_name("README.md").read_text(encoding="utf-8"),
    long_description_content_type="text/markdown",
    license="Apache-2.0",
    packages=find_packages(include=["tfgates", "tfgates.*"]),
    python_requires=">=3.11",
    install_requires=["keras>=3.15", "tensorflow>=2.21"],
    extras_require={"examples": EXAMPLES, "onnx": ONNX, "test": TEST, "dev": DEV},
)
