"""Looking at a page in a real browser: headless Chromium, where there is one."""

import contextlib
import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
OUTPUT = os.environ.get("AURORA_TEST_OUTPUT")
"""Folder that screenshots are kept in; unset: with the test's other files."""

needs_browser = pytest.mark.skipif(CHROMIUM is None, reason="there is no Chromium to look at the page with")


def _chromium(profile: Path, page: Path, *options: str) -> subprocess.CompletedProcess[str]:
    flags = ["--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars", "--enable-logging=stderr"]
    offline = ["--host-resolver-rules=MAP * ~NOTFOUND", f"--user-data-dir={profile}"]
    command = [CHROMIUM or "", *flags, *offline, *options, page.as_uri()]
    with browser_environment() as environment:
        done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True, env=environment)
    said = re.findall(r"CONSOLE.*", done.stderr)
    assert not said, said
    return done


@contextlib.contextmanager
def browser_environment() -> Iterator[dict[str, str]]:
    """With a folder for what Chromium leaves behind whenever it ends; the socket in it wants a short path."""
    with tempfile.TemporaryDirectory(prefix="browser-", ignore_cleanup_errors=True) as scratch:
        yield {**os.environ, "TMPDIR": scratch}


def dom(page: Path, profile: Path) -> str:
    """The document as the browser understood it. Fails when the browser said anything on its console."""
    return _chromium(profile, page, "--dump-dom").stdout


def screenshot(page: Path, name: str, profile: Path, *, size: str = "1280,2600", dark: bool = False) -> Path:
    """An image of the page, kept in `OUTPUT`."""
    folder = Path(OUTPUT) if OUTPUT else profile.parent
    folder.mkdir(parents=True, exist_ok=True)
    target = folder.absolute() / name
    scheme = ["--blink-settings=preferredColorScheme=0"] if dark else []
    _chromium(profile, page, f"--screenshot={target}", f"--window-size={size}", *scheme)
    return target
