"""An agent's state directory and its sparse deltas, without a trainer: delta s holds s + 1 at place s, and eight ones.

A payload keeps two elements. Values are small integers, of which fp32 and bf16 hold every sum: so it can be told
exactly what has become of each delta.
"""

from __future__ import annotations

from pathlib import Path
from typing import Self

import torch

from alignfed.codec import Factors, decode
from alignfed.exposition import new_registry
from alignfed.plan import BaseModel, Encoding, FederationPlan, Lora, TensorSpec
from edge_agent.domain import DeltaState, PreparedDelta, Receipt
from edge_agent.journal import Journal
from edge_agent.metrics import AgentMetrics
from edge_agent.outbox.entries import OutboxEntry
from edge_agent.outbox.outbox import DEFAULT_MAX_BYTES, Outbox
from edge_agent.state import StateDirectory
from edge_agent.status import AgentStatus, StatusFile
from edge_agent.training.delta import BaseAdapter, prepare_delta
from edge_agent.training.feedback import read_owed
from edge_agent.training.trainer import TrainingResult
from tests.support.prepared_deltas import BASE

PLACES, ONES = 64, slice(40, 48)
NAME = "m.lora_A.weight"
PLAN = FederationPlan(
    federation="fed",
    base_model=BaseModel(name="m", digest="ef" * 32),
    lora=Lora(rank=1),
    delta_encoding=Encoding.TOPK,
    topk_ratio=2 / PLACES,
    tensors=(TensorSpec(name=NAME, shape=(1, PLACES)),),
)


class SparseAgent:
    """Makes deltas into a state directory until closed; opening it again is a restart."""

    def __init__(self, root: Path, *, plan: FederationPlan = PLAN, max_bytes: int = DEFAULT_MAX_BYTES) -> None:
        self.plan = plan
        self.directory = StateDirectory(root, federation="fed", agent_id="agent-1")
        self.outbox = Outbox(self.directory.outbox, max_bytes=max_bytes)
        status = StatusFile(None, AgentStatus(agent_id="agent-1", federation="fed"))
        metrics = AgentMetrics(new_registry("agent"), federation="fed")
        self.journal = Journal(directory=self.directory, status=status, metrics=metrics, outbox=self.outbox)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_exception: object) -> None:
        self.directory.close()

    def prepared(self) -> PreparedDelta:
        """Return the next delta, with what is owed."""
        sequence = self.journal.next_sequence
        zeros: Factors = {spec.name: torch.zeros(spec.shape) for spec in self.plan.tensors}
        adapter = {name: factor.clone() for name, factor in zeros.items()}
        adapter[NAME][0] = content_of(sequence)
        result = TrainingResult(adapter=adapter, examples=1, steps=1, mean_loss=1.0)
        base = BaseAdapter(version=BASE, factors=zeros)
        return prepare_delta(result, base, self.plan, sequence=sequence, leftovers=self.outbox.leftovers)

    def make(self) -> OutboxEntry:
        """Make and keep one delta, as `edge_agent.outbox.keeping` does."""
        delta = self.prepared()
        while (dropped := self.outbox.drop_oldest_for(delta)) is not None:
            self.journal.dropped(dropped.meta)
        entry = self.outbox.put(delta)
        self.journal.made(delta.meta, mean_loss=1.0)
        return entry

    def reject(self, entry: OutboxEntry, reason: str) -> None:
        """Let the coordinator reject a delta."""
        receipt = Receipt(delta_id=entry.meta.delta_id, state=DeltaState.REJECTED, reason=reason)
        self.outbox.reject(entry.meta.delta_id, receipt)
        self.journal.rejected(entry.meta, receipt)

    def held(self) -> torch.Tensor:
        """Return the sum of all deltas in the outbox, `(PLACES,)`."""
        total = torch.zeros(PLACES)
        for entry in (*self.outbox.pending, *self.outbox.acknowledged):
            total += self.content(entry)
        return total

    def owed(self) -> torch.Tensor:
        """Return what the next delta is owed, `(PLACES,)`."""
        factors = read_owed(self.outbox.leftovers, self.plan, self.plan.tensors).factors
        return torch.zeros(PLACES) if factors is None else factors[NAME][0]

    def content(self, entry: OutboxEntry) -> torch.Tensor:
        """Return what a delta holds, `(PLACES,)`."""
        return decode(entry.payload.read_bytes(), entry.meta.tensors, Encoding.TOPK, topk_ratio=self.plan.topk_ratio)[
            NAME
        ][0]


def content_of(sequence: int) -> torch.Tensor:
    """Return what is trained for one delta, `(PLACES,)`."""
    content = torch.zeros(PLACES)
    content[sequence] = sequence + 1
    content[ONES] = 1
    return content


def made_until(sequence: int) -> torch.Tensor:
    """Return the sum of what is trained for the deltas before one, `(PLACES,)`."""
    return sum((content_of(number) for number in range(sequence)), torch.zeros(PLACES))
