"""Where two plans are those of different campaigns."""

from collections.abc import Mapping
from typing import Any

from moosearch.campaign.passwords import comparable


def difference(old: Mapping[str, Any], new: Mapping[str, Any]) -> str:
    """Name the first place where two plans, by identity, are of different campaigns; passwords are none."""
    return first_difference(comparable(old), comparable(new))


def first_difference(old: Any, new: Any, path: str = "") -> str:
    """Name the first place where two plain trees differ, or return an empty string.

    Example:
        >>> first_difference({"seed": 1}, {"seed": 2})
        'seed is 1 there and 2 here'
    """
    if isinstance(old, Mapping) and isinstance(new, Mapping):
        for key in [*old, *(k for k in new if k not in old)]:
            found = first_difference(old.get(key), new.get(key), f"{path}.{key}" if path else str(key))
            if found:
                return found
        return ""
    if isinstance(old, list) and isinstance(new, list) and len(old) == len(new):
        for index, pair in enumerate(zip(old, new, strict=True)):
            found = first_difference(*pair, f"{path}.{index}")
            if found:
                return found
        return ""
    return "" if old == new else f"{path} is {_brief(old)} there and {_brief(new)} here"


def _brief(value: Any) -> str:
    if value in ("", None):
        return "not given"
    text = f"{len(value)} long" if isinstance(value, list) and len(str(value)) > 100 else str(value)
    return text if len(text) <= 100 else f"{text[:97]}..."
