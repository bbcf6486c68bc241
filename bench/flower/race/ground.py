"""The ground that all race on: a base model, every agent's rows, the server's rows, and rows that nobody trains on."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Sequence
from pathlib import Path

from transformers import AutoTokenizer

from alignfed.base_model import digest_of
from alignfed.codec import Factors, manifest_of
from alignfed.plan import BaseModel, FederationPlan, Lora
from bench.federation.data import Domain, EvaluationSize, built_in_sources, read_domain
from bench.federation.federation import calibration_rows
from bench.flower.race.terms import Contender, Terms
from coordinator.worker.adapter import initial_adapter, resolve_target_modules
from coordinator.worker.calibration import CalibrationModel
from coordinator.worker.calibration_rows import CalibrationRow


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Ground:
    """What all race on.

    Attributes:
        terms: What they share.
        model_dir: The base model.
        model: The same, as plans name it.
        lora: Of the adapter.
        start: The adapter that all begin from.
        data: A file of training rows for each agent.
        calibration: The server's rows, as JSON Lines.
        test: Rows that nobody trains on, of all domains.
    """

    terms: Terms
    model_dir: Path
    model: BaseModel
    lora: Lora
    start: Factors
    data: tuple[Path, ...]
    calibration: bytes
    test: tuple[CalibrationRow, ...]

    def plan(self, contender: Contender) -> FederationPlan:
        """Return the plan of a contender's federation."""
        form = contender.plan(self.terms, self.model, self.lora)
        return dataclasses.replace(form, tensors=manifest_of(self.start)).validate()

    def judge(self) -> CalibrationModel:
        """Return the base model to judge adapters on, in fp32."""
        return CalibrationModel(
            self.model_dir, self.lora, sequence_length=self.terms.sequence_length, threads=1, autocast=False
        )


def lay_out(folder: Path, model_dir: Path, terms: Terms) -> Ground:
    """Split the built-in domains among the agents, and write what they train on.

    Domains are dealt to neighbours in speed, in blocks: the slowest agents hold a domain that no fast one has.

    Raises:
        DataUnusable: This Python lacks its library's source.
    """
    tokenizer = AutoTokenizer.from_pretrained(model_dir, local_files_only=True)
    sizes = EvaluationSize(test_rows=terms.test_rows)
    domains = [
        read_domain(source, tokenizer, sequence_length=terms.sequence_length, sizes=sizes)
        for source in built_in_sources()
    ]
    form = Lora(rank=terms.rank, alpha=2.0 * terms.rank)
    lora = dataclasses.replace(form, target_modules=resolve_target_modules(model_dir, form))
    return Ground(
        terms=terms,
        model_dir=model_dir,
        model=BaseModel(name=str(model_dir), digest=digest_of(model_dir)),
        lora=lora,
        start=initial_adapter(model_dir, lora, seed=0),
        data=tuple(
            _write(folder / f"agent-{number}.jsonl", rows)
            for number, rows in enumerate(dealt(domains, len(terms.slowdowns)))
        ),
        calibration=b"".join(_line(row) for row in calibration_rows(domains, "")),
        test=tuple(row for domain in domains for row in domain.test),
    )


def dealt(domains: Sequence[Domain], agents: int) -> list[tuple[CalibrationRow, ...]]:
    """Return each agent's rows: agent i has a share of domain `i * domains // agents`, no row twice."""
    holders = [number * len(domains) // agents for number in range(agents)]
    shares = []
    for number, domain in enumerate(holders):
        first, count = holders.index(domain), holders.count(domain)
        shares.append(domains[domain].train[number - first :: count])
    return shares


def _write(file: Path, rows: Sequence[CalibrationRow]) -> Path:
    file.write_bytes(b"".join(_line(row) for row in rows))
    return file


def _line(row: CalibrationRow) -> bytes:
    record = {"prompt": row.prompt, "completion": row.answer} if row.prompt else {"text": row.answer}
    return json.dumps(record).encode() + b"\n"
