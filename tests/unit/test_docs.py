"""The documentation says what the code does: every reason, every status."""

from __future__ import annotations

from pathlib import Path

from coordinator.service.rpc.errors import CATALOG
from tests.support import metrics_docs
from tests.support.configuration_docs import PAGE, page

DOCS = Path(__file__).parents[2] / "docs"


def test_every_reason_is_documented_with_its_status() -> None:
    rows = [
        line.split("|") for line in (DOCS / "contract.md").read_text("utf-8").splitlines() if line.startswith("| `")
    ]
    documented = {row[1].strip(" `"): row[2].strip() for row in rows}
    assert documented == {error.reason: status.code.name for error, status in CATALOG.items()}


def test_the_configuration_reference_is_what_the_commands_say() -> None:
    assert PAGE.read_text("utf-8") == page(), "run `make docs`"


def test_the_metrics_reference_is_what_the_processes_register() -> None:
    assert metrics_docs.PAGE.read_text("utf-8") == metrics_docs.page(), "run `make docs`"
