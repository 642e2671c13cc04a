"""Decoding of many rows at once, where each joins when it comes and leaves when it ends.

A step costs about the same for one row and for eight: what it takes is reading the weights. So a row that has ended
makes room at once, instead of being padded until the longest of its batch has ended.

Shapes: F frames of a row, S their side, N their visual tokens, C channels of the language model, V words.
"""

from collections.abc import Collection, Hashable, Iterator, Sequence
from typing import Literal, NamedTuple

import torch
from torch import Tensor

from aurora_cli.captioning.prompts import Prompt, check_frames, embed_prompts, length_of
from aurora_cli.captioning.rows.groups import JoinedRows, RowGroup, WholeRows, rows_may_join
from aurora_cli.captioning.sampling import Drawing, drawing_of, next_ids
from aurora_cli.config.merging import TokenMerging
from aurora_cli.constants import IMAGE_PLACEHOLDER
from aurora_cli.models.auroracap import AuroraCap

_PADDED_AT_MOST = 2
"""Prompts are read together if the longest is at most so many times as long as the shortest."""


class NewRow(NamedTuple):
    """A row that is to be decoded."""

    key: Hashable
    """What the caller knows it by; no other row of the batch has it."""
    prompt: list[int]
    """Ids, with a placeholder (-200) a frame."""
    frames_F3SS: Tensor
    """The frames, or (N, C) the visual tokens that tower and projector made of them."""
    merging: TokenMerging
    end_ids: Sequence[int]
    max_new_tokens: int
    temperature: float = 0.0
    """0: the likeliest token is taken."""
    top_p: float = 1.0
    seed: int = 0
    """Of what is drawn: the same row with the same seed is written the same, whoever is beside it."""
    media_lengths: Sequence[int] | None = None
    """Frames of each medium, in order; none: all of them are one medium's."""


class Written(NamedTuple):
    """What a step wrote into a row."""

    key: Hashable
    id: int | None
    """The new token; none where the row ended without one."""
    ended: Literal["stop", "length"] | None
    """By an end id, which is not told, or by the row's `max_new_tokens`; none: the row goes on."""


class _Row:
    """A row that is being decoded."""

    def __init__(self, new: NewRow) -> None:
        self.key, self.left, self.ends = new.key, new.max_new_tokens, frozenset(new.end_ids)
        self.drawing: Drawing = drawing_of(new.temperature, new.top_p, new.seed)
        self.last_id = -1

    def write(self, token: int) -> Written:
        if token in self.ends:
            return Written(self.key, None, "stop")
        self.last_id, self.left = token, self.left - 1
        return Written(self.key, token, "length" if self.left <= 0 else None)


class _Group(NamedTuple):
    """Rows that take their steps together."""

    cache: RowGroup
    rows: list[_Row]
    """In the cache's order."""


