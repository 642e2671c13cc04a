"""Networks without memory for their weights, to ask for the weights' names and shapes."""

import contextlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import torch
from torch.overrides import TorchFunctionMode
from transformers.initialization import no_init_weights

_MAKE_WEIGHTS = frozenset({torch.empty, torch.zeros, torch.ones, torch.full})


class _WeightsOnMeta(TorchFunctionMode):
    """Like `torch.device("meta")`, but what a network counts out (`torch.arange`) is there: without memory it is
    computed in Python, for which torch imports its compiler and sympy, 0.6 CPU seconds."""

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Sequence[type],
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        kwargs = dict(kwargs or {})
        if func in _MAKE_WEIGHTS and kwargs.get("device") is None:
            kwargs["device"] = "meta"
        return func(*args, **kwargs)


@contextlib.contextmanager
def weightless() -> Iterator[None]:
    """Weights of networks that are made inside have shapes and no values."""
    with no_init_weights(), _WeightsOnMeta():
        yield
