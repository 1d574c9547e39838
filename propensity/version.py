"""The version, where every room can read it: that of the installed package, which a tag gives."""

from importlib.metadata import PackageNotFoundError, version

try:
    __version__ = version("propensity")
except PackageNotFoundError:  # run from its folder, without having been installed
    __version__ = "0+unknown"
