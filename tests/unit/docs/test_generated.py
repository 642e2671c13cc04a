"""Pages that are made from the code are as the code is (those of `make reference` are checked by `make lint`)."""

import importlib
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from aurora_cli.io.json_files import StoredModel

ROOT = Path(__file__).parents[3]
AT_THE_ROOT = {"contributing.md", "changelog.md"}
"""Pages that docs/hooks.py brings into the site."""


@pytest.mark.slow
@pytest.mark.usefixtures("imports_done")
def test_the_hardware_table_is_what_the_plan_says_without_a_network() -> None:
    done = subprocess.run(
        [sys.executable, ROOT / "docs" / "hardware.py", "--check"],
        env={**os.environ, "HF_HUB_OFFLINE": "1"},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr


def test_every_page_stands_in_the_navigation_once() -> None:
    shown = list(_pages(yaml.safe_load((ROOT / "mkdocs.yml").read_text(encoding="utf-8"))["nav"]))
    there = {path.relative_to(ROOT / "docs").as_posix() for path in (ROOT / "docs").rglob("*.md")}
    assert sorted(shown) == sorted(there | AT_THE_ROOT)


@pytest.mark.parametrize("page", ["CONTRIBUTING.md", "docs/extending.md", "docs/how-it-works/architecture.md"])
def test_every_module_that_a_page_names_is_there(page: str) -> None:
    rooms = "|".join(path.name for path in (ROOT / "aurora_cli").iterdir() if path.is_dir())
    named = re.findall(rf"`(?:aurora_cli/)?((?:{rooms})/[\w/.]*)`", (ROOT / page).read_text(encoding="utf-8"))
    assert [name for name in named if not (ROOT / "aurora_cli" / name).exists()] == []
    assert named


def test_every_test_that_the_page_on_faults_names_is_there() -> None:
    text = (ROOT / "docs" / "how-it-works" / "faults.md").read_text(encoding="utf-8")
    named = re.findall(r"`(?:\w+/)?(test_\w+)`", text)
    there = {path.stem for path in (ROOT / "tests").rglob("test_*.py")}
    assert named
    assert set(named) - there == set()


def test_every_file_that_has_a_model_is_described_by_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(ROOT / "docs")
    file_formats = importlib.import_module("file_formats")
    for path in sorted((ROOT / "aurora_cli").rglob("*.py")):
        if "StoredModel" in path.read_text(encoding="utf-8"):
            importlib.import_module(".".join(path.relative_to(ROOT).with_suffix("").parts))
    models = {one.model for formats in file_formats.GROUPS.values() for one in formats if one.model}
    written = {kind.__name__ for kind in _below(StoredModel) if kind.__module__.startswith("aurora_cli")}
    assert written - models == set()


def _below(kind: type) -> list[type]:
    """The classes made from it that none is made from."""
    direct = kind.__subclasses__()
    return [leaf for each in direct for leaf in (_below(each) or [each])]


def _pages(node: object) -> list[str]:
    if isinstance(node, str):
        return [node]
    inside = node.values() if isinstance(node, dict) else node if isinstance(node, list) else ()
    return [page for each in inside for page in _pages(each)]
