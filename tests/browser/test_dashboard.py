"""People at work on the dashboard, in a real browser against a real API."""

from __future__ import annotations

from datetime import datetime, timedelta

import pytest

from opendt.lake import Lake
from opendt.store import Store

pytestmark = [pytest.mark.browser, pytest.mark.xdist_group("browser")]

CHARTS = ("power", "accuracy", "carbon", "hosts", "calibration", "windows")


def ink(page, section: str) -> int:
    """How many different colours the chart of a section shows; an empty canvas shows one."""
    return page.evaluate(
        """(id) => {
            const canvas = document.querySelector(`#${id} canvas`);
            if (!canvas) return 0;
            const { data } = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height);
            const seen = new Set();
            new Uint32Array(data.buffer).forEach((pixel) => seen.add(pixel));
            return seen.size;
        }""",
        section,
    )


def read_moment(text: str) -> datetime:
    return datetime.strptime(text, "%d %b %Y, %H:%M UTC")


def test_finished_run_is_shown_whole(visitor, world, address):
    page = visitor.page
    visitor.settle()
    with Lake.open(world.settings.lake, read_only=True) as lake:
        (row,) = lake.rows("SELECT energy_kwh, windows FROM runs WHERE run_id = 'first'")
    tiles = page.inner_text("#summary").replace("\u202f", " ")
    assert f"{row['energy_kwh']:,.1f} kWh" in tiles
    assert str(row["windows"]) in tiles
    assert page.inner_text("#run-state") == "completed"
    for section in CHARTS:
        assert ink(page, section) > 20, f"nothing is drawn in {section}"
    assert {url.split("/")[2] for url in visitor.requests} == {address.split("/")[2]}
    assert visitor.complaints == []
    visitor.shot("light")


def test_period_buttons_zoom_all_time_charts_and_load_finer_data(visitor):
    page = visitor.page
    page.get_by_role("button", name="6 h").click()
    visitor.until("document.querySelector('#period').textContent.includes('06:00')")
    visitor.until("document.querySelector('#power .note').textContent.includes('30')")
    fine = [url for url in visitor.requests if "/power?" in url and "start_time" in url]
    assert fine
    page.get_by_role("button", name="Earlier").click()
    visitor.until("document.querySelector('#period').textContent.includes('03:00')")
    page.get_by_role("button", name="All", exact=True).click()
    visitor.until("document.querySelector('#period').textContent.includes('00:00')")
    assert visitor.complaints == []


def test_ctrl_and_wheel_over_a_chart_zooms_where_the_mouse_is(visitor):
    page = visitor.page
    visitor.settle()
    before = page.inner_text("#period")
    box = page.locator("#power canvas").first.bounding_box()
    page.mouse.move(box["x"] + box["width"] / 2, box["y"] + 120)
    page.keyboard.down("Control")
    page.mouse.wheel(0, -400)
    page.keyboard.up("Control")
    visitor.until("(before) => document.querySelector('#period').textContent !== before", before)
    assert page.get_by_role("button", name="All", exact=True).get_attribute("aria-pressed") == "false"


def test_cursor_names_values_with_units(visitor):
    page = visitor.page
    visitor.settle()
    box = page.locator("#power canvas").first.bounding_box()
    page.mouse.move(box["x"] + box["width"] / 2, box["y"] + 120, steps=4)
    page.wait_for_selector("#power .tip-row")
    text = page.locator("#power .tip").text_content().replace("\u202f", " ")
    assert "simulated" in text
    assert "kW" in text
    assert "UTC" in text


def test_cursor_in_one_chart_marks_the_same_moment_in_the_others(visitor):
    page = visitor.page
    visitor.settle()
    box = page.locator("#power canvas").first.bounding_box()
    page.mouse.move(box["x"] + box["width"] / 2, box["y"] + 120, steps=4)
    page.wait_for_selector("#power .tip-row")
    moment = page.inner_text("#power .tip-head")
    for section in ("accuracy", "carbon", "calibration", "windows"):
        head = page.locator(f"#{section} .tip-head")
        head.wait_for(state="attached")
        assert abs(read_moment(head.text_content()) - read_moment(moment)) < timedelta(minutes=10)  # a few pixels
        assert not head.is_visible()  # the mark is shared, the values are shown by the chart pointed at
    assert visitor.complaints == []


