"""Rows that are decoded together are written as each would be alone, by transformers' `generate`."""

from collections.abc import Iterator
from functools import cache
from typing import Any

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from aurora_cli.captioning.decoding import DecodingBatch, NewRow
from aurora_cli.captioning.generation import before_end
from aurora_cli.captioning.rows import plain_model
from aurora_cli.captioning.rows.groups import rows_may_join
from aurora_cli.captioning.rows.plain_model import is_plain
from aurora_cli.config.merging import TokenMerging
from aurora_cli.errors import DataError
from aurora_cli.models.auroracap import AuroraCap, AuroraCapConfig
from aurora_cli.models.layers.few_rows import read_few_rows_fast
from aurora_cli.models.visual_tokens import embed_frames

WORDS = 90
VISION = {
    "model_type": "clip_vision_model", "image_size": 28, "patch_size": 7, "hidden_size": 16, "intermediate_size": 32,
    "num_hidden_layers": 3, "num_attention_heads": 2,
}  # fmt: skip
TEXT = {
    "vocab_size": WORDS, "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 4,
    "num_key_value_heads": 2, "max_position_embeddings": 512, "initializer_range": 0.3, "pad_token_id": 0,
}  # fmt: skip
SHAPES: dict[str, dict[str, Any]] = {
    "llama": {"model_type": "llama"},
    "smollm2, tied": {"model_type": "llama", "tie_word_embeddings": True, "num_key_value_heads": 1},
    "qwen2": {"model_type": "qwen2"},
    "qwen3": {"model_type": "qwen3", "head_dim": 8},
    "mistral": {"model_type": "mistral", "sliding_window": None},
    "olmo2, by transformers": {"model_type": "olmo2"},
    "mistral, windows": {"model_type": "mistral", "sliding_window": 9, "head_dim": 8},
    "gemma3, hybrid": {
        "model_type": "gemma3_text", "sliding_window": 9, "head_dim": 8,
        "layer_types": ["sliding_attention", "full_attention"],
    },
    "llama, dynamic": {
        "model_type": "llama", "rope_parameters": {"rope_type": "dynamic", "factor": 2.0, "rope_theta": 10000.0},
    },
}  # fmt: skip
PLAIN = ("llama", "smollm2, tied", "qwen2", "qwen3", "mistral")
JOINING = (*PLAIN, "olmo2, by transformers")
END_IDS = (2, 7)


@pytest.fixture(autouse=True)
def nan_in_new_memory() -> Iterator[None]:
    """What a row reads and nobody wrote makes all of it NaN."""
    torch.use_deterministic_algorithms(True)
    assert torch.empty(3).isnan().all()
    yield
    torch.use_deterministic_algorithms(False)


@cache
def build(shape: str, dtype: torch.dtype = torch.float32) -> AuroraCap:
    torch.manual_seed(0)
    config = AuroraCapConfig(vision_config=VISION, text_config=TEXT | SHAPES[shape], image_token_index=WORDS)
    model = AuroraCap(config).eval().to(dtype)
    for weight in model.parameters():
        if weight.dim() == 1:  # norms of 1 and biases of 0 would hide that they are forgotten
            torch.nn.init.normal_(weight, mean=1.0, std=0.3)
    read_few_rows_fast(model.model.language_model)
    return model


def make_row(key: int, frames: int = 1, text: int = 4, new_tokens: int = 8, ratio: float = 0.5, **other: Any) -> NewRow:
    random = torch.Generator().manual_seed(key)
    words = torch.randint(8, WORDS, (text,), generator=random).tolist()
    pixels = torch.randn(frames, 3, 28, 28, generator=random)
    merging = TokenMerging(kept_ratio=ratio)
    return NewRow(key, [1, *[-200] * frames, *words], pixels, merging, END_IDS, new_tokens, **other)


def alone(model: AuroraCap, row: NewRow, never: tuple[int, ...] = ()) -> list[int]:
    """As transformers writes it."""
    out = model.generate(
        input_ids=torch.tensor([row.prompt]),
        pixel_values=row.frames_F3SS.to(model.dtype),
        media_lengths=row.media_lengths or [len(row.frames_F3SS)],
        merging=row.merging,
        max_new_tokens=row.max_new_tokens,
        eos_token_id=[*END_IDS],
        pad_token_id=0,
        suppress_tokens=[*never] or None,
        do_sample=False,
    )
    return before_end(out[0].tolist(), END_IDS)


