"""Where the embedded store of this machine is, when no store is named."""

from __future__ import annotations

import dataclasses
from pathlib import Path

from alignfed import failpoints
from alignfed.errors import RequestInvalid

DEFAULT_DATA_DIR = Path(".alignfed/store")
_URL_FILE = "url"


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class StorePlace:
    """The URLs of a store and of its payloads; `blob_url` is empty where the store keeps them itself."""

    url: str
    blob_url: str = ""


def note_store_url(data_dir: Path, url: str) -> Path:
    """Write down where the embedded store in `data_dir` is reached, for a worker on this machine."""
    path = data_dir / _URL_FILE
    with failpoints.around("store_note.write"):
        path.write_text(url + "\n", "utf-8")
    return path


def forget_store_url(data_dir: Path) -> None:
    """Take the note away when the store stops. Idempotent."""
    with failpoints.around("store_note.delete"):
        (data_dir / _URL_FILE).unlink(missing_ok=True)


def noted_store_url(data_dir: Path) -> str:
    """Return where the embedded store in `data_dir` is reached.

    Raises:
        RequestInvalid: No coordinator runs one there.
    """
    try:
        return (data_dir / _URL_FILE).read_text("utf-8").strip()
    except OSError:
        raise RequestInvalid(
            f"no store is named, and no coordinator on this machine runs an embedded one in {data_dir}: give "
            "--store-url (or ALIGNFED_STORE_URL), or start `alignfed coordinator` in this folder first"
        ) from None
