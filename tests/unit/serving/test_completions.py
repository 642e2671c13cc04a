"""`POST /v1/chat/completions`: the ids of `aurora caption`, whole and streamed, and what is refused."""

import io
import json

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image
from starlette.testclient import TestClient

from aurora_cli.captioning.inputs import caption_inputs
from aurora_cli.data.tokenization.boundaries import with_our_templates
from aurora_cli.demo.dataset import encode_video
from aurora_cli.errors import DataError
from aurora_cli.serving.app import Service, ServiceLimits
from aurora_cli.serving.conversation import Conversations
from aurora_cli.serving.engine import EngineLimits
from aurora_cli.serving.guard import GuardRules
from aurora_cli.serving.media import MediaLimits
from aurora_cli.serving.schema import parse_request
from tests.serving import (
    CHAT,
    IMAGE,
    NAME,
    NEW_TOKENS,
    URL,
    data_url,
    events_of,
    image_part,
    question,
    service_of,
    video_part,
)
from tests.videos import write_video

VIDEO = encode_video([Image.new("RGB", (64, 48), (40 * number, 90, 255 - 40 * number)) for number in range(6)])


def words(text: str) -> dict[str, str]:
    return {"type": "text", "text": text}


def png(side: int, level: int = 100) -> bytes:
    file = io.BytesIO()
    Image.new("RGB", (side, side), (level, 50, 200)).save(file, "PNG")
    return file.getvalue()


@pytest.mark.parametrize("ratio", [1.0, 0.5, 0.25])
def test_an_image_and_a_video_get_the_words_of_aurora_caption(client, captioner, tmp_path, ratio):
    video = tmp_path / "a.mp4"
    video.write_bytes(VIDEO)
    for path, part in ((IMAGE, image_part()), (video, video_part(VIDEO))):
        (expected,) = captioner.caption([path], prompt="What is seen?", token_kept_ratio=ratio)
        answer = client.post(CHAT, json=question("What is seen?", part, token_kept_ratio=ratio)).json()
        assert answer["choices"][0]["message"]["content"] == expected.caption
        assert answer["choices"][0]["finish_reason"] == "length"
        assert answer["usage"] == {
            "prompt_tokens": expected.prompt_tokens + expected.visual_tokens,
            "completion_tokens": NEW_TOKENS,
            "total_tokens": expected.prompt_tokens + expected.visual_tokens + NEW_TOKENS,
        }


def test_the_ratio_may_be_given_as_vllm_takes_it(client):
    ours = client.post(CHAT, json=question(token_kept_ratio=0.25)).json()
    theirs = client.post(CHAT, json=question(mm_processor_kwargs={"token_kept_ratio": 0.25})).json()
    other = client.post(CHAT, json=question()).json()
    assert ours["usage"] == theirs["usage"] != other["usage"]


def test_slow_fast_and_the_frames_of_videos_may_be_given_as_vllm_takes_them(client, captioner, tmp_path):
    video = tmp_path / "a.mp4"
    video.write_bytes(VIDEO)
    for slowfast, frames, tokens in ((True, 3, 16 + 2 * 4), (False, 3, 3 * 4), (True, 1, 4)):
        options = {"token_kept_ratio": 0.25, "slowfast": slowfast, "frames": frames}
        (expected,) = captioner.caption([video], prompt="What is seen?", **options)
        answer = client.post(
            CHAT, json=question("What is seen?", video_part(VIDEO), mm_processor_kwargs=options)
        ).json()
        assert answer["choices"][0]["message"]["content"] == expected.caption
        assert (expected.frames, expected.visual_tokens) == (frames, tokens)
        assert answer["usage"]["prompt_tokens"] == expected.prompt_tokens + tokens


@pytest.mark.parametrize(("fields", "said"), [
    ({"token_kept_ratio": 0.5, "mm_processor_kwargs": {"token_kept_ratio": 0.25}}, "is 0.5, and mm_processor_kwargs"),
    ({"mm_processor_kwargs": {"frames": 0}}, "frames: Input should be greater"),
    ({"mm_processor_kwargs": {"frames": 513}}, "frames: Input should be less"),
    ({"mm_processor_kwargs": {"size": 3}}, "mm_processor_kwargs.size: is not served"),
    ({"mm_processor_kwargs": 3}, "mm_processor_kwargs: an object was expected"),
])  # fmt: skip
def test_options_of_media_that_say_two_things_or_too_much_are_refused(client, fields, said):
    answer = client.post(CHAT, json=question(**fields))
    assert (answer.status_code, said in answer.json()["error"]["message"]) == (400, True), answer.json()


