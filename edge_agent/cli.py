"""The command `alignfed-agent`: run an edge agent, write its settings file, check its data."""

from __future__ import annotations

import dataclasses
import json
import os
import time
from collections.abc import Callable
from importlib import resources
from pathlib import Path
from typing import Any

import click
from click.core import ParameterSource

from alignfed import __version__
from alignfed.errors import RequestInvalid
from alignfed.failpoints import arm_from
from alignfed.logs.setup import AUTO, LOG_FORMATS
from alignfed.settings import ENV_PREFIX, announce, config_option, exit_codes, print_settings, set_up_logging
from edge_agent.privacy.settings import DpSettings

PATH = click.Path(path_type=Path)


def _setting(name: str, **options: Any) -> Callable[..., Any]:
    """Return an option that is also read from `ALIGNFED_<NAME>`, with variable and default shown in the help."""
    variable = f"{ENV_PREFIX}_{name.lstrip('-').replace('-', '_').upper()}"
    return click.option(name, **{"envvar": variable, "show_envvar": True, "show_default": True, **options})


_DATA_OPTIONS = (
    _setting(
        "--data",
        multiple=True,
        required=True,
        metavar="SOURCE",
        help="Private data: a .jsonl file, a quoted pattern, a folder of text or source files, or "
        "hub:NAME[:SPLIT[:CONFIG]]. May be given several times; in the variable, separated by spaces.",
    ),
    _setting(
        "--extensions",
        metavar="LIST",
        help="File endings that count as text in a folder, separated by commas.  [default: the usual ones]",
    ),
)


def _with_options(*options: Callable[..., Any]) -> Callable[..., Any]:
    """Return a decorator that adds `options` in order."""

    def decorate(command: Callable[..., Any]) -> Callable[..., Any]:
        for option in reversed(options):
            command = option(command)
        return command

    return decorate


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.version_option(__version__, prog_name="alignfed-agent")
def main() -> None:
    r"""Fine-tune a language model together with other machines, on data that stays here.

    An agent joins a federation at its coordinator, trains a LoRA adapter on private data, and uploads only the change
    of the adapter and how many examples were behind it.

    \b
    First steps:
      alignfed-agent check-data --data my.jsonl --base-model PATH   does my data fit?
      alignfed-agent init                                          write a commented agent.toml
      alignfed-agent run --config agent.toml                       take part

    Exit codes: 0 done or stopped, 1 failed, 2 wrong usage or settings.
    """
    with exit_codes():
        arm_from(os.environ)


