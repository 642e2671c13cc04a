"""The two files in llama.cpp, by llama-cpp-python: prompts with images in, ids and logits out.

Only what its own programs do: one call that cuts a prompt at the marks of images, one that computes it, greedy steps.
"""

import ctypes
import importlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple

import numpy as np

from aurora_cli.constants import IMAGE_PLACEHOLDER
from aurora_cli.errors import DataError
from aurora_cli.export.llama_cpp.chat import MARK
from aurora_cli.export.llama_cpp.quantize import BINDING


class Answer(NamedTuple):
    """What llama.cpp made of a prompt."""

    prompt: list[int]
    """Its ids; IMAGE_PLACEHOLDER for each image."""
    visual_tokens: int
    """Of all images."""
    logits: np.ndarray
    """Behind the prompt."""
    new: list[int]
    """The likeliest ids, up to what ends an answer."""


class LlamaCpp:
    """A captioner's two files, loaded.

    Raises:
        DataError: llama.cpp does not load them.
    """

    def __init__(self, model: Path, projector: Path, *, threads: int = 1, context: int = 8192) -> None:
        self._lib: Any = importlib.import_module(BINDING)
        self._mtmd: Any = importlib.import_module(f"{BINDING}.mtmd_cpp")
        with _named(model), _as_they_lie():
            self._llama: Any = self._lib.Llama(
                str(model), n_ctx=context, n_threads=threads, n_threads_batch=threads, n_gpu_layers=0, verbose=False
            )
        parameters = self._mtmd.mtmd_context_params_default()
        parameters.use_gpu, parameters.print_timings, parameters.n_threads = False, False, threads
        self._images: Any = self._mtmd.mtmd_init_from_file(str(projector).encode(), self._llama.model, parameters)
        if self._images is None:
            raise DataError(f"{projector}: llama.cpp does not load it")

    def __enter__(self) -> "LlamaCpp":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._mtmd.mtmd_free(self._images)
        self._llama.close()

    def answer(self, prompt: str, images: Sequence[np.ndarray], max_new_tokens: int) -> Answer:
        """
        Args:
            prompt: with MARK for each image.
            images: (H, W, 3) of uint8.
            max_new_tokens: at most so many.

        Raises:
            DataError: llama.cpp does not compute it.
        """
        lib, context = self._lib, self._llama.ctx
        lib.llama_memory_clear(lib.llama_get_memory(context), True)
        with self._chunks(prompt, images) as chunks:
            ids, visual = self._ids(chunks)
            past = lib.llama_pos(0)
            failed = self._mtmd.mtmd_helper_eval_chunks(
                self._images, context, chunks, 0, 0, 512, True, ctypes.byref(past)
            )
        if failed:
            raise DataError(f"llama.cpp does not compute a prompt of {len(images)} images: {failed}")
        logits = self._logits()
        new: list[int] = []
        token = int(logits.argmax())
        vocabulary = lib.llama_model_get_vocab(self._llama.model)
        while len(new) < max_new_tokens and not lib.llama_vocab_is_eog(vocabulary, token):
            new.append(token)
            if len(new) == max_new_tokens:
                break
            one = (lib.llama_token * 1)(token)
            if lib.llama_decode(context, lib.llama_batch_get_one(one, 1)):
                raise DataError("llama.cpp does not compute a token")
            token = int(self._logits().argmax())
        return Answer(ids, visual, logits, new)

    def _logits(self) -> np.ndarray:
        size = self._llama.n_vocab()
        return np.ctypeslib.as_array(self._lib.llama_get_logits_ith(self._llama.ctx, -1), shape=(size,)).copy()

    @contextmanager
    def _chunks(self, prompt: str, images: Sequence[np.ndarray]) -> Iterator[Any]:
        mtmd = self._mtmd
        mark = mtmd.mtmd_default_marker().decode()
        text = mtmd.mtmd_input_text()
        text.text = prompt.replace(MARK, mark).encode()
        text.text_len, text.add_special, text.parse_special = len(text.text), True, True
        bitmaps = [self._bitmap(image) for image in images]
        array = (mtmd.mtmd_bitmap_p_ctypes * len(bitmaps))(*bitmaps)
        chunks = mtmd.mtmd_input_chunks_init()
        try:
            failed = mtmd.mtmd_tokenize(self._images, chunks, ctypes.byref(text), array, len(bitmaps))
            if failed:
                raise DataError(f"llama.cpp does not cut a prompt of {len(images)} images: {failed}")
            yield chunks
        finally:
            mtmd.mtmd_input_chunks_free(chunks)
            for bitmap in bitmaps:
                mtmd.mtmd_bitmap_free(bitmap)

    def _bitmap(self, image: np.ndarray) -> Any:
        height, width, _ = image.shape
        levels = np.ascontiguousarray(image)
        return self._mtmd.mtmd_bitmap_init(width, height, levels.ctypes.data_as(ctypes.POINTER(ctypes.c_uint8)))

    def _ids(self, chunks: Any) -> tuple[list[int], int]:
        mtmd = self._mtmd
        ids: list[int] = []
        visual = 0
        for index in range(mtmd.mtmd_input_chunks_size(chunks)):
            chunk = mtmd.mtmd_input_chunks_get(chunks, index)
            if mtmd.mtmd_input_chunk_get_type(chunk) == mtmd.MTMD_INPUT_CHUNK_TYPE_IMAGE:
                ids.append(IMAGE_PLACEHOLDER)
                visual += mtmd.mtmd_input_chunk_get_n_tokens(chunk)
                continue
            count = ctypes.c_size_t()
            tokens = mtmd.mtmd_input_chunk_get_tokens_text(chunk, ctypes.byref(count))
            ids += [int(tokens[at]) for at in range(count.value)]
        return ids, visual


@contextmanager
def _named(file: Path) -> Iterator[None]:
    try:
        yield
    except ValueError as error:
        raise DataError(f"{file}: llama.cpp does not load it: {error}") from error


@contextmanager
def _as_they_lie() -> Iterator[None]:
    """Weights are computed as the file has them, not laid out anew for the processor: on one with AMX, llama.cpp is
    killed by SIGSEGV by quantized ones that are (its issue 20824). `Llama` has no option for it."""
    bound: Any = importlib.import_module(f"{BINDING}.llama_cpp")
    usual = bound.llama_model_default_params

    def parameters() -> Any:
        own = usual()
        own.use_extra_bufts = False
        return own

    bound.llama_model_default_params = parameters
    try:
        yield
    finally:
        bound.llama_model_default_params = usual
