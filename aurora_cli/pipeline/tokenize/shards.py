"""The shards of one folder: those that are missing are made, in the order of the records."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from itertools import chain, islice
from pathlib import Path
from typing import NamedTuple

from aurora_cli.config.settings import TokenizeSettings
from aurora_cli.config.share import ALL, Share
from aurora_cli.console import Reporter
from aurora_cli.data.annotations.files import RawRecord, raw_records
from aurora_cli.data.token_store.columns import EncodedChunk
from aurora_cli.data.token_store.folder import TOKENIZER, begin, finish, is_complete, shard_manifests, write_shard
from aurora_cli.data.token_store.manifest import ShardManifest, TokenizeManifest
from aurora_cli.data.token_store.shares import SHARES, SharedWork, shared_work
from aurora_cli.data.tokenization.pool import EncodingPool, RecordChunk, in_chunks
from aurora_cli.errors import DataError
from aurora_cli.io.atomic import write_text
from aurora_cli.io.locks import lock_output
from aurora_cli.pipeline.tokenize.jobs import TokenizeJob


class MadeShards(NamedTuple):
    """What there is of a folder's shards after a run."""

    manifests: dict[int, ShardManifest]
    """Of all that are there, by number."""
    made: int
    """That this run made."""
    missing: tuple[int, ...] = ()
    """Shares that have shards to make yet."""


def make_shards(
    job: TokenizeJob,
    base: TokenizeManifest,
    serialized_tokenizer: str,
    settings: TokenizeSettings,
    pool: EncodingPool,
    reporter: Reporter,
    share: Share = ALL,
) -> MadeShards:
    """Make the shards of one folder, or of a share of it, that are not there yet. When all are there it is complete.

    Raises:
        UsageError: there are shards that were made with other settings.
        DataError: there is no record, or one was rejected and the settings say to stop at that.
    """
    work = shared_work(job.output, share.count)

    def makes(shard: int) -> bool:
        return work.is_made_by(share, shard)

    present = begin(job.output, base, force=settings.force, makes=None if share == ALL else makes)
    if is_complete(job.output, present):
        return MadeShards(present, 0)
    with lock_output(job.output / TOKENIZER, "aurora tokenize", wait=True):
        write_text(job.output / TOKENIZER, serialized_tokenizer)
    total = sum(source.size for source in base.inputs)
    made = 0
    with reporter.progress(f"{job.output.parent.name}/{job.output.name}", total, "bytes") as advance:
        walk = ShardWalk(job, base, lambda shard: shard not in present and makes(shard), advance)
        encoded = pool.encoded(walk.chunks())
        for first in encoded:
            shard = rest_of_shard(first, encoded)
            write_shard(job.output, first.shard, none_rejected(shard) if settings.on_error == "stop" else shard, base)
            made += 1
    if not walk.shards:
        raise DataError(f"{', '.join(str(source.path) for source in job.sources)}: no records")
    manifests = shard_manifests(job.output)
    if share == ALL:
        finish(job.output, manifests, base)
        return MadeShards(manifests, made)
    return _finish_shared(job.output, base, manifests, made, work.model_copy(update={"shards": walk.shards}))


def _finish_shared(
    folder: Path, base: TokenizeManifest, manifests: dict[int, ShardManifest], made: int, work: SharedWork
) -> MadeShards:
    """Complete the folder if all shards are there, made alike; or leave a note of who is to make the others."""
    alike = {index: manifest for index, manifest in manifests.items() if not manifest.differences(base)}
    if list(alike) == list(range(work.shards)):
        finish(folder, alike, base)
        return MadeShards(alike, made)
    with lock_output(folder / SHARES, "aurora tokenize", wait=True):
        work.write(folder / SHARES)
    return MadeShards(alike, made, tuple(work.missing(alike)))


class ShardWalk:
    """A walk through the records of all shards, that stops at those that are wanted."""

    def __init__(
        self,
        job: TokenizeJob,
        base: TokenizeManifest,
        is_wanted: Callable[[int], bool],
        advance: Callable[[int], None],
    ) -> None:
        self._job, self._base, self._is_wanted, self._advance = job, base, is_wanted, advance
        self.shards = 0
        """Walked through so far."""

    def chunks(self) -> Iterator[RecordChunk]:
        """The records of the shards wanted. A shard is a batch of one file; numbers run through all files."""
        for index, source in enumerate(self._job.sources):
            records = raw_records(source.path, self._advance)
            while (first := next(records, None)) is not None:
                batch = chain([first], islice(records, self._base.batch_size - 1))
                if self._is_wanted(self.shards):
                    yield from self._chunks_of_shard(batch, index)
                else:
                    deque(batch, maxlen=0)
                self.shards += 1

    def _chunks_of_shard(self, batch: Iterator[RawRecord], index: int) -> Iterator[RecordChunk]:
        source = self._job.sources[index]
        for chunk, is_last in with_last(in_chunks(batch)):
            yield RecordChunk(
                shard=self.shards,
                source=index,
                file=self._base.inputs[index].path,
                images_are_video=source.images_are_video,
                check_media_in=source.media_root if self._base.check_media else None,
                records=chunk,
                ends_shard=is_last,
            )


def with_last(chunks: Iterable[list[RawRecord]]) -> Iterator[tuple[list[RawRecord], bool]]:
    """Each chunk, and whether it is the last."""
    chunks = iter(chunks)
    chunk = next(chunks, None)
    while chunk is not None:
        following = next(chunks, None)
        yield chunk, following is None
        chunk = following


def rest_of_shard(chunk: EncodedChunk, following: Iterator[EncodedChunk]) -> Iterator[EncodedChunk]:
    """The chunks of a shard from its first on. Never looks beyond the shard, whose end another one's failure spares."""
    yield chunk
    while not chunk.ends_shard:
        chunk = next(following)
        yield chunk


def none_rejected(chunks: Iterable[EncodedChunk]) -> Iterator[EncodedChunk]:
    """The chunks, up to the first with a rejected record.

    Raises:
        DataError: a record was rejected.
    """
    for chunk in chunks:
        for record in chunk.rejected:
            raise DataError(
                f"{record.file}:{record.line}: {record.reason}: {record.detail}",
                hint="--on-error reject lists such records in rejected.jsonl and goes on.",
            )
        yield chunk
