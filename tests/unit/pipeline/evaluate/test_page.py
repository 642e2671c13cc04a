"""The page of an evaluation: what it says is what evaluation.json says, text stays text, and a browser likes it."""

import io
import json
import re
import shutil
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from aurora_cli.config.settings import EvaluateSettings, Settings
from aurora_cli.evaluation.stored import Cost, CurvePoint, Enough, Evaluation, Value
from aurora_cli.pipeline.evaluate import page_media
from aurora_cli.pipeline.evaluate.command import run
from aurora_cli.pipeline.evaluate.page import page_of, write_page
from aurora_cli.pipeline.evaluate.page_media import Thumbnails, find_medium
from aurora_cli.reports.intervals import ASIDE, WIDTH, interval_bar
from tests.browser import OUTPUT, needs_browser
from tests.devtools import open_page
from tests.videos import level, write_video

COLOURS = ("red", "green", "blue", "yellow", "white", "black")
HOSTILE = '</title><script>alert(1)</script> & "quotes"'


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Twelve images, of which the second half is captioned wrongly, by two models; a video, and media of nobody."""
    (tmp_path / "images").mkdir()
    ours, theirs, references = [], [], []
    for number in range(12):
        name, colour = f"images/{number}.png", COLOURS[number % 6]
        Image.new("RGB", (60 + 10 * number, 60), colour).save(tmp_path / name)
        references.append({"media": name, "references": [f"A {colour} image number {number}.", f"It is {colour}."]})
        right, wrong = f"A {colour} image number {number}.", f"Two dogs sleep in the sun, {number}."
        ours.append({"media": name, "caption": right if number < 6 else wrong, "new_tokens": 8})
        theirs.append({"media": name, "caption": right if number % 2 else wrong, "new_tokens": 8})
    references.append({"id": "nobody", "references": ["Not captioned."]})
    ours.append({"id": HOSTILE, "caption": "Without reference."})
    for name, rows in (("ours.jsonl", ours), ("theirs.jsonl", theirs), ("references.jsonl", references)):
        (tmp_path / name).write_text("".join(json.dumps(row) + "\n" for row in rows))
    return tmp_path


def evaluated(folder: Path, **values: object) -> tuple[Evaluation, str]:
    """What evaluation.json says, and the page."""
    given = {"captions": "ours.jsonl", "references": "references.jsonl", "tokenizer": "python", "resamples": 100}
    run(Settings(workspace=folder, evaluate=EvaluateSettings.model_validate({**given, "output": "out", **values})))
    return Evaluation.read(folder / "out/evaluation.json"), (folder / "out/evaluation.html").read_text("utf-8")


class Seen(HTMLParser):
    """The cells of a page's tables, its elements and its text."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.rows: list[list[str]] = []
        self.elements: list[object] = []
        self.text = ""
        self._is_in_cell = False
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, attrs))
        if tag == "tr":
            self.rows.append([])
        if tag in ("td", "th"):
            self.rows[-1].append("")
            self._is_in_cell = True

    def handle_endtag(self, tag: str) -> None:
        self.elements.append(tag)
        self._is_in_cell &= tag not in ("td", "th")

    def handle_data(self, data: str) -> None:
        self.text += data
        if self._is_in_cell:
            self.rows[-1][-1] += data.strip()


def test_it_says_what_the_file_says(folder: Path) -> None:
    evaluation, page = evaluated(folder, against="theirs.jsonl")
    rows = {row[0]: row[1:] for row in reversed(Seen(page).rows) if row}  # of the first table last
    cider = evaluation.metrics["cider"]
    assert cider.low is not None
    assert cider.high is not None
    assert rows["BLEU-4"][0] == f"{evaluation.metrics['bleu_4'].value:.3f}"
    assert f"{cider.low:.3f} to {cider.high:.3f}" in page
    assert evaluation.against is not None
    assert f"{evaluation.against.metrics['rouge_l'].value:+.3f}" in page
    assert "ours against theirs" in page
    assert "1 captions without a reference" in page
    assert "1 media with references and no caption" in page


