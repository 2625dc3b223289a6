"""Time."""

from .host import host


def now_ms() -> int:
    """Milliseconds since the Unix epoch, UTC."""
    return host.clock.now_ms()


def monotonic_ns() -> int:
    """Nanoseconds since an arbitrary point, never going back."""
    return host.clock.monotonic_ns()
