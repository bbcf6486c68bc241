"""Proof that the base model on this machine is the federation's, remembered; and its tokenizer."""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import Any

from alignfed import failpoints
from alignfed.base_model import digest_of
from alignfed.errors import DiskFull, WrongBaseModel
from alignfed.plan import BaseModel
from edge_agent.outbox.durable import replace_json

logger = logging.getLogger(__name__)


def check_base_model(directory: Path, wanted: BaseModel, *, cache: Path) -> None:
    """Check that the model in `directory` is the federation's, by the digest of its weights.

    Reading the weights takes about a second per gigabyte; the digest is remembered in `cache` until a file's size or
    modification time changes.

    Raises:
        WrongBaseModel: It is another model, or another revision of it.
    """
    digest = _remembered_digest(directory, cache)
    if digest != wanted.digest:
        raise WrongBaseModel(
            f"the base model in {directory} is not the federation's: its digest is {digest[:12]}..., the plan wants "
            f"{wanted.digest[:12]}... ({wanted.name}{' at ' + wanted.revision if wanted.revision else ''}): get that "
            "very model and pass its directory with --base-model",
            digest=digest,
        )


def load_tokenizer(directory: Path) -> Any:
    """Return the base model's tokenizer.

    Raises:
        WrongBaseModel: The directory holds none that transformers can read.
    """
    from transformers import AutoTokenizer  # heavy, and not needed to check a digest

    try:
        return AutoTokenizer.from_pretrained(directory, local_files_only=True)
    except (OSError, ValueError) as error:
        raise WrongBaseModel(f"{directory} holds no usable tokenizer ({error}): fetch the model again") from error


def _remembered_digest(directory: Path, cache: Path) -> str:
    key = str(directory.resolve())
    stamp = [
        [file.name, file.stat().st_size, file.stat().st_mtime_ns] for file in sorted(directory.glob("*.safetensors"))
    ]
    known = _read_cache(cache)
    entry = known.get(key)
    if isinstance(entry, dict) and entry.get("files") == stamp and isinstance(entry.get("digest"), str):
        return str(entry["digest"])
    logger.info("checking the base model in %s", directory)
    digest = digest_of(directory)
    with failpoints.around("digests.save"):
        try:
            replace_json(cache, {**known, key: {"files": stamp, "digest": digest}})
        except DiskFull as error:
            logger.warning("%s; the next start checks the base model again", error.message)
    return digest


def _read_cache(cache: Path) -> dict[str, Any]:
    try:
        values = json.loads(cache.read_text("utf-8"))
    except (OSError, ValueError):  # not there yet, or damaged: the digest is computed again
        return {}
    return values if isinstance(values, dict) else {}
