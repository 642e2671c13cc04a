"""How many tokens every layer of the vision tower merges, known before any pixel is read.

Source: the schedules of this project (`docs/how-it-works/merging.md`); the limit of a layer is ToMe's (Bolya et al.,
ICLR 2023, section 3): a merge joins a token of one half with a token of the other, so half of the tokens can go.
Slow-fast is SlowFast-LLaVA's (arXiv 2407.15841): the first frame of a video stays whole.
No torch here: the model, the collator, the packing plan and the documentation all ask this one module.
"""

import math
from collections.abc import Sequence
from typing import Any, NamedTuple, assert_never

from aurora_cli.config.merging import TokenMerging
from aurora_cli.errors import SettingsError, UsageError

WHOLE = TokenMerging(kept_ratio=1.0)
"""Merges nothing."""


def whole_frames(media_lengths: Sequence[int], slowfast: bool) -> list[bool]:
    """For every frame in reading order: does it stay whole? `media_lengths`: 1 for an image, n for a video of n.

    >>> whole_frames([1, 3], slowfast=True)
    [False, True, False, False]
    """
    return [slowfast and length > 1 and frame == 0 for length in media_lengths for frame in range(length)]


class FrameTokenCounts(NamedTuple):
    """Visual tokens that the language model sees of a frame, by where the frame stands."""

    merged: int
    """Of an image, and of a frame of a video behind its first."""

    first: int
    """Of the first frame of a video: all of them with slow-fast, else as many as of any other."""

    def per_frame(self, media_lengths: Sequence[int]) -> list[int]:
        """Of every frame, in reading order; `media_lengths` as in `whole_frames`.

        >>> FrameTokenCounts(merged=73, first=729).per_frame([1, 3])
        [73, 729, 73, 73]
        """
        may_stay_whole = whole_frames(media_lengths, slowfast=True)  # `first` knows whether slow-fast is on
        return [self.first if is_first else self.merged for is_first in may_stay_whole]

    def in_all(self, frames: Any, videos: Any) -> Any:
        """Of all frames of a sample, so many of which are the first of a video; of many samples where these are arrays.

        >>> FrameTokenCounts(merged=73, first=729).in_all(frames=1 + 3, videos=1)
        948
        """
        return videos * self.first + (frames - videos) * self.merged


def layers_before(feature_layer: int, num_layers: int) -> int:
    """The layers that run so that hidden state `feature_layer` exists; those behind it are skipped.

    >>> layers_before(-2, 32), layers_before(-1, 32), layers_before(3, 32)
    (31, 32, 3)
    """
    count = feature_layer if feature_layer >= 0 else num_layers + 1 + feature_layer
    if not 0 <= count <= num_layers:
        raise SettingsError(f"model.feature_layer is {feature_layer}; a tower of {num_layers} layers has "
                            f"hidden states {-num_layers - 1} to {num_layers}")  # fmt: skip
    return count


def grid(height: int, width: int, patch_size: int) -> tuple[int, int]:
    """Rows and columns of patches; pixels that do not fill a patch are cut off.

    >>> grid(378, 385, 14)
    (27, 27)
    """
    rows, columns = height // patch_size, width // patch_size
    if rows < 1 or columns < 1:
        raise UsageError(f"a frame of {height}x{width} pixels is smaller than a patch of {patch_size}x{patch_size}")
    return rows, columns


def removal_plan(
    height: int,
    width: int,
    patch_size: int,
    num_layers: int,
    num_merging_layers: int,
    merging: TokenMerging,
    class_token: bool = True,
) -> tuple[int, ...]:
    """Tokens that each of the first `num_merging_layers` layers removes.

    >>> removal_plan(84, 84, 14, 6, 5, TokenMerging(kept_ratio=0.25))
    (6, 6, 5, 5, 5)
    >>> removal_plan(84, 84, 14, 6, 5, TokenMerging(kept_ratio=0.25, schedule="constant"))
    (4, 4, 4, 4, 4)
    """
    rows, columns = grid(height, width, patch_size)
    if merging.kept_ratio == 1.0:
        return (0,) * num_merging_layers
    match merging.schedule:
        case "constant":
            # The original's order of operations, with the fraction of a patch that a ragged edge leaves.
            wanted = int(height * width / patch_size**2 * (1 - merging.kept_ratio) / num_layers)
            return _constant(rows * columns, wanted, num_merging_layers, class_token)
        case "exact":
            return _exact(rows * columns, merging.kept_ratio, num_merging_layers, class_token)
        case _:
            assert_never(merging.schedule)


def num_visual_tokens(
    height: int,
    width: int,
    patch_size: int = 14,
    num_layers: int = 32,
    feature_layer: int = -2,
    class_token: bool = True,
    merging: TokenMerging | None = None,
) -> int:
    """Tokens that a frame of `height` x `width` pixels has at the projector; none for `merging`: no merging.

    >>> num_visual_tokens(378, 378)
    729
    >>> num_visual_tokens(378, 378, merging=TokenMerging(kept_ratio=0.1))
    73
    >>> num_visual_tokens(378, 378, merging=TokenMerging(kept_ratio=0.1, schedule="constant"))
    109
    """
    rows, columns = grid(height, width, patch_size)
    plan = removal_plan(
        height,
        width,
        patch_size,
        num_layers,
        layers_before(feature_layer, num_layers),
        WHOLE if merging is None else merging,
        class_token,
    )
    return rows * columns - sum(plan)


def _constant(patches: int, wanted: int, layers: int, class_token: bool) -> tuple[int, ...]:
    plan: list[int] = []
    tokens = patches + class_token
    for _ in range(layers):
        plan.append(min(wanted, (tokens - class_token) // 2))
        tokens -= plan[-1]
    return tuple(plan)


def _exact(patches: int, kept_ratio: float, layers: int, class_token: bool) -> tuple[int, ...]:
    kept = round(kept_ratio * patches)
    least = _least_tokens(patches, layers, class_token)
    if kept < least:
        raise SettingsError(
            f"kept ratio {kept_ratio}, which is {kept} of {patches} tokens, is too small; a layer merges half at most, "
            f"so {layers} layers keep at least {least} of them (kept ratio {_ratio_that_keeps(least, patches)})"
        )
    each, one_more = divmod(patches - kept, layers) if layers else (0, 0)
    # tokens[i] enter layer i, the last ones leave the last layer: first as even as can be ...
    tokens = [patches + class_token]
    for layer in range(layers):
        tokens.append(tokens[-1] - each - (layer < one_more))
    # ... then, from the end, no more than a layer can halve: what is too much for it goes to the layer before.
    for layer in range(layers - 1, 0, -1):
        tokens[layer] = min(tokens[layer], 2 * tokens[layer + 1] - class_token)
    return tuple(tokens[layer] - tokens[layer + 1] for layer in range(layers))


def _least_tokens(patches: int, layers: int, class_token: bool) -> int:
    """Patches' tokens left when every layer merges as much as it can; the class token is never merged."""
    tokens = patches + class_token
    for _ in range(layers):
        tokens -= (tokens - class_token) // 2
    return tokens - class_token


def _ratio_that_keeps(tokens: int, patches: int) -> float:
    """The smallest ratio of four digits that keeps so many tokens."""
    digits = 10_000
    ratio = max(1, math.floor((tokens - 1) / patches * digits))
    while round(ratio / digits * patches) < tokens:
        ratio += 1
    return ratio / digits
