"""Size of a report, and how long it takes to open, by the number of candidates.

    python tests/benchmarks/report_opening.py [NUMBER ...]

Campaigns are synthetic: recipes drawn from a space, objectives made up. Opening is from the start of the
navigation until the page says `data-ready`, in headless Chromium: the first time, and the best of three more.
"""

import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "report"))

from chromium import Browser
from synthetic import synthetic

from moosearch.api.campaign import Campaign
from moosearch.report.campaign_page import campaign_page

for count in map(int, sys.argv[1:] or ("200", "5000")):
    with tempfile.TemporaryDirectory() as folder:
        campaign = synthetic(Path(folder) / "campaign", count)
        started = time.perf_counter()
        page = campaign_page(Campaign(campaign.folder.root))
        made = time.perf_counter() - started
        path = Path(folder) / "report.html"
        path.write_text(page, encoding="utf-8")
        with Browser() as browser:
            first = browser.open(path)
            opened = min(browser.open(path) for _ in range(3))
        size = path.stat().st_size / 1e6
        times = f"made in {made:.1f} s, open in {first:.2f} s, again in {opened:.2f} s"
        print(f"{count} candidates: {size:.2f} MB, {times}")
