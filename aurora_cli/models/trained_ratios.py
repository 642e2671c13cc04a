"""Kept ratios beyond those that a model was trained at."""

from collections.abc import Sequence


def beyond_trained(kept_ratio: float, trained: Sequence[float]) -> str | None:
    """A warning, where weights that were trained at several kept ratios are to caption at one outside of them.

    >>> beyond_trained(0.3, (0.1, 0.5, 1.0)) is None
    True
    >>> beyond_trained(0.05, (0.1, 0.5, 1.0))
    'kept ratio 0.05 lies outside of those that the model was trained at (0.1, 0.5, 1): captions may be worse'
    """
    if not trained or min(trained) <= kept_ratio <= max(trained):
        return None
    ratios = ", ".join(f"{ratio:g}" for ratio in trained)
    return (
        f"kept ratio {kept_ratio:g} lies outside of those that the model was trained at ({ratios}): captions may be"
        " worse"
    )
