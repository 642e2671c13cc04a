"""`aurora tokenize`: annotation files to shards of token ids.

    DIR/shards/part-00000/  a `datasets` folder, with manifest.json, summary.arrow, rejected.jsonl
    DIR/rejected.jsonl      the rejects of all shards
    DIR/tokenizer.json      what the ids mean
    DIR/tokenize.json       written last: how many shards there are

A shard holds one batch of records of one file, and is whole or absent: a run goes on where another one stopped.
"""

import hashlib
import time
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import chain, islice
from pathlib import Path
from typing import Any

from aurora_cli.config.settings import Settings
from aurora_cli.config.workspace import Workspace
from aurora_cli.console import SILENT, Reporter
from aurora_cli.constants import REJECTS_FILE
from aurora_cli.data.annotations.files import RawRecord, raw_records
from aurora_cli.data.token_store.columns import EncodedChunk
from aurora_cli.data.token_store.folder import (
    COMPLETE,
    TOKENIZER,
    begin,
    finish,
    is_complete,
    shard_manifests,
    write_shard,
)
from aurora_cli.data.token_store.schema import SCHEMA_VERSION
from aurora_cli.data.tokenization.encoder import Encoder
from aurora_cli.data.tokenization.pool import Chunk, EncodingPool, in_chunks
from aurora_cli.data.tokenization.templates import OWN_TEMPLATE
from aurora_cli.data.tokenization.tokenizer import TextTokenizer
from aurora_cli.data.tokenization.tokenizer_source import find_tokenizer
from aurora_cli.errors import EXIT_DATA, EXIT_OK, DataError
from aurora_cli.io.atomic import file_lock, sha256_of, write_text
from aurora_cli.pipeline.result import Result
from aurora_cli.pipeline.tokenize.jobs import Job, plan_jobs


@dataclass(frozen=True)
class TokenizedFolder:
    """What one folder holds after the run."""

    output: str
    shards: int
    made: int
    """Shards that this run made; the others were there."""
    read: int
    kept: int
    rejected: dict[str, int]
    """Records by reason."""
    tokens: int
    taught: int


@dataclass(frozen=True)
class TokenizeResult(Result):
    """What `aurora tokenize` did."""

    folders: tuple[TokenizedFolder, ...]
    seconds: float
    planned: tuple[str, ...] = ()
    """With --dry-run: what would be done."""

    def lines(self) -> list[str]:
        if self.planned:
            return list(self.planned)
        lines = []
        for folder in self.folders:
            rejected = sum(folder.rejected.values())
            reasons = ", ".join(f"{reason} {count:,}" for reason, count in sorted(folder.rejected.items()))
            lines.append(
                f"{folder.output}: {folder.kept:,} of {folder.read:,} records in {folder.shards:,} shards, "
                f"{folder.tokens:,} tokens ({folder.taught:,} taught)"
            )
            if rejected:
                lines.append(f"  rejected {rejected:,}: {reasons}; see {Path(folder.output, REJECTS_FILE)}")
            if not folder.made:
                lines.append("  nothing to do: all shards are there")
        return lines

    @property
    def exit_code(self) -> int:
        """3 when of some folder's records not one could be used."""
        return EXIT_DATA if any(folder.read and not folder.kept for folder in self.folders) else EXIT_OK


def run(settings: Settings, reporter: Reporter = SILENT, *, dry_run: bool = False) -> TokenizeResult:
    """Tokenize the annotation files that the settings name, or all of the workspace's."""
    start = time.perf_counter()
    workspace = Workspace(settings.workspace)
    jobs = plan_jobs(settings.tokenize, workspace)
    name = settings.model.tokenizer or settings.model.language_model
    step = settings.tokenize
    if dry_run:
        return TokenizeResult((), 0.0, tuple(line for job in jobs for line in preview(job, name, force=step.force)))
    unfinished = [
        source.path for job in jobs if step.force or not (job.output / COMPLETE).exists() for source in job.sources
    ]
    folders = []
    with EncodingPool(workers=step.workers, total_bytes=sum(path.stat().st_size for path in unfinished)) as pool:
        tokenizer = find_tokenizer(name, workspace)
        # Before all else: a template that the tokenizer cannot write must not cost the shards that are there.
        pool.use(encoder_of(settings, tokenizer))
        for job in jobs:
            with file_lock(job.output, "aurora tokenize"):
                base = manifest_base(job, tokenizer, settings)
                folders.append(tokenize_job(job, tokenizer, base, settings, pool, reporter))
    return TokenizeResult(tuple(folders), round(time.perf_counter() - start, 3))


def encoder_of(settings: Settings, tokenizer: TextTokenizer) -> Encoder:
    step = settings.tokenize
    return Encoder(
        tokenizer,
        step.template,
        max_length=step.max_length,
        frames=step.frames,
        schema=step.record_schema,
        check_media_in=Workspace(settings.workspace).root if step.check_media else None,
    )


