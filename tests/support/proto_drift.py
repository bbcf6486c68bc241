"""Is the committed generated code what the .proto files generate? `--write` generates it in place."""

from __future__ import annotations

import filecmp
import sys
import tempfile
from pathlib import Path

from grpc_tools import protoc

PROTO_DIR = Path(__file__).parents[2] / "proto"
PACKAGE = Path("alignfed/v1")


def generate(target: Path) -> list[Path]:
    """Generate code for every .proto file into `target` and return the generated files, relative to it."""
    sources = sorted((PROTO_DIR / PACKAGE).glob("*.proto"))
    well_known = Path(protoc.__file__).parent / "_proto"
    arguments = [
        f"-I{PROTO_DIR}",
        f"-I{well_known}",
        *(f"--{kind}_out={target}" for kind in ("python", "pyi", "grpc_python")),
    ]
    if protoc.main(["protoc", *arguments, *map(str, sources)]) != 0:
        raise SystemExit("protoc failed")
    return sorted(path.relative_to(target) for path in (target / PACKAGE).glob("*_pb2*.py*"))


def drifted() -> list[str]:
    """Return what differs between the committed and freshly generated code."""
    with tempfile.TemporaryDirectory() as directory:
        fresh = generate(Path(directory))
        committed = sorted(path.relative_to(PROTO_DIR) for path in (PROTO_DIR / PACKAGE).glob("*_pb2*.py*"))
        missing = [f"{path} is missing or stale" for path in sorted(set(fresh) ^ set(committed))]
        changed = [
            f"{path} differs"
            for path in fresh
            if path in committed and not filecmp.cmp(PROTO_DIR / path, Path(directory) / path, shallow=False)
        ]
        return missing + changed


if __name__ == "__main__":
    if "--write" in sys.argv:
        generate(PROTO_DIR)
    elif problems := drifted():
        raise SystemExit("generated code has drifted, run `make proto`:\n" + "\n".join(problems))
