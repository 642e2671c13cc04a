"""A small captioner behind the server, and requests to it, for tests."""

import base64
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from aurora_cli.captioning.captioner import Captioner
from aurora_cli.captioning.loading import load_captioner
from aurora_cli.serving.app import Service, ServiceLimits
from tests.captioners import GOLDEN, make_runs

IMAGE = GOLDEN / "pixels" / "images" / "im_120x160.png"
NAME = "runs/language"
CHAT = "/v1/chat/completions"
URL = "http://127.0.0.1:8000"
NEW_TOKENS = 6


def small_captioner(workspace: Path) -> Captioner:
    """Random weights, 16 patches a frame; it does not end by itself before `NEW_TOKENS`."""
    make_runs(workspace)
    captioner = load_captioner(workspace / NAME)
    captioner.options = captioner.options.changed({"max_new_tokens": NEW_TOKENS})
    return captioner


def service_of(captioner: Captioner, limits: ServiceLimits | None = None) -> Service:
    """A service in which a bug fails the test that met it."""
    return Service(NAME, captioner, limits or ServiceLimits(), _raise)


def _raise(error: Exception) -> None:
    raise error


def data_url(content: bytes, kind: str = "image/png") -> str:
    return f"data:{kind};base64,{base64.b64encode(content).decode()}"


def image_part(content: bytes = b"", url: str | None = None) -> dict[str, Any]:
    return {"type": "image_url", "image_url": {"url": url or data_url(content or IMAGE.read_bytes())}}


def video_part(content: bytes = b"", url: str | None = None) -> dict[str, Any]:
    return {"type": "video_url", "video_url": {"url": url or data_url(content, "video/mp4")}}


def question(text: str = "Describe the image in detail.", *parts: Mapping[str, Any], **fields: Any) -> dict[str, Any]:
    """A request with the media in front of the text; none: the image of the tests."""
    content = [*(parts or (image_part(),)), {"type": "text", "text": text}]
    return {"model": NAME, "messages": [{"role": "user", "content": content}], **fields}


def events_of(body: bytes) -> list[dict[str, Any]]:
    """The objects of a stream, which ends as it should."""
    lines = [line.removeprefix("data: ") for line in body.decode().split("\n\n") if line]
    assert lines[-1] == "[DONE]", lines[-1]
    return [json.loads(line) for line in lines[:-1]]
