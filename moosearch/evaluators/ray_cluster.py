"""A Ray cluster: one that we start on this machine and end, one that is joined, or one that is there."""

import contextlib
import importlib
import logging
import os
import re
import secrets
import signal
import subprocess
import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from typing import Any

from moosearch.errors import CampaignError
from moosearch.evaluators.last_words import shortened
from moosearch.evaluators.ray_fit import Offer
from moosearch.evaluators.ray_guard import guard
from moosearch.evaluators.ray_settings import HOW_TO_TOKEN, check_token, parse, silence
from moosearch.evaluators.ray_store import GIB, check_memory, memory_here, store_bytes
from moosearch.job import Node

SILENT_SECONDS = 20.0
"""How long the head of a joined cluster may be silent. After 60, Ray ends the process that it is used by."""

LOOK_SECONDS = 5.0
"""How often a joined cluster is looked after."""

_SERVERS = ("gcs_server", "raylet")
"""Without any of these processes, a node is dead."""


class Cluster(ABC):
    """A cluster of Ray; at most one at a time in a process."""

    @abstractmethod
    def start(self) -> None:
        """Start it, or connect to it.

        Raises:
            CampaignError: It does not start, or does not let us in.
        """

    @abstractmethod
    def stop(self) -> None:
        """End it if it is ours, or leave it."""

    @abstractmethod
    def trouble(self) -> str:
        """Say why nothing can run any more; empty if all is well."""

    def answers(self) -> bool:
        """Whether Ray can be asked something just now: with a dead head, it would wait, and then end us."""
        return True

    @property
    @abstractmethod
    def ours(self) -> bool:
        """Whether it was started here, and may be started again."""

    def nodes(self) -> tuple[tuple[Node, ...], list[Offer]]:
        """Return all nodes, and what those that are alive offer."""
        import ray

        known, offers = [], []
        for node in ray.nodes():
            name, address = node["NodeManagerHostname"], node["NodeManagerAddress"]
            resources = node["Resources"] if node["Alive"] else {}
            known.append(
                Node(name, address, node["Alive"], resources.get("CPU", 0.0), resources.get("GPU", 0.0))
            )
            if node["Alive"]:
                offers.append(Offer(f"{name} ({address})", resources))
        return tuple(sorted(known, key=lambda n: (n.address, n.name, not n.alive))), offers


class LocalCluster(Cluster):
    """A cluster on this machine that nobody else can reach."""

    ours = True

    def __init__(
        self, cpus: int, threads: int, runtime_env: Mapping[str, Any], *, images: int = 0, weights: int = 0
    ) -> None:
        """Describe it.

        Args:
            cpus: CPUs that Ray shall believe in.
            threads: Threads of a worker's numerical libraries.
            runtime_env: Ray's.
            images: Bytes of images that it is to hold.
            weights: Bytes of the largest network that travels.
        """
        self._cpus, self._threads, self._runtime_env = cpus, threads, dict(runtime_env)
        self._images, self._weights = images, weights
        self._token = secrets.token_hex(32)
        self._environment = contextlib.ExitStack()
        self._processes: list[Any] = []
        self._servers: dict[str, Any] = {}
        self._guard: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start it; nothing of it listens beyond this machine, and who has no token is not let in."""
        import ray  # noqa: F401 (brings psutil with it)

        memory = memory_here()
        check_memory(memory)
        workers = max(1, self._cpus // self._threads)
        self._environment.callback(_reload_authentication)  # when the token is out of the environment again
        self._environment.enter_context(_token(self._token))
        _reload_authentication()
        before = set(_descendants())
        with _on_loopback(), _variables({"OMP_NUM_THREADS": str(self._threads)}):
            _init(
                address="local",
                num_cpus=self._cpus,
                include_dashboard=False,
                object_store_memory=store_bytes(self._images, self._weights, workers, memory),
                # It decides nothing here; left out, Ray refuses to start by a rule of its own.
                _memory=max(memory.free, GIB),
                runtime_env=self._runtime_env or None,
            )
        self._processes = [process for process in _descendants() if process not in before]
        self._servers = {name: each for each in self._processes if (name := each.name()) in _SERVERS}
        self._guard = guard(process.pid for process in self._processes)

    def stop(self) -> None:
        """End it, and whatever of it does not end by itself."""
        processes = {*self._processes, *(grown for each in self._processes for grown in _descendants(each))}
        _shutdown()
        self._environment.close()
        if self._guard is not None:
            self._guard.kill()
            self._guard.communicate()
            self._guard = None
        for process in processes:
            if _lives(process):
                with contextlib.suppress(Exception):
                    process.kill()

    def trouble(self) -> str:
        """Say which of its servers died."""
        dead = [name for name, process in self._servers.items() if not _lives(process)]
        return f"its {' and '.join(dead)} died" if dead else ""

    def answers(self) -> bool:
        """Look at its servers once more: they may have died since trouble was looked for."""
        return not self.trouble()


class JoinedCluster(Cluster):
    """A cluster that others started."""

    ours = False

    def __init__(self, address: str, runtime_env: Mapping[str, Any]) -> None:
        """Describe it by its address, ``auto`` or ``host:port``."""
        self._address, self._runtime_env = address, dict(runtime_env)
        self._head: tuple[str, int] | None = None
        self._heard = self._looked = 0.0

    def start(self) -> None:
        """Join it."""
        check_token()
        _init(address=self._address, runtime_env=self._runtime_env or None)
        self._attend()

    def stop(self) -> None:
        """Leave it."""
        _shutdown()

    def trouble(self) -> str:
        """Say for how long its head has been silent."""
        now = time.monotonic()
        if self._head is None or now - self._looked < LOOK_SECONDS:
            return ""
        while why := silence(*self._head, seconds=LOOK_SECONDS):
            if time.monotonic() - self._heard > SILENT_SECONDS:
                host, port = self._head
                return f"nobody answers at {host}:{port}: {why}"
            time.sleep(1)  # asking Ray anything would wait for the head
        self._looked = self._heard = time.monotonic()
        return ""

    def answers(self) -> bool:
        """Look at its head, whenever that was done last."""
        return self._head is None or not silence(*self._head, seconds=LOOK_SECONDS)

    def _attend(self) -> None:
        import ray

        self._head = parse(ray.get_runtime_context().gcs_address)
        self._heard = self._looked = time.monotonic()


class GivenCluster(JoinedCluster):
    """The cluster that this process is connected to already."""

    def __init__(self) -> None:
        """Describe what is there."""
        super().__init__("auto", {})

    def start(self) -> None:
        """Find it."""
        self._attend()

    def stop(self) -> None:
        """Leave it to whoever connected."""


def prepare_environment() -> None:
    """Set what Ray reads when it is imported."""
    # A driver that `uv run` started makes Ray build an environment for every worker.
    os.environ.setdefault("RAY_ENABLE_UV_RUN_RUNTIME_ENV", "0")
    # Candidates without a GPU are not told that there is none; Ray warns of that otherwise.
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")


def _shutdown() -> None:
    """Leave Ray, and let it print again."""
    import ray
    from ray._private import worker

    ray.shutdown()
    if "print" in _PRINTS:
        worker.print_to_stdstream = _PRINTS.pop("print")


_PRINTS: dict[str, Any] = {}
"""Ray's function that prints errors of its processes, while it is not to."""


