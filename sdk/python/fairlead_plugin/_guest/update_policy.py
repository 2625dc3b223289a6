"""From a class to the exports of the world `update-policy`."""

from typing import Any

from wit_world import exports
from wit_world.exports import manifest
from wit_world.exports import policy as wit

from .. import policy
from ..config import parse
from ..kinds import exported
from . import _manifest

__all__ = ["Manifest", "Policy"]

_manifest.install()


class Manifest(exports.Manifest):
    def describe(self) -> manifest.PluginManifest:
        return _manifest.describe(exported(), manifest.Kind.UPDATE_POLICY)

    def validate_config(self, config: str) -> list[str]:
        return _manifest.validate(exported(), config)


class Policy(exports.Policy):
    def decide(self, facts: Any, config: str) -> wit.Verdict:
        try:
            plugin = exported()
            return wit.Verdict(_lowered(plugin.decide(facts, parse(plugin.config_type, config))), [])
        except Exception as error:
            raise _manifest.failed(error) from None


def _lowered(decision: policy.Decision) -> wit.Decision:
    match decision:
        case policy.UpToDate():
            return wit.Decision_UpToDate()
        case policy.Hold(reason, detail, pin, until):
            return wit.Decision_Hold(wit.Hold(wit.HoldReason[_name(reason)], detail, pin, until))
        case policy.Notify(pin, detail, urgent):
            return wit.Decision_Notify(wit.Notice(pin, detail, urgent))
        case policy.Update(pin, strategy, on_failure, min_ready_ms, deadline_ms, drain_ms):
            strategy, after = wit.Strategy[_name(strategy)], wit.OnFailure[_name(on_failure)]
            return wit.Decision_Update(wit.Plan(pin, strategy, after, min_ready_ms, deadline_ms, drain_ms))
        case policy.Rollback(pin, detail):
            return wit.Decision_Rollback(wit.Revert(pin, detail))
    raise TypeError(f"decide returned no decision but {decision!r}")


def _name(word: str) -> str:
    return word.upper().replace("-", "_")
