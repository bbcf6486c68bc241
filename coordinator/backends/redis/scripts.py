"""Loads the Lua scripts that ship beside this file."""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Mapping
from importlib import resources


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Script:
    """A script and the SHA-1 by which servers know it."""

    text: str
    sha: str


def load_scripts() -> Mapping[str, Script]:
    """Return every script by its name, the file's name without `.lua`."""
    folder = resources.files("coordinator.backends.redis") / "scripts"
    return {
        file.name.removesuffix(".lua"): _script(file.read_text(encoding="utf-8"))
        for file in folder.iterdir()
        if file.name.endswith(".lua")
    }


def _script(text: str) -> Script:
    return Script(text=text, sha=hashlib.sha1(text.encode(), usedforsecurity=False).hexdigest())
