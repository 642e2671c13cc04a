"""The tables of schemas, templates and reasons in docs/preparing-text.md: docs/reference.py writes them."""

from collections.abc import Iterator
from pathlib import Path

from aurora_cli.data.annotations.records import REASONS
from aurora_cli.data.annotations.schemas import SCHEMAS, meaning_of
from aurora_cli.data.tokenization.templates import OWN_TEMPLATE, TEMPLATES, Template

PAGE = Path(__file__).parent / "preparing-text.md"
BOS, EOS = "<s>", "</s>"
"""Stand for the tokenizer's own."""
LINE_BREAK = "`\\n`"


def pages() -> dict[Path, str]:
    """The page, as it should be."""
    text = PAGE.read_text("utf-8")
    for name, rows in (("schemas", schemas()), ("templates", templates()), ("reasons", reasons())):
        begin, end = f"<!-- {name}: written by docs/preparing_text.py -->", f"<!-- {name}: end -->"
        before, _, rest = text.partition(begin)
        _, _, after = rest.partition(end)
        text = "\n".join([f"{before}{begin}", "", *rows, "", f"{end}{after}"])
    return {PAGE: text}


def schemas() -> Iterator[str]:
    yield from ("| `--schema` | recognised by | a record |", "| --- | --- | --- |")
    for schema in SCHEMAS.values():
        yield f"| `{schema.name}` | `{schema.sign}` | {code(schema.form)} |"


def templates() -> Iterator[str]:
    yield from (
        "| `--template` | a conversation becomes | target tokens (the rest is masked) |",
        "| --- | --- | --- |",
    )
    for name, template in TEMPLATES.items():
        end = code(EOS if template.end is None else template.end)
        yield f"| `{name}` | {', '.join(pieces(template, end))} | answer and {end} |"
    own = "what the tokenizer's own chat template makes of it"
    yield f"| `{OWN_TEMPLATE}` | {own} | answer and the token that ends its turn |"


def pieces(template: Template, end: str) -> Iterator[str]:
    """What a question and its answer become, in order."""
    begin = BOS if template.begin is None else template.begin
    if begin:
        yield code(begin) + (" (at every turn)" if template.begin_every_turn else "")
    yield (
        f"images and {LINE_BREAK} without the question's words"
        if template.images_only
        else code(template.prompt.replace("{text}", "…"))
    )
    yield from ("answer", end)
    if template.separator:
        yield code(template.separator)


def reasons() -> Iterator[str]:
    yield from ("| reason | meaning |", "| --- | --- |")
    for reason in REASONS:
        yield f"| `{reason}` | {meaning_of(reason)} |"


def code(text: str) -> str:
    """Text as code in a cell, a line break as `\\n`."""
    escaped = text.replace("|", "\\|").replace("\n", "\\n")
    return f"`{escaped}`"
