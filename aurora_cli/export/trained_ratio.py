"""At which kept ratio an export is right: what its model card says, and `aurora convert` in its last lines."""

from collections.abc import Sequence

from aurora_cli.config.merging import TokenMerging


def right_at(merging: TokenMerging, trained_ratios: Sequence[float] = ()) -> str | None:
    """The warning; none where nothing merges, because then every program computes what was trained. `trained_ratios`
    are those of a mixture, of which `merging` has the largest.

    How captions fare at other ratios is a matter of evaluation: what one found belongs behind this sentence.

    >>> right_at(TokenMerging(kept_ratio=1.0)) is None
    True
    """
    if merging.kept_ratio == 1.0:
        return None
    ratios = " to ".join(f"{ratio:g}" for ratio in dict.fromkeys((*trained_ratios[:1], merging.kept_ratio)))
    return (
        f"right at kept ratio {ratios}, as it was trained: a program that does not merge runs it at kept "
        "ratio 1, which is another model"
    )
