"""Settings: flag beats environment beats file beats default, and no secret is ever printed."""

from __future__ import annotations

from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from alignfed.errors import PlanInvalid, StoreUnreachable
from alignfed.settings import (
    config_option,
    describe_settings,
    exit_codes,
    parse_listen,
    redact,
    warn_of_visible_secrets,
)


@click.command(context_settings={"auto_envvar_prefix": "ALIGNFED"})
@config_option
@click.option("--store-url", default="default")
@click.option("--password", default="")
@click.pass_context
def command(context: click.Context, store_url: str, password: str) -> None:
    click.echo(f"{store_url}\n{describe_settings(context)}")


def test_flag_beats_environment_beats_file_beats_default(tmp_path: Path) -> None:
    file = tmp_path / "settings.toml"
    file.write_text('store-url = "file"\n')
    environment = {"ALIGNFED_STORE_URL": "environment"}
    layers = [
        (["--config", str(file), "--store-url", "flag"], environment, "flag"),
        (["--config", str(file)], environment, "environment"),
        (["--config", str(file)], {}, "file"),
        ([], {}, "default"),
    ]
    for arguments, env, winner in layers:
        output = CliRunner().invoke(command, arguments, env=env).output
        assert output.splitlines()[0] == winner
        assert f"store_url = {winner}  ({winner})" in output


def test_secrets_are_hidden() -> None:
    output = (
        CliRunner()
        .invoke(command, ["--password", "hunter2", "--store-url", "rediss://user:hunter2@host:6379/0"])
        .output
    )
    assert "hunter2" not in output.split("\n", 1)[1]
    assert redact("redis://:secret@host") == "redis://***@host"
    assert redact("redis://user:se/cr@et@host:6379/0") == "redis://***@host:6379/0"


@pytest.mark.parametrize(
    "url", ["redis://x?password=hunter2", "me:hunter2@x:6379", "redis:/me:hunter2@x", "redis://x?a=1&TOKEN=hunter2"]
)
def test_secrets_are_hidden_in_what_was_meant_as_a_url(url: str) -> None:
    output = CliRunner().invoke(command, [], env={"ALIGNFED_STORE_URL": url}).output
    assert "store_url = " in output
    assert "hunter2" not in output.split("\n", 1)[1]  # the first line is the command's own


@pytest.mark.parametrize(
    ("arguments", "environment", "warned"),
    [
        (["--store-url", "redis://:hunter2@host"], {}, True),
        (["--store-url", "redis://host?password=hunter2"], {}, True),
        (["--store-url", "redis://me@host?password_file=/run/p"], {}, False),
        ([], {"ALIGNFED_STORE_URL": "redis://:hunter2@host"}, False),
    ],
)
def test_a_password_on_the_command_line_is_warned_of(
    arguments: list[str],
    environment: dict[str, str],
    warned: bool,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    with caplog.at_level("WARNING"), command.make_context("command", list(arguments)) as context:
        warn_of_visible_secrets(context)
    said = " ".join(record.getMessage() for record in caplog.records)
    assert ("ALIGNFED_STORE_URL" in said and "password_file" in said) is warned
    assert "hunter2" not in said


def test_a_file_with_an_unknown_setting_is_a_usage_error(tmp_path: Path) -> None:
    file = tmp_path / "settings.toml"
    file.write_text("colour = 1\n")
    result = CliRunner().invoke(command, ["--config", str(file)])
    assert result.exit_code == 2
    assert "colour" in result.output


@pytest.mark.parametrize(("error", "code"), [(PlanInvalid("bad plan"), 2), (StoreUnreachable("no store"), 1)])
def test_errors_become_one_line_and_an_exit_code(
    error: Exception, code: int, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as caught, exit_codes():
        raise error
    assert caught.value.code == code
    assert capsys.readouterr().err.startswith(f"error: {error}")


def test_listen_addresses() -> None:
    assert parse_listen("127.0.0.1:7300") == ("127.0.0.1", 7300)
    assert parse_listen("[::1]:0") == ("::1", 0)
    for bad in ("7300", "host:", "host:x", "host:70000"):
        with pytest.raises(Exception, match="host:port"):
            parse_listen(bad)