def test_a_request_that_names_its_frames_holds_no_more_of_them_than_one_video_may(client):
    parts = [video_part(VIDEO)] * 6
    answer = client.post(CHAT, json=question("What?", *parts, mm_processor_kwargs={"frames": 100}))
    assert answer.status_code == 400
    assert "all media have 600 frames; at most 512 are taken" in answer.json()["error"]["message"]


def test_a_ratio_beyond_those_of_training_is_said_in_the_answers_head_and_once_in_the_servers_log(captioner):
    said: list[str] = []
    service = Service(NAME, captioner, ServiceLimits(), warn=said.append)
    client = TestClient(service.app, base_url=URL)
    try:
        heads = [client.post(CHAT, json=question(token_kept_ratio=ratio)).headers for ratio in (0.25, 0.5, 0.25)]
        assert not any("aurora-warning" in head for head in heads)  # trained at one ratio, it knows of no others
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(captioner, "trained_ratios", (0.375, 0.5))
            asked = [(0.25, False), (0.5, False), (0.25, True), (1.0, True)]
            heads = [
                client.post(CHAT, json=question(token_kept_ratio=ratio, stream=stream)).headers
                for ratio, stream in asked
            ]
    finally:
        service.close()
    assert ["aurora-warning" in head for head in heads] == [True, False, True, True]
    assert [heads[0]["aurora-warning"], heads[3]["aurora-warning"]] == said
    assert "kept ratio 0.25 lies outside of those that the model was trained at (0.375, 0.5)" in said[0]


def test_the_pieces_of_a_stream_are_the_whole_answer(client):
    whole = client.post(CHAT, json=question()).json()
    streamed = client.post(CHAT, json=question(stream=True, stream_options={"include_usage": True}))
    assert streamed.headers["content-type"].startswith("text/event-stream")
    *chunks, last = events_of(streamed.content)
    assert chunks[0]["choices"][0]["delta"]["role"] == "assistant"
    text = "".join(chunk["choices"][0]["delta"].get("content", "") for chunk in chunks)
    assert text == whole["choices"][0]["message"]["content"]
    assert len(chunks) > 3
    assert [chunk["choices"][0]["finish_reason"] for chunk in chunks] == [None] * (len(chunks) - 1) + ["length"]
    assert (last["choices"], last["usage"]) == ([], whole["usage"])


def test_a_stop_text_ends_the_answer_and_is_no_part_of_it(client):
    text = client.post(CHAT, json=question()).json()["choices"][0]["message"]["content"]
    stop = text[5:8]
    for stream in (False, True):
        answer = client.post(CHAT, json=question(stop=[stop, "not there"], stream=stream))
        if stream:
            chunks = events_of(answer.content)
            found = "".join(chunk["choices"][0]["delta"].get("content", "") for chunk in chunks)
            reason = chunks[-1]["choices"][0]["finish_reason"]
        else:
            (choice,) = answer.json()["choices"]
            found, reason = choice["message"]["content"], choice["finish_reason"]
        assert (found, reason) == (text[: text.index(stop)].rstrip(), "stop")


def test_the_same_seed_draws_the_same(client):
    def ids(seed: int) -> list[int]:
        fields = {"seed": seed, "temperature": 2.0, "return_token_ids": True}
        return client.post(CHAT, json=question(**fields)).json()["choices"][0]["token_ids"]

    assert ids(1) == ids(1)
    assert len({tuple(ids(seed)) for seed in range(4)}) > 1


