"""What a tracker is: it opens an observer that writes to somebody else's system."""

from collections.abc import Iterator
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Protocol

from moosearch.registry import Registry

if TYPE_CHECKING:
    from moosearch.campaign.folder import CampaignFolder
    from moosearch.campaign.observer import Observer
    from moosearch.evaluation import Evaluation


class Tracker(Protocol):
    """A plug-in that follows a campaign."""

    def check(self) -> None:
        """Check, before anything starts, that its library is installed.

        Raises:
            MissingExtraError: It is not; the message names the extra to install.
        """
        ...

    def open(self, folder: "CampaignFolder") -> "AbstractContextManager[Observer]":
        """Start to follow the campaign in a folder, and end it on exit."""
        ...


TRACKERS: Registry[Tracker] = Registry("tracker")


def past(folder: "CampaignFolder") -> "Iterator[Evaluation]":
    """Yield what was evaluated before: a tracker that joins late, or missed the end of one, catches up."""
    from moosearch.campaign.log import read_events
    from moosearch.evaluation import Evaluation

    for event in read_events(folder.events):
        if event["event"] == "evaluated":
            try:
                yield Evaluation.of(event)
            except (KeyError, TypeError):  # another hand wrote it
                continue
