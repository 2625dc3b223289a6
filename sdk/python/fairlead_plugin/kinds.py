"""The three kinds of plugins, as classes to extend."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, ClassVar, Generic, Optional, TypeVar

from . import policy, registry
from .message import Message
from .verdict import Rejection, Verdict

C = TypeVar("C")

PHASES = ("request", "response", "error", "event")


class Interest:
    """What a middleware wants to be called for. The host never calls it for anything else."""

    def __init__(self, method: str, *phases: str, target: Optional[str] = None) -> None:
        """A method or a pattern with `*`, the phases (`request`, `response`, `error`, `event`), and a target pattern."""
        strange = [phase for phase in phases if phase not in PHASES]
        if strange or not phases:
            raise ValueError(f"phases of an interest are some of {', '.join(PHASES)}, not {strange}")
        self.method, self.phases, self.target = method, phases, target


@dataclass(frozen=True)
class Capability:
    """Something that the host gives only when the operator granted it: `kv`, `secrets`, `secrets-reveal`, `http`."""

    name: str
    reason: str = ""
    scope: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Manifest:
    """Who the plugin is and what it wants."""

    name: str
    version: str
    description: str
    interests: list[Interest] = field(default_factory=list)
    capabilities: list[Capability] = field(default_factory=list)
    attributes: dict[str, str] = field(default_factory=dict)


class _Plugin(Generic[C]):
    manifest: ClassVar[Manifest]
    """Name, version, interests and capabilities."""
    config_type: ClassVar[Optional[type]] = None
    """A dataclass. Its JSON Schema goes into the manifest; the host checks against it first. None: no settings."""


class _Instance(_Plugin[C]):
    """What is built with its configuration, and asked then."""

    config: C

    def __init__(self, config: C) -> None:
        """Builds an instance. Raise `Failure.config` when the configuration cannot be used."""
        self.config = config

    @classmethod
    def validate(cls, config: C) -> list[str]:
        """Checks what a schema cannot say, and warns. The default builds an instance and has no warnings."""
        cls(config)
        return []


class Middleware(_Instance[C]):
    """Decides what a request, a response or a streamed event may do. A hook that is not written lets the message go on."""

    def interests(self) -> list[Interest]:
        """What this instance wants to be called for: the interests of the manifest or fewer."""
        return self.manifest.interests

    def on_request(self, message: Message) -> Verdict:
        """A request or notification on its way to the server."""
        return Verdict.next()

    def on_response(self, message: Message) -> Verdict:
        """A result on its way back."""
        return Verdict.next()

    def on_error(self, message: Message, error: Rejection) -> Verdict:
        """A JSON-RPC error on its way back. The message has no body."""
        return Verdict.next()

    def on_event(self, message: Message) -> Verdict:
        """A message that the server sent on a stream."""
        return Verdict.next()


class RegistrySource(_Instance[C]):
    """Yields entries of an MCP registry, page by page. One instance for each synchronisation."""

    def features(self) -> list[str]:
        """What this source can do: some of `incremental`, `versions`, `removals`."""
        return []

    def enumerate(self, request: registry.Request) -> registry.Answer:
        """One page. The same request may come again after a failure and must give the same entries."""
        raise NotImplementedError

    def transform(self, entry: registry.Entry) -> Optional[registry.Entry]:
        """Keeps, changes or drops one entry of another source."""
        return entry


class UpdatePolicy(_Plugin[C]):
    """Decides whether, when and how a newer artifact replaces the running one: a pure function of facts."""

    @classmethod
    def validate(cls, config: C) -> list[str]:
        """Checks what a schema cannot say, and warns."""
        return []

    @classmethod
    def decide(cls, facts: policy.Facts, config: C) -> policy.Decision:
        """Decides."""
        raise NotImplementedError


_exported: Optional[type] = None


def export(plugin: type[Any]) -> type[Any]:
    """Makes the component export this class. Once in a plugin."""
    global _exported
    if _exported is not None:
        raise RuntimeError(f"{_exported.__name__} is exported already; a component is one plugin")
    _exported = plugin
    return plugin


def exported() -> type[Any]:
    """The class that was exported."""
    if _exported is None:
        raise RuntimeError("no class is exported: put `@export` before that of the plugin")
    return _exported