def test_a_conversation_is_written_as_in_training_with_its_media_in_order(service, captioner, tmp_path):
    """The ids by hand: Vicuna's words, each chunk between images encoded alone, images in front of their question."""
    first, second = png(60, 10), png(60, 240)
    answer = {"role": "assistant", "content": "Yes.", "refusal": None, "tool_calls": None, "annotations": []}
    messages = [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": [words("One"), image_part(first), video_part(VIDEO)]},
        answer,
        {
            "role": "user",
            "content": [{"type": "text", "text": "T"}, image_part(second), {"type": "text", "text": "wo"}],
        },
    ]
    row = Conversations(captioner, MediaLimits()).prepare(parse_request({"messages": messages}))
    backend = with_our_templates(captioner.tokenizer.backend)

    def encoded(text: str) -> list[int]:
        return backend.encode(text, add_special_tokens=False).ids

    video = [-200, *(8 - 1) * [*encoded(" "), -200]]
    asked = [1, *encoded("Be brief. USER: "), -200, *encoded(" "), *video, *encoded("\nOne ASSISTANT:")]
    answered = [*encoded("Yes."), 2, *encoded("\n")]
    assert row.prompt == [*asked, *answered, 1, *encoded("USER: "), -200, *encoded("\nTwo ASSISTANT:")]
    files = [tmp_path / name for name in ("a.png", "b.mp4", "c.png")]
    frames = []
    for file, content in zip(files, (first, VIDEO, second), strict=True):
        file.write_bytes(content)
        frames.append(caption_inputs([file])[0].frames(8, captioner.image_settings, captioner.options.sampling))
    assert row.media_lengths == [1, 8, 1]
    assert torch.equal(row.frames_F3SS, torch.cat(frames))


def test_a_conversation_of_two_messages_is_answered(client):
    messages = [*question()["messages"], {"role": "assistant", "content": ""}, {"role": "user", "content": "And?"}]
    answer = client.post(CHAT, json={"messages": messages})
    assert answer.json()["usage"]["completion_tokens"] == NEW_TOKENS


def test_a_question_without_media_is_answered(client):
    answer = client.post(CHAT, json={"messages": [{"role": "user", "content": "Hello?"}]})
    assert answer.json()["usage"]["completion_tokens"] == NEW_TOKENS


def test_frames_in_one_address_are_a_video(client):
    frames = []
    for level in (0, 120, 250):
        file = io.BytesIO()
        Image.new("RGB", (56, 56), (level, level, level)).save(file, "JPEG")
        frames.append(data_url(file.getvalue(), "video/jpeg").partition(",")[2])
    part = video_part(url="data:video/jpeg;base64," + ",".join(frames))
    assert client.post(CHAT, json=question("x", part)).json()["usage"]["prompt_tokens"] > 8 * 8


def test_the_models_are_listed(client):
    (model,) = client.get("/v1/models").json()["data"]
    assert (model["id"], model["token_kept_ratio"], model["max_model_len"]) == (NAME, 0.5, 512)
    assert model["dtype"] == "float32"
    assert client.get(f"/v1/models/{NAME}").json() == model
    assert client.get("/v1/models/gpt-4").status_code == 404
    assert client.get("/health").json() == {"status": "ok"}


def test_metrics_count_answers_and_tokens(client, service):
    before = service.metrics.new_tokens
    client.post(CHAT, json=question())
    text = client.get("/metrics").text
    assert f"aurora_new_tokens_total {before + NEW_TOKENS}\n" in text
    assert 'aurora_answers_total{path="/v1/chat/completions",status="200"}' in text
    assert "aurora_request_seconds_bucket" in text


