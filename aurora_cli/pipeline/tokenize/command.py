"""`aurora tokenize`: annotation files to shards of token ids.

    DIR/shards/part-00000/  a `datasets` folder, with manifest.json, summary.arrow, rejected.jsonl
    DIR/rejected.jsonl      the rejects of all shards
    DIR/tokenizer.json      what the ids mean
    DIR/tokenize.json       written last: how many shards there are

A shard holds one batch of records of one file, and is whole or absent: a run goes on where another one stopped.
"""

import hashlib
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path

from aurora_cli.config.settings import Settings
from aurora_cli.config.share import ALL, Share, shares_named, take_share
from aurora_cli.config.workspace import Workspace
from aurora_cli.console import SILENT, Reporter
from aurora_cli.constants import REJECTS_FILE
from aurora_cli.data.annotations.files import check_records
from aurora_cli.data.annotations.keys import key_lines
from aurora_cli.data.annotations.schemas import check_schema
from aurora_cli.data.annotations.unread_files import unread_files
from aurora_cli.data.token_store.entries import Counts, SourceFile
from aurora_cli.data.token_store.folder import COMPLETE, MERGED, SHARDS, is_complete, shard_manifests
from aurora_cli.data.token_store.manifest import TokenizeManifest
from aurora_cli.data.tokenization.encoder import Encoder
from aurora_cli.data.tokenization.pool import EncodingPool
from aurora_cli.data.tokenization.templates import OWN_TEMPLATE
from aurora_cli.data.tokenization.tokenizer import TextTokenizer, find_tokenizer
from aurora_cli.errors import EXIT_DATA, EXIT_OK, UsageError
from aurora_cli.io.atomic import sha256_of
from aurora_cli.io.locks import file_lock, lock_output
from aurora_cli.io.urls import is_url
from aurora_cli.pipeline.result import Result
from aurora_cli.pipeline.tokenize.jobs import OTHER_SPLIT, TokenizeJob, plan_jobs
from aurora_cli.pipeline.tokenize.shards import MadeShards, make_shards

NO_TURNS = "none is a conversation; captions and the like become records by `aurora import FILE`"
"""Said of files all of whose records are of no schema."""


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
    target_tokens: int
    spans: int
    """Kept records that are about a part of a video."""
    keys_read: dict[str, int]
    """Records by the keys of media, times, weights and roles that were read."""
    keys_warned: dict[str, int]
    """Records by the keys that look like one of these, and were not read."""
    animated: int = 0
    """Kept records with an image of several frames, with `--check-media`."""
    share: str | None = None
    """Of the shards, that this run was to make."""
    missing: tuple[int, ...] = ()
    """Shares that have shards to make yet. The counts are those of the shards that are there."""


@dataclass(frozen=True)
class TokenizeResult(Result):
    """What `aurora tokenize` did."""

    folders: tuple[TokenizedFolder, ...]
    seconds: float
    planned: tuple[str, ...] = ()
    """With --dry-run: what would be done."""
    unread: tuple[str, ...] = ()
    """Files that lie among the annotations and are not read, with what to type."""

    def lines(self) -> list[str]:
        if self.planned:
            return [*self.planned, *self.unread]
        lines = []
        for folder in self.folders:
            rejected = sum(folder.rejected.values())
            reasons = ", ".join(f"{reason} {count:,}" for reason, count in sorted(folder.rejected.items()))
            lines.append(
                f"{folder.output}: {folder.kept:,} of {folder.read:,} records in {folder.shards:,} shards, "
                f"{folder.tokens:,} tokens ({folder.target_tokens:,} target tokens)"
            )
            if rejected:
                lines.append(f"  rejected {rejected:,}: {reasons}; see {Path(folder.output, REJECTS_FILE)}")
            if folder.rejected and not folder.kept and {*folder.rejected} == {"no_conversation"}:
                lines.append(f"  {NO_TURNS}")
            lines += key_lines(folder.keys_read, folder.keys_warned)
            if folder.animated:
                lines.append(
                    f"  {folder.animated:,} have an image of several frames, and only the first is read; "
                    "where all are meant, the record has to say `video`"
                )
            if Path(folder.output).parent.name == OTHER_SPLIT:
                merged = Path(folder.output, MERGED)
                lines.append(
                    "  no stage finds this by itself: after `aurora merge-shards`, aurora train --stage STAGE "
                    f"--data {merged}; or tokenize it with --split STAGE"
                )
            if not folder.made:
                of_share = "" if folder.share is None else f" of share {folder.share}"
                lines.append(f"  nothing to do: all shards{of_share} are there")
            if folder.missing:
                shares = shares_named(folder.missing)
                lines.append(f"  not complete yet: {shares} of {(folder.share or '').partition('/')[2]} to come")
        return [*lines, *self.unread]

    @property
    def exit_code(self) -> int:
        """3 when of some folder's records not one could be used."""
        return EXIT_DATA if any(folder.read and not folder.kept for folder in self.folders) else EXIT_OK


