"""Plan files: what is accepted can be sent to every agent, stored, and read again unchanged."""

from __future__ import annotations

import functools
import random
import tempfile
from pathlib import Path

from alignfed.plan_proto import plan_from_proto, plan_to_proto
from alignfed.v1 import types_pb2 as pb
from coordinator.backends.redis import records
from coordinator.cli.plan_file import read_plan_file
from coordinator.domain import FederationRecord
from tests.fuzz.mutations import EDGE_INTEGERS, EDGE_TEXTS, mutate_bytes
from tests.fuzz.target import Target
from tests.support.stores import NOW

_VALUES = (
    *(str(number) for number in EDGE_INTEGERS), "1e999", "-inf", "nan", "0x7fffffffffffffff", "true", "[]", "{}", '""',
    '["q_proj", 1]', "1979-05-27T07:32:00Z", "1e308", "31536000.5", '"fp32"', '"topk"', '"int8-groups"',
    '"all-linear"', "[[[[1]]]]",
    *(f'"{text}"' for text in EDGE_TEXTS if text.isprintable()), "[" * 500, "1" * 5000,
)  # fmt: skip


def seeds() -> list[bytes]:
    template = Path(__file__).parents[3] / "coordinator" / "cli" / "templates" / "federation.toml"
    small = (
        'federation = "demo"\ndelta_encoding = "bf16"\ntopk_ratio = 0.1\n[base_model]\nname = "m"\nrevision = "main"\n'
        '[lora]\nrank = 8\nalpha = 16.0\ndropout = 0.1\ntarget_modules = ["q_proj"]\nfreeze_a = false\n'
        "[training]\nlocal_steps = 4\nbatch_size = 2\nsequence_length = 64\nlearning_rate = 1e-3\n"
        "weight_decay = 0.0\nmax_grad_norm = 1.0\nrepresentation_penalty = 0.1\nwait_for_version = true\n"
        "[buffer]\nsize = 4\ntimeout_seconds = 60.0\n[aggregation]\nserver_learning_rate = 1.0\n"
        'recipe = "alignfed"\nmax_delta_norm_ratio = 10.0\n[calibration]\nfit_rows = 2\njudge_rows = 2\n'
        'sequence_length = 64\nmax_loss_increase_ratio = 0.1\ndata = "rows.jsonl"\n[limits]\nchunk_bytes = 4096\n'
        "max_queue_deltas = 100\nupload_lifetime_seconds = 60.0\n[retention]\nversions = 4\ndelta_versions = 2\n"
    )
    return [*[small.encode()] * 9, template.read_bytes()]


def mutate(data: bytes, rng: random.Random) -> bytes:
    if rng.random() < 0.25:
        return mutate_bytes(data, rng)
    lines = data.split(b"\n")
    settings = [index for index, line in enumerate(lines) if b"=" in line and not line.startswith(b"#")]
    if not settings:
        return mutate_bytes(data, rng)
    place = rng.choice(settings)
    key = lines[place].partition(b"=")[0]
    change = rng.random()
    if change < 0.8:
        lines[place] = key + b"= " + rng.choice(_VALUES).encode()
    elif change < 0.9:
        lines.insert(place, lines[rng.choice(settings)])
    else:
        del lines[place]
    return b"\n".join(lines)


def check(data: bytes) -> str:
    path = Path(_holder().name) / "federation.toml"
    path.write_bytes(data)
    plan = read_plan_file(path).plan
    message = pb.FederationPlan.FromString(plan_to_proto(plan).SerializeToString())
    received = plan_from_proto(message)
    assert plan_to_proto(received) == message, "the plan changes on its way"
    record = FederationRecord(plan=plan, calibration=None, created_at=NOW)
    assert records.load_federation(records.dump_federation(record), paused=False) == record
    return "accepted"


@functools.cache
def _holder() -> tempfile.TemporaryDirectory[str]:
    return tempfile.TemporaryDirectory(prefix="alignfed-fuzz-")


TARGET = Target(name="plans", seeds=seeds, mutate=mutate, check=check)
