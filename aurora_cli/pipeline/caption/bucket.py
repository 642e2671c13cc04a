"""Captions whose output is an object: written here, and put into the bucket when the command ends, however it ends."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from aurora_cli.captioning.job.merge_parts import merge_parts
from aurora_cli.captioning.job.parts import MERGED_FILE, SUFFIX, counts_in, parts_folder
from aurora_cli.config.settings import Settings
from aurora_cli.config.share import Share
from aurora_cli.console import Reporter
from aurora_cli.constants import REJECTS_FILE, SETTINGS_SUFFIX
from aurora_cli.errors import AuroraError, UsageError
from aurora_cli.io.urls import join, parent_of
from aurora_cli.pipeline.caption.result import CaptionResult
from aurora_cli.pipeline.caption_parts import PartsResult, parts_result, rejects_beside
from aurora_cli.pipeline.result import Result
from aurora_cli.storage.client import check_bucket
from aurora_cli.storage.copies import naming_urls
from aurora_cli.storage.errors import shown
from aurora_cli.storage.objects import list_objects, stat_if_there
from aurora_cli.storage.spool import Spool

Run = Callable[[Settings], Result]


class CaptionsInBucket:
    """The output of a command, its list of rejects and its settings, or the parts of it, in a bucket."""

    def __init__(self, url: str, workspace: Path) -> None:
        if url.endswith("/"):
            raise UsageError(f"{shown(url)}: is a folder", hint=f"--output {shown(url)}captions.jsonl")
        self.url = url
        self._spool = Spool(url, workspace, self._url_of)
        self.file = self._spool.file
        self._whole = (REJECTS_FILE, f"{self.file.name}{SETTINGS_SUFFIX}", self.file.name)

    def _url_of(self, name: str) -> str:
        return rejects_beside(self.url) if name == REJECTS_FILE else join(parent_of(self.url), name)

    @property
    def parts_url(self) -> str:
        return f"{self.url}{SUFFIX}/"

    def bring(self, *, in_parts: bool) -> None:
        """What is there of the output, to go on with it; of parts what says that they are whole, and those begun here.

        Raises:
            UsageError: it was not made in parts, and would be replaced by those that are.
            DataError: there is no such bucket.
        """
        check_bucket(self.url)
        if not in_parts:
            found = {name: stat_if_there(self._url_of(name)) for name in self._whole}
            self._spool.bring({name: known for name, known in found.items() if known is not None})
            return
        parts = list_objects(self.parts_url)
        if not parts and stat_if_there(self.url) is not None:
            raise UsageError(
                f"{shown(self.url)}: holds captions that were not made in shares, and would be replaced",
                hint="Name another --output, or go on without --shard.",
            )
        wanted = {name: known for name, known in parts.items() if name.endswith(".json") or self._is_begun(name)}
        self._spool.bring({f"{self.file.name}{SUFFIX}/{name}": known for name, known in wanted.items()})

    def bring_share(self, name: str) -> None:
        """What another machine has made of a share."""
        folder = f"{self.file.name}{SUFFIX}/"
        parts = list_objects(self.parts_url)
        self._spool.bring({folder + each: known for each, known in parts.items() if each.startswith(f"{name}.")})

    def _is_begun(self, name: str) -> bool:
        return (parts_folder(self.file) / name).is_file()

    def put(self) -> None:
        """Of parts what says that they are whole comes behind them; the output comes last."""
        folder = parts_folder(self.file)
        parts = sorted(folder.glob("*-of-*.*"), key=lambda path: (path.suffix == ".json", path.name))
        names = [f"{folder.name}/{path.name}" for path in parts if not path.name.startswith(".")]
        self._spool.put([*names, *self._whole])

    def merge(self) -> PartsResult | None:
        """The output, if all parts are in the bucket; none: there are parts of several numbers of shares."""
        counts = counts_in(parts_folder(self.file))
        if len(counts) != 1:
            return None
        (count,) = counts
        parts = list_objects(self.parts_url)
        receipts = [name for name in parts if name.endswith(f"-of-{count:05d}.json")]
        if len(receipts) == count:
            folder = f"{self.file.name}{SUFFIX}/"
            self._spool.bring({folder + name: known for name, known in parts.items() if name != MERGED_FILE})
        state = merge_parts(self.file, count)
        if state.is_whole:
            self.put()
        return replace(parts_result(self.file, state), output=self.url)


def caption_into_bucket(settings: Settings, url: str, run: Run, reporter: Reporter, share: Share | None) -> Result:
    """What `run` does with a file of this machine, whose content ends as an object.

    Raises:
        UsageError: the object and the file here were both changed since they were the same.
        HostError: the store cannot be reached.
    """
    in_parts = share is not None or (settings.caption.num_processes or 1) > 1
    output = CaptionsInBucket(url, settings.workspace)
    output.bring(in_parts=in_parts)
    if share is not None:
        output.bring_share(share.name)
    shard = None if share is None else str(share)  # said once what `auto` is
    caption = settings.caption.model_copy(update={"output": str(output.file.absolute()), "shard": shard})
    try:
        with naming_urls({output.file.absolute(): url}):
            result = run(settings.model_copy(update={"caption": caption}))
    except BaseException:
        try:
            output.put()
        except AuroraError as error:  # the other one says what happened
            reporter.warning(
                f"{error.message}; what was captioned is in {output.file}, and the same command puts it there"
            )
        raise
    output.put()
    if not isinstance(result, CaptionResult):
        return result
    if result.parts is None:
        return replace(result, output=url)
    return replace(result, output=output.parts_url, parts=output.merge() or result.parts)
