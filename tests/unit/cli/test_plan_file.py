"""Plan files: what is read from them, and what is refused with a message that names the place."""

from __future__ import annotations

from importlib import resources
from pathlib import Path

import pytest

from alignfed.errors import PlanInvalid
from alignfed.plan import Aggregation, Buffer, Encoding, FederationPlan, Limits, Lora, Retention, Training
from coordinator.cli.plan_file import read_plan_file

SMALLEST = 'federation = "demo"\n[base_model]\nname = "models/small"\n'


def write(folder: Path, text: str) -> Path:
    path = folder / "plan.toml"
    path.write_text(text, "utf-8")
    return path


def test_a_small_file_takes_every_default(tmp_path: Path) -> None:
    file = read_plan_file(write(tmp_path, SMALLEST))
    assert file.plan == FederationPlan.from_dict({"federation": "demo", "base_model": {"name": "models/small"}})
    assert file.calibration_data == ()
    assert not file.names_lora


def test_every_table_is_read(tmp_path: Path) -> None:
    text = (
        'federation = "demo"\ndelta_encoding = "int8"\n[base_model]\nname = "m"\n[lora]\nrank = 4\n'
        "[training]\nlocal_steps = 3\n[buffer]\nsize = 2\n"
        "[aggregation]\nserver_learning_rate = 0.5\n[calibration]\nfit_rows = 1\n[limits]\n"
        "max_queue_deltas = 9\n[retention]\nversions = 5\n"
    )
    file = read_plan_file(write(tmp_path, text))
    assert file.plan.delta_encoding is Encoding.INT8
    assert file.plan.lora == Lora(rank=4)
    assert file.names_lora
    assert file.plan.training == Training(local_steps=3)
    assert file.plan.buffer == Buffer(size=2)
    assert file.plan.aggregation == Aggregation(server_learning_rate=0.5)
    assert file.plan.calibration.fit_rows == 1
    assert file.plan.limits == Limits(max_queue_deltas=9)
    assert file.plan.retention == Retention(versions=5)


@pytest.mark.parametrize(("written", "names"), [('"a.jsonl"', ["a.jsonl"]), ('["a.jsonl", "b"]', ["a.jsonl", "b"])])
def test_calibration_data_lies_beside_the_plan_file(tmp_path: Path, written: str, names: list[str]) -> None:
    file = read_plan_file(write(tmp_path, f"{SMALLEST}[calibration]\ndata = {written}\n"))
    assert file.calibration_data == tuple(tmp_path / name for name in names)


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("federation = ", "not TOML"),
        ('[base_model]\nname = "m"\n', "federation"),
        (SMALLEST + "[training]\nlocal_step = 3\n", "local_step"),
        (SMALLEST + "[training]\nlocal_steps = 0\n", "training.local_steps"),
        (SMALLEST + '[lora]\nrank = "8"\n', "lora.rank"),
        (SMALLEST + "[buffers]\nsize = 3\n", "buffers"),
        (SMALLEST.replace("demo", "Demo!"), "lowercase"),
        (SMALLEST + "[calibration]\ndata = 3\n", "calibration.data"),
        (SMALLEST + '[calibration]\ndata = [""]\n', "calibration.data"),
        ("tensors = []\n" + SMALLEST, "tensors"),
    ],
    ids=[
        "syntax",
        "missing",
        "unknown-key",
        "range",
        "type",
        "unknown-table",
        "name",
        "data-type",
        "data-empty",
        "tensors",
    ],
)
def test_a_wrong_file_is_refused_with_file_and_setting(tmp_path: Path, text: str, named: str) -> None:
    path = write(tmp_path, text)
    with pytest.raises(PlanInvalid, match=named) as caught:
        read_plan_file(path)
    assert str(path) in caught.value.message


def test_an_unreadable_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(PlanInvalid, match="cannot be read"):
        read_plan_file(tmp_path / "missing.toml")
    (tmp_path / "latin.toml").write_bytes(b'federation = "caf\xe9"')
    with pytest.raises(PlanInvalid, match="cannot be read"):
        read_plan_file(tmp_path / "latin.toml")


def uncommented(text: str) -> str:
    """Return a template with its commented-out defaults switched on."""
    lines = []
    for line in text.splitlines():
        word = line.removeprefix("# ").split(" = ")[0]
        is_setting = line.startswith("# ") and " = " in line and word.replace("_", "").isalpha() and word.islower()
        lines.append(line.removeprefix("# ") if is_setting else line)
    return "\n".join(lines)


def test_the_template_shows_every_setting_with_its_default(tmp_path: Path) -> None:
    template = resources.files("coordinator.cli").joinpath("templates", "federation.toml").read_text("utf-8")
    short, full = read_plan_file(write(tmp_path, template)), read_plan_file(write(tmp_path, uncommented(template)))
    assert short.plan == full.plan, "a default shown in the template is not the default"
    shown = uncommented(template)
    for table, settings in full.plan.to_dict().items():
        names = settings if isinstance(settings, dict) else [table]
        for name in names:
            assert table == "tensors" or f"\n{name} = " in shown, f"{table}.{name} is not in the template"
