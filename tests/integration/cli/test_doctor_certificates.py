"""`alignfed doctor` against coordinators with certificates that are sound, expired, for another name, or unknown."""

from __future__ import annotations

import dataclasses
import datetime
from collections.abc import Iterator
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from coordinator.authority.folder import AuthorityFolder
from coordinator.cli.doctor.examination import Examination
from coordinator.cli.doctor.findings import Finding, Outcome
from coordinator.cli.doctor.target import Place, Target
from coordinator.cli.main import main
from coordinator.cli.tls import client_tls
from tests.support.live_coordinator import LiveCoordinator

DAY = datetime.timedelta(days=1)


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Pair:
    certificate: Path
    key: Path


def make_pair(folder: Path, *, name: str = "localhost", first_day: int = -40, last_day: int = 90) -> Pair:
    """Write a self-signed certificate, valid from and to so many days from now, and its key."""
    folder.mkdir()
    now = datetime.datetime.now(datetime.UTC)
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    certificate = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now + first_day * DAY)
        .not_valid_after(now + last_day * DAY)
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(name)]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    pair = Pair(certificate=folder / "certificate.pem", key=folder / "key.pem")
    pair.certificate.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    pair.key.write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    return pair


@pytest.fixture
def live() -> Iterator[LiveCoordinator]:
    with LiveCoordinator() as coordinator:
        yield coordinator


@pytest.fixture
def ids(tmp_path: Path) -> AuthorityFolder:
    """Authorities of a deployment whose coordinator is `localhost`; tests serve certificates of others, too."""
    folder = AuthorityFolder(tmp_path / "ids")
    folder.create(["localhost"])
    return folder


def pair_of(ids: AuthorityFolder, name: str) -> Pair:
    return Pair(certificate=ids.certificate(name), key=ids.key(name))


def serve(live: LiveCoordinator, ids: AuthorityFolder, pair: Pair) -> None:
    live.start(
        tls_certificate_file=str(pair.certificate),
        tls_key_file=str(pair.key),
        agent_ca_file=str(ids.certificate("agents")),
        operator_ca_file=str(ids.root_certificate),
    )


def examine(live: LiveCoordinator, tls_ca: Path | None, shown: Pair | None) -> dict[str, Finding]:
    certificate, key = (None, None) if shown is None else (shown.certificate, shown.key)
    target = Target(
        operator=f"localhost:{live.operator_port}",
        agents=Place(address=f"localhost:{live.port}"),
        http=Place(address="localhost:1", guessed=True),
        data_dir=Path("nowhere"),
        tls=client_tls(tls_ca, certificate, key),
        seconds=5.0,
    )
    return {finding.check: finding for finding in Examination(target).run()}


def test_a_sound_certificate_is_ok_and_one_that_ends_soon_a_warning(
    live: LiveCoordinator, ids: AuthorityFolder, tmp_path: Path
) -> None:
    admin = pair_of(ids, "operators/admin")
    serve(live, ids, pair_of(ids, "coordinator"))
    findings = examine(live, ids.root_certificate, admin)
    assert {findings[it].outcome for it in ("operator address", "agents' address")} == {Outcome.OK}
    assert {findings[it].outcome for it in ("operator certificate", "agents' certificate")} == {Outcome.OK}
    live.stop()
    soon = make_pair(tmp_path / "soon", last_day=10)
    serve(live, ids, soon)
    assert examine(live, soon.certificate, admin)["operator certificate"].outcome is Outcome.WARNING


def test_the_agents_port_turns_operators_away_and_that_is_right(live: LiveCoordinator, ids: AuthorityFolder) -> None:
    serve(live, ids, pair_of(ids, "coordinator"))
    finding = examine(live, ids.root_certificate, pair_of(ids, "operators/admin"))["agents' address"]
    assert finding.outcome is Outcome.OK
    assert "turns away" in finding.found


