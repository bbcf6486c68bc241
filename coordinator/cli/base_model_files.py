"""Which base model a plan file means, and its digest."""

from __future__ import annotations

import dataclasses
from pathlib import Path

from alignfed.base_model import digest_of, locate
from alignfed.errors import WrongBaseModel
from alignfed.plan import BaseModel
from coordinator.cli.plan_file import PlanFile


def find_base_model(file: PlanFile, override: Path | None) -> tuple[Path, BaseModel]:
    """Find the base model: the given directory, the plan's own path, or a download from the hub.

    Returns:
        The directory, and the base model as agents and workers are told it: a path of the plan file, which may be
        relative to that file, is made absolute, so that those on this machine find it from any folder.

    Raises:
        WrongBaseModel: It is in none of these places.
    """
    wanted = file.plan.base_model
    beside = file.folder / wanted.name
    if beside.is_dir():
        wanted = dataclasses.replace(wanted, name=str(beside.absolute()))
    return locate(wanted, override=override), wanted


def with_digest(wanted: BaseModel, model_dir: Path) -> BaseModel:
    """Return the base model with the digest of the weights in a directory.

    Raises:
        WrongBaseModel: The directory holds no weights, or not those whose digest the plan demands.
    """
    digest = digest_of(model_dir)
    if wanted.digest not in ("", digest):
        raise WrongBaseModel(
            f"{model_dir} has digest {digest}, the plan demands {wanted.digest}: fetch the right model, or leave "
            "base_model.digest out"
        )
    return dataclasses.replace(wanted, digest=digest)
