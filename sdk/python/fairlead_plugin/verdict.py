"""Verdicts: what shall happen to a message."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any, Optional

REJECTED = 4030
"""The code of a refusal that needs no finer one. Outside of what JSON-RPC and MCP reserve."""

_COMPACT = (",", ":")


def text(value: Any) -> str:
    """A value as JSON text."""
    return json.dumps(value, ensure_ascii=False, separators=_COMPACT)


@dataclass(frozen=True)
class Rejection:
    """A refusal: a decision, not a fault."""

    code: int
    message: str
    data: Any = None
    retry_after_ms: Optional[int] = None


class Verdict:
    """What shall happen. Made by its functions; the subclasses are what they make."""

    @staticmethod
    def next() -> Verdict:
        """Go on, unchanged."""
        return _NEXT

    @staticmethod
    def deny(code: int, message: str) -> Verdict:
        """Refuse. For data or a time to wait, use `reject`."""
        return Reject(Rejection(code, message))

    @staticmethod
    def reject(rejection: Rejection) -> Verdict:
        """Refuse, with everything that a refusal can say."""
        return Reject(rejection)

    @staticmethod
    def respond(result: Any) -> Verdict:
        """Answer with this result."""
        return Respond(text(result))

    @staticmethod
    def replace(payload: Any) -> Verdict:
        """Go on with another payload."""
        return Replace(text(payload))

    @staticmethod
    def patch() -> Patch:
        """Go on with some places changed. An empty patch changes nothing."""
        return Patch()


class Next(Verdict):
    """Go on, unchanged."""


@dataclass(frozen=True)
class Reject(Verdict):
    """Refuse."""

    rejection: Rejection


@dataclass(frozen=True)
class Respond(Verdict):
    """Answer with a result, as JSON text."""

    json: str


@dataclass(frozen=True)
class Replace(Verdict):
    """Go on with another payload, as JSON text."""

    json: str


class Patch(Verdict):
    """A list of changes, applied in order."""

    def __init__(self) -> None:
        self.operations: list[tuple[str, Optional[str]]] = []

    def set(self, pointer: str, value: Any) -> Patch:
        """Puts a value at an RFC 6901 pointer, whose parent must exist."""
        return self.set_json(pointer, text(value))

    def set_json(self, pointer: str, json: str) -> Patch:
        """Like `set`, with JSON text that is put there as it is."""
        self.operations.append((pointer, json))
        return self

    def remove(self, pointer: str) -> Patch:
        """Removes what is at a pointer."""
        self.operations.append((pointer, None))
        return self


_NEXT = Next()


def settled(returned: Any, hook: str) -> Verdict:
    """What a hook returned, as a verdict. Nothing is no verdict: a guard that forgets to return must not let pass."""
    if isinstance(returned, Verdict):
        return returned
    raise TypeError(f"{hook} returned no verdict but {returned!r}; to let a message go on, return Verdict.next()")
