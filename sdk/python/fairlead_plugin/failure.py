"""Failures: the plugin could not do its work. Never a decision; to refuse, return `Verdict.deny`."""

KINDS = ("config", "upstream", "unavailable", "internal", "other")


class Failure(Exception):
    """Raise it where no decision can be made."""

    def __init__(self, kind: str, message: str) -> None:
        super().__init__(message)
        if kind not in KINDS:
            raise ValueError(f"a failure is one of {', '.join(KINDS)}, not {kind}")
        self.kind = kind

    @classmethod
    def config(cls, message: str) -> "Failure":
        """The configuration cannot be used; the text names the field."""
        return cls("config", message)

    @classmethod
    def upstream(cls, message: str) -> "Failure":
        """Something the plugin depends on answered badly."""
        return cls("upstream", message)

    @classmethod
    def unavailable(cls, message: str) -> "Failure":
        """Something the plugin depends on cannot be reached now."""
        return cls("unavailable", message)

    @classmethod
    def internal(cls, message: str) -> "Failure":
        """A bug or an exhausted limit inside the plugin."""
        return cls("internal", message)


def told(error: BaseException) -> Failure:
    """What goes over the border for an exception. One that nobody meant is a fault of the plugin, with its place."""
    if isinstance(error, Failure):
        return error
    place, frame = "", error.__traceback__
    while frame is not None:
        place = f" ({frame.tb_frame.f_code.co_filename.rsplit('/', 1)[-1]}:{frame.tb_lineno})"
        frame = frame.tb_next
    return Failure("internal", f"{type(error).__name__}: {error}{place}")
