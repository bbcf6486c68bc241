"""Is the wire contract still readable by who knows yesterday's? `--write` makes today's contract the golden one.

    python -m tests.support.golden_descriptor            list what breaks the golden contract
    python -m tests.support.golden_descriptor --write    take today's contract, once it is released

A contract grows and never changes: nothing is removed, renumbered or retyped.
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Collection, Iterator
from pathlib import Path

from google.protobuf.descriptor_pb2 import (
    DescriptorProto,
    EnumDescriptorProto,
    FieldDescriptorProto,
    FileDescriptorSet,
    ServiceDescriptorProto,
)
from grpc_tools import protoc

from tests.support.proto_drift import PACKAGE, PROTO_DIR

GOLDEN = Path(__file__).parents[1] / "contract" / "golden" / "alignfed_v1.binpb"


def golden() -> FileDescriptorSet:
    """Return the contract that agents and coordinators in the field speak."""
    return FileDescriptorSet.FromString(GOLDEN.read_bytes())


def current() -> FileDescriptorSet:
    """Return the contract of the .proto files as they are, with everything they import."""
    with tempfile.TemporaryDirectory() as folder:
        written = Path(folder) / "contract.binpb"
        arguments = [
            f"-I{PROTO_DIR}",
            f"-I{Path(protoc.__file__).parent / '_proto'}",
            "--include_imports",
            f"--descriptor_set_out={written}",
        ]
        sources = sorted((PROTO_DIR / PACKAGE).glob("*.proto"))
        if protoc.main(["protoc", *arguments, *map(str, sources)]) != 0:
            raise SystemExit("protoc failed")
        return FileDescriptorSet.FromString(written.read_bytes())


def breaks(old: FileDescriptorSet, new: FileDescriptorSet) -> list[str]:
    """Return what of `old` a peer that speaks `new` would not understand, or would misread; empty when nothing."""
    problems = [*_removed("message", _messages(old), _messages(new)), *_removed("enum", _enums(old), _enums(new))]
    problems += _removed("service", _services(old), _services(new))
    for name, message in _messages(old).items():
        if name in _messages(new):
            problems += _message_breaks(name, message, _messages(new)[name])
    for name, enum in _enums(old).items():
        if name in _enums(new):
            problems += _enum_breaks(name, enum, _enums(new)[name])
    for name, service in _services(old).items():
        if name in _services(new):
            problems += _service_breaks(name, service, _services(new)[name])
    return problems


def _message_breaks(name: str, old: DescriptorProto, new: DescriptorProto) -> Iterator[str]:
    by_number = {field.number: field for field in new.field}
    for field in old.field:
        after = by_number.get(field.number)
        if after is None:
            yield f"field {name}.{field.name} = {field.number} is removed"
        elif after.name != field.name:
            yield f"field {name}.{field.name} = {field.number} is now {after.name}"
        elif (after.type, after.type_name) != (field.type, field.type_name):
            yield f"field {name}.{field.name} changes its type"
        elif after.label != field.label or after.proto3_optional != field.proto3_optional:
            yield f"field {name}.{field.name} changes whether it is repeated or optional"
        elif _oneof(new, after) != _oneof(old, field):
            yield f"field {name}.{field.name} moves from oneof {_oneof(old, field)} to {_oneof(new, after)}"
    known = {field.number for field in old.field}
    freed = {number for span in old.reserved_range for number in range(span.start, span.end)}
    for field in new.field:
        if field.number in freed:
            yield f"field {name}.{field.name} takes the reserved number {field.number}"
        elif field.number not in known and (joined := _oneof(new, field)) in {it.name for it in old.oneof_decl}:
            yield f"field {name}.{field.name} joins the oneof {joined}: an old peer would find it empty"


def _oneof(message: DescriptorProto, field: FieldDescriptorProto) -> str:
    if not field.HasField("oneof_index") or field.proto3_optional:
        return "none"
    return message.oneof_decl[field.oneof_index].name


def _enum_breaks(name: str, old: EnumDescriptorProto, new: EnumDescriptorProto) -> Iterator[str]:
    by_name = {value.name: value.number for value in new.value}
    for value in old.value:
        if value.name not in by_name:
            yield f"enum value {name}.{value.name} is removed"
        elif by_name[value.name] != value.number:
            yield f"enum value {name}.{value.name} changes its number"


def _service_breaks(name: str, old: ServiceDescriptorProto, new: ServiceDescriptorProto) -> Iterator[str]:
    by_name = {method.name: method for method in new.method}
    for method in old.method:
        after = by_name.get(method.name)
        if after is None:
            yield f"method {name}.{method.name} is removed"
        elif (after.client_streaming, after.server_streaming) != (method.client_streaming, method.server_streaming):
            yield f"method {name}.{method.name} changes what it streams"
        elif (after.input_type, after.output_type) != (method.input_type, method.output_type):
            yield f"method {name}.{method.name} changes its messages"


def _removed(kind: str, old: Collection[str], new: Collection[str]) -> list[str]:
    return [f"{kind} {name} is removed" for name in old if name not in new]


def _messages(contract: FileDescriptorSet) -> dict[str, DescriptorProto]:
    found: dict[str, DescriptorProto] = {}
    for file in contract.file:
        waiting = [(f"{file.package}.{message.name}", message) for message in file.message_type]
        while waiting:
            name, message = waiting.pop()
            found[name] = message
            waiting += [(f"{name}.{nested.name}", nested) for nested in message.nested_type]
    return found


def _enums(contract: FileDescriptorSet) -> dict[str, EnumDescriptorProto]:
    found = {f"{file.package}.{enum.name}": enum for file in contract.file for enum in file.enum_type}
    for name, message in _messages(contract).items():
        found |= {f"{name}.{enum.name}": enum for enum in message.enum_type}
    return found


def _services(contract: FileDescriptorSet) -> dict[str, ServiceDescriptorProto]:
    return {f"{file.package}.{service.name}": service for file in contract.file for service in file.service}


if __name__ == "__main__":
    if "--write" in sys.argv:
        GOLDEN.parent.mkdir(parents=True, exist_ok=True)
        GOLDEN.write_bytes(current().SerializeToString(deterministic=True))
    elif problems := breaks(golden(), current()):
        raise SystemExit("the contract no longer speaks with what is in the field:\n" + "\n".join(problems))
