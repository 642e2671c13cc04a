"""docs/reference/record-keys.md: of every schema the keys that are read, not needed, warned of and rejected."""

from aurora_cli.data.annotations.keys import ABOUT, KINDS, KeyTable
from aurora_cli.data.annotations.schemas import SCHEMAS

ABOUT_THIS = """
Which keys of a record `tokenize`, `inspect` and `train` go by, for every [schema](../preparing-text.md#schemas). No key
that changes what a model learns is passed over in silence:

- **read**: its value is used. Records are counted by the keys of media, times, weights and roles that were read.
- **not needed**: it says nothing that training could use.
- **warned of**: it is not read; records that have it are counted, and the key is named in the output of `inspect` and
  `tokenize`.
- **rejected**: it changes what would be learnt, in a way that is not read. The record is in `rejected.jsonl` as
  `unread_key`.

The counts stand in the output, in `--json` and in each shard's manifest (`keys_read`, `keys_warned`). A key whose value
is null or empty is as good as absent.
""".strip()

OF_OTHERS = """
A key that is in no table is passed over, unless a word of its name says that it may matter; then it is warned of. The
words (`img_file` has two):
""".strip()


def page(generated: str) -> str:
    """The whole page; `generated` is its first line."""
    lines = [generated, "# Record keys", "", ABOUT_THIS]
    for schema in SCHEMAS.values():
        lines += ["", f"## {schema.name}", "", f"Recognised by `{schema.sign}`.", "", "```text", schema.form, "```"]
        lines += ["", *table(schema.keys)]
        for name, keys in schema.inner_keys.items():
            lines += ["", f"### {schema.name}: a {name}", "", *table(keys)]
    lines += ["", "## Other keys", "", OF_OTHERS, "", "| looks like | words |", "| --- | --- |"]
    lines += [f"| a {kind} | {quoted(words)} |" for kind, words in KINDS.items()]
    lines += ["", "Not if another word says that it is about such a thing, and not one:", "", f"{quoted(ABOUT)}."]
    return "\n".join(lines) + "\n"


def table(keys: KeyTable) -> list[str]:
    """The keys of one object, as rows."""
    rows = [f"| {', '.join(f'`{name}`' for name in key.names)} | {key.use} | {key.meaning} |" for key in keys.keys]
    return ["| key | | |", "| --- | --- | --- |", *rows]


def quoted(words: str) -> str:
    return ", ".join(f"`{word}`" for word in words.split())
