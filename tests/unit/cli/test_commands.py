"""The command line itself: help, exit codes, settings. Nothing here reaches a coordinator."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from alignfed.errors import RequestInvalid
from coordinator.cli.init import TEMPLATES
from coordinator.cli.main import alignfed, main
from coordinator.cli.options import needs_extra
from coordinator.cli.store_place import forget_store_url, note_store_url, noted_store_url

CLOSED = "127.0.0.1:9"


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[..., tuple]:
    """Run `alignfed` in an empty folder; returns exit code, stdout and stderr."""
    monkeypatch.chdir(tmp_path)

    def run_once(*arguments: str) -> tuple[int, str, str]:
        with pytest.raises(SystemExit) as ended:
            main(list(arguments))
        output = capsys.readouterr()
        return int(ended.value.code or 0), output.out, output.err

    return run_once


def leaf_commands(group: click.Group, above: tuple[str, ...] = ()) -> list[tuple[str, ...]]:
    found = []
    for name, command in group.commands.items():
        path = (*above, name)
        found += leaf_commands(command, path) if isinstance(command, click.Group) else [path]
    return found


@pytest.mark.parametrize("path", [(), *leaf_commands(alignfed)], ids=" ".join)
def test_every_command_explains_itself(path: tuple[str, ...], run: Callable[..., tuple]) -> None:
    assert run(*path, "--help")[0] == 0
    command: click.Command = alignfed
    for name in path:
        assert isinstance(command, click.Group)
        command = command.commands[name]
    assert len(command.help or "") > 40
    for option in command.params:
        if isinstance(option, click.Option):
            assert option.help, f"{option.name} of {' '.join(path)} has no help"


def test_help_loads_nothing_heavy() -> None:
    heavy = "{'torch', 'transformers', 'peft', 'grpc', 'redis', 'matplotlib', 'rich', 'numpy'}"
    code = f"import sys; import coordinator.cli.main; print(*({heavy} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout.split() == []


def test_wrong_usage_is_exit_code_2(run: Callable[..., tuple]) -> None:
    assert run("no-such-command")[0] == 2
    assert run("rollback", "demo", "-1")[0] == 2
    assert run("export", "demo")[0] == 2


def test_a_command_without_its_coordinator_fails_with_advice(run: Callable[..., tuple]) -> None:
    code, _, err = run("status", "--operator", CLOSED)
    assert code == 1
    assert "COORDINATOR_UNREACHABLE" in err
    assert "--operator" in err


def test_a_malformed_operator_address_is_wrong_usage(run: Callable[..., tuple]) -> None:
    assert run("status", "--operator", "nonsense")[0] == 2


def test_the_operator_address_can_come_from_the_environment(
    run: Callable[..., tuple], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ALIGNFED_OPERATOR", "nonsense")
    code, _, err = run("status")
    assert code == 2
    assert "nonsense" in err


def test_init_writes_the_commented_files_once(run: Callable[..., tuple], tmp_path: Path) -> None:
    assert run("init", "here")[0] == 0
    assert sorted(path.name for path in (tmp_path / "here").iterdir()) == sorted(TEMPLATES)
    (tmp_path / "here" / "federation.toml").write_text("mine", "utf-8")
    code, _, err = run("init", "here")
    assert code == 2
    assert "--force" in err
    assert (tmp_path / "here" / "federation.toml").read_text("utf-8") == "mine"
    assert run("init", "here", "--force")[0] == 0
    assert "base_model" in (tmp_path / "here" / "federation.toml").read_text("utf-8")


@pytest.mark.parametrize("name", ["coordinator", "worker"])
def test_the_settings_templates_are_read_as_they_are_and_with_every_default_on(name: str, tmp_path: Path) -> None:
    """`--help` after `--config` checks that every key is an option; values are converted only when they are used."""
    assert CliRunner().invoke(alignfed, ["init", str(tmp_path)]).exit_code == 0
    path = tmp_path / f"{name}.toml"
    lines = [
        line.removeprefix("# ") if line.startswith("# ") and " = " in line else line
        for line in path.read_text().splitlines()
    ]
    path.write_text("\n".join(lines), "utf-8")
    options = {option.name for option in alignfed.commands[name].params}
    shown = {line.split(" = ")[0].replace("-", "_") for line in lines if " = " in line}
    assert shown == options - {"config"}


def test_worker_settings_are_flag_over_environment_over_file_over_default(
    run: Callable[..., tuple], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "worker.toml").write_text('threads = 2\nlog-level = "debug"\nfederation = "from-file"\n', "utf-8")
    monkeypatch.setenv("ALIGNFED_LOG_LEVEL", "warning")
    monkeypatch.setenv("ALIGNFED_FEDERATION", "from-environment")
    code, _, err = run("worker", "--config", "worker.toml", "--federation", "from-flag")
    assert code == 2  # there is no store, which it says after it has shown its settings
    assert "federation = from-flag  (flag)" in err
    assert "log_level = warning  (environment)" in err
    assert "threads = 2  (file)" in err
    assert "metrics_listen = 127.0.0.1:9465  (default)" in err
    assert "no store is named" in err


def test_an_unknown_setting_in_the_file_is_refused(run: Callable[..., tuple], tmp_path: Path) -> None:
    (tmp_path / "worker.toml").write_text("thread = 2\n", "utf-8")
    code, _, err = run("worker", "--config", "worker.toml")
    assert code == 2
    assert "thread" in err


def test_a_store_password_is_not_shown(run: Callable[..., tuple], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ALIGNFED_STORE_URL", "nonsense://user:hunter2@store:6379")
    code, out, err = run("coordinator", "--metrics-listen", "")
    assert code == 2
    assert "store_url" in err
    assert "hunter2" not in out + err


def test_a_store_that_does_not_answer_ends_the_coordinator_with_advice(run: Callable[..., tuple]) -> None:
    store = ["--store-url", f"redis://{CLOSED}", "--store-patience-seconds", "0"]
    code, _, err = run("coordinator", "--insecure", *store, "--metrics-listen", "", "--agent-listen", "127.0.0.1:0")
    assert code == 1
    assert "STORE_UNREACHABLE" in err


def test_a_missing_optional_package_is_named_with_its_extra() -> None:
    with pytest.raises(RequestInvalid, match=r"alignfed\[local\]") as caught, needs_extra("local"):
        raise ImportError("No module named 'rich.live'", name="rich.live")
    assert "needs rich," in caught.value.message
    with pytest.raises(ImportError, match="broken"), needs_extra("local"):
        raise ImportError("broken", name="coordinator.local")


def test_a_worker_finds_the_embedded_store_that_a_coordinator_noted(tmp_path: Path) -> None:
    note_store_url(tmp_path, "unix:///run/store.sock")
    assert noted_store_url(tmp_path) == "unix:///run/store.sock"
    forget_store_url(tmp_path)
    forget_store_url(tmp_path)
    with pytest.raises(RequestInvalid, match="alignfed coordinator"):
        noted_store_url(tmp_path)


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (["--slowdown", "1,x"], "'x'"),
        (["--slowdown", "0.5"], "0.5"),
        (["--data", "missing*.jsonl"], "missing"),
        (["--resume"], "no run to resume"),
        (["--versions", "0"], "versions"),
    ],
)
def test_wrong_options_of_up_are_refused_before_anything_starts(
    arguments: list[str], named: str, run: Callable[..., tuple], tmp_path: Path
) -> None:
    code, _, err = run("up", *arguments)
    assert code == 2
    assert named in err
    assert list(tmp_path.iterdir()) == []
