"""`fairlead:types/manifest`, the same for every kind."""

import sys
from typing import Any

from componentize_py_types import Err
from wit_world.exports import manifest as wit
from wit_world.imports import log

from .. import kinds
from ..config import parse, schema
from ..failure import Failure, told
from ..host import host
from ..verdict import text

try:
    from wit_world.imports import types as wit_types
except ImportError:  # A world with `wasi:http` has two interfaces of that name.
    from wit_world.imports import fairlead_types_types as wit_types

_FAILURES = {
    "config": wit_types.Failure_Config,
    "upstream": wit_types.Failure_Upstream,
    "unavailable": wit_types.Failure_Unavailable,
    "internal": wit_types.Failure_Internal,
    "other": wit_types.Failure_Other,
}


class _Printed:
    """What is printed becomes log records, line by line."""

    def __init__(self, level: str) -> None:
        self._level, self._line = level, ""

    def write(self, printed: str) -> int:
        *lines, self._line = (self._line + printed).split("\n")
        for line in filter(str.strip, lines):
            host.log.write(host.levels[self._level], line, [])
        return len(printed)

    def flush(self) -> None:
        pass


def install(**interfaces: Any) -> None:
    """Puts the host in."""
    host.log = log
    host.levels = {level.name.lower(): level for level in wit_types.Level}
    host.error = Err
    for name, interface in interfaces.items():
        setattr(host, name, interface)
    sys.stdout, sys.stderr = _Printed("info"), _Printed("warn")


def failed(error: Exception) -> Err:
    """An exception, as the contract has it: a fault, never a decision."""
    failure = told(error)
    return Err(_FAILURES[failure.kind](str(failure)))


def interest(wanted: kinds.Interest) -> wit.Interest:
    phases = wit.Phases(0)
    for phase in wanted.phases:
        phases |= wit.Phases[phase.upper()]
    return wit.Interest(wanted.method, wanted.target, phases)


def describe(plugin: Any, kind: wit.Kind) -> wit.PluginManifest:
    manifest = plugin.manifest
    return wit.PluginManifest(
        manifest.name,
        manifest.version,
        kind,
        manifest.description,
        text(schema(plugin.config_type)),
        [interest(wanted) for wanted in manifest.interests],
        [wit.Capability(asked.name, asked.scope, asked.reason) for asked in manifest.capabilities],
        list(manifest.attributes.items()),
    )


def validate(plugin: Any, config: str) -> list[str]:
    try:
        return plugin.validate(parse(plugin.config_type, config))
    except (Failure, ValueError) as error:
        raise Err(str(error)) from None
