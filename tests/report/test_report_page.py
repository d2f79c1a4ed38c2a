"""The report in a real browser: what a user sees, clicks and types."""

import csv
import time
from urllib.parse import urlencode

import numpy as np
import pytest
from synthetic import HOSTILE, OBJECTIVES, synthetic

from moosearch.pareto import Front
from moosearch.report.campaign_page import campaign_page

# A browser needs seconds a test: `make test` runs a third of these each day; whether all is drawn, always.
pytestmark = pytest.mark.rotated(3, group="pages")

POINTS = """
return document.getElementById("scatter").data.filter((t) => /^(front|dominated) /.test(t.name))
  .flatMap((t) => [...t.customdata]).sort((a, b) => a - b);
"""
TIP = "return document.getElementById('tip').innerText"
SCROLLED = """
const to = scrollY + innerHeight;
scrollTo({ top: to < document.body.scrollHeight ? to : 0, behavior: "instant" });
return document.querySelectorAll(".js-plotly-plot").length;
"""
PLACE = """
const plot = document.getElementById("scatter"), row = arguments[0];
plot.scrollIntoView({ behavior: "instant", block: "center" });
const trace = plot.data.find((t) => [...(t.customdata ?? [])].includes(row));
const at = [...trace.customdata].indexOf(row);
const { xaxis, yaxis } = plot._fullLayout, box = plot.getBoundingClientRect();
return [box.left + xaxis._offset + xaxis.d2p(trace.x[at]), box.top + yaxis._offset + yaxis.d2p(trace.y[at])];
"""


def until(condition, seconds=90):
    """Wait for something to become true."""
    end = time.monotonic() + seconds
    while not (found := condition()):
        assert time.monotonic() < end, "it did not happen"
        time.sleep(0.05)
    return found


def write(browser, name, text):
    script = "const e = document.getElementById(arguments[0]); e.value = arguments[1];"
    browser.js(f"{script} e.dispatchEvent(new Event('input', {{bubbles: true}}))", name, text)


def select(browser, css, value):
    script = "const e = document.querySelector(arguments[0]); e.value = arguments[1];"
    browser.js(f"{script} e.dispatchEvent(new Event('change', {{bubbles: true}}))", css, value)


def said(browser):
    return browser.js("return document.getElementById('where-said').textContent")


def ids(browser):
    return browser.js("return [...document.querySelectorAll('#rows tbody tr')].map((r) => r.dataset.id)")


def pinned(browser):
    heads = browser.js(
        "return [...document.querySelectorAll('#compare thead .id')].map((e) => e.textContent)"
    )
    return [head.split()[1] for head in heads]


def shown(browser, name):
    """Scroll to an element until it is drawn: what is drawn above moves it out of sight again."""
    script = """
        const e = document.getElementById(arguments[0]);
        e.scrollIntoView({ behavior: "instant" });
        return e.childElementCount > 0;
    """
    until(lambda: browser.js(script, name))


@pytest.fixture
def opened(browser, page):
    """The page, just opened; nothing may be said in the console until the test ends."""
    browser.size(1400)
    browser.scheme("light")
    browser.troubles()
    assert browser.open(page) is not None, browser.troubles()
    yield browser
    assert browser.troubles() == []


@pytest.mark.rotated(1)
def test_everything_is_drawn_without_a_word_in_the_console(browser, confirmed_page):
    browser.size(1400)
    browser.troubles()
    assert browser.open(confirmed_page) is not None
    for name in ("confirmation", "parallel", "importance", "genes", "rows", "history"):
        shown(browser, name)
    until(lambda: browser.js(SCROLLED) >= 5)
    text = browser.js("return document.body.innerText")
    for word in (
        "knee",
        "Confirmed values",
        "fgsm",
        "stays",
        "What can be told from noise",
        "no difference that can be told from noise, and none beyond (95 %)",
        "small_cnn",
        "Hypervolume by generation",
        "python",
    ):
        assert word in text
    assert browser.troubles() == []


def test_a_click_on_a_point_pins_its_candidate(opened, campaign):
    from selenium.webdriver import ActionChains

    evaluations = campaign.evaluations
    members = [e.candidate.id for e in campaign.front]
    for identity in (members[0], members[-1]):
        row = [e.candidate.id for e in evaluations].index(identity)
        x, y = opened.js(PLACE, row)
        pointer = ActionChains(opened.driver, duration=20)
        for step in (3, 0):
            pointer.w3c_actions.pointer_action.move_to_location(round(x) - step, round(y))
        pointer.perform()
        tip = until(lambda wanted=identity: wanted in (text := opened.js(TIP)) and text)
        assert "width" in tip
        ActionChains(opened.driver, duration=20).pause(0.4).click().perform()  # two clicks, not a double one
        until(lambda wanted=identity: wanted in pinned(opened))
    assert pinned(opened) == [members[0], members[-1]]
    commands = opened.js("return [...document.querySelectorAll('#compare code')].map((e) => e.textContent)")
    assert commands[0].startswith("moosearch export ")
    assert commands[0].endswith(f"--pick {members[0]}")


