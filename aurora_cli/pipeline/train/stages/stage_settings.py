"""A stage's settings with what its weights and its data say of themselves."""

import contextlib
from pathlib import Path

from aurora_cli.checkpoints.locate import locate_description
from aurora_cli.checkpoints.stated.captioners import StatedModel, read_captioner
from aurora_cli.config.resolve import PRESET, Resolved
from aurora_cli.config.workspace import Workspace
from aurora_cli.data.token_store.manifest import StoreManifest
from aurora_cli.data.token_store.schema import MANIFEST
from aurora_cli.errors import AuroraError, UsageError
from aurora_cli.pipeline import own_parts
from aurora_cli.pipeline.own_parts import CONFIGS, FLAGS, PACK_TOKENS, TEMPLATE, OwnSettings
from aurora_cli.pipeline.train.data_folders import find_data
from aurora_cli.pipeline.train.plan import find_resume, run_folder
from aurora_cli.pipeline.train.stages.as_begun import take_as_begun
from aurora_cli.pipeline.train.start import find_start
from aurora_cli.runs.layout import RESUME_FOLDER, STATE_FILE
from aurora_cli.runs.metadata import TrainState


def stage_settings(resolved: Resolved) -> OwnSettings:
    """What the stage trains with: what it starts from or goes on from wins over the preset, and so do the texts.

    Raises:
        UsageError: parts of the network are named that the weights do not have, or that cannot be its parts.
        DataError: the files of the parts are missing or damaged.
    """
    own = own_parts.with_parts(resolved)
    resume, start = _weights(own)
    captioner = None
    if resume is not None:
        captioner = read_captioner(resume)
    elif start is not None:
        captioner = read_captioner(locate_description(start, own.settings.workspace))
    if captioner is None:
        own_parts.check_both(own)
        own_parts.take_text(own)
        own_parts.take_packs(own, own_parts.take_pixels(own))
    else:
        _check_parts(own, captioner)
        own_parts.take_captioner(own, captioner)
        if own_parts.has_own_parts(own):
            _take_packs(own, resume)
    _take_template_of_data(own)
    take_as_begun(own)
    return own


def _weights(own: OwnSettings) -> tuple[Path | None, str | None]:
    """The checkpoint that the stage goes on from; else the captioner that it starts from, as its name. Neither: two
    models, or chance, or something is missing, which the plan says with all else that is in the way."""
    settings, workspace = own.settings, Workspace(own.settings.workspace)
    run_dir = run_folder(settings)
    with contextlib.suppress(AuroraError):
        if (resume := find_resume(settings, workspace, run_dir)) is not None:
            return resume, None
        start = find_start(settings, workspace, run_dir)
        if start.kind == "checkpoint":
            assert isinstance(start.base, str)
            return None, start.base
    return None, None


def _take_packs(own: OwnSettings, resume: Path | None) -> None:
    """Packs of a captioner's own parts; a run that goes on keeps those that it began with."""
    if resume is None:
        with contextlib.suppress(AuroraError):  # a foreign captioner need not say where its parts came from
            own_parts.take_packs(own, own_parts.tower_of(own), PRESET + 1)
        return
    state = resume / RESUME_FOLDER / STATE_FILE
    began = TrainState.read(state).recipe.get(PACK_TOKENS)
    if isinstance(began, int):
        own.take(PACK_TOKENS, began, str(state), PRESET + 1)


def _check_parts(own: OwnSettings, captioner: StatedModel) -> None:
    """
    Raises:
        UsageError: another part is named than the weights have, which would change nothing.
    """
    workspace = Workspace(own.settings.workspace)
    for part, config in CONFIGS.items():
        named, of_weights = str(own.value(part)), getattr(captioner.model, part.partition(".")[2])
        described = getattr(captioner.model, config.partition(".")[2])
        if own.resolved.rank(part) <= PRESET or not (of_weights or described):
            continue
        if described is not None and own.resolved.rank(config) >= own.resolved.rank(part):
            continue  # who named the part described a random one, too
        if described is not None or workspace.path(named).resolve() != workspace.path(of_weights).resolve():
            raise UsageError(
                f"{part}: {named} (from {own.resolved.origin(part)}) would do nothing: the stage starts from weights "
                f"whose {part.partition('.')[2].replace('_', ' ')} is {of_weights or 'a random one'} "
                f"({captioner.source})",
                hint=f"Leave {FLAGS[part]} out; or begin with the first stage, in another place by --run-dir.",
            )


def _take_template_of_data(own: OwnSettings) -> None:
    """Texts are asked for as they were written, unless somebody says otherwise, which the rows then have to fit."""
    if own.resolved.rank(TEMPLATE) > PRESET:
        return
    with contextlib.suppress(AuroraError):  # said by the plan
        folders = find_data(own.settings, Workspace(own.settings.workspace))
        written = {StoreManifest.read(one.folder / MANIFEST).template for one in folders}
        if len(written) == 1:
            own.put(TEMPLATE, written.pop(), f"{folders[0].folder} was written with it")
