"""`aurora merge-tars`: any spelling of parts, in the order of their numbers, whole or not at all."""

import itertools
import random
import time
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from aurora_cli.config.settings import MergeTarsSettings, Settings
from aurora_cli.data.archives import join_parts
from aurora_cli.errors import DataError, HostError
from aurora_cli.pipeline import merge_tars
from tests.archiving import peak_of

CONTENT = b"\x1f\x8b" + random.Random(0).randbytes(9_998)


def settings(workspace: Path, **options: object) -> Settings:
    return Settings(workspace=workspace, merge_tars=MergeTarsSettings.model_validate(options))


def cut(folder: Path, names: list[str], content: bytes = CONTENT) -> None:
    """Write `content` in as many pieces as there are names, in their order."""
    folder.mkdir(parents=True, exist_ok=True)
    edges = [len(content) * index // len(names) for index in range(len(names) + 1)]
    for name, (begin, end) in zip(names, itertools.pairwise(edges), strict=True):
        (folder / name).write_bytes(content[begin:end])


def letters(count: int) -> list[str]:
    """What `split` calls its pieces: aa ... yz, zaaa ..."""
    two = [a + b for a in "abcdefghijklmnopqrstuvwxy" for b in "abcdefghijklmnopqrstuvwxyz"]
    return (two + [f"zaa{b}" for b in "abcdefghijklmnopqrstuvwxyz"])[:count]


SPELLINGS = {
    "published": ("laion.tar.gz", [f"laion.tar.gz.part_{n:03}" for n in range(12)]),
    "bare numbers": ("x.tar.gz", [f"x.tar.gz_part{n}" for n in range(12)]),
    "from one": ("x.tar.gz", [f"x.tar.gz_part{n}" for n in range(1, 12)]),
    "letters": ("x.tar", [f"x.tar.part-{name}" for name in letters(30)]),
    "split's own": ("x.tar.gz", [f"x.tar.gz.part{name}" for name in letters(655)]),
    "no word": ("x.tar.gz", [f"x.tar.gz.{name}" for name in letters(3)]),
    "no word, numbers": ("x.tgz", [f"x.tgz.{n:03}" for n in range(3)]),
    "mixed widths": ("x.tar.gz", ["x.tar.gz.part_08", "x.tar.gz.part_9", "x.tar.gz.part_010"]),
    "longer numbers of split -d": ("x.tar.gz", [f"x.tar.gz.part{n:02}" for n in range(90)] + ["x.tar.gz.part9000"]),
    "of many": ("x.tar.gz", [f"x.tar.gz-{n:05}-of-00012" for n in range(12)]),
    "of many, from one": ("x.tar.zst", [f"x.tar.zst_{n}_of_11" for n in range(1, 12)]),
    "7-Zip's": ("x.zip", [f"x.zip.{n:03}" for n in range(1, 4)]),
    "of a zip": ("x.zip", [f"x.zip.part-{name}" for name in letters(3)]),
    "of an xz": ("x.tar.xz", [f"x.tar.xz.part{n}" for n in range(3)]),
    "one part": ("x.tar.gz", ["x.tar.gz.part_000"]),
}


@pytest.mark.parametrize("spelling", SPELLINGS)
def test_parts_are_joined_in_the_order_of_their_numbers(spelling: str, tmp_path: Path):
    archive, names = SPELLINGS[spelling]
    if spelling == "mixed widths":
        names = [f"x.tar.gz.part_{n}" for n in range(8)] + names
    folder = tmp_path / "data/vision/laion/deep"
    cut(folder, names)
    result = merge_tars.run(settings(tmp_path))
    assert (folder / archive).read_bytes() == CONTENT
    assert result.archives[0].parts == len(names)
    assert all((folder / name).exists() for name in names)


def test_a_second_run_does_nothing_and_says_so(tmp_path: Path):
    cut(tmp_path / "data", ["a.tar.gz.part_000", "a.tar.gz.part_001"])
    merge_tars.run(settings(tmp_path))
    before = (tmp_path / "data/a.tar.gz").stat()
    result = merge_tars.run(settings(tmp_path))
    assert result.lines() == ["Nothing to do: 1 archives were merged before."]
    assert (tmp_path / "data/a.tar.gz").stat().st_ino == before.st_ino


def test_parts_are_deleted_only_when_asked_to_and_a_further_run_is_content(tmp_path: Path):
    cut(tmp_path / "data", ["a.tar.gz.part_000", "a.tar.gz.part_001"])
    result = merge_tars.run(settings(tmp_path, delete_parts=True))
    assert [path.name for path in (tmp_path / "data").glob("*.gz*")] == ["a.tar.gz"]
    assert len(result.deleted) == 2
    assert merge_tars.run(settings(tmp_path, delete_parts=True)).lines() == [
        "Nothing to do: no parts of archives here."
    ]


def test_a_dry_run_touches_nothing(tmp_path: Path):
    cut(tmp_path / "data", ["a.tar.gz.part_000", "a.tar.gz.part_001"])
    result = merge_tars.run(settings(tmp_path, delete_parts=True), dry_run=True)
    assert sorted(path.name for path in (tmp_path / "data").iterdir()) == ["a.tar.gz.part_000", "a.tar.gz.part_001"]
    assert "would be merged from 2 parts" in result.lines()[0]


@pytest.mark.parametrize(
    ("names", "complaint"),
    [
        (["b.tar.gz.part_000", "b.tar.gz.part_002"], "part b.tar.gz.part_001 is missing"),
        (["b.tar.gz.part_002", "b.tar.gz.part_003"], "part b.tar.gz.part_000 is missing"),
        (["b.tar.gz.part_000", "b.tar.gz.part_00"], "are the same part"),
        (["b.tar.gz.part_000", "b.tar.gz_part1", "b.tar.gz.part_001"], "are the same part"),
        (["b.tar.part-aa", "b.tar.part-ac"], "part b.tar.part-ab is missing"),
        (["b.tar.part-ab"], "part b.tar.part-aa is missing"),
        (["b.tar.gz.part_0", "b.tar.gz.part_ab"], "parts with numbers and parts with letters"),
        (["b.tar.gz-00001-of-00003", "b.tar.gz-00003-of-00003"], "part b.tar.gz-00002-of-00003 is missing"),
        (["b.tar.gz-00001-of-00003", "b.tar.gz-00002-of-00003"], "part b.tar.gz-00003-of-00003 is missing"),
        (["b.tar.gz-00000-of-00003", "b.tar.gz-00001-of-00003"], "part b.tar.gz-00002-of-00003 is missing"),
        (["b.tar.gz-00000-of-00002", "b.tar.gz-00001-of-00003"], "do not agree on how many they are (2, 3)"),
        ([f"b.zip-{n}-of-2" for n in range(3)], "b.zip-2-of-2 is one more than the 2 parts"),
    ],
)
def test_a_set_that_is_not_whole_is_named_nothing_of_it_is_written_and_the_others_are_merged(
    tmp_path: Path, names: list[str], complaint: str
):
    cut(tmp_path / "data", names)
    cut(tmp_path / "data/good", ["a.tar.gz.part_000", "a.tar.gz.part_001"])
    result = merge_tars.run(settings(tmp_path, delete_parts=True))
    assert (result.exit_code, len(result.problems)) == (3, 1)
    assert complaint in result.problems[0]
    assert f"Not merged: {result.problems[0]}" in result.lines()
    assert (tmp_path / "data/good/a.tar.gz").read_bytes() == CONTENT
    assert [path.name for path in (tmp_path / "data/good").glob("*part*")] == []
    assert {path.name for path in (tmp_path / "data").iterdir()} == {*names, "good"}


def problem_of(workspace: Path) -> str:
    result = merge_tars.run(settings(workspace))
    assert (result.exit_code, result.archives) == (3, [])
    (problem,) = result.problems
    return problem


def test_a_set_that_starts_at_one_but_not_like_an_archive_lacks_its_first_part(tmp_path: Path):
    cut(tmp_path / "data", ["a.tar.gz.part_001", "a.tar.gz.part_002"], CONTENT[5:])
    assert "part a.tar.gz.part_000 is missing" in problem_of(tmp_path)


def test_an_empty_part_is_named(tmp_path: Path):
    cut(tmp_path / "data", ["a.tar.gz.part_000", "a.tar.gz.part_001"])
    (tmp_path / "data/a.tar.gz.part_002").touch()
    assert "a.tar.gz.part_002: this part of a.tar.gz is empty" in problem_of(tmp_path)


def test_an_archive_that_contradicts_its_parts_is_not_touched(tmp_path: Path):
    cut(tmp_path / "data", ["a.tar.gz.part_000", "a.tar.gz.part_001"])
    (tmp_path / "data/a.tar.gz").write_bytes(b"something else")
    assert "14 bytes, its 2 parts beside it have 10,000" in problem_of(tmp_path)
    assert (tmp_path / "data/a.tar.gz").read_bytes() == b"something else"


def test_files_that_only_look_like_parts_are_left_alone(tmp_path: Path):
    folder = tmp_path / "data"
    folder.mkdir()
    for name in ("a.tar.gz", "a.tar.gz.md", "a.tar.gz.20", "a.tar.gz.partial", ".a.tar.gz.part_000", "a.tar.gz.json"):
        (folder / name).write_bytes(CONTENT)
    result = merge_tars.run(settings(tmp_path))
    assert (result.archives, result.exit_code) == ([], 0)
    assert [Path(line.split(": ")[0]).name for line in result.unread] == ["a.tar.gz.20", "a.tar.gz.partial"]


def test_nothing_there_says_what_to_run_first(tmp_path: Path):
    with pytest.raises(DataError, match="there is no such") as caught:
        merge_tars.run(settings(tmp_path))
    assert "aurora download" in str(caught.value)


def test_data_without_parts_is_nothing_to_do(tmp_path: Path):
    (tmp_path / "data/language/evol").mkdir(parents=True)
    assert merge_tars.run(settings(tmp_path)).lines() == ["Nothing to do: no parts of archives here."]


def check_any_cuts(tmp_path: Path, content: bytes, cuts: list[int], plainly: bool) -> None:
    folder = tmp_path / f"{time.monotonic_ns()}" / "data"
    folder.mkdir(parents=True)
    edges = sorted({0, len(content), *(cut % len(content) for cut in cuts)})
    for index, (begin, end) in enumerate(itertools.pairwise(edges)):
        (folder / f"a.tar.gz_part{index}").write_bytes(content[begin:end])
    kernel = join_parts._copy_in_kernel
    try:
        if plainly:
            join_parts._copy_in_kernel = lambda *_: (_ for _ in ()).throw(OSError(18, "Invalid cross-device link"))
        merge_tars.run(settings(folder.parent))
    finally:
        join_parts._copy_in_kernel = kernel
    assert (folder / "a.tar.gz").read_bytes() == content


ANY_CUTS = {
    "content": st.binary(min_size=1, max_size=3000),
    "cuts": st.lists(st.integers(0, 10_000), max_size=40),
    "plainly": st.booleans(),
}


@pytest.mark.slow
@hypothesis_settings(max_examples=200, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(**ANY_CUTS)
def test_any_content_cut_anywhere_comes_back(tmp_path: Path, content: bytes, cuts: list[int], plainly: bool):
    check_any_cuts(tmp_path, content, cuts, plainly)


@pytest.mark.soak
@hypothesis_settings(max_examples=500, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(**ANY_CUTS)
def test_any_content_cut_anywhere_comes_back_often(tmp_path: Path, content: bytes, cuts: list[int], plainly: bool):
    check_any_cuts(tmp_path, content, cuts, plainly)


def test_a_full_disk_ends_the_run_and_space_lets_it_continue(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    cut(tmp_path / "data", [f"a.tar.gz.part_{n:03}" for n in range(10)])
    real, calls = join_parts._copy_in_kernel, []

    def full(part: int, out: int, count: int) -> int:
        calls.append(count)
        if len(calls) == 6:
            raise OSError(28, "No space left on device")
        return real(part, out, count)

    monkeypatch.setattr(join_parts, "_copy_in_kernel", full)
    with pytest.raises(HostError, match="the disk is full"):
        merge_tars.run(settings(tmp_path))
    assert not (tmp_path / "data/a.tar.gz").exists()
    calls.clear()
    calls.extend([0] * 6)
    merge_tars.run(settings(tmp_path))
    assert (tmp_path / "data/a.tar.gz").read_bytes() == CONTENT
    assert len(calls) == 6 + 5, "what was written before was written again"


def test_what_a_crash_left_is_compared_not_trusted(tmp_path: Path):
    cut(tmp_path / "data", [f"a.tar.gz.part_{n:03}" for n in range(10)])
    (tmp_path / "data/.a.tar.gz.partial").write_bytes(CONTENT[:4000] + b"\0" * 3000)
    merge_tars.run(settings(tmp_path))
    assert (tmp_path / "data/a.tar.gz").read_bytes() == CONTENT


@pytest.mark.soak
def test_memory_does_not_grow_with_the_parts(tmp_path: Path):
    (tmp_path / "data").mkdir()
    (tmp_path / "data/a.tar.gz.part_000").write_bytes(CONTENT)
    for number in (1, 2):
        with open(tmp_path / f"data/a.tar.gz.part_{number:03}", "wb") as part:
            part.truncate(2 << 30)
    code = (
        "import sys; from pathlib import Path; from aurora_cli.config.settings import Settings; "
        "from aurora_cli.pipeline import merge_tars; merge_tars.run(Settings(workspace=Path(sys.argv[1])))"
    )
    assert peak_of(code, str(tmp_path)) < 250_000
    assert (tmp_path / "data/a.tar.gz").stat().st_size == len(CONTENT) + (4 << 30)
