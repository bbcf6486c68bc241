"""`alignfed up`: a whole federation on this machine."""

from __future__ import annotations

import glob
import sys
from pathlib import Path
from typing import Any

import click
from click.core import ParameterSource

from alignfed.errors import RequestInvalid
from alignfed.settings import EXIT_FAILED, config_option, print_settings
from coordinator.cli.options import SERVER_SETTINGS, needs_extra
from coordinator.local.run_choice import choose_run

_FIXED_BY_THE_RUN = ("agents", "slowdowns", "data", "model", "plan_file", "federation", "fast")


@click.command("up", short_help="Run a whole federation on this machine.", context_settings=SERVER_SETTINGS)
@config_option
@click.option("--versions", type=click.IntRange(min=1), default=8, help="Global versions to publish.")
@click.option("--agents", type=click.IntRange(min=0, max=64), default=0, help="Agents; 0 for one per slowdown or file.")
@click.option(
    "--slowdown",
    "slowdowns",
    multiple=True,
    metavar="X,X,...",
    help="How many times slower than this machine each agent trains; may be given several times.  "
    "[default: 1,1,2,4 in turn]",
)
@click.option(
    "--data",
    multiple=True,
    metavar="PATH",
    help="Your own data, one domain each: a JSON Lines file, a text file, a folder of text files, or a quoted pattern. "
    "May be given several times.  [default: Python's own source packages]",
)
@click.option(
    "--model",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    help="Directory of the base model.  [default: the packaged SmolLM2-135M-Instruct]",
)
@click.option(
    "--plan",
    "plan_file",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="Plan file of a new run's federation.  [default: a plan for minutes on two cores]",
)
@click.option("--federation", default="demo", help="Name of a new run's federation, without --plan.")
@click.option(
    "--run-dir",
    type=click.Path(file_okay=False, path_type=Path),
    default=Path("runs/demo"),
    help="Folder of the run: its data, store, logs and results.",
)
@click.option(
    "--resume/--new", default=None, show_default=False, help="Go on with the run in the folder, or start another one."
)
@click.option(
    "--store-url", default="", show_default=False, help="Redis or Valkey; without it an embedded Valkey is started."
)
@click.option(
    "--cache-dir",
    type=click.Path(file_okay=False, path_type=Path),
    default=Path(".alignfed"),
    help="Where the packaged model is kept once converted.",
)
@click.option("--keep-running", is_flag=True, help="After the report, go on until Ctrl-C.")
@click.option("--fast", is_flag=True, help="Tiny budgets: a look at how it works, not a result.")
@click.pass_context
def up_command(
    context: click.Context,
    /,
    slowdowns: tuple[str, ...],
    data: tuple[str, ...],
    run_dir: Path,
    resume: bool | None,
    **values: Any,
) -> None:
    """Run a whole federation on this machine: store, coordinator, worker and agents of different speed.

    Every agent fine-tunes the model on its own private domain of text. When --versions are published, all of it stops,
    and a report compares the held-out loss per domain of the base model and of the final adapter. Results (the adapter
    in PEFT format, merge records, plots, report) are in RUN_DIR/results, logs in RUN_DIR/logs.

    Ctrl-C stops everything cleanly. A folder that holds a run already is resumed with --resume: until --versions in
    all, or by so many more once it has them and has reported. --new starts another run in a numbered folder next to it.
    """
    print_settings(context)
    factors, paths = parse_slowdowns(",".join(slowdowns)), expand(data)
    ask = click.confirm if sys.stdin.isatty() and sys.stdout.isatty() else None
    folder, resumed = choose_run(run_dir, resume=resume, ask=ask, say=click.echo)
    if resumed:
        _check_nothing_fixed(context)
    with needs_extra("local"):
        from coordinator.local.setup import RunOptions
        from coordinator.local.up import up  # torch takes seconds to load

    options = RunOptions(slowdowns=factors, data=paths, **values)
    try:
        up(options, folder, resumed=resumed, say=click.echo)
    except KeyboardInterrupt:
        click.echo(f"stopped; go on with: alignfed up --run-dir {folder.root} --resume", err=True)
        sys.exit(EXIT_FAILED)


def parse_slowdowns(text: str) -> tuple[float, ...]:
    """Return the factors of `1,1,2,4`.

    Raises:
        RequestInvalid: One is not a number of 1 or more.
    """
    factors = []
    for word in filter(None, text.split(",")):
        try:
            factors.append(float(word))
        except ValueError:
            raise RequestInvalid(f"--slowdown {text!r}: {word!r} is not a number, write 1,1,2,4 for example") from None
        if not 1 <= factors[-1] <= 1_000:
            raise RequestInvalid(f"--slowdown {text!r}: {word} is not 1 to 1000")
    return tuple(factors)


def expand(patterns: tuple[str, ...]) -> tuple[Path, ...]:
    """Return the paths that are named, patterns expanded in sorted order.

    Raises:
        RequestInvalid: A pattern matches nothing.
    """
    paths: list[Path] = []
    for pattern in patterns:
        if Path(pattern).exists():
            paths.append(Path(pattern))
            continue
        found = sorted(glob.glob(pattern, recursive=True))  # noqa: PTH207 - Path.glob takes no absolute patterns
        if not found:
            raise RequestInvalid(f"--data {pattern}: there is no such file or folder")
        paths += map(Path, found)
    return tuple(paths)


def _check_nothing_fixed(context: click.Context) -> None:
    given = [name for name in _FIXED_BY_THE_RUN if context.get_parameter_source(name) is not ParameterSource.DEFAULT]
    if given:
        names = ", ".join(f"--{name.removesuffix('s') if name == 'slowdowns' else name}" for name in given)
        raise RequestInvalid(
            f"a resumed run keeps what it was started with: leave {names} out, or start one with --new"
        )
