"""Who is signed in to the status page: sessions in memory, few and short-lived, and a bound on wrong tokens."""

from __future__ import annotations

import dataclasses
import hashlib
import hmac
import secrets

from coordinator.ports import Clock

SESSION_SECONDS = 8 * 3600.0
"""A working day, from the sign-in on, whether used or not."""
MAX_SESSIONS = 64
"""The oldest session ends when one more begins."""
WRONG_TOKENS = 5
"""Wrong tokens from one address before it has to wait."""
WAIT_SECONDS = 60.0
_ADDRESSES_KEPT = 1024


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Session:
    """One signed-in browser.

    `csrf` has to come back in a header of every change: other sites cannot read it, nor set the header.
    """

    csrf: str
    until: float

    def has_csrf(self, given: str) -> bool:
        """Whether `given` is this session's, in constant time."""
        return hmac.compare_digest(given.encode("utf-8", "surrogatepass"), self.csrf.encode())


class Sessions:
    """Gives sessions to those who know the token.

    Args:
        token: The secret.
        clock: Time.
    """

    def __init__(self, token: bytes, clock: Clock) -> None:
        self._token = hashlib.sha256(token).digest()
        self._clock = clock
        self._sessions: dict[bytes, Session] = {}  # by digest: memory holds nothing that lets anybody in
        self._wrong: dict[str, tuple[int, float]] = {}

    def wait_seconds(self, address: str) -> float:
        """Return how long an address has to wait before it may try a token; 0 when it may now."""
        count, until = self._wrong.get(address, (0, 0.0))
        left = until - self._clock.monotonic()
        return left if count >= WRONG_TOKENS and left > 0 else 0.0

    def sign_in(self, token: str, *, address: str) -> str | None:
        """Return the secret of a new session, or None when the token is wrong. Ask `wait_seconds` first."""
        given = hashlib.sha256(token.strip().encode("utf-8", "surrogatepass")).digest()
        if not hmac.compare_digest(given, self._token):
            self._note_wrong(address)
            return None
        self._wrong.pop(address, None)
        self._drop_expired()
        while len(self._sessions) >= MAX_SESSIONS:
            del self._sessions[next(iter(self._sessions))]
        secret = secrets.token_urlsafe(32)
        until = self._clock.monotonic() + SESSION_SECONDS
        self._sessions[_digest(secret)] = Session(csrf=secrets.token_urlsafe(32), until=until)
        return secret

    def get(self, secret: str) -> Session | None:
        """Return the session of a secret, unless it has ended."""
        session = self._sessions.get(_digest(secret))
        return session if session is not None and self._clock.monotonic() < session.until else None

    def sign_out(self, secret: str) -> None:
        """End a session. Idempotent."""
        self._sessions.pop(_digest(secret), None)

    def _note_wrong(self, address: str) -> None:
        now = self._clock.monotonic()
        count, until = self._wrong.pop(address, (0, 0.0))
        while len(self._wrong) >= _ADDRESSES_KEPT:
            del self._wrong[next(iter(self._wrong))]
        self._wrong[address] = (count + 1 if now < until else 1, now + WAIT_SECONDS)

    def _drop_expired(self) -> None:
        now = self._clock.monotonic()
        self._sessions = {key: session for key, session in self._sessions.items() if now < session.until}


def _digest(secret: str) -> bytes:
    return hashlib.sha256(secret.encode("utf-8", "surrogatepass")).digest()
