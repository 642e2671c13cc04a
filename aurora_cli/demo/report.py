"""What the demo's captioner got right: accuracy by attribute, a contact sheet, the loss curves."""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from PIL import Image, ImageDraw

from aurora_cli.data.media.reader import load_frames
from aurora_cli.demo.drawing import COLOURS, FRAMES, MOTIONS, PLACES, SHAPES, SIDE
from aurora_cli.demo.truth import TrueMedium
from aurora_cli.io.atomic import atomic_write
from aurora_cli.runs.layout import METRICS_FILE
from aurora_cli.runs.lines import MetricsLine, read_lines, read_objects

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
    """Shares of right attribute words, in captions of the test media and in those of a blank one."""

    right: dict[str, float]
    blank: dict[str, float]

    @property
    def mean(self) -> float:
        return sum(self.right.values()) / len(self.right)

    @property
    def blank_mean(self) -> float:
        return sum(self.blank.values()) / len(self.blank)


def named_word(caption: str, attribute: str) -> str | None:
    """The one word of an attribute that is in a caption; none where there is none, or several.

    >>> named_word("A red circle at the top left.", "place"), named_word("A red, no, a blue circle.", "colour")
    ('top left', None)
    """
    words = [word for word in WORDS[attribute] if re.search(rf"\b{word}\b", caption.lower())]
    return words[0] if len(words) == 1 else None


def accuracy(
    truth: Sequence[TrueMedium], captions: Mapping[str, str], blank: str, attributes: Sequence[str]
) -> Accuracy:
    """Compare captions, by `media`, with the truth; and one caption of a blank medium with every truth."""

    def share(attribute: str, caption_of: Callable[[TrueMedium], str]) -> float:
        hits = [named_word(caption_of(each), attribute) == each.attributes[attribute] for each in truth]
        return sum(hits) / len(hits)

    return Accuracy(
        {attribute: share(attribute, lambda each: captions.get(each.media, "")) for attribute in attributes},
        {attribute: share(attribute, lambda _: blank) for attribute in attributes},
    )


def read_captions(path: Path) -> dict[str, str]:
    """`aurora caption --output`'s lines: medium -> caption."""
    return {line["media"]: line["caption"] for line in read_objects(path)}


def table(images: Accuracy, videos: Accuracy) -> list[str]:
    """The accuracies as lines, a row an attribute."""
    rows = [f"{'right attribute words':<24}{'captions':>10}{'blank':>10}"]
    for kind, measured in (("images", images), ("videos", videos)):
        for attribute, right in measured.right.items():
            rows.append(f"  {kind + ', ' + attribute:<22}{right:>10.0%}{measured.blank[attribute]:>10.0%}")
        rows.append(f"  {kind + ', all':<22}{measured.mean:>10.0%}{measured.blank_mean:>10.0%}")
    return rows


def examples(truth: Sequence[TrueMedium], captions: Mapping[str, str], count: int = 5) -> list[str]:
    """Captions beside the truth."""
    return [f"  {each.media:<22} {captions.get(each.media, '(none)'):<42} {each.caption}" for each in truth[:count]]


def contact_sheet(path: Path, folder: Path, truth: Sequence[TrueMedium], captions: Mapping[str, str]) -> None:
    """Test images and videos with their captions; a wrong one is red."""
    columns, cell, gap, text = 2, SIDE * ZOOM, 4, 34
    width = FRAMES * (cell + gap) + 16
    shown = [*truth[:SHEET_EACH], *[each for each in truth if each.is_video][:SHEET_EACH]]
    rows = -(-len(shown) // columns)
    sheet = Image.new("RGB", (columns * width, rows * (cell + text)), "white")
    canvas = ImageDraw.Draw(sheet)
    for number, each in enumerate(shown):
        left, top = number % columns * width + 8, number // columns * (cell + text)
        frames = load_frames(folder / each.media, FRAMES, SIDE, (0.0, 0.0, 0.0), (1.0, 1.0, 1.0))
        for frame, pixels in enumerate((frames * 255).byte().permute(0, 2, 3, 1).numpy()):
            sheet.paste(Image.fromarray(pixels).resize((cell, cell)), (left + frame * (cell + gap), top + 4))
        caption = captions.get(each.media, "(none)")
        wrong = any(named_word(caption, attribute) != word for attribute, word in each.attributes.items())
        canvas.text((left, top + cell + 8), caption, fill="firebrick" if wrong else "black", font_size=15)
    with atomic_write(path) as file:
        sheet.save(file, "PNG")


def loss_plot(path: Path, runs: Mapping[str, Path]) -> None:
    """The loss of every stage's steps, one after another; of a mixture a curve for each kept ratio."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(figsize=(8, 4.5), layout="constrained")
    start = 0
    for stage, run in runs.items():
        lines = list(read_lines(run / METRICS_FILE, MetricsLine))
        for ratio in sorted({line.kept_ratio for line in lines}, key=lambda ratio: ratio or 0.0):
            own = [line for line in lines if line.kept_ratio == ratio]
            name = stage if ratio is None else f"{stage}, kept ratio {ratio:g}"
            axes.plot([start + line.step for line in own], [line.loss for line in own], linewidth=1, label=name)
        start += len(lines)
    axes.set(xlabel="optimizer step", ylabel="loss (nats a target token)", yscale="log", title="aurora demo")
    axes.legend()
    with atomic_write(path) as file:
        figure.savefig(file, format="png", dpi=120)
    pyplot.close(figure)
