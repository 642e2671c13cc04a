"""`aurora caption` of lists, media and archives that lie in a bucket says what it says of the same on a disk."""

import json
import pickle
import tarfile
from pathlib import Path

import pytest
from PIL import Image

from aurora_cli.config.settings import ExtractSettings, Settings
from aurora_cli.data.media.remote.roots import lookups_of
from aurora_cli.errors import DataError, HostError, UsageError
from aurora_cli.hub.patience import Patience
from aurora_cli.pipeline.caption import command as caption
from aurora_cli.pipeline.extract import command as extract
from aurora_cli.storage import client
from tests.captioners import caption_settings, make_runs
from tests.object_storage import forget_clients, needs_s3

pytestmark = pytest.mark.slow
NAMES = [f"{number}.png" for number in range(6)]


@pytest.fixture(scope="module")
def made(tmp_path_factory) -> Path:
    """A workspace with a model, and images and a folder of frames, as files and in an indexed tar."""
    root = tmp_path_factory.mktemp("workspace")
    make_runs(root)
    (root / "images" / "walk").mkdir(parents=True)
    for name in [*NAMES, "walk/frame_0.png", "walk/frame_1.png"]:
        Image.effect_noise((60, 40), 20 + 9 * len(name)).save(root / "images" / name)
    with tarfile.open(root / "all.tar", "w") as tar:
        tar.add(root / "images", "images")
    extract.run(Settings(workspace=root, extract=ExtractSettings(inputs=(root / "all.tar",), layout="index")))
    return root


@pytest.fixture(scope="module")
def expected(made) -> dict[str, str]:
    names = [*(f"images/{name}" for name in NAMES), "images/walk"]
    result = caption.run(caption_settings(made, *names, max_new_tokens=4))
    return {line.media: line.caption for line in result.captions}


def upload(bucket, made: Path, *names: str) -> None:
    for name in names:
        bucket.write(name, (made / name).read_bytes())


def list_of(*media: str) -> bytes:
    return b"".join(json.dumps({"media": name}).encode() + b"\n" for name in media)


def captions_of(settings: Settings) -> dict[str, str]:
    return {line.media: line.caption for line in caption.run(settings).captions}


def test_members_of_a_tar_are_read_in_place(bucket, made, expected):
    upload(bucket, made, "all.tar", "all.tar.index")
    settings = caption_settings(
        made,
        manifest=bucket.write("lists/media.jsonl", list_of(*expected)),
        media_root=(bucket.url("all.tar"),),
        max_new_tokens=4,
    )
    assert captions_of(settings) == expected


def test_a_member_can_be_handed_to_another_process(memory, made, tmp_path):
    upload(memory, made, "all.tar", "all.tar.index")
    for root in (memory.url("all.tar"), "all.tar"):
        (lookup,) = lookups_of([root], made)
        (found, again) = (pickle.loads(pickle.dumps(lookup("images/1.png"))) for _ in range(2))
        assert found.source.tar is again.source.tar
        assert found.source.fetch(tmp_path, 10**6).read_bytes() == (made / "images" / "1.png").read_bytes()


def test_members_of_a_tar_on_this_machine(made, expected, tmp_path):
    (tmp_path / "media.jsonl").write_bytes(list_of(*expected))
    settings = caption_settings(made, manifest=tmp_path / "media.jsonl", media_root=("all.tar",), max_new_tokens=4)
    assert captions_of(settings) == expected


def test_objects_beside_their_list_and_what_is_missing_is_listed(bucket, made, expected):
    upload(bucket, made, *(f"images/{name}" for name in NAMES))
    manifest = bucket.write("media.jsonl", list_of(*(f"images/{name}" for name in NAMES), "images/none.png"))
    result = caption.run(caption_settings(made, manifest=manifest, max_new_tokens=4))
    assert {line.media: line.caption for line in result.captions} == {
        name: text for name, text in expected.items() if name != "images/walk"
    }
    (missing,) = result.rejected
    assert (missing.file, missing.line, missing.media) == (manifest, 7, "images/none.png")
    assert missing.reason.endswith("images/none.png: there is no such object")


