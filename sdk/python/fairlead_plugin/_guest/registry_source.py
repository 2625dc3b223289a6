"""From a class to the exports of the world `registry-source`."""

from dataclasses import asdict
from typing import Any, Optional

from wit_world import exports
from wit_world.exports import manifest
from wit_world.exports import source as wit
from wit_world.imports import clock, kv, metrics, secrets

from .. import registry
from ..config import parse
from ..kinds import exported
from . import _manifest

__all__ = ["Manifest", "Source"]

_manifest.install(clock=clock, kv=kv, metrics=metrics, secrets=secrets)
_plugin: Any = None


class Manifest(exports.Manifest):
    def describe(self) -> manifest.PluginManifest:
        return _manifest.describe(exported(), manifest.Kind.REGISTRY_SOURCE)

    def validate_config(self, config: str) -> list[str]:
        return _manifest.validate(exported(), config)


class Source(exports.Source):
    def configure(self, config: str) -> wit.Features:
        global _plugin
        try:
            _plugin = exported()(parse(exported().config_type, config))
            features = wit.Features(0)
            for feature in _plugin.features():
                features |= wit.Features[feature.upper()]
            return features
        except Exception as error:
            raise _manifest.failed(error) from None

    def enumerate(self, request: wit.Request) -> wit.Answer:
        try:
            asked = registry.Request(request.limit, request.cursor, request.since, request.etag)
            return _lowered(_plugin.enumerate(asked))
        except Exception as error:
            raise _manifest.failed(error) from None

    def transform(self, entry: wit.Entry) -> Optional[wit.Entry]:
        try:
            fields = {**vars(entry), "status": entry.status.name.lower(), "attributes": dict(entry.attributes)}
            kept = _plugin.transform(registry.Entry(**fields))
            return None if kept is None else _entry(kept)
        except Exception as error:
            raise _manifest.failed(error) from None


def _lowered(answer: registry.Answer) -> wit.Answer:
    match answer:
        case registry.Unmodified():
            return wit.Answer_Unmodified()
        case registry.Resync(reason):
            return wit.Answer_Resync(reason)
        case registry.Page():
            entries = [_entry(entry) for entry in answer.entries]
            return wit.Answer_Page(wit.Page(entries, answer.removed, answer.next, answer.checkpoint, answer.etag))
    raise TypeError(f"enumerate returned no answer but {answer!r}")


def _entry(entry: registry.Entry) -> wit.Entry:
    fields = {**asdict(entry), "status": wit.Status[entry.status.upper()], "attributes": list(entry.attributes.items())}
    return wit.Entry(**fields)
