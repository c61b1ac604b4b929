"""The version of TDS: that of the installed package, which pyproject.toml gives it."""

from importlib.metadata import version

VERSION = version("tds-mirror")
