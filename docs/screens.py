"""Make the pictures of the pages, from a workspace where `aurora demo` has run. It is copied, and not changed.

python docs/screens.py aurora-demo

Pages are photographed by Chromium, which has to be there; the terminal is what the live view draws of the demo's own
run, cut off in its middle.
"""

import io
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from datetime import datetime
from pathlib import Path

from PIL import Image
from rich.console import Console
from rich.terminal_theme import TerminalTheme

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

from aurora_cli.cli.live_view import RunView, Size, stage_states  # noqa: E402
from aurora_cli.cli.pace import Pace  # noqa: E402
from tests.browser import screenshot  # noqa: E402
from tests.devtools import open_page  # noqa: E402

IMAGES = ROOT / "docs" / "images"
STAGES = ("projection", "vision", "language")
SHARE = 0.6
"""Of the run that is drawn in the terminal."""
COLUMNS, ROWS = 100, 30
WIDTH = 900
"""Pixels of a picture at most."""
TERMINAL = (
    "<!doctype html><meta charset=utf-8><body style='margin:0;background:#111;padding:12px 16px'>"
    "<style>i {{ display: inline-block; width: 1ch; overflow: hidden; font-style: normal; vertical-align: top }}"
    "</style>"
    "<pre style='font:15px/1.2 DejaVu Sans Mono,monospace;margin:0;color:#ddd'>{code}</pre></body>"
)
"""Braille comes from another font than letters: it is put into cells of theirs."""
THEME = TerminalTheme(
    (17, 17, 17),
    (221, 221, 221),
    [
        (17, 17, 17),
        (224, 96, 96),
        (96, 192, 96),
        (208, 184, 96),
        (96, 136, 224),
        (208, 120, 208),
        (88, 192, 208),
        (221, 221, 221),
    ],
)


def aurora(workspace: Path, *words: str) -> None:
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    subprocess.run([sys.executable, "-m", "aurora_cli", *words], check=True, cwd=workspace, env=environment)


def keep(picture: Image.Image, name: str) -> None:
    """As a small file in docs/images."""
    picture = picture.convert("RGB")
    if picture.width > WIDTH:
        height = round(picture.height * WIDTH / picture.width)
        picture = picture.resize((WIDTH, height), Image.Resampling.LANCZOS)
    picture.save(IMAGES / name, quality=82, method=6)


def cropped(picture: Image.Image, background: tuple[int, int, int], margin: int = 12) -> Image.Image:
    """Without what is only background, but for a margin at the right and below."""
    from PIL import ImageChops

    box = ImageChops.difference(picture.convert("RGB"), Image.new("RGB", picture.size, background)).getbbox()
    if box is None:
        return picture
    return picture.crop((0, 0, min(picture.width, box[2] + margin), min(picture.height, box[3] + margin)))


def terminal_lines(runs: Path, stage: str) -> str:
    """HTML of the live view, as it was when a share of the stage's steps was done."""
    lines = (runs / stage / "metrics.jsonl").read_text().splitlines(keepends=True)
    done = lines[: round(len(lines) * SHARE)]
    (runs / stage / "metrics.jsonl").write_text("".join(done))
    step = json.loads(done[-1])["step"]
    for file in (runs / stage / "samples").glob("step-*.jsonl"):
        if int(file.stem.removeprefix("step-")) > step:
            file.unlink()
    (runs / stage / "finished.json").unlink()
    for later in STAGES[STAGES.index(stage) + 1 :]:
        shutil.rmtree(runs / later)
    pace, now = Pace(0.0), 0.0
    for line in done:
        now += json.loads(line)["step_s"]
        pace.add(1, now)
    states = stage_states({name: runs / name for name in STAGES}, stage)
    view = RunView(stage, len(lines), runs / stage, states, pace)
    view.update()
    console = Console(record=True, width=COLUMNS, file=io.StringIO(), force_terminal=True)
    for line in view.lines(Size(COLUMNS, ROWS), now, datetime(2026, 5, 4, 17, 30)):
        console.print(line)
    html = console.export_html(code_format=TERMINAL, inline_styles=True, theme=THEME)
    return re.sub("[\u2800-\u28ff●▸○✓]", r"<i>\g<0></i>", html)


def terminal(folder: Path, workspace: Path) -> None:
    page = folder / "terminal.html"
    page.write_text(terminal_lines(workspace / "runs", "language"), encoding="utf-8")
    shot = screenshot(page, "terminal.png", folder / "profile", size="960,700")
    keep(cropped(Image.open(shot), (17, 17, 17)), "live.webp")


def report(folder: Path, workspace: Path) -> None:
    page = folder / "report.html"
    aurora(workspace, "inspect", "runs", "--html", str(page))
    shot = screenshot(page, "report.png", folder / "profile", size="1180,1300")
    keep(Image.open(shot), "report.webp")


def caption_page(folder: Path, workspace: Path) -> None:
    command = [sys.executable, "-m", "aurora_cli", "caption", "--serve", "--port", "0", "--workspace", str(workspace)]
    served = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, cwd=ROOT)
    try:
        assert served.stderr is not None
        url = next(word for line in served.stderr for word in line.split() if word.startswith("http://127."))
        with open_page(url, folder) as tab:
            for done, name in enumerate(("clip.mp4", "held-out/images/0000.png"), start=1):
                tab.choose_file("#file", workspace / name)
                tab.wait(f"document.querySelectorAll('#past li').length === {done}")
            tab.run("document.querySelector('#how').open = true")
            tab.screenshot(folder / "page.png")
    finally:
        served.terminate()
        served.wait(30)
    keep(Image.open(folder / "page.png"), "caption-page.webp")


def merge_view(folder: Path, workspace: Path) -> None:
    target = folder / "merge-view.png"
    aurora(workspace, "merge-view", "held-out/images/0000.png", "--output", str(target))
    keep(Image.open(target), "merge-view.webp")


def contact_sheet(folder: Path, workspace: Path) -> None:
    sheet = Image.open(workspace / "demo/captions.png")
    keep(sheet.crop((0, sheet.height // 4, sheet.width, sheet.height * 3 // 4)), "contact-sheet.webp")


def main() -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        workspace = Path(shutil.copytree(sys.argv[1], folder / "aurora-demo", symlinks=True))
        for make in (contact_sheet, merge_view, report, caption_page, terminal):  # the last one cuts the runs
            make(folder, workspace)


if __name__ == "__main__":
    main()
