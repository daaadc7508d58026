"""Live, empty and broken: what the dashboard shows when there is nothing, not yet, or no longer."""

from __future__ import annotations

import pytest

from opendt.lake import Lake
from opendt.twin.run import open_session, proposals_for
from opendt.windows.cut import cut_windows

pytestmark = [pytest.mark.browser, pytest.mark.xdist_group("browser")]

EVIL = '<img src=x onerror="window.hacked=1"><script>window.hacked=1</script>'
EVIL_RUN = "<img src=x onerror=window.hacked=1>"  # a slash would end it in the API's paths


def test_run_under_way_grows_on_the_page_without_a_reload(visit, address, world):
    from opendt.traces import read_trace

    made = visit()
    made.open(address)
    page = made.page
    trace = read_trace(world.trace)
    windows_tile = (
        "[...document.querySelectorAll('#summary dt')].find((e) => e.textContent === 'Windows').nextSibling.textContent"
    )
    with open_session(world.settings, "live-run", trace=trace) as session:
        for batch in cut_windows(trace.workload, trace.power, world.settings.windows.length_s * 1000):
            session.process(batch)
            if batch.index in (0, 3):
                session.flush()
                made.until(f"document.querySelector('.run-pick select').selectedOptions[0].text.includes('live-run') "
                                       f"&& {windows_tile} === '{batch.index + 1}'")  # fmt: skip
                assert page.inner_text("#run-state").startswith("running since")
                made.shot(f"live-{batch.index}")
        session.flush()
        session.finish(proposals_for(session, trace))
    made.until("document.querySelector('#run-state').textContent === 'completed'")
    assert page.inner_text("#live-state") == "live"
    assert made.complaints == []


def test_empty_lake_says_how_to_start(visit, empty_address):
    made = visit()
    made.open(empty_address)
    assert made.page.inner_text("h1") == "No run yet"
    assert "opendt demo" in made.page.inner_text("main")
    made.shot("empty")


def test_first_run_in_an_empty_lake_appears_by_itself(visit, tmp_path, world):
    from visiting import serving

    from opendt.settings import load_settings

    settings = load_settings(None, {"lake.path": tmp_path / "lake"}, environment={})
    with serving(settings) as address:
        made = visit()
        made.open(address)
        with Lake.open(settings.lake) as lake:
            lake.start_run("first-ever", "dc", "pipeline")
        made.page.wait_for_selector("#run-state >> text=running since")
        made.page.wait_for_selector("#power >> text=No samples yet")


def test_lake_that_is_being_created_is_an_empty_page_and_then_shows_its_first_run(visit, tmp_path):
    from visiting import serving

    from opendt.lake.connection import connect
    from opendt.settings import load_settings

    settings = load_settings(None, {"lake.path": tmp_path / "lake"}, environment={})
    connect(settings.lake).close()  # the catalogue is there, its tables are not
    with serving(settings) as address:
        made = visit()
        made.open(address)
        assert made.page.inner_text("h1") == "No run yet"
        with Lake.open(settings.lake) as lake:
            lake.start_run("first-ever", "dc", "pipeline")
        made.page.wait_for_selector("#run-state >> text=running since")


def test_part_that_fails_says_why_and_can_be_tried_again(visit, address):
    made = visit()
    answer = {"status": 503, "content_type": "application/json",
              "body": '{"error": "the lake is locked by a writer.", "type": "try-again", "status": 503}'}  # fmt: skip
    made.page.route("**/api/runs/*/power?*", lambda route: route.fulfill(**answer))
    made.open(f"{address}/?run=dc/first")
    made.page.wait_for_selector("#power [role=alert] >> text=the lake is locked by a writer")
    made.page.wait_for_selector("#accuracy canvas")  # the rest of the page works
    made.shot("part-failed")
    made.page.unroute("**/api/runs/*/power?*")
    made.page.locator("#power").get_by_role("button", name="Try again").click()
    made.page.wait_for_selector("#power canvas")


def test_part_the_server_does_not_have_is_called_not_available(visit, address):
    made = visit()
    answer = {"status": 404, "content_type": "application/json",
              "body": '{"error": "no such path.", "type": "not-found", "status": 404}'}  # fmt: skip
    made.page.route("**/api/runs/*/heatmap?*", lambda route: route.fulfill(**answer))
    made.open(f"{address}/?run=dc/first")
    made.page.wait_for_selector("#hosts >> text=Not available: no such path.")


