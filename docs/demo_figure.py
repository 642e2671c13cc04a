"""Make the figure of README.md, a video with its caption and its visual tokens, where `aurora demo` has run.

python docs/demo_figure.py aurora-demo
"""

import json
import subprocess
import sys
import tempfile
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont

from aurora_cli.data.media.reader import MediaReader, PlainFiles

FIGURE = Path(__file__).parent / "images" / "demo.png"
VIDEO = "clip.mp4"
FRAMES = 3
RATIO = 0.5
MARGIN, SIDE, GAP, BETWEEN, BELOW = 12, 150, 8, 44, 62
INK, FAINT = (32, 32, 32), (110, 110, 110)


def aurora(workspace: Path, *words: str) -> dict:
    """What a command says with --json."""
    command = [sys.executable, "-m", "aurora_cli", *words, "--workspace", str(workspace), "--json"]
    return json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


def frames_of(video: Path, size: int) -> list[Image.Image]:
    """The frames that the model sees."""
    reader = MediaReader(PlainFiles(), size, (0.46, 0.46, 0.46))
    return [Image.fromarray(frame) for frame in reader.video(str(video), FRAMES)]


def merged(workspace: Path, frame: Image.Image, folder: Path) -> tuple[Image.Image, int]:
    """The panel of `aurora merge-view` at the ratio, and how many tokens it shows."""
    frame.save(folder / "frame.png")
    output = folder / "merged.png"
    words = ("merge-view", str(folder / "frame.png"), "--token-kept-ratio", str(RATIO), "--output", str(output))
    result = aurora(workspace, *words)
    sheet = Image.open(output)
    side = (sheet.width - 3 * 14) // 2  # the image and one view, with a margin around each
    return sheet.crop((14 * 2 + side, 14, 14 * 2 + 2 * side, 14 + side)), result["views"][0]["tokens"]


def main() -> None:
    workspace = Path(sys.argv[1])
    how = ("--token-kept-ratio", str(RATIO))
    caption = aurora(workspace, "caption", VIDEO, *how)["captions"][0]["caption"]
    frames = frames_of(workspace / VIDEO, 56)
    with tempfile.TemporaryDirectory() as name:
        views, counts = zip(*(merged(workspace, frame, Path(name)) for frame in frames), strict=True)
    width = 2 * MARGIN + 2 * (FRAMES * (SIDE + GAP) - GAP) + BETWEEN
    sheet = Image.new("RGB", (width, MARGIN + SIDE + BELOW), "white")
    pen, large, small = ImageDraw.Draw(sheet), ImageFont.load_default(20), ImageFont.load_default(14)
    left = MARGIN
    groups = (
        (frames, caption, f"aurora caption {VIDEO} {' '.join(how)}"),
        (views, f"{counts[0]} visual tokens a frame, of 16", f"aurora merge-view, kept ratio {RATIO}"),
    )
    for panels, title, about in groups:
        pen.text((left, MARGIN + SIDE + 8), title, fill=INK, font=large)
        pen.text((left, MARGIN + SIDE + 36), about, fill=FAINT, font=small)
        for panel in panels:
            sheet.paste(panel.resize((SIDE, SIDE), Image.Resampling.LANCZOS), (left, MARGIN))
            left += SIDE + GAP
        left += BETWEEN - GAP
    FIGURE.parent.mkdir(exist_ok=True)
    sheet.save(FIGURE, optimize=True)


if __name__ == "__main__":
    main()
