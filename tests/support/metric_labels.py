"""The values that each label may have: closed sets, taken from the code that sets them wherever it lists them."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterable

import grpc

from alignfed.errors import AlignFedError, InvariantBroken, Rejected, Unavailable
from coordinator.service.rpc.errors import CATALOG
from coordinator.staleness import STALENESS_CLASSES
from coordinator.staleness_metrics import STAGES
from coordinator.worker.fleet_metrics import ACTIVE_WINDOWS_SECONDS, LORENZ_FRACTIONS, MAX_TIERS
from coordinator.worker.metrics import LET_GO_KINDS, MERGE_OUTCOMES, MERGE_STAGES
from edge_agent.metrics import DELTA_OUTCOMES, OUTBOX_STATES

REASON = r"[A-Z][A-Z_]+"


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Values:
    """What a label may say: one of `known` where the code lists them, else what `pattern` matches."""

    meaning: str
    known: frozenset[str] = frozenset()
    pattern: str = r"[^\s]+"

    def allow(self, value: str) -> bool:
        """Whether a sample may have this value."""
        return value in self.known if self.known else re.fullmatch(self.pattern, value) is not None


def _listed(values: Iterable[str], meaning: str = "") -> Values:
    names = list(values)
    return Values(meaning=f"{meaning}{', '.join(f'`{name}`' for name in names)}", known=frozenset(names))


def _reasons(*branches: type[AlignFedError]) -> frozenset[str]:
    return frozenset(error.reason for error in CATALOG if issubclass(error, branches))


_UPLOADS = frozenset(
    {"accepted", "duplicate", "aborted", "failed"}
    | {f"rejected_{reason.lower()}" for reason in _reasons(Rejected)}
    | {reason.lower() for reason in _reasons(Unavailable)}
)

LABELS: dict[str, Values] = {
    "federation": Values(meaning="a federation that exists; empty where an upload named none that does", pattern=r".*"),
    "staleness": _listed(STALENESS_CLASSES, "head minus base version, in versions: "),
    "window": _listed(ACTIVE_WINDOWS_SECONDS, "an agent is active when it called within it: "),
    "agents": _listed((f"{fraction:.1f}" for fraction in LORENZ_FRACTIONS), "fraction, least served first: "),
    "tier": Values(
        meaning=f"speed tier as agents name it: the {MAX_TIERS} most populous, `other` for the rest, `unnamed`",
        pattern=r".+",
    ),
    "method": Values(meaning="name of an RPC that exists, those of health checks and reflection included"),
    "code": _listed((code.name for code in grpc.StatusCode), "gRPC status: "),
    "op": Values(meaning="a command or script of the store's backend", pattern=r"[A-Za-z][A-Za-z_ ]*"),
    "reason": Values(
        meaning="reason of an error, see [the contract](contract.md)",
        known=_reasons(Rejected, Unavailable, InvariantBroken) | {AlignFedError.reason},
    ),
    "component": _listed(("coordinator", "worker", "agent")),
    "version": Values(meaning="version of AlignFed"),
    "python": Values(meaning="version of Python"),
    "state": _listed(OUTBOX_STATES),
}

BY_METRIC: dict[tuple[str, str], Values] = {
    ("alignfed_uploads_total", "outcome"): Values(
        meaning="`accepted`, `duplicate`, `rejected_` and a permanent reason in lower case, a temporary reason in "
        "lower case (such as `queue_full`), `aborted` by the client, `failed`; reasons: [the contract](contract.md)",
        known=_UPLOADS,
    ),
    ("alignfed_merges_total", "outcome"): _listed(MERGE_OUTCOMES),
    ("alignfed_agent_deltas_total", "outcome"): _listed(DELTA_OUTCOMES),
    ("alignfed_delta_staleness_versions", "stage"): _listed(STAGES),
    ("alignfed_retention_let_go_total", "kind"): _listed(LET_GO_KINDS),
    ("alignfed_merge_duration_seconds", "stage"): _listed(MERGE_STAGES),
}


def values_of(metric: str, label: str) -> Values:
    """Return what a label of a metric may say.

    Raises:
        KeyError: Nobody has said so: a new label needs an entry, and a closed set.
    """
    return BY_METRIC.get((metric, label)) or LABELS[label]
