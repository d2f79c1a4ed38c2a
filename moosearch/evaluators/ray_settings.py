"""What a user says of a cluster: address, runtime environment and token; and whether somebody answers."""

import os
import socket
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from moosearch.errors import CampaignError, SpecError, nearest

RUNTIME_ENV = (
    "conda",
    "config",
    "container",
    "env_vars",
    "excludes",
    "image_uri",
    "pip",
    "py_executable",
    "py_modules",
    "uv",
    "worker_process_setup_hook",
    "working_dir",
)
"""Keys of Ray's runtime environments."""

MASK = "***"
"""Stands for a value that is not to be read in a file: it is taken from the environment."""

ANSWER_SECONDS = 4.0
"""How long an address has to answer."""

HOW_TO_TOKEN = (
    "If it asks for a token, set RAY_AUTH_MODE=token, and RAY_AUTH_TOKEN, or RAY_AUTH_TOKEN_PATH to a file "
    "that holds it"
)


def check_runtime_env(runtime_env: Mapping[str, Any]) -> None:
    """Check the keys of a runtime environment, and that ``env_vars`` are texts.

    Raises:
        SpecError: They are not; the message names the nearest key.
    """
    for key in runtime_env:
        if key not in RUNTIME_ENV:
            raise SpecError(f"runtime_env: Ray knows no '{key}'. {nearest(str(key), RUNTIME_ENV)}")
    variables = runtime_env.get("env_vars", {})
    if not isinstance(variables, Mapping):
        raise SpecError("runtime_env.env_vars: expected a mapping of names to texts.")
    for name, value in variables.items():
        if not isinstance(name, str) or not isinstance(value, str):
            raise SpecError(f"runtime_env.env_vars.{name}: expected a text; put it in quotes.")


def filled(runtime_env: Mapping[str, Any]) -> dict[str, Any]:
    """Return a runtime environment with this process's variables where ``env_vars`` has `MASK`.

    Raises:
        CampaignError: A variable is not set.
    """
    variables = dict(runtime_env.get("env_vars", {}))
    for name in (name for name, value in variables.items() if value == MASK):
        if name not in os.environ:
            raise CampaignError(
                f"campaign.evaluator.runtime_env.env_vars.{name}: its value is not written in files; set the "
                f"environment variable {name} to it, here, and try again."
            )
        variables[name] = os.environ[name]
    return {**runtime_env, "env_vars": variables} if variables else dict(runtime_env)


def parse(address: str) -> tuple[str, int] | None:
    """Return host and port of an address; None for ``auto``.

    Raises:
        SpecError: It is neither.
    """
    if address == "auto":
        return None
    host, _, port = address.rpartition(":")
    host = host.removeprefix("[").removesuffix("]")
    if "://" in address:
        raise SpecError(
            f"address: got {address!r}. Ray's client cannot stream what candidates report: run moosearch on "
            "a machine of the cluster, with address auto, or host:port of its head."
        )
    if not host or not port.isdecimal() or not 0 < int(port) < 2**16:
        raise SpecError(f"address: got {address!r}, expected auto or host:port, such as 10.0.0.1:6379.")
    return host, int(port)


def silence(host: str, port: int, seconds: float = ANSWER_SECONDS) -> str:
    """Say why nobody takes a connection there; empty if somebody does."""
    try:
        socket.create_connection((host, port), timeout=seconds).close()
    except OSError as error:
        return str(error)
    return ""


def check_token() -> None:
    """Check that the file that is said to hold the token does: Ray would abort.

    Raises:
        CampaignError: It cannot be read, or is empty.
    """
    path = os.environ.get("RAY_AUTH_TOKEN_PATH", "")
    if not path or os.environ.get("RAY_AUTH_TOKEN"):
        return
    try:
        found = Path(path).read_text().strip()
    except (OSError, UnicodeDecodeError) as error:
        raise CampaignError(f"RAY_AUTH_TOKEN_PATH: {path} cannot be read: {error}") from error
    if not found:
        raise CampaignError(f"RAY_AUTH_TOKEN_PATH: {path} is empty, and should hold the token.")
