"""The shards of one folder: those that are missing are made, in the order of the records."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from itertools import chain, islice

from aurora_cli.config.settings import TokenizeSettings
from aurora_cli.console import Reporter
from aurora_cli.data.annotations.files import RawRecord, raw_records
from aurora_cli.data.token_store.columns import EncodedChunk
from aurora_cli.data.token_store.folder import TOKENIZER, begin, finish, is_complete, shard_manifests, write_shard
from aurora_cli.data.token_store.manifest import ShardManifest, TokenizeManifest
from aurora_cli.data.tokenization.pool import EncodingPool, RecordChunk, in_chunks
from aurora_cli.errors import DataError
from aurora_cli.io.atomic import write_text
from aurora_cli.pipeline.tokenize.jobs import TokenizeJob


def make_shards(
    job: TokenizeJob,
    base: TokenizeManifest,
    serialized_tokenizer: str,
    settings: TokenizeSettings,
    pool: EncodingPool,
    reporter: Reporter,
) -> tuple[dict[int, ShardManifest], int]:
    """Make the shards of one folder that are not there yet: the manifests of all, and how many were made.

    Raises:
        UsageError: there are shards that were made with other settings.
        DataError: there is no record, or one was rejected and the settings say to stop at that.
    """
    present = begin(job.output, base, force=settings.force)
    if is_complete(job.output, present):
        return present, 0
    write_text(job.output / TOKENIZER, serialized_tokenizer)
    total = sum(source.size for source in base.inputs)
    made = 0
    with reporter.progress(f"{job.output.parent.name}/{job.output.name}", total, "bytes") as advance:
        encoded = pool.encoded(missing_chunks(job, base, set(present), advance))
        for first in encoded:
            shard = rest_of_shard(first, encoded)
            write_shard(job.output, first.shard, none_rejected(shard) if settings.on_error == "stop" else shard, base)
            made += 1
    manifests = shard_manifests(job.output)
    if not manifests:
        raise DataError(f"{', '.join(str(source.path) for source in job.sources)}: no records")
    finish(job.output, manifests, base)
    return manifests, made


def missing_chunks(
    job: TokenizeJob, base: TokenizeManifest, present: set[int], advance: Callable[[int], None]
) -> Iterator[RecordChunk]:
    """The records of the shards that are not there. A shard is a batch of one file; numbers run through all files."""
    shard = 0
    for index, source in enumerate(job.sources):
        records = raw_records(source.path, advance)
        while (first := next(records, None)) is not None:
            batch = chain([first], islice(records, base.batch_size - 1))
            if shard in present:
                deque(batch, maxlen=0)
            else:
                for chunk, is_last in with_last(in_chunks(batch)):
                    yield RecordChunk(
                        shard=shard,
                        source=index,
                        file=base.inputs[index].path,
                        images_are_video=source.images_are_video,
                        check_media_in=source.media_root if base.check_media else None,
                        records=chunk,
                        ends_shard=is_last,
                    )
            shard += 1


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
