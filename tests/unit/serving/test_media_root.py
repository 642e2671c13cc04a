"""Of the files of this machine those below the media root may be named, and no others."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from starlette.testclient import TestClient

from aurora_cli.serving.app import ServiceLimits
from aurora_cli.serving.media import MediaLimits
from tests.serving import CHAT, IMAGE, URL, image_part, question, service_of


@pytest.fixture(scope="module")
def root(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("media")
    (folder / "secret.png").write_bytes(IMAGE.read_bytes())
    root = folder / "root"
    (root / "inner").mkdir(parents=True)
    (root / "a.png").write_bytes(IMAGE.read_bytes())
    (root / "with space.png").write_bytes(IMAGE.read_bytes())
    (root / "inner" / "up.png").symlink_to(root / "a.png")
    (root / "out.png").symlink_to(folder / "secret.png")
    (root / "outfolder").symlink_to(folder)
    (root / "loop").symlink_to(root / "loop")
    return root


@pytest.fixture(scope="module")
def rooted(captioner, root) -> Iterator[TestClient]:
    service = service_of(captioner, ServiceLimits(media=MediaLimits(root=root, max_bytes=100_000)))
    yield TestClient(service.app, base_url=URL)
    service.close()


@pytest.mark.parametrize("name", ["a.png", "./inner/../a.png", "inner/up.png", "{root}/a.png", "file://{root}/a.png",
                                  "file://localhost{root}/with%20space.png"])  # fmt: skip
def test_what_lies_below_is_read(rooted, client, root, name):
    answer = rooted.post(CHAT, json=question("x", image_part(url=name.format(root=root))))
    assert answer.json()["choices"] == client.post(CHAT, json=question("x")).json()["choices"]


@pytest.mark.parametrize("name", [
    "../secret.png", "{root}/../secret.png", "out.png", "outfolder/secret.png", "inner/../../secret.png",
    "file://{root}/../secret.png", "file://{root}/%2e%2e/secret.png", "file:///etc/passwd", "/etc/passwd",
    "/proc/self/environ", "/dev/zero", "../root2/a.png", "missing/../../secret.png",
])  # fmt: skip
def test_what_lies_elsewhere_is_not(rooted, root, name):
    answer = rooted.post(CHAT, json=question("x", image_part(url=name.format(root=root))))
    assert (answer.status_code, answer.json()["error"]["message"]) == (
        403,
        "messages[0].content[0].image_url: is not below the media root",
    )


@pytest.mark.parametrize("name", ["no.png", "a.png/b", "inner", "loop", "a\0.png", "x" * 5000, ""])
def test_what_is_no_file_is_not_there(rooted, name):
    part = {"type": "image_url", "image_url": {"url": name}}
    assert rooted.post(CHAT, json=question("x", part)).status_code == 404


def test_a_pipe_does_not_hang_it_and_a_large_file_is_not_read(rooted, root):
    os.mkfifo(root / "pipe.png")
    assert rooted.post(CHAT, json=question("x", image_part(url="pipe.png"))).status_code == 404
    (root / "big.png").write_bytes(b"x" * 100_001)
    assert rooted.post(CHAT, json=question("x", image_part(url="big.png"))).status_code == 413


def test_another_machines_files_are_none(rooted):
    assert rooted.post(CHAT, json=question("x", image_part(url="file://host/a.png"))).status_code == 400
