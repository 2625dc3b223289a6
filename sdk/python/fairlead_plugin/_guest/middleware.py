"""From a class to the exports of the world `middleware`."""

import json
from typing import Any, Callable, Optional

from wit_world import exports
from wit_world.exports import hooks, manifest
from wit_world.imports import clock, kv, metrics, secrets

from ..config import parse
from ..kinds import exported
from ..message import Message
from ..verdict import Next, Patch, Reject, Rejection, Replace, Respond, Verdict, settled
from . import _manifest

__all__ = ["Hooks", "Manifest"]

_manifest.install(clock=clock, kv=kv, metrics=metrics, secrets=secrets)
_plugin: Any = None
_NEXT = hooks.Verdict_Next()


def _lowered(verdict: Verdict) -> hooks.Verdict:
    match verdict:
        case Next():
            return _NEXT
        case Reject(rejection):
            data = None if rejection.data is None else json.dumps(rejection.data, ensure_ascii=False)
            lowered = hooks.Rejection(rejection.code, rejection.message, data, rejection.retry_after_ms)
            return hooks.Verdict_Reject(lowered)
        case Respond(result):
            return hooks.Verdict_Respond(result)
        case Replace(payload):
            return hooks.Verdict_Edit(hooks.Edit_Replace(payload))
        case Patch(operations=[]):
            return _NEXT
        case Patch(operations=operations):
            changes = [hooks.PatchOperation(pointer, value) for pointer, value in operations]
            return hooks.Verdict_Edit(hooks.Edit_Patch(changes))
    raise TypeError(f"{verdict!r} is no verdict of this SDK")


def _asked(name: str, hook: Callable[..., Any], head: Any, context: Any, body: Any, *more: Any) -> hooks.Verdict:
    try:
        return _lowered(settled(hook(Message(head, context, body), *more), name))
    except Exception as error:
        raise _manifest.failed(error) from None


class Manifest(exports.Manifest):
    def describe(self) -> manifest.PluginManifest:
        return _manifest.describe(exported(), manifest.Kind.MIDDLEWARE)

    def validate_config(self, config: str) -> list[str]:
        return _manifest.validate(exported(), config)


class Hooks(exports.Hooks):
    def configure(self, config: str) -> list[manifest.Interest]:
        global _plugin
        try:
            _plugin = exported()(parse(exported().config_type, config))
            return [_manifest.interest(wanted) for wanted in _plugin.interests()]
        except Exception as error:
            raise _manifest.failed(error) from None

    def on_request(self, head: Any, context: Any, body: Any) -> hooks.Verdict:
        return _asked("on_request", _plugin.on_request, head, context, body)

    def on_response(self, head: Any, context: Any, body: Any) -> hooks.Verdict:
        return _asked("on_response", _plugin.on_response, head, context, body)

    def on_error(self, head: Any, context: Any, error: hooks.Rejection) -> hooks.Verdict:
        return _asked("on_error", _plugin.on_error, head, context, None, _lifted(error))

    def on_event(self, head: Any, context: Any, body: Any) -> hooks.Verdict:
        return _asked("on_event", _plugin.on_event, head, context, body)


def _lifted(error: hooks.Rejection) -> Rejection:
    data: Optional[str] = error.data
    return Rejection(error.code, error.message, None if data is None else json.loads(data), error.retry_after_ms)
