"""Secrets by reference. Needs the capability `secrets`."""

from __future__ import annotations

from typing import Any

from .host import failure, host


class Secret:
    """A secret that the plugin may use but not see."""

    def __init__(self, inner: Any) -> None:
        self._inner = inner

    def as_header(self, template: str) -> str:
        """A placeholder for a header such as `Bearer {}`; the host puts the value in when the request leaves."""
        return self._inner.as_header(template)

    def reveal(self) -> bytes:
        """The value itself. Needs the capability `secrets-reveal`."""
        try:
            return self._inner.reveal()
        except host.error as error:
            raise failure(error) from None


def open(name: str) -> Secret:
    """Opens a secret by name."""
    try:
        return Secret(host.secrets.open(name))
    except host.error as error:
        raise failure(error) from None
