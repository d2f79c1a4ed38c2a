"""Candidates that go wrong are data, and tried again where that may help."""

import pytest
from injection.driver import Moment
from injection.spaces import hungry, troubled

import moosearch

RAY = ("--evaluator", "ray", "--workers", "2")
long = pytest.mark.long


def _evaluations(site):
    return moosearch.Campaign(site.folder).evaluations


@long
@pytest.mark.parametrize(
    ("kind", "failure", "limits", "options"),
    [
        pytest.param("raise", "error", {}, (), id="raises"),
        pytest.param("nan", "nan", {}, (), id="nan"),
        pytest.param("slow", "time", {"seconds": 10}, (), id="too slow"),
        pytest.param("always", "lost", {"retries": {"lost": 1}}, RAY, id="kills its process"),
        pytest.param("segfault", "lost", {"retries": {"lost": 1}}, RAY, id="segmentation fault"),
    ],
)
def test_candidate(make_site, kind, failure, limits, options):
    """It is stored as failed with the reason, and a resume does not try it again."""
    site = make_site(troubled(kind, limits={"checkpoint": 0, **limits}), reference=False)
    driver = site.search(*options)
    site.struck(driver, Moment("its training"), 3)
    for evaluation in _evaluations(site):
        in_trouble = evaluation.candidate.genome["training.loss.kind"] == kind
        assert evaluation.failure == (failure if in_trouble else "")
        assert (evaluation.status == "failed") == in_trouble
        assert bool(evaluation.error) == in_trouble
        assert evaluation.attempts == (2 if in_trouble and failure == "lost" else 1)
    site.reference = (site.folder / "front.csv").read_text()
    site.resume(*options, code=3)
    site.check(candidates=2)


@long
@pytest.mark.parametrize("kind", ["always", "segfault", "abort"])
def test_candidate_that_kills_the_serial_evaluators_process(make_site, kind):
    """It is begun as often as retries allow, by one resume after the other, and is lost then."""
    site = make_site(troubled(kind, limits={"checkpoint": 0, "retries": {"lost": 1}}), reference=False)
    ended = {"always": -9, "segfault": -11, "abort": -6}[kind]
    driver = site.search()
    site.struck(driver, Moment("its training"), ended)
    assert site.settled(site.run("resume", site.folder)) == ended
    last = site.run("resume", site.folder)
    assert site.settled(last) == 3, last.said
    how = {"always": "died", "segfault": "SIGSEGV: segmentation fault)", "abort": "SIGABRT: aborted)"}[kind]
    assert f"{how} while this candidate was evaluated, 2 times in a row" in last.said
    found = {e.candidate.genome["training.loss.kind"]: e for e in _evaluations(site)}
    assert (found[kind].failure, found[kind].attempts) == ("lost", 2)
    assert found["none"].status == "complete"
    site.reference = (site.folder / "front.csv").read_text()
    site.resume(code=3)
    site.check(candidates=2)


@long
def test_candidate_short_of_memory(make_site):
    """It is done in smaller parts, with the same result."""
    site = make_site(hungry())
    driver = site.search()
    site.struck(driver, Moment("its training"), 0)
    assert {e.attempts for e in _evaluations(site)} == {1, 3}  # 256 images, 128, 64
    assert {e["failure"] for e in driver.events() if e["event"] == "retried"} == {"memory"}
    site.check(candidates=2)


@long
@pytest.mark.parametrize("options", [(), RAY], ids=["serial", "ray"])
def test_candidate_that_kills_its_process_once(make_site, tmp_path, options):
    """On Ray another worker tries it again; the serial evaluator dies with it, and the campaign goes on."""
    site = make_site(troubled("once"))
    marker = {"MOOSEARCH_FAULTS_MARKER": str(tmp_path / "marker")}
    driver = site.search(*options, **marker)
    site.struck(driver, Moment("its training"), 0 if options else -9)
    if options:
        assert sorted(e.attempts for e in _evaluations(site)) == [1, 2]
    else:
        site.resume(**marker)
    site.check(candidates=2)
