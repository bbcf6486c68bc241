"""The systemd units: read by systemd's own checker, and their commands and settings held against the real options.

No unit is started. The sandbox of each is rated by `systemd-analyze security` from the unit's text alone.
"""

from __future__ import annotations

import dataclasses
import os
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import click
import pytest

from coordinator.service.config import ServiceConfig
from tests.support.command_settings import settings_of

FOLDER = Path(__file__).parents[2] / "deploy" / "systemd"
UNITS = ("alignfed-agent@lab", "alignfed-coordinator", "alignfed-worker")
EXPOSURE_TENTHS = 25
"""Highest rating: 2.5 of 10. systemd calls up to 2 safe, up to 5 OK."""
INSTALLED = "/opt/alignfed/bin"
SPECIFIERS = {"%S": "/var/lib", "%C": "/var/cache", "%d": "/run/credentials/alignfed-agent@lab.service", "%i": "lab"}


def _file(unit: str) -> Path:
    return FOLDER / f"{unit.replace('@lab', '@')}.service"


def _values(unit: str, key: str) -> list[str]:
    return re.findall(rf"(?m)^{key}=(.*)$", _file(unit).read_text("utf-8"))


def _command(unit: str) -> list[str]:
    (line,) = _values(unit, "ExecStart")
    for specifier, value in SPECIFIERS.items():
        line = line.replace(specifier, value)
    return line.split()


def _stands_for(unit: str, suffix: str) -> Path:
    """Return our example of a unit's settings file."""
    return FOLDER / "examples" / f"{unit.removeprefix('alignfed-').replace('@', '-')}.{suffix}"


@pytest.fixture
def analyse() -> str:
    found = shutil.which("systemd-analyze")
    if found is None:
        reason = "no systemd-analyze: install Debian's systemd package to run this test"
        if os.environ.get("CI"):
            pytest.fail(reason)
        pytest.skip(reason)
    return found


@pytest.fixture
def installed(tmp_path: Path) -> Path:
    """A folder with the units, their drop-ins in place, and commands that are there."""
    for unit in UNITS:
        text = _file(unit).read_text("utf-8").replace(INSTALLED, str(Path(sys.executable).parent))
        (tmp_path / _file(unit).name).write_text(text)
        drop_ins = tmp_path / f"{_file(unit).name}.d"
        drop_ins.mkdir()
        for file in (FOLDER / "drop-ins").iterdir():
            (drop_ins / file.name).write_bytes(file.read_bytes())
    return tmp_path


