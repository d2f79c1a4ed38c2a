"""A wish to stop a campaign: what runs is finished and stored, and nothing new is begun."""


class Stop:
    """Carries the wish from whoever has it, such as a signal handler, to the campaign.

    Attributes:
        requested: Whether somebody wants the campaign to stop.
    """

    def __init__(self) -> None:
        """Start without the wish."""
        self.requested = False

    def request(self) -> None:
        """Wish it."""
        self.requested = True
