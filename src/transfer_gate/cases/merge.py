"""Deep merge of plain objects: mappings merge, everything else replaces, null removes."""

from collections.abc import Mapping
from typing import Any


def merge(under: Any, over: Any) -> Any:
    """`over` on top of `under`; a null in a mapping removes the field, in nested mappings too. Neither is changed."""
    if not isinstance(over, Mapping):
        return without_nulls(over)
    merged = dict(under) if isinstance(under, Mapping) else {}
    for key, value in over.items():
        if value is None:
            merged.pop(key, None)
        else:
            merged[key] = merge(merged.get(key), value)
    return merged


def without_nulls(value: Any) -> Any:
    """The value without the members of mappings that are null, at any depth: null means that there is nothing."""
    if isinstance(value, Mapping):
        return {key: without_nulls(member) for key, member in value.items() if member is not None}
    if isinstance(value, list):
        return [without_nulls(member) for member in value]
    return value
