"""Every failpoint of the installed code and the processes that pass it, read from the source: no list that can rot."""

from __future__ import annotations

import ast
import dataclasses
import importlib.util
import re
from collections.abc import Iterator
from pathlib import Path

from alignfed.failpoints import AFTER, BEFORE
from coordinator.backends.failing import PREFIX, store_places

AGENT, COMMAND, COORDINATOR, WORKER = "agent", "command", "coordinator", "worker"
PROCESSES = (AGENT, COMMAND, COORDINATOR, WORKER)

_PROCESSES_BY_FOLDER = {
    "coordinator/backends/memory": (),
    "coordinator/backends/redis": (),
    "coordinator/backup": (COMMAND,),
    "coordinator/cli": (COMMAND,),
    "coordinator/cli/store_place.py": (COORDINATOR,),
    "coordinator/cli/top": (),
    "coordinator/service": (COORDINATOR,),
    "coordinator/worker": (WORKER,),
    "coordinator/worker/replay.py": (COMMAND,),
    "coordinator": (COORDINATOR, WORKER),
    "edge_agent": (AGENT,),
}
"""Who runs the code of a folder; the longest path that fits counts. What is in front of a store, or asks a coordinator
for everything as `top` does, passes nothing of the store's whatever its names look like."""

_ONE, _PAIR = ("hit", "hit_async"), ("around",)


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """A failpoint: its name as `ALIGNFED_FAILPOINTS` takes it, and the processes whose code passes it, sorted.

    `command` stands for `alignfed` commands that end by themselves; those that open the store on their own, such as
    `replay`, also pass the places of the store that the worker's parts they use pass.
    """

    place: str
    processes: tuple[str, ...]


def places() -> list[Place]:
    """Return every failpoint, sorted by name. A call of the store that no process makes has no processes."""
    found: dict[str, set[str]] = {f"{name}.{end}": set() for name in store_places() for end in (BEFORE, AFTER)}
    for package in ("coordinator", "edge_agent"):
        folder = _folder(package)
        for file in sorted(folder.rglob("*.py")):
            name = f"{package}/{file.relative_to(folder).as_posix()}"
            for place in _places_in(file.read_text("utf-8")):
                found.setdefault(place, set()).update(_processes_of(name))
    return [Place(place=name, processes=tuple(sorted(processes))) for name, processes in sorted(found.items())]


def _folder(package: str) -> Path:
    """Return where a package is installed; it is not imported, so neither side loads the other."""
    spec = importlib.util.find_spec(package)
    assert spec is not None
    assert spec.submodule_search_locations
    return Path(spec.submodule_search_locations[0])


def _processes_of(file: str) -> tuple[str, ...]:
    fitting = [folder for folder in _PROCESSES_BY_FOLDER if file == folder or file.startswith(f"{folder}/")]
    return _PROCESSES_BY_FOLDER[max(fitting, key=len)]


def _places_in(source: str) -> Iterator[str]:
    """Yield the failpoints that a module passes, directly or by calling a port of the store."""
    calls = {name.removeprefix(f"{PREFIX}."): name for name in store_places()}
    calls |= {f"{PREFIX}.{call}": name for call, name in calls.items() if "." not in call}
    words = "|".join(re.escape(call) for call in calls if "." in call)
    if not re.search(rf"failpoints\.|{words}", source):
        return  # parsing takes far longer than looking
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Call) and _is_failpoint(node.func):
            yield from _ends(node)
        elif isinstance(node, ast.Attribute) and (owner := _name_of(node.value)):
            place = calls.get(f"{owner.removeprefix('_')}.{node.attr}")
            if place is not None:
                yield from (f"{place}.{BEFORE}", f"{place}.{AFTER}")


def _is_failpoint(function: ast.expr) -> bool:
    return (
        isinstance(function, ast.Attribute)
        and _name_of(function.value) == "failpoints"
        and function.attr in (*_ONE, *_PAIR)
    )


def _ends(call: ast.Call) -> tuple[str, ...]:
    assert isinstance(call.func, ast.Attribute)
    [name] = call.args
    assert isinstance(name, ast.Constant), f"line {call.lineno}: a failpoint is named by a literal"
    place = str(name.value)
    return (place,) if call.func.attr in _ONE else (f"{place}.{BEFORE}", f"{place}.{AFTER}")


def _name_of(value: ast.expr) -> str:
    """Return the last name of `a.b.name` or `name`."""
    if isinstance(value, ast.Attribute):
        return value.attr
    return value.id if isinstance(value, ast.Name) else ""
