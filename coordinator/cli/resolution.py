"""From a plan file to a federation that can be created: base model, initial adapter, calibration set (needs torch)."""

from __future__ import annotations

import dataclasses
from pathlib import Path

from alignfed.codec import Factors, check_manifest, encode, manifest_of
from alignfed.errors import CalibrationMissing, ManifestMismatch, PlanInvalid
from alignfed.plan import Encoding, FederationPlan, Lora
from coordinator.algo.privacy.budget import participations_allowed
from coordinator.algo.recipes.requirements import recipe_of
from coordinator.cli.base_model_files import find_base_model, with_digest
from coordinator.cli.calibration_set import calibration_set
from coordinator.cli.plan_file import PlanFile
from coordinator.worker.adapter import adapter_from_peft, initial_adapter, resolve_target_modules


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class NewFederation:
    """What creating a federation sends: resolved plan, adapter (safetensors, fp32), calibration set (JSON Lines)."""

    plan: FederationPlan
    adapter: bytes
    calibration: bytes


def resolve(
    file: PlanFile, *, base_model: Path | None = None, adapter: Path | None = None, seed: int = 0
) -> NewFederation:
    """Resolve a plan file against its base model.

    Args:
        file: The plan as written.
        base_model: Directory of the base model, when it is not where the plan says.
        adapter: An existing PEFT adapter to start from; None for a fresh one that leaves the model unchanged.
        seed: Of a fresh adapter.

    Raises:
        WrongBaseModel: The base model cannot be found, or does not have the digest that the plan file demands.
        PlanInvalid: Recipe, LoRA, privacy or adapter do not fit.
        ManifestMismatch: The existing adapter does not belong to this base model.
        CalibrationMissing, DataUnusable: There are not enough calibration rows, or they cannot be read.
    """
    recipe = recipe_of(file.plan)
    if file.plan.privacy.enabled:
        participations_allowed(file.plan.validate().privacy)
    model_dir, wanted = find_base_model(file, base_model)
    factors, lora = _initial(file, model_dir, adapter, seed)
    base = with_digest(wanted, model_dir)
    plan = dataclasses.replace(file.plan, base_model=base, lora=lora, tensors=manifest_of(factors)).validate()
    calibration = calibration_set(plan, file.calibration_data, model_dir)
    if recipe.needs_probe and not calibration:
        raise CalibrationMissing(
            f"recipe {recipe.name} needs a calibration set: name its files in calibration.data, or choose another "
            "recipe in aggregation.recipe"
        )
    return NewFederation(plan=plan, adapter=bytes(encode(factors, Encoding.FP32)), calibration=calibration)


def _initial(file: PlanFile, model_dir: Path, adapter: Path | None, seed: int) -> tuple[Factors, Lora]:
    """Return version 0's adapter and the LoRA configuration with its target modules spelled out."""
    if adapter is None:
        lora = _spelled_out(file.plan.lora, model_dir)
        return initial_adapter(model_dir, lora, seed=seed), lora
    factors, found = adapter_from_peft(adapter)
    lora = dataclasses.replace(_spelled_out(found, model_dir), freeze_a=file.plan.lora.freeze_a)
    if file.names_lora:
        _check_agreement(_spelled_out(file.plan.lora, model_dir), lora)
    try:
        check_manifest(factors, manifest_of(initial_adapter(model_dir, lora, seed=seed)))
    except ManifestMismatch as error:
        raise ManifestMismatch(f"the adapter in {adapter} is not one for {model_dir}: {error.message}") from error
    return factors, lora


def _spelled_out(lora: Lora, model_dir: Path) -> Lora:
    return dataclasses.replace(lora, target_modules=resolve_target_modules(model_dir, lora))


def _check_agreement(planned: Lora, found: Lora) -> None:
    for name in ("rank", "alpha", "target_modules"):
        wanted, there = getattr(planned, name), getattr(found, name)
        if wanted != there:
            raise PlanInvalid(
                f"lora.{name} is {wanted} in the plan and {there} in the adapter: correct [lora], or remove it to take "
                "the adapter's"
            )
