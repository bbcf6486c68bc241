"""The dependency audit passes only when a database has answered for every package."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest

from tests.support import dependency_audit
from tests.support.dependency_audit import CONSTRAINTS, audit, licences, pinned, problems, unasked

WANTED = {"alpha": "1.0", "beta-gamma": "2.0"}
CLEAN = {"dependencies": [{"name": n, "version": v, "vulns": []} for n, v in (("alpha", "1.0"), ("Beta_Gamma", "2.0"))]}
SKIPPED = {"dependencies": [{"name": "alpha", "skip_reason": "not found on PyPI"}]}
HIT = {"id": "PYSEC-1", "fix_versions": ["1.1"]}
HURT = {"dependencies": [{"name": "alpha", "version": "1.0", "vulns": [HIT]}, *CLEAN["dependencies"][1:]]}


def test_constraints_are_read_whole() -> None:
    text = CONSTRAINTS.read_text("utf-8")
    lines = [line for line in text.splitlines() if line.strip() and not line.startswith("#")]
    assert len(pinned(text)) == len(lines) > 50
    assert pinned("# a\nBeta_Gamma==2.0 ; x\nalpha==1.0\n") == WANTED


def test_a_vulnerability_is_a_problem_unless_it_is_accepted() -> None:
    assert problems(CLEAN, {}) == []
    assert problems(HURT, {}) == ["alpha 1.0: PYSEC-1, fixed in 1.1"]
    assert problems(HURT, {"PYSEC-1": "we never call it"}) == []
    assert len(problems(CLEAN, {"PYSEC-1": "we never call it"})) == 1


def test_what_the_database_does_not_know_was_not_asked() -> None:
    assert unasked(CLEAN, WANTED) == []
    assert unasked(SKIPPED, WANTED) == ["alpha", "beta-gamma"]


@pytest.mark.parametrize(
    ("says", "code"),
    [
        ('{"dependencies": [{"name": "alpha", "version": "1.0", "vulns": []}]}', 0),
        ('{"dependencies": [{"name": "alpha", "version": "1.0", "vulns": [{"id": "X", "fix_versions": []}]}]}', 1),
        ('{"dependencies": [{"name": "alpha", "skip_reason": "not found"}]}', 2),
        ("Traceback: cannot resolve", 2),
    ],
)
def test_the_exit_code_says_whether_anything_is_proved(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], says: str, code: int
) -> None:
    program, constraints = tmp_path / "pip-audit", tmp_path / "constraints.txt"
    program.write_text(f"#!/bin/sh\ncat <<'END'\n{says}\nEND\n")
    program.chmod(stat.S_IRWXU)
    constraints.write_text("alpha==1.0\n")
    monkeypatch.setattr(dependency_audit, "CONSTRAINTS", constraints)
    assert audit(program) == code
    assert ("NOT AUDITED" in capsys.readouterr().err) == (code == 2)


def test_every_installed_package_is_under_some_licence() -> None:
    found = licences()
    names = {name for under in found.values() for name in under}
    assert {"torch", "grpcio", "cryptography"} <= names