@pytest.mark.slow
@pytest.mark.parametrize(
    ("fields", "status", "words"),
    [
        ({"n": 2}, 400, "n: is not served"),
        ({"logprobs": True}, 400, "logprobs"),
        ({"tools": [{"type": "function"}]}, 400, "tools"),
        ({"response_format": {"type": "json_object"}}, 400, "response_format"),
        ({"best_of": 3}, 400, "best_of: is not served"),
        ({"temperature": -1}, 400, "temperature"),
        ({"temperature": "warm"}, 400, "temperature"),
        ({"top_p": 0}, 400, "top_p"),
        ({"max_tokens": 0}, 400, "max_tokens"),
        ({"max_completion_tokens": True}, 400, "max_completion_tokens"),
        ({"token_kept_ratio": 1.5}, 400, "token_kept_ratio"),
        ({"token_kept_ratio": 0.001}, 400, "kept ratio 0.001"),
        ({"stop": ["a", "b", "c", "d", "e"]}, 400, "stop"),
        ({"stop": [""]}, 400, "stop"),
        ({"seed": 1.5}, 400, "seed"),
        ({"stream_options": {"include_usage": True}}, 400, "stream_options"),
        ({"stream": True, "return_token_ids": True}, 400, "return_token_ids"),
        ({"model": "gpt-4o"}, 404, "runs/language"),
        ({"messages": []}, 400, "messages"),
        ({"messages": None}, 400, "messages"),
        ({"messages": [{"role": "tool", "content": "x"}]}, 400, "messages[0].role"),
        ({"messages": [{"role": "user", "content": [{"type": "text"}]}]}, 400, "messages[0].content[0].text"),
        ({"messages": [{"role": "user", "content": [{"type": "input_audio"}]}]}, 400, "messages[0].content[0]"),
        ({"messages": [{"role": "assistant", "content": "x"}]}, 400, "the user's was expected"),
        ({"messages": [{"role": "user", "content": "see <image>"}]}, 400, "<image>"),
        ({"messages": [{"role": "user", "content": "half \ud800"}]}, 400, "surrogate"),
        ({"messages": [{"role": "user", "content": "word " * 600}]}, 400, "512"),
        ({"messages": [{"role": "user", "content": [image_part(url="data:image/png;base64,!")]}]}, 400, "base64"),
        ({"messages": [{"role": "user", "content": [image_part(url="data:text,hello")]}]}, 400, "data:"),
        ({"messages": [{"role": "user", "content": [image_part(b"no image")]}]}, 422, "not a readable image"),
        ({"messages": [{"role": "user", "content": [video_part(VIDEO[:900])]}]}, 422, "not a readable video"),
        ({"messages": [{"role": "user", "content": [image_part(url="/etc/passwd")]}]}, 400, "--media-root"),
        ({"messages": [{"role": "user", "content": [image_part(url="http://a.b/c.png")]}]}, 400, "--allow-remote"),
        ({"messages": [{"role": "user", "content": [image_part(url="ftp://a.b/c.png")]}]}, 400, "data:, file:"),
    ],
)  # fmt: skip
def test_what_is_not_served_is_refused_as_openai_does(client, fields, status, words):
    answer = client.post(CHAT, content=json.dumps({**question(), **fields}))
    error = answer.json()["error"]
    assert (answer.status_code, words in error["message"]) == (status, True), error
    assert set(error) == {"message", "type", "param", "code"}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("part", "where"),
    [
        (image_part(b"no image"), "messages[2].content[1].image_url (data:image/png): not a readable image"),
        (video_part(VIDEO[:900]), "messages[2].content[1].video_url (data:video/mp4): not a readable video"),
        ({"type": "text", "text": "<video>"}, "messages[2].content[1].text: holds <video>"),
    ],
)
def test_a_part_that_cannot_be_read_is_named_as_a_program_finds_it(captioner, part, where):
    service = service_of(captioner)
    turns = [{"role": "user", "content": "One."}, {"role": "assistant", "content": "Two."}]
    last = {"role": "user", "content": [image_part(), part]}
    answer = TestClient(service.app, base_url=URL).post(CHAT, json={"messages": [*turns, last]})
    error = answer.json()["error"]
    assert error["message"].startswith(where)
    assert error["message"].startswith(error["param"])
    service.close()


def test_a_part_whose_error_names_its_url_alone_is_named_too(client, monkeypatch):
    def refuse(*_: object) -> None:
        raise DataError("http://a.b/c.png: cannot be fetched")

    monkeypatch.setattr("aurora_cli.serving.conversation.read_medium", refuse)
    answer = client.post(CHAT, json=question("What is it?", image_part(url="http://a.b/c.png")))
    assert answer.json()["error"]["message"] == "messages[0].content[0].image_url: http://a.b/c.png: cannot be fetched"


