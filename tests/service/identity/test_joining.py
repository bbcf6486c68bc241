"""The door: join tokens, sound and forged, and certificates that follow one another."""

from __future__ import annotations

import asyncio
import base64
import dataclasses
import datetime
import json
import time
from collections.abc import AsyncIterator, Callable
from typing import Any

import grpc
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from google.protobuf.timestamp_pb2 import Timestamp

from alignfed.errors import RequestInvalid
from alignfed.identity import identity_of
from alignfed.join_token import JoinToken, parse_join_token, secret_digest
from alignfed.plan import FederationPlan
from alignfed.v1 import agent_service_pb2, join_service_pb2
from alignfed.v1 import operator_service_pb2 as op
from alignfed.v1.join_service_pb2_grpc import JoinServiceStub
from coordinator.authority.certificates import Issued
from tests.service.conftest import Running
from tests.service.identity.conftest import Connect
from tests.service.identity.test_who_may_call import _poll
from tests.support.identities import Deployment
from tests.support.raw_client import WireDelta, refused
from tests.support.watched_store import WatchedStore

SECRET = "correct horse battery staple"
TOKEN = "a1" * 12

Join = Callable[..., Any]


def new_key() -> ec.EllipticCurvePrivateKey:
    return ec.generate_private_key(ec.SECP256R1())


def request_of(key: Any, common_name: str = "whoever") -> bytes:
    subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, common_name)])
    request = x509.CertificateSigningRequestBuilder().subject_name(subject).sign(key, hashes.SHA256())
    return request.public_bytes(serialization.Encoding.PEM)


def issued(key: ec.EllipticCurvePrivateKey, certificate: bytes) -> Issued:
    pem = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    return Issued(certificate=certificate, key=pem)


def uris(certificate: bytes) -> list[str]:
    names = x509.load_pem_x509_certificate(certificate).extensions.get_extension_for_class(x509.SubjectAlternativeName)
    return names.value.get_values_for_type(x509.UniformResourceIdentifier)


def grant(**changes: Any) -> op.CreateJoinGrantRequest:
    expires_at = Timestamp()
    expires_at.FromDatetime(datetime.datetime.now(datetime.UTC) + datetime.timedelta(hours=1))
    fields: dict[str, Any] = {
        "token_id": TOKEN,
        "secret_sha256": secret_digest(SECRET),
        "agent": "agent-1",
        "federations": ["fed"],
        "uses": 1,
        "expires_at": expires_at,
    }
    return op.CreateJoinGrantRequest(grant=op.JoinGrant(**(fields | changes)))


@pytest.fixture
async def door(secure: Running, deployment: Deployment) -> AsyncIterator[Join]:
    """Knock: with the token and a fresh key unless told otherwise."""
    address = f"127.0.0.1:{secure.server.join_port}"
    async with grpc.aio.secure_channel(address, deployment.credentials(None)) as channel:
        stub = JoinServiceStub(channel)  # type: ignore[no-untyped-call]

        def join(key: Any = None, **changes: Any) -> Any:
            fields: dict[str, Any] = {
                "token_id": TOKEN,
                "secret": SECRET,
                "agent_id": "agent-1",
                "signing_request": request_of(key or new_key()),
            }
            return stub.Join(join_service_pb2.JoinRequest(**(fields | changes)), timeout=10)

        yield join


@pytest.fixture
async def admin(connect: Connect, deployment: Deployment) -> Any:
    """An admin's stub."""
    return connect(None, deployment.operator("olga")).operators


async def test_a_token_becomes_a_certificate_of_exactly_what_it_grants(
    door: Join, admin: Any, connect: Connect, delta: WireDelta
) -> None:
    await admin.CreateJoinGrant(grant(), timeout=10)
    key = new_key()
    certificate = (await door(key)).certificate
    identity = identity_of(uris(certificate))
    assert (identity.name, identity.federations) == ("agent-1", {"fed"})
    assert x509.load_pem_x509_certificate(certificate).public_key() == key.public_key()
    assert await _poll(connect(issued(key, certificate)), delta)


async def test_a_signing_request_is_asked_for_its_key_alone(door: Join, admin: Any) -> None:
    await admin.CreateJoinGrant(grant(), timeout=10)
    key = new_key()
    subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "admin")])
    wish = x509.SubjectAlternativeName(
        [
            x509.UniformResourceIdentifier("urn:alignfed:operator:admin"),
            x509.UniformResourceIdentifier("urn:alignfed:role:admin"),
        ]
    )
    builder = x509.CertificateSigningRequestBuilder().subject_name(subject).add_extension(wish, critical=False)
    builder = builder.add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
    request = builder.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)
    certificate = (await door(signing_request=request)).certificate
    assert uris(certificate) == ["urn:alignfed:agent:agent-1", "urn:alignfed:federation:fed"]
    constraints = x509.load_pem_x509_certificate(certificate).extensions.get_extension_for_class(x509.BasicConstraints)
    assert not constraints.value.ca


