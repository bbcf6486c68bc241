"""Does anything read data in a way that can run what the data says? `python -m tests.support.code_loading` lists it.

Payloads, models, plans and records come from others: they are safetensors, JSON or TOML, which only hold data. Ruff's
`S` and `TID` rules refuse the same where they can; this also follows names through `import ... as`, knows the libraries
around torch, and lists every exception with its reason.
"""

from __future__ import annotations

import ast
import dataclasses
import sys
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[2]
PACKAGES = ("proto", "coordinator", "edge_agent", "bench", "deploy")

MODULES = frozenset(
    {
        "_pickle",
        "cloudpickle",
        "dill",
        "hickle",
        "joblib",
        "jsonpickle",
        "marshal",
        "pickle",
        "shelve",
        "yaml.constructor",
    }
)
"""Their files are programs. `yaml` itself may be imported: what it may not call is below."""

CALLS = frozenset(
    {
        "builtins.__import__", "builtins.compile", "builtins.eval", "builtins.exec", "code.InteractiveInterpreter",
        "numpy.lib.format.read_array", "pandas.read_pickle", "runpy.run_module", "runpy.run_path",
        "torch.hub.load", "torch.jit.load", "torch.load", "torch.package.PackageImporter",
        "torch.utils.cpp_extension.load", "torch.utils.cpp_extension.load_inline",
        "yaml.full_load", "yaml.full_load_all", "yaml.load", "yaml.load_all", "yaml.unsafe_load",
        "yaml.unsafe_load_all",
    }
)  # fmt: skip

EXCEPTIONS = {
    ("bench/tasks/answer_process.py", "builtins.exec"): "code tasks are graded by running answers, in a locked process",
    ("bench/tasks/answer_process.py", "builtins.compile"): "the same answers",
    ("bench/tasks/answer_process.py", "import_module"): "names of the standard library, from a constant in the file",
    ("coordinator/cli/main.py", "import_module"): "names of our own commands, from a constant in the file",
}
"""What is allowed, by file and rule, and why."""


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One place; `rule` is a module, a call, an option that must or must not be given, or `import_module`."""

    file: str
    line: int
    rule: str


def findings() -> list[Finding]:
    """Return every place in the packages, exceptions included."""
    return [
        finding
        for package in PACKAGES
        for file in sorted((ROOT / package).rglob("*.py"))
        for finding in findings_in(file.read_text("utf-8"), file.relative_to(ROOT).as_posix())
    ]


def problems() -> list[str]:
    """Return what is not allowed, and exceptions that nothing needs."""
    found = findings()
    unneeded = set(EXCEPTIONS) - {(finding.file, finding.rule) for finding in found}
    return [
        *(f"{it.file}:{it.line}: {it.rule}" for it in found if (it.file, it.rule) not in EXCEPTIONS),
        *(f"{file}: nothing there needs the exception for {rule}" for file, rule in sorted(unneeded)),
    ]


def findings_in(source: str, file: str) -> Iterator[Finding]:
    """Yield every place in one module."""
    tree = ast.parse(source)
    names: dict[str, str] = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import | ast.ImportFrom):
            for module, bound, target in _imported(node):
                names[bound] = target
                if _is_banned(module) or _is_banned(target):
                    yield Finding(file=file, line=node.lineno, rule=module if _is_banned(module) else target)
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            yield from (Finding(file=file, line=node.lineno, rule=rule) for rule in _rules_of(node, names))
        elif isinstance(node, ast.Attribute | ast.Name) and _full_name(node, names) in CALLS - _BUILTINS:
            yield Finding(file=file, line=node.lineno, rule=_full_name(node, names))


_BUILTINS = frozenset(name for name in CALLS if name.startswith("builtins."))


def _imported(node: ast.Import | ast.ImportFrom) -> Iterator[tuple[str, str, str]]:
    """Yield the module, the name that is bound, and what it stands for."""
    for alias in node.names:
        if isinstance(node, ast.ImportFrom):
            yield node.module or "", alias.asname or alias.name, f"{node.module}.{alias.name}"
        else:
            top = alias.name.partition(".")[0]
            yield alias.name, alias.asname or top, alias.name if alias.asname else top


def _is_banned(name: str) -> bool:
    return any(name == module or name.startswith(f"{module}.") for module in MODULES)


def _rules_of(call: ast.Call, names: dict[str, str]) -> Iterator[str]:
    name = _full_name(call.func, names)
    if f"builtins.{name}" in CALLS:
        yield f"builtins.{name}"
    given = {keyword.arg: keyword.value for keyword in call.keywords}
    for option in ("allow_pickle", "trust_remote_code"):
        if option in given and not _is(given[option], False):
            yield option
    if name == "importlib.import_module" and not (call.args and isinstance(call.args[0], ast.Constant)):
        yield "import_module"
    weights = name.rpartition(".")[0]
    loads_weights = name.endswith(".from_pretrained") and "Model" in weights and "gguf_file" not in given
    if loads_weights and not _is(given.get("use_safetensors"), True):
        yield "use_safetensors"


def _is(value: ast.expr | None, wanted: bool) -> bool:
    return isinstance(value, ast.Constant) and value.value is wanted


def _full_name(node: ast.expr, names: dict[str, str]) -> str:
    """Return `module.attribute` as it is known outside this file; empty for what is no plain name."""
    if isinstance(node, ast.Attribute):
        owner = _full_name(node.value, names)
        return f"{owner}.{node.attr}" if owner else ""
    return names.get(node.id, node.id) if isinstance(node, ast.Name) else ""


if __name__ == "__main__":
    if found := problems():
        sys.exit("data that can run code is read here:\n" + "\n".join(found))
