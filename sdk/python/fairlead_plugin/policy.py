"""Types of update policies. What is not known is not good."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Optional, Union

Facts = Any
"""The facts of the contract (`wit/deps/fairlead-update-policy/policy.wit`), with its names in snake case: `facts.now`,
`facts.running.digests`, `facts.candidates[0].first_seen`. Enumerations are members with upper-case names; `is_bad` and
`is_good` read evidence."""


def is_bad(signal: Any) -> bool:
    """Evidence speaks against it."""
    return _word(signal) == "bad"


def is_good(signal: Any) -> bool:
    """Evidence speaks for it. Neither is true of what is unknown."""
    return _word(signal) == "good"


def _word(value: Any) -> str:
    return str(getattr(value, "name", value)).lower()


@dataclass(frozen=True)
class UpToDate:
    """Nothing newer is there."""


@dataclass(frozen=True)
class Hold:
    """Wait. Reasons: `too-young`, `outside-window`, `awaiting-approval`, `frozen`, `out-of-range`, `quarantined`, `drift`,
    `unverified`, `capacity`, `cooling-down`, `ambiguous`, `other`."""

    reason: str
    detail: str
    pin: Optional[str] = None
    until: Optional[int] = None


@dataclass(frozen=True)
class Notify:
    """Tell somebody, change nothing."""

    pin: str
    detail: str
    urgent: bool = False


@dataclass(frozen=True)
class Update:
    """Take it. Strategies: `surge-then-switch`, `rolling`, `recreate`; on failure: `roll-back`, `leave`, `scale-to-zero`."""

    pin: str
    strategy: str = "surge-then-switch"
    on_failure: str = "roll-back"
    min_ready_ms: int = 10_000
    deadline_ms: int = 300_000
    drain_ms: int = 30_000


@dataclass(frozen=True)
class Rollback:
    """Go back to the last good one."""

    pin: str
    detail: str


Decision = Union[UpToDate, Hold, Notify, Update, Rollback]
"""What to do."""