async def test_an_answer_that_was_lost_is_given_again_to_the_same_key_alone(door: Join, admin: Any) -> None:
    await admin.CreateJoinGrant(grant(), timeout=10)
    key = new_key()
    assert (await door(key)).certificate
    assert (await door(key)).certificate
    assert (await refused(door())).reason == "JOIN_TOKEN_INVALID"


@pytest.mark.parametrize(
    "changes",
    [
        {"secret": "guess"},
        {"secret": ""},
        {"token_id": "b2" * 12},
        {"token_id": "../../etc/passwd"},
        {"token_id": "*"},
        {"agent_id": "agent-2"},
        {"agent_id": "agent-11"},
    ],
)
async def test_a_forged_token_lets_nobody_in_and_is_told_nothing(
    changes: dict[str, Any], door: Join, admin: Any, store: WatchedStore
) -> None:
    await admin.CreateJoinGrant(grant(), timeout=10)
    refusal = await refused(door(**changes))
    assert (refusal.reason, refusal.code) == ("JOIN_TOKEN_INVALID", grpc.StatusCode.PERMISSION_DENIED)
    (state,) = await store.identities.grants()
    assert state.uses_left == 1


async def test_an_expired_or_withdrawn_token_lets_nobody_in(door: Join, admin: Any) -> None:
    soon = Timestamp()
    soon.FromDatetime(datetime.datetime.now(datetime.UTC) + datetime.timedelta(seconds=0.4))
    await admin.CreateJoinGrant(grant(expires_at=soon), timeout=10)
    await asyncio.sleep(0.5)
    assert (await refused(door())).reason == "JOIN_TOKEN_INVALID"
    await admin.CreateJoinGrant(grant(token_id="c3" * 12), timeout=10)
    await admin.WithdrawJoinGrant(op.WithdrawJoinGrantRequest(token_id="c3" * 12), timeout=10)
    assert (await refused(door(token_id="c3" * 12))).reason == "JOIN_TOKEN_INVALID"


async def test_a_token_for_many_gives_each_id_to_one_key(door: Join, admin: Any) -> None:
    await admin.CreateJoinGrant(grant(agent="site-a-*", uses=2), timeout=10)
    assert (await door(agent_id="site-a-1")).certificate
    refusal = await refused(door(agent_id="site-a-1"))
    assert (refusal.reason, refusal.code) == ("AGENT_ID_TAKEN", grpc.StatusCode.ALREADY_EXISTS)
    assert (await door(agent_id="site-a-2")).certificate
    assert (await refused(door(agent_id="site-a-3"))).reason == "JOIN_TOKEN_INVALID"


async def test_a_lost_device_is_replaced_and_its_key_shut_out(
    door: Join, admin: Any, connect: Connect, delta: WireDelta
) -> None:
    lost, found = new_key(), new_key()
    await admin.CreateJoinGrant(grant(), timeout=10)
    thief = connect(issued(lost, (await door(lost)).certificate))
    assert await _poll(thief, delta)
    await admin.CreateJoinGrant(grant(token_id="d4" * 12), timeout=10)
    owner = connect(issued(found, (await door(found, token_id="d4" * 12)).certificate))
    await asyncio.sleep(0.1)  # the announcement passes through the store
    assert (await refused(_poll(thief, delta))).reason == "IDENTITY_REVOKED"
    assert await _poll(owner, delta)


async def test_a_revoked_agent_does_not_come_back_by_another_token(door: Join, admin: Any) -> None:
    await admin.RevokeIdentity(op.RevokeIdentityRequest(principal="agent:agent-1"), timeout=10)
    await admin.CreateJoinGrant(grant(), timeout=10)
    await asyncio.sleep(0.1)
    assert (await refused(door())).reason == "IDENTITY_REVOKED"


@pytest.mark.parametrize(
    "request_pem",
    [b"", b"garbage", b"-----BEGIN CERTIFICATE REQUEST-----\nAAAA\n-----END CERTIFICATE REQUEST-----\n"],
)
async def test_a_malformed_signing_request_is_refused(request_pem: bytes, door: Join, admin: Any) -> None:
    await admin.CreateJoinGrant(grant(), timeout=10)
    assert (await refused(door(signing_request=request_pem))).reason == "REQUEST_INVALID"


