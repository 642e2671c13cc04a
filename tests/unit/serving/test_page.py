"""The page of `aurora caption --serve` and `aurora serve`: over HTTP, and used in a real browser."""

import http.client
import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from aurora_cli.captioning.loading import load_captioner
from aurora_cli.demo.dataset import encode_video
from aurora_cli.errors import HostError
from aurora_cli.pipeline.caption import command as caption
from aurora_cli.serving.app import Service, ServiceLimits
from aurora_cli.serving.guard import GuardRules
from aurora_cli.serving.page import Page
from aurora_cli.serving.server import running
from tests.browser import OUTPUT, needs_browser
from tests.captioners import GOLDEN, caption_settings, make_runs
from tests.devtools import open_page

IMAGE = GOLDEN / "pixels" / "images" / "im_120x160.png"
LIMIT = 50_000


@pytest.fixture(scope="module")
def workspace(tmp_path_factory) -> Path:
    root = tmp_path_factory.mktemp("workspace")
    make_runs(root)
    return root


@pytest.fixture(scope="module")
def service(workspace) -> Iterator[Service]:
    captioner = load_captioner(workspace / "runs" / "language")
    captioner.options = captioner.options.changed({"max_new_tokens": 6})
    service = Service("runs/language", captioner, ServiceLimits(rules=GuardRules(max_upload=LIMIT)))
    yield service
    service.close()


@pytest.fixture
def page(service) -> Page:
    return service.page


@pytest.fixture
def address(service) -> Iterator[str]:
    with running(service) as url:
        yield url


def ask(address: str, body: Any, query: str = "name=a.png", method: str = "POST", **headers: str) -> tuple[int, list]:
    host = address.split("/")[2]
    connection = http.client.HTTPConnection(host, timeout=60)
    connection.request(method, f"/caption?{query}", body, headers)
    answer = connection.getresponse()
    lines = [json.loads(line) for line in answer.read().splitlines()]
    connection.close()
    return answer.status, lines


@pytest.mark.slow
def test_an_image_comes_back_as_pieces_of_its_caption_then_with_all_numbers(workspace, address):
    status, lines = ask(address, IMAGE.read_bytes(), "name=cat.png&ratio=0.5")
    assert status == 200
    done = lines[-1]["done"]
    assert "".join(line["text"] for line in lines[:-1]) == done["caption"]
    settings = caption_settings(workspace, str(IMAGE), max_new_tokens=6)
    assert done["caption"] == caption.run(settings).captions[0].caption
    assert (done["media"], done["frames"], done["visual_tokens"]) == ("cat.png", 1, 8)
    assert [frame["tokens"] for frame in done["regions"]] == [8]
    assert done["regions"][0]["merged"].startswith("data:image/png;base64,")
    _, again = ask(address, IMAGE.read_bytes(), "name=cat.png&ratio=0.25")
    assert again[-1]["done"]["visual_tokens"] == 4


def test_the_sliders_percent_nearest_to_the_models_own_ratio_stands_for_just_that(workspace):
    """Of 16 patches 0.405 are 6.48, and 0.41 would be 6.56: another number of tokens, and other captions."""
    captioner = load_captioner(workspace / "runs" / "language")
    captioner.options = captioner.options.changed({"token_kept_ratio": 0.405})
    facts = Page("runs/language", captioner, LIMIT).facts()
    assert facts["ratio"] == 0.405
    assert [facts["tokens"][percent] for percent in ("40", "41", "42")] == [6, 6, 7]


@pytest.mark.slow
def test_a_video_keeps_its_first_frame_whole_if_asked(address):
    video = encode_video([Image.new("RGB", (64, 64), (40 * number,) * 3) for number in range(6)])
    _, lines = ask(address, video, "name=c.mp4&ratio=0.5&slowfast=1")
    done = lines[-1]["done"]
    assert (done["frames"], done["visual_tokens"]) == (8, 16 + 7 * 8)
    assert [frame["tokens"] for frame in done["regions"]] == [16] + 7 * [8]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("body", "query", "headers", "status", "reason"),
    [
        (b"no image", "name=a.png", {}, 422, "a.png: not a readable image"),
        (b"\0" * 99, "name=a.mp4", {}, 422, "a.mp4: not a readable video"),
        (b"x", "name=notes.txt", {}, 415, "neither an image nor a video"),
        (b"x", "name=../../../etc/passwd", {}, 415, "passwd: is neither"),
        (b"", "name=a.png", {}, 400, "it is empty"),
        (b"x" * (LIMIT + 1), "name=a.png", {}, 413, "at most 50,000"),
        (b"x", "name=a.png&ratio=7", {}, 400, "ratio: 7"),
        (IMAGE.read_bytes(), "name=a.png&ratio=0.01", {}, 400, "kept ratio 0.01"),
        (b"x", "name=a.png", {"Host": "evil.example"}, 403, "own page"),
        (b"x", "name=a.png", {"Origin": "http://evil.example"}, 403, "own page"),
    ],
)
def test_bad_requests_are_refused_with_a_reason_and_the_next_one_is_answered(
    address, body, query, headers, status, reason
):
    found, lines = ask(address, body, query, **headers)
    assert (found, reason in lines[0]["error"]) == (status, True), lines
    assert "/tmp" not in lines[0]["error"]
    assert ask(address, IMAGE.read_bytes(), "name=a.png")[0] == 200


