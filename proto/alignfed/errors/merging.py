"""Accepted deltas that are not merged, and merges that must not go on."""

from __future__ import annotations

from alignfed.errors.base import InvariantBroken, Rejected


class DeliveryExhausted(Rejected):
    """A delta could not be merged after several tries: it is a dead letter."""

    reason = "DELIVERY_EXHAUSTED"


class DeltaNormTooLarge(Rejected):
    """A delta is many times as large as its peers: merged, it would drown them."""

    reason = "DELTA_NORM_TOO_LARGE"


class DeltaNearZero(Rejected):
    """A delta is so short that nothing can have been trained."""

    reason = "DELTA_NEAR_ZERO"


class DeltaDuplicated(Rejected):
    """A delta under an id of its own is almost the same as one before it."""

    reason = "DELTA_NEAR_DUPLICATE"


class DeltaAgainstCalibration(Rejected):
    """A delta comes from an agent whose deltas point against the server's calibration set."""

    reason = "DELTA_AGAINST_CALIBRATION"


class CandidateGated(Rejected):
    """The merged candidate made the calibration loss jump, so its deltas were not published."""

    reason = "CANDIDATE_GATED"


class DroppedByOperator(Rejected):
    """An operator dropped the delta."""

    reason = "DROPPED_BY_OPERATOR"


class DeadLetterExpired(Rejected):
    """A dead letter was kept for as long, or among as many, as the plan's retention allows."""

    reason = "DEAD_LETTER_EXPIRED"


class CalibrationMissing(Rejected):
    """The recipe needs a calibration set and there is none."""

    reason = "CALIBRATION_MISSING"


class AggregationInvalid(InvariantBroken):
    """Aggregation got input that it must never see, such as no deltas or a total weight of zero."""

    reason = "AGGREGATION_INVALID"


class Fenced(InvariantBroken):
    """Another worker holds a newer lease: this one's work must not be committed."""

    reason = "FENCED"


class HeadMoved(InvariantBroken):
    """The head is not the one the merge started from."""

    reason = "HEAD_MOVED"
