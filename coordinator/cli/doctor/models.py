"""Checks of the base model on this machine against what federations were created with."""

from __future__ import annotations

from pathlib import Path

from alignfed.base_model import digest_of
from alignfed.errors import AlignFedError
from alignfed.plan import FederationPlan
from coordinator.cli.doctor.findings import Finding, not_checked, ok, problem


def check_base_model(plan: FederationPlan, directory: Path | None) -> Finding:
    """Check that a directory holds the federation's base model; reads all its weights.

    Args:
        plan: The federation's.
        directory: Where the model is said to be; None for where the plan says, if that is a path.
    """
    check = f"base model of {plan.federation}"
    wanted = plan.base_model
    place = directory or Path(wanted.name).expanduser()
    if not place.is_dir():
        if directory is not None:
            return problem(check, f"there is no directory {directory}", "correct --base-model")
        return not_checked(
            check,
            f"{wanted.name} is not a directory on this machine",
            "run this where a worker or agent runs, or give --base-model",
        )
    try:
        digest = digest_of(place)
    except AlignFedError as error:
        return problem(check, error.message, "name the model's directory with --base-model")
    if digest != wanted.digest:
        return problem(
            check,
            f"{place} has digest {digest[:12]}, the federation was created with {wanted.digest[:12]}",
            f"fetch {wanted.name}"
            + (f" at revision {wanted.revision}" if wanted.revision else "")
            + ": workers refuse "
            "to lead and agents refuse to train with another one",
        )
    return ok(check, f"{place} is the federation's, digest {digest[:12]}")
