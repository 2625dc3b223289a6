"""Small state that outlives an instance, scoped by the host to (tenant, attachment). Needs the capability `kv`.

Whatever goes wrong is raised as a `Failure`.
"""

from __future__ import annotations

from typing import Any, Optional, Union

from .host import failure, host


def _asked(name: str, *arguments: Any) -> Any:
    try:
        return getattr(host.kv, name)(*arguments)
    except host.error as error:
        raise failure(error) from None


def _bytes(value: Union[str, bytes]) -> bytes:
    return value.encode() if isinstance(value, str) else value


def get(key: str) -> Any:
    """A value and its version (`.value`, `.version`); none when there is none."""
    return _asked("get", key)


def get_text(key: str) -> Optional[str]:
    """A value as text; none when there is none."""
    entry = get(key)
    return None if entry is None else entry.value.decode()


def set(key: str, value: Union[str, bytes], ttl_ms: Optional[int] = None) -> int:
    """Writes a value and returns its version."""
    return _asked("set", key, _bytes(value), ttl_ms)


def compare_and_set(
    key: str, expected: Optional[int], value: Union[str, bytes], ttl_ms: Optional[int] = None
) -> Optional[int]:
    """Writes only if the version is still `expected`; none comes back if somebody else was first."""
    return _asked("compare_and_set", key, expected, _bytes(value), ttl_ms)


def increment(key: str, by: int = 1, ttl_ms: Optional[int] = None) -> int:
    """Adds to a counter and returns the sum. Only a new or expired counter takes `ttl_ms`."""
    return _asked("increment", key, by, ttl_ms)


def delete(key: str) -> None:
    """Removes a value. Removing what is not there is no error."""
    _asked("delete", key)


def keys(prefix: str, after: Optional[str] = None, limit: int = 1000) -> list[str]:
    """One page of the keys that start with `prefix`, in order."""
    return _asked("keys", prefix, after, limit)
