"""Optuna's dashboard on a campaign, by real requests: what it shows, and that it only reads."""

import contextlib
import dataclasses
import hashlib
import http.client
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
from pathlib import Path
from wsgiref.util import setup_testing_defaults

import optuna
import pytest

import moosearch
from moosearch.api.campaign import Campaign
from moosearch.campaign.confirmation import Confirmation
from moosearch.errors import CampaignError
from moosearch.judgment import Measure
from moosearch.report import dashboard
from moosearch.report.notes import candidate_notes
from moosearch.space.files import dump, load

ROOT = Path(__file__).resolve().parents[2]
PNG = b"\x89PNG not really"


@pytest.fixture(params=["", "journal"])
def setting(request):
    return request.param


@pytest.fixture(scope="session")
def searched(tiny, tmp_path_factory):
    """Return a function that searches the tiny space once for each kind of storage."""
    folders = {}

    def folder(setting):
        if setting not in folders:
            folders[setting] = tmp_path_factory.mktemp("searched") / "c"
            data = tiny()
            data["campaign"] |= {
                "name": "tiny",
                "storage": setting,
                "constraints": ["parameters <= 1000"],
                "initial": [{"from": "a *paper*", "training.loss": "trades"}],
            }
            moosearch.search(data, out=folders[setting])
        return folders[setting]

    return folder


@pytest.fixture
def folder(searched, setting, tmp_path):
    """A copy of a campaign, with pictures."""
    copy = shutil.copytree(searched(setting), tmp_path / "c")
    identity = Campaign(copy).evaluations[0].candidate.id
    (copy / "plots").mkdir()
    (copy / "plots" / "front.png").write_bytes(PNG)
    (copy / "plots" / f"gallery-{identity}.png").write_bytes(PNG + b"2")
    (copy / "exports" / identity).mkdir(parents=True)
    (copy / "exports" / identity / "CARD.md").write_text("# Card")
    return copy


@pytest.fixture
def served(monkeypatch):
    """Serve an application on a free port; return what asks it: (path, method, host) -> response, body."""
    monkeypatch.setattr(dashboard, "SECONDS", 0.0)
    with contextlib.ExitStack() as stack:

        def serve(view):
            app = dashboard.application(view, ["box.example"])
            server = dashboard.make_server(
                "127.0.0.1",
                0,
                app,
                server_class=dashboard._server("127.0.0.1"),
                handler_class=dashboard._Quiet,
            )
            thread = threading.Thread(target=server.serve_forever, args=(0.01,))
            thread.start()
            stack.callback(thread.join)
            stack.callback(server.server_close)
            stack.callback(server.shutdown)

            def ask(path, method="GET", host=None):
                connection = http.client.HTTPConnection("127.0.0.1", server.server_port, timeout=30)
                headers = {"Host": host or f"127.0.0.1:{server.server_port}"}
                connection.request(method, path, headers=headers)
                response = connection.getresponse()
                with contextlib.closing(connection):
                    return response, response.read()

            return ask

        yield serve


def hashes(folder):
    """Contents of all files; the lock is touched by whoever asks whether somebody runs the campaign."""
    paths = (path for path in folder.rglob("*") if path.is_file() and path.name != "campaign.lock")
    return {str(path): hashlib.sha256(path.read_bytes()).hexdigest() for path in paths}


def study(ask):
    return json.loads(ask("/api/studies/0")[1])


@pytest.mark.rotated(2)
def test_it_shows_genes_objectives_constraints_notes_and_pictures(folder, served):
    campaign = Campaign(folder)
    first = campaign.evaluations[0]
    ask = served(dashboard.View(folder))
    shown = study(ask)
    assert shown["objective_names"] == [info.key for info in campaign.header.objectives]
    assert shown["directions"] == ["maximize", "maximize", "minimize"]
    assert [artifact["filename"] for artifact in shown["artifacts"]] == ["front.png"]
    assert "[The report](/report)" in shown["note"]["body"]
    by_id = {}
    for trial in shown["trials"]:
        attributes = {pair["key"]: pair["value"] for pair in trial["user_attrs"]}
        by_id[attributes["candidate"]] = trial, attributes
    assert by_id.keys() == {e.candidate.id for e in campaign.evaluations}
    front = {e.candidate.id for e in campaign.front}
    for evaluation in campaign.evaluations:
        trial, attributes = by_id[evaluation.candidate.id]
        genome = {p["name"]: p["param_external_value"] for p in trial["params"]}
        assert genome == {path: str(value) for path, value in evaluation.candidate.genome.items()}
        assert trial["values"] == list(evaluation.objectives.values())
        assert trial["constraints"] == list(evaluation.violations.values())
        word = "front" if evaluation.candidate.id in front else "dominated"
        assert attributes["shown_as"] == (word if evaluation.feasible else "infeasible")
        assert f"## {evaluation.candidate.id}: {attributes['shown_as']}" in trial["note"]["body"]
        kept = campaign.folder.weights(evaluation.candidate.id).is_file()
        assert (f"--candidate {evaluation.candidate.id}`" in trial["note"]["body"]) == kept
    assert {"infeasible", "front"} <= {attributes["shown_as"] for _, attributes in by_id.values()}
    trial, _ = by_id[first.candidate.id]
    assert r"A first individual: a \*paper\*." in trial["note"]["body"]
    files = {artifact["filename"]: artifact for artifact in trial["artifacts"]}
    assert files.keys() == {"CARD.md", f"gallery-{first.candidate.id}.png"}
    path = f"/artifacts/0/{trial['trial_id']}/{files['CARD.md']['artifact_id']}"
    response, body = ask(path)
    assert (response.status, body) == (200, b"# Card")
    assert response.headers["Content-Type"] == "text/markdown"
    assert response.headers["Access-Control-Allow-Origin"] is None
    assert ask(f"/artifacts/0/{shown['artifacts'][0]['artifact_id']}")[1] == PNG
    assert ask("/artifacts/0/00000000-0000-0000-0000-000000000000")[0].status == 404


