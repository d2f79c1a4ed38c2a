"""Optuna's dashboard on a campaign, with our notes and pictures in place, and the report beside it.

It only reads the campaign, and answers nothing but reading: what it shows is a copy in memory that is made
anew whenever the campaign's files have changed.
"""

import contextlib
import ipaddress
import json
import socket
import threading
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from socketserver import ThreadingMixIn
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer, make_server

from moosearch.campaign.campaign import Campaign
from moosearch.campaign.folder import CampaignFolder, is_id
from moosearch.campaign.status import read_status
from moosearch.errors import CampaignError, MooSearchError
from moosearch.extras import require
from moosearch.report.campaign_page import campaign_page
from moosearch.report.data import settings, space_genes
from moosearch.report.mirror import Pictures, mirror
from moosearch.report.notes import campaign_note, candidate_notes

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIApplication, WSGIEnvironment

SECONDS = 2.0
"""A request looks for changes of the campaign when the last look is so long ago."""

REFRESH = 10.0
"""Seconds after which an open report loads itself again while the campaign runs."""


class View:
    """The dashboard of a campaign as it is now."""

    def __init__(self, folder: Path | str) -> None:
        """Read the campaign for the first time.

        Raises:
            CampaignError: There is no campaign in the folder, or Optuna's dashboard is not installed.
        """
        self.folder = CampaignFolder.existing(folder)
        self._campaign = Campaign(self.folder.root)  # goes on reading where it ended
        self._lock = threading.Lock()
        self._looked, self._seen = time.monotonic(), _changes(self.folder)
        self._app = self._made()

    def app(self) -> "WSGIApplication":
        """Return the dashboard, made anew where something has changed since it was made."""
        with self._lock:
            if time.monotonic() - self._looked >= SECONDS:
                seen = _changes(self.folder)
                if seen != self._seen:
                    # In the midst of a write the next look will do.
                    with contextlib.suppress(MooSearchError):
                        self._app, self._seen = self._made(), seen
                self._looked = time.monotonic()
            return self._app

    def report(self) -> str:
        """Return the campaign's report."""
        with self._lock:
            return campaign_page(self._campaign, refresh=REFRESH)

    def _made(self) -> "WSGIApplication":
        dashboard = _library()
        campaign, pictures = self._campaign, Pictures()
        notes = candidate_notes(campaign)
        words = {identity: word for identity, (word, _) in notes.items()}
        genes = space_genes(settings(self.folder)[0])
        study, numbers = mirror(
            campaign.header, campaign.evaluations, genes, pictures, _pictures(self.folder), words
        )
        dashboard.save_note(study, campaign_note(campaign, read_status(campaign)))
        for identity, number in numbers.items():
            if identity in notes:
                # What Optuna calls a trial may be one that runs alone.
                trial = SimpleNamespace(storage=study._storage, study=study, _trial_id=number)
                dashboard.save_note(trial, notes[identity][1])
        made: WSGIApplication = dashboard.wsgi(study._storage, artifact_store=pictures)
        return made


def application(view: View, hosts: Iterable[str] = ()) -> "WSGIApplication":
    """Return what answers requests: ``/report``, and the dashboard for all else.

    Args:
        view: The campaign.
        hosts: Names that this machine may be called by, besides ``localhost`` and its addresses. A page that
            was loaded from elsewhere could reach us under a name of its own (DNS rebinding).
    """
    known = {"localhost", *(name.lower() for name in hosts)}

    def answer(environ: "WSGIEnvironment", start: "StartResponse") -> Iterable[bytes]:
        if not _is_ours(environ.get("HTTP_HOST", ""), known):
            return _said(start, "403 Forbidden", "this host name is not known here")
        if environ["REQUEST_METHOD"] not in ("GET", "HEAD"):
            return _said(start, "403 Forbidden", "this is a view of the campaign, which is only read")
        environ.setdefault("HTTP_ACCEPT_ENCODING", "")  # which Optuna's dashboard takes for given
        path = environ.get("PATH_INFO", "").rstrip("/")
        if path in ("", "/dashboard"):
            start("302 Found", [("Location", "/dashboard/studies/0"), ("Content-Length", "0")])
            return []
        try:
            if path == "/report":
                return _page(start, view.report())
            return view.app()(environ, _guarded(start))
        except MooSearchError as error:
            return _said(start, "503 Service Unavailable", " ".join(str(error).split()))

    return answer


