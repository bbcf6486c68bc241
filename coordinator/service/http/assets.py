"""The page's own files, from the package: nothing is fetched from anywhere else."""

from __future__ import annotations

import dataclasses
import hashlib
from importlib.resources import files

from aiohttp import web

_TYPES = {".html": "text/html", ".css": "text/css", ".js": "text/javascript", ".svg": "image/svg+xml"}
_INDEX = "index.html"


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Asset:
    """One file, with its media type and a tag that changes with its content."""

    body: bytes
    content_type: str
    etag: str


class Assets:
    """Serves the page's files; they are read once, when the process starts."""

    def __init__(self) -> None:
        self._assets = {
            entry.name: _asset(entry.read_bytes(), _TYPES[entry.name[entry.name.rindex(".") :]])
            for entry in files("coordinator.service.http").joinpath("page").iterdir()
        }

    def add_routes(self, router: web.UrlDispatcher) -> None:
        """Add `/` and what it refers to."""
        router.add_get("/", self.index)
        router.add_get("/page/{name}", self.file)

    async def index(self, request: web.Request) -> web.Response:
        """Send the page."""
        return self._send(request, _INDEX)

    async def file(self, request: web.Request) -> web.Response:
        """Send a file of the page."""
        return self._send(request, request.match_info["name"])

    def _send(self, request: web.Request, name: str) -> web.Response:
        asset = self._assets.get(name)
        if asset is None:
            raise web.HTTPNotFound
        # asked for every time, sent only after an upgrade
        headers = {"Cache-Control": "no-cache", "ETag": f'"{asset.etag}"'}
        if any(tag.value == asset.etag for tag in request.if_none_match or ()):
            return web.Response(status=304, headers=headers)
        response = web.Response(body=asset.body, content_type=asset.content_type, charset="utf-8", headers=headers)
        response.enable_compression()
        return response


def _asset(body: bytes, content_type: str) -> Asset:
    return Asset(body=body, content_type=content_type, etag=hashlib.sha256(body).hexdigest()[:32])