@pytest.mark.rotated(2)
def test_it_only_reads(folder, served):
    before, front = hashes(folder), Campaign(folder).front
    for _ in range(2):  # a second start finds no trace of the first
        ask = served(dashboard.View(folder))
        (studies,) = json.loads(ask("/api/studies")[1])["study_summaries"]
        assert studies["study_name"] == "tiny"
        for method in ("DELETE", "POST", "PUT", "PATCH"):
            response, body = ask("/api/studies/0", method)
            assert response.status == 403
            assert b"only read" in body
        shown = study(ask)
        assert len(shown["trials"]) == 8
        assert len(shown["artifacts"]) == 1
        assert all(trial["note"]["version"] == 1 for trial in shown["trials"])
    assert hashes(folder) == before
    assert Campaign(folder).front == front
    assert moosearch.resume(folder).finished


@pytest.mark.rotated(2)
def test_it_follows_what_is_written_meanwhile(folder, served):
    ask = served(dashboard.View(folder))
    assert len(study(ask)["trials"]) == 8
    moosearch.resume(folder, generations=3)
    shown = study(ask)
    assert len(shown["trials"]) == 12
    assert "generation 3 of 3" in shown["note"]["body"]
    (folder / "plots" / "robustness.png").write_bytes(PNG)
    assert [a["filename"] for a in study(ask)["artifacts"]] == ["front.png", "robustness.png"]
    # What cannot be read for now leaves what was shown before.
    path = folder / "events.jsonl"
    path.rename(path.with_suffix(".away"))
    assert len(study(ask)["trials"]) == 12
    response, body = ask("/report")
    assert response.status == 503
    assert "resume" in json.loads(body)["reason"]


@pytest.mark.slow
def test_a_driver_and_readers_do_not_disturb_each_other(searched, served, tmp_path):
    folder = shutil.copytree(searched(""), tmp_path / "c")
    longer = shutil.copytree(searched(""), tmp_path / "longer")
    moosearch.resume(longer, generations=3)
    ask, errors = served(dashboard.View(folder)), []
    done = threading.Event()

    def read():
        while not done.is_set():
            if ask("/api/studies/0")[0].status != 200:
                errors.append("not served")

    readers = [threading.Thread(target=read) for _ in range(2)]
    for reader in readers:
        reader.start()
    try:
        moosearch.resume(folder, generations=3)
    finally:
        done.set()
        for reader in readers:
            reader.join()
    assert errors == []
    assert (folder / "front.csv").read_bytes() == (longer / "front.csv").read_bytes()


def test_the_page_is_at_report_and_the_study_at_the_root(folder, served, monkeypatch):
    pages = []
    monkeypatch.setattr(dashboard, "campaign_page", lambda *_, refresh: pages.append(refresh) or "<p>é</p>")
    ask = served(dashboard.View(folder))
    for path in ("/", "/dashboard"):
        response, _ = ask(path)
        assert (response.status, response.headers["Location"]) == (302, "/dashboard/studies/0")
    for _ in range(2):
        response, body = ask("/report")
        assert (response.status, body.decode()) == (200, "<p>é</p>")
        assert response.headers["Content-Type"] == "text/html; charset=utf-8"
        assert response.headers["Cache-Control"] == "no-store"
    assert pages == [dashboard.REFRESH] * 2
    assert b"<title>Optuna Dashboard</title>" in ask("/dashboard/studies/0")[1]


def test_a_client_that_takes_any_encoding_is_answered(folder):
    environ, said = {"PATH_INFO": "/favicon.ico", "HTTP_HOST": "localhost"}, []
    setup_testing_defaults(environ)
    app = dashboard.application(dashboard.View(folder))
    with contextlib.closing(app(environ, lambda *arguments: said.append(arguments[0]))) as body:
        assert b"".join(body)
    assert said == ["200 OK"]


