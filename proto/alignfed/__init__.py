"""The contract that coordinator and edge agents share: messages, wire codec, plan and errors."""

from importlib.metadata import PackageNotFoundError, version

try:
    __version__ = version("alignfed")
except PackageNotFoundError:  # running from a source tree that was never installed
    __version__ = "0.0.0"
