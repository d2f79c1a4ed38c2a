"""moosearch: evolutionary multi-objective AutoML for adversarially robust neural networks.

Three verbs: `search` launches a campaign, `Campaign.front` is what one inspects, `Campaign.export` takes a
model out of it. `evaluate` attacks what came of it; `confirm` trains the front again and attacks that;
`load_export` classifies images with an exported model.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from moosearch.analysis.accuracy import evaluate
    from moosearch.api.campaign import Campaign
    from moosearch.api.verbs import confirm, resume, search, train
    from moosearch.export import load_export
    from moosearch.pareto import Front

__version__ = "0.1.0"
__all__ = ["Campaign", "Front", "confirm", "evaluate", "load_export", "resume", "search", "train"]

_HOMES = {
    "Campaign": "moosearch.api.campaign",
    "Front": "moosearch.pareto",
    "confirm": "moosearch.api.verbs",
    "evaluate": "moosearch.analysis.accuracy",
    "load_export": "moosearch.export",
    "resume": "moosearch.api.verbs",
    "search": "moosearch.api.verbs",
    "train": "moosearch.api.verbs",
}


def __getattr__(name: str) -> Any:
    """Import a public name when it is first used: ``import moosearch`` alone costs nothing."""
    if name in _HOMES:
        value = getattr(import_module(_HOMES[name]), name)
        globals()[name] = value
        return value
    raise AttributeError(f"module 'moosearch' has no attribute '{name}'")