@pytest.mark.parametrize(
    ("host", "status"),
    [
        ("localhost:8080", 200),
        ("127.0.0.1", 200),
        ("[::1]:8080", 200),
        ("192.168.1.5:80", 200),
        ("Box.Example:8080", 200),
        ("evil.example", 403),
        ("127.0.0.1.evil.example:8080", 403),
        ("localhost.evil.example", 403),
        ("[::1", 200),
        ("[evil]", 403),
        ("", 403),
    ],
)
def test_names_that_are_not_ours_are_refused(host, status):
    assert dashboard._is_ours(host, {"localhost", "box.example"}) == (status == 200)


def test_another_sites_name_gets_nothing(folder, served):
    response, body = served(dashboard.View(folder))("/api/studies", host="evil.example:80")
    assert response.status == 403
    assert b"tiny" not in body


def test_a_folder_that_may_not_be_written_is_shown(searched, served, tmp_path):
    folder = shutil.copytree(searched(""), tmp_path / "c")
    for path in [folder, *folder.rglob("*")]:
        path.chmod(path.stat().st_mode & ~0o222)
    try:
        assert len(study(served(dashboard.View(folder)))["trials"]) == 8
    finally:
        for path in [folder, *folder.rglob("*")]:
            path.chmod(path.stat().st_mode | 0o700)


def test_a_failed_candidate_says_why(searched, monkeypatch):
    campaign = Campaign(searched(""))
    first, *others = campaign.evaluations
    failed = {"status": "failed", "error": "Traceback\nRuntimeError: no luck\n", "failure": "error"}
    first = dataclasses.replace(first, **failed, attempts=2, objectives={}, violations={})
    monkeypatch.setattr(Campaign, "evaluations", [first, *others])
    word, note = candidate_notes(campaign)[first.candidate.id]
    assert word == "failed"
    assert "Why: error, tried 2 times." in note
    assert "    RuntimeError: no luck\n" in note
    assert "export" not in note


def test_what_was_confirmed_and_what_is_doubtful_is_told():
    campaign = Campaign(ROOT / "tests/older/digits")
    notes = candidate_notes(campaign)
    confirmation = campaign.confirmation
    assert isinstance(confirmation, Confirmation)
    for member in confirmation.members:
        _, note = notes[member.estimate.candidate.id]
        assert f"{member.measured[Measure('worst_case')].mean:.4g}" in note
        assert ("**Doubts**" in note) == member.unreliable
        for name in member.explanations:
            assert name.replace("_", r"\_") in note
    others = notes.keys() - {member.estimate.candidate.id for member in confirmation.members}
    assert all("Not confirmed" in notes[identity][1] for identity in others)
    words = [word for word, _ in notes.values()]
    assert words.count("front") == len(campaign.front)


@pytest.mark.slow
def test_the_command_listens_and_ends_by_an_interrupt_with_0(searched, tmp_path):
    command = [sys.executable, "-m", "moosearch", "dashboard", str(searched("")), "--port", "0"]
    process = subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ | {"COLUMNS": "200"},
    )
    try:
        line = process.stdout.readline()
        assert line.startswith("dashboard at http://127.0.0.1:")
        port = int(line.split("127.0.0.1:")[1].split("/")[0])
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
        connection.request("GET", "/api/studies/0")
        assert len(json.loads(connection.getresponse().read())["trials"]) == 8
        connection.close()
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=30)
    finally:
        process.kill()
        process.wait()
    assert (process.returncode, err) == (0, "")


def test_what_is_wrong_is_one_line(searched, tmp_path, cli, monkeypatch):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        code, _, err = cli("dashboard", searched(""), "--port", port)
        assert code == 2
        assert err.count("\n") == 1
        assert f"--port {port}: cannot listen there: Address already in use" in err
    code, _, err = cli("dashboard", searched(""), "--host", "nowhere.invalid")
    assert code == 2
    assert "cannot listen there" in err
    code, _, err = cli("dashboard", tmp_path)
    assert code == 2
    assert "no campaign here" in err
    monkeypatch.setitem(sys.modules, "optuna_dashboard", None)
    code, _, err = cli("dashboard", searched(""))
    assert code == 2
    assert "pip install 'moosearch[dashboard]'" in err


def test_a_database_that_campaigns_share_shows_one_of_them(searched, tmp_path):
    folder = shutil.copytree(searched(""), tmp_path / "c")
    database = tmp_path / "shared.db"
    (folder / "study.db").rename(database)
    document = load(folder / "campaign.yaml").data
    document["campaign"]["storage"] = f"sqlite:///{database}"
    (folder / "campaign.yaml").write_text(dump(document))
    optuna.create_study(storage=f"sqlite:///{database}", study_name="other")
    view = dashboard.View(folder)
    said = []
    environ = {"REQUEST_METHOD": "GET", "PATH_INFO": "/api/studies", "HTTP_HOST": "localhost"}
    body = dashboard.application(view)(environ, lambda status, *_: said.append(status))
    (summary,) = json.loads(b"".join(body))["study_summaries"]
    assert said == ["200 OK"]
    assert summary["study_name"] == "tiny"


def test_a_campaign_that_is_gone_is_told(searched, tmp_path):
    with pytest.raises(CampaignError, match="no campaign here"):
        dashboard.View(tmp_path / "nowhere")
