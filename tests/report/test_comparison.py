"""The page of a comparison in a real browser: it is drawn, and shows what was measured."""

import pytest

from moosearch.analysis.comparison import compare
from moosearch.analysis.comparison_tables import Measured
from moosearch.report.comparison import comparison_page

HOSTILE = "x<img src=x onerror=alert(1)>"
"""The name of a folder that a page must show as it is."""


@pytest.fixture(scope="module")
def measured(made_up, tmp_path_factory):
    root = tmp_path_factory.mktemp("compared")
    folders = []
    for algorithm, shift in (("nsga2", 0.1), ("random", 0.0)):
        for seed in range(2):
            rows = [(0.5 + shift, 50 + seed), (0.2, 5 - seed), (0.8 + shift / 2, 80), None]
            name = HOSTILE if (algorithm, seed) == ("random", 1) else f"{algorithm}-{seed}"
            made_up(root / name, rows, algorithm=algorithm, seed=seed)
            folders.append(root / name)
    return Measured(compare(folders))


@pytest.fixture(scope="module")
def page(measured, tmp_path_factory):
    path = tmp_path_factory.mktemp("page") / "comparison.html"
    path.write_text(comparison_page(measured), encoding="utf-8")
    return path


@pytest.fixture
def opened(browser, page):
    browser.size(1400)
    assert browser.open(page) is not None
    yield browser
    assert browser.troubles() == []


def test_it_is_drawn_without_a_word_of_the_console(opened, measured):
    text = opened.js("return document.body.innerText")
    for note in measured.notes:
        assert note in text
    assert HOSTILE in text
    assert opened.js("return document.querySelectorAll('img').length") == 0
    drawn = (
        "return document.querySelectorAll('#fronts .points, #history .js-line, #attainment .js-line').length"
    )
    assert opened.js(drawn) > 8


def test_rings_are_around_the_front_of_all(opened, measured):
    script = "const t = document.getElementById('fronts').data.at(-1); return [[...t.x], [...t.y]]"
    x, y = opened.js(script)
    merged = [(e.objectives["flops"], e.objectives["clean_accuracy"]) for e in measured.comparison.merged]
    assert sorted(zip(x, y, strict=True)) == sorted(merged)
    points = "return document.getElementById('fronts').data.slice(0, -1).flatMap((t) => [...t.x]).length"
    assert opened.js(points) == sum(len(entry.front) for entry in measured.comparison.entries)
    opened.js("document.getElementById('front-merged').click()")
    assert opened.js(points) == len(merged)


def test_axes_are_chosen(opened):
    chosen = "const s = document.getElementById('front-x'); s.value = 'clean_accuracy';"
    opened.js(f"{chosen} s.dispatchEvent(new Event('change'))")
    title = "return document.getElementById('fronts').layout.xaxis.title.text"
    assert opened.js(title) == "clean accuracy (higher is better)"


def test_history_has_medians_and_bands(opened, measured):
    traces = "return document.getElementById('history').data"
    names = opened.js(f"{traces}.filter((t) => t.showlegend !== false).map((t) => t.name)")
    assert names == ["nsga2 (2 campaigns)", "random (2 campaigns)"]
    assert opened.js(f"{traces}.filter((t) => t.fill === 'tonexty').length") == 2


@pytest.mark.parametrize(("width", "scheme"), [(390, "light"), (1400, "dark")])
def test_on_a_phone_and_in_the_dark(browser, page, width, scheme):
    browser.size(width)
    browser.scheme(scheme)
    assert browser.open(page) is not None
    assert browser.js("return document.documentElement.scrollWidth") <= width
    assert browser.troubles() == []
    browser.scheme("light")


def test_one_objective_needs_no_front(made_up, tmp_path, browser):
    from made_up import ACCURACY

    for seed in range(2):
        made_up(tmp_path / f"{seed}", [(0.5,), None], objectives=(ACCURACY,), seed=seed)
    path = tmp_path / "page.html"
    path.write_text(comparison_page(Measured(compare([tmp_path / "0", tmp_path / "1"]))), encoding="utf-8")
    assert browser.open(path) is not None
    assert browser.js("return document.getElementById('fronts')") is None
    assert browser.troubles() == []
