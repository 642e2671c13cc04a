"""What a point costs, by hand."""

from aurora_cli.captioning.result import Caption, CaptionCost
from aurora_cli.evaluation.stored import Cost
from aurora_cli.pipeline.evaluate.points import cost_of


def caption(frames: int, tokens: int, cost: CaptionCost | None) -> Caption:
    return Caption("a", "image" if frames == 1 else "video", "x", frames, tokens, 9, 1, 0.5, cost=cost)


def test_means_are_of_the_media_tokens_a_frame_of_all_frames_and_memory_is_the_most():
    made = [
        caption(1, 8, CaptionCost(0.25, 0.5, 700.0)),
        caption(3, 24, CaptionCost(0.75, 1.0, 900.0)),
        caption(4, 48, CaptionCost(0.5, 0.0, 800.0)),
    ]
    assert cost_of(made) == Cost(80 / 3, tokens_per_frame=10.0, prefill_s=0.5, decode_s=0.5, peak_memory_mb=900.0)


def test_what_was_not_measured_is_none_and_counts_in_no_mean():
    assert cost_of([caption(1, 8, None)]) == Cost(8.0, 8.0)
    found = cost_of([caption(1, 8, None), caption(1, 8, CaptionCost(None, 1.0, 5.0))])
    assert (found.prefill_s, found.decode_s, found.peak_memory_mb) == (None, 1.0, 5.0)
