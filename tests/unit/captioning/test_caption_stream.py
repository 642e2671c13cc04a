"""Media are captioned in their order, each as soon as there is room."""

import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from aurora_cli.captioning.caption_stream import CaptionStream, Read, Writing
from aurora_cli.captioning.captioner import Captioner
from aurora_cli.captioning.decoding import DecodingBatch, NewRow
from aurora_cli.captioning.inputs import CaptionInput
from aurora_cli.captioning.result import Caption, Uncaptioned
from aurora_cli.captioning.sampling import seed_of
from aurora_cli.errors import DataError
from tests.unit.captioning.test_decoding import alone, build, make_row

BAD = Uncaptioned("bad", "broken")


def read_of(number: int) -> Read:
    return Read(CaptionInput(str(number), "image", Path(str(number))), torch.zeros(0), [], 0.0)


def run(reads: Iterator[Read | Uncaptioned], size: int, rows: list[NewRow], shape: str = "llama") -> Iterator[list]:
    """The results of each time that something was ready: names and ids, or none."""

    def caption_of(writing: Writing) -> Caption:
        return Caption(writing.read.medium.name, "image", str(writing.ids), 1, 1, 1, len(writing.ids), writing.seconds)

    batch = DecodingBatch(build(shape))
    names = {each.key: each for each in rows}
    stream = CaptionStream(batch, size, lambda key, read: names[int(read.medium.name)]._replace(key=key), caption_of)
    for ready in stream.run(reads):
        assert len(batch) <= size
        yield [(each.media, each.caption) for each in ready.captions] + [
            (each.media, None) for each in ready.uncaptioned
        ]


@pytest.mark.slow
@pytest.mark.parametrize("size", [1, 2, 3, 8])
@pytest.mark.parametrize("shape", ["llama", "mistral, windows"])
def test_results_are_in_order_and_each_as_it_is_alone(size: int, shape: str) -> None:
    rows = [make_row(key, new_tokens=tokens) for key, tokens in enumerate([9, 1, 4, 12, 2, 3])]
    reads = [read_of(0), read_of(1), BAD, read_of(2), read_of(3), read_of(4), read_of(5), BAD]
    results = [each for ready in run(iter(reads), size, rows, shape) for each in ready]
    expected = [(str(key), str(alone(build(shape), row))) for key, row in enumerate(rows)]
    assert [each for each in results if each[1] is not None] == expected
    assert sorted(result is None for _, result in results) == [False] * 6 + [True] * 2
    assert results.index(("bad", None)) > results.index(expected[1])


def test_a_row_that_ended_makes_room_before_the_longest_has_ended() -> None:
    """Of 2 at a time the first is long; the others come and go beside it, and are told when it has ended."""
    rows = [make_row(0, new_tokens=40), *(make_row(key, new_tokens=2) for key in range(1, 5))]
    rows = [row._replace(end_ids=()) for row in rows]
    taken: list[int] = []

    def reads() -> Iterator[Read]:
        for key in range(5):
            taken.append(key)
            yield read_of(key)

    ready = run(reads(), 2, rows)
    first = next(ready)
    assert taken == [0, 1, 2, 3, 4]
    assert [name for name, _ in first] == ["0", "1", "2", "3", "4"]
    assert list(ready) == []


def test_what_reading_raises_is_raised_in_its_turn() -> None:
    def reads() -> Iterator[Read]:
        yield read_of(0)
        raise DataError("no more")

    ready = run(reads(), 1, [make_row(0, new_tokens=3)])
    assert next(ready)[0][0] == "0"
    with pytest.raises(DataError, match="no more"):
        next(ready)


def test_seconds_of_all_add_up_to_those_that_passed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Reading takes 1 s each, and each look at the clock 1 s: every admission and every step then takes 1 s."""
    clock = iter(range(10_000))
    monkeypatch.setattr(time, "monotonic", lambda: float(next(clock)))
    rows = [make_row(key, new_tokens=3)._replace(end_ids=()) for key in range(2)]
    seconds: list[float] = []

    def caption_of(writing: Writing) -> Caption:
        seconds.append(writing.seconds)
        return Caption("", "image", "", 1, 1, 1, 1, 0.0)

    stream = CaptionStream(DecodingBatch(build("llama")), 1, lambda key, _: rows[key]._replace(key=key), caption_of)
    list(stream.run(iter([read_of(0)._replace(seconds=1.0), read_of(1)._replace(seconds=2.0)])))
    assert seconds == [1.0 + 1 + 3, 2.0 + 1 + 3]


def test_seeds_are_of_what_is_captioned() -> None:
    assert seed_of(0, "a.png", None, None) == seed_of(0, "a.png", None, None)
    different = [seed_of(0, "a.png", None, None), seed_of(1, "a.png", None, None), seed_of(0, "b.png", None, None)]
    assert len({*different, seed_of(0, "a.png", 1, None), seed_of(0, "a.png", None, (1.0, None))}) == 5


@pytest.mark.slow
def test_what_is_drawn_does_not_depend_on_the_batch(tmp_path: Path) -> None:
    import aurora_cli
    from tests.captioners import GOLDEN, make_runs

    captioner: Captioner = aurora_cli.load_captioner(make_runs(tmp_path), device="cpu")
    media = [GOLDEN / "pixels" / "images" / name for name in ("im_120x160.png", "grey_90x70.png")]
    options = {"temperature": 2.0, "top_p": 0.95, "seed": 4, "max_new_tokens": 12}
    both = captioner.caption(media, **options)
    assert [captioner.caption([each], **options)[0].caption for each in media] == [each.caption for each in both]
    assert [each.caption for each in captioner.caption(media, batch_size=1, **options)] == [
        each.caption for each in both
    ]
    assert captioner.caption(media[:1], **options | {"seed": 5})[0].caption != both[0].caption
