"""Privacy where an agent starts: an ordinary trainer stays as it is, a private one gets its ledger."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import cast

from alignfed.errors import RequestInvalid
from edge_agent.journal import Journal
from edge_agent.privacy.accounted import AccountedTrainer, PrivateTrainer
from edge_agent.privacy.ledger import PrivacyLedger
from edge_agent.privacy.settings import DpSettings
from edge_agent.state import StateDirectory
from edge_agent.training.trainer import Trainer

logger = logging.getLogger(__name__)


def kept_private(
    trainer: Trainer,
    settings: DpSettings | None,
    *,
    directory: StateDirectory,
    journal: Journal,
    persist: Callable[[Callable[[], None]], None],
) -> Trainer:
    """Return the trainer, accounted for where it is private.

    Args:
        trainer: Made with these settings.
        settings: How private training is; None for not.
        directory: Where the ledger is.
        journal: Is told the privacy loss.
        persist: Runs what writes to the disk, as often as it takes.

    Raises:
        RequestInvalid: Training was private in this state directory and would not be any more; or the trainer cannot
            say what its jobs cost; or the ledger is damaged.
    """
    if settings is None:
        if PrivacyLedger.exists(directory.path):
            raise RequestInvalid(
                f"training with the state directory {directory.path} has been private, and one delta without noise "
                "would undo that: set dp-noise-multiplier, or name another --state-dir for other rows"
            )
        return trainer
    if not hasattr(trainer, "cost_of"):
        raise RequestInvalid("this trainer cannot train privately: leave dp-noise-multiplier out, or give it cost_of")
    if directory.state.totals.made and not PrivacyLedger.exists(directory.path):
        logger.warning(
            "%d deltas were made without noise before: the privacy loss told here leaves them out",
            directory.state.totals.made,
        )
    return AccountedTrainer(
        cast("PrivateTrainer", trainer),
        ledger=PrivacyLedger(directory.path),
        settings=settings,
        journal=journal,
        persist=persist,
    )
