"""`aurora extract`: what GNU tar makes of benign archives, in either layout, once and again."""

import gzip
import os
import shutil
import subprocess
import tarfile
import time
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from aurora_cli.config.settings import Settings
from aurora_cli.data.archives.reading import chunks
from aurora_cli.data.media.root import MediaRoot
from aurora_cli.errors import DataError, UsageError
from aurora_cli.pipeline import merge_tars
from aurora_cli.pipeline.extract import by_scratch
from aurora_cli.pipeline.extract import command as extract
from tests.archiving import END, FILES, IMAGES, ONE_BYTE, PAYLOAD, SUBSET, header, info, place, settings, tar_of, tree


@pytest.mark.parametrize("name", ["a.tar", "a.tar.gz", "a.tgz"])
def test_every_member_lands_in_the_archives_folder(tmp_path: Path, name: str):
    raw = tar_of(*IMAGES)
    place(tmp_path, raw if name.endswith(".tar") else gzip.compress(raw), name)
    result = extract.run(settings(tmp_path))
    assert tree(tmp_path / SUBSET) == FILES
    assert (result.exit_code, result.archives[0].members, result.archives[0].broken) == (0, 40, None)
    assert not (tmp_path / SUBSET / "rejected.jsonl").exists()


def test_an_output_that_is_a_file_is_named(tmp_path: Path):
    place(tmp_path, tar_of(*IMAGES), "a.tar")
    (tmp_path / "out").write_text("kept")
    with pytest.raises(UsageError, match=r"extract\.output: \S+/out: is a file"):
        extract.run(settings(tmp_path, output=Path("out")))
    assert (tmp_path / "out").read_text() == "kept"


def test_parts_are_read_as_one_stream_and_an_archive_that_is_there_twice_is_extracted_once(tmp_path: Path):
    packed = gzip.compress(tar_of(*IMAGES))
    for index in range(12):
        place(tmp_path, packed[index * 10_000 : (index + 1) * 10_000 if index < 11 else None], f"a.tar.gz_part{index}")
    result = extract.run(settings(tmp_path))
    assert tree(tmp_path / SUBSET) == FILES
    assert result.archives[0].parts == 12
    merge_tars.run(Settings(workspace=tmp_path))
    again = extract.run(settings(tmp_path))
    assert [entry.done_before for entry in again.archives] == [True]


def test_output_keeps_the_folders_between_input_and_archive(tmp_path: Path):
    archive = place(tmp_path, tar_of(*IMAGES))
    extract.run(settings(tmp_path, output="out"))
    assert (tmp_path / "out/vision/cost/images/0.jpg").is_file()
    extract.run(settings(tmp_path, inputs=[archive], output="flat"))
    assert (tmp_path / "flat/images/0.jpg").is_file()
    assert not (tmp_path / SUBSET / "images").exists()


def test_a_second_run_does_nothing_and_says_so(tmp_path: Path):
    place(tmp_path, gzip.compress(tar_of(*IMAGES)), "a.tar.gz")
    extract.run(settings(tmp_path))
    image = tmp_path / SUBSET / "images/0.jpg"
    before = image.stat().st_ino
    result = extract.run(settings(tmp_path))
    assert result.lines() == ["Nothing to do: 1 archives found, all extracted before."]
    assert image.stat().st_ino == before


def test_an_archive_that_changed_and_output_that_is_gone_are_extracted_again(tmp_path: Path):
    place(tmp_path, tar_of(*IMAGES))
    extract.run(settings(tmp_path))
    shutil.rmtree(tmp_path / SUBSET / "images")
    extract.run(settings(tmp_path))
    assert tree(tmp_path / SUBSET) == FILES
    place(tmp_path, tar_of(*IMAGES[:5], info("images/5.jpg", b"new")))
    extract.run(settings(tmp_path))
    assert (tmp_path / SUBSET / "images/5.jpg").read_bytes() == b"new"