def test_objects_and_folders_of_them_are_named_by_their_urls(memory, made, expected):
    upload(memory, made, *(f"images/{name}" for name in NAMES))
    found = captions_of(caption_settings(made, memory.url("images/"), "images/walk", max_new_tokens=4))
    assert found == {name if "walk" in name else memory.url(name): text for name, text in expected.items()}
    with pytest.raises(UsageError, match=r"all\.tar: is an archive"):
        captions_of(caption_settings(made, memory.url("all.tar")))
    with pytest.raises(UsageError, match="holds no images"):
        captions_of(caption_settings(made, memory.url("nothing/")))


def test_a_list_in_a_bucket_names_no_file_of_this_machine_and_no_other_bucket(memory, made):
    names = [str(made / "images" / "0.png"), "../../../../etc/hostname.png", "s3://other/a.png"]
    result = caption.run(caption_settings(made, manifest=memory.write("media.jsonl", list_of(*names))))
    assert not result.captions
    reasons = [each.reason for each in result.rejected]
    assert [reason.partition(":")[0] for reason in reasons] == ["memory", "memory", "s3"]
    assert reasons[2] == "s3://other/a.png: is in another bucket (--allow-remote)"


def test_too_large_an_object_is_not_fetched(memory, made):
    memory.write("a.png", bytes(2_000_000))
    result = caption.run(caption_settings(made, memory.url("a.png"), max_remote_mb=1.0))
    assert "at most 1,000,000 bytes are fetched" in result.rejected[0].reason


@needs_s3
def test_of_a_large_tar_its_index_and_the_members_that_are_captioned_travel(s3, made, expected):
    upload(s3, made, "all.tar.index")
    with tarfile.open(made / "all.tar") as tar:
        sizes = {member.name: member.size for member in tar}
    s3.write("all.tar", (made / "all.tar").read_bytes())
    manifest = s3.write("media.jsonl", list_of("images/2.png"))
    settings = caption_settings(made, manifest=manifest, media_root=(s3.url("all.tar"),), max_new_tokens=4)
    s3.proxy.received = 0
    s3.proxy.busy = 1
    assert captions_of(settings) == {"images/2.png": expected["images/2.png"]}
    wanted = sizes["images/2.png"] + (made / "all.tar.index").stat().st_size + len(list_of("images/2.png"))
    assert wanted < s3.proxy.received < wanted + 1_000 * len(s3.proxy.requests)
    assert len(s3.proxy.requests) == 9  # one of them answered by 503
    assert (made / "all.tar").stat().st_size > 10 * sizes["images/2.png"] / 2


@needs_s3
def test_a_store_that_goes_away_stops_the_run_and_the_next_one_goes_on(s3, made, expected, tmp_path, monkeypatch):
    monkeypatch.setattr(client, "PATIENCE", Patience(0, 0.01))
    forget_clients()
    upload(s3, made, *(f"images/{name}" for name in NAMES))
    manifest = s3.write("media.jsonl", list_of(*(f"images/{name}" for name in NAMES)))
    settings = caption_settings(
        made, manifest=manifest, output=tmp_path / "captions.jsonl", max_new_tokens=4, batch_size=1
    )
    s3.proxy.cuts += [10**9] * 4 + [100] * 9  # the list, three images
    with pytest.raises(HostError, match=r"s3://bucket/images/3\.png: bucket bucket does not answer"):
        caption.run(settings)
    s3.proxy.cuts.clear()
    result = caption.run(settings)
    assert (result.reused, result.made) == (3, 3)


def test_a_bucket_is_a_folder_with_and_without_a_slash(bucket, made, expected):
    upload(bucket, made, *(f"images/{name}" for name in NAMES[:2]))
    for url in (bucket.url().rstrip("/"), bucket.url()):
        found = captions_of(caption_settings(made, url, max_new_tokens=4))
        assert [*found.values()] == [expected[f"images/{name}"] for name in NAMES[:2]]


@needs_s3
def test_a_bucket_that_is_not_there_is_said_before_anything_is_captioned(s3, made):
    with pytest.raises(DataError, match="s3://nobucket/images/: there is no bucket nobucket"):
        caption.run(caption_settings(made, "s3://nobucket/images/"))
    settings = caption_settings(made, f"images/{NAMES[0]}")
    output = settings.caption.model_copy(update={"output": "s3://nobucket/c.jsonl", "model": "nowhere"})
    with pytest.raises(DataError, match=r"s3://nobucket/c\.jsonl: there is no bucket nobucket"):
        caption.run(settings.model_copy(update={"caption": output}))