def test_the_worst_and_the_best_are_those_with_their_references_and_images(folder: Path) -> None:
    """Six captions are their reference to the letter, six share no word with theirs."""
    evaluation, page = evaluated(folder)
    assert [one.cider for one in evaluation.worst] == sorted(one.cider for one in evaluation.worst)
    assert {one.id for one in evaluation.worst} == {f"images/{number}.png" for number in range(6, 12)}
    assert {one.id for one in evaluation.best} == {f"images/{number}.png" for number in range(6)}
    for one in (*evaluation.worst, *evaluation.best):
        number = int(Path(one.id).stem)
        assert one.references[1] == f"It is {COLOURS[number % 6]}."
        assert one.medium == str(folder / one.id)
        assert one.caption in page
    assert page.count("data:image/jpeg;base64,") == 12


def test_where_two_models_differ_stands_with_both_captions_side_by_side(folder: Path) -> None:
    evaluation, page = evaluated(folder, against="theirs.jsonl", metrics=["cider", "words", "repetition"])
    assert evaluation.against is not None
    assert evaluation.against.apart
    seen = Seen(page)
    for one in evaluation.against.apart:
        assert one.references[1].startswith("It is ")
        assert ["ours", one.caption] in seen.rows
        assert ["theirs", one.against] in seen.rows


def test_without_files_of_media_there_is_a_page_that_says_so(folder: Path) -> None:
    shutil.rmtree(folder / "images")
    evaluation, page = evaluated(folder)
    assert {one.medium for one in evaluation.worst} == {None}
    assert page.count("its file is not here") == 12
    assert "data:image" not in page


def test_any_text_goes_in_as_text(folder: Path) -> None:
    evaluation, _ = evaluated(folder, against="theirs.jsonl")
    plain = page_of(_with_texts(evaluation, "text"))

    @settings(max_examples=40)
    @given(st.text(alphabet=st.characters(exclude_categories=()), min_size=1).filter(lambda text: text.strip()))
    def holds(text: str) -> None:
        html = page_of(_with_texts(evaluation, text))
        html.encode("utf-8")
        assert Seen(html).elements == Seen(plain).elements
        assert not re.search("[\0-\x08\x0b-\x1f\x7f-\x9f]", html)

    holds()
    hostile = page_of(_with_texts(evaluation, HOSTILE))
    assert "<script" not in hostile
    assert HOSTILE in Seen(hostile).text
    assert not re.search(r"""(src|href)=["'](?!data:)|url\(|@import""", hostile)


def _with_texts(evaluation: Evaluation, text: str) -> Evaluation:
    """The evaluation with the text wherever files give text; its media are elsewhere."""
    tree = evaluation.model_dump(mode="json")
    for one in (*tree["best"], *tree["worst"], *tree["against"]["apart"]):
        one.update(id=text, caption=text, references=[text, text], medium=None)
        if "against" in one:
            one["against"] = text
    tree |= {"captions": f"a/{text}", "references": text, "captions_without_reference": [text]}
    tree["unreadable"] = [[text, 1, text]]
    return Evaluation.model_validate(tree)


def test_the_curve_is_drawn_with_a_table_of_what_it_costs(folder: Path) -> None:
    """Fewer tokens score as good: which point is enough is said as on the screen."""
    evaluation = _with_curve(evaluated(folder)[0])
    page = page_of(evaluation)
    seen = Seen(page)
    assert ["0.1", "8", "12.0", "1.500 (1.250 to 1.750)", "25 ms", "100 ms", "512 MB"] in seen.rows
    assert ["0.5", "8", "60.0", "1.625 (1.375 to 1.875)", "-", "-", "-"] in seen.rows
    assert "Fewest tokens by cider: 12.0 a frame (kept ratio 0.1, 8 frames)" in seen.text
    assert page.count('class="whisker"') == 2 * 2  # of CIDEr-D, and of BLEU-4


def _with_curve(evaluation: Evaluation) -> Evaluation:
    def scores(middle: float) -> dict[str, Value]:
        return {
            "bleu_4": Value(middle / 10, middle / 10 - 0.05, middle / 10 + 0.05),
            "cider": Value(middle, middle - 0.25, middle + 0.25),
        }

    few = CurvePoint(0.1, 8, "few.jsonl", 12, scores(1.5), Cost(96.0, 12.0, 0.025, 0.1, 512.0))
    many = CurvePoint(0.5, 8, "many.jsonl", 12, scores(1.625), Cost(480.0, 60.0))
    return evaluation.model_copy(update={"curve": (few, many), "enough": Enough("cider", 0, 1)})


