"""A process that is really killed, at any moment, loses nothing that was evaluated."""

import signal
import subprocess
import sys
import time

import pytest

import moosearch
from moosearch.errors import MooSearchError

SLOWER = "candidate.training.epochs=12"  # so that there is time to kill it


@pytest.fixture(scope="module")
def undisturbed(tiny, tmp_path_factory):
    folder = tmp_path_factory.mktemp("undisturbed") / "c"
    return moosearch.search(tiny(), out=folder, overrides=["campaign.name=tiny", SLOWER])


@pytest.mark.parametrize("sent", [signal.SIGKILL, signal.SIGINT])
def test_resume_after_a_kill_gives_the_same_front(tiny_file, tmp_path, undisturbed, cli, sent):
    folder = tmp_path / "killed"
    # A test run that was started in the background ignores Ctrl-C, and its children would inherit that.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    process = subprocess.Popen(
        [sys.executable, "-m", "moosearch", "search", tiny_file, "--out", folder, "--set", SLOWER],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
    )
    try:
        before = _wait_for(folder, 2, process)
        process.send_signal(sent)
        _, err = process.communicate(timeout=60)
    finally:
        process.kill()
    if sent == signal.SIGINT:
        assert process.returncode == 130
        assert b"moosearch resume" in err
        assert b"Traceback" not in err
    stored = {e.candidate.id: e.provenance for e in moosearch.Campaign(folder).evaluations}
    assert before <= stored.keys()
    code, out, _ = cli("status", folder)
    assert code == 0
    assert len(stored) < 8
    assert "stopped" in out

    code, out, _ = cli("resume", folder)
    assert code == 0
    campaign = moosearch.Campaign(folder)
    for evaluation in campaign.evaluations:
        if evaluation.candidate.id in stored:
            assert evaluation.provenance == stored[evaluation.candidate.id]
    assert campaign.folder.front.read_text() == undisturbed.folder.front.read_text()


def _wait_for(folder, count, process):
    """Wait until a number of candidates is stored; return their ids."""
    deadline = time.monotonic() + 90
    while time.monotonic() < deadline and process.poll() is None:
        try:
            evaluations = moosearch.Campaign(folder).evaluations
        except MooSearchError:
            evaluations = []
        if len(evaluations) >= count:
            return {e.candidate.id for e in evaluations}
        time.sleep(0.05)
    process.kill()
    raise AssertionError(f"the campaign did not get that far: {process.communicate()[1].decode()}")
