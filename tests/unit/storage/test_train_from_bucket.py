"""Training reads media that lie in a bucket, as objects or in an indexed tar, and its losses are those of files."""

import json
import shutil
import tarfile
from pathlib import Path

import pytest

from aurora_cli.config.settings import ExtractSettings, Settings
from aurora_cli.data.media.errors import MissingMedia
from aurora_cli.data.media.remote.roots import lookups_of
from aurora_cli.data.media.root import MediaRoot
from aurora_cli.errors import DataError, UsageError
from aurora_cli.pipeline.extract import command as extract
from aurora_cli.pipeline.inspect import command as inspect
from aurora_cli.pipeline.tokenize import command as tokenize
from aurora_cli.pipeline.train import command as train
from tests.distributed import tiny_workspace
from tests.object_storage import needs_s3


def stored(bucket, folder: Path, tar: Path) -> tuple[str, str]:
    """URLs of the files of a folder as objects, and in an indexed tar."""
    files = [path for path in sorted(folder.rglob("*")) if path.is_file() and ".aurora" not in path.parts]
    with tarfile.open(tar, "w") as archive:
        for path in files:
            archive.add(path, path.relative_to(folder).as_posix())
            bucket.write(f"media/{path.relative_to(folder).as_posix()}", path.read_bytes())
    extract.run(Settings(workspace=tar.parent, extract=ExtractSettings(inputs=(tar,), layout="index")))
    for name in (tar.name, f"{tar.name}.index"):
        bucket.write(name, (tar.parent / name).read_bytes())
    return bucket.url("media"), bucket.url(tar.name)


