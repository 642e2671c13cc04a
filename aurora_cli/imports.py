"""Importing what a command computes with: torch, transformers, and what is built on them."""

import contextlib
import gc
import importlib
import sys
from collections.abc import Iterator, Mapping
from types import ModuleType, SimpleNamespace
from typing import Any

_process = SimpleNamespace(is_own=False)

_MARKS = ("disable", "allow_in_graph", "assume_constant_result", "graph_break")
"""What is asked of the compiler by code that is not compiled; optimizers break a graph in every step."""
_COMPILER, _TRACING = "torch._dynamo", "torch._dynamo._trace_wrapped_higher_order_op"


@contextlib.contextmanager
def imported_at_once() -> Iterator[None]:
    """What is imported inside stays until the process ends, and is never searched for garbage.

    torch and transformers make 600,000 objects. Searched again and again while they come, and once more when the
    process takes them apart, they cost 8.3 CPU seconds instead of 5.7 to import and leave.
    """
    collects = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        if collects:
            gc.enable()


def in_own_process() -> None:
    """Say that this process runs one command and ends: what other commands need may stay away."""
    _process.is_own = True


@contextlib.contextmanager
def without_compiler() -> Iterator[None]:
    """transformers, first imported inside by a process that is a command's own, comes without what it compiles and
    spreads over processes with, and without losses of detectors.

    Those import torch's compiler, DTensor, sympy and SciPy, a quarter of the CPU seconds until a caption's first word.
    Behind it all of them can be imported as ever.
    """
    if not _process.is_own or not {_COMPILER, "transformers", "scipy"}.isdisjoint(sys.modules):
        yield
        return
    deferred = {
        _COMPILER: dict.fromkeys(_MARKS, _unmarked),
        _TRACING: {"TransformGetItemToIndex": lambda: _imported(_TRACING).TransformGetItemToIndex()},
    }
    sys.modules |= {name: DeferredModule(name, known) for name, known in deferred.items()}
    try:
        _answer_once()
        yield
    finally:
        _forget_deferred()


class DeferredModule(ModuleType):
    """Stands for a module that is imported as soon as something is asked of it that is not `known`."""

    def __init__(self, name: str, known: Mapping[str, object]) -> None:
        super().__init__(name)
        self.__dict__.update(known)

    def __getattr__(self, name: str) -> Any:
        # Who looks through all modules asks for `__file__` and the like; who imports another module of a package for
        # `__path__`.
        if name.startswith("__") and (name, self.__name__) != ("__path__", _COMPILER):
            raise AttributeError(name)
        return getattr(_imported(self.__name__), name)


def _imported(name: str) -> ModuleType:
    _forget_deferred()
    return importlib.import_module(name)


def _forget_deferred() -> None:
    for name in (_COMPILER, _TRACING):
        if isinstance(sys.modules.get(name), DeferredModule):
            del sys.modules[name]


def _answer_once() -> None:
    """transformers asks once what is installed, and remembers the answer; where it asks otherwise, it gets all."""
    sys.modules["scipy"] = None  # pyrefly: ignore[unsupported-operation] - so Python's manual blocks an import
    try:
        import_utils = importlib.import_module("transformers.utils.import_utils")
        with _replaced(importlib.import_module("torch.distributed"), "is_available", lambda: False):
            for question in ("is_torch_distributed_available", "is_scipy_available"):
                getattr(import_utils, question, bool)()
    finally:
        del sys.modules["scipy"]


@contextlib.contextmanager
def _replaced(module: ModuleType, name: str, value: object) -> Iterator[None]:
    before = getattr(module, name)
    setattr(module, name, value)
    try:
        yield
    finally:
        setattr(module, name, before)


def _unmarked(function: Any = None, *_: object, **__: object) -> Any:
    """What marks a function for the compiler, and its use with arguments."""
    return _unmarked if function is None else function
