"""The site that `make docs` builds."""

import functools
import http.server
import os
import re
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from tests.browser import needs_browser
from tests.devtools import open_page

ROOT = Path(__file__).parents[3]


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    pytest.importorskip("material", reason="the theme of the site (mkdocs-material, of the extra `dev`) is not here")
    folder = tmp_path_factory.mktemp("site") / "site"
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "--site-dir", str(folder)]
    environment = {**os.environ, "NO_MKDOCS_2_WARNING": "1"}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    return folder


class Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.mark.slow
@needs_browser
def test_the_search_finds_words_and_flags_as_they_are_typed(site: Path, tmp_path: Path) -> None:
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Quiet, directory=str(site)))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    typed = "field.value = %r; field.dispatchEvent(new Event('input', {bubbles: true}))"
    typed += "; field.dispatchEvent(new KeyboardEvent('keyup', {bubbles: true}))"
    found = "[...document.querySelectorAll('.md-search-result__link')].map(link => link.href).join(' ')"
    try:
        with open_page(f"http://127.0.0.1:{server.server_port}/index.html", tmp_path) as tab:
            tab.run("location.hash = '__search'; globalThis.field = document.querySelector('.md-search__input')")
            tab.run("field.focus()")
            for words, page in (
                ("CUDA out of memory", "troubleshooting.html"),
                ("--no-live", "reading-the-report.html"),
            ):
                tab.run(typed % words)
                tab.wait(f"({found}).includes({page!r})")
            assert tab.console == []
    finally:
        server.shutdown()
        server.server_close()


@pytest.mark.slow
def test_the_site_builds_strictly_has_coloured_code_and_fetches_nothing_from_elsewhere(site: Path) -> None:
    pages = {path.name: path.read_text("utf-8") for path in site.rglob("*.html")}
    assert {"index.html", "cli.html", "contributing.html", "changelog.html"} <= set(pages)
    assert '<span class="kn">import</span>' in pages["own-data.html"]
    fetched = [
        re.findall(r"""(?:<script|<link|<img)[^>]*?(?:src|href)=["']?(?:https?:)?//[^\s"'>]+""", page)
        for page in pages.values()
    ]
    assert not any(fetched), fetched
