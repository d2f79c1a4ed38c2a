"""How a command ends by signals, in this process; tests/faults sends them to real campaigns."""

import contextlib
import shutil
import signal
import threading
from pathlib import Path

import pytest
import typer

import moosearch
from moosearch.cli.signals import interruptible
from moosearch.errors import Stopped


@pytest.fixture(autouse=True)
def _not_ignored():
    """A test run in the background ignores Ctrl-C, and under nohup SIGHUP."""
    numbers = (signal.SIGINT, signal.SIGHUP, signal.SIGTERM)
    before = {number: signal.signal(number, signal.default_int_handler) for number in numbers}
    yield
    assert all(signal.getsignal(number) == signal.default_int_handler for number in numbers)
    for number, handler in before.items():
        signal.signal(number, handler)


def exit_code(run, **campaign):
    with pytest.raises(typer.Exit) as ended, interruptible("resume", **campaign) as stop:
        run(stop)
    return ended.value.exit_code


@pytest.mark.parametrize(
    ("sent", "word"),
    [(signal.SIGINT, "interrupted"), (signal.SIGTERM, "terminated"), (signal.SIGHUP, "hung up")],
)
def test_where_nothing_runs_a_signal_ends_at_once(sent, word, capsys):
    assert exit_code(lambda _stop: signal.raise_signal(sent), folder=Path("my results")) == 128 + sent
    stored = "what was evaluated is stored; go on with `moosearch resume 'my results'`."
    assert capsys.readouterr().err == f"{word}: {stored}\n"


def test_before_there_is_a_campaign_there_is_none_to_go_on_with(capsys):
    assert exit_code(lambda _stop: signal.raise_signal(signal.SIGTERM)) == 143
    assert capsys.readouterr().err == "terminated: nothing had begun.\n"


def test_a_campaign_says_where_it_is(finished, tmp_path, capsys):
    folder = shutil.copytree(finished.folder.root, tmp_path / "c")

    def run(stop):
        moosearch.resume(folder, stop=stop)
        signal.raise_signal(signal.SIGTERM)

    assert exit_code(run) == 143
    assert f"`moosearch resume {folder}`" in capsys.readouterr().err


def test_ctrl_c_lets_what_runs_finish(capsys):
    def run(stop):
        stop.busy = True
        signal.raise_signal(signal.SIGINT)
        assert stop.requested
        raise Stopped("stopped as asked")

    assert exit_code(run) == 130
    assert "stopping:" in capsys.readouterr().err


def test_a_second_ctrl_c_does_not():
    def run(stop):
        stop.busy = True
        signal.raise_signal(signal.SIGINT)
        signal.raise_signal(signal.SIGINT)
        raise AssertionError("not reached")

    assert exit_code(run) == 130


def test_the_first_signal_says_how_it_ends():
    def run(stop):
        with stop.whole():
            signal.raise_signal(signal.SIGTERM)
            signal.raise_signal(signal.SIGHUP)
        raise AssertionError("not reached")

    assert exit_code(run) == 143


def test_a_third_ctrl_c_waits_for_nothing(monkeypatch):
    codes = []
    monkeypatch.setattr("os._exit", codes.append)

    def run(stop):
        stop.busy = True
        with stop.whole():
            for _ in range(3):
                signal.raise_signal(signal.SIGINT)
            assert codes == [130]

    assert exit_code(run) == 130


def test_a_signal_that_is_ignored_stays_so():
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    with interruptible("resume"):
        signal.raise_signal(signal.SIGHUP)
    signal.signal(signal.SIGHUP, signal.default_int_handler)


def test_another_thread_has_no_signals():
    failures = []

    def run():
        with contextlib.suppress(typer.Exit):
            try:
                with interruptible("resume") as stop:
                    assert not stop.requested
            except ValueError as error:
                failures.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    assert failures == []
