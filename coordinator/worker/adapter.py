"""LoRA adapters and peft: fresh ones, existing ones, and directories that `PeftModel.from_pretrained` loads."""

from __future__ import annotations

import contextlib
import json
import math
import sys
import warnings
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import safetensors
import safetensors.torch
import torch
from peft import LoraConfig, get_peft_model
from transformers import AutoConfig, AutoModelForCausalLM
from transformers.utils import logging as transformers_logging

from alignfed.codec import Factors, check_finite
from alignfed.errors import ManifestMismatch, PlanInvalid, RankMismatch, WrongBaseModel
from alignfed.plan import Lora

ALL_LINEAR = "all-linear"
_WEIGHTS_FILE = "adapter_model.safetensors"
_CONFIG_FILE = "adapter_config.json"
_PREFIX = "base_model.model."
_A_SUFFIX, _B_SUFFIX = ".lora_A.weight", ".lora_B.weight"
_LIVE_NAME = ".default."
"""peft puts the adapter's name into the names of live parameters and leaves it out when it saves them."""

_HARMLESS_KEYS = frozenset({
    "auto_mapping", "base_model_name_or_path", "corda_config", "ensure_weight_tying", "eva_config", "exclude_modules",
    "fan_in_fan_out", "inference_mode", "init_lora_weights", "layers_pattern", "layers_to_transform", "loftq_config",
    "lora_alpha", "lora_dropout", "lora_ga_config", "megatron_config", "megatron_core", "peft_type", "peft_version",
    "qalora_group_size", "r", "revision", "runtime_config", "target_modules", "task_type",
})  # fmt: skip
"""Keys of an adapter's configuration that do not change what its two factors mean."""
_PLAIN_INITS = (True, False, None, "gaussian", "orthogonal", "eva")
"""Initialisations that leave the base model's weights as they are."""


@contextlib.contextmanager
def quiet_transformers() -> Iterator[None]:
    """Silence progress bars, log lines and warnings of transformers and peft, and put their settings back after."""
    verbosity, bars = transformers_logging.get_verbosity(), transformers_logging.is_progress_bar_enabled()
    transformers_logging.set_verbosity_error()
    transformers_logging.disable_progress_bar()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        transformers_logging.set_verbosity(verbosity)
        if bars:
            transformers_logging.enable_progress_bar()


def attach_lora(model: Any, lora: Lora) -> tuple[Any, dict[str, torch.nn.Parameter]]:
    """Attach LoRA without dropout to a causal language model, in place.

    Returns:
        peft's model, and its LoRA parameters by the names that peft saves them under.

    Raises:
        PlanInvalid: The target modules match nothing in the model, or something that is no linear layer.
    """
    try:
        attached = get_peft_model(model, peft_config(lora, dropout=0.0))
    except ValueError as error:
        raise PlanInvalid(f"lora.target_modules {', '.join(lora.target_modules)} do not fit: {error}") from error
    live = {
        name.replace(_LIVE_NAME, "."): parameter
        for name, parameter in attached.named_parameters()
        if parameter.requires_grad
    }
    for name in live:
        if not name.endswith((_A_SUFFIX, _B_SUFFIX)):
            raise PlanInvalid(f"lora.target_modules reach {name}, which is no linear layer: name linear layers only")
    return attached, live


def peft_config(lora: Lora, *, dropout: float, base_model_name: str | None = None) -> LoraConfig:
    """Return peft's configuration of a plan's LoRA."""
    targets = list(lora.target_modules)
    return LoraConfig(
        r=lora.rank,
        lora_alpha=int(lora.alpha) if float(lora.alpha).is_integer() else lora.alpha,
        lora_dropout=dropout,
        target_modules=ALL_LINEAR if targets == [ALL_LINEAR] else targets,
        task_type="CAUSAL_LM",
        base_model_name_or_path=base_model_name,
    )