@main.command()
@config_option
@_setting("--coordinator", default="127.0.0.1:7300", metavar="HOST:PORT", help="The coordinator's agent service.")
@_setting("--federation", metavar="NAME", help="The federation to join.  [default: the join token's]")
@_with_options(*_DATA_OPTIONS)
@_setting("--base-model", metavar="PATH", help="Directory or hub name of the base model.  [default: the plan's]")
@_setting("--state-dir", type=PATH, default=Path(".alignfed/agent"), help="Identity, outbox, counters; one per agent.")
@_setting("--agent-id", metavar="ID", help="Name of this agent.  [default: made up once, kept in the state directory]")
@_setting("--device", type=click.Choice(["auto", "cpu", "cuda"]), default="auto", help="Where to train.")
@_setting("--precision", type=click.Choice(["auto", "bf16", "fp32"]), default="auto", help="Of the frozen base model.")
@_setting("--threads", type=click.IntRange(0), default=0, help="CPU threads for training; 0 for all cores.")
@_setting("--nice", type=click.IntRange(0, 19), default=0, help="Give way to other programs by this much.")
@_setting("--tier", default="", metavar="LABEL", help="Speed class of this machine, for fairness figures.")
@_setting(
    "--join-token-file", type=PATH, help="Join with this token first, unless the state directory holds an identity."
)
@_setting("--tls-ca", type=PATH, help="Encrypt, and trust this authority (PEM).  [default: as joined]")
@_setting("--tls-certificate", type=PATH, help="Tell who this agent is (PEM).  [default: as joined]")
@_setting("--tls-key", type=PATH, help="Private key of the certificate (PEM).")
@_setting(
    "--version-key", type=PATH, metavar="FILE",
    help="Load only versions that the holder of one of these public keys (PEM) has signed.",
)  # fmt: skip
@_setting(
    "--train-rank", type=click.IntRange(1), metavar="R",
    help="Train and upload only the first R components of the adapter, on a small device or a slow line.  "
    "[default: the plan's rank]",
)  # fmt: skip
@_setting("--max-pending", type=click.IntRange(1), default=8, help="Pause training at so many deltas not uploaded.")
@_setting(
    "--max-outbox-bytes", type=click.IntRange(1), default=4 * 2**30,
    help="Keep so many bytes of deltas; beyond it the oldest that are not uploaded yet are dropped, and counted.",
)  # fmt: skip
@_setting("--max-deltas", type=click.IntRange(1), help="Stop after so many deltas, once they are uploaded.")
@_setting("--slowdown", type=click.FloatRange(1), default=1.0, help="Act like a machine this many times slower.")
@_setting(
    "--dp-noise-multiplier", type=click.FloatRange(0), default=0.0,
    help="Train privately (DP-SGD): noise on each step's gradient, in units of --dp-max-grad-norm; 0 for none.",
)  # fmt: skip
@_setting(
    "--dp-max-grad-norm", type=click.FloatRange(0, min_open=True), default=1.0,
    help="Scale the gradient of each sequence down to this norm before noise is added.",
)  # fmt: skip
@_setting(
    "--dp-delta", type=click.FloatRange(0, 1, min_open=True, max_open=True), default=1e-5,
    help="Probability with which the bound on the privacy loss may fail; well below 1 over the number of sequences.",
)  # fmt: skip
@_setting(
    "--dp-max-epsilon", type=click.FloatRange(0, min_open=True), metavar="EPSILON",
    help="Stop before the privacy loss of all training on these rows would exceed this.  [default: never]",
)  # fmt: skip
@_setting("--status-file", type=PATH, help="Write what the agent does to this file, as JSON.")
@_setting("--metrics-listen", default="", metavar="HOST:PORT", help="Serve Prometheus metrics here; empty for not.")
@_setting(
    "--log-level", type=click.Choice(["debug", "info", "warning", "error"], case_sensitive=False), default="info",
    help="How much to log.",
)  # fmt: skip
@_setting(
    "--log-format", type=click.Choice(LOG_FORMATS), default=AUTO,
    help="Form of the log: auto is text on a terminal and JSON elsewhere.",
)  # fmt: skip
@click.pass_context
def run(context: click.Context, /, **values: Any) -> None:
    """Take part in a federation until stopped (Ctrl-C or SIGTERM), or until --max-deltas.

    May be started before the coordinator and killed at any time: deltas that are trained and not merged yet are kept in
    the state directory and sent again; training goes on from the newest global version.

    Every option can also be set in the TOML file given with --config, by its name without the dashes.
    """
    set_up_logging(values["log_level"], values["log_format"])
    print_settings(context)
    with exit_codes():
        from edge_agent.identity.settings import identified
        from edge_agent.runtime import AgentSettings, run_agent
        from edge_agent.training.workload import read_workload  # torch and transformers: too slow for --help

        given = {name for name in values if context.get_parameter_source(name) is not ParameterSource.DEFAULT}
        values = identified(values, given=given)
        privacy = _privacy(values)

        if values["nice"]:
            os.nice(values["nice"])
        workload = read_workload(
            data=values["data"],
            extensions=values["extensions"],
            device=values["device"],
            precision=values["precision"],
            threads=values["threads"],
            privacy=privacy,
        )
        found = {"device", "memory_bytes", "examples", "privacy"}  # what the workload knows better
        shared = [field.name for field in dataclasses.fields(AgentSettings) if field.name not in found]
        settings = AgentSettings(
            **{name: values[name] for name in shared},
            device=workload.compute.device.type,
            memory_bytes=workload.memory_bytes,
            examples=len(workload.corpus.rows),
            privacy=workload.privacy,
        )
        totals = run_agent(settings, workload.make_trainer)
        dropped = f", {totals.dropped} dropped for lack of room" if totals.dropped else ""
        announce(
            f"stopped: {totals.made} deltas made, {totals.merged} merged, {totals.rejected} rejected{dropped} so far"
        )


