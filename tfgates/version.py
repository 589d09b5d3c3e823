"""The version of tfgates, for the package, its packaging and its command."""

__version__ = "0.2.0.dev0"
