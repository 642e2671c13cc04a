"""Lists of very many media: what their columns say at once is what each row says by itself, and no row comes twice."""

import json
import struct
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from aurora_cli.captioning.job import key_hashes
from aurora_cli.captioning.job.caption_keys import DONE, NEW, REPEATED, CaptionKeys
from aurora_cli.captioning.job.key_hashes import CHECK, HASH, WORD, CaptionKey, hashes_of
from aurora_cli.captioning.job.output import CaptionFile, key_of
from aurora_cli.captioning.job.row_values import ALL
from aurora_cli.captioning.job.rows import Row, RowReader
from aurora_cli.captioning.job.stored_lines import cut_torn_line
from aurora_cli.captioning.result import Caption, Uncaptioned
from aurora_cli.config.share import Share

TINY = st.sampled_from(["a.png", "b.mp4", " ", "", "file:///a.png", "DATA:image/png;base64,", "c\u2028.png", "~/d.png"])
TIME = st.one_of(st.integers(-1, 3), st.sampled_from([0.0, 0.5, 2.25, 1e300]), st.none(), st.just("0:02"))
SPAN = st.one_of(st.none(), st.lists(TIME, max_size=3), st.just("1-2"), st.just([[1, 2]]))
VALUE = st.fixed_dictionaries(
    {"media": st.one_of(TINY, st.none(), st.just(["a.png"]), st.just(7))},
    optional={
        "id": st.one_of(st.integers(0, 3), st.sampled_from(["0", "1", "x"]), st.just(0.5), st.none(), st.just(True)),
        "span": SPAN,
        "prompt": st.sampled_from(["", "  ", "What?", "What is it </s>?", None]),
        "width": st.integers(0, 2),
        "start": st.sampled_from([0.5, None]),
        "duration": st.just(3),
        "image": st.just("b.png"),
    },
)
LINE = st.one_of(
    VALUE.map(json.dumps), st.sampled_from(["", "  ", "{", "[1]", '{"media": "a.png"} {"media": "b.png"}'])
)


def slowly(reader: RowReader, done: set[CaptionKey]) -> tuple[list[Row | Uncaptioned], int, int]:
    """What is new of a list, how many of its rows are done, and how many repeated: row by row."""
    new: list[Row | Uncaptioned] = []
    seen: set[CaptionKey] = set()
    counts = {True: 0, False: 0}
    for row in reader:
        if isinstance(row, Uncaptioned):
            new.append(row)
        elif row.key in seen:
            counts[False] += 1
        else:
            seen.add(row.key)
            if row.key in done:
                counts[True] += 1
            else:
                new.append(row)
    return new, counts[True], counts[False]


def rows_in(reader: RowReader) -> list[Row]:
    return [row for row in reader if isinstance(row, Row)]


@hypothesis_settings(
    max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)
@given(lines=st.lists(LINE, max_size=12), data=st.data(), shares=st.integers(1, 3))
def test_what_is_new_of_a_list_is_what_a_look_at_each_row_finds(tmp_path: Path, lines, data, shares) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_text('{"media": "first.png"}\n' + "".join(f"{line}\n" for line in lines))
    found = {row.key for row in rows_in(RowReader(path, tmp_path))}
    done = set(data.draw(st.lists(st.sampled_from(sorted(found, key=repr)), max_size=4)))
    for share in [ALL] if shares == 1 else [Share(index, shares) for index in range(shares)]:
        reader, keys = RowReader(path, tmp_path, share=share), CaptionKeys()
        keys.add(hashes_of([*done]))
        new = [*reader.unmarked(keys)]
        assert (new, reader.done, reader.repeated) == slowly(RowReader(path, tmp_path, share=share), done)
        assert reader.own == len([*RowReader(path, tmp_path, share=share)])