def _be_quiet() -> None:
    """Keep Ray from printing a page to standard output when a worker dies: the outcome says so in a line."""
    from ray._private import worker

    if hasattr(worker, "print_to_stdstream"):
        _PRINTS.setdefault("print", worker.print_to_stdstream)
        worker.print_to_stdstream = lambda *_, **__: None


def _init(**arguments: Any) -> None:
    import ray

    _be_quiet()
    try:
        with _own_sigterm():
            ray.init(log_to_driver=False, logging_level=logging.ERROR, **arguments)
    except ray.exceptions.AuthenticationError as error:
        first = str(error).split(". ")[0]
        raise CampaignError(f"campaign.evaluator: Ray lets nobody in: {first}. {HOW_TO_TOKEN}.") from error
    except Exception as error:  # Ray has many, some of no class of their own
        _shutdown()  # what was started of it
        if arguments["address"] == "local":
            raise CampaignError(
                f"campaign.evaluator: Ray did not start here ({_reason(error)}); "
                "--evaluator serial does without it."
            ) from error
        raise CampaignError(
            f"campaign.evaluator.address: {error}. Is it the address of a cluster's head? {HOW_TO_TOKEN}."
        ) from error


def _reason(error: Exception) -> str:
    """Return the first sentence of an error of Ray's: advice for who calls it follows."""
    return re.split(r"[.!]\s", shortened(str(error), 400))[0].rstrip(".") or type(error).__name__


@contextlib.contextmanager
def _own_sigterm() -> Iterator[None]:
    """Keep what this process does at a SIGTERM: Ray would print a stack, and exit with a code of its own."""
    from ray._private import utils

    before = signal.getsignal(signal.SIGTERM)
    if not callable(before) or threading.current_thread() is not threading.main_thread():
        yield
        return
    theirs, utils.set_sigterm_handler = utils.set_sigterm_handler, lambda _handler: None
    try:
        yield
    finally:
        utils.set_sigterm_handler = theirs
        signal.signal(signal.SIGTERM, before)  # beneath Python's, too, Ray has put one


@contextlib.contextmanager
def _variables(values: Mapping[str, str]) -> Iterator[None]:
    """Set environment variables for a while."""
    before = {name: os.environ.get(name) for name in values}
    os.environ.update(values)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


@contextlib.contextmanager
def _token(token: str) -> Iterator[None]:
    """Guard a local cluster by a token of its own, unless the user chose how it is guarded.

    Ray's default is one token for all clusters, in a file in the home directory that others may read.
    """
    if any(name.startswith("RAY_AUTH_") for name in os.environ):
        yield
        return
    with _variables({"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": token}):
        yield


def _reload_authentication() -> None:
    """Let Ray read anew what the environment says of tokens: it keeps the first that it saw."""
    _raylet: Any = importlib.import_module("ray._raylet")

    with contextlib.suppress(AttributeError):  # before Ray 2.52 there were no tokens
        _raylet.Config.initialize("")
        _raylet.AuthenticationTokenLoader.instance().reset_cache()


@contextlib.contextmanager
def _on_loopback() -> Iterator[None]:
    """Let a cluster that is started here believe that this machine is 127.0.0.1, and listen there alone.

    Ray does so where clusters are disabled, as on macOS. It reads that from the environment when it is
    imported, which may be long ago; ``_node_ip_address`` it replaces by an address that others can reach.
    """
    from ray._private import ray_constants

    before, ray_constants.ENABLE_RAY_CLUSTER = ray_constants.ENABLE_RAY_CLUSTER, False
    try:
        yield
    finally:
        ray_constants.ENABLE_RAY_CLUSTER = before


def _descendants(process: Any = None) -> list[Any]:
    import psutil  # type: ignore[import-untyped]

    try:
        found: list[Any] = (process or psutil.Process()).children(recursive=True)
    except psutil.Error:
        return []
    return found


def _lives(process: Any) -> bool:
    import psutil

    try:
        return bool(process.is_running() and process.status() != psutil.STATUS_ZOMBIE)
    except psutil.Error:
        return False
