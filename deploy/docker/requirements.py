"""Print what parts of AlignFed require, one requirement per line: `requirements.py worker agent`.

Packages are installed before AlignFed itself is copied into an image, so that a changed line of code does not install
torch again. `pip` cannot install an extra's requirements without the package; this reads them from pyproject.toml.
"""

from __future__ import annotations

import re
import sys
import tomllib
from pathlib import Path
from typing import Any

_OWN_EXTRAS = re.compile(r"alignfed\[(?P<extras>[a-z,-]+)\]")


def requirements(project: dict[str, Any], extras: list[str]) -> list[str]:
    """Return the requirements of the project and of some of its extras, other extras that they name included.

    Args:
        project: The table `[project]` of pyproject.toml.
        extras: Names of optional dependencies.

    Raises:
        KeyError: There is no such extra.
    """
    found: dict[str, None] = dict.fromkeys(project["dependencies"])
    for extra in extras:
        for line in project["optional-dependencies"][extra]:
            own = _OWN_EXTRAS.fullmatch(line)
            found |= dict.fromkeys(requirements(project, own["extras"].split(",")) if own else [line])
    return list(found)


if __name__ == "__main__":
    pyproject = tomllib.loads(Path("pyproject.toml").read_text("utf-8"))
    sys.stdout.write("\n".join(requirements(pyproject["project"], sys.argv[1:])) + "\n")
