"""The base of what looks at operators while they run."""

from torch.utils._python_dispatch import TorchDispatchMode


class Watcher(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """A dispatch mode that does not import torch's compiler, which takes a second.

    torch imports it to keep it off a mode's code. Nothing is compiled where these modes are used.
    """

    def __init__(self) -> None:
        """Begin to look when entered."""
        super().__init__()  # type: ignore[no-untyped-call]

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        return False
