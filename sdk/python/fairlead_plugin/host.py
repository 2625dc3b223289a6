"""Who serves `fairlead:host`: the contract in a component, fakes in a test. Put in once, before anything is asked."""

from __future__ import annotations

from typing import Any

from .failure import Failure


class Host:
    """The interfaces, and the exception in which they answer an error."""

    log: Any = None
    clock: Any = None
    kv: Any = None
    secrets: Any = None
    metrics: Any = None
    levels: dict[str, Any] = {}
    error: type[BaseException] = Failure


host = Host()


def failure(error: BaseException) -> Failure:
    """What the host answered, as a failure that says what to do."""
    value: Any = getattr(error, "value", error)
    kind = type(value).__name__.rsplit("_", 1)[-1]
    detail = getattr(value, "value", "")
    return {
        "Denied": Failure.config("the attachment was not granted this (`kv` or the secret)"),
        "NotFound": Failure.config("no secret has this name"),
        "Quota": Failure.unavailable(f"the state of the attachment is full: {detail}"),
        "TooLarge": Failure.internal("a key or a value was too large"),
        "WrongType": Failure.internal("a stored value is not what was expected"),
        "Unavailable": Failure.unavailable(str(detail)),
    }.get(kind, Failure("other", str(detail)))