def test_a_medium_whose_size_is_no_number_is_refused(address):
    connection = http.client.HTTPConnection(address.split("/")[2], timeout=60)
    connection.request("POST", "/caption?name=a.png", None, {"Content-Length": "many"})
    assert connection.getresponse().status == 400
    connection.close()


def test_other_addresses_do_not_exist(address):
    assert ask(address, None, method="GET")[0] == 404


def test_a_sender_that_goes_away_does_no_harm(page, address):
    connection = http.client.HTTPConnection(address.split("/")[2], timeout=60)
    connection.putrequest("POST", "/caption?name=a.png")
    connection.putheader("Content-Length", "1000")
    connection.endheaders(b"x")
    connection.close()
    assert ask(address, IMAGE.read_bytes())[0] == 200


def test_media_of_two_pages_are_captioned_together(address):
    """The engine holds both rows: what one page asks does not wait for the other."""
    with ThreadPoolExecutor(2) as pool:
        answers = [*pool.map(lambda name: ask(address, IMAGE.read_bytes(), f"name={name}"), ("a.png", "b.png"))]
    assert [(status, lines[-1]["done"]["media"]) for status, lines in answers] == [(200, "a.png"), (200, "b.png")]


@pytest.mark.slow
def test_beams_are_followed_on_the_page_as_by_the_command(workspace, service, address, monkeypatch):
    monkeypatch.setattr(service.captioner, "options", service.captioner.options.changed({"num_beams": 3}))
    _, lines = ask(address, IMAGE.read_bytes(), "name=a.png&ratio=0.5")
    settings = caption_settings(workspace, str(IMAGE), max_new_tokens=6, num_beams=3)
    assert lines[-1]["done"]["caption"] == caption.run(settings).captions[0].caption


def test_a_taken_port_is_an_error_of_the_machine(service, address):
    port = int(address.split(":")[2].strip("/"))
    with pytest.raises(HostError, match=f"port {port}"), running(service, port):
        pass


def test_a_dry_run_says_where_the_page_would_be(workspace):
    settings = caption_settings(workspace, serve=True, port=7999)
    assert caption.run(settings, dry_run=True).lines() == [
        "Would open a page at http://127.0.0.1:7999/, to caption with runs/language"
    ]


DROP = """
(async () => {
  const bytes = Uint8Array.from(atob("%s"), letter => letter.charCodeAt(0));
  const carried = new DataTransfer();
  carried.items.add(new File([bytes], "%s", {type: "%s"}));
  document.querySelector("#drop").dispatchEvent(new DragEvent("drop", {dataTransfer: carried, bubbles: true}));
})()
"""


