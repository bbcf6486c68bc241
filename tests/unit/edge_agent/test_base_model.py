"""The base model: found where it is, proved to be the federation's, and refused with advice when it is not."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from alignfed.base_model import digest_of, locate
from alignfed.errors import WrongBaseModel
from alignfed.plan import BaseModel
from edge_agent.training.base_model import check_base_model, load_tokenizer


def model(directory: Path, value: float) -> BaseModel:
    directory.mkdir(exist_ok=True)
    save_file({"weight": torch.full((4,), value)}, directory / "model.safetensors")
    return BaseModel(name=str(directory), digest=digest_of(directory))


def test_the_digest_is_remembered_until_a_file_changes(tmp_path: Path) -> None:
    wanted = model(tmp_path / "model", 1.0)
    cache, file = tmp_path / "cache.json", tmp_path / "model" / "model.safetensors"
    check_base_model(tmp_path / "model", wanted, cache=cache)
    remembered = cache.read_text()
    before = file.stat()
    content = bytearray(file.read_bytes())
    content[-1] ^= 0x40
    file.write_bytes(content)
    os.utime(file, ns=(before.st_atime_ns, before.st_mtime_ns))
    check_base_model(tmp_path / "model", wanted, cache=cache)  # neither size nor time tell: not read again
    os.utime(file, ns=(before.st_atime_ns, before.st_mtime_ns + 1))
    with pytest.raises(WrongBaseModel, match="--base-model"):
        check_base_model(tmp_path / "model", wanted, cache=cache)
    assert cache.read_text() != remembered


@pytest.mark.parametrize("content", ["{", "[]", '{"x": 1}'])
def test_a_damaged_digest_cache_is_made_anew(tmp_path: Path, content: str) -> None:
    wanted = model(tmp_path / "model", 1.0)
    (tmp_path / "cache.json").write_text(content)
    check_base_model(tmp_path / "model", wanted, cache=tmp_path / "cache.json")


def test_a_model_is_found_where_the_plan_or_the_user_says(tmp_path: Path) -> None:
    wanted = model(tmp_path / "model", 1.0)
    assert locate(wanted) == tmp_path / "model"
    (tmp_path / "mine").mkdir()
    assert locate(wanted, str(tmp_path / "mine")) == tmp_path / "mine"
    with pytest.raises(WrongBaseModel, match="no directory /no/such/model"):
        locate(BaseModel(name="/no/such/model"))
    with pytest.raises(WrongBaseModel, match=r"no directory \./gone"):
        locate(wanted, "./gone")


def test_a_hub_that_cannot_deliver_is_an_error_that_says_what_to_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import huggingface_hub.constants

    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path))
    with pytest.raises(WrongBaseModel, match="--base-model"):
        locate(BaseModel(name="no-such-owner/no-such-model", revision="main"))


def test_a_directory_without_a_tokenizer_is_refused(tmp_path: Path) -> None:
    model(tmp_path / "model", 1.0)
    with pytest.raises(WrongBaseModel, match="no usable tokenizer"):
        load_tokenizer(tmp_path / "model")
