"""Store URLs. Pure: nothing here opens a connection.

    redis://[user:password@]host[:port][/db]                      one server; `rediss://` with TLS
    unix:///path/to/socket[?db=0]                                 one server on this machine
    redis+sentinel://[user:password@]host:port,.../service[/db]   the primary that Sentinels name; `rediss+sentinel://`
    redis+cluster://[user:password@]host:port,...                 a Cluster, from any of its nodes; `rediss+cluster://`
    memory://                                                     this process' memory, for tests

`valkey` may stand for `redis` and `valkeys` for `rediss`. Options, as a query: `password_file`, `sentinel_username`,
`sentinel_password_file`, `ca_file`, `cert_file`, `key_file`, `timeout_seconds`, `db`, `wait_replicas`.
"""

from __future__ import annotations

import dataclasses
import enum
import re
from pathlib import Path
from urllib.parse import parse_qsl, unquote

from alignfed.errors import RequestInvalid
from alignfed.redaction import HIDDEN, hide_query_secrets

DEFAULT_TIMEOUT_SECONDS = 5.0
"""How long the server may take to answer, fsync of a 1 MiB part included."""

_URL = re.compile(r"(?P<scheme>[a-z+]+)://(?:(?P<userinfo>.*)@)?(?P<hosts>[^/?]*)(?P<path>/[^?]*)?(?:\?(?P<query>.*))?")
_OPTIONS = {
    "password_file",
    "sentinel_username",
    "sentinel_password_file",
    "ca_file",
    "cert_file",
    "key_file",
    "timeout_seconds",
    "db",
    "wait_replicas",
}


class Topology(enum.StrEnum):
    """How the server is reached."""

    MEMORY = "memory"
    UNIX = "unix"
    STANDALONE = "standalone"
    SENTINEL = "sentinel"
    CLUSTER = "cluster"


_DEFAULT_PORTS = {Topology.STANDALONE: 6379, Topology.CLUSTER: 6379, Topology.SENTINEL: 26379}


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Credentials:
    """Who logs in; both empty for a server without authentication."""

    username: str | None = None
    password: str | None = dataclasses.field(default=None, repr=False)


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Tls:
    """Trusted authorities and client certificate, as PEM files; None for the system's and for none."""

    ca_file: str | None = None
    cert_file: str | None = None
    key_file: str | None = None


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class StoreAddress:
    """A parsed store URL. `path` is the socket of UNIX, `service` the primary's name of SENTINEL.

    `wait_replicas` is on how many replicas an outcome must be before an agent is told of it, and a fencing token before
    it is used; 0 for a store whose failovers may take such things back.
    """

    topology: Topology
    hosts: tuple[tuple[str, int], ...] = ()
    path: str = ""
    service: str = ""
    db: int = 0
    login: Credentials = Credentials()
    sentinel_login: Credentials = Credentials()
    tls: Tls | None = None
    timeout_seconds: float = DEFAULT_TIMEOUT_SECONDS
    wait_replicas: int = 0


def redact_url(url: str) -> str:
    """Return a store URL with its passwords hidden, for logs; works for malformed URLs too."""
    url = hide_query_secrets(url)
    scheme, separator, rest = url.partition("://")
    if not separator:
        scheme, rest = "", url
    userinfo, at, place = rest.rpartition("@")
    if not at or ":" not in userinfo:
        return url
    user = userinfo.partition(":")[0] if separator else HIDDEN  # without a scheme it may be anything
    return f"{scheme}{separator}{user}:{HIDDEN}@{place}"