def test_a_row_pins_and_a_button_lets_go(opened):
    first = ids(opened)[0]
    opened.js("document.querySelector('#rows tbody tr td').click()")
    assert pinned(opened) == [first]
    opened.js("document.querySelector('#compare button').click()")
    assert pinned(opened) == []


def test_what_differs_between_pinned_ones_is_marked(opened, campaign):
    a, b = campaign.front.members[:2]
    for e in (a, b):
        opened.js("document.querySelector(`[data-id='${arguments[0]}'] .row-pin`).click()", e.candidate.id)
    marked = opened.js("return [...document.querySelectorAll('#compare .differs th')].map((e) => e.title)")
    paths = a.candidate.genome.keys() | b.candidate.genome.keys()
    assert set(marked) == {p for p in paths if a.candidate.genome.get(p) != b.candidate.genome.get(p)}


def test_constraints_filter_scatter_table_and_decisions(opened, campaign):
    bounds = "robust_accuracy>=0.5, flops<=1e6, parameters >= 2e4"
    write(opened, "where", bounds)
    kept = [
        row
        for row, e in enumerate(campaign.evaluations)
        if e.status == "complete"
        and e.objectives["robust_accuracy"] >= 0.5
        and e.objectives["flops"] <= 1e6
        and e.metrics["parameters"] >= 2e4
    ]
    until(lambda: said(opened).startswith(f"{len(kept)} of 120"))
    assert opened.js(POINTS) == [row for row in kept if campaign.evaluations[row].feasible]
    assert opened.js("return document.getElementById('count').textContent") == f"{len(kept)} of 120"
    assert set(ids(opened)) <= {campaign.evaluations[row].candidate.id for row in kept}
    out = opened.js("return [...document.querySelectorAll('#picks .out')].map((e) => e.dataset.id)")
    chosen = {choice.evaluation.candidate.id for choice in campaign.front.decisions()}
    assert set(out) == chosen - {campaign.evaluations[row].candidate.id for row in kept}
    opened.js("document.getElementById('reset').click()")
    assert said(opened) == "all 120 candidates"
    assert len(ids(opened)) == 50


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("robust_acuracy>=0.4", "Did you mean 'robust_accuracy'?"),
        ("flops < 3", "'flops < 3' is no bound"),
        ("flops<=many", "'many' is no number"),
    ],
)
def test_a_bad_constraint_is_told_and_filters_nothing(opened, text, message):
    write(opened, "where", text)
    until(lambda: message in said(opened))
    assert opened.js("return document.getElementById('where').getAttribute('aria-invalid')") == "true"
    assert len(opened.js(POINTS)) > 50
    write(opened, "where", "")
    until(lambda: said(opened) == "all 120 candidates")


def test_a_heading_sorts_and_nothing_is_last(opened, campaign):
    from selenium.webdriver.common.keys import Keys

    by_cost = sorted((e for e in campaign.evaluations if e.objectives), key=lambda e: e.objectives["flops"])
    button = opened.driver.find_element("css selector", "[data-sort=flops]")
    button.send_keys(Keys.ENTER)
    assert ids(opened)[0] == by_cost[0].candidate.id
    opened.driver.find_element("css selector", "[data-sort=flops]").send_keys(Keys.ENTER)
    assert opened.js("return document.querySelector('[aria-sort=descending]').innerText").startswith("flops")
    assert (
        ids(opened)[0] == by_cost[-1].candidate.id
        or by_cost[-1].objectives["flops"] == by_cost[-2].objectives["flops"]
    )
    opened.js("document.querySelector('#pager button:last-child').click()")
    failed = [e.candidate.id for e in campaign.evaluations if e.status == "failed"]
    assert ids(opened)[-len(failed) :] == failed