def test_a_root_in_a_bucket_answers_as_a_folder_does(bucket, tmp_path):
    folder = tmp_path / "folder"
    for name in ("a.png", "walk/1.png", "walk/2.png", "walk/deeper/3.png"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(name.encode() * 100)
    here = MediaRoot(folder)
    for url in stored(bucket, folder, tmp_path / "all.tar"):
        there = MediaRoot(url)
        for name in ("a.png", "./walk//1.png", "walk/../a.png"):
            assert there.read(name) == there.open(name) == here.read(name)
        assert there.files_in("walk") == here.files_in("walk") == ["1.png", "2.png"]
        assert there.files_in("nowhere") is here.files_in("nowhere") is None
        assert there.version("a.png") is not None
        assert there.version("a.png") == MediaRoot(url).version("a.png") != there.version("walk/1.png")
        assert [there.locate(name) is None for name in ("a.png", "walk", "b.png")] == [False, False, True]
        for name in ("b.png", "../a.png", "/etc/hostname", "walk"):
            assert there.version(name) is None
            with pytest.raises(MissingMedia, match=f"{url}: has no {name}"):
                there.read(name)


def test_a_tar_without_its_index_is_said_by_its_url(bucket):
    bucket.write("a.tar", b"content")
    with pytest.raises(DataError, match=r"a\.tar\.index: there is no such object"):
        MediaRoot(bucket.url("a.tar"))


@needs_s3
@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::FutureWarning", "ignore::DeprecationWarning")
def test_losses_are_those_of_files_whoever_reads(s3, tmp_path):
    tiny_workspace.make(tmp_path, "language", images=6, videos=2, texts=1)
    annotations = [*(tmp_path / "data").rglob("*.jsonl")]
    folders = sorted({path.parent for path in annotations if path.parent.name != "texts"})
    losses = {}
    for folder in folders:
        merged = [f"{tmp_path}/tokenized/language/{folder.name}/merged"]
        roots = [None, *stored(s3, folder, tmp_path / f"{folder.name}.tar")]
        shutil.move(folder, folder.with_name("moved"))
        for number, root in enumerate([str(folder.with_name("moved")), *roots[1:]]):
            tree = tiny_workspace.settings(
                tmp_path, after=None, data=merged, media_root=root, run_dir=f"runs/{folder.name}-{number}", trackers=[],
                max_steps=2, samples_every=0,
            ).model_dump(mode="json")  # fmt: skip
            tree["data"]["workers"] = number % 2
            result = train.run(Settings.model_validate(tree))
            assert result.exit_code == 0
            lines = (tmp_path / f"runs/{folder.name}-{number}/metrics.jsonl").read_text().splitlines()
            losses[folder.name, number] = [json.loads(line)["loss"] for line in lines]
        shutil.move(folder.with_name("moved"), folder)
        assert losses[folder.name, 1] == losses[folder.name, 2] == losses[folder.name, 0]


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::FutureWarning", "ignore::DeprecationWarning")
def test_a_stage_starts_from_weights_in_a_bucket_as_from_their_folder(memory, tmp_path):
    tiny_workspace.make(tmp_path, "language", images=2, videos=1, texts=1)
    chosen = {"trackers": [], "samples_every": 0}
    train.run(tiny_workspace.settings(tmp_path, after=None, max_steps=1, **chosen))
    checkpoint = tmp_path / "runs/language/checkpoints/step-00000001"
    for path in checkpoint.rglob("*"):
        if path.is_file():
            memory.write(f"weights/{path.relative_to(checkpoint)}", path.read_bytes())
    found = []
    for number, start in enumerate([str(checkpoint), memory.url("weights")]):
        settings = tiny_workspace.settings(
            tmp_path, after=None, init_from=start, run_dir=f"runs/{number}", max_steps=2, **chosen
        )
        assert train.run(settings, dry_run=True).problem is None
        assert train.run(settings).exit_code == 0
        lines = (tmp_path / f"runs/{number}/metrics.jsonl").read_text().splitlines()
        found.append([json.loads(line)["loss"] for line in lines])
    assert found[0] == found[1]
    with pytest.raises(UsageError, match=r"https:// is not read here"):
        train.run(
            tiny_workspace.settings(tmp_path, after=None, init_from="https://huggingface.co/a/b", run_dir="runs/2")
        )


def test_a_folder_without_objects_is_refused_at_once_and_so_is_an_object_for_a_folder(bucket):
    bucket.write("media/a.png", b"1")
    for folder in ("media", "media/"):
        MediaRoot(bucket.url(folder))
    for folder in ("medi", "media/none/"):
        with pytest.raises(DataError, match=rf"//bucket/{folder}: holds no objects"):
            MediaRoot(bucket.url(folder))
        with pytest.raises(DataError, match=rf"//bucket/{folder}: holds no objects"):
            lookups_of([bucket.url(folder)], Path())
    with pytest.raises(DataError, match=r"//bucket/media/a\.png: is an object; the URL of a folder"):
        MediaRoot(bucket.url("media/a.png"))


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::FutureWarning", "ignore::DeprecationWarning")
def test_what_is_not_there_is_said_before_weights_are_read(memory, tmp_path, monkeypatch):
    tiny_workspace.make(tmp_path, "language", images=2, videos=1, texts=1)
    monkeypatch.setattr("aurora_cli.pipeline.train.run._wrapped_network", lambda *_: pytest.fail("weights were read"))
    settings = tiny_workspace.settings(tmp_path, after=None, media_root=memory.url("no.tar"), trackers=[])
    with pytest.raises(DataError, match=r"memory://bucket/no\.tar: there is no such object"):
        train.run(settings)
    memory.write("other/a.png", b"1")
    settings = tiny_workspace.settings(tmp_path, after=None, media_root=memory.url("media"), trackers=[])
    with pytest.raises(DataError, match=r"memory://bucket/media: holds no objects"):
        train.run(settings)


def test_who_does_not_read_media_in_a_bucket_says_so(tmp_path):
    tree = {"workspace": tmp_path, "train": {"media_root": "s3://bucket/media"}, "tokenize": {"check_media": True}}
    settings = Settings.model_validate(tree)
    with pytest.raises(UsageError, match=r"--check-media: train\.media_root is s3://bucket/media"):
        tokenize.with_media_root(settings)
    with pytest.raises(UsageError, match="only training reads media in a bucket"):
        inspect.train_media_root(settings, inspect.Workspace(tmp_path))
