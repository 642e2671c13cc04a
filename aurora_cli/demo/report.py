"""What the demo's captioner got right: accuracy by attribute, a contact sheet, the loss curves."""

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from PIL import Image, ImageDraw

from aurora_cli.data.media.reader import load_frames
from aurora_cli.demo.drawing import COLOURS, FRAMES, IMAGE_ATTRIBUTES, MOTIONS, PLACES, SHAPES, SIDE, VIDEO_ATTRIBUTES
from aurora_cli.io.atomic import atomic_write, read_json
from aurora_cli.runs.layout import METRICS_FILE

WORDS: Mapping[str, Sequence[str]] = {
    "shape": SHAPES,
    "colour": tuple(COLOURS),
    "place": tuple(PLACES),
    "motion": tuple(MOTIONS),
}

SHEET_EACH = 8
ZOOM = 2


@dataclass(frozen=True)
class Accuracy:
    """Shares of right attribute words, of held-out media and of the same questions about a blank one."""

    right: dict[str, float]
    blank: dict[str, float]

    @property
    def mean(self) -> float:
        return sum(self.right.values()) / len(self.right)

    @property
    def blank_mean(self) -> float:
        return sum(self.blank.values()) / len(self.blank)


def said(caption: str, attribute: str) -> str | None:
    """The one word that a caption says of an attribute; none where it says none, or several.

    >>> said("A red circle at the top left.", "place"), said("A red, no, a blue circle.", "colour")
    ('top left', None)
    """
    words = [word for word in WORDS[attribute] if re.search(rf"\b{word}\b", caption.lower())]
    return words[0] if len(words) == 1 else None


def accuracy(
    truth: Sequence[Mapping[str, str]], captions: Mapping[str, str], blank: str, attributes: Sequence[str]
) -> Accuracy:
    """Compare captions, by `media`, with the truth; and one caption of a blank medium with every truth."""

    def share(attribute: str, caption_of: Mapping[str, str] | None) -> float:
        hits = [
            said(blank if caption_of is None else caption_of.get(entry["media"], ""), attribute) == entry[attribute]
            for entry in truth
        ]
        return sum(hits) / len(hits)

    return Accuracy(
        {attribute: share(attribute, captions) for attribute in attributes},
        {attribute: share(attribute, None) for attribute in attributes},
    )


def read_captions(path: Path) -> dict[str, str]:
    """`aurora caption --output`'s lines: medium -> caption."""
    lines = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    return {line["media"]: line["caption"] for line in lines if line.get("caption") is not None}


def split_truth(folder: Path) -> tuple[list[dict[str, str]], list[dict[str, str]]]:
    """The truth about the held-out images, and about the videos."""
    truth = read_json(folder / "truth.json")
    return [entry for entry in truth if "place" in entry], [entry for entry in truth if "motion" in entry]


def table(images: Accuracy, videos: Accuracy) -> list[str]:
    """The accuracies as lines, a row an attribute."""
    rows = [f"{'right attribute words':<24}{'captions':>10}{'blank':>10}"]
    for kind, measured in (("images", images), ("videos", videos)):
        for attribute, right in measured.right.items():
            rows.append(f"  {kind + ', ' + attribute:<22}{right:>10.0%}{measured.blank[attribute]:>10.0%}")
        rows.append(f"  {kind + ', all':<22}{measured.mean:>10.0%}{measured.blank_mean:>10.0%}")
    return rows


def examples(truth: Sequence[Mapping[str, str]], captions: Mapping[str, str], count: int = 5) -> list[str]:
    """Captions beside the truth."""
    return [
        f"  {entry['media']:<22} {captions.get(entry['media'], '(none)'):<42} {entry['caption']}"
        for entry in truth[:count]
    ]


def contact_sheet(path: Path, folder: Path, truth: Sequence[Mapping[str, str]], captions: Mapping[str, str]) -> None:
    """Held-out images and videos with what the captioner says of them; a wrong caption is red."""
    columns, cell, gap, text = 2, SIDE * ZOOM, 4, 34
    width = FRAMES * (cell + gap) + 16
    shown = [*truth[:SHEET_EACH], *[entry for entry in truth if "motion" in entry][:SHEET_EACH]]
    rows = -(-len(shown) // columns)
    sheet = Image.new("RGB", (columns * width, rows * (cell + text)), "white")
    canvas = ImageDraw.Draw(sheet)
    for number, entry in enumerate(shown):
        left, top = number % columns * width + 8, number // columns * (cell + text)
        frames = load_frames(None, folder / entry["media"], FRAMES, SIDE, (0.0, 0.0, 0.0), (1.0, 1.0, 1.0))
        for frame, pixels in enumerate((frames * 255).byte().permute(0, 2, 3, 1).numpy()):
            sheet.paste(Image.fromarray(pixels).resize((cell, cell)), (left + frame * (cell + gap), top + 4))
        caption = captions.get(entry["media"], "(none)")
        wrong = any(said(caption, attribute) != entry[attribute] for attribute in _attributes(entry))
        canvas.text((left, top + cell + 8), caption, fill="firebrick" if wrong else "black", font_size=15)
    with atomic_write(path) as file:
        sheet.save(file, "PNG")


def loss_plot(path: Path, runs: Mapping[str, Path]) -> None:
    """The loss of every stage's steps, one after another."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(figsize=(8, 4.5), layout="constrained")
    start = 0
    for stage, run in runs.items():
        losses = [line["loss"] for line in _metrics(run)]
        axes.plot(range(start + 1, start + 1 + len(losses)), losses, linewidth=1, label=stage)
        start += len(losses)
    axes.set(xlabel="optimizer step", ylabel="loss (nats a taught token)", yscale="log", title="aurora demo")
    axes.legend()
    with atomic_write(path) as file:
        figure.savefig(file, format="png", dpi=120)
    pyplot.close(figure)


def _attributes(entry: Mapping[str, str]) -> Sequence[str]:
    return VIDEO_ATTRIBUTES if "motion" in entry else IMAGE_ATTRIBUTES


def _metrics(run: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (run / METRICS_FILE).read_text(encoding="utf-8").splitlines()]