def run(settings: Settings, reporter: Reporter = SILENT, *, dry_run: bool = False) -> TokenizeResult:
    """Tokenize the annotation files that the settings name, or all of the workspace's."""
    start = time.perf_counter()
    workspace = Workspace(settings.workspace)
    settings = with_media_root(settings)
    step = settings.tokenize
    share = take_share(step.shard, reporter)
    check_schema(step.record_schema)
    jobs = plan_jobs(step, workspace)
    for source in (source for job in jobs for source in job.sources):
        check_records(source.path)
    unread = () if step.inputs else unread_files(workspace.data, splits=step.splits, subsets=step.subsets)
    not_read = tuple(f"{file}. To read it: {file.hint}" for file in unread)
    name = settings.model.tokenizer or settings.model.language_model
    if dry_run:
        planned = tuple(line for job in jobs for line in preview(job, name, force=step.force))
        return TokenizeResult((), 0.0, planned, not_read)
    unfinished = [
        source.path for job in jobs if step.force or not (job.output / COMPLETE).exists() for source in job.sources
    ]
    total_bytes = sum(path.stat().st_size for path in unfinished) // (1 if share is None else share.count)
    folders = []
    with EncodingPool(workers=step.workers, total_bytes=total_bytes) as pool:
        tokenizer = find_tokenizer(name, workspace)
        # Before all else: a template that the tokenizer cannot write must not cost the shards that are there.
        encoder = encoder_of(settings, tokenizer)
        if note := encoder.conversations.note():
            reporter.info(f"template: {note}")
        pool.use(encoder)
        for job in jobs:
            with _held(job.output, share):
                base = manifest_of(job, tokenizer, settings)
                made = make_shards(job, base, tokenizer.serialized, step, pool, reporter, share or ALL)
                folders.append(folder_of(job, made, share))
    return TokenizeResult(tuple(folders), round(time.perf_counter() - start, 3), unread=not_read)


def _held(output: Path, share: Share | None) -> AbstractContextManager[None]:
    """The folder for this process alone, or the share's work on it."""
    if share is None:
        return file_lock(output, "aurora tokenize")
    return lock_output(output / SHARDS / share.name, f"aurora tokenize --shard {share}")


def with_media_root(settings: Settings) -> Settings:
    """The settings, `--check-media` looking where training would, if no other folder is named."""
    step = settings.tokenize
    if not step.check_media or step.media_root is not None or settings.train.media_root is None:
        return settings
    if is_url(root := settings.train.media_root):
        raise UsageError(
            f"--check-media: train.media_root is {root}, and only training reads media in a bucket",
            hint="Leave --check-media out: media that cannot be read are listed as training meets them.",
        )
    return settings.model_copy(update={"tokenize": step.model_copy(update={"media_root": Path(root)})})


def encoder_of(settings: Settings, tokenizer: TextTokenizer) -> Encoder:
    """The encoder that the settings describe."""
    step = settings.tokenize
    return Encoder(
        tokenizer,
        step.template,
        max_length=step.max_length,
        frames=step.frames,
        schema=step.record_schema,
        images_in_order=step.image_places == "kept",
    )


def preview(job: TokenizeJob, tokenizer: str, *, force: bool) -> Iterator[str]:
    """What a run would do with a folder, as lines."""
    present = shard_manifests(job.output)
    state = "complete" if is_complete(job.output, present) else f"{len(present)} shards are there"
    if force and present:
        state += ", all would be made again"
    yield f"would tokenize into {job.output} with {tokenizer} ({state}):"
    for source in job.sources:
        kind = ", lists of images are videos" if source.images_are_video else ""
        yield f"  {source.path} ({source.path.stat().st_size:,} bytes{kind})"


def manifest_of(job: TokenizeJob, tokenizer: TextTokenizer, settings: Settings) -> TokenizeManifest:
    """What the manifests of all the folder's shards say alike. Reads every input once, for its sha256."""
    workspace = Workspace(settings.workspace)
    step = settings.tokenize
    return TokenizeManifest(
        tokenizer=settings.model.tokenizer or settings.model.language_model,
        tokenizer_fingerprint=tokenizer.fingerprint,
        bos_token=tokenizer.bos_token,
        eos_token=tokenizer.eos_token,
        record_schema=step.record_schema,
        template=step.template,
        chat_template=chat_template_sha256(tokenizer) if step.template == OWN_TEMPLATE else None,
        max_length=step.max_length,
        frames=step.frames,
        image_places=step.image_places,
        batch_size=step.batch_size,
        check_media=step.check_media,
        inputs=tuple(
            SourceFile(
                path=workspace.relative(source.path),
                size=source.path.stat().st_size,
                sha256=sha256_of(source.path),
                frame_lists="clip" if source.images_are_video else "separate",
                media_root=None if step.media_root is None else workspace.relative(source.media_root),
            )
            for source in job.sources
        ),
        settings=step.model_dump(mode="json", exclude={"shard"}),
    )


def chat_template_sha256(tokenizer: TextTokenizer) -> str:
    """What tells the tokenizer's own template from another."""
    return hashlib.sha256((tokenizer.chat_template or "").encode()).hexdigest()


def folder_of(job: TokenizeJob, shards: MadeShards, share: Share | None) -> TokenizedFolder:
    """The result for one folder, from the manifests of its shards."""
    counts = Counts.total(manifest.counts for manifest in shards.manifests.values())
    return TokenizedFolder(
        output=str(job.output),
        shards=len(shards.manifests),
        made=shards.made,
        share=None if share is None else str(share),
        missing=shards.missing,
        read=counts.read,
        kept=counts.kept,
        rejected=counts.rejected,
        tokens=counts.tokens,
        target_tokens=counts.target_tokens,
        spans=counts.spans,
        keys_read=counts.keys_read,
        keys_warned=counts.keys_warned,
        animated=counts.animated,
    )
