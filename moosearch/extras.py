"""Libraries that only some users need, and what installs them."""

import importlib.util
import sys

from moosearch.errors import MissingExtraError

EXTRAS = {
    "dashboard": "optuna_dashboard",
    "energy": "pynvml",
    "mlflow": "mlflow",
    "mysql": "pymysql",
    "postgresql": "psycopg",
    "tensorboard": "tensorboard",
    "verify": "highspy",
}
"""The module that each extra of ``pyproject.toml`` is there for."""


def require(what: str, extra: str) -> None:
    """Check that an extra is installed, before work starts that needs it.

    Args:
        what: What needs it, as it is called in the message.
        extra: Its name.

    Raises:
        MissingExtraError: It is not; the message says what installs it.
    """
    module = EXTRAS[extra]
    there = sys.modules[module] if module in sys.modules else importlib.util.find_spec(module)
    if there is None:
        raise MissingExtraError(f"{what} needs {module}: pip install 'moosearch[{extra}]'.")