def test_a_dry_run_touches_nothing(tmp_path: Path):
    place(tmp_path, tar_of(*IMAGES))
    result = extract.run(settings(tmp_path, delete_archives=True), dry_run=True)
    assert [path.name for path in (tmp_path / SUBSET).iterdir()] == ["a.tar"]
    assert "would be extracted into" in result.lines()[0]


def test_nothing_there_says_what_to_run_first(tmp_path: Path):
    with pytest.raises(DataError, match="there is no such") as caught:
        extract.run(settings(tmp_path))
    assert "aurora download" in str(caught.value)
    (tmp_path / "data").mkdir()
    with pytest.raises(DataError, match="no archives"):
        extract.run(settings(tmp_path))


@pytest.mark.parametrize("layout", ["files", "index"])
def test_archives_are_deleted_only_when_they_are_clean_and_a_further_run_is_content(tmp_path: Path, layout: str):
    packed = gzip.compress(tar_of(*IMAGES))
    clean = [place(tmp_path, packed[:50_000], "a.tar.gz.part_0"), place(tmp_path, packed[50_000:], "a.tar.gz.part_1")]
    hostile = place(tmp_path, gzip.compress(tar_of(info("ok", b"1"), info("/absolute", b"2"))), "b.tar.gz")
    cut = place(tmp_path, gzip.compress(tar_of(*IMAGES, form=tarfile.GNU_FORMAT))[:60_000], "c.tar.gz")
    result = extract.run(settings(tmp_path, delete_archives=True, layout=layout))
    assert [path.exists() for path in (*clean, hostile, cut)] == [False, False, True, True]
    assert result.exit_code == 3
    hostile.unlink()
    cut.unlink()
    assert extract.run(settings(tmp_path, delete_archives=True, layout=layout)).exit_code == 0


@pytest.mark.parametrize("layout", ["files", "index"])
def test_with_deletion_no_archive_begins_while_another_lies_there_twice(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, layout: str
):
    for number in range(5):
        place(tmp_path, gzip.compress(tar_of(*IMAGES[number * 8 : number * 8 + 8])), f"{number}.tar.gz")
    left = []
    step = {"files": "unpack", "index": "build_index"}[layout]
    real = getattr(by_scratch, step)

    def watched(*args: object, **options: object) -> object:
        left.append(len(list((tmp_path / SUBSET).glob("*.tar.gz"))))
        return real(*args, **options)

    monkeypatch.setattr(by_scratch, step, watched)
    extract.run(settings(tmp_path, delete_archives=True, layout=layout, workers=1))
    assert left == [5, 4, 3, 2, 1]


def test_an_archive_inside_an_archive_stays_packed_unless_it_is_named(tmp_path: Path):
    inner = tar_of(info("inside.txt", b"1"))
    place(tmp_path, tar_of(info("deep/inner.tar", inner)))
    extract.run(settings(tmp_path))
    assert extract.run(settings(tmp_path)).lines()[0].startswith("Nothing to do")
    assert not (tmp_path / SUBSET / "deep/inside.txt").exists()
    extract.run(settings(tmp_path, inputs=[tmp_path / SUBSET / "deep/inner.tar"]))
    assert (tmp_path / SUBSET / "deep/inside.txt").read_bytes() == b"1"


def test_of_members_with_one_name_the_last_stays_and_they_are_counted(tmp_path: Path):
    place(tmp_path, tar_of(info("a", b"first"), info("b", b"1"), info("./a", b"last")))
    result = extract.run(settings(tmp_path))
    assert (tmp_path / SUBSET / "a").read_bytes() == b"last"
    assert result.archives[0].duplicates == 1


def test_nothing_dangerous_is_preserved(tmp_path: Path):
    place(tmp_path, tar_of(info("run", b"#!", mode=0o6777, uid=1, gid=1), info("secret", b"x", mode=0)))
    extract.run(settings(tmp_path))
    assert (tmp_path / SUBSET / "run").stat().st_mode & 0o7022 == 0
    assert (tmp_path / SUBSET / "run").stat().st_uid == os.getuid()
    assert (tmp_path / SUBSET / "secret").stat().st_mode & 0o600 == 0o600


