"""A browser, and pages of a made-up campaign and of a real one that was confirmed."""

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from chromium import MISSING, Browser
from synthetic import HOSTILE, REFERENCE, synthetic

from moosearch.api.campaign import Campaign
from moosearch.report.campaign_page import campaign_page


def written(path, campaign):
    """Write a page with importances from small forests: their numbers are tested elsewhere."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("moosearch.analysis.importance.TREES", 5)
        patch.setattr("moosearch.analysis.importance.SHUFFLES", 2)
        path.write_text(campaign_page(campaign), encoding="utf-8")
    return path


@pytest.fixture(scope="session")
def campaign(tmp_path_factory):
    """120 made-up candidates, named so that a page that takes names for HTML does something else."""
    return synthetic(tmp_path_factory.mktemp("synthetic") / "campaign", 120, name=HOSTILE)


@pytest.fixture(scope="session")
def page(campaign, tmp_path_factory):
    return written(tmp_path_factory.mktemp("page") / "report.html", campaign)


@pytest.fixture(scope="session")
def confirmed_page(tmp_path_factory):
    return written(tmp_path_factory.mktemp("confirmed") / "report.html", Campaign(REFERENCE))


@pytest.fixture(scope="session")
def browser():
    if MISSING:
        pytest.skip(MISSING)
    with Browser() as running:
        yield running
