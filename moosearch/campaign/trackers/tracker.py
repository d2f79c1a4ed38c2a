"""What a tracker is: it opens an observer that writes to somebody else's system."""

from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Protocol

from moosearch.registry import Registry

if TYPE_CHECKING:
    from moosearch.campaign.folder import CampaignFolder
    from moosearch.campaign.observer import Observer


class Tracker(Protocol):
    """A plug-in that follows a campaign."""

    def check(self) -> None:
        """Check, before anything starts, that its library is installed.

        Raises:
            CampaignError: It is not; the message names the extra to install.
        """
        ...

    def open(self, folder: "CampaignFolder") -> "AbstractContextManager[Observer]":
        """Start to follow the campaign in a folder, and end it on exit."""
        ...


TRACKERS: Registry[Tracker] = Registry("tracker")
