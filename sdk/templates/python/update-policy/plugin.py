"""{{name}}: takes an update when it is old enough and nothing speaks against it."""

from dataclasses import dataclass

from fairlead_plugin import Manifest, UpdatePolicy, described, export
from fairlead_plugin.policy import Decision, Facts, Hold, UpToDate, Update, is_bad

HOUR_MS = 60 * 60 * 1000


@dataclass
class Config:
    """What an operator configures."""

    age_hours: int = described("Hours since the host first saw a candidate before it is taken", minimum=0, maximum=8760)


@export
class {{type}}(UpdatePolicy[Config]):
    """The policy: a pure function. It has no clock and no state, the time is in the facts; so every decision can be
    replayed."""

    manifest = Manifest("{{name}}", "0.1.0", "Takes an update when it is old enough")
    config_type = Config

    @classmethod
    def validate(cls, config: Config) -> list[str]:
        return ["`age_hours` is 0: every update is taken at once"] if config.age_hours == 0 else []

    @classmethod
    def decide(cls, facts: Facts, config: Config) -> Decision:
        new = [candidate for candidate in facts.candidates if candidate.pin not in facts.running.digests]
        if not new:
            return UpToDate()
        candidate = new[0]
        # What is not known is not good, but only what is known to be bad is held here.
        if is_bad(candidate.signature):
            return Hold("unverified", "its signature is bad", candidate.pin)
        ripe = candidate.first_seen + config.age_hours * HOUR_MS
        if facts.now < ripe:
            return Hold("too-young", "it is not old enough", candidate.pin, ripe)
        return Update(candidate.pin)
