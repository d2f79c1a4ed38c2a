"""Ctrl-C, SIGTERM and SIGHUP at any moment, from the first import to the last plot."""

import contextlib
import os
import pty
import signal
import time
from pathlib import Path

import pytest
from injection.driver import Moment

RAY = ("--evaluator", "ray", "--workers", "2")
SERIAL = ("--evaluator", "serial")
"""To resume with: where candidates are evaluated does not matter, and Ray takes its time to start."""
long = pytest.mark.long


@pytest.mark.parametrize(
    ("sent", "code", "options"),
    [
        pytest.param(signal.SIGTERM, 143, (), id="sigterm", marks=pytest.mark.slow),
        pytest.param(signal.SIGHUP, 129, (), id="sighup", marks=long),
        pytest.param(signal.SIGTERM, 143, RAY, id="sigterm, ray", marks=long),
    ],
)
def test_ended_at_once_by(site, sent, code, options):
    moment = Moment.drawn(f"{sent} {options}")
    driver = site.search(*options)
    driver.wait_for(moment)
    driver.process.send_signal(sent)
    site.struck(driver, moment, code)
    assert "go on with `moosearch resume" in driver.said
    assert driver.events()[-1]["event"] == "stopped"
    site.resume(*SERIAL)
    site.check()


@pytest.mark.parametrize(
    ("options", "group"),
    [
        pytest.param((), False, id="serial", marks=pytest.mark.slow),
        pytest.param(RAY, True, id="ray, whole group", marks=long),
    ],
)
def test_ctrl_c_once(site, options, group):
    """What runs is finished, stored, and nothing new is begun."""
    moment = Moment.drawn(f"once {options} {group}", ("epoch",))
    driver = site.search(*options)
    driver.wait_for(moment)
    (os.killpg if group else os.kill)(driver.process.pid, signal.SIGINT)
    driver.wait_until(lambda: "stopping:" in driver.said, "stopping")
    site.struck(driver, moment, 130)
    begun = {e["candidate"] for e in driver.events() if e["event"] == "begun"}
    assert begun == site.before.keys()
    site.resume(*SERIAL)
    site.check()


@pytest.mark.parametrize(
    "options",
    [pytest.param((), id="serial", marks=pytest.mark.slow), pytest.param(RAY, id="ray", marks=long)],
)
def test_ctrl_c_twice(site, options):
    """What runs is not waited for."""
    moment = Moment("epoch", 7)  # the second of five
    driver = site.search(*options)
    driver.wait_for(moment)
    driver.process.send_signal(signal.SIGINT)
    driver.wait_until(lambda: "stopping:" in driver.said, "stopping")
    driver.process.send_signal(signal.SIGINT)
    site.struck(driver, moment, 130)
    assert "interrupted:" in driver.said
    site.resume(*SERIAL)
    site.check()


@long
def test_ctrl_c_before_anything_runs(site):
    driver = site.search()
    maps = Path(f"/proc/{driver.process.pid}/maps")
    driver.wait_until(lambda: "libtorch_cpu" in maps.read_text(), "torch")
    driver.process.send_signal(signal.SIGINT)
    site.struck(driver, Moment("import of torch"), 130)
    driver = site.search()
    assert site.settled(driver) == 0
    site.check()


@long
def test_sigterm_while_ray_starts(site):
    moment = Moment("created", 1, 3000)
    driver = site.search(*RAY)
    driver.wait_for(moment)
    driver.process.send_signal(signal.SIGTERM)
    site.struck(driver, moment, 143)
    site.resume(*SERIAL)
    site.check()


@long
def test_ctrl_c_while_plots_are_drawn(site):
    moment = Moment("finished")
    driver = site.search()
    driver.wait_for(moment)
    driver.process.send_signal(signal.SIGINT)
    site.struck(driver, moment, 130)
    site.resume()
    site.check()


@long
def test_many_signals_at_once(site):
    moment = Moment("evaluated", 3)
    driver = site.search()
    driver.wait_for(moment)
    for sent in (signal.SIGHUP, signal.SIGTERM, signal.SIGTERM, signal.SIGHUP):
        driver.process.send_signal(sent)
        time.sleep(0.001)
    site.struck(driver, moment, 129, 143)
    site.resume()
    site.check()


@pytest.fixture
def terminal(site):
    """Let a site's runs print to a terminal; return a function that reads what is there, and closes it."""
    master, site.out = pty.openpty()
    os.set_blocking(master, False)

    def read():
        with contextlib.suppress(BlockingIOError):
            os.read(master, 65536)
        return True

    def close():
        os.close(master)
        os.close(site.out)
        site.out = None

    return read, close


@long
def test_terminal_closed(site, terminal):
    """It takes what runs in it along."""
    read, close = terminal
    moment = Moment("epoch", 17)
    driver = site.search()
    driver.wait_until(lambda: read() and driver.reached(moment), str(moment))
    close()
    driver.process.send_signal(signal.SIGHUP)
    site.struck(driver, moment, 129)
    site.resume()
    site.check()


@long
def test_terminal_closed_on_a_disowned_process(site, terminal):
    """It goes on without."""
    read, close = terminal
    moment = Moment("epoch", 17)
    driver = site.search()
    driver.wait_until(lambda: read() and driver.reached(moment), str(moment))
    close()
    site.struck(driver, moment, 0)
    site.check()
