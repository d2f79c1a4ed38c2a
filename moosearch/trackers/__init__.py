"""Other systems that follow a campaign. Importing it imports no tracking library."""

from moosearch.trackers import mlflow, tensorboard  # noqa: F401 (registers)
from moosearch.trackers.tracker import TRACKERS, Run, Runs, Tracker

__all__ = ["TRACKERS", "Run", "Runs", "Tracker"]
