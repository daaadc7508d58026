"""The report of a run: whole, self-contained, safe, and right about the numbers."""

from __future__ import annotations

import html.parser
import json
from datetime import UTC, datetime

import pytest
from typer.testing import CliRunner

from opendt.cli import app
from opendt.errors import InputError
from opendt.lake import Lake
from opendt.reports import data
from opendt.reports.figures import FIGURES
from opendt.reports.run import write_run_report

NOW = datetime(2026, 1, 2, 3, 4, tzinfo=UTC)


class Addresses(html.parser.HTMLParser):
    """Every address and every element of a page."""

    def __init__(self) -> None:
        super().__init__()
        self.addresses: list[str] = []
        self.elements: list[str] = []

    def handle_starttag(self, tag, attrs):
        self.elements.append(tag)
        self.addresses += [value or "" for name, value in attrs if name in {"src", "href", "srcset", "action"}]


@pytest.fixture(scope="module")
def written(settings, tmp_path_factory):
    with Lake.open(settings, read_only=True) as lake:
        return write_run_report(lake, "done", tmp_path_factory.mktemp("report") / "out", now=NOW)


@pytest.fixture
def drawn_elsewhere(monkeypatch):
    """Figures are drawn in test_figures.py; here their bytes stand in where only the page matters."""
    from opendt.reports import run

    monkeypatch.setattr(run, "render", lambda make, lake, row, *formats: dict.fromkeys(formats, b"figure"))


def read(page: str) -> Addresses:
    parser = Addresses()
    parser.feed(page)
    return parser


def test_page_needs_nothing_beside_it(written):
    found = read(written.html.read_text())
    assert len(found.addresses) == len(FIGURES)
    assert all(address.startswith("data:image/png;base64,") for address in found.addresses)
    assert not {"script", "link", "iframe"} & set(found.elements)


def test_figures_are_written_as_png_and_pdf(written):
    names = {path.name for path in written.figures}
    assert names == {f"{name}.{kind}" for name in FIGURES for kind in ("png", "pdf")}
    assert all(path.stat().st_size > 1_000 for path in written.figures)


def test_page_shows_the_totals_of_the_lake(written, lake):
    (row,) = lake.rows("SELECT energy_kwh, carbon_kg, mape_pct, trace_sha256, topology_version, code_version FROM runs "
                       "WHERE run_id = 'done'")  # fmt: skip
    page = written.html.read_text()
    for text in (f"{row['energy_kwh']:,.1f} kWh", f"{row['carbon_kg']:,.1f} kg", f"{row['mape_pct']:,.2f} %",
                 row["trace_sha256"], row["topology_version"], f"OpenDT {row['code_version']}<"):  # fmt: skip
        assert text in page


def test_same_lake_gives_the_same_page(written, lake, tmp_path):
    assert write_run_report(lake, "done", tmp_path, now=NOW).html.read_bytes() == written.html.read_bytes()


def test_page_of_a_run_under_way_says_what_is_missing(lake, tmp_path, drawn_elsewhere):
    page = write_run_report(lake, "going", tmp_path).html.read_text()
    assert "This run was not calibrated" in page
    assert "No proposals" in page


def test_hash_of_results_stands_in_the_page_and_follows_the_results(written, lake):
    done, going = (data.provenance(lake, data.find_run(lake, name))["power_sha256"] for name in ("done", "going"))
    assert done in written.html.read_text()
    assert len(done) == 64
    assert done != going


def test_names_in_the_data_are_text_not_markup(empty_lake, tmp_path, drawn_elsewhere):
    evil = '<img src=x onerror="alert(1)">'
    empty_lake.start_run(evil, "dc", "pipeline", trace=evil, config_json=json.dumps({"x": evil}))
    page = write_run_report(empty_lake, evil, tmp_path).html.read_text()
    assert evil not in page
    assert page.count("&lt;img src=x") >= 3
    assert all(address.startswith("data:") for address in read(page).addresses)


def test_folder_that_cannot_be_made_is_named(lake, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match=r"file: the report cannot be written .* --out"):
        write_run_report(lake, "done", tmp_path / "file")


def test_command_writes_the_latest_run_and_prints_one_json_object(lake_folder, tmp_path, drawn_elsewhere):
    result = CliRunner().invoke(
        app, ["report", "run", "latest", "--lake", str(lake_folder), "--out", str(tmp_path / "o"), "--json"]
    )
    assert result.exit_code == 0, result.output
    found = json.loads(result.stdout)
    assert found["run_id"] == "going"
    assert (tmp_path / "o/report.html").is_file()
    assert len(found["figures"]) == 2 * len(FIGURES)


def test_command_refuses_an_unknown_run_with_exit_code_2(lake_folder, tmp_path):
    result = CliRunner().invoke(
        app, ["report", "run", "../../x", "--lake", str(lake_folder), "--out", str(tmp_path / "o")]
    )
    assert result.exit_code == 2
    assert not (tmp_path / "o").exists()


def test_without_folder_a_report_goes_under_artifacts_whatever_the_id(tmp_path, monkeypatch, drawn_elsewhere):
    from opendt.settings import LakeSettings

    monkeypatch.chdir(tmp_path)
    with Lake.open(LakeSettings(path=tmp_path / "lake")) as lake:
        lake.start_run("../../up", "dc", "pipeline")
    result = CliRunner().invoke(app, ["report", "run", "../../up", "--lake", str(tmp_path / "lake")])
    assert result.exit_code == 0, result.output
    assert (tmp_path / "artifacts/reports/_.._up/report.html").is_file()