@pytest.mark.slow
@needs_browser
def test_in_a_browser_a_dropped_image_is_captioned_and_the_slider_changes_its_tokens(page, address, tmp_path):
    import base64

    shots = Path(OUTPUT) if OUTPUT else tmp_path
    caption_words = (
        "document.querySelector('#caption').className === '' && document.querySelector('#caption').innerText"
    )
    fact = "[...document.querySelectorAll('#facts div')].map(each => each.innerText.replace('\\n', ': ')).join('; ')"
    with open_page(address, tmp_path) as tab:
        assert tab.wait("document.querySelector('#kept').innerText") == "0.50: 8 of 16 tokens a frame"
        assert tab.run("document.querySelector('#go').disabled")
        image = base64.b64encode(IMAGE.read_bytes()).decode()
        tab.run(DROP % (image, "cat.png", "image/png"))
        assert "visual tokens: 8" in tab.wait(fact)
        shown = tab.run(caption_words)
        assert shown
        assert tab.run("document.querySelectorAll('#frames img').length") == 2
        tab.screenshot(shots / "caption-page.png")
        move = "range.value = %d; range.dispatchEvent(new Event('%s'))"
        tab.run(f"const range = document.querySelector('#ratio'); {move % (25, 'input')}; {move % (25, 'change')}")
        tab.wait(f"({fact}).includes('visual tokens: 4')")
        assert tab.run("document.querySelector('#kept').innerText") == "0.25: 4 of 16 tokens a frame"
        tab.run(f"{move % (50, 'change')}")
        tab.wait(f"({fact}).includes('visual tokens: 8')")
        assert tab.run(caption_words) == shown

        tab.run(DROP % (base64.b64encode(b"no image").decode(), "broken.png", "image/png"))
        assert "not a readable image" in tab.wait("document.querySelector('#error').innerText")
        big = base64.b64encode(b"x" * (LIMIT + 1)).decode()
        tab.run(DROP % (big, "big.png", "image/png"))
        tab.wait("document.querySelector('#error').innerText.includes('at most 50,000')")

        video = tmp_path / "walk.mp4"
        video.write_bytes(encode_video([Image.new("RGB", (64, 64), (40 * number,) * 3) for number in range(6)]))
        tab.choose_file("#file", video)
        tab.wait(f"({fact}).includes('frames: 8')")
        assert tab.run("document.querySelectorAll('#frames figure').length") == 8
        assert not tab.run("document.querySelector('#error').innerText")
        tab.screenshot(shots / "caption-page-video.png")
        film = "select(new File(['x'], 'x.webm', {type: 'video/webm'})).then(() => %s)"
        assert tab.run(film % "document.querySelector('#preview video').controls")
        assert [line for line in tab.console if "400" not in line and "422" not in line and "413" not in line] == []


@pytest.mark.slow
@needs_browser
def test_in_a_browser_captions_are_remembered_copied_and_written_as_the_page_says(page, address, tmp_path):
    """Two captions, of 3 tokens and of 1; the first is brought back by a key, with its settings."""
    import base64

    fact = "[...document.querySelectorAll('#facts div')].map(each => each.innerText.replace('\\n', ': ')).join('; ')"
    key = "document.body.dispatchEvent(new KeyboardEvent('keydown', {key: '%s', bubbles: true}))"
    submit = "document.querySelector('#max_new_tokens').value = %s; document.querySelector('#form').requestSubmit()"
    with open_page(address, tmp_path) as tab:
        tab.wait("document.querySelector('#kept').innerText")
        own = page.captioner.options.decoding.max_new_tokens
        assert tab.run("document.querySelector('#max_new_tokens').value") == str(own)
        tab.run(DROP % (base64.b64encode(IMAGE.read_bytes()).decode(), "cat.png", "image/png"))
        tab.wait("document.querySelectorAll('#past li').length === 1")
        tab.run(submit % 1)
        tab.wait("document.querySelectorAll('#past li').length === 2")
        assert "caption tokens: 1" in tab.run(fact)
        assert "max new tokens 1" in tab.run("document.querySelector('#past li .about').innerText")
        tab.run(key % "h")
        assert tab.run("document.querySelector('#max_new_tokens').value") == str(own)
        assert "caption tokens: 1;" not in tab.run(fact)
        first = tab.run("document.querySelectorAll('#past p:not(.about)')[1].innerText")
        assert tab.run("document.querySelector('#caption').innerText") == first
        tab.run(key % "/")
        assert tab.run("document.activeElement.id") == "prompt"
        tab.run(submit % "-1")  # the form does not send what is out of range
        assert tab.run("document.querySelectorAll('#past li').length") == 2
        tab.run("document.querySelector('#forget').click()")
        assert tab.run("document.querySelector('#history').hidden")


@pytest.mark.parametrize(
    ("query", "words"),
    [
        ("max_new_tokens=many", "a number was expected"),
        ("temperature=-1", "temperature"),
        ("max_new_tokens=0", "max_new"),
    ],
)
def test_numbers_that_are_none_or_out_of_range_are_refused(address, query, words):
    status, (line,) = ask(address, IMAGE.read_bytes(), f"name=cat.png&ratio=0.5&{query}")
    assert status == 400
    assert words in line["error"]


@pytest.mark.slow
def test_what_the_page_sends_decides_the_caption(address):
    """A random model does not end by itself: of one token at most there is one, and of six there are six."""
    counts = []
    for query in ("max_new_tokens=1", "max_new_tokens=6", "seed=3"):
        _, lines = ask(address, IMAGE.read_bytes(), f"name=cat.png&ratio=0.5&{query}")
        counts.append(lines[-1]["done"]["new_tokens"])
    assert counts[0] == 1 < counts[1] == counts[2]
