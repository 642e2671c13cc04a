"""Which media references are about, in every form that they come in."""

import json
from pathlib import Path

import pytest
from PIL import Image

from aurora_cli.config.workspace import Workspace
from aurora_cli.evaluation.references import read_references
from aurora_cli.pipeline.evaluate.reference_media import ReferenceMedia, reference_media

FRAMES = [f"walk/frame_{number}.png" for number in range(3)]


@pytest.fixture
def root(tmp_path) -> Path:
    folder = tmp_path / "val"
    for name in ("a.png", "deep/b.jpg", "video7.mp4", *FRAMES):
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.suffix == ".mp4":
            path.write_bytes(b"video")
        else:
            Image.new("RGB", (8, 8)).save(path)
    return tmp_path


def found(root: Path, content: object, name: str = "r.jsonl", folder: str = "val") -> ReferenceMedia:
    rows = content if isinstance(content, list) else [content]
    text = "".join(json.dumps(row) + "\n" for row in rows)
    path = root / "val" / name
    path.write_text(text)
    return reference_media(read_references(path), root / folder, Workspace(root))


def names(media: ReferenceMedia) -> list[str]:
    return [row.medium.name for row in media.rows]


def test_lines_name_them_by_path_by_the_end_of_it_or_by_an_id_without_suffix(root):
    rows = [
        {"id": 1, "media": "a.png", "references": ["x"]},
        {"id": "elsewhere/deep/b.jpg", "references": ["x"]},
        {"id": "video7", "references": ["x"], "span": [1, 2.5]},
        {"id": "nobody", "references": ["x"]},
    ]
    media = found(root, rows)
    assert names(media) == ["val/a.png", "val/deep/b.jpg", "val/video7.mp4"]
    assert [row.id for row in media.rows] == ["1", "elsewhere/deep/b.jpg", "video7"]
    assert [row.span for row in media.rows] == [None, None, (1.0, 2.5)]
    assert [row.medium.kind for row in media.rows] == ["image", "image", "video"]
    assert media.missing == ("nobody",)


def test_coco_names_them_by_file_and_not_by_the_number(root):
    Image.new("RGB", (8, 8)).save(root / "val" / "7.png")
    coco = {
        "images": [{"id": 7, "file_name": "a.png"}],
        "annotations": [{"id": 1, "image_id": 7, "caption": "x"}, {"id": 2, "image_id": 7, "caption": "y"}],
    }
    assert names(found(root, coco, "coco.json")) == ["val/a.png"]


def test_msrvtt_names_videos_without_their_suffix(root):
    msrvtt = {"videos": [{"video_id": "video7"}], "sentences": [{"video_id": "video7", "caption": "x", "sen_id": 0}]}
    assert names(found(root, msrvtt, "msrvtt.json")) == ["val/video7.mp4"]


def test_records_bring_their_question_and_lists_of_frames_are_one_video(root):
    def record(**media: object) -> dict:
        turns = [{"from": "human", "value": "<image>\nHow many?"}, {"from": "gpt", "value": "One."}]
        return {"id": "r", **media, "conversations": turns}

    media = found(root, [record(image="a.png"), record(id="s", video="video7.mp4")])
    assert [(row.medium.name, row.prompt) for row in media.rows] == [
        ("val/a.png", "How many?"),
        ("val/video7.mp4", "How many?"),
    ]
    listed = [{"id": "w", "video": FRAMES, "conversations": record()["conversations"]}]
    (row,) = found(root, listed, "frames.jsonl").rows
    assert [path.name for path in row.medium.frames] == ["frame_0.png", "frame_1.png", "frame_2.png"]
    assert row.medium.kind == "video"


def test_they_are_looked_for_in_the_workspace_too(root):
    (root / "top.png").write_bytes((root / "val" / "a.png").read_bytes())
    media = found(root, [{"id": "top.png", "references": ["x"]}, {"id": "val/a.png", "references": ["y"]}])
    assert names(media) == ["top.png", "val/a.png"]


def test_a_token_store_gives_the_same_references_and_media_as_the_file_that_it_was_made_from():
    workspace = Path(__file__).parents[3] / "fixtures" / "workspace-0.1.0"
    file = workspace / "data" / "language" / "llava_mix" / "llava_mix.jsonl"
    made = read_references(workspace / "tokenized" / "language" / "llava_mix")
    plain = read_references(file)
    assert made.texts == plain.texts
    assert made.texts[0] == ["A blue circle at the top right."]
    assert {*plain.names[0]} <= {*made.names[0]}
    first = read_references(workspace / "tokenized" / "language" / "llava_mix" / "shards" / "part-00000").texts
    assert first == made.texts[: len(first)]
    lists = read_references(workspace / "tokenized" / "language" / "sharegpt4video_caption")
    assert all(about.is_frame_list and len(about.paths) > 1 for about in lists.about)
