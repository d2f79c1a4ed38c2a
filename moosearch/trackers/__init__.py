"""Who else is told what happens in a campaign. Importing it imports no tracking library."""

from moosearch.trackers import mlflow, tensorboard  # noqa: F401 (registers)
from moosearch.trackers.tracker import TRACKERS, Tracker

__all__ = ["TRACKERS", "Tracker"]
