"""For everyone: small and large screens, light and dark, keyboard, screen readers."""

from __future__ import annotations

import pytest

pytestmark = [pytest.mark.browser, pytest.mark.xdist_group("browser")]

SIZES = {"phone": (390, 844), "tablet": (820, 1180), "laptop": (1440, 900), "wide": (1920, 1080)}


@pytest.mark.parametrize("size", SIZES)
def test_nothing_is_wider_than_the_screen(visit, address, size):
    made = visit(*SIZES[size])
    made.open(f"{address}/?run=dc/first")
    made.settle()
    width = made.page.evaluate("document.documentElement.scrollWidth")
    made.shot(size)
    assert width <= SIZES[size][0]


@pytest.mark.parametrize(("scheme", "size"), [("light", "laptop"), ("dark", "laptop"), ("dark", "phone")])
def test_axe_finds_nothing_serious(visit, address, scheme, size):
    from axe_playwright_python.sync_playwright import Axe

    made = visit(*SIZES[size], scheme=scheme)
    made.open(f"{address}/?run=dc/first")
    made.settle()
    page = made.page
    for summary in page.locator("details > summary").all():
        summary.click()
    page.get_by_role("button", name="Run", exact=True).click()
    page.wait_for_selector("#sql table")
    made.shot(f"{scheme}-{size}-open")
    found = Axe().run(page).response["violations"]
    serious = [
        f"{v['id']}: {v['help']} ({node['target']}: {node['failureSummary']})"
        for v in found
        if v["impact"] in ("serious", "critical")
        for node in v["nodes"]
    ]
    assert serious == []


def test_axe_finds_nothing_serious_where_there_is_no_run(visit, empty_address):
    from axe_playwright_python.sync_playwright import Axe

    made = visit()
    made.open(empty_address)
    assert [
        v["id"] for v in Axe().run(made.page).response["violations"] if v["impact"] in ("serious", "critical")
    ] == []


def test_colours_follow_the_system_until_somebody_chooses(visit, address):
    made = visit(scheme="dark")
    made.open(f"{address}/?run=dc/first")
    page = made.page
    theme = "document.documentElement.dataset.theme"
    assert page.evaluate(theme) == "dark"
    page.get_by_role("button", name="Use light colours").click()
    assert page.evaluate(theme) == "light"
    page.reload()
    page.wait_for_selector("#summary")
    assert page.evaluate(theme) == "light"


def test_keyboard_alone_reaches_and_works_the_page(visit, address):
    made = visit()
    made.open(f"{address}/?run=dc/first")
    page = made.page
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.textContent") == "Skip to the charts"
    reached = set()
    for _ in range(70):
        page.keyboard.press("Tab")
        reached.add(
            page.evaluate("""() => {
            const e = document.activeElement;
            return e.getAttribute('aria-label') || e.labels?.[0]?.textContent.trim() || e.textContent.trim();
        }""")
        )
    for name in ("Run", "Zoom in", "All", "Save power as CSV", "simulated"):
        assert any(text.startswith(name) for text in reached), f"{name} is not reached with the Tab key"
    page.get_by_role("button", name="Zoom in").focus()
    before = page.inner_text("#period")
    page.keyboard.press("Enter")
    made.until("(before) => document.querySelector('#period').textContent !== before", before)


def test_arrow_keys_walk_along_a_chart(visitor):
    page = visitor.page
    visitor.settle()
    page.locator("#power .chart").focus()
    page.keyboard.press("ArrowRight")
    page.wait_for_selector("#power .tip-row")
    first = page.inner_text("#power .tip-head")
    page.keyboard.press("ArrowRight")
    visitor.until("(before) => document.querySelector('#power .tip-head').textContent !== before", first)
    page.keyboard.press("+")
    visitor.until("!document.querySelector('.period button[aria-pressed=true]')")
    assert visitor.complaints == []


def test_every_chart_says_in_words_what_it_shows(visitor):
    visitor.settle()
    labels = visitor.page.eval_on_selector_all(".chart", "all => all.map((e) => e.getAttribute('aria-label'))")
    assert len(labels) == 6
    assert all(len(label) > 20 for label in labels)