def test_media_are_found_by_any_of_their_names_below_any_folder(folder: Path, tmp_path: Path) -> None:
    frames = tmp_path / "frames"
    frames.mkdir()
    Image.new("RGB", (8, 8)).save(frames / "0.png")
    (tmp_path / "empty").mkdir()
    (tmp_path / "notes.txt").write_text("no medium")
    folders = [tmp_path / "nowhere", tmp_path]
    assert find_medium(["7", "images/0.png"], folders) == str(folder / "images/0.png")
    assert find_medium([str(folder / "images/1.png")], folders) == str(folder / "images/1.png")
    assert find_medium(["frames"], folders) == str(frames)
    for nothing in ("empty", "notes.txt", "images/nothing.png", "a\0.png", "x" * 5000, "", "https://a.b/c.png"):
        assert find_medium([nothing], folders) is None


def test_a_thumbnail_is_the_image_made_small_and_of_a_video_frames_of_its_part(tmp_path: Path) -> None:
    Image.new("RGB", (1600, 400), "red").save(tmp_path / "wide.png")
    (tmp_path / "broken.png").write_bytes(b"no image")
    thumbnails = Thumbnails()
    wide = thumbnails.of(str(tmp_path / "wide.png"))
    assert wide.frames == 1
    assert _opened(wide.jpeg).size == (page_media.SIDE, page_media.SIDE // 4)
    broken = thumbnails.of(str(tmp_path / "broken.png"))
    assert broken.jpeg is None
    assert "not a readable image" in broken.instead
    assert str(tmp_path) not in broken.instead
    write_video(tmp_path / "clip.mp4", range(0, 1000, 100))
    medium = find_medium(["clip.mp4@0.5-0.9"], [tmp_path])
    assert medium == f"{tmp_path / 'clip.mp4'}@0.5-0.9"
    part = thumbnails.of(medium)
    strip = _opened(part.jpeg)
    assert (part.frames, strip.size) == (3, (3 * 64, 48))
    shown = [strip.getpixel((64 * at + 48, 36)) for at in range(3)]
    levels = [pixel[0] for pixel in shown if isinstance(pixel, tuple)]
    assert all(level(5) - 10 < found < level(8) + 10 for found in levels)
    assert levels == sorted(levels)


def _opened(jpeg: bytes | None) -> Image.Image:
    assert jpeg is not None
    return Image.open(io.BytesIO(jpeg))


def test_a_page_has_only_so_many_bytes_of_images(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(page_media, "MAX_BYTES", 1)
    _, page = evaluated(folder)
    assert page.count("data:image/jpeg;base64,") == 1
    assert page.count("left out: a page has 0 MiB of images at most") == 11


def test_an_interval_is_drawn_where_it_lies() -> None:
    """On a scale from -1 to 1 the value 0.5 is three quarters of the way, and what lies beyond is at the end."""
    across = WIDTH - 2 * ASIDE
    drawn = str(interval_bar(0.5, 0.0, 3.0, (-1.0, 1.0)))
    assert f'cx="{ASIDE + 0.75 * across:.1f}"' in drawn
    assert f'class="range" x="{ASIDE + 0.5 * across:.1f}"' in drawn
    assert f'width="{0.5 * across:.1f}"' in drawn
    assert 'class="zero"' in drawn
    assert 'class="zero"' not in str(interval_bar(0.5, None, None, (0.0, 1.0)))


@pytest.mark.slow
@needs_browser
def test_a_browser_shows_it_at_every_width_light_and_dark(folder: Path, tmp_path: Path) -> None:
    evaluation, _ = evaluated(folder, against="theirs.jsonl")
    write_page(folder / "out/evaluation.html", _with_curve(evaluation))
    shots = Path(OUTPUT) if OUTPUT else tmp_path / "shots"
    with open_page((folder / "out/evaluation.html").as_uri(), tmp_path) as tab:
        for width, dark in ((1280, False), (1280, True), (390, False), (390, True)):
            screen: dict[str, Any] = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": width < 600}
            tab.call("Emulation.setDeviceMetricsOverride", **screen)
            scheme = [{"name": "prefers-color-scheme", "value": "dark" if dark else "light"}]
            tab.call("Emulation.setEmulatedMedia", features=scheme)
            assert tab.run("document.documentElement.scrollWidth") <= width
            assert tab.run("[...document.images].every(one => one.complete && one.naturalWidth > 0)")
            paper = tab.run("getComputedStyle(document.body).backgroundColor")
            assert (np.mean([int(part) for part in re.findall(r"\d+", paper)]) < 128) == dark
            tab.screenshot(shots / f"evaluation-{width}{'-dark' * dark}.png")
        assert not tab.console