@pytest.mark.parametrize("fields", [
    {"n": 1, "logprobs": False, "tools": [], "tool_choice": "none", "response_format": {"type": "text"}},
    {"user": "me", "metadata": {"a": "b"}, "store": False, "presence_penalty": 0, "logit_bias": None, "top_k": -1},
])  # fmt: skip
def test_fields_that_ask_for_nothing_are_taken(client, fields):
    assert client.post(CHAT, json=question(**fields)).status_code == 200


@pytest.mark.parametrize(
    "body", [b"", b"{", b"[]", b"[" * 5000, b"\xff", b'{"a": NaN}', b'{"seed": ' + b"9" * 5000 + b"}"]
)
def test_what_is_no_request_is_refused(client, body):
    assert client.post(CHAT, content=body).status_code == 400


def test_a_key_is_wanted_where_there_is_one(captioner):
    service = service_of(captioner, ServiceLimits(rules=GuardRules(api_key="s3cret")))
    client = TestClient(service.app, base_url=URL)
    for key in (None, "", "Bearer", "Bearer s3cre", "Bearer s3cret2", "Basic !", "Basic \u00e9", "s3cret"):
        headers = {} if key is None else {"Authorization": key.encode("latin-1")}
        answer = client.post(CHAT, json=question(), headers=headers)
        assert (answer.status_code, answer.json()["error"]["type"]) == (401, "authentication_error"), key
        assert client.get("/v1/models", headers=headers).status_code == 401
        assert client.get("/metrics", headers=headers).status_code == 401
        assert client.get("/", headers=headers).status_code == 401
    assert client.get("/health").status_code == 200
    assert client.get("/v1/models", headers={"Authorization": "Bearer s3cret"}).status_code == 200
    assert "Basic" in client.get("/").headers["www-authenticate"]
    assert client.get("/", auth=("anyone", "s3cret")).status_code == 200  # a browser asks its user
    service.close()


@pytest.mark.parametrize("encoding", ["utf-8", "latin-1"])
def test_a_key_may_have_any_letter_as_curl_and_as_python_send_it(captioner, encoding):
    service = service_of(captioner, ServiceLimits(rules=GuardRules(api_key="schl\u00fcssel")))
    client = TestClient(service.app, base_url=URL)
    for key, status in (("schl\u00fcssel", 200), ("schl\u00fcsse", 401)):
        headers = {"Authorization": f"Bearer {key}".encode(encoding)}
        assert client.get("/v1/models", headers=headers).status_code == status
    service.close()


@pytest.mark.parametrize("headers", [
    {"Host": "evil.example"}, {"Host": "evil.example:8000"}, {"Origin": "http://evil.example"}, {"Origin": "null"},
    {"Origin": "http://localhost:3000"}, {"Host": "127.0.0.1.evil.example:8000"},
])  # fmt: skip
def test_pages_of_others_get_nothing(client, headers):
    for answer in (client.get("/", headers=headers), client.post(CHAT, json=question(), headers=headers)):
        assert answer.status_code == 403


def test_a_body_that_is_too_large_is_refused_and_not_kept(captioner):
    service = service_of(captioner, ServiceLimits(rules=GuardRules(max_body=10_000, max_upload=500)))
    client = TestClient(service.app, base_url=URL)
    stated = client.post(CHAT, content=b"x" * 10_001)
    unstated = client.post(CHAT, content=iter([b"x" * 4_000] * 3))
    assert (stated.status_code, unstated.status_code) == (413, 413)
    assert client.post("/caption?name=a.png", content=b"x" * 501).status_code == 413
    assert service.app._held == 0
    service.close()


@pytest.mark.slow
def test_an_image_with_too_many_pixels_is_refused_by_its_header(captioner):
    """2,100 x 2,100 of one colour are 20 kB as PNG, and 4.4 million pixels."""
    service = service_of(captioner, ServiceLimits(media=MediaLimits(max_pixels=4_000_000)))
    client = TestClient(service.app, base_url=URL)
    large = png(2_100)
    for part in (image_part(large), {"type": "video_url", "video_url": {"url": data_url(large)}}):
        answer = client.post(CHAT, json=question("x", part))
        assert (answer.status_code, "2,100 x 2,100" in answer.json()["error"]["message"]) == (422, True)
    upload = client.post("/caption?name=a.png", content=large)
    assert upload.status_code == 422
    assert client.post(CHAT, json=question("x", image_part(png(1_900)))).status_code == 200
    service.close()


