"""`aurora inspect TOKENIZED --html`: the report, as a browser understands it."""

import html
import json
import re
import tarfile

import pytest
from PIL import Image

from aurora_cli.config.settings import ExtractSettings, InspectSettings, Settings
from aurora_cli.data.media.root import MediaRoot
from aurora_cli.data.token_store.store import open_store
from aurora_cli.errors import UsageError
from aurora_cli.pipeline.extract.command import run as extract
from aurora_cli.pipeline.inspect import row_cards, thumbnails
from aurora_cli.pipeline.inspect.command import run
from aurora_cli.pipeline.inspect.store_page import examples
from aurora_cli.pipeline.inspect.thumbnails import Thumbnails
from aurora_cli.pipeline.merge_shards import run as merge
from aurora_cli.pipeline.tokenize.command import run as tokenize
from tests.browser import dom, needs_browser, screenshot
from tests.tokenizing import merge_settings, record, settings

HOSTILE = "</mark></p><script>console.error('ran')</script><img src=x onerror=\"console.error('ran')\"> & <b>"
MEAN = (0.5, 0.5, 0.5)


@pytest.fixture(scope="module")
def workspace(tmp_path_factory):
    """Three shards: images in the folder, in an indexed archive, broken and missing; a video of frames; rejects."""
    root = tmp_path_factory.mktemp("workspace")
    folder = root / "data/vision/mine"
    (folder / "made").mkdir(parents=True)
    for index in range(6):
        Image.new("RGB", (64, 48 + index), (40 * index, 90, 200 - 30 * index)).save(folder / f"{index}.jpg")
    (folder / "1.jpg").write_bytes(b"no image")
    (folder / "2.jpg").unlink()
    with tarfile.open(folder / "more.tar", "w") as tar:
        tar.add(folder / "3.jpg", "3.jpg")
    (folder / "3.jpg").unlink()
    extract(Settings(workspace=root, extract=ExtractSettings(layout="index")))
    turns = [{"from": "human", "value": "<image>\n" * 5 + HOSTILE}, {"from": "gpt", "value": f"Taught {HOSTILE}"}]
    frames = [f"{index % 6}.jpg" for index in range(5)]
    records = [
        *(record(index) for index in range(4)),
        record(4, id="<i>id</i>", image=frames, conversations=turns),
        record(5, image=None, conversations=[{"from": "human", "value": "Hello"}, {"from": "gpt", "value": "There"}]),
        record(6, conversations=[{"from": "human", "value": "<image>"}, {"from": "gpt", "value": None}]),
        {"id": "no", "conversations": 3},
    ]
    lines = [*map(json.dumps, records), "{oops </script>"]
    (folder / "mine.jsonl").write_text("\n".join(lines) + "\n")
    tokenize(settings(root, batch_size=3))
    merge(merge_settings(root))
    return root


def inspected(root, path="tokenized/vision/mine/merged", **inspect):
    given = settings(root).model_copy(update={"inspect": InspectSettings(path=path, **inspect)})
    return run(given)


@pytest.fixture(scope="module")
def page(workspace):
    report = inspected(workspace, html="report.html")
    assert report.html == str(workspace / "report.html")
    assert report.lines()[-1] == f"report: {report.html}"
    return workspace / "report.html"


def test_the_file_is_complete_in_itself(page):
    text = page.read_text("utf-8")
    assert not re.search(r"""(src|href)=["'](?!data:)|url\(|@import|<script|<link rel="stylesheet""", text)
    assert text.count("<article") == 6


@pytest.mark.slow
@needs_browser
def test_a_browser_shows_all_of_it_and_runs_nothing(page, tmp_path):
    seen = dom(page, tmp_path / "profile")
    assert "<script" not in seen
    assert "onerror=" not in re.sub(r">[^<]*<", "><", seen)
    marked = [html.unescape(text) for text in re.findall(r"<mark>(.*?)</mark>", seen, re.DOTALL)]
    assert "A red circle, number 0.</s>" in marked
    assert any(text.startswith("Taught") and HOSTILE in text for text in marked)
    assert all("USER" not in text for text in marked)
    assert "<h3>&lt;i&gt;id&lt;/i&gt;</h3>" in seen
    assert len(re.findall(r"<svg ", seen)) == 4
    for reason in ("null_text", "no_conversation", "bad_json"):
        assert f"<code>{reason}</code>" in seen
    assert seen.count('src="data:image/jpeg;base64,') == 5  # rows 0 and 3; 0, 3 and 4 in row 4
    assert re.search(r'not a readable image.*?1\.jpg <span class="bad">unreadable', seen, re.DOTALL)
    assert re.search(r'no such file.*?2\.jpg <span class="bad">missing', seen, re.DOTALL)
    assert '3.jpg <span class="good">in an indexed archive' in seen