@pytest.mark.parametrize("workers", [1, 3])
def test_several_archives_at_a_time_give_the_same(tmp_path: Path, workers: int):
    for index in range(4):
        place(tmp_path, gzip.compress(tar_of(*IMAGES[index * 10 : index * 10 + 10])), f"{index}.tar.gz")
    extract.run(settings(tmp_path, workers=workers))
    assert tree(tmp_path / SUBSET) == FILES


@pytest.mark.parametrize("tail", [b"\0" * 5000, b""])
def test_a_gzip_of_several_members_is_one_stream(tmp_path: Path, tail: bytes):
    raw = tar_of(*IMAGES)
    packed = gzip.compress(raw[:9999]) + gzip.compress(b"") + gzip.compress(raw[9999:]) + tail
    place(tmp_path, packed, "a.tar.gz")
    assert extract.run(settings(tmp_path)).exit_code == 0
    assert tree(tmp_path / SUBSET) == FILES


def test_garbage_behind_a_gzip_stream_is_said(tmp_path: Path):
    place(tmp_path, gzip.compress(tar_of(*IMAGES)) + b"garbage", "a.tar.gz")
    result = extract.run(settings(tmp_path))
    assert "not gzip" in result.archives[0].broken
    assert tree(tmp_path / SUBSET) == FILES


def test_a_bomb_is_left_at_the_limit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(chunks, "_FREE_INFLATION", 1 << 20)
    place(tmp_path, gzip.compress(tar_of(info("small", b"1"), info("zeros", bytes(8 << 20)))), "a.tar.gz")
    result = extract.run(settings(tmp_path, max_inflation=100))
    assert "extract.max_inflation" in result.archives[0].broken
    assert tree(tmp_path / SUBSET) == {"small": b"1"}
    assert (
        extract.run(settings(tmp_path / "w2", inputs=[tmp_path / SUBSET], output="o", max_inflation=2000)).exit_code
        == 0
    )


def test_a_link_that_was_there_before_is_not_written_through(tmp_path: Path):
    outside = tmp_path / "outside"
    outside.mkdir()
    place(tmp_path, tar_of(info("images/a.jpg", b"1"), info("b.jpg", b"2")))
    (tmp_path / SUBSET / "images").symlink_to(outside)
    (tmp_path / SUBSET / "b.jpg").symlink_to(outside / "b.jpg")
    result = extract.run(settings(tmp_path))
    assert list(outside.iterdir()) == []
    assert result.rejected == 1
    assert (tmp_path / SUBSET / "b.jpg").read_bytes() == b"2"


def test_names_that_are_odd_but_legal_come_as_they_are(tmp_path: Path):
    odd = [b"new\nline", b"latin-\xe4", b"\xff\xfe", "snow ☃".encode(), b" ", b"*?[a]", b"-rf"]
    place(tmp_path, b"".join(header(name, size=ONE_BYTE) + PAYLOAD for name in odd) + END)
    assert extract.run(settings(tmp_path)).exit_code == 0
    assert {os.fsencode(name) for name in tree(tmp_path / SUBSET)} == set(odd)


def test_a_set_of_parts_with_a_gap_is_named_and_the_others_are_extracted(tmp_path: Path):
    place(tmp_path, b"x", "bad.tar.gz.part_000")
    place(tmp_path, b"x", "bad.tar.gz.part_002")
    place(tmp_path, tar_of(*IMAGES))
    result = extract.run(settings(tmp_path))
    assert result.exit_code == 3
    assert "part bad.tar.gz.part_001 is missing" in result.problems[0]
    assert tree(tmp_path / SUBSET) == FILES


# --- beside GNU tar


NAMES = st.lists(st.sampled_from(["a", "b", "ü", "long" * 30, "x y", "n\nl", ".h", "-dash"]), min_size=1, max_size=4)
MEMBERS = st.lists(st.tuples(NAMES, st.binary(max_size=2000), st.sampled_from("fffffdlh")), max_size=12)
FORMS = st.sampled_from([tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])