def gif(frames: int, side: int) -> bytes:
    """Of two colours that take turns, so that no frame is left out."""
    file = io.BytesIO()
    first, *others = (Image.new("RGB", (side, side), (200 * (number % 2), 0, 0)) for number in range(frames))
    first.save(file, "GIF", save_all=True, append_images=others)
    return file.getvalue()


@pytest.fixture(scope="module")
def h264(tmp_path_factory) -> bytes:
    """Six frames, of which the head alone is left: who decoded it would find it damaged."""
    content = write_video(tmp_path_factory.mktemp("video") / "a.mp4", range(0, 198, 33)).read_bytes()
    begin, end = content.index(b"mdat") + 4, content.index(b"moov") - 4
    return content[:begin] + bytes(end - begin) + content[end:]


@pytest.mark.parametrize(
    ("limits", "name", "words"),
    [
        (MediaLimits(max_pixels=64 * 48 - 1), "a.mp4", "64 x 48 pixels"),
        (MediaLimits(max_video_frames=5), "a.mp4", "more than 5 frames"),
        (MediaLimits(max_video_frames=5), "a.gif", "more than 5 frames"),
        (MediaLimits(max_pixels=64 * 48, max_video_frames=6), "a.mp4", "not a readable video: "),
        (MediaLimits(max_pixels=400), "a.gif", "21 frames of 20 x 20"),
    ],
)
def test_a_video_of_large_or_many_frames_is_refused_by_its_head(captioner, h264, limits, name, words):
    content = h264 if name == "a.mp4" else gif(21, 20)
    service = service_of(captioner, ServiceLimits(media=limits))
    client = TestClient(service.app, base_url=URL)
    for answer in (
        client.post(CHAT, json=question("x", video_part(content))),
        client.post(f"/caption?name={name}", content=content),
    ):
        assert (answer.status_code, words in answer.text) == (422, True), answer.text
        assert ("at most" in answer.text) == (words != "not a readable video: ")
    service.close()


def test_frames_that_are_larger_than_the_head_says_are_not_decoded(captioner, tmp_path):
    """Two videos one behind the other, as cameras write them that turn."""
    first = write_video(tmp_path / "a.ts", [0, 33], size=(32, 32))
    second = write_video(tmp_path / "b.ts", [66, 99], size=(64, 48))
    content = first.read_bytes() + second.read_bytes()
    for limits, status in ((MediaLimits(), 200), (MediaLimits(max_pixels=32 * 32), 422)):
        service = service_of(captioner, ServiceLimits(media=limits))
        answer = TestClient(service.app, base_url=URL).post(CHAT, json=question("x", video_part(content)))
        assert answer.status_code == status, answer.text
        service.close()