class Taken:
    """What a batch writes."""

    def __init__(self, batch: DecodingBatch) -> None:
        self.batch = batch
        self.ids: dict[object, list[int]] = {}
        self.ended: dict[object, str] = {}

    def step(self) -> None:
        for key, token, ended in self.batch.step():
            assert key not in self.ended
            self.ids.setdefault(key, []).extend([] if token is None else [token])
            assert (token is None) == (ended == "stop")
            if ended is not None:
                self.ended[key] = ended

    def rest(self) -> None:
        while self.batch:
            self.step()
        self.step()


ROWS = st.tuples(st.integers(1, 2), st.integers(1, 30), st.integers(1, 14), st.sampled_from([0.25, 0.5, 1.0]))


@pytest.mark.slow
@pytest.mark.parametrize("shape", SHAPES)
@settings(max_examples=6, suppress_health_check=[HealthCheck.differing_executors])
@given(rows=st.lists(ROWS, min_size=1, max_size=5), data=st.data())
def test_rows_that_join_at_any_step_are_written_as_each_alone(shape: str, rows: list[Any], data: st.DataObject) -> None:
    model = build(shape)
    waiting = [make_row(key, *row) for key, row in enumerate(rows)]
    left_out = data.draw(st.sets(st.integers(0, len(rows) - 1), max_size=2))
    expected = {row.key: alone(model, row) for row in waiting}
    batch = DecodingBatch(model)
    taken = Taken(batch)
    while waiting:
        count = data.draw(st.integers(1, len(waiting)))
        batch.admit(waiting[:count])
        del waiting[:count]
        for _ in range(data.draw(st.integers(0, 12))):
            taken.step()
        batch.remove(left_out & data.draw(st.sets(st.integers(0, len(rows) - 1))))
    taken.rest()
    for key, ids in expected.items():
        written = taken.ids.get(key, [])
        if key in left_out:
            assert written == ids[: len(written)]
        else:
            assert (written, taken.ended[key]) == (ids, "length" if len(ids) == rows[int(str(key))][2] else "stop")
    assert (len(batch), batch.tokens) == (0, 0)


@pytest.mark.parametrize("texts", [(30, 2, 2), (2, 30, 2), (2, 2, 30)])
def test_a_row_reads_nothing_in_front_of_its_first_token(texts: tuple[int, ...]) -> None:
    model = build("llama")
    rows = [make_row(key, text=text, new_tokens=20) for key, text in enumerate(texts)]
    expected = {row.key: alone(model, row) for row in rows}
    batch = DecodingBatch(model)
    taken = Taken(batch)
    for row in rows:
        batch.admit([row])
        taken.step()
        taken.step()
    taken.rest()
    assert taken.ids == expected


def test_which_models_are_computed_without_transformers() -> None:
    assert {shape for shape in SHAPES if is_plain(build(shape).model.language_model)} == {
        *PLAIN,
        "mistral, windows",
    } | {
        "llama, dynamic"  # which, as windows, is never asked: its rows do not join
    }


def test_a_model_in_another_precision_or_with_something_at_its_layers_does_not() -> None:
    model = AuroraCap(AuroraCapConfig(vision_config=VISION, text_config=TEXT | SHAPES["llama"])).eval()
    language_model = model.model.language_model
    assert not is_plain(language_model)  # its linear layers are still plain ones, which may be quantized or adapted
    read_few_rows_fast(language_model)
    assert is_plain(language_model)
    hook = language_model.layers[1].mlp.register_forward_hook(lambda *_: None)
    assert not is_plain(language_model)
    hook.remove()
    assert not is_plain(language_model.train())
    assert not is_plain(language_model.eval().to(torch.bfloat16))


def test_which_models_let_rows_join() -> None:
    assert [name for name in SHAPES if rows_may_join(build(name).model.language_model.config)] == [*JOINING]


def test_ids_that_are_never_written() -> None:
    model, row = build("llama"), make_row(3, new_tokens=20)
    never = tuple(sorted({*alone(model, row)[::2], *END_IDS}))
    batch = DecodingBatch(model, never=never)
    batch.admit([row])
    taken = Taken(batch)
    taken.rest()
    assert taken.ids[3] == alone(model, row, never)
    assert not {*taken.ids[3]} & {*never}
    assert len(taken.ids[3]) == 20


