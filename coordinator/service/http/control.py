"""Signing in, and the two changes the page can make: pause and resume. None of it exists without a token."""

from __future__ import annotations

import json
import logging

from aiohttp import web

from coordinator.service.http.answers import API, refusal
from coordinator.service.http.reading import Pages
from coordinator.service.http.sessions import SESSION_SECONDS, Session, Sessions

logger = logging.getLogger(__name__)

COOKIE = "alignfed_session"
CSRF_HEADER = "X-AlignFed-CSRF"

_SAME_ORIGIN = frozenset({None, "same-origin", "none"})


class Control:
    """Handlers for those who may change something.

    Args:
        sessions: Who is signed in; None when nobody can be.
        pages: Where federations are.
    """

    def __init__(self, sessions: Sessions | None, pages: Pages) -> None:
        self._sessions = sessions
        self._pages = pages

    def add_routes(self, router: web.UrlDispatcher) -> None:
        """Add what there is to be had; without a token, only the answer that there is nothing."""
        router.add_get(f"{API}/session", self.session)
        if self._sessions is None:
            return
        router.add_post(f"{API}/session", self.sign_in)
        router.add_delete(f"{API}/session", self.sign_out)
        router.add_post(f"{API}/federations/{{federation}}/pause", self.pause)
        router.add_post(f"{API}/federations/{{federation}}/resume", self.resume)

    async def session(self, request: web.Request) -> web.Response:
        """Tell whether one can sign in, and whether the caller has."""
        session = self._session(request)
        answer = {"can_sign_in": self._sessions is not None, "signed_in": session is not None}
        return web.json_response({**answer, "csrf": session.csrf if session else None})

    async def sign_in(self, request: web.Request) -> web.Response:
        """Take the token; answer with a session in a cookie that no script can read."""
        assert self._sessions is not None
        if (refused := _foreign(request)) is not None:
            return refused
        if request.content_type != "application/json":  # what another site's form could send is not
            return refusal(415, "JSON_WANTED", "send the token as JSON")
        address = request.remote or ""
        if wait := self._sessions.wait_seconds(address):
            text = f"too many wrong tokens: try again in {wait:.0f} s"
            return refusal(429, "TOO_MANY_ATTEMPTS", text, headers={"Retry-After": f"{wait:.0f}"})
        secret = self._sessions.sign_in(_token_in(await request.text()), address=address)
        if secret is None:
            logger.warning("status page: wrong token from %s", address)
            return refusal(401, "WRONG_TOKEN", "that is not the token: it is in the coordinator's status token file")
        logger.info("status page: signed in from %s", address)
        session = self._sessions.get(secret)
        assert session is not None
        response = web.json_response({"can_sign_in": True, "signed_in": True, "csrf": session.csrf})
        response.set_cookie(
            COOKIE,
            secret,
            path="/",
            max_age=int(SESSION_SECONDS),
            httponly=True,
            samesite="Strict",
            secure=request.headers.get("X-Forwarded-Proto", request.scheme) == "https",
        )
        return response

    async def sign_out(self, request: web.Request) -> web.Response:
        """End the session."""
        assert self._sessions is not None
        if (refused := self._not_allowed(request)) is not None:
            return refused
        self._sessions.sign_out(request.cookies[COOKIE])
        response = web.json_response({"can_sign_in": True, "signed_in": False, "csrf": None})
        response.del_cookie(COOKIE, path="/")
        return response

    async def pause(self, request: web.Request) -> web.Response:
        """Stop merging."""
        return await self._set_paused(request, True)

    async def resume(self, request: web.Request) -> web.Response:
        """Start merging again."""
        return await self._set_paused(request, False)

    async def _set_paused(self, request: web.Request, paused: bool) -> web.Response:
        if (refused := self._not_allowed(request)) is not None:
            return refused
        federation = request.match_info["federation"]
        await self._pages.set_paused(federation, paused)
        logger.info("federation %s from the status page federation=%s", "paused" if paused else "resumed", federation)
        return web.json_response({"paused": paused})

    def _not_allowed(self, request: web.Request) -> web.Response | None:
        """Return why the caller may not change anything, or None when it may."""
        if (refused := _foreign(request)) is not None:
            return refused
        session = self._session(request)
        if session is None:
            return refusal(401, "NOT_SIGNED_IN", "sign in first: the session has ended, or there was none")
        if not session.has_csrf(request.headers.get(CSRF_HEADER, "")):
            return refusal(403, "CSRF_TOKEN_WRONG", f"the {CSRF_HEADER} header is not this session's: reload the page")
        return None

    def _session(self, request: web.Request) -> Session | None:
        secret = request.cookies.get(COOKIE)
        return self._sessions.get(secret) if self._sessions is not None and secret else None


def _foreign(request: web.Request) -> web.Response | None:
    """Refuse what a browser says another site has caused."""
    if request.headers.get("Sec-Fetch-Site") in _SAME_ORIGIN:
        return None
    return refusal(403, "OTHER_SITE", "another site may not ask for this")


def _token_in(text: str) -> str:
    """Return the token in a request's body; an empty one, which is always wrong, when there is none."""
    try:
        body = json.loads(text)
    except (ValueError, RecursionError):
        return ""
    token = body.get("token") if isinstance(body, dict) else None
    return token if isinstance(token, str) else ""
