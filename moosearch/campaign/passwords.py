"""How nothing secret is written down: passwords in URLs, and values of ``env_vars``."""

import re
from collections.abc import Mapping
from typing import Any

MASK = "***"

# A password reaches to the last @ before the host, as somebody may have written one into it.
_USER = re.compile(r"(?<=://)([^:/@\s]*):([^@\s]+(?:@[^@/?\s]*)*)@")
_TOKEN = re.compile(r"(?<=https://)([^:/@\s]+)@|(?<=http://)([^:/@\s]+)@")
QUERY = re.compile(r"([?&][^=&\s]*(?:password|passwd|pwd|secret|token|api_?key)=)[^&\s]+", re.IGNORECASE)
"""A parameter of a URL whose value is secret."""


def masked_text(text: str) -> str:
    """Return a text with ``***`` for every password in its URLs.

    Example:
        >>> masked_text("postgresql://me:secret@host/db?sslpassword=x")
        'postgresql://me:***@host/db?sslpassword=***'
    """
    return QUERY.sub(rf"\1{MASK}", _TOKEN.sub(f"{MASK}@", _USER.sub(rf"\1:{MASK}@", text)))


def masked(tree: Mapping[str, Any]) -> dict[str, Any]:
    """Return a search space file without what is nobody's business: passwords, and values of ``env_vars``."""
    found: dict[str, Any] = _masked(tree)
    return found


def _masked(node: Any) -> Any:
    if isinstance(node, str):
        return masked_text(node)
    if isinstance(node, Mapping):
        hidden = node.get("env_vars")
        found = {key: _masked(value) for key, value in node.items()}
        return found | {"env_vars": dict.fromkeys(hidden, MASK)} if isinstance(hidden, Mapping) else found
    return [_masked(element) for element in node] if isinstance(node, list | tuple) else node


def comparable(tree: Mapping[str, Any]) -> dict[str, Any]:
    """Return a search space file so that it equals another that differs in passwords alone, or has none."""
    found = masked(tree)
    campaign = found.get("campaign")
    if isinstance(campaign, Mapping) and isinstance(campaign.get("storage"), str):
        found["campaign"] = {**campaign, "storage": campaign["storage"].replace(f":{MASK}@", "@")}
    return found