@pytest.mark.slow
def test_media_from_the_network_are_fetched_where_that_is_allowed(captioner, client, tmp_path):
    import threading
    from functools import partial
    from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer

    (tmp_path / "a.png").write_bytes(IMAGE.read_bytes())
    (tmp_path / "a.txt").write_text("no image")
    handler = type("Quiet", (SimpleHTTPRequestHandler,), {"log_message": lambda *_: None})
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(handler, directory=str(tmp_path))) as web:
        threading.Thread(target=web.serve_forever, daemon=True).start()
        service = service_of(captioner, ServiceLimits(media=MediaLimits(allow_remote=True)))
        allowed = TestClient(service.app, base_url=URL)
        url = f"http://127.0.0.1:{web.server_port}/"
        answer = allowed.post(CHAT, json=question("x", image_part(url=url + "a.png"))).json()
        assert answer["choices"] == client.post(CHAT, json=question("x")).json()["choices"]
        for name in ("a.txt", "missing.png"):
            assert allowed.post(CHAT, json=question("x", image_part(url=url + name))).status_code == 422
        service.close()
        small = service_of(captioner, ServiceLimits(media=MediaLimits(allow_remote=True, max_bytes=100)))
        refused = TestClient(small.app, base_url=URL).post(CHAT, json=question("x", image_part(url=url + "a.png")))
        assert refused.status_code == 413
        assert refused.json()["error"]["message"].endswith("at most 100 bytes are fetched")
        small.close()
        web.shutdown()


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)
PARTS = st.one_of(
    st.fixed_dictionaries({"type": st.just("text"), "text": st.text(max_size=20) | JSON}),
    st.fixed_dictionaries(
        {"type": st.just("image_url"), "image_url": st.fixed_dictionaries({"url": st.text() | JSON})}
    ),
    st.just(image_part(png(20))),
    JSON,
)
MESSAGES = st.fixed_dictionaries(
    {
        "role": st.sampled_from(["user", "user", "system", "assistant", "developer", "tool"]),
        "content": st.text(max_size=20) | st.lists(PARTS, max_size=3) | JSON,
    },
    optional={"name": JSON, "tool_calls": JSON},
)
FIELDS = {
    name: JSON | usual
    for name, usual in {
        "model": st.just(NAME),
        "stream": st.booleans(),
        "stream_options": st.fixed_dictionaries({"include_usage": st.booleans()}),
        "max_tokens": st.integers(1, 5),
        "max_completion_tokens": st.integers(-1, 5),
        "temperature": st.floats(0, 2),
        "top_p": st.floats(0, 1),
        "seed": st.integers(),
        "stop": st.text(max_size=3) | st.lists(st.text(max_size=3)),
        "n": st.integers(0, 2),
        "token_kept_ratio": st.floats(0, 1),
        "user": st.text(),
        "logit_bias": JSON,
    }.items()
}


@pytest.mark.slow
@settings(max_examples=150, suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture])
@given(
    st.lists(MESSAGES, max_size=4) | JSON,
    st.fixed_dictionaries({}, optional=FIELDS),
    st.dictionaries(st.text(), JSON, max_size=1),
)
def test_no_request_is_a_bug(client, messages, fields, others):
    fields.setdefault("max_tokens", 2)
    answer = client.post(CHAT, content=json.dumps({**others, **fields, "messages": messages}))
    assert answer.status_code in (200, 400, 403, 404, 413, 422), answer.text
    if answer.status_code != 200:
        assert answer.json()["error"]["message"]


def test_a_full_queue_refuses_and_says_when_to_come_again(captioner):
    service = service_of(captioner, ServiceLimits(engine=EngineLimits(queue=1)))
    client = TestClient(service.app, base_url=URL)
    with service.engine.queued():
        answer = client.post(CHAT, json=question())
        page = client.post("/caption?name=a.png", content=IMAGE.read_bytes())
    assert (answer.status_code, answer.headers["retry-after"], page.status_code) == (429, "1", 429)
    assert client.post(CHAT, json=question()).status_code == 200
    service.close()


def test_a_request_larger_than_the_batch_runs_alone(captioner):
    service = service_of(captioner, ServiceLimits(engine=EngineLimits(tokens=1)))
    client = TestClient(service.app, base_url=URL)
    assert client.post(CHAT, json=question()).status_code == 200
    service.close()


def test_a_model_that_fails_fails_one_request_and_not_the_next(captioner, monkeypatch):
    from aurora_cli.captioning.decoding import DecodingBatch

    service = service_of(captioner)
    client = TestClient(service.app, base_url=URL)
    for method, error, status in (("step", RuntimeError("bug"), 500), ("admit", MemoryError(), 503)):

        def fail(*_: object, error: Exception = error) -> None:
            raise error

        with monkeypatch.context() as patch:
            patch.setattr(DecodingBatch, method, fail)
            assert client.post(CHAT, json=question()).status_code == status
            (event,) = [
                line for line in client.post(CHAT, json=question(stream=True)).text.split("\n\n") if "error" in line
            ]
            assert json.loads(event.removeprefix("data: "))["error"]["type"] == "server_error"
        assert client.post(CHAT, json=question()).status_code == 200
    service.close()


def test_a_server_that_ends_takes_nothing_new(captioner):
    service = service_of(captioner)
    service.engine.drain()
    client = TestClient(service.app, base_url=URL)
    assert client.post(CHAT, json=question()).status_code == 503
    assert client.get("/health").status_code == 503
    service.close()
