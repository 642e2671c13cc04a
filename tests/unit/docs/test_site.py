"""The site that `make docs` builds."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]


@pytest.mark.slow
def test_the_site_builds_strictly_has_coloured_code_and_fetches_nothing_from_elsewhere(tmp_path: Path) -> None:
    pytest.importorskip("material", reason="the theme of the site (mkdocs-material, of the extra `dev`) is not here")
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "--site-dir", str(tmp_path / "site")]
    environment = {**os.environ, "NO_MKDOCS_2_WARNING": "1"}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    pages = {path.name: path.read_text("utf-8") for path in (tmp_path / "site").rglob("*.html")}
    assert {"index.html", "cli.html", "contributing.html", "changelog.html"} <= set(pages)
    assert '<span class="kn">import</span>' in pages["own-data.html"]
    fetched = [
        re.findall(r"""(?:<script|<link|<img)[^>]*?(?:src|href)=["']?(?:https?:)?//[^\s"'>]+""", page)
        for page in pages.values()
    ]
    assert not any(fetched), fetched
