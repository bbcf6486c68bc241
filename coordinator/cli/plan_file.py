"""The plan file of a federation: commented TOML, read strictly. `alignfed init` writes one to start from."""

from __future__ import annotations

import dataclasses
import tomllib
from pathlib import Path
from typing import Any

from alignfed.errors import PlanInvalid
from alignfed.plan import FederationPlan


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class PlanFile:
    """A plan as written: not yet resolved against its base model.

    Attributes:
        plan: Without manifest; the base model's digest is empty unless the file demands one.
        folder: Where the file lies: relative paths in it start here.
        calibration_data: Files or folders of the calibration set.
        names_lora: Whether the file has a `[lora]` table, which an existing adapter must then agree with.
    """

    plan: FederationPlan
    folder: Path
    calibration_data: tuple[Path, ...] = ()
    names_lora: bool = False


def read_plan_file(path: Path) -> PlanFile:
    """Read and check a plan file.

    Raises:
        PlanInvalid: It cannot be read, is no TOML, holds an unknown or missing setting, or one out of its range.
    """
    try:
        values = tomllib.loads(path.read_text("utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise PlanInvalid(f"plan file {path} cannot be read ({error}): check the path") from error
    except (ValueError, RecursionError) as error:  # also of a number of thousands of digits, and of deep nesting
        raise PlanInvalid(f"plan file {path} is not TOML ({error}): correct the line") from error
    if "tensors" in values:
        raise PlanInvalid(f"plan file {path} lists tensors: leave them out, they follow from base model and [lora]")
    data = _calibration_data(values, path)
    try:
        plan = FederationPlan.from_dict(values).validate()
    except PlanInvalid as error:
        raise PlanInvalid(f"plan file {path}: {error.message}") from error
    folder = path.absolute().parent
    return PlanFile(
        plan=plan,
        folder=folder,
        calibration_data=tuple(folder / name for name in data),
        names_lora="lora" in values,
    )


def _calibration_data(values: dict[str, Any], path: Path) -> list[str]:
    """Take `calibration.data`, the one setting that is not part of the plan, out of `values`."""
    table = values.get("calibration")
    if not isinstance(table, dict):
        return []
    data = table.pop("data", [])
    names = [data] if isinstance(data, str) else data
    if not isinstance(names, list) or not all(isinstance(name, str) and name for name in names):
        raise PlanInvalid(f"plan file {path}: calibration.data must be a path or a list of paths, not {data!r}")
    return names