class DecodingBatch:
    """Rows that are decoded together: rows join between two steps, and leave when they end.

    One thread at a time calls it.
    """

    def __init__(self, model: AuroraCap, *, never: Sequence[int] = ()) -> None:
        """`never`: ids that are not written."""
        self._model = model
        self.rows_may_join = rows_may_join(model.model.language_model.config)
        """Others than those that they came with; else rows are best admitted when all have ended."""
        self._groups: list[_Group] = []
        self._first: list[Written] = []
        self._never: Tensor | None = None
        if never:
            self._never = torch.zeros(model.config.get_text_config().vocab_size, device=model.device)
            self._never[list(never)] = -torch.inf

    def __len__(self) -> int:
        """Rows that have not ended."""
        return sum(len(group.rows) for group in self._groups)

    @property
    def tokens(self) -> int:
        """Tokens that all rows hold in the cache, with the padding of those that are shorter than the longest."""
        return sum(len(group.rows) * group.cache.width for group in self._groups)

    @torch.inference_mode()
    def admit(self, rows: Sequence[NewRow]) -> None:
        """Read the prompts of new rows. The next step gives their first ids, and no others.

        Raises:
            DataError: a prompt has not one placeholder a frame. None of the rows has joined then.
        """
        for alike in [*self._alike(rows)]:
            self._join([new for new, _ in alike], [prompt for _, prompt in alike])

    @torch.inference_mode()
    def step(self) -> list[Written]:
        """One new id of each row, or, if rows were just admitted, of those alone. Rows that ended have left."""
        if self._first:
            written, self._first = self._first, []
            return written
        written = []
        for group in self._groups:
            last = torch.tensor([[row.last_id] for row in group.rows], device=self._model.device)
            hidden_BC = group.cache.step(self._model.get_input_embeddings()(last))
            written += self._write(group, group.rows, hidden_BC)
        self._drop_empty()
        return written

    @torch.inference_mode()
    def remove(self, keys: Collection[Hashable]) -> None:
        """Rows leave that nobody waits for any more."""
        self._first = [written for written in self._first if written.key not in keys]
        for group in self._groups:
            _leave(group, {row.key for row in group.rows if row.key in keys})
        self._drop_empty()

    def _alike(self, rows: Sequence[NewRow]) -> Iterator[list[tuple[NewRow, Prompt]]]:
        """Rows whose prompts are read together, so that little is padded."""
        prompts = [(new, _prompt_of(new)) for new in rows]
        check_frames([prompt for _, prompt in prompts])
        lengths = [length_of(self._model, prompt) for _, prompt in prompts]
        group: list[tuple[NewRow, Prompt]] = []
        shortest = 0
        for index in sorted(range(len(rows)), key=lengths.__getitem__):
            if group and lengths[index] > _PADDED_AT_MOST * shortest:
                yield group
                group = []
            shortest = shortest if group else lengths[index]
            group.append(prompts[index])
        if group:
            yield group

    def _join(self, new: Sequence[NewRow], prompts: Sequence[Prompt]) -> None:
        embeds_BTC, mask_BT = embed_prompts(self._model, prompts)
        joins = self.rows_may_join and bool(self._groups)
        group = self._groups[0] if joins else self._new_group()
        hidden_BC = group.cache.join(embeds_BTC, mask_BT)
        rows = [_Row(each) for each in new]
        group.rows.extend(rows)
        if not joins:
            self._groups.append(group)
        self._first += self._write(group, rows, hidden_BC)
        self._drop_empty()

    def _new_group(self) -> _Group:
        return _Group(JoinedRows(self._model) if self.rows_may_join else WholeRows(self._model), [])

    def _write(self, group: _Group, rows: Sequence[_Row], hidden_BC: Tensor) -> list[Written]:
        """The next id of these rows of the group; those that ended leave."""
        logits_BV = self._model.lm_head(hidden_BC)
        if self._never is not None:
            logits_BV = logits_BV + self._never
        ids = next_ids(logits_BV, [row.drawing for row in rows])
        written = [row.write(token) for row, token in zip(rows, ids, strict=True)]
        _leave(group, {each.key for each in written if each.ended})
        return written

    def _drop_empty(self) -> None:
        self._groups = [group for group in self._groups if group.rows]


def _prompt_of(new: NewRow) -> Prompt:
    frames = new.prompt.count(IMAGE_PLACEHOLDER)
    lengths = new.media_lengths if new.media_lengths is not None else [frames] if frames else []
    return Prompt(new.prompt, new.frames_F3SS, new.merging, lengths)


def _leave(group: _Group, keys: Collection[Hashable]) -> None:
    """The gaps that rows leave are filled by the last ones: a row that stays is moved once at most."""
    if not keys:
        return
    staying = [index for index, row in enumerate(group.rows) if row.key not in keys]
    count = len(staying)
    moved = [index for index in staying if index >= count]
    kept = [index if group.rows[index].key not in keys else moved.pop() for index in range(count)]
    group.cache.keep(kept)
    group.rows[:] = [group.rows[index] for index in kept]