def test_the_table_is_searched_and_filtered_by_status(opened, campaign):
    failed = [e.candidate.id for e in campaign.evaluations if e.status == "failed"]
    select(opened, "#status", "failed")
    assert ids(opened) == failed
    assert HOSTILE in opened.js("return document.querySelector('#rows .error').textContent")
    opened.js("document.getElementById('reset').click()")
    write(opened, "query", "trades mixed")
    genomes = [(e.candidate.id, e.candidate.genome) for e in campaign.evaluations]
    wanted = {i for i, g in genomes if g["training.loss"] == "trades" and g["training.attack"] == "mixed"}
    assert set(ids(opened)) == wanted


def test_brushing_an_axis_filters_scatter_and_table(opened, campaign):
    from selenium.webdriver import ActionChains

    shown(opened, "parallel")
    opened.js("document.getElementById('parallel').scrollIntoView({behavior: 'instant', block: 'center'})")
    script = """
    const plot = document.getElementById("parallel"), axes = plot.data[0].dimensions.map((d) => d.name);
    const brush = plot.querySelectorAll(".axis-brush .background")[axes.indexOf("robust_accuracy")];
    const box = brush.getBoundingClientRect();
    return [box.left + box.width / 2, box.top, box.bottom];
    """
    x, top, bottom = until(lambda: opened.js(script))
    pointer = ActionChains(opened.driver, duration=60)
    actions = pointer.w3c_actions.pointer_action
    actions.move_to_location(round(x), round(bottom - (bottom - top) * 0.45))
    actions.pointer_down()
    actions.move_to_location(round(x), round(bottom - (bottom - top) * 0.7))
    actions.move_to_location(round(x), round(top + 4))
    actions.pointer_up()
    pointer.perform()
    until(lambda: " of 120" in said(opened))
    axes = opened.js("return document.getElementById('parallel').data[0].dimensions")
    low, high = next(axis["constraintrange"] for axis in axes if axis["name"] == "robust_accuracy")
    assert low < high
    rows = [
        row
        for row, e in enumerate(campaign.evaluations)
        if e.feasible and low <= e.objectives["robust_accuracy"] <= high
    ]
    assert 0 < len(rows) < 110
    assert opened.js(POINTS) == rows
    assert set(ids(opened)) & {campaign.evaluations[row].candidate.id for row in rows}
    opened.js("document.getElementById('unbrush').click()")
    assert said(opened) == "all 120 candidates"


@pytest.mark.parametrize("rule", ["compromise", "asf"])
def test_weights_choose_whom_python_chooses(opened, campaign, rule):
    generator = np.random.default_rng(1)
    select(opened, "#rule", rule)
    keys = [o.key for o in campaign.header.objectives]
    chosen = set()
    for weights in [(100, 0, 0), (0, 0, 50), *generator.integers(0, 101, (8, 3)).tolist()]:
        for number, weight in enumerate(weights):
            script = (
                "const e = document.querySelectorAll('[data-weight]')[arguments[0]]; e.value = arguments[1];"
            )
            opened.js(f"{script} e.dispatchEvent(new Event('input'))", number, weight)
        text = ",".join(f"{key}={weight}" for key, weight in zip(keys, weights, strict=True))
        found = opened.js("return document.querySelector('#weighted .pick').dataset.id")
        assert found == campaign.front.choose(f"{rule}:{text}").evaluation.candidate.id, text
        chosen.add(found)
    assert len(chosen) > 2


def test_weights_choose_among_those_that_keep_the_constraints(opened, campaign):
    write(opened, "where", "flops<=1e6")
    until(lambda: " of 120" in said(opened))
    left = campaign.front.where("flops<=1e6")
    found = opened.js("return document.querySelector('#weighted .pick').dataset.id")
    assert found == left.choose("compromise").evaluation.candidate.id


def test_the_address_keeps_what_was_chosen(opened, page, campaign):
    member = campaign.front.members[0].candidate.id
    opened.js("document.querySelector(`[data-id='${arguments[0]}'] .row-pin`).click()", member)
    write(opened, "where", "flops<=1e6")
    select(opened, "[data-axis=y]", "clean_accuracy")
    before = until(lambda: " of 120" in (text := said(opened)) and text)
    opened.driver.refresh()
    assert opened.wait() is not None
    assert pinned(opened) == [member]
    assert said(opened) == before
    assert opened.js("return document.querySelector('[data-axis=y]').value") == "clean_accuracy"
    wrong = {
        "x": "<b>",
        "pins": "zzz",
        "brush": '{"flops": 3}',
        "page": "-1",
        "sort": "x",
        "weights": "1",
        "axes": "no",
    }
    assert opened.open(page, f"#{urlencode(wrong)}") is not None
    assert len(ids(opened)) == 50