def _privacy(values: dict[str, Any]) -> DpSettings | None:
    if not values["dp_noise_multiplier"]:
        if values["dp_max_epsilon"] is not None:
            raise RequestInvalid("dp-max-epsilon bounds private training: set dp-noise-multiplier above 0 with it")
        return None
    names = [field.name for field in dataclasses.fields(DpSettings)]
    return DpSettings(**{name: values[f"dp_{name}"] for name in names})


@main.command()
@_setting("--token-file", type=PATH, required=True, help="The token that the operator made (`alignfed enroll`).")
@_setting("--state-dir", type=PATH, default=Path(".alignfed/agent"), help="Where identity and outbox are kept.")
@_setting("--agent-id", metavar="ID", help="Name of this agent, where the token leaves it open.")
def join(token_file: Path, state_dir: Path, agent_id: str | None) -> None:
    """Exchange a join token for an identity: a key that is made here, and a certificate for it.

    The identity is kept in the state directory and renewed by itself while the agent runs. `alignfed-agent run` needs
    neither coordinator nor federation then.
    """
    with exit_codes():
        from alignfed.join_token import read_join_token
        from edge_agent.identity.folder import IdentityFolder
        from edge_agent.identity.joining import join as exchange

        joined = exchange(read_join_token(token_file), state_dir, agent_id=agent_id)
        days = (IdentityFolder(state_dir).validity().ends_at - time.time()) / 86_400
        click.echo(
            f"joined {joined.coordinator} as {joined.agent_id}; the certificate lasts {days:.0f} days and is renewed "
            f"by itself. Next: alignfed-agent run --state-dir {state_dir} --data FILE"
        )


@main.command()
@click.argument("path", type=PATH, default=Path("agent.toml"))
@click.option("--force", is_flag=True, help="Replace the file if it exists.")
def init(path: Path, *, force: bool) -> None:
    """Write a commented settings file to PATH (default: agent.toml), ready for `run --config`."""
    with exit_codes():
        if path.exists() and not force:
            raise RequestInvalid(f"{path} exists: name another file, or pass --force to replace it")
        template = resources.files("edge_agent").joinpath("templates", "agent.toml")
        try:
            path.write_text(template.read_text("utf-8"), "utf-8")
        except OSError as error:
            raise RequestInvalid(f"{path} cannot be written ({error.strerror}): name another file") from error
        click.echo(f"wrote {path}: set join-token-file and data in it, then: alignfed-agent run --config {path}")


@main.command("check-data")
@config_option
@_with_options(*_DATA_OPTIONS)
@_setting("--base-model", required=True, metavar="PATH", help="Directory or hub name of the base model.")
@_setting("--sequence-length", type=click.IntRange(8), default=512, help="Tokens per sequence, as in the plan.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON, for scripts.")
def check_data(*, data: tuple[str, ...], extensions: str | None, as_json: bool, **values: Any) -> None:
    """Read the data as `run` would and print what it becomes. Contacts no coordinator."""
    with exit_codes():
        from alignfed.base_model import locate
        from alignfed.plan import BaseModel
        from edge_agent.data.sources import TEXT_EXTENSIONS, read_corpus
        from edge_agent.data.tokens import tokenise
        from edge_agent.training.base_model import load_tokenizer

        corpus = read_corpus(data, extensions=extensions.split(",") if extensions else TEXT_EXTENSIONS)
        tokenizer = load_tokenizer(locate(BaseModel(name=values["base_model"])))
        found = tokenise(corpus.rows, tokenizer, sequence_length=values["sequence_length"])
        report = {
            "rows": found.rows,
            "shapes": corpus.shapes(),
            "skipped_files": corpus.skipped_files,
            "rows_without_answer": found.rows_without_answer,
            "prompts_cut": found.prompts_cut,
            "answers_cut": found.answers_cut,
            "sequences": len(found.examples),
            "tokens": found.tokens,
            "learned_tokens": found.learned_tokens,
        }
        click.echo(json.dumps(report) if as_json else _as_lines(report))


def _as_lines(report: dict[str, Any]) -> str:
    """Return a report for people: one figure per line, nested ones in one line."""
    lines = []
    for name, value in report.items():
        shown = ", ".join(f"{key} {count}" for key, count in value.items()) if isinstance(value, dict) else value
        lines.append(f"{name.replace('_', ' '):<20} {shown if shown != '' else 'none'}")
    return "\n".join(lines)