def preview(job: Job, tokenizer: str, *, force: bool) -> Iterator[str]:
    there = shard_manifests(job.output)
    state = "complete" if is_complete(job.output, there) else f"{len(there)} shards are there"
    if force and there:
        state += ", all would be made again"
    yield f"would tokenize into {job.output} with {tokenizer} ({state}):"
    for source in job.sources:
        kind = ", lists of images are videos" if source.video else ""
        yield f"  {source.path} ({source.path.stat().st_size:,} bytes{kind})"


def manifest_base(job: Job, tokenizer: TextTokenizer, settings: Settings) -> dict[str, Any]:
    """What the manifests of all the folder's shards say alike. Reads every input once, for its sha256."""
    workspace = Workspace(settings.workspace)
    step = settings.tokenize
    return {
        "schema_version": SCHEMA_VERSION,
        "tokenizer": settings.model.tokenizer or settings.model.language_model,
        "tokenizer_fingerprint": tokenizer.fingerprint,
        "bos_token": tokenizer.bos_token,
        "eos_token": tokenizer.eos_token,
        "record_schema": step.record_schema,
        "template": step.template,
        "chat_template": chat_template_sha256(tokenizer) if step.template == OWN_TEMPLATE else None,
        "max_length": step.max_length,
        "frames": step.frames,
        "batch_size": step.batch_size,
        "check_media": step.check_media,
        "inputs": [
            {
                "path": within(workspace, source.path),
                "size": source.path.stat().st_size,
                "sha256": sha256_of(source.path),
                "frame_lists": "clip" if source.video else "separate",
            }
            for source in job.sources
        ],
        "settings": step.model_dump(mode="json"),
    }


def chat_template_sha256(tokenizer: TextTokenizer) -> str:
    """What tells the tokenizer's own template from another."""
    return hashlib.sha256((tokenizer.chat_template or "").encode()).hexdigest()


def within(workspace: Workspace, path: Path) -> str:
    """The path relative to the workspace if it lies in it, so that the workspace can be moved; else absolute."""
    path, root = path.absolute(), workspace.root.absolute()
    return path.relative_to(root).as_posix() if path.is_relative_to(root) else str(path)


def tokenize_job(
    job: Job,
    tokenizer: TextTokenizer,
    base: dict[str, Any],
    settings: Settings,
    pool: EncodingPool,
    reporter: Reporter,
) -> TokenizedFolder:
    """Make the shards of one folder that are not there yet."""
    step = settings.tokenize
    done = begin(job.output, base, force=step.force)
    if is_complete(job.output, done):
        return counted(job.output, done, made=0)
    write_text(job.output / TOKENIZER, tokenizer.serialized)
    total = sum(entry["size"] for entry in base["inputs"])
    made = 0
    with reporter.progress(f"{job.output.parent.name}/{job.output.name}", total, "bytes") as advance:
        chunks = missing_chunks(job, base["inputs"], set(done), step.batch_size, advance)
        encoded = pool.encoded(chunks)
        for first in encoded:
            shard = rest_of_shard(first, encoded)
            write_shard(job.output, first.shard, checked(shard) if step.on_error == "stop" else shard, base)
            made += 1
    manifests = shard_manifests(job.output)
    if not manifests:
        raise DataError(f"{', '.join(str(source.path) for source in job.sources)}: no records")
    finish(job.output, manifests, base)
    return counted(job.output, manifests, made)


def missing_chunks(
    job: Job, inputs: list[dict[str, Any]], done: set[int], batch_size: int, advance: Callable[[int], None]
) -> Iterator[Chunk]:
    """The records of the shards that are not done. A shard is a batch of one file; numbers run through all files."""
    shard = 0
    for index, source in enumerate(job.sources):
        records = raw_records(source.path, advance)
        while (first := next(records, None)) is not None:
            batch = chain([first], islice(records, batch_size - 1))
            if shard in done:
                deque(batch, maxlen=0)
            else:
                file = inputs[index]["path"]
                for records_of_chunk, is_last in with_last(in_chunks(batch)):
                    yield Chunk(shard, index, file, source.video, records_of_chunk, is_last)
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


def checked(chunks: Iterable[EncodedChunk]) -> Iterator[EncodedChunk]:
    """The chunks, up to the first with a rejected record.

    Raises:
        DataError: a record was rejected.
    """
    for chunk in chunks:
        for entry in chunk.rejected:
            raise DataError(
                f"{entry['file']}:{entry['line']}: {entry['reason']}: {entry['detail']}",
                hint="--on-error reject lists such records in rejected.jsonl and goes on.",
            )
        yield chunk


def counted(output: Path, manifests: dict[int, dict[str, Any]], made: int) -> TokenizedFolder:
    counts = [manifest["counts"] for manifest in manifests.values()]
    rejected: Counter[str] = Counter()
    for count in counts:
        rejected.update(count["rejected"])
    totals = {name: sum(count[name] for count in counts) for name in ("read", "kept", "tokens", "taught")}
    return TokenizedFolder(output=str(output), shards=len(manifests), made=made, rejected=dict(rejected), **totals)
