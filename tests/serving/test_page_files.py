"""The page's files: from memory, with a strict policy, and nothing beside them."""

from __future__ import annotations

import re

import pytest

from servers import Served
from unrolled.serving.routes.pages import page_files


@pytest.mark.parametrize("path", ["/", "/lab", "/static/page.css", "/static/page.js", "/static/plotly.min.js"])
def test_a_file_has_a_policy_and_a_tag(served: Served, path: str) -> None:
    answer = served.client.get(path)
    assert answer.status_code == 200
    assert "script-src 'self';" in answer.headers["content-security-policy"]
    assert "'unsafe-inline'" not in answer.headers["content-security-policy"].partition("style-src")[0]
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert answer.headers["referrer-policy"] == "no-referrer"
    again = served.client.get(path, headers={"If-None-Match": answer.headers["etag"]})
    assert (again.status_code, again.content) == (304, b"")


@pytest.mark.parametrize(
    "name", ["nothing.js", "..%2fapp.py", "%2e%2e%2fapp.py", "js%2fpage.js", "%2fetc%2fpasswd", "page.js%00"]
)
def test_nothing_else_is_found(served: Served, name: str) -> None:
    assert served.client.get(f"/static/{name}").status_code == 404


def test_modules_import_only_modules_that_are_there() -> None:
    files = page_files()
    for name, file in files.items():
        if name.endswith(".js") and name != "plotly.min.js":
            for imported in re.findall(r'from "\./([^"]+)"', file.content.decode()):
                assert imported in files, f"{name} imports {imported}"


def test_pages_hold_no_script_or_handler_of_their_own() -> None:
    for name, file in page_files().items():
        if name.endswith(".html"):
            text = file.content.decode()
            assert re.findall(r"<script(?![^>]*src=)", text) == []
            assert re.findall(r"\son\w+=", text) == []
            assert "http" not in text
