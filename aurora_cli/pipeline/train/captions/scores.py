"""Scores of what a model in training writes of some validation samples, every so many steps: in its line of metrics.

The sample, its references (the answers that the data have) and the words are the same all through a run, so its scores
can be compared with each other; with those of other media, or of `aurora evaluate`, they cannot.
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple

from aurora_cli.console import Reporter
from aurora_cli.data.batches.training_data import TrainingData
from aurora_cli.evaluation.scores import Scorer
from aurora_cli.pipeline.train.captions.prompts import CaptionPrompt, choose_prompts
from aurora_cli.pipeline.train.captions.writing import write_captions
from aurora_cli.runs.lines import CAPTION_SCORES, MetricsLine
from aurora_cli.training.callbacks.callback import Callback
from aurora_cli.training.engine.engine import Engine

ROWS = 8
"""Captions that are written at once."""

MOST_NEW_TOKENS = 512
"""Of a caption; fewer where no reference of the sample is as long."""


class Written(NamedTuple):
    """A caption beside its reference."""

    sample: int
    caption: str
    reference: str


class EvaluatedCaptions(Callback):
    """Each rank writes its share of the captions; under ZeRO-3, where all must make the same calls, every rank all."""

    def __init__(
        self,
        data: TrainingData,
        count: int,
        is_due: Callable[[int], bool],
        end_ids: Sequence[int] | None,
        reporter: Reporter,
    ) -> None:
        """`is_due` says after which steps; `end_ids` as in `write_captions`."""
        self._data = data
        self._count = count
        self._is_due = is_due
        self._end_ids = end_ids
        self._reporter = reporter
        self._prompts: list[CaptionPrompt] | None = None

    def measure(self, engine: Engine, line: MetricsLine) -> MetricsLine:
        if not self._is_due(line.step):
            return line
        if self._prompts is None:
            self._prompts = choose_prompts(self._data, self._count)
            if not self._prompts and engine.is_main:
                self._reporter.warning("no validation sample has an image or a video and an answer: none is evaluated")
        if not self._prompts:
            return line
        written = self._written(engine, self._prompts)
        return line.model_copy(update={**scores_of(written), "evaluated_captions": len(written)})

    def _written(self, engine: Engine, prompts: list[CaptionPrompt]) -> list[Written]:
        shared = engine.zero_stage != 3
        own = prompts[engine.rank :: engine.world_size] if shared else prompts
        longest = min(MOST_NEW_TOKENS, max(len(one.answer) for one in prompts))
        written: list[Written] = []
        for begin in range(0, len(own), ROWS):
            rows = own[begin : begin + ROWS]
            captions = write_captions(engine, rows, self._data.plan, end_ids=self._end_ids, max_new_tokens=longest)
            written += [
                Written(one.sample.number, caption, one.reference) for one, caption in zip(rows, captions, strict=True)
            ]
        return sorted(engine.gather_lists(written) if shared else written)


def scores_of(written: Sequence[Written]) -> dict[str, float]:
    """The scores of `CAPTION_SCORES`, words cut without Java."""
    scorer = Scorer("python")
    scored = scorer.scored(
        [one.caption for one in written], [[one.reference] for one in written], [None] * len(written)
    )
    values = dict(zip(scorer.names, scorer.statistic(scored.columns_NC.sum(axis=0)).tolist(), strict=True))
    return {name: values[name] for name in CAPTION_SCORES}