def test_dark_mode_is_followed_live(opened):
    look = """
    const text = document.querySelector("#scatter .xtitle");
    return [getComputedStyle(document.body).backgroundColor, getComputedStyle(text).fill];
    """
    light = opened.js(look)
    opened.scheme("dark")
    until(lambda: all(a != b for a, b in zip(light, opened.js(look), strict=True)))
    opened.scheme("light")
    until(lambda: opened.js(look) == light)


def test_a_phone_scrolls_down_only(browser, confirmed_page):
    browser.size(390, 844)
    try:
        assert browser.open(confirmed_page) is not None
        for name in ("confirmation", "parallel", "importance", "rows", "history"):
            shown(browser, name)
        assert browser.js("return document.documentElement.scrollWidth") <= 390
    finally:
        browser.size(1400)


def test_nothing_is_asked_of_a_network(browser, page):
    import json

    browser.driver.get_log("performance")
    assert browser.open(page) is not None
    shown(browser, "parallel")
    messages = [json.loads(entry["message"])["message"] for entry in browser.driver.get_log("performance")]
    asked = [m["params"]["request"]["url"] for m in messages if m["method"] == "Network.requestWillBeSent"]
    assert asked
    assert not [url for url in asked if not url.startswith(("file:", "data:", "blob:", "about:"))]


def test_names_are_shown_and_never_run(opened):
    for name in ("parallel", "genes"):
        shown(opened, name)
    select(opened, "[data-axis=c]", "note")
    assert opened.js("return document.querySelector('h1').textContent") == HOSTILE
    assert opened.js("return document.querySelector('#scatter .legend').textContent.includes('<img src=x')")
    assert opened.js("return window.hacked ?? null") is None
    assert opened.js("return document.querySelectorAll('img, #main script').length") == 0
    run = "const s = document.createElement('script'); s.textContent = 'window.hacked = 3';"
    opened.js(f"{run} document.body.append(s)")
    assert opened.js("return window.hacked ?? null") is None  # the page's policy
    assert any("Content Security Policy" in message for message in opened.troubles())


def test_the_table_is_downloaded_as_csv(opened, tmp_path, campaign):
    settings = {"behavior": "allow", "downloadPath": str(tmp_path)}
    opened.driver.execute_cdp_cmd("Browser.setDownloadBehavior", settings)
    write(opened, "where", "flops<=1e6")
    until(lambda: " of 120" in said(opened))
    opened.js("document.getElementById('csv').click()")
    path = until(lambda: next(iter(tmp_path.glob("*.csv")), None))
    rows = list(csv.DictReader(until(lambda: path.read_text(encoding="utf-8")).splitlines()))
    known = {e.candidate.id: e for e in campaign.evaluations}
    assert len(rows) == sum(e.objectives.get("flops", np.inf) <= 1e6 for e in campaign.evaluations)
    for row in rows:
        evaluation = known[row["id"]]
        assert float(row["robust_accuracy"]) == evaluation.objectives["robust_accuracy"]
        assert float(row["architecture.width"]) == evaluation.candidate.genome["architecture.width"]


@pytest.mark.parametrize("objective", [OBJECTIVES[0], OBJECTIVES[2]], ids=lambda o: o.sense)
def test_one_objective_is_drawn_over_generations(browser, tmp_path, objective):
    path = tmp_path / "page.html"
    path.write_text(campaign_page(synthetic(tmp_path / "campaign", 16, optimized=(objective,))))
    browser.troubles()
    assert browser.open(path) is not None
    axes = browser.js("return ['x', 'y'].map((a) => document.querySelector(`[data-axis=${a}]`).value)")
    assert axes == ["generation", objective.key]
    assert browser.js("return document.getElementById('weights').hidden")
    assert browser.troubles() == []


def test_a_page_of_a_running_campaign_loads_itself_again(browser, tmp_path):
    from moosearch.report.page import Section, document

    browser.size(1400)
    path = tmp_path / "page.html"
    path.write_text(document("a", [Section("a", "b", '<p id="x">1</p>')], {}, refresh=1))
    browser.driver.get(path.as_uri())
    browser.js("Page.start(() => {})")
    path.write_text(document("a", [Section("a", "b", '<p id="x">2</p>')], {}))
    until(lambda: browser.js("return document.getElementById('x')?.textContent") == "2")


def test_the_front_of_the_page_is_the_front(opened, campaign):
    front = Front.of(campaign.evaluations, campaign.header.objectives)
    texts = opened.js("return [...document.querySelectorAll('#rows tr.front')].map((r) => r.dataset.id)")
    assert set(texts) == {e.candidate.id for e in front}
