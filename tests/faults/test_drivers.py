"""Two drivers of one campaign, a lock that nobody holds, and the other commands that train."""

import shutil
import signal

import pytest
from injection.driver import Moment
from injection.site import Site
from injection.spaces import base

long = pytest.mark.long


def _confirm(folder):
    return "confirm", folder, "--seeds", "1", "--attacks", "fgsm", "--images", "100"


@pytest.fixture(scope="module")
def confirmed(undisturbed_folder, tmp_path_factory):
    """The table of a confirmation that nothing disturbed."""
    desk = tmp_path_factory.mktemp("confirmed")
    site = Site(shutil.copytree(undisturbed_folder(base()), desk / "c"), desk, base(), "")
    assert site.settled(site.run(*_confirm(site.folder))) == 0
    return (site.folder / "confirmed.csv").read_text()


@long
def test_second_driver(site):
    """It is refused, and told who runs the campaign; the first one is not disturbed."""
    moment = Moment.drawn("second", ("evaluated",))
    first = site.search()
    first.wait_for(moment)
    first.process.send_signal(signal.SIGSTOP)  # or it is done before the other one has begun
    second = site.run("resume", site.folder)
    assert site.settled(second) == 2, second.said
    first.process.send_signal(signal.SIGCONT)
    assert second.said.count("error:") == 1
    assert str(first.process.pid) in second.said
    site.struck(first, moment, 0)
    site.check()


@long
def test_stale_lock(site):
    """It names a process that is gone, or a number that another process has now."""
    moment = Moment.drawn("stale", ("evaluated",))
    driver = site.search()
    driver.wait_for(moment)
    driver.process.kill()
    site.struck(driver, moment, -9)
    assert (site.folder / "campaign.lock").exists()
    site.resume()
    site.check()


@long
def test_kill_training_of_one_recipe(make_site):
    """`moosearch train` goes on by `moosearch resume` like a campaign."""
    space = base(budget={"population": 1, "generations": 1})
    space["candidate"]["architecture"] = {"name": "small_cnn", "width": 4, "depth": 2}
    space["candidate"]["training"] |= {"loss": "cross_entropy", "optimizer": {"lr": 0.1}}
    site = make_site(space)
    moment = Moment("epoch", 3)
    driver = site.launch("train")
    driver.wait_for(moment)
    driver.process.kill()
    site.struck(driver, moment, -9)
    site.resume()
    site.check(candidates=1)


@long
@pytest.mark.parametrize(
    ("sent", "code"), [(signal.SIGKILL, -9), (signal.SIGINT, 130)], ids=["sigkill", "ctrl-c"]
)
def test_confirmation(site, sent, code, confirmed, undisturbed_folder):
    """`moosearch confirm` goes on by itself; trainings that were stored are not done again."""
    shutil.copytree(undisturbed_folder(base()), site.folder)
    site.row["evaluator"] = "serial"
    moment = Moment("epoch", 8)
    driver = site.run(*_confirm(site.folder))
    driver.wait_for(moment)
    driver.process.send_signal(sent)
    site.struck(driver, moment, code)
    stored = {path: path.read_bytes() for path in site.folder.glob("confirmed/*/*.json")}
    assert stored
    assert site.settled(site.run(*_confirm(site.folder))) == 0
    site.row["resumes"] = 1
    assert all(path.read_bytes() == content for path, content in stored.items())
    assert (site.folder / "confirmed.csv").read_text() == confirmed
    site.check()
