"""Encoding in several processes: chunks of records go in, encoded they come out, in the same order, in flat memory."""

import contextlib
import functools
import gc
import multiprocessing
import os
import pickle
import signal
import tempfile
import threading
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from multiprocessing.connection import Connection, wait
from pathlib import Path
from types import TracebackType
from typing import IO, Any, NamedTuple, cast

from aurora_cli.data.annotations.files import RawRecord
from aurora_cli.data.token_store.columns import EncodedChunk
from aurora_cli.data.token_store.writer import row_batch, summary_batch
from aurora_cli.data.tokenization.encoder import Encoder
from aurora_cli.errors import DataError, HostError

CHUNK_RECORDS = 1_000
CHUNK_BYTES = 1 << 20
SMALL_INPUT = 16 << 20
"""Bytes of input below which a second process costs more time (about 0.7 s to start) than it saves."""


class RecordChunk(NamedTuple):
    """Records that go through the encoder together."""

    shard: int
    source: int
    """Number of the file among the inputs."""
    file: str
    images_are_video: bool
    check_media_in: Path | None
    """What the paths of images and videos start from, where those must be there."""
    records: list[RawRecord]
    ends_shard: bool
    """Whether it is the last of its shard."""


def in_chunks(records: Iterable[RawRecord]) -> Iterator[list[RawRecord]]:
    """Records by the chunk: CHUNK_RECORDS, or fewer from CHUNK_BYTES on."""
    chunk, size = [], 0
    for record in records:
        chunk.append(record)
        size += len(record.raw)
        if len(chunk) == CHUNK_RECORDS or size >= CHUNK_BYTES:
            yield chunk
            chunk, size = [], 0
    if chunk:
        yield chunk


def encode(encoder: Encoder, chunk: RecordChunk) -> EncodedChunk:
    """The chunk as columns that are ready to be written."""
    encoded = encoder.encode(
        chunk.records, chunk.file, images_are_video=chunk.images_are_video, check_media_in=chunk.check_media_in
    )
    return EncodedChunk(
        shard=chunk.shard,
        source=chunk.source,
        ends_shard=chunk.ends_shard,
        read=len(chunk.records),
        first_line=chunk.records[0].line,
        last_line=chunk.records[-1].line,
        rows=row_batch(encoded),
        summary=summary_batch(encoded),
        rejected=encoded.rejected,
        keys_read=encoded.keys_read,
        keys_warned=encoded.keys_warned,
        animated=encoded.animated,
    )


class EncodingPool:
    """Processes that encode; with one worker, this process does. They start before they know what to encode by."""

    def __init__(self, *, workers: int | None, total_bytes: int) -> None:
        cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
        self.workers = workers or (1 if total_bytes < SMALL_INPUT else cores)
        self.encoder: Encoder | None = None
        self.file: IO[bytes] | None = None
        """Holds the encoder, for the workers. It has no name: whatever ends this process, nothing is left of it."""
        self.executor: ProcessPoolExecutor | None = None
        self.lifeline: Connection | None = None
        """The workers hold the other end, and are gone when this one is closed, by us or by our death."""
        self.files = contextlib.ExitStack()

    def __enter__(self) -> "EncodingPool":
        if self.workers > 1:
            # Started afresh, not forked: this process has threads (the tokenizer's, the progress bar's).
            context = multiprocessing.get_context("spawn")
            lifeline, self.lifeline = context.Pipe(duplex=False)
            self.file = self.files.enter_context(tempfile.TemporaryFile())
            handed_on = Connection(os.dup(self.file.fileno()), writable=False)  # a descriptor that spawn passes on
            self.executor = ProcessPoolExecutor(self.workers, context, start_worker, (lifeline, handed_on))
            for _ in range(self.workers):
                self.executor.submit(os.getpid)  # a process starts when there is something to do
        return self

    def use(self, encoder: Encoder) -> None:
        """Encode with this from now on. Called once."""
        self.encoder = encoder
        if self.file is not None:
            pickle.dump(encoder, self.file)
            self.file.flush()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.executor is None or self.lifeline is None:
            return
        if error is not None:
            # Before all else: a second Ctrl-C must not leave workers that wait, and are waited for. One may end in the
            # middle of a result, whose rest the executor's thread would wait for as long as we could write it, too.
            with contextlib.suppress(AttributeError):  # where Python names it otherwise
                cast(Any, self.executor)._result_queue._writer.close()
            self.lifeline.close()
        with self.files:
            self.executor.shutdown(wait=True, cancel_futures=True)
        self.lifeline.close()

    def encoded(self, chunks: Iterable[RecordChunk]) -> Iterator[EncodedChunk]:
        """The chunks encoded, in their order. Never more than a few are under way.

        What `chunks` raises is raised behind the chunks before it.

        Raises:
            HostError: a process died.
        """
        assert self.encoder is not None
        if self.executor is None:
            for chunk in chunks:
                yield encode(self.encoder, chunk)
            return
        under_way: deque[Future[EncodedChunk]] = deque()
        failure: DataError | None = None
        try:
            try:
                for chunk in chunks:
                    under_way.append(self.executor.submit(encode_in_worker, chunk))
                    if len(under_way) > 2 * self.workers:
                        yield under_way.popleft().result()
            except DataError as error:
                failure = error
            while under_way:
                yield under_way.popleft().result()
            if failure is not None:
                raise failure
        except BrokenProcessPool as error:
            raise HostError(
                "a tokenizing process died, perhaps for want of memory",
                hint="Run the same command again, with fewer --workers: it continues.",
            ) from error


_encoder_file: Connection | None = None
"""In a worker: the descriptor of the file that holds the encoder."""


def start_worker(lifeline: Connection, encoder_file: Connection) -> None:
    """Set up a worker: one thread, ignoring Ctrl-C (its parent stops it), and gone when the lifeline is cut."""
    global _encoder_file
    _encoder_file = encoder_file
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=exit_when_cut, args=(lifeline,), daemon=True).start()
    os.environ["TOKENIZERS_PARALLELISM"] = "false"


def exit_when_cut(lifeline: Connection) -> None:
    """Wait for the end of the parent, and end with it."""
    wait([lifeline])
    os._exit(1)


@functools.cache
def given_encoder() -> Encoder:
    """In a worker: the encoder, read when the first chunk comes."""
    assert _encoder_file is not None
    descriptor = _encoder_file.fileno()
    size = os.fstat(descriptor).st_size
    encoder: Encoder = pickle.loads(os.pread(descriptor, size, 0))  # a read would move the other workers' position too
    # A chunk's records are no cycles and all gone at its end; looking for cycles among them takes a tenth of the time.
    gc.freeze()
    gc.set_threshold(200_000, 20, 20)
    return encoder


def encode_in_worker(chunk: RecordChunk) -> EncodedChunk:
    """What a worker does with a chunk."""
    return encode(given_encoder(), chunk)
