"""The test kit: a middleware as plain Python, with a host of fakes. What runs in the real host is a table of cases."""

from __future__ import annotations

import copy
import json
import re
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any, Optional

from .config import parse
from .host import host
from .message import Message
from .verdict import Patch, Reject, Rejection, Replace, Respond, settled, text


class FakeError(Exception):
    """What a fake answers instead of an error of the contract; `value` is named like its arm."""

    def __init__(self, arm: str) -> None:
        super().__init__(arm)
        self.value = type(f"Error_{arm}", (), {})()


@dataclass
class Outcome:
    """What came of one message: `next`, `edit`, `respond`, `reject` or `not-called`."""

    verdict: str
    payload: Any = None
    code: Optional[int] = None
    message: Optional[str] = None
    data: Any = None
    retry_after_ms: Optional[int] = None


@dataclass
class _Value:
    value: Any
    version: int
    until: Optional[int]


class _Kv:
    def __init__(self, harness: Harness) -> None:
        self._harness, self._values = harness, {}

    def _live(self, key: str) -> Optional[_Value]:
        entry = self._values.get(key)
        return entry if entry and (entry.until is None or entry.until > self._harness.now) else None

    def get(self, key: str) -> Any:
        entry = self._live(key)
        if entry is None:
            return None
        value = str(entry.value).encode() if isinstance(entry.value, int) else entry.value
        return SimpleNamespace(value=value, version=entry.version)

    def set(self, key: str, value: Any, ttl_ms: Optional[int]) -> int:
        before = self._values.get(key)
        version = before.version + 1 if before else 1
        self._values[key] = _Value(value, version, None if ttl_ms is None else self._harness.now + ttl_ms)
        return version

    def compare_and_set(self, key: str, expected: Optional[int], value: Any, ttl_ms: Optional[int]) -> Optional[int]:
        entry = self._live(key)
        return self.set(key, value, ttl_ms) if (entry.version if entry else None) == expected else None

    def increment(self, key: str, by: int, ttl_ms: Optional[int]) -> int:
        entry = self._live(key)
        if entry is None:
            self.set(key, by, ttl_ms)
            return by
        if not isinstance(entry.value, int):
            raise FakeError("WrongType")
        entry.value += by
        return entry.value

    def delete(self, key: str) -> None:
        self._values.pop(key, None)

    def keys(self, prefix: str, after: Optional[str], limit: int) -> list[str]:
        live = sorted(key for key in self._values if key.startswith(prefix) and key > (after or "") and self._live(key))
        return live[:limit]


class _Secrets:
    def open(self, name: str) -> Any:
        raise FakeError("NotFound")


class _Context:
    def __init__(self, harness: Harness) -> None:
        self._harness = harness

    def request_id(self) -> str:
        return "1"

    def server(self) -> str:
        return "server"

    def tenant(self) -> str:
        return "default"

    def session(self) -> str:
        return "session-1"

    def identity(self) -> Optional[str]:
        return self._harness.identity

    def protocol_version(self) -> str:
        return "2025-11-25"

    def remaining_ms(self) -> int:
        return 1000

    def claim(self, name: str) -> Optional[str]:
        claims = self._harness.claims
        return text(claims[name]) if name in claims else None

    def header(self, name: str) -> Optional[str]:
        return self._harness.headers.get(name)

    def attribute(self, name: str) -> Optional[str]:
        return self._harness.attributes.get(name)

    def set_attribute(self, name: str, value: str) -> None:
        self._harness.attributes[name] = value

    def set_identity(self, subject: str, claims: list[tuple[str, str]]) -> None:
        self._harness.identity = subject
        self._harness.claims = {name: json.loads(value) for name, value in claims}


class _Body:
    def __init__(self, payload: Any) -> None:
        self._payload, self._text = payload, "" if payload is None else text(payload)

    def size(self) -> int:
        return len(self._text.encode())

    def read(self) -> str:
        return self._text

    def pointer(self, pointer: str) -> Optional[str]:
        try:
            return text(_at(self._payload, _tokens(pointer)))
        except (KeyError, IndexError, TypeError, ValueError):
            return None

    def text(self, pointer: str) -> Optional[str]:
        found = self.pointer(pointer)
        value = None if found is None else json.loads(found)
        return value if isinstance(value, str) else None


