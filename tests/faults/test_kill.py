"""kill -9 of the driver at any moment."""

import pytest
from injection.driver import Moment
from injection.spaces import base

from moosearch.algorithms import ALGORITHMS

EVENTS = ("epoch", "begun", "evaluated", "generation_started", "generation_finished", "epoch")


@pytest.mark.long
@pytest.mark.parametrize(("number", "event"), list(enumerate(EVENTS)))
def test_kill_driver(site, number, event):
    moment = Moment.drawn(f"kill {number}", (event,))
    driver = site.search()
    driver.wait_for(moment)
    driver.process.kill()
    site.struck(driver, moment, -9)
    site.resume()
    site.check()


@pytest.mark.long
def test_kill_driver_again_and_again(site):
    """Two more times while it resumes."""
    moment = Moment("evaluated", 2)
    driver = site.search()
    for _ in range(3):
        driver.wait_for(moment)
        driver.process.kill()
        site.struck(driver, moment, -9)
        driver = site.run("resume", site.folder)
        moment = Moment("evaluated", 2, 50)
    assert site.settled(driver) == 0
    site.row["resumes"] = 3
    site.check()


@pytest.mark.long
@pytest.mark.skipif("steady_nsga2" not in ALGORITHMS, reason="not registered")
def test_kill_driver_of_a_steady_search(make_site):
    site = make_site(base(algorithm="steady_nsga2"))
    moment = Moment.drawn("steady 2", ("epoch", "evaluated"))
    driver = site.search()
    driver.wait_for(moment)
    driver.process.kill()
    site.struck(driver, moment, -9)
    site.resume()
    site.check()


@pytest.mark.slow
def test_a_long_candidate_goes_on_from_its_last_epoch(site):
    moment = Moment("epoch", 8, 20)  # the third of the second candidate
    driver = site.search()
    driver.wait_for(moment)
    driver.process.kill()
    site.struck(driver, moment, -9)
    trained = [
        (e["candidate"], e["row"]["epoch"], e.get("checkpoint")) for e in driver.events() if "row" in e
    ]
    candidate, reached, kept = trained[-1]
    assert kept
    site.resume()
    site.check()
    resumed = [e for e in site.drivers[-1].events() if e["event"] == "epoch"]
    assert (resumed[0]["candidate"], resumed[0]["row"]["epoch"]) == (candidate, reached + 1)
    assert not (site.folder / "checkpoints").exists()