def test_the_port_of_a_stranger_that_turns_away_is_not_taken_for_the_agents(
    live: LiveCoordinator, ids: AuthorityFolder, tmp_path: Path
) -> None:
    serve(live, ids, make_pair(tmp_path / "stranger"))
    findings = examine(live, ids.root_certificate, pair_of(ids, "operators/admin"))
    assert findings["agents' address"].outcome is Outcome.PROBLEM


def test_an_expired_certificate_asks_for_a_new_one(live: LiveCoordinator, ids: AuthorityFolder, tmp_path: Path) -> None:
    pair = make_pair(tmp_path / "expired", last_day=-1)
    serve(live, ids, pair)
    findings = examine(live, pair.certificate, pair_of(ids, "operators/admin"))
    assert findings["operator certificate"].outcome is Outcome.PROBLEM
    assert "renew" in findings["operator certificate"].advice
    assert findings["operator address"].outcome is Outcome.PROBLEM


def test_a_certificate_for_another_name_says_which_name_is_wanted(
    live: LiveCoordinator, ids: AuthorityFolder, tmp_path: Path
) -> None:
    pair = make_pair(tmp_path / "other", name="other.example")
    serve(live, ids, pair)
    finding = examine(live, pair.certificate, pair_of(ids, "operators/admin"))["operator certificate"]
    assert finding.outcome is Outcome.PROBLEM
    assert "subjectAltName names localhost" in finding.advice


def test_an_unknown_authority_and_a_file_that_is_none_are_told(
    live: LiveCoordinator, ids: AuthorityFolder, tmp_path: Path
) -> None:
    admin = pair_of(ids, "operators/admin")
    serve(live, ids, pair_of(ids, "coordinator"))
    finding = examine(live, make_pair(tmp_path / "unknown").certificate, admin)["operator certificate"]
    assert finding.outcome is Outcome.PROBLEM
    assert "--tls-ca" in finding.advice
    garbage = tmp_path / "garbage.pem"
    garbage.write_text("no certificate")
    finding = examine(live, garbage, admin)["operator certificate"]
    assert finding.outcome is Outcome.PROBLEM
    assert "PEM" in finding.advice


def test_plain_and_tls_are_not_confused(live: LiveCoordinator, ids: AuthorityFolder) -> None:
    serve(live, ids, pair_of(ids, "coordinator"))
    finding = examine(live, None, None)["operator address"]
    assert finding.outcome is Outcome.PROBLEM
    assert "give --tls-ca" in finding.advice
    live.stop()
    live.start()
    finding = examine(live, ids.root_certificate, pair_of(ids, "operators/admin"))["operator address"]
    assert finding.outcome is Outcome.PROBLEM
    assert "leave --tls-ca out" in finding.advice


def test_who_shows_no_operators_certificate_is_told_to(
    live: LiveCoordinator, ids: AuthorityFolder, tmp_path: Path
) -> None:
    serve(live, ids, pair_of(ids, "coordinator"))
    for shown in (None, make_pair(tmp_path / "stranger", name="stranger")):
        finding = examine(live, ids.root_certificate, shown)["operator address"]
        assert finding.outcome is Outcome.PROBLEM
        assert "`alignfed ca operator`" in finding.advice
        assert "--tls-certificate" in finding.advice


def test_operators_commands_show_a_certificate(
    live: LiveCoordinator, ids: AuthorityFolder, capsys: pytest.CaptureFixture[str]
) -> None:
    serve(live, ids, pair_of(ids, "coordinator"))
    operator = pair_of(ids, "operators/admin")
    command = [
        "status",
        "--json",
        "--operator",
        f"localhost:{live.operator_port}",
        "--tls-ca",
        str(ids.root_certificate),
    ]
    shown = ["--tls-certificate", str(operator.certificate), "--tls-key", str(operator.key)]
    assert run(*command, *shown) == 0
    assert run(*command) != 0, "who shows no certificate gets in"
    capsys.readouterr()
    assert run(*command, *shown[:2]) == 2, "half a pair is wrong usage"
    assert "--tls-key" in capsys.readouterr().err


def run(*arguments: str) -> int:
    with pytest.raises(SystemExit) as ended:
        main(list(arguments))
    return int(ended.value.code or 0)