def parse_address(url: str) -> StoreAddress:
    """Parse a store URL; reads the password files that it names.

    Raises:
        RequestInvalid: The URL's scheme or an option is unknown, a part is missing, or a password file is unreadable.
    """
    match = _URL.fullmatch(url)
    topology, secure = _scheme(match["scheme"] if match else url.partition(":")[0], url)
    if match is None:
        raise _invalid(url, "it is malformed")
    if topology is Topology.MEMORY:
        return StoreAddress(topology=topology)
    options = dict(parse_qsl(match["query"] or "", keep_blank_values=True))
    if unknown := options.keys() - _OPTIONS:
        raise _invalid(url, f"it has no option {min(unknown)!r}; it knows {', '.join(sorted(_OPTIONS))}")
    address = StoreAddress(
        topology=topology,
        login=_login(match["userinfo"] or "", options.get("password_file"), url),
        tls=_tls(options) if secure else None,
        timeout_seconds=_number(options.get("timeout_seconds", DEFAULT_TIMEOUT_SECONDS), url),
        db=int(_number(options.get("db", 0), url)),
        wait_replicas=int(_number(options.get("wait_replicas", 0), url)),
    )
    path = unquote(match["path"] or "").strip("/")
    if topology is Topology.UNIX:
        if match["hosts"] or not path:
            raise _invalid(url, "write unix:///absolute/path/to/the.sock")
        return dataclasses.replace(address, path=f"/{path}")
    address = dataclasses.replace(address, hosts=_hosts(match["hosts"], _DEFAULT_PORTS[topology], url))
    return _with_path(address, path, options, url)


def _with_path(address: StoreAddress, path: str, options: dict[str, str], url: str) -> StoreAddress:
    """Return a network address completed by the URL's path: the primary's name and the database number."""
    if address.topology is Topology.SENTINEL:
        service, _, path = path.partition("/")
        if not service:
            raise _invalid(url, "name the primary that the Sentinels watch: redis+sentinel://host:26379/mymaster")
        password = _login("", options.get("sentinel_password_file"), url).password
        login = Credentials(username=options.get("sentinel_username"), password=password)
        address = dataclasses.replace(address, service=service, sentinel_login=login)
    if path:
        address = dataclasses.replace(address, db=int(_number(path, url)))
    if address.topology is Topology.CLUSTER and address.db:
        raise _invalid(url, "a Cluster has no database numbers")
    if address.topology is Topology.CLUSTER and address.wait_replicas:
        raise _invalid(url, "wait_replicas is for one primary with replicas, not for a Cluster")
    return address


def _scheme(scheme: str, url: str) -> tuple[Topology, bool]:
    flavour, _, kind = scheme.partition("+")
    if scheme in ("memory", "unix"):
        return Topology(scheme), False
    if flavour not in ("redis", "rediss", "valkey", "valkeys") or kind not in ("", "sentinel", "cluster"):
        raise _invalid(
            url,
            f"its scheme {scheme!r} is unknown; use redis://, rediss://, unix://, redis+sentinel://, redis+cluster:// "
            "or memory://",
        )
    return Topology(kind or "standalone"), flavour in ("rediss", "valkeys")


def _login(userinfo: str, password_file: str | None, url: str) -> Credentials:
    username, colon, password = userinfo.partition(":")
    if password_file is not None:
        try:
            return Credentials(
                username=unquote(username) or None, password=Path(password_file).read_text(encoding="utf-8").strip()
            )
        except (OSError, UnicodeDecodeError) as error:
            raise _invalid(url, f"its password file cannot be read ({error})") from error
    return Credentials(username=unquote(username) or None, password=unquote(password) if colon else None)


def _tls(options: dict[str, str]) -> Tls:
    return Tls(ca_file=options.get("ca_file"), cert_file=options.get("cert_file"), key_file=options.get("key_file"))


def _hosts(text: str, default_port: int, url: str) -> tuple[tuple[str, int], ...]:
    hosts = []
    for item in text.split(","):
        match = re.fullmatch(r"(\[[0-9a-fA-F:.]+\]|[^:\[\]]+)(?::(\d{1,5}))?", item)
        if match is None:
            raise _invalid(url, f"{item!r} is not a host or host:port")
        hosts.append((match[1].strip("[]"), int(match[2] or default_port)))
    return tuple(hosts)


def _number(text: str | float, url: str) -> float:
    try:
        number = float(text)
    except ValueError:
        raise _invalid(url, f"{text!r} is not a number") from None
    if not 0 <= number < 1e6:
        raise _invalid(url, f"{text!r} is out of range")
    return number


def _invalid(url: str, why: str) -> RequestInvalid:
    return RequestInvalid(f"store URL {redact_url(url)!r} cannot be used: {why}")
