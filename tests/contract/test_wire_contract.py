"""The wire contract only grows: whoever knows the golden one is understood, and understands.

The golden contract is rewritten with `python -m tests.support.golden_descriptor --write` when a release adds to it.
"""

from __future__ import annotations

from collections.abc import Callable

import pytest
from google.protobuf.descriptor_pb2 import DescriptorProto, FieldDescriptorProto, FileDescriptorSet

from tests.support.golden_descriptor import breaks, current, golden


def message_of(contract: FileDescriptorSet, name: str) -> DescriptorProto:
    return next(it for file in contract.file for it in file.message_type if it.name == name)


def field_of(contract: FileDescriptorSet, message: str, name: str) -> FieldDescriptorProto:
    return next(field for field in message_of(contract, message).field if field.name == name)


def test_the_contract_still_speaks_with_what_is_in_the_field() -> None:
    assert breaks(golden(), current()) == []


def test_the_golden_contract_holds_both_services() -> None:
    services = {service.name for file in golden().file for service in file.service}
    assert services == {"AgentService", "OperatorService"}


def remove_field(contract: FileDescriptorSet) -> None:
    message = message_of(contract, "DeltaHeader")
    message.field.remove(field_of(contract, "DeltaHeader", "rank"))


def renumber_field(contract: FileDescriptorSet) -> None:
    field_of(contract, "DeltaHeader", "rank").number = 90


def rename_field(contract: FileDescriptorSet) -> None:
    field_of(contract, "DeltaHeader", "rank").name = "lora_rank"


def retype_field(contract: FileDescriptorSet) -> None:
    field_of(contract, "DeltaHeader", "examples").type = FieldDescriptorProto.TYPE_INT64


def retarget_field(contract: FileDescriptorSet) -> None:
    field_of(contract, "DeltaHeader", "base_version").type_name = ".alignfed.v1.TensorSpec"


def repeat_field(contract: FileDescriptorSet) -> None:
    field_of(contract, "DeltaHeader", "examples").label = FieldDescriptorProto.LABEL_REPEATED


def make_field_implicit(contract: FileDescriptorSet) -> None:
    field = field_of(contract, "GetGlobalVersionRequest", "after_number")
    field.proto3_optional = False
    field.ClearField("oneof_index")


def leave_oneof(contract: FileDescriptorSet) -> None:
    field_of(contract, "QueryUploadResponse", "resume_offset").ClearField("oneof_index")


def enter_oneof(contract: FileDescriptorSet) -> None:
    field_of(contract, "QueryUploadResponse", "status").oneof_index = 0


def add_to_oneof(contract: FileDescriptorSet) -> None:
    message_of(contract, "SubmitDeltaRequest").field.add(
        name="trailer", number=90, type=FieldDescriptorProto.TYPE_STRING, label=1, oneof_index=0
    )


def remove_message(contract: FileDescriptorSet) -> None:
    for file in contract.file:
        for message in [it for it in file.message_type if it.name == "DeadLetter"]:
            file.message_type.remove(message)


def remove_enum_value(contract: FileDescriptorSet) -> None:
    enum = next(it for file in contract.file for it in file.enum_type if it.name == "DeltaState")
    del enum.value[-1]


def renumber_enum_value(contract: FileDescriptorSet) -> None:
    enum = next(it for file in contract.file for it in file.enum_type if it.name == "DeltaState")
    enum.value[-1].number = 9


def remove_enum(contract: FileDescriptorSet) -> None:
    for file in contract.file:
        for enum in [it for it in file.enum_type if it.name == "AdapterKind"]:
            file.enum_type.remove(enum)


def remove_method(contract: FileDescriptorSet) -> None:
    service = next(it for file in contract.file for it in file.service if it.name == "AgentService")
    del service.method[0]


def stream_method(contract: FileDescriptorSet) -> None:
    service = next(it for file in contract.file for it in file.service if it.name == "AgentService")
    service.method[0].server_streaming = True


def retype_method(contract: FileDescriptorSet) -> None:
    service = next(it for file in contract.file for it in file.service if it.name == "AgentService")
    service.method[0].output_type = ".alignfed.v1.GetGlobalVersionResponse"


def remove_service(contract: FileDescriptorSet) -> None:
    for file in contract.file:
        for service in [it for it in file.service if it.name == "OperatorService"]:
            file.service.remove(service)


BREAKING: dict[Callable[[FileDescriptorSet], None], str] = {
    remove_field: "DeltaHeader.rank = 9 is removed",
    renumber_field: "DeltaHeader.rank = 9 is removed",
    rename_field: "is now lora_rank",
    retype_field: "DeltaHeader.examples changes its type",
    retarget_field: "DeltaHeader.base_version changes its type",
    repeat_field: "DeltaHeader.examples changes whether it is repeated",
    make_field_implicit: "after_number changes whether it is repeated or optional",
    leave_oneof: "resume_offset moves from oneof progress to none",
    enter_oneof: "status moves from oneof none to progress",
    add_to_oneof: "trailer joins the oneof part",
    remove_message: "message alignfed.v1.DeadLetter is removed",
    remove_enum_value: "DELTA_STATE_REJECTED is removed",
    renumber_enum_value: "DELTA_STATE_REJECTED changes its number",
    remove_enum: "enum alignfed.v1.AdapterKind is removed",
    remove_method: "AgentService.RegisterAgent is removed",
    stream_method: "AgentService.RegisterAgent changes what it streams",
    retype_method: "AgentService.RegisterAgent changes its messages",
    remove_service: "service alignfed.v1.OperatorService is removed",
}


@pytest.mark.parametrize("change", BREAKING, ids=lambda change: change.__name__)
def test_a_change_that_peers_would_misread_is_found(change: Callable[[FileDescriptorSet], None]) -> None:
    changed = golden()
    change(changed)
    assert any(BREAKING[change] in problem for problem in breaks(golden(), changed)), breaks(golden(), changed)


def test_a_number_that_was_given_up_is_never_taken_again() -> None:
    old, new = golden(), golden()
    message_of(old, "DeltaHeader").reserved_range.add(start=90, end=92)
    message_of(new, "DeltaHeader").field.add(name="again", number=91, type=FieldDescriptorProto.TYPE_STRING, label=1)
    assert breaks(old, new) == ["field alignfed.v1.DeltaHeader.again takes the reserved number 91"]


def test_what_is_added_breaks_nothing() -> None:
    grown = golden()
    message = message_of(grown, "DeltaHeader")
    message.field.add(name="mood", number=90, type=FieldDescriptorProto.TYPE_STRING, label=1)
    message.reserved_range.add(start=95, end=96)
    for file in grown.file:
        for enum in file.enum_type:
            enum.value.add(name=f"{enum.name}_EXTRA", number=90)
        for service in file.service:
            service.method.add(name="Extra", input_type=".x", output_type=".y")
    grown.file[-1].message_type.add(name="Extra")
    assert breaks(golden(), grown) == []