async def test_a_request_of_a_foreign_or_unproven_key_is_refused(door: Join, admin: Any) -> None:
    await admin.CreateJoinGrant(grant(), timeout=10)
    foreign = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    assert (await refused(door(foreign))).reason == "REQUEST_INVALID"
    spoiled = bytearray(base64.b64decode(b"".join(request_of(new_key()).splitlines()[1:-1])))
    spoiled[-1] ^= 1
    body = base64.encodebytes(bytes(spoiled))
    pem = b"-----BEGIN CERTIFICATE REQUEST-----\n" + body + b"-----END CERTIFICATE REQUEST-----\n"
    assert (await refused(door(signing_request=pem))).reason == "REQUEST_INVALID"


async def test_a_huge_request_is_not_read(door: Join) -> None:
    with pytest.raises(grpc.RpcError) as raised:
        await door(signing_request=b"x" * 100_000)
    assert raised.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED


async def test_guessing_is_slow_for_everybody_together(door: Join) -> None:
    outcomes = [(await refused(door(secret=f"guess {number}"))).reason for number in range(80)]
    assert outcomes[0] == "JOIN_TOKEN_INVALID"
    assert "RATE_EXCEEDED" in outcomes


@pytest.mark.parametrize(
    "changes",
    [
        {"token_id": "short"},
        {"token_id": "zz" * 12},
        {"secret_sha256": SECRET},
        {"agent": ""},
        {"agent": "no spaces"},
        {"agent": "*x"},
        {"agent": "../x"},
        {"federations": []},
        {"federations": ["No Such Name"]},
        {"uses": 0},
        {"uses": 1_000_000},
        {"expires_at": Timestamp(seconds=1)},
        {"expires_at": Timestamp(seconds=int(time.time()) + 400 * 86_400)},
    ],
)
async def test_a_grant_out_of_range_is_refused(changes: dict[str, Any], admin: Any, store: WatchedStore) -> None:
    assert (await refused(admin.CreateJoinGrant(grant(**changes), timeout=10))).reason == "REQUEST_INVALID"
    assert await store.identities.grants() == []


async def test_grants_are_listed_without_what_could_be_used(admin: Any) -> None:
    await admin.CreateJoinGrant(grant(), timeout=10)
    (listed,) = (await admin.ListJoinGrants(op.ListJoinGrantsRequest(), timeout=10)).grants
    assert (listed.agent, listed.uses_left, listed.created_by, listed.secret_sha256) == ("agent-1", 1, "olga", "")


async def test_a_certificate_is_renewed_for_its_own_key_alone(
    door: Join, admin: Any, connect: Connect, delta: WireDelta
) -> None:
    await admin.CreateJoinGrant(grant(), timeout=10)
    key = new_key()
    first = (await door(key)).certificate
    client = connect(issued(key, first))
    wanted = agent_service_pb2.RenewCertificateRequest(signing_request=request_of(key))
    second = (await client.agents.RenewCertificate(wanted, timeout=10)).certificate
    assert uris(second) == uris(first)
    assert second != first
    assert await _poll(connect(issued(key, second)), delta)
    other = agent_service_pb2.RenewCertificateRequest(signing_request=request_of(new_key()))
    assert (await refused(client.agents.RenewCertificate(other, timeout=10))).reason == "IDENTITY_MISMATCH"


async def test_without_identities_there_is_nothing_to_renew(coordinator: Running, plan: FederationPlan) -> None:
    del plan
    wanted = agent_service_pb2.RenewCertificateRequest(signing_request=request_of(new_key()))
    refusal = await refused(coordinator.client.agents.RenewCertificate(wanted, timeout=10))
    assert refusal.reason == "REQUEST_INVALID"


TOKEN_FIELDS = JoinToken(
    token_id=TOKEN, secret=SECRET, join="h:7302", coordinator="h:7300", agent="a", federation="fed", authority="pem"
)


def test_a_token_survives_its_text_and_hides_its_secret() -> None:
    assert parse_join_token(f"  {TOKEN_FIELDS.to_text()}\n") == TOKEN_FIELDS
    assert SECRET not in repr(TOKEN_FIELDS)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "alignfed-join-1.",
        "alignfed-join-1.%%%",
        "alignfed-join-2." + TOKEN_FIELDS.to_text().removeprefix("alignfed-join-1."),
        TOKEN_FIELDS.to_text()[:-20],
        "alignfed-join-1." + base64.urlsafe_b64encode(b"[" * 50_000).decode(),
        "alignfed-join-1." + base64.urlsafe_b64encode(json.dumps({"token_id": 5}).encode()).decode(),
        "alignfed-join-1."
        + base64.urlsafe_b64encode(json.dumps(dataclasses.asdict(TOKEN_FIELDS) | {"x": SECRET}).encode()).decode(),
    ],
)
def test_a_malformed_token_is_refused_without_being_repeated(text: str) -> None:
    with pytest.raises(RequestInvalid, match="alignfed enroll") as raised:
        parse_join_token(text)
    assert SECRET not in str(raised.value)