def resolve_target_modules(model_dir: Path, lora: Lora) -> tuple[str, ...]:
    """Turn `all-linear` into the names of the modules it means, sorted; other names are checked and returned sorted.

    Names are suffixes such as `q_proj` where these mean the same modules, else full module names. Reads the model's
    configuration, not its weights.

    Raises:
        WrongBaseModel: The directory holds no causal language model.
        PlanInvalid: The target modules do not fit the model.
    """
    skeleton, live = _skeleton(model_dir, lora)
    if ALL_LINEAR not in lora.target_modules:
        return tuple(sorted(lora.target_modules))
    full = {name.removeprefix(_PREFIX).removesuffix(_A_SUFFIX) for name in live if name.endswith(_A_SUFFIX)}
    suffixes = {name.rpartition(".")[2] for name in full}
    plain = {name.removeprefix(_PREFIX) for name, _ in skeleton.named_modules()}
    reached = {name for name in plain if name.rpartition(".")[2] in suffixes}
    return tuple(sorted(suffixes if reached == full else full))


def initial_adapter(model_dir: Path, lora: Lora, *, seed: int) -> Factors:
    """Return a fresh adapter as peft initialises it: A Kaiming-uniform, B zero, so that the model is unchanged.

    Reads the model's configuration, not its weights.

    Args:
        model_dir: The base model.
        lora: Rank and target modules.
        seed: The same seed gives the same adapter.

    Raises:
        WrongBaseModel: The directory holds no causal language model.
        PlanInvalid: The target modules do not fit the model.
    """
    _, live = _skeleton(model_dir, lora)
    generator = torch.Generator().manual_seed(seed)
    factors: Factors = {}
    for name in sorted(live):
        factors[name] = torch.zeros(live[name].shape)
        if name.endswith(_A_SUFFIX):
            torch.nn.init.kaiming_uniform_(factors[name], a=math.sqrt(5), generator=generator)
    return factors


def adapter_from_peft(directory: Path) -> tuple[Factors, Lora]:
    """Read an existing PEFT adapter.

    Raises:
        PlanInvalid: It is missing, unreadable, or not a plain LoRA (another method, DoRA, rsLoRA, biases, saved
            modules, ranks or alphas that differ by module, an initialisation that changed the base model).
        ManifestMismatch: A tensor is not one of a pair of LoRA factors.
        RankMismatch: A tensor's rank is not the configuration's.
        NonFinite: A tensor holds NaN or infinity.
    """
    config = _read_config(directory)
    _check_plain(directory, config)
    try:
        tensors = safetensors.torch.load_file(directory / _WEIGHTS_FILE)
    except (OSError, safetensors.SafetensorError, TypeError, ValueError, RuntimeError) as error:
        raise PlanInvalid(
            f"{directory} holds no readable {_WEIGHTS_FILE} ({error}): save it again with peft"
        ) from error
    rank = config["r"]
    _check_pairs(tensors, rank)
    factors = {name: tensors[name].float() for name in sorted(tensors)}
    check_finite(factors, what=f"the adapter in {directory}")
    lora = Lora(
        rank=rank,
        alpha=float(config["lora_alpha"]),
        dropout=float(config.get("lora_dropout") or 0.0),
        target_modules=_targets(config, factors),
    )
    return factors, lora


def write_peft(directory: Path, factors: Mapping[str, torch.Tensor], lora: Lora, *, base_model_name: str) -> None:
    """Write an adapter that `PeftModel.from_pretrained` loads; overwrites the two files it consists of."""
    directory.mkdir(parents=True, exist_ok=True)
    config = peft_config(lora, dropout=lora.dropout, base_model_name=base_model_name)
    config.inference_mode = True
    config.save_pretrained(str(directory))
    tensors = {name: tensor.detach().to("cpu", torch.float32).contiguous() for name, tensor in factors.items()}
    safetensors.torch.save_file(tensors, directory / _WEIGHTS_FILE, metadata={"format": "pt"})


