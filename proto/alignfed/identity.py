"""Who takes part: identities, and the names by which certificates carry them.

A certificate names its holder in its subject alternative names, as URIs:

    urn:alignfed:agent:AGENT            an agent, with one
    urn:alignfed:federation:NAME        for every federation it may join, or `*` for all of them
    urn:alignfed:operator:NAME          an operator, with one
    urn:alignfed:role:ROLE              of `viewer`, `operator`, `admin`
"""

from __future__ import annotations

import dataclasses
import enum
from collections.abc import Iterable

from alignfed.errors import IdentityMissing
from alignfed.plan import AGENT_ID, FEDERATION_NAME

EVERY_FEDERATION = "*"
_PREFIX = "urn:alignfed:"


class Kind(enum.StrEnum):
    """What sort of caller an identity is."""

    AGENT = "agent"
    OPERATOR = "operator"


class Role(enum.StrEnum):
    """What an operator may do; each one includes those before it.

    A viewer reads figures, an operator acts on federations that run and takes adapters home, an admin creates
    federations and lets agents in.
    """

    VIEWER = "viewer"
    OPERATOR = "operator"
    ADMIN = "admin"

    def includes(self, other: Role) -> bool:
        """Whether this role may do what `other` may."""
        order = list(Role)
        return order.index(self) >= order.index(other)


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Identity:
    """One caller.

    Attributes:
        kind: Agent or operator.
        name: The agent's id, or the operator's name: of the form of an agent's id.
        federations: What an agent may join; empty for operators, who may see all.
        role: An operator's; None for agents.
    """

    kind: Kind
    name: str
    federations: frozenset[str] = frozenset()
    role: Role | None = None

    @property
    def principal(self) -> str:
        """Return what identifies the caller among all: `agent:NAME` or `operator:NAME`."""
        return f"{self.kind}:{self.name}"

    def may_join(self, federation: str) -> bool:
        """Whether an agent may take part in `federation`."""
        return bool(self.federations & {federation, EVERY_FEDERATION})


def uris_of(identity: Identity) -> list[str]:
    """Return the URIs that carry `identity` in a certificate, in a fixed order."""
    parts = [f"{identity.kind}:{identity.name}"]
    parts += [f"federation:{name}" for name in sorted(identity.federations)]
    if identity.role is not None:
        parts.append(f"role:{identity.role}")
    return [_PREFIX + part for part in parts]


def identity_of(uris: Iterable[str]) -> Identity:
    """Return the identity that a certificate's URIs carry; URIs of others are passed over.

    Raises:
        IdentityMissing: They carry none, more than one, or a malformed one.
    """
    named: dict[str, list[str]] = {}
    for uri in uris:
        if uri.startswith(_PREFIX):
            key, _, value = uri.removeprefix(_PREFIX).partition(":")
            named.setdefault(key, []).append(value)
    kinds = [kind for kind in Kind if kind in named]
    if len(kinds) != 1 or len(named[kinds[0]]) != 1 or not AGENT_ID.fullmatch(named[kinds[0]][0]):
        raise IdentityMissing(
            "the certificate names no AlignFed agent or operator, or several: use one that `alignfed ca` or "
            "`alignfed-agent join` made"
        )
    kind, name = kinds[0], named[kinds[0]][0]
    if kind is Kind.AGENT:
        return Identity(kind=kind, name=name, federations=frozenset(_federations(named.get("federation", []))))
    return Identity(kind=kind, name=name, role=_role(named.get("role", [])))


def _federations(names: list[str]) -> list[str]:
    if all(name == EVERY_FEDERATION or FEDERATION_NAME.fullmatch(name) for name in names):
        return names
    raise IdentityMissing("the certificate names a federation that cannot exist: have a new one issued")


def _role(names: list[str]) -> Role:
    if len(names) == 1 and names[0] in list(Role):
        return Role(names[0])
    raise IdentityMissing("the certificate names no operator's role, or several: make one with `alignfed ca operator`")