def test_bfloat16_is_written_as_transformers_writes_it() -> None:
    """Two rows as long as each other, so that the products have the same shapes."""
    model = build("llama", torch.bfloat16)
    rows = [make_row(key, new_tokens=6) for key in range(2)]
    batch = DecodingBatch(model)
    batch.admit(rows)
    taken = Taken(batch)
    taken.rest()
    out = model.generate(
        input_ids=torch.tensor([row.prompt for row in rows]),
        pixel_values=torch.cat([row.frames_F3SS for row in rows]).bfloat16(),
        merging=rows[0].merging,
        max_new_tokens=6,
        eos_token_id=[*END_IDS],
        pad_token_id=0,
        do_sample=False,
    )
    assert [taken.ids[row.key] for row in rows] == [before_end(ids, END_IDS) for ids in out.tolist()]


@pytest.mark.slow
def test_what_is_drawn_depends_on_the_row_and_its_seed_alone() -> None:
    model = build("llama")
    row = make_row(0, new_tokens=25, temperature=1.5, top_p=0.9, seed=11)

    def written(*others: NewRow, late: bool = False) -> list[int]:
        batch = DecodingBatch(model)
        taken = Taken(batch)
        if late:
            batch.admit(others)
            taken.step()
            taken.step()
        batch.admit([row] if late else [*others, row])
        taken.rest()
        return taken.ids[0]

    expected = written()
    assert expected != alone(model, row)
    greedy, drawn = make_row(1, frames=3, new_tokens=9), make_row(2, new_tokens=30, temperature=0.8, seed=11)
    assert written(greedy, drawn) == expected
    assert written(greedy, drawn, late=True) == expected
    torch.rand(5)  # the global random state is not asked
    assert written(drawn) == expected
    row = row._replace(seed=12)
    assert written() != expected


def test_visual_tokens_of_another_time_stand_for_frames() -> None:
    model = build("llama")
    video = make_row(4, frames=3, ratio=0.25)._replace(merging=TokenMerging(kept_ratio=0.25, slowfast=True))
    with torch.inference_mode():
        visual = embed_frames(model.model, model.config, video.frames_F3SS, [3], video.merging)
    batch = DecodingBatch(model)
    batch.admit([video._replace(key="kept", frames_F3SS=visual), make_row(5), video])
    taken = Taken(batch)
    taken.rest()
    assert taken.ids["kept"] == taken.ids[4] == alone(model, video)


def test_a_row_may_have_two_images_or_none() -> None:
    model = build("llama")
    slow = TokenMerging(kept_ratio=0.25, slowfast=True)
    images = make_row(6, frames=2)._replace(merging=slow, media_lengths=[1, 1])
    video = images._replace(key="video", media_lengths=None)
    text = make_row(7, frames=0, text=9)
    batch = DecodingBatch(model)
    batch.admit([images, video, text])
    taken = Taken(batch)
    taken.rest()
    assert taken.ids[6] == alone(model, images)
    assert taken.ids["video"] == alone(model, video)
    ids = model.generate(
        input_ids=torch.tensor([text.prompt]), max_new_tokens=8, eos_token_id=[*END_IDS], pad_token_id=0
    )
    assert taken.ids[7] == before_end(ids[0].tolist(), END_IDS)


def test_a_prompt_without_a_placeholder_for_each_frame_admits_nobody() -> None:
    batch = DecodingBatch(build("llama"))
    with pytest.raises(DataError, match="one placeholder a frame"):
        batch.admit([make_row(0), make_row(1, frames=2)._replace(media_lengths=[1])])
    assert (len(batch), batch.step()) == (0, [])


def test_rows_that_leave_give_their_room_to_others() -> None:
    """Three rows of 1 + 8 + 4 tokens, one of which goes; then the cache holds the others with their steps."""
    batch = DecodingBatch(build("llama"), never=END_IDS)
    batch.admit([make_row(key, new_tokens=50) for key in range(3)])
    assert batch.tokens == 3 * 13
    batch.step()
    batch.step()
    assert batch.tokens == 3 * 14
    batch.remove([1])
    assert batch.tokens == 2 * 14
    batch.admit([make_row(9, text=24, new_tokens=50)])
    assert batch.tokens == 3 * 33


def test_reading_that_fails_leaves_the_others_as_they_are(monkeypatch: pytest.MonkeyPatch) -> None:
    model = build("llama")
    row = make_row(0, new_tokens=12)
    batch = DecodingBatch(model)
    taken = Taken(batch)
    batch.admit([row])
    taken.step()
    taken.step()

    def fail(*args: object, **kwargs: object) -> None:
        raise MemoryError("no room")

    with monkeypatch.context() as patch, pytest.raises(MemoryError):
        patch.setattr(plain_model, "_attend", fail)
        batch.admit([make_row(1, text=40)])
    taken.rest()
    assert taken.ids == {0: alone(model, row)}
