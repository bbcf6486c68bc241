"""Checks of addresses: does what listens there do what is expected there."""

from __future__ import annotations

import http.client
import re

from alignfed.settings import parse_listen
from coordinator.cli.doctor.answering import Answering, who_answers
from coordinator.cli.doctor.findings import Finding, not_checked, ok, problem, warning
from coordinator.cli.doctor.target import Place, Target

OPERATOR_CHECK = "operator address"
AGENTS_CHECK = "agents' address"

_NOBODY = (Answering.REFUSED, Answering.UNREACHABLE, Answering.UNKNOWN_HOST)
_BUILD_INFO = re.compile(r"^alignfed_build_info\{(?P<labels>[^}]*)\} 1(?:\.0)?$", re.MULTILINE)
_LABEL = re.compile(r'(\w+)="([^"]*)"')

_NEXT = {
    Answering.OPERATORS: "this is where operators go: agents belong to the address of --agent-listen (7300)",
    Answering.AGENTS: "this is where agents go: name the address of the coordinator's --operator-listen (7301)",
    Answering.OTHER_GRPC: "another program has the port: name the coordinator's address, or move one of them",
    Answering.HTTP: "this may be the coordinator's /metrics (9464): name its gRPC address instead",
    Answering.TLS: "the coordinator wants TLS: give --tls-ca with the authority that signed its certificate",
    Answering.PLAIN: "leave --tls-ca out, or start the coordinator with --identity-dir instead of --insecure",
    Answering.BAD_CERTIFICATE: "see the certificate's own check below",
    Answering.TURNS_AWAY: "it asks for an operator's certificate, as `alignfed ca operator` makes: show one with "
    "--tls-certificate and --tls-key (an agent's will not do), or look into its log",
    Answering.SILENT: "name the coordinator's address; if this is it, look into its log",
    Answering.REFUSED: "start `alignfed coordinator`, or correct the address",
    Answering.UNREACHABLE: "look at the machine, its network and firewalls, or correct the address",
    Answering.UNKNOWN_HOST: "correct the name, or look at this machine's name resolution",
}


def check_operator(target: Target) -> tuple[Finding, Answering]:
    """Check that operators are served, and return who answers."""
    answering = who_answers(target.operator, target.tls, seconds=target.seconds)
    return _judged(OPERATOR_CHECK, target.operator, answering, wanted=Answering.OPERATORS), answering


def check_agents(target: Target) -> Finding:
    """Check that agents are served, or, where callers are known by certificates, that operators are turned away."""
    place = target.agents
    answering = who_answers(place.address, target.tls, seconds=target.seconds)
    if place.guessed and answering in _NOBODY:
        return not_checked(
            AGENTS_CHECK, f"{place.address} was a guess, and nothing answers there", "name it with --agents"
        )
    if answering is Answering.TURNS_AWAY:  # its own certificate has verified, so it is a coordinator's
        return ok(AGENTS_CHECK, f"{place.address} turns away whoever shows no agent's certificate, as it should")
    return _judged(AGENTS_CHECK, place.address, answering, wanted=Answering.AGENTS)


def check_http(check: str, place: Place, component: str, *, seconds: float) -> tuple[list[Finding], str]:
    """Check that an address serves a component's metrics, and that it says it is ready where it says so at all.

    Returns:
        The findings, and the version that the component tells; empty when it tells none.
    """
    try:
        status, body = _get(place.address, "/metrics", seconds)
    except (OSError, http.client.HTTPException) as error:
        if place.guessed:
            guess = f"{place.address} was a guess, and nothing answers there"
            return [not_checked(check, guess, f"name it with --{_option(component)}")], ""
        advice = f"see that the {component} runs and serves --metrics-listen there"
        return [problem(check, f"{place.address} does not answer over HTTP ({error})", advice)], ""
    builds = [dict(_LABEL.findall(match["labels"])) for match in _BUILD_INFO.finditer(body)]
    if not builds:
        found = f"{place.address} answers over HTTP ({status}), but not as an AlignFed process"
        if place.guessed:
            return [not_checked(check, found, f"name the right one with --{_option(component)}")], ""
        return [problem(check, found, "another program has the port: name the right address")], ""
    [build, *_] = builds
    if build.get("component") != component:
        found = f"{place.address} is the {build.get('component')}'s, not the {component}'s"
        return [problem(check, found, f"name the {component}'s --metrics-listen address")], ""
    version = build.get("version", "")
    findings = [ok(check, f"{place.address} serves the {component}'s metrics")]
    return findings + _readiness(check, place.address, component, seconds), version


def _readiness(check: str, address: str, component: str, seconds: float) -> list[Finding]:
    try:
        status, body = _get(address, "/readyz", seconds)
    except (OSError, http.client.HTTPException):
        return []
    if status != http.HTTPStatus.SERVICE_UNAVAILABLE:
        return []  # ready, or a component that does not tell
    said = " ".join(body.split())[:200]
    return [warning(check, f"the {component} at {address} says it is not ready: {said}", "look into its log")]


def _option(component: str) -> str:
    return "http" if component == "coordinator" else "worker-http"


def _judged(check: str, address: str, answering: Answering, *, wanted: Answering) -> Finding:
    if answering is wanted:
        return ok(check, f"{address} is {answering}")
    return problem(check, f"{address} is {answering}", _NEXT[answering])


def _get(address: str, path: str, seconds: float) -> tuple[int, str]:
    host, port = parse_listen(address)
    connection = http.client.HTTPConnection(host, port, timeout=seconds)
    try:
        connection.request("GET", path)
        response = connection.getresponse()
        return response.status, response.read(4 << 20).decode("utf-8", "replace")
    finally:
        connection.close()
