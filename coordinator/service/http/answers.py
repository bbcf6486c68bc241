"""Headers of every answer, and the errors of the JSON interface."""

from __future__ import annotations

import logging

from aiohttp import web
from aiohttp.typedefs import Handler

from alignfed.errors import AlignFedError, Rejected, StoreCorrupt, Unavailable, UnknownFederation

logger = logging.getLogger(__name__)

API = "/api/v1"

_HEADERS = {
    # everything comes from this server, nothing is inline, nobody frames it, and forms are sent by the page's own code
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; "
        "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=()",
    "Server": "alignfed",
}


async def add_headers(_request: web.Request, response: web.StreamResponse) -> None:
    """Add what every answer carries; whatever holds figures is not kept by anybody unless the handler says so."""
    response.headers.update(_HEADERS)
    response.headers.setdefault("Cache-Control", "no-store")


def json_body(body: bytes) -> web.Response:
    """Return JSON that is ready, compressed if the client likes."""
    response = web.Response(body=body, content_type="application/json", charset="utf-8")
    response.enable_compression()
    return response


def refusal(status: int, reason: str, message: str, *, headers: dict[str, str] | None = None) -> web.Response:
    """Return an error as JSON: a stable reason, and what happened and what to do in words."""
    return web.json_response({"reason": reason, "message": message}, status=status, headers=headers)


@web.middleware
async def errors_as_json(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Turn AlignFed's errors into JSON; other defects are logged and answered with a bare 500."""
    try:
        return await handler(request)
    except AlignFedError as error:
        if isinstance(error, StoreCorrupt):
            logger.exception("status page request failed path=%s", request.path)
        return refusal(status_of(error), error.reason, error.message)


def status_of(error: AlignFedError) -> int:
    """Return the HTTP status for an error."""
    if isinstance(error, UnknownFederation):
        return 404
    if isinstance(error, Rejected):
        return 400
    return 503 if isinstance(error, Unavailable) else 500
