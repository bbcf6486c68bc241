"""Payload URLs: where payloads are kept outside Redis. Pure.

    file:///absolute/folder                       files, on a file system that all coordinators and workers share
    s3://bucket[/prefix][?region=...&endpoint=...]   Amazon S3, or another server of its protocol at `endpoint`
    gs://bucket[/prefix]                          Google Cloud Storage
    az://container[/prefix]                       Azure Blob Storage

Credentials never stand in a URL: they come from the environment, as each provider's own tools read them.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from urllib.parse import parse_qsl, unquote, urlsplit

from alignfed.errors import RequestInvalid

FILE = "file"
_OPTIONS = {FILE: frozenset(), "s3": frozenset({"region", "endpoint"}), "gs": frozenset(), "az": frozenset()}


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class PayloadPlace:
    """A parsed payload URL: `path` is the folder of files, or the prefix of all names in `bucket`, without slashes."""

    scheme: str
    bucket: str
    path: str
    options: Mapping[str, str]

    @property
    def url(self) -> str:
        """The URL without its options."""
        if self.scheme == FILE:
            return f"file://{self.path}"
        return f"{self.scheme}://{self.bucket}" + (f"/{self.path}" if self.path else "")


def parse_place(url: str) -> PayloadPlace:
    """Parse a payload URL.

    Raises:
        RequestInvalid: Its scheme or an option is unknown, or a part is missing or too much.
    """
    try:
        split = urlsplit(url)
    except ValueError:
        raise _invalid("it is malformed") from None
    if split.scheme not in _OPTIONS:
        raise _invalid(f"its scheme {split.scheme!r} is unknown; use {', '.join(f'{name}://' for name in _OPTIONS)}")
    if "@" in split.netloc or split.fragment:
        raise _invalid("credentials do not belong into it: give them by the environment")
    options = dict(parse_qsl(split.query, keep_blank_values=True))
    known = _OPTIONS[split.scheme]
    if unknown := options.keys() - known:
        knows = f"it knows {', '.join(sorted(known))}" if known else f"{split.scheme}:// has none"
        raise _invalid(f"it has no option {min(unknown)!r}; {knows}")
    path = unquote(split.path)
    if any(part in (".", "..") for part in path.split("/")):
        raise _invalid("its path goes up or stands still")
    if split.scheme == FILE:
        if split.netloc or not path.strip("/"):
            raise _invalid("write file:///absolute/folder")
        return PayloadPlace(scheme=FILE, bucket="", path="/" + path.strip("/"), options=options)
    if not split.netloc:
        raise _invalid(f"write {split.scheme}://bucket/prefix")
    return PayloadPlace(scheme=split.scheme, bucket=split.netloc, path=path.strip("/"), options=options)


def _invalid(why: str) -> RequestInvalid:
    return RequestInvalid(f"the payload URL (--blob-url) cannot be used: {why}")