def test_unreachable_api_is_named_and_the_page_recovers(visit, address):
    made = visit()
    made.page.route("**/api/**", lambda route: route.abort())
    made.open(address)
    assert "does not answer" in made.page.inner_text("[role=alert]")
    made.page.unroute("**/api/**")
    made.page.get_by_role("button", name="Try again").click()
    made.page.wait_for_selector("#summary")


def test_names_from_data_are_never_markup(visit, address, world):
    of = {"run_id": EVIL_RUN, "datacenter": "dc"}
    rows = {
        "runs": {"kind": "pipeline", "state": "failed", "reason": EVIL, "started_ms": 1, "trace": EVIL, "engine": EVIL},
        "windows": {
            "window_index": 0, "start_ms": 0, "end_ms": 3_600_000, "state": EVIL, "tasks_arrived": 0,
            "tasks_running": 0, "tasks_waiting": 0, "late_records": 0, "duplicate_records": 0, "dead_letters": 1,
            "wall_ms": 1.0, "committed_ms": 1,
        },
        "host_samples": {
            "window_index": 0, "timestamp_ms": 300_000, "cluster_name": EVIL, "host_name": EVIL,
            "cpu_utilization_ratio": 0.5,
        },
        "dead_letters": {
            "window_index": 0, "topic": EVIL, "partition": 0, "offset_": 1, "reason": EVIL, "payload": EVIL.encode(),
            "payload_bytes": len(EVIL),
        },
        "calibrations": {
            "window_index": 0, "calibration_id": EVIL, "method": EVIL, "curve": EVIL, "published": True, "samples": 1,
            "parameters_json": '{"<b>p</b>": 1.5}', "trained_until_ms": 3_600_000, "reason": EVIL,
        },
        "proposals": {
            "proposal_id": EVIL, "strategy": EVIL, "state": "pending", "created_ms": 1, "topology_json": "{}",
            "changes_json": '{"<b>path</b>": "<i>value</i>"}',
            "reasons_json": '["<script>window.hacked=1</script>"]',
        },
    }  # fmt: skip
    with Lake.open(world.settings.lake) as lake:
        for table, row in rows.items():
            lake.insert(table, [of | row])
    made = visit()
    made.open(address)
    page = made.page
    page.locator(".run-pick select").select_option(value=f"dc/{EVIL_RUN}")
    page.wait_for_selector("#dead-letters td")
    page.wait_for_selector("#proposals .proposal")
    made.settle()
    page.locator("#hosts canvas").first.hover()
    page.wait_for_selector("#hosts .tip-row")
    assert "onerror" in page.inner_text("#hosts .tip")
    assert page.evaluate("window.hacked") is None
    assert page.evaluate("document.querySelectorAll('#app img, #app script').length") == 0
    assert EVIL in page.inner_text("#dead-letters")
    assert "<i>value</i>" in page.inner_text("#proposals")


def test_first_paint_is_quick(visit, address):
    times = []
    for _ in range(3):
        made = visit()
        page = made.page
        page.goto(address)
        made.until("performance.getEntriesByName('first-contentful-paint').length")
        times.append(page.evaluate("performance.getEntriesByName('first-contentful-paint')[0].startTime"))
    assert min(times) < 1_000, f"first paint took {times} ms"


def test_page_works_under_a_policy_that_forbids_inline_styles_too(visit, address):
    made = visit()
    policy = "default-src 'self'; script-src 'self'; style-src 'self'; img-src 'self' data:; base-uri 'none'"

    def stricter(route):
        response = route.fetch()
        route.fulfill(response=response, headers={**response.headers, "content-security-policy": policy})

    made.page.route(f"{address}/?*", stricter)
    made.open(f"{address}/?run=dc/first")
    made.settle()
    made.page.locator("#power canvas").first.hover()
    made.page.wait_for_selector("#power .tip-row")
    made.page.locator("#hosts canvas").first.hover()
    made.page.wait_for_selector("#hosts .tip-row")
    assert made.complaints == []
