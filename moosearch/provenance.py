"""Where and with what a result was made: the machine's user, and the versions of what results depend on."""

import functools
import getpass
import importlib.metadata
import platform
import sys
from importlib.metadata import version


def user() -> str:
    """Return who runs this; a container's user may have no name."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return ""


@functools.cache
def versions() -> dict[str, str]:
    """Return the versions of what results depend on."""
    names = (
        "moosearch",
        "torch",
        "torchvision",
        "pymoo",
        "optuna",
        "numpy",
        "scikit-learn",
        "foolbox",
        "pyautoattack",
    )
    found = {"python": platform.python_version()}
    for name in names:
        try:
            found[name] = version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    if "ray" in sys.modules:
        found["ray"] = version("ray")
    return found
