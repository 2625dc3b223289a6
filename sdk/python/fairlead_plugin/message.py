"""The message under decision: its head ready made, body and context read on demand. Lent for one call of a hook."""

from __future__ import annotations

import json
from typing import Any, Optional

from .failure import Failure


class Message:
    """A message at one moment of its way."""

    __slots__ = ("method", "target", "size", "context", "_body")

    method: str
    """Method of the request; for a response, that of the request it answers."""
    target: Optional[str]
    """Name of the tool or prompt, or URI of the resource, when the method has one."""
    size: int
    """Length of the payload in bytes."""
    context: Context
    """Where the message comes from and where it goes to."""

    def __init__(self, head: Any, context: Any, body: Any) -> None:
        self.method, self.target, self.size = head.method, head.target, head.size
        self.context, self._body = Context(context), body

    def read(self) -> str:
        """The whole payload as JSON text; `null` where there is none."""
        return (self._body.read() if self._body else "") or "null"

    def parse(self) -> Any:
        """The whole payload, parsed."""
        return self._parsed(self.read(), "the payload")

    def pointer(self, pointer: str) -> Optional[str]:
        """The JSON text at an RFC 6901 pointer."""
        return self._body.pointer(pointer) if self._body else None

    def at(self, pointer: str, default: Any = None) -> Any:
        """The value at an RFC 6901 pointer, parsed; `default` when nothing is there. Cheaper than `parse`."""
        found = self.pointer(pointer)
        return default if found is None else self._parsed(found, f"`{pointer}`")

    def text(self, pointer: str) -> Optional[str]:
        """The string at an RFC 6901 pointer; none when there is none or something else."""
        return self._body.text(pointer) if self._body else None

    def _parsed(self, text: str, what: str) -> Any:
        try:
            return json.loads(text)
        except ValueError as error:
            raise Failure.internal(f"{what} of `{self.method}` cannot be read: {error}") from error


class Context:
    """Where a message comes from and where it goes to."""

    __slots__ = ("_inner",)

    def __init__(self, inner: Any) -> None:
        self._inner = inner

    @property
    def request_id(self) -> Optional[str]:
        """JSON text of the JSON-RPC id; none for a notification."""
        return self._inner.request_id()

    @property
    def server(self) -> str:
        """Name of the managed MCP server."""
        return self._inner.server()

    @property
    def tenant(self) -> str:
        """The tenant whose chain this is."""
        return self._inner.tenant()

    @property
    def session(self) -> Optional[str]:
        """An opaque key of the MCP session."""
        return self._inner.session()

    @property
    def identity(self) -> Optional[str]:
        """Who calls, as an earlier middleware or the host established it."""
        return self._inner.identity()

    @property
    def protocol_version(self) -> Optional[str]:
        """The revision of MCP that this exchange speaks."""
        return self._inner.protocol_version()

    @property
    def remaining_ms(self) -> int:
        """Milliseconds left until this call is cut off."""
        return self._inner.remaining_ms()

    def claim(self, name: str) -> Any:
        """A claim of the identity, parsed; none when there is none."""
        found = self._inner.claim(name)
        return None if found is None else json.loads(found)

    def header(self, name: str) -> Optional[str]:
        """A header of the client's HTTP request, by lower-case name; never one that carries credentials."""
        return self._inner.header(name)

    def attribute(self, name: str) -> Optional[str]:
        """An attribute that a middleware has set in this exchange."""
        return self._inner.attribute(name)

    def set_attribute(self, name: str, value: str) -> None:
        """Sets an attribute for later middleware of this exchange."""
        self._inner.set_attribute(name, value)

    def set_identity(self, subject: str, claims: Optional[dict[str, Any]] = None) -> None:
        """Establishes who calls. Later middleware and the audit record see it."""
        pairs = [(name, json.dumps(value, ensure_ascii=False)) for name, value in (claims or {}).items()]
        self._inner.set_identity(subject, pairs)
