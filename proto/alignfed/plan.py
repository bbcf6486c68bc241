"""The federation plan: what every agent and worker of one federation must agree on. Frozen values, no I/O."""

from __future__ import annotations

import dataclasses
import enum
import math
import re
from typing import Any, Self

from alignfed.errors import PlanInvalid
from alignfed.plain import PlainValueError, from_plain
from alignfed.privacy.central import CentralPrivacy
from alignfed.screening import Screening

FEDERATION_NAME = re.compile(r"[a-z0-9][a-z0-9-]{0,62}")
AGENT_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
SHA256_HEX = re.compile(r"[0-9a-f]{64}")

KIB = 1024
MOST = 1_000_000
MOST_KEPT = 1_000_000_000
"""Bounds of a plan's counts: far above any use, and within what every form of a plan can carry."""
MICROSECOND, TEN_YEARS_SECONDS = 1e-6, 315_360_000.0
"""Bounds of a plan's times: what travels is rounded to the microsecond."""
DEFAULT_CHUNK_BYTES = (
    1020 * KIB
)  # just below 1 MiB: a power of two costs a quarter more memory in the store's allocator
DEFAULT_TOPK_RATIO = 0.1
MOST_ELEMENTS = 2**31 - 1
"""Of one tensor whose elements are named by their place, an int32."""


