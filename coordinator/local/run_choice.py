"""Which run is meant: the one in the folder, or another one."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from alignfed.errors import RequestInvalid
from coordinator.local.run_record import RunFolder, next_free

Ask = Callable[[str], bool]
"""Asks a question and returns whether the answer is yes."""


def choose_run(
    run_dir: Path, *, resume: bool | None, ask: Ask | None, say: Callable[[str], None]
) -> tuple[RunFolder, bool]:
    """Return the folder to work in, and whether its run is resumed.

    Args:
        run_dir: The folder that the user named.
        resume: True to go on with its run, False to start another one, None when the user did not say.
        ask: Asks the user; None when nobody is there to answer, and then another run is started.
        say: Told what was chosen for the user.

    Raises:
        RequestInvalid: There is no run to resume.
    """
    folder = RunFolder(run_dir)
    if not folder.record.exists():
        if resume:
            raise RequestInvalid(f"{run_dir} holds no run to resume: leave --resume out to start one")
        return folder, False
    if resume is None and ask is not None:
        resume = ask(f"{run_dir} holds a run already. Resume it (no: start another one)?")
    if resume:
        return folder, True
    another = next_free(run_dir)
    say(
        f"{run_dir} holds a run already: starting another one in {another}"
        + ("" if resume is False else " (--resume would go on with it)")
    )
    return RunFolder(another), False