def _skeleton(model_dir: Path, lora: Lora) -> tuple[Any, dict[str, torch.nn.Parameter]]:
    """Return the model with LoRA attached, on the meta device: shapes without memory."""
    with quiet_transformers():
        try:
            config = AutoConfig.from_pretrained(model_dir, local_files_only=True)
            with torch.device("meta"):
                model = AutoModelForCausalLM.from_config(config)
        except (OSError, ValueError) as error:
            raise WrongBaseModel(
                f"{model_dir} holds no causal language model ({error}): give a directory made by save_pretrained"
            ) from error
        return attach_lora(model, lora)


def _read_config(directory: Path) -> dict[str, Any]:
    try:
        config = json.loads((directory / _CONFIG_FILE).read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise PlanInvalid(f"{directory} holds no readable {_CONFIG_FILE} ({error}): is it a PEFT adapter?") from error
    if not isinstance(config, dict) or not _is_number(config.get("r"), int) or not _is_number(config.get("lora_alpha")):
        raise PlanInvalid(f"{directory / _CONFIG_FILE} names no rank r and lora_alpha: it must be a LoRA")
    targets = config.get("target_modules")
    named = isinstance(targets, list) and all(isinstance(name, str) for name in targets)
    if not _is_number(config.get("lora_dropout") or 0.0) or not (targets is None or isinstance(targets, str) or named):
        raise PlanInvalid(f"{directory / _CONFIG_FILE} has lora_dropout or target_modules that peft never writes")
    return config


def _is_number(value: object, kind: type[int] | type[float] = float) -> bool:
    """Whether a value of JSON is a number of that kind, of a size that computes."""
    if isinstance(value, bool) or not isinstance(value, int | kind):
        return False
    return -sys.float_info.max <= value <= sys.float_info.max


def _check_plain(directory: Path, config: Mapping[str, Any]) -> None:
    unplain = [key for key, value in config.items() if key not in _HARMLESS_KEYS and value and value != "none"]
    if config.get("peft_type") != "LORA":
        unplain.append(f"peft_type {config.get('peft_type')}")
    if config.get("init_lora_weights", True) not in _PLAIN_INITS:
        unplain.append(f"init_lora_weights {config['init_lora_weights']}")
    if unplain:
        raise PlanInvalid(
            f"the adapter in {directory} is not a plain LoRA ({', '.join(sorted(unplain))}): "
            "convert it, or start from a fresh adapter"
        )


def _check_pairs(tensors: Mapping[str, torch.Tensor], rank: int) -> None:
    for name, tensor in tensors.items():
        own, other = (_A_SUFFIX, _B_SUFFIX) if name.endswith(_A_SUFFIX) else (_B_SUFFIX, _A_SUFFIX)
        if not name.endswith(own) or name.removesuffix(own) + other not in tensors or tensor.dim() != 2:
            raise ManifestMismatch(f"tensor {name} is not one of a pair of LoRA factors of a linear layer")
        if tensor.shape[0 if own == _A_SUFFIX else 1] != rank:
            raise RankMismatch(f"tensor {name} has shape {tuple(tensor.shape)}, the configuration says rank {rank}")
    if not tensors:
        raise ManifestMismatch("the adapter holds no tensors")


def _targets(config: Mapping[str, Any], factors: Mapping[str, torch.Tensor]) -> tuple[str, ...]:
    """Return the configuration's target modules; full module names where it narrows them down in other ways."""
    targets = config.get("target_modules")
    narrowed = config.get("layers_to_transform") is not None or bool(config.get("exclude_modules"))
    if isinstance(targets, list) and not narrowed:
        return tuple(sorted(targets))
    if targets == ALL_LINEAR and not narrowed:
        return (ALL_LINEAR,)
    return tuple(sorted(name.removeprefix(_PREFIX).removesuffix(_A_SUFFIX) for name in factors if _A_SUFFIX in name))