def _verify(analyse: str, folder: Path, unit: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [analyse, "verify", "--man=no", "--recursive-errors=no", f"{unit}.service"],
        env={"SYSTEMD_UNIT_PATH": f"{folder}:", "PATH": os.environ["PATH"]},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


@pytest.mark.parametrize("unit", UNITS)
def test_systemd_reads_the_unit_and_its_drop_ins(analyse: str, installed: Path, unit: str) -> None:
    done = _verify(analyse, installed, unit)
    assert done.returncode == 0
    assert not done.stderr, done.stderr


@pytest.mark.parametrize("mistake", ["MemoryMaximum=6G", "CPUQuota=three"])
def test_a_mistake_in_a_drop_in_is_noticed(analyse: str, installed: Path, mistake: str) -> None:
    (installed / "alignfed-agent@.service.d" / "mistake.conf").write_text(f"[Service]\n{mistake}\n")
    assert "mistake.conf:2" in _verify(analyse, installed, "alignfed-agent@lab").stderr


@pytest.mark.parametrize("unit", UNITS)
def test_the_sandbox_is_tight(analyse: str, unit: str) -> None:
    done = subprocess.run(
        [analyse, "security", "--offline=true", "--no-pager", f"--threshold={EXPOSURE_TENTHS}", str(_file(unit))],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert "Overall exposure level" in done.stdout, done.stderr
    assert done.returncode == 0, done.stdout.splitlines()[-1]


@pytest.mark.parametrize("unit", UNITS)
def test_the_command_takes_its_flags_and_the_example_settings(unit: str) -> None:
    command = _command(unit)
    config = command.index("--config") + 1
    example = _stands_for(unit, "toml")
    assert command[config] == f"/etc/alignfed/{example.name}"
    command[config] = str(example)
    settings = settings_of(command, _environment(unit))
    for key, value in tomllib.loads(example.read_text("utf-8")).items():
        found = settings[key.replace("-", "_")]
        assert found == (tuple(value) if isinstance(value, list) else value) or str(found) == value, key


@pytest.mark.parametrize("unit", UNITS)
def test_the_example_of_variables_is_the_file_that_the_unit_reads(unit: str) -> None:
    (named,) = _values(unit, "EnvironmentFile")
    assert named.replace("%i", "lab") == f"-/etc/alignfed/{_stands_for(unit, 'env').name}"
    assert _environment(unit)


def test_a_setting_that_no_command_has_is_noticed() -> None:
    with pytest.raises(click.UsageError, match="ALIGNFED_NICENESS"):
        settings_of(["alignfed-agent", "run"], {"ALIGNFED_NICENESS": "3"})
    with pytest.raises(click.UsageError, match="--niceness"):
        settings_of(["alignfed-agent", "run", "--niceness", "3"], {})


def test_a_coordinator_has_more_time_to_end_than_it_takes() -> None:
    example = tomllib.loads(_stands_for("alignfed-coordinator", "toml").read_text("utf-8"))
    (limit,) = _values("alignfed-coordinator", "TimeoutStopSec")
    assert int(limit) >= example["drain-notice-seconds"] + example["drain-seconds"] + 10


def test_an_agent_writes_only_where_it_may() -> None:
    (state,) = _values("alignfed-agent@lab", "StateDirectory")
    settings = settings_of([*_command("alignfed-agent@lab")[:2], *_command("alignfed-agent@lab")[4:]], REQUIRED)
    assert str(settings["state_dir"]) == f"/var/lib/{state.replace('%i', 'lab')}"


@pytest.mark.parametrize("unit", ["alignfed-coordinator", "alignfed-worker"])
def test_files_of_the_example_are_credentials_of_the_unit(unit: str) -> None:
    named = set(
        re.findall(rf"/run/credentials/{unit}\.service/([\w.-]+)", _stands_for(unit, "toml").read_text("utf-8"))
    )
    assert named == {value.partition(":")[0] for value in _values(unit, "LoadCredential")}


def test_an_agent_joins_with_a_credential_that_may_be_missing_later() -> None:
    settings = settings_of([*_command("alignfed-agent@lab")[:2], *_command("alignfed-agent@lab")[4:]], REQUIRED)
    (loaded,) = _values("alignfed-agent@lab", "LoadCredential")
    name, _, file = loaded.partition(":")
    assert str(settings["join_token_file"]) == f"/run/credentials/alignfed-agent@lab.service/{name}"
    assert file == "/etc/alignfed/agent-%i.join"
    # systemd starts no service whose credential's file is missing, unless there is another value for it
    assert [value.partition(":")[0] for value in _values("alignfed-agent@lab", "SetCredential")] == [name]


def test_a_coordinator_would_start_with_the_files_of_its_credentials() -> None:
    example = tomllib.loads(_stands_for("alignfed-coordinator", "toml").read_text("utf-8"))
    known = {field.name for field in dataclasses.fields(ServiceConfig)}
    settings = {key.replace("-", "_"): value for key, value in example.items()}
    ServiceConfig(**{name: settings[name] for name in known & settings.keys()}).check()
    assert "root-key" not in _file("alignfed-coordinator").read_text("utf-8")


REQUIRED = {"ALIGNFED_FEDERATION": "my-federation", "ALIGNFED_DATA": "/srv/alignfed/data/*.jsonl"}
"""What `alignfed-agent run` asks for at least."""


def _environment(unit: str) -> dict[str, str]:
    lines = _stands_for(unit, "env").read_text("utf-8").splitlines()
    return dict(line.split("=", 1) for line in lines if line and not line.startswith("#"))