@pytest.mark.slow
@needs_browser
@pytest.mark.parametrize("dark", [False, True])
def test_it_is_looked_at(page, tmp_path, dark):
    name = f"inspect-report-{'dark' if dark else 'light'}.png"
    with Image.open(screenshot(page, name, tmp_path / "profile", dark=dark)) as image:
        corner = image.convert("RGB").getpixel((2, 2))
        colours = image.convert("RGB").getcolors(1 << 24) or []
    assert corner == ((25, 25, 23) if dark else (250, 249, 247))
    assert len(colours) > 200


@pytest.mark.parametrize("path", ["tokenized/vision/mine", "tokenized/vision/mine/shards/part-00001"])
def test_shards_have_reports_too(workspace, path, tmp_path):
    target = tmp_path / "there/report.html"
    for _ in range(2):  # the second takes the place of the first
        report = inspected(workspace, path, html=target, samples=1)
    assert report.html == str(target)
    assert target.read_text("utf-8").count("<article") == 1


def test_a_dry_run_writes_no_report(workspace, tmp_path):
    given = settings(workspace).model_copy(
        update={"inspect": InspectSettings(path="tokenized/vision/mine", html=tmp_path / "report.html")}
    )
    assert "would write" in run(given, dry_run=True).lines()[-1]
    assert not (tmp_path / "report.html").exists()


def test_reports_are_about_token_stores(workspace, tmp_path):
    for path in ("data", "data/vision/mine/mine.jsonl", "tokenized"):
        with pytest.raises(UsageError, match="is no token store"):
            inspected(workspace, path, html=tmp_path / "report.html")
    with pytest.raises(UsageError, match="is a folder") as caught:
        inspected(workspace, html=tmp_path)
    assert caught.value.hint == f"--html {tmp_path}/report.html"
    with pytest.raises(UsageError, match="which is no folder"):
        inspected(workspace, html="data/vision/mine/mine.jsonl/report.html")


def test_thumbnails_stop_at_their_budget(workspace, monkeypatch):
    store = open_store(workspace / "tokenized/vision/mine/merged")
    root = workspace / "data/vision/mine"
    monkeypatch.setattr(thumbnails, "MAX_BYTES", 10)
    maker = Thumbnails(MEAN)
    (first,) = maker.of(store.rows([0])[0], root)
    (second,) = maker.of(store.rows([3])[0], root)
    assert first.jpeg is not None
    assert (second.jpeg, second.reason[:8]) == (None, "left out")


def test_a_row_of_many_images_shows_some_and_names_all(workspace, monkeypatch, tmp_path):
    monkeypatch.setattr(row_cards, "IMAGES", 2)
    monkeypatch.setattr(thumbnails, "IMAGES", 2)
    inspected(workspace, html=tmp_path / "report.html")
    text = (tmp_path / "report.html").read_text("utf-8")
    assert "all 5 files" in text
    assert "2.jpg: missing" in text


def test_a_video_of_frame_files_shows_frames_spread_over_it(workspace):
    row = open_store(workspace / "tokenized/vision/mine/merged").rows([4])[0]._replace(media_lengths=[5])
    shown = Thumbnails(MEAN).of(row, workspace / "data/vision/mine")
    assert [thumbnail.name for thumbnail in shown] == ["0.jpg", "1.jpg", "2.jpg", "3.jpg"]
    assert MediaRoot(workspace / "data/vision/mine").locate("0.jpg") == "file"


def test_an_odd_line_among_the_rejects_is_passed_over(tmp_path):
    lines = ['{"reason": "bad_json", "line": 1}', "{half", "3", '{"reason": "no_answer", "line": 2}']
    (tmp_path / "rejected.jsonl").write_text("\n".join(lines))
    found = examples([tmp_path, tmp_path / "none"], {"bad_json", "no_answer"})
    assert {reason: len(entries) for reason, entries in found.items()} == {"bad_json": 1, "no_answer": 1}
