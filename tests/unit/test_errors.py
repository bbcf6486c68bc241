"""The error tree: reasons are unique and stable, and the docstring that shows the tree tells the truth."""

from __future__ import annotations

import re

from alignfed import errors
from alignfed.errors import ERRORS_BY_REASON, AlignFedError, InvariantBroken, Rejected, Unavailable


def leaves(base: type[AlignFedError]) -> set[type[AlignFedError]]:
    children = base.__subclasses__()
    return {base} if not children else set().union(*(leaves(child) for child in children))


def test_every_leaf_has_a_reason_of_its_own() -> None:
    assert {error.reason for error in leaves(AlignFedError)} == set(ERRORS_BY_REASON)
    assert len(leaves(AlignFedError)) == len(ERRORS_BY_REASON)
    assert all(re.fullmatch(r"[A-Z][A-Z0-9_]{1,62}", reason) for reason in ERRORS_BY_REASON)


def test_every_leaf_says_whether_trying_again_can_help() -> None:
    branches = [leaves(Rejected), leaves(Unavailable), leaves(InvariantBroken)]
    assert set().union(*branches) == leaves(AlignFedError)
    assert sum(map(len, branches)) == len(ERRORS_BY_REASON)


def test_the_docstring_shows_the_whole_tree() -> None:
    shown = set(re.findall(r"\b[A-Z][a-z]+[A-Za-z]*\b", (errors.__doc__ or "").split("Every leaf")[0]))
    assert {error.__name__ for error in leaves(AlignFedError)} <= shown
