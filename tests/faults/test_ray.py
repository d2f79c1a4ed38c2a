"""Parts of Ray are killed: a worker, the raylet, the server of the cluster, all of it."""

import os
import signal
import time

import pytest
from injection.driver import Moment
from injection.processes import kill

RAY = ("--evaluator", "ray", "--workers", "2")
long = pytest.mark.long


@pytest.mark.slow
@pytest.mark.parametrize("number", [0, pytest.param(1, marks=long)])
def test_kill_worker(site, number):
    """Its candidate is trained again by another one, and the campaign goes on."""
    moment = Moment.drawn(f"worker {number}", ("epoch",))
    driver = site.search(*RAY)
    driver.wait_for(moment)
    os.kill(driver.training(), signal.SIGKILL)
    site.struck(driver, moment, 0)
    (again,) = [e for e in driver.events() if e["event"] == "retried"]
    assert again["failure"] == "lost"
    site.check()


@long
def test_worker_that_stands_still_for_a_while(site):
    moment = Moment.drawn("still", ("epoch",))
    driver = site.search(*RAY)
    driver.wait_for(moment)
    worker = driver.training()
    os.kill(worker, signal.SIGSTOP)
    time.sleep(3)
    os.kill(worker, signal.SIGCONT)
    site.struck(driver, moment, 0)
    site.check()


@long
@pytest.mark.parametrize("name", ["raylet", "gcs_server"])
def test_kill(site, name):
    """The campaign has its cluster back, or ends with one line."""
    moment = Moment.drawn(name, ("epoch", "evaluated"))
    driver = site.search(*RAY)
    driver.wait_for(moment)
    kill(driver.named(name))
    site.struck(driver, moment, 0, 1)
    if site.row["exit"]:
        site.resume(*RAY)
    site.check()


@long
@pytest.mark.parametrize("number", range(2))
def test_kill_driver_on_ray(site, number):
    moment = Moment.drawn(f"driver on ray {number}")
    driver = site.search(*RAY)
    driver.wait_for(moment)
    driver.process.kill()
    site.struck(driver, moment, -9)
    site.resume(*RAY)
    site.check()


@long
def test_kill_everything(site):
    moment = Moment.drawn("everything", ("epoch",))
    driver = site.search(*RAY)
    driver.wait_for(moment)
    kill(driver.named())
    site.struck(driver, moment, -9)
    site.resume("--evaluator", "serial")  # where it runs does not matter
    site.check()