def serve(folder: Path | str, host: str, port: int, ready: Callable[[str], None]) -> None:
    """Serve the dashboard of a campaign until somebody interrupts it.

    Args:
        folder: The campaign's folder.
        host: Where to listen.
        port: Where to listen; 0 for any that is free.
        ready: Is told the address, once somebody listens there.

    Raises:
        CampaignError: There is no campaign, Optuna's dashboard is not installed, or nobody can listen there.
    """
    view = View(folder)
    app = application(view, [host, socket.gethostname(), socket.getfqdn()])
    try:
        server = make_server(host, port, app, server_class=_server(host), handler_class=_Quiet)
    except (OSError, OverflowError, UnicodeError) as error:
        reason = getattr(error, "strerror", None) or error
        raise CampaignError(
            f"--host {host} --port {port}: cannot listen there: {reason}. Choose another --port, or 0 for "
            "any that is free."
        ) from error
    with server:
        shown = f"[{host}]" if ":" in host else host
        ready(f"http://{shown}:{server.server_port}/")
        server.serve_forever()


class _Quiet(WSGIRequestHandler):
    """Prints no line for every request."""

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 (its name there)
        """Print nothing."""


def _server(host: str) -> type[WSGIServer]:
    """Return a server that answers several requests at a time, in the family of the address."""

    class Server(ThreadingMixIn, WSGIServer):
        daemon_threads = True
        address_family = socket.AF_INET6 if ":" in host else socket.AF_INET

        def handle_error(self, request: Any, client_address: Any) -> None:
            """Say nothing of somebody who hung up."""

    return Server


def _library() -> Any:
    require("moosearch dashboard", "dashboard")
    import optuna_dashboard

    return optuna_dashboard


def _pictures(folder: CampaignFolder) -> dict[str, list[Path]]:
    """Return what there is to look at, by candidate id; the campaign's under an empty one."""
    found: dict[str, list[Path]] = {"": []}
    for path in sorted(folder.plots.glob("*.png")):
        identity = path.stem.rpartition("-")[2]
        found.setdefault(identity if is_id(identity) else "", []).append(path)
    for path in sorted(folder.exports.glob("*/*.md")):
        if is_id(path.parent.name):
            found.setdefault(path.parent.name, []).append(path)
    return found


def _changes(folder: CampaignFolder) -> set[tuple[str, int, int]]:
    """Return what changes when anything does that is shown: files with their times and sizes."""
    files = [folder.events, folder.study, folder.journal, folder.spec, folder.confirmation]
    files += folder.confirmed.glob("*/*.json")
    files += [path for paths in _pictures(folder).values() for path in paths]
    found = set()
    for path in files:
        try:
            stat = path.stat()
        except OSError:
            continue
        found.add((str(path), stat.st_mtime_ns, stat.st_size))
    return found


def _is_ours(host: str, known: set[str]) -> bool:
    """Whether a request was sent to an address, or to a name that is ours."""
    name = host.strip().lower()
    name = name[1:].partition("]")[0] if name.startswith("[") else name.partition(":")[0]
    if name in known:
        return True
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True


def _guarded(start: "StartResponse") -> "StartResponse":
    """Return a start of a response that lets no other site read it."""

    def guarded(status: str, headers: list[tuple[str, str]], *more: Any) -> Any:
        own = [pair for pair in headers if pair[0].lower() != "access-control-allow-origin"]
        return start(status, [*own, ("X-Content-Type-Options", "nosniff")], *more)

    return guarded


def _page(start: "StartResponse", text: str) -> list[bytes]:
    body = text.encode()
    headers = [
        ("Content-Type", "text/html; charset=utf-8"),
        ("Content-Length", str(len(body))),
        ("Cache-Control", "no-store"),
    ]
    start("200 OK", headers)
    return [body]


def _said(start: "StartResponse", status: str, reason: str) -> list[bytes]:
    body = (json.dumps({"reason": reason}) + "\n").encode()
    start(status, [("Content-Type", "application/json"), ("Content-Length", str(len(body)))])
    return [body]
