"""`aurora tokenize` as it is typed: template and length come from the language model, where one is named."""

import contextlib

from aurora_cli.config.resolve import PRESET, Resolved
from aurora_cli.config.workspace import Workspace
from aurora_cli.console import SILENT, Reporter
from aurora_cli.data.token_store.folder import shard_manifests
from aurora_cli.data.tokenization.templates import OWN_TEMPLATE
from aurora_cli.data.tokenization.tokenizer import load_tokenizer
from aurora_cli.errors import AuroraError
from aurora_cli.pipeline import own_parts
from aurora_cli.pipeline.own_parts import TEMPLATE, TOKENIZER, OwnSettings
from aurora_cli.pipeline.tokenize import command
from aurora_cli.pipeline.tokenize.command import TokenizeResult
from aurora_cli.pipeline.tokenize.jobs import plan_jobs


def run(resolved: Resolved, reporter: Reporter = SILENT, *, dry_run: bool = False) -> TokenizeResult:
    """Tokenize; exceptions are those of `tokenize.command.run`, and those of the language model's files."""
    own = own_parts.with_parts(resolved)
    own_parts.take_text(own)
    _take_template_of_shards(own)
    for line in own.lines():
        reporter.info(line)
    if (note := _unused_template(own)) is not None:
        reporter.info(note)
    return command.run(own.settings, reporter, dry_run=dry_run)


def _take_template_of_shards(own: OwnSettings) -> None:
    """A folder that was begun is finished in the template that it was begun with, unless somebody says another."""
    step, workspace = own.settings.tokenize, Workspace(own.settings.workspace)
    if own.resolved.rank(TEMPLATE) > PRESET or own.settings.tokenize.force:
        return
    with contextlib.suppress(AuroraError):  # said as they are made
        for job in plan_jobs(step, workspace):
            for manifest in shard_manifests(job.output).values():
                own.put(TEMPLATE, manifest.template, f"{job.output} was begun with it")
                return


def _unused_template(own: OwnSettings) -> str | None:
    """A line about a chat template that a tokenizer brings and that nobody has decided against."""
    name = own.settings.model.tokenizer
    if name is None or own.resolved.rank(TOKENIZER) <= PRESET or own.resolved.rank(TEMPLATE) > PRESET:
        return None
    folder = Workspace(own.settings.workspace).path(name)
    template = own.settings.tokenize.template
    if template == OWN_TEMPLATE or not folder.is_dir() or load_tokenizer(folder).chat_template is None:
        return None
    return f"template: {template}; {name} has one of its own, which --template {OWN_TEMPLATE} takes"
