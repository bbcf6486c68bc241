"""The federation plan: what is wrong is named, and every form of it holds the same values."""

from __future__ import annotations

import dataclasses
import json
import typing

import pytest

from alignfed.errors import PlanInvalid
from alignfed.plan import Aggregation, BaseModel, Buffer, Encoding, FederationPlan, Limits, Lora, TensorSpec, Training
from alignfed.plan_proto import plan_from_proto, plan_to_proto
from alignfed.v1 import types_pb2 as pb

PLAN = FederationPlan(
    federation="demo",
    base_model=BaseModel(name="some/model", revision="main", digest="0" * 64),
    lora=Lora(rank=4, alpha=8.0, dropout=0.1, target_modules=("q_proj", "v_proj"), freeze_a=True),
    training=Training(local_steps=3, representation_penalty=0.25, wait_for_version=True),
    delta_encoding=Encoding.INT8,
    buffer=Buffer(size=3, timeout_seconds=12.5),
    tensors=(TensorSpec(name="a", shape=(4, 8)), TensorSpec(name="b", shape=(8, 4))),
)


def test_the_plan_survives_json_and_protobuf() -> None:
    assert FederationPlan.from_dict(json.loads(json.dumps(PLAN.to_dict()))) == PLAN
    assert plan_from_proto(plan_to_proto(PLAN)) == PLAN


@pytest.mark.parametrize("encoding", Encoding)
def test_every_encoding_survives_protobuf(encoding: Encoding) -> None:
    plan = dataclasses.replace(PLAN, delta_encoding=encoding, topk_ratio=0.01)
    assert plan_from_proto(plan_to_proto(plan)) == plan


def test_a_peer_that_knows_no_ratio_means_the_default() -> None:
    message = plan_to_proto(PLAN)
    message.ClearField("topk_ratio")
    assert plan_from_proto(message) == PLAN


def test_an_encoding_from_the_future_is_refused_with_its_place() -> None:
    message = plan_to_proto(PLAN)
    message.delta_encoding = 7_000  # type: ignore[assignment]
    with pytest.raises(PlanInvalid, match="delta_encoding"):
        plan_from_proto(message)


def test_a_tensor_whose_places_no_int32_holds_is_refused_in_topk_alone() -> None:
    huge = dataclasses.replace(PLAN, tensors=(TensorSpec(name="a", shape=(4, 2**29)),))
    huge.validate()
    with pytest.raises(PlanInvalid, match="2147483647"):
        dataclasses.replace(huge, delta_encoding=Encoding.TOPK).validate()


@pytest.mark.parametrize("ratio", [0.0, -0.1, 1.5, float("nan"), float("inf")])
def test_a_ratio_that_is_no_share_is_refused(ratio: float) -> None:
    with pytest.raises(PlanInvalid, match="topk_ratio"):
        dataclasses.replace(PLAN, topk_ratio=ratio).validate()


def test_every_setting_has_its_field_in_the_contract() -> None:
    message = pb.FederationPlan.DESCRIPTOR
    for field in dataclasses.fields(FederationPlan):
        assert field.name in message.fields_by_name
        nested = typing.get_type_hints(FederationPlan)[field.name]
        if dataclasses.is_dataclass(nested):
            known = message.fields_by_name[field.name].message_type.fields_by_name
            for setting in dataclasses.fields(nested):
                assert setting.name.removesuffix("_seconds") in known, f"{field.name}.{setting.name}"


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"federation": "x"}, "lacks 'base_model'"),
        ({"federation": "x", "base_model": {"name": "m"}, "colour": 1}, "no setting named 'colour'"),
        ({"federation": "x", "base_model": {"name": "m"}, "lora": {"rank": "8"}}, "lora.rank must be of type int"),
        ({"federation": "x", "base_model": {"name": "m"}, "lora": {"rank": True}}, "lora.rank must be of type int"),
        ({"federation": "x", "base_model": "m"}, "base_model must be a table"),
        ({"federation": "x", "base_model": {"name": "m"}, "delta_encoding": "fp4"}, "one of fp32, bf16, int8"),
        ({"federation": "x", "base_model": {"name": "m"}, "lora": {"target_modules": "q_proj"}}, "must be a list"),
    ],
)
def test_a_malformed_document_is_refused_with_its_place(values: dict[str, object], message: str) -> None:
    with pytest.raises(PlanInvalid, match=message):
        FederationPlan.from_dict(values)


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"federation": "Demo Run"}, "federation must be"),
        ({"lora": Lora(rank=0)}, "lora.rank must be"),
        ({"training": Training(representation_penalty=-0.1)}, "training.representation_penalty must be"),
        ({"training": Training(representation_penalty=float("nan"))}, "training.representation_penalty must be"),
        ({"buffer": Buffer(size=0)}, "buffer.size must be"),
        ({"buffer": Buffer(timeout_seconds=float("inf"))}, "buffer.timeout_seconds must be"),
        ({"aggregation": Aggregation(max_delta_norm_ratio=0.5)}, "aggregation.max_delta_norm_ratio must be"),
        ({"buffer": Buffer(size=10), "limits": Limits(max_queue_deltas=9)}, "max_queue_deltas must be at least"),
    ],
)
def test_a_value_out_of_range_is_refused_with_its_rule(changed: dict[str, typing.Any], message: str) -> None:
    with pytest.raises(PlanInvalid, match=message):
        dataclasses.replace(PLAN, **changed).validate()
