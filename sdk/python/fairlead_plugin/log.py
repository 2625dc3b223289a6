"""Structured log records. Never put a secret or the arguments of a call into one. What is printed becomes records too."""

from .host import host


def enabled(level: str) -> bool:
    """False when a record of this level (`trace`, `debug`, `info`, `warn`, `error`) would be dropped."""
    return host.log.enabled(host.levels[level])


def write(level: str, message: str, **fields: object) -> None:
    """Writes a record with fields."""
    host.log.write(host.levels[level], message, [(name, str(value)) for name, value in fields.items()])


def debug(message: str, **fields: object) -> None:
    """Writes a record of level debug."""
    write("debug", message, **fields)


def info(message: str, **fields: object) -> None:
    """Writes a record of level info."""
    write("info", message, **fields)


def warn(message: str, **fields: object) -> None:
    """Writes a record of level warn."""
    write("warn", message, **fields)


def error(message: str, **fields: object) -> None:
    """Writes a record of level error."""
    write("error", message, **fields)