@given(st.lists(st.lists(st.integers(0, 40), max_size=30), max_size=8), st.data())
def test_the_table_is_a_set_of_what_is_done_and_a_dictionary_of_lines(blocks, data) -> None:
    table, done, lines, line = CaptionKeys(with_lines=True), set(), {}, 0
    for block in blocks:
        hashes = np.array([(number % 5 + 1, number) for number in block], HASH)
        if data.draw(st.booleans()):
            expected = []
            for number in block:
                expected.append(number in done)
                done.add(number)
            assert table.add(hashes).tolist() == expected
        else:
            expected = []
            for offset, number in enumerate(block, start=line):
                expected.append(REPEATED if number in lines else DONE if number in done else NEW)
                lines.setdefault(number, offset)
            assert table.mark(hashes, np.arange(line, line + len(block))).tolist() == expected
            line += len(block)
        assert table.lines(hashes).tolist() == [lines.get(number, -1) for number in block]
        assert len(table) == len(done)


def test_a_table_that_grows_forgets_nothing() -> None:
    draw = np.random.default_rng(0)
    hashes = np.zeros(200_000, HASH)
    hashes[WORD] = draw.integers(1, 2**64 - 1, len(hashes) // 2, dtype=np.uint64).repeat(2)
    hashes[CHECK] = np.arange(len(hashes)) % 2
    table = CaptionKeys(with_lines=True)
    for start in range(0, len(hashes), 7_000):
        table.mark(hashes[start : start + 7_000], np.arange(start, min(start + 7_000, len(hashes))))
    assert (table.lines(hashes) == np.arange(len(hashes))).all()
    hashes[CHECK] += 2
    assert (table.lines(hashes[:1000]) == -1).all()


def slow_hash(key: CaptionKey) -> tuple[int, int]:
    """The hash of a key, word by word."""
    media, name, span, prompt = key
    start, end = span or (0.0, None)
    times = struct.unpack("<4I", struct.pack("<2d", start, end or 0.0))
    kind = 0 if span is None else 1 if end is None else 2
    words = {0: text_words(media), 1: text_words(name), 2: [[kind, *times]], 3: text_words(prompt)}
    sums = [0, 0, 0]
    for field, blocks in words.items():
        for block, block_words in enumerate(blocks):
            for word, numbers in zip(block_words, key_hashes._numbers(field, block).tolist(), strict=False):
                sums = [(total + word * number) % 2**64 for total, number in zip(sums, numbers, strict=True)]
    upper = [total >> 32 for total in sums]
    return max(1, upper[0] << 32 | upper[1]), upper[2]


def text_words(value: str | int | None) -> list[list[int]]:
    """What it is and how long, and then blocks of 16 words of 32 bits."""
    raw = b"" if value is None else str(value).encode()
    padded = raw + bytes(-len(raw) % 4)
    words = [*struct.unpack(f"<{len(padded) // 4}I", padded)]
    kind = 0 if value is None else 1 if isinstance(value, str) else 2
    return [[kind, len(raw)], *(words[first : first + 16] for first in range(0, len(words), 16))]


NAME = st.text(max_size=200).filter(lambda text: all(not "\ud800" <= each <= "\udfff" for each in text))
CAPTION_KEY = st.tuples(
    NAME,
    st.one_of(st.none(), NAME, st.integers(-(10**30), 10**30)),
    st.one_of(st.none(), st.tuples(st.floats(0, 1e9), st.one_of(st.none(), st.floats(1, 1e9)))),
    st.one_of(st.none(), NAME),
)


@given(st.lists(CAPTION_KEY, max_size=6))
def test_a_hash_is_a_sum_of_words_times_random_numbers(keys) -> None:
    assert [(int(word), int(check)) for word, check in hashes_of(keys)] == [*map(slow_hash, keys)]


def narrow(bits: Sequence[int]):
    """Random numbers that leave so many bits of each of the three sums."""
    drawn = key_hashes._numbers
    shift = np.array([64 - each for each in bits], np.uint64)
    return lambda field, block: drawn(field, block) << shift


def test_rows_whose_hashes_begin_alike_are_told_apart(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of 64 bits six are left, so that nearly all of 300 rows collide, as one in millions would; 32 tell them apart."""
    path = tmp_path / "rows.jsonl"
    path.write_text("".join(json.dumps({"media": f"{number % 200}.png"}) + "\n" for number in range(300)))
    monkeypatch.setattr(key_hashes, "_numbers", narrow([3, 3, 32]))
    keys = CaptionKeys()
    keys.add(hashes_of((f"{number}.png", None, None, None) for number in range(0, 200, 2)))
    reader = RowReader(path, tmp_path)
    assert [row.medium.name for row in reader.unmarked(keys) if isinstance(row, Row)] == [
        f"{number}.png" for number in range(1, 200, 2)
    ]
    assert (len(keys), reader.done, reader.repeated) == (100, 100, 100)


def test_a_row_would_be_taken_for_another_of_the_same_hash(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """That the test above can fail: with six bits in all some rows are lost. With 96 it is 6e-16 of ten million."""
    path = tmp_path / "rows.jsonl"
    path.write_text("".join(json.dumps({"media": f"{number}.png"}) + "\n" for number in range(200)))
    monkeypatch.setattr(key_hashes, "_numbers", narrow([2, 2, 2]))
    assert len([*RowReader(path, tmp_path).unmarked(CaptionKeys())]) <= 64


def captions() -> Iterator[Caption]:
    for number in range(40):
        part = [None, (1.5, None), (0.0, 2.0)][number % 3]
        name = number if number % 2 else f"id {number}"
        prompt = "Why?" if number % 4 else None
        yield Caption(f"{number % 5}.png", "image", "A\u2028cat.", 1, 8, 3, 4, 0.1, name, part, prompt)


@pytest.mark.parametrize("mixed", [False, True])
def test_an_output_is_known_again_line_by_line_and_at_once(tmp_path: Path, mixed: bool) -> None:
    made = [each for each in captions() if mixed or isinstance(each.id, int)]
    CaptionFile(tmp_path / "c.jsonl", "me").add(made)
    with open(tmp_path / "c.jsonl", "a") as file:
        file.write('{"media": "torn')
    again = CaptionFile(tmp_path / "c.jsonl", "me")
    assert again.replaced == 0
    assert len(again.keys) == len({key_of(each) for each in made})
    assert again.keys.add(hashes_of(key_of(each) for each in made)).all()
    assert [*again.held({key_of(each) for each in made})] == made
    other = CaptionFile(tmp_path / "c.jsonl", "somebody else")
    assert (other.replaced, len(other.keys), (tmp_path / "c.jsonl").read_bytes()) == (len(made), 0, b"")


def test_lines_that_are_damaged_or_repeated_are_replaced(tmp_path: Path) -> None:
    made = [*captions()]
    CaptionFile(tmp_path / "c.jsonl", "me").add(made[:3])
    lines = [f"{line}\n" for line in (tmp_path / "c.jsonl").read_text().split("\n") if line]
    damaged = lines[2].replace('"frames": 1', '"frames": "many"')
    (tmp_path / "c.jsonl").write_text("".join([lines[0], "\n", lines[1], lines[0], damaged, "no line\n"]))
    again = CaptionFile(tmp_path / "c.jsonl", "me")
    assert (again.replaced, len(again.keys)) == (3, 2)
    assert (tmp_path / "c.jsonl").read_text() == lines[0] + lines[1]


@pytest.mark.parametrize(("text", "left"), [("", ""), ("a", ""), ("a\nb", "a\n"), ("a\nb\n", "a\nb\n"), ("\n", "\n")])
def test_a_torn_line_is_cut_off(tmp_path: Path, text: str, left: str) -> None:
    path = tmp_path / "c.jsonl"
    path.write_text(text)
    cut_torn_line(path)
    assert path.read_text() == left