def check_like_gnu_tar(tmp_path: Path, members: list, form: int, pieces: int, packed: bool) -> None:
    workspace, theirs = tmp_path / f"{time.monotonic_ns()}", tmp_path / f"gnu{time.monotonic_ns()}"
    theirs.mkdir()
    infos, files, folders = [], [], set()
    for steps, content, kind in members:
        name = "/".join(steps)
        parents = {"/".join(steps[:depth]) for depth in range(1, len(steps))}
        if any(parent in files for parent in parents) or name in folders or (kind == "d" and name in files):
            continue  # a folder of a file's name: tar refuses the one or the other
        if kind == "l":
            infos.append(info(f"{name}.link", type=tarfile.SYMTYPE, linkname=steps[-1]))
        elif kind == "h" and files:
            if name not in files:
                infos.append(info(name, type=tarfile.LNKTYPE, linkname=files[0]))
        elif kind == "d":
            infos.append(info(name, type=tarfile.DIRTYPE, mode=0o755))
            folders.add(name)
        else:
            infos.append(info(name, content))
        folders |= parents
        if kind in "fh" and name not in files:
            files.append(name)
    try:
        raw = tar_of(*infos, form=form)
    except ValueError:  # ustar has no place for such a name
        raw = tar_of(*infos, form=tarfile.PAX_FORMAT)
    subprocess.run(["tar", "xf", "-", "-C", theirs], input=raw, check=True)
    raw = gzip.compress(raw, 1) if packed else raw
    step = -(-len(raw) // pieces)
    for index, begin in enumerate(range(0, len(raw), step)):
        place(workspace, raw[begin : begin + step], f"a.tar.gz.part_{index:03}")
    result = extract.run(settings(workspace))
    assert result.exit_code == 0, result.lines()
    assert tree(workspace / SUBSET) == tree(theirs)
    indexed = extract.run(settings(workspace, layout="index", output="indexed"))
    assert indexed.exit_code == 0 or any(kind == "l" for _, _, kind in members)
    root = MediaRoot(workspace / "indexed/vision/cost")
    for path, content in tree(theirs).items():
        if isinstance(content, bytes):
            assert root.read(path) == content


LIKE_GNU = {"members": MEMBERS, "form": FORMS, "pieces": st.integers(1, 5), "packed": st.booleans()}
FIXTURE_IS_FINE = [HealthCheck.function_scoped_fixture, HealthCheck.too_slow]


@pytest.mark.slow
@hypothesis_settings(max_examples=200, suppress_health_check=FIXTURE_IS_FINE)
@given(**LIKE_GNU)
def test_a_benign_archive_gives_what_gnu_tar_gives(tmp_path: Path, members: list, form: int, pieces: int, packed: bool):
    check_like_gnu_tar(tmp_path, members, form, pieces, packed)


@pytest.mark.soak
@hypothesis_settings(max_examples=2000, suppress_health_check=FIXTURE_IS_FINE)
@given(**LIKE_GNU)
def test_many_benign_archives_give_what_gnu_tar_gives(
    tmp_path: Path, members: list, form: int, pieces: int, packed: bool
):
    check_like_gnu_tar(tmp_path, members, form, pieces, packed)


def test_the_end_is_a_table(tmp_path: Path):
    place(tmp_path, tar_of(*IMAGES))
    place(tmp_path, tar_of(info("../x", b"1"), info("a.txt", b"12"), info("a.txt", b"21")), "b.tar")
    lines = extract.run(settings(tmp_path)).lines()
    assert [line.split()[1:5] for line in lines[:4]] == [
        ["parts", "members", "bytes", "rejected"],
        ["1", "40", "120,780", "0"],
        ["1", "2", "4", "1"],
        ["archives", "2", "42", "120,784"],
    ]
    assert "1 names came more than once" in lines[4]


def test_a_member_whose_payload_contradicts_its_slash_does_not_derail_the_rest(tmp_path: Path):
    place(tmp_path, header(b"x/", size=ONE_BYTE) + PAYLOAD + header(b"y", size=ONE_BYTE) + PAYLOAD + END)
    extract.run(settings(tmp_path))
    assert tree(tmp_path / SUBSET) == {"x": b"!", "y": b"!"}
