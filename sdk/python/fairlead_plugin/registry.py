"""Types of registry sources."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Optional, Union


@dataclass(frozen=True)
class Request:
    """What to fetch."""

    limit: int
    cursor: Optional[str] = None
    since: Optional[str] = None
    etag: Optional[str] = None


@dataclass(frozen=True)
class Entry:
    """One version of one server. `server_json` is the document as JSON text; `status` is `active`, `deprecated` or `deleted`."""

    name: str
    version: str
    server_json: str
    status: str = "active"
    published_ms: Optional[int] = None
    updated_ms: Optional[int] = None
    is_latest: bool = True
    attributes: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Page:
    """Some entries, and where the next ones are."""

    entries: list[Entry]
    removed: list[tuple[str, Optional[str]]] = field(default_factory=list)
    next: Optional[str] = None
    checkpoint: Optional[str] = None
    etag: Optional[str] = None


@dataclass(frozen=True)
class Unmodified:
    """Nothing changed since the entity tag."""


@dataclass(frozen=True)
class Resync:
    """The checkpoint is too old or unknown: start again without `since`."""

    reason: str


Answer = Union[Page, Unmodified, Resync]
"""What there is."""