def test_legend_button_hides_a_line(visitor):
    page = visitor.page
    visitor.settle()
    button = page.locator("#accuracy").get_by_role("button", name="persistence")
    before = ink(page, "accuracy")
    button.click()
    assert button.get_attribute("aria-pressed") == "false"
    page.wait_for_timeout(100)
    assert ink(page, "accuracy") != before


def test_proposal_is_approved_with_a_token_and_another_one_rejected(visitor, world):
    page = visitor.page
    cards = page.locator("#proposals .proposal")
    cards.first.wait_for()
    approved, rejected = (cards.nth(i).get_attribute("data-proposal") for i in (0, 1))
    page.get_by_role("button", name=f"Approve proposal {approved}").click()
    dialog = page.get_by_role("dialog")
    dialog.get_by_label("Token").fill("wrong")
    dialog.get_by_role("button", name="Continue").click()
    page.wait_for_selector("dialog >> text=does not accept that token")
    dialog.get_by_label("Token").fill("a-token-for-tests")
    dialog.get_by_role("button", name="Continue").click()
    page.wait_for_selector(f"[data-proposal={approved}] >> text=approved")
    page.get_by_role("button", name=f"Reject proposal {rejected}").click()
    page.wait_for_selector(f"[data-proposal={rejected}] >> text=rejected")
    with Store.open(world.settings, read_only=True) as store:
        found = {d.proposal_id: (d.decision, d.decided_by) for d in store.decisions("dc", limit=10)}
    assert found == {approved: ("approved", "dashboard"), rejected: ("rejected", "dashboard")}


def test_giving_no_token_changes_nothing_and_says_so(visitor):
    page = visitor.page
    page.locator("#slo summary", has_text="Set targets").click()
    page.get_by_label("Energy [kWh]").fill("1")
    page.get_by_role("button", name="Save targets").click()
    page.get_by_role("dialog").get_by_role("button", name="Cancel").click()
    page.wait_for_selector("#slo >> text=Nothing was changed")


def test_targets_are_set_and_compared_with_the_run_at_once(visit, address):
    made = visit()
    made.open(f"{address}/?run=dc/first#token=a-token-for-tests")
    page = made.page
    assert "token" not in page.url
    page.locator("#slo summary", has_text="Set targets").click()
    page.get_by_label("Energy [kWh]").fill("0.001")
    page.get_by_label("Peak power [kW]").fill("100000")
    page.get_by_role("button", name="Save targets").click()
    page.wait_for_selector("#slo .slo.missed >> text=Energy")
    page.wait_for_selector("#slo .slo.met >> text=Peak power")
    assert made.complaints == []


def test_what_if_answers_when_a_slider_moves(visitor):
    page = visitor.page
    page.get_by_label("Workload of").select_option(label="the whole run")
    page.get_by_role("slider", name="Core speed").fill("1500")
    page.wait_for_selector("#what-if .result tbody tr")
    text = page.inner_text("#what-if .result").replace("\u202f", " ")
    assert "Energy" in text
    assert "kWh" in text
    assert "%" in text
    page.get_by_role("button", name="Back to the present topology").click()
    page.wait_for_selector("#what-if >> text=Move a slider")
    assert visitor.complaints == []


def test_sql_runs_from_the_keyboard_and_from_the_gallery(visitor):
    page = visitor.page
    box = page.get_by_label("SQL statement")
    box.fill("SELECT 41 + 1 AS answer, '<b>x</b>' AS text")
    box.press("Control+Enter")
    page.wait_for_selector("#sql td >> text=42")
    assert page.inner_text("#sql tbody tr").split() == ["42", "<b>x</b>"]
    page.get_by_label("Gallery").select_option(index=1)
    page.wait_for_selector("#sql th >> text=run_id")
    assert visitor.complaints == []


def test_sql_error_is_shown_as_the_database_says_it(visitor):
    page = visitor.page
    page.get_by_label("SQL statement").fill("SELECT nothing FROM nowhere")
    page.get_by_role("button", name="Run", exact=True).click()
    page.wait_for_selector("#sql .failure >> text=nowhere")


def test_samples_are_saved_as_csv(visitor):
    page = visitor.page
    with page.expect_download() as download:
        page.get_by_role("button", name="Save power as CSV").click()
    text = download.value.path().read_text()
    assert download.value.suggested_filename == "opendt-power.csv"
    assert text.splitlines()[0].replace(chr(34), "").startswith("time,simulated_w")
    assert len(text.splitlines()) > 100
