"""What `aurora caption` shall do, known before weights are read."""

from collections.abc import Sequence

from aurora_cli.captioning.job.merge_parts import check_replaceable
from aurora_cli.captioning.job.output import check_output
from aurora_cli.captioning.job.parts import Part, check_count, hash_of_names
from aurora_cli.captioning.job.request import CaptionRequest, named_rows
from aurora_cli.captioning.job.rows import Row, RowReader
from aurora_cli.checkpoints.locate import check_name
from aurora_cli.config.settings import Settings
from aurora_cli.config.share import ALL, Share
from aurora_cli.config.workspace import Workspace
from aurora_cli.console import Reporter
from aurora_cli.data.media.remote.roots import lookups_of
from aurora_cli.errors import UsageError
from aurora_cli.io.atomic import sha256_of
from aurora_cli.io.urls import is_url
from aurora_cli.runs.find import find_model
from aurora_cli.storage.copies import local_copy

HOST = "127.0.0.1"
"""Where the page is served: this machine alone reaches it."""


def resolve_request(settings: Settings, reporter: Reporter, share: Share | None = None) -> CaptionRequest:
    """What the settings ask for, or a share of it.

    Raises:
        UsageError: no media, a URL that was not allowed, a folder without any, or an output that holds something else.
        DataError: there is no such model, or no such list of media.
    """
    caption, workspace = settings.caption, Workspace(settings.workspace)
    rows = None
    if caption.manifest is not None:
        if caption.media:
            raise UsageError(f"media are named, and listed in {caption.manifest}", hint="Leave one of them out.")
        home = caption.manifest if is_url(caption.manifest) else None
        rows = RowReader(
            workspace.path(caption.manifest) if home is None else local_copy(home, reporter),
            workspace.root,
            allow_remote=caption.allow_remote,
            share=share or ALL,
            lookups=lookups_of(caption.media_root, workspace.root, reporter),
            home=home,
        )
    elif not caption.media:
        raise UsageError("no media are named", hint="aurora caption image.jpg clip.mp4 folder/")
    media = named_rows(caption.media, workspace.root, reporter, allow_remote=caption.allow_remote)
    model = resolve_model(settings, reporter)
    # into a bucket, it is a dry run that asks
    output = None if caption.output is None or is_url(caption.output) else workspace.path(caption.output)
    if output is not None:
        if rows is not None and output == rows.path:
            raise UsageError(f"{output}: is the list of media, and would be replaced", hint="Name another --output.")
        check_output(output)
    if share is None or is_url(caption.output):
        return CaptionRequest(model, media, output, rows)
    if output is None:
        raise UsageError("nothing says what the parts of several processes become", hint="--output captions.jsonl")
    part = Part(output, share, *_list_of(media, rows))
    check_count(part)
    check_replaceable(output)
    own = tuple(row for position, row in enumerate(media) if share.takes(position))
    return CaptionRequest(model, own, part.path, rows, part)


def _list_of(media: Sequence[Row], rows: RowReader | None) -> tuple[str, int | None]:
    """A hash of the list of all media, and how many they are where that is known."""
    if rows is not None:
        return sha256_of(rows.path), None
    return hash_of_names(row.medium.name for row in media), len(media)


def resolve_model(settings: Settings, reporter: Reporter) -> str:
    """The model that the settings name, else the workspace's own.

    Raises:
        DataError: there is no such model, or none at all.
    """
    workspace = Workspace(settings.workspace)
    name = settings.caption.model or str(find_model(workspace, reporter))
    check_name(name, workspace.root)
    return name


def page_url(port: int) -> str:
    """The address of the page of `--serve`."""
    return f"http://{HOST}:{port}/"
