"""Metrics. The host prefixes the name with that of the plugin."""

from .host import host


def _pairs(labels: dict[str, object]) -> list[tuple[str, str]]:
    return [(name, str(value)) for name, value in labels.items()]


def add(name: str, by: int = 1, /, **labels: object) -> None:
    """Adds to a counter."""
    host.metrics.add(name, by, _pairs(labels))


def set(name: str, value: float, /, **labels: object) -> None:
    """Sets a gauge."""
    host.metrics.set(name, value, _pairs(labels))


def observe(name: str, value: float, /, **labels: object) -> None:
    """Records one observation of a distribution."""
    host.metrics.observe(name, value, _pairs(labels))
