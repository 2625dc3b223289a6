"""Walking JSON values."""

from typing import Any, Iterator


def visit_strings(value: Any, pointer: str = "") -> Iterator[tuple[str, str]]:
    """Every string in a value, keys excepted, with the RFC 6901 pointer of its place."""
    if isinstance(value, str):
        yield pointer, value
    elif isinstance(value, list):
        for index, item in enumerate(value):
            yield from visit_strings(item, f"{pointer}/{index}")
    elif isinstance(value, dict):
        for key, item in value.items():
            yield from visit_strings(item, f"{pointer}/{key.replace('~', '~0').replace('/', '~1')}")