@dataclass
class Harness:
    """A middleware in a host of fakes. One at a time: the fakes are shared by the whole process."""

    plugin: Any
    config: Any = field(default_factory=dict)
    now: int = 0
    """The time, in milliseconds; set it to let time pass."""
    identity: Optional[str] = None
    claims: dict[str, Any] = field(default_factory=dict)
    headers: dict[str, str] = field(default_factory=dict)
    attributes: dict[str, str] = field(default_factory=dict)
    logs: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        levels = ("trace", "debug", "info", "warn", "error")
        host.levels, host.error = {level: level for level in levels}, FakeError
        written = lambda level, message, _: self.logs.append(f"{level}: {message}")
        host.log = SimpleNamespace(enabled=lambda _: True, write=written)
        host.clock = SimpleNamespace(now_ms=lambda: self.now, monotonic_ns=lambda: self.now * 1_000_000)
        ignored = lambda *_: None
        host.metrics = SimpleNamespace(add=ignored, set=ignored, observe=ignored)
        host.kv, host.secrets = _Kv(self), _Secrets()
        config_type, written_config = self.plugin.config_type, text(self.config)
        self.plugin.validate(parse(config_type, written_config))
        self._instance = self.plugin(parse(config_type, written_config))

    def request(self, method: str, params: Any = None, target: Optional[str] = None) -> Outcome:
        """A request on its way to the server."""
        return self._ask("request", method, params, target)

    def response(self, method: str, result: Any, target: Optional[str] = None) -> Outcome:
        """A result on its way back."""
        return self._ask("response", method, result, target)

    def event(self, method: str, params: Any = None, target: Optional[str] = None) -> Outcome:
        """A message that the server sent on a stream."""
        return self._ask("event", method, params, target)

    def error(self, method: str, error: Rejection, target: Optional[str] = None) -> Outcome:
        """A JSON-RPC error on its way back."""
        return self._ask("error", method, error, target)

    def _ask(self, phase: str, method: str, payload: Any, target: Optional[str]) -> Outcome:
        if target is None and isinstance(payload, dict):
            target = payload.get("name", payload.get("uri"))
        wanted = (interest for interest in self._instance.interests() if phase in interest.phases)
        if not any(_covers(interest, method, target) for interest in wanted):
            return Outcome("not-called")
        body = None if phase == "error" else _Body(payload)
        head = SimpleNamespace(method=method, target=target, size=body.size() if body else 0)
        hook = getattr(self._instance, f"on_{phase}")
        more = [payload] if phase == "error" else []
        return _told(settled(hook(Message(head, _Context(self), body), *more), f"on_{phase}"), payload)


def _covers(interest: Any, method: str, target: Optional[str]) -> bool:
    def glob(pattern: str, name: str) -> bool:
        return re.fullmatch(".*".join(map(re.escape, pattern.split("*"))), name, re.DOTALL) is not None

    return glob(interest.method, method) and (
        interest.target is None or (target is not None and glob(interest.target, target))
    )


def _told(verdict: Any, payload: Any) -> Outcome:
    if isinstance(verdict, Reject):
        rejection = verdict.rejection
        return Outcome("reject", None, rejection.code, rejection.message, rejection.data, rejection.retry_after_ms)
    if isinstance(verdict, Respond):
        return Outcome("respond", json.loads(verdict.json))
    if isinstance(verdict, Replace):
        return Outcome("edit", json.loads(verdict.json))
    if isinstance(verdict, Patch) and verdict.operations:
        return Outcome("edit", _patched(payload, verdict.operations))
    return Outcome("next")


def _tokens(pointer: str) -> list[str]:
    return [token.replace("~1", "/").replace("~0", "~") for token in pointer.split("/")[1:]]


def _at(value: Any, tokens: list[str]) -> Any:
    for token in tokens:
        value = value[int(token)] if isinstance(value, list) else value[token]
    return value


def _patched(payload: Any, operations: list[tuple[str, Optional[str]]]) -> Any:
    root = {"root": copy.deepcopy(payload)}
    for pointer, value in operations:
        *tokens, last = ["root", *_tokens(pointer)]
        parent = _at(root, tokens)
        place: Any = last if isinstance(parent, dict) else len(parent) if last == "-" else int(last)
        if value is None:
            del parent[place]
        elif place == len(parent) and isinstance(parent, list):
            parent.append(json.loads(value))
        else:
            parent[place] = json.loads(value)
    return root["root"]
