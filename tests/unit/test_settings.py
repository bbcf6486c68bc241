"""Settings: flag beats environment beats file beats default, and no secret is ever printed."""

from __future__ import annotations

from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from alignfed.errors import PlanInvalid, StoreUnreachable
from alignfed.settings import config_option, describe_settings, exit_codes, parse_listen, redact


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
