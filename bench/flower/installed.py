"""Flower as it is installed somewhere: an interpreter that has it, apart from ours."""

from __future__ import annotations

import dataclasses
import json
import os
import subprocess
from collections.abc import Mapping
from pathlib import Path

from alignfed.errors import RequestInvalid
from coordinator.local.processes import python_program

ASK_SECONDS = 60.0
_VERSIONS = (
    "import json, platform, importlib.metadata as it; "
    "print(json.dumps({'python': platform.python_version(), **{n: it.version(n) for n in ('flwr', 'numpy')}}))"
)


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Flower:
    """An interpreter with Flower, and what it is.

    Attributes:
        python: The interpreter.
        versions: Of Python, `flwr` and `numpy` there.
    """

    python: Path
    versions: Mapping[str, str]

    def command(self, name: str) -> str:
        """Return the path of one of Flower's commands."""
        return str(self.python.with_name(name))

    def environment(self, home: Path) -> dict[str, str]:
        """Return settings under which Flower keeps to this machine and to a folder of its own.

        Args:
            home: Its folder.
        """
        loopback = python_program("", "", (), stage=0, log=home).environment
        return {
            **loopback,
            "PATH": f"{self.python.parent}{os.pathsep}{os.environ.get('PATH', '')}",  # it starts its commands by name
            "FLWR_HOME": str(home),
            "FLWR_TELEMETRY_ENABLED": "0",
            "FLWR_DISABLE_UPDATE_CHECK": "1",
        }


def find_flower(python: Path) -> Flower:
    """Return the Flower of an interpreter.

    Raises:
        RequestInvalid: It has none, or there is no such interpreter.
    """
    python = python.absolute()  # not resolved: the link's place says which environment it is
    try:
        done = subprocess.run(
            [python, "-c", _VERSIONS], capture_output=True, text=True, check=False, timeout=ASK_SECONDS
        )
        found = done.stdout if done.returncode == 0 else ""
    except OSError:
        found = ""
    if not found:
        raise RequestInvalid(
            f"there is no Flower at {python}: `make bench-flower` installs it in an environment of its own, or name an "
            "interpreter that has it with --flower"
        )
    return Flower(python=python, versions=json.loads(found))