class Encoding(enum.StrEnum):
    """How tensor elements travel (see `alignfed.codec`)."""

    FP32 = "fp32"
    BF16 = "bf16"
    INT8 = "int8"
    INT8_GROUPS = "int8-groups"
    TOPK = "topk"


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class TensorSpec:
    """Name and shape of one adapter tensor, named as PEFT saves it."""

    name: str
    shape: tuple[int, ...]


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class BaseModel:
    """The frozen language model: `name` is a hub name or a path, `digest` is `alignfed.base_model.digest_of`."""

    name: str
    revision: str = ""
    digest: str = ""


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Lora:
    """LoRA configuration, as peft understands it.

    With `freeze_a` agents train only the B of each module, so that averaging factors averages their products exactly
    (FFA-LoRA, Sun et al. 2024, arXiv 2403.12313): the A parts of every delta are zero.
    """

    rank: int = 8
    alpha: float = 16.0
    dropout: float = 0.0
    target_modules: tuple[str, ...] = ("all-linear",)
    freeze_a: bool = False

    @property
    def scaling(self) -> float:
        """Factor alpha / r that multiplies `B @ A`."""
        return self.alpha / self.rank


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Training:
    """Hyper-parameters of local training.

    Attributes:
        local_steps: Optimiser steps per delta.
        batch_size: Rows per step.
        sequence_length: Tokens per row; longer rows are cut.
        learning_rate: Of AdamW.
        weight_decay: Of AdamW.
        max_grad_norm: Gradients above this norm are scaled down to it.
        representation_penalty: Lambda of AlignFed, equation (3): weight of the mean over tokens of
            `||phi_local - phi_base||^2`, phi being the features that the language model's head sees. 0 leaves it out.
        wait_for_version: An agent whose delta is not merged yet waits for a newer global version instead of training
            again from the one it has contributed to. With `buffer.size` agents this is synchronous averaging.
    """

    local_steps: int = 16
    batch_size: int = 4
    sequence_length: int = 512
    learning_rate: float = 2e-4
    weight_decay: float = 0.0
    max_grad_norm: float = 1.0
    representation_penalty: float = 0.0
    wait_for_version: bool = False


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Buffer:
    """Merge when `size` deltas wait, or when the oldest has waited `timeout_seconds`."""

    size: int = 4
    timeout_seconds: float = 240.0


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Aggregation:
    """How the worker merges. `max_delta_norm_ratio` bounds a delta's norm, in medians; 0 for no bound."""

    recipe: str = "alignfed"
    server_learning_rate: float = 1.0
    max_delta_norm_ratio: float = 10.0


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Calibration:
    """Use of the server-held calibration set. Rows that judge are never used to fit."""

    fit_rows: int = 8
    judge_rows: int = 16
    sequence_length: int = 128
    max_loss_increase_ratio: float = 0.1


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """Bounds that the coordinator enforces."""

    chunk_bytes: int = DEFAULT_CHUNK_BYTES
    max_queue_deltas: int = 10_000
    upload_lifetime_seconds: float = 86_400.0


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Retention:
    """What is kept, and for how long.

    Attributes:
        versions: Newest versions whose adapters are kept.
        delta_versions: Newest merges whose raw deltas are kept, for replay; 0 deletes them once they are merged.
        receipt_versions: A receipt is kept until so many versions were published after its delta was settled; never
            fewer than `versions`, so that a delta without a receipt is too old to be accepted again.
        record_versions: Newest versions whose merge records name every delta; never fewer than `versions`.
        dead_letters: Dead letters kept.
        dead_letter_seconds: How long one is kept.
        agent_seconds: How long an agent is remembered that is not seen; one that was revoked is for good.
    """

    versions: int = 64
    delta_versions: int = 0
    receipt_versions: int = 10_000
    record_versions: int = 1_000
    dead_letters: int = 1_000
    dead_letter_seconds: float = 2_592_000.0
    agent_seconds: float = 15_552_000.0


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class FederationPlan:
    """Everything an agent needs to know to take part in one federation.

    `tensors` is the adapter's manifest, sorted by name; it is empty only in a plan file that has not been resolved
    against its base model yet. `topk_ratio` is the share of each tensor that a delta in `topk` holds.
    """

    federation: str
    base_model: BaseModel
    lora: Lora = Lora()
    training: Training = Training()
    delta_encoding: Encoding = Encoding.BF16
    topk_ratio: float = DEFAULT_TOPK_RATIO
    buffer: Buffer = Buffer()
    aggregation: Aggregation = Aggregation()
    calibration: Calibration = Calibration()
    screening: Screening = Screening()  # noqa: RUF009 (frozen)
    privacy: CentralPrivacy = CentralPrivacy()  # noqa: RUF009 (frozen)
    limits: Limits = Limits()
    retention: Retention = Retention()
    tensors: tuple[TensorSpec, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """Return the plan as plain JSON values."""
        return dataclasses.asdict(self)

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> Self:
        """Build a plan from plain values, such as a parsed TOML or JSON document.

        Raises:
            PlanInvalid: A key is unknown or missing, or a value has the wrong type.
        """
        try:
            return from_plain(cls, values)
        except PlainValueError as error:
            raise PlanInvalid(f"federation plan: {error}") from error

    def validate(self) -> Self:
        """Return the plan itself when every value is in its range.

        Raises:
            PlanInvalid: Names the first rule that is broken and the value that breaks it.
        """
        for rule, value, holds in self._rules():
            if not holds:
                raise PlanInvalid(f"{rule}, not {value!r}: correct the plan file and create the federation again")
        return self

    def _rules(self) -> list[tuple[str, object, bool]]:
        t, c, r, s, kept = self.training, self.calibration, self.lora, self.limits, self.retention
        return [
            (
                "federation must be 1 to 63 lowercase letters, digits or hyphens",
                self.federation,
                bool(FEDERATION_NAME.fullmatch(self.federation)),
            ),
            ("base_model.name must not be empty", self.base_model.name, bool(self.base_model.name)),
            ("lora.rank must be 1 to 1024", r.rank, 1 <= r.rank <= 1024),
            ("lora.alpha must be above 0", r.alpha, _positive(r.alpha)),
            ("lora.dropout must be in [0, 1)", r.dropout, 0 <= r.dropout < 1),
            ("lora.target_modules must name at least one module", r.target_modules, bool(r.target_modules)),
            ("topk_ratio must be above 0 and at most 1", self.topk_ratio, 0 < self.topk_ratio <= 1),
            (
                "a tensor of a delta in topk must have at most 2147483647 elements",
                self.delta_encoding,
                self.delta_encoding is not Encoding.TOPK
                or all(math.prod(spec.shape) <= MOST_ELEMENTS for spec in self.tensors),
            ),
            ("training.local_steps must be 1 to 1000000", t.local_steps, 1 <= t.local_steps <= MOST),
            ("training.batch_size must be 1 to 1000000", t.batch_size, 1 <= t.batch_size <= MOST),
            ("training.sequence_length must be 8 to 1000000", t.sequence_length, 8 <= t.sequence_length <= MOST),
            ("training.learning_rate must be above 0", t.learning_rate, _positive(t.learning_rate)),
            ("training.weight_decay must be 0 or more", t.weight_decay, 0 <= t.weight_decay < math.inf),
            ("training.max_grad_norm must be above 0", t.max_grad_norm, _positive(t.max_grad_norm)),
            (
                "training.representation_penalty must be 0 or more",
                t.representation_penalty,
                0 <= t.representation_penalty < math.inf,
            ),
            ("buffer.size must be 1 to 10000", self.buffer.size, 1 <= self.buffer.size <= 10_000),
            (
                "buffer.timeout_seconds must be above 0 and at most ten years",
                self.buffer.timeout_seconds,
                _waitable(self.buffer.timeout_seconds),
            ),
            (
                "aggregation.server_learning_rate must be above 0",
                self.aggregation.server_learning_rate,
                _positive(self.aggregation.server_learning_rate),
            ),
            (
                "aggregation.max_delta_norm_ratio must be 0 (no bound) or at least 1",
                self.aggregation.max_delta_norm_ratio,
                self.aggregation.max_delta_norm_ratio == 0 or 1 <= self.aggregation.max_delta_norm_ratio < math.inf,
            ),
            ("calibration.fit_rows must be 0 to 1000000", c.fit_rows, 0 <= c.fit_rows <= MOST),
            ("calibration.judge_rows must be 0 to 1000000", c.judge_rows, 0 <= c.judge_rows <= MOST),
            ("calibration.sequence_length must be 8 to 1000000", c.sequence_length, 8 <= c.sequence_length <= MOST),
            (
                "calibration.max_loss_increase_ratio must be above 0",
                c.max_loss_increase_ratio,
                _positive(c.max_loss_increase_ratio),
            ),
            *self.screening.rules(),
            *self.privacy.rules(),
            ("privacy.min_separation_versions must be at most retention.versions", self.privacy.min_separation_versions,
             self.privacy.min_separation_versions <= kept.versions or not self.privacy.enabled),
            ("limits.chunk_bytes must be 1024 to 1048576", s.chunk_bytes, KIB <= s.chunk_bytes <= KIB * KIB),
            ("limits.max_queue_deltas must be at least buffer.size and at most 1000000000", s.max_queue_deltas,
             self.buffer.size <= s.max_queue_deltas <= MOST_KEPT),
            ("limits.upload_lifetime_seconds must be above 0 and at most ten years", s.upload_lifetime_seconds,
             _waitable(s.upload_lifetime_seconds)),
            ("retention.versions must be 2 to 1000000000", kept.versions, 2 <= kept.versions <= MOST_KEPT),
            ("retention.delta_versions must be 0 to 1000000000", kept.delta_versions,
             0 <= kept.delta_versions <= MOST_KEPT),
            ("retention.receipt_versions must be 1 to 1000000000", kept.receipt_versions,
             1 <= kept.receipt_versions <= MOST_KEPT),
            ("retention.record_versions must be 1 to 1000000000", kept.record_versions,
             1 <= kept.record_versions <= MOST_KEPT),
            ("retention.dead_letters must be 1 to 1000000", kept.dead_letters, 1 <= kept.dead_letters <= MOST),
            ("retention.dead_letter_seconds must be above 0 and at most ten years", kept.dead_letter_seconds,
             _waitable(kept.dead_letter_seconds)),
            ("retention.agent_seconds must be above 0 and at most ten years", kept.agent_seconds,
             _waitable(kept.agent_seconds)),
        ]  # fmt: skip


def _positive(value: float) -> bool:
    return 0 < value < math.inf


def _waitable(seconds: float) -> bool:
    return MICROSECOND <= seconds <= TEN_YEARS_SECONDS
