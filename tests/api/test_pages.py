"""The dashboard's files: compressed, tagged, cached for ever where their name says their content."""

from __future__ import annotations

import gzip
import re
from pathlib import Path

import pytest
from starlette.testclient import TestClient

from opendt.api.app import STATIC
from opendt.api.pages import ASK, FOREVER

ASSETS = sorted(path.relative_to(STATIC).as_posix() for path in (STATIC / "assets").iterdir())


def raw(client: TestClient, path: str, **headers: str) -> tuple[dict[str, str], bytes]:
    """Headers and bytes as they were sent."""
    with client.stream("GET", path, headers={"Accept-Encoding": "identity", **headers}) as response:
        assert response.status_code == 200
        return dict(response.headers), b"".join(response.iter_raw())


@pytest.mark.parametrize("name", ASSETS)
def test_assets_are_kept_for_ever(client: TestClient, name: str) -> None:
    headers, data = raw(client, f"/{name}")
    assert headers["cache-control"] == FOREVER
    assert data == (STATIC / name).read_bytes()


@pytest.mark.parametrize("path", ["/", "/index.html", "/LICENSES.txt", "/build.json"])
def test_pages_are_asked_for_every_time_and_sent_when_changed(client: TestClient, path: str) -> None:
    headers, data = raw(client, path)
    assert headers["cache-control"] == ASK
    assert data == (STATIC / (path.lstrip("/") or "index.html")).read_bytes()
    again = client.get(path, headers={"If-None-Match": headers["etag"]})
    assert (again.status_code, again.content) == (304, b"")
    assert again.headers["cache-control"] == ASK
    assert client.get(path, headers={"If-None-Match": '"other"'}).status_code == 200


@pytest.mark.parametrize("name", [name for name in ASSETS if name.endswith((".js", ".css"))])
def test_scripts_and_styles_are_compressed_for_those_who_can_read_it(client: TestClient, name: str) -> None:
    headers, data = raw(client, f"/{name}", **{"Accept-Encoding": "br, gzip"})
    assert headers["content-encoding"] == "gzip"
    assert headers["vary"] == "Accept-Encoding"
    assert gzip.decompress(data) == (STATIC / name).read_bytes()
    assert len(data) * 2 < (STATIC / name).stat().st_size


def test_head_tells_the_length_and_sends_nothing(client: TestClient) -> None:
    response = client.head("/", headers={"Accept-Encoding": "identity"})
    assert int(response.headers["content-length"]) == (STATIC / "index.html").stat().st_size
    assert response.content == b""


@pytest.mark.parametrize(
    "path", ["/assets", "/assets/", "/nothing", "/../app.py", "/%2e%2e/app.py", "/assets/../../app.py"]
)
def test_nothing_else_is_there(client: TestClient, path: str) -> None:
    response = client.get(path)
    assert response.status_code == 404
    assert response.json()["type"] == "not-found"


def test_pages_cannot_be_changed(client: TestClient) -> None:
    response = client.post("/index.html")
    assert response.status_code == 405
    assert response.headers["allow"] == "GET, HEAD"


def test_policy_allows_no_script_or_style_inside_pages(client: TestClient) -> None:
    for path in ("/", "/docs"):
        response = client.get(path)
        assert "unsafe" not in response.headers["content-security-policy"]
        assert not re.search(r"<style|<script(?![^>]*\bsrc=)|\bstyle=|\bon\w+=", response.text)
    assert client.get("/docs.css").headers["content-type"].startswith("text/css")


def test_page_of_another_folder_is_its_own(tmp_path: Path) -> None:
    from starlette.applications import Starlette
    from starlette.routing import Mount

    from opendt.api.pages import Pages

    (tmp_path / "index.html").write_text("hello")
    with TestClient(Starlette(routes=[Mount("/", Pages(tmp_path))])) as client:
        assert client.get("/").text == "hello"
