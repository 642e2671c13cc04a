"""docs/reference/python-api.md: signatures and docstrings of the names that `aurora_cli` exports.

Read from the source, not imported: the page is the same under every Python, and needs no torch. Examples in docstrings
(their `Example:`) become Python blocks, which the tests run like those of every page.
"""

import ast
import textwrap
from collections.abc import Iterator, Mapping, Sequence
from itertools import chain, takewhile
from pathlib import Path

import aurora_cli

ROOT = Path(__file__).parents[1]

GROUPS: dict[str, tuple[str, ...]] = {
    "Captioning": ("load_captioner", "Captioner", "Caption", "Uncaptioned", "Media"),
    "The network": ("load_model", "TokenMerging", "num_visual_tokens"),
    "Data": ("open_store", "TokenStore", "Row", "Summary", "recorded_origins", "Origin"),
    "Errors": ("AuroraError", "UsageError", "DataError", "HostError"),
}
MEMBERS = {"Captioner": ("caption",), "TokenStore": ("rows", "summary", "media_root")}
"""Of a class that has more than its users need: the members that are public."""

Documented = ast.Module | ast.ClassDef | ast.FunctionDef


def page(generated: str) -> str:
    """The page's text, which begins with `generated`.

    Raises:
        ValueError: a public name stands in no group, or the other way round.
    """
    grouped = [name for names in GROUPS.values() for name in names]
    if sorted(grouped) != sorted(aurora_cli.HOMES):
        raise ValueError(
            f"docs/python_api.py: {sorted({*grouped} ^ {*aurora_cli.HOMES})}: exported or grouped, not both"
        )
    lines = [generated, "# Python API", "", *_text(ast.parse(_source("aurora_cli")))]
    for group, names in GROUPS.items():
        lines += ["", f"## {group}"]
        for name in names:
            lines += ["", f"### {name}", "", *_entry(name)]
    return "\n".join(lines) + "\n"


def _source(module: str) -> str:
    path = ROOT / Path(*module.split("."))
    file = path / "__init__.py" if path.is_dir() else path.with_suffix(".py")
    return file.read_text("utf-8")


def _entry(name: str) -> Iterator[str]:
    body = ast.parse(_source(aurora_cli.HOMES[name])).body
    for number, node in enumerate(body):
        match node:
            case ast.FunctionDef(name=found) if found == name:
                yield from _function(node, f"aurora_cli.{name}")
                return
            case ast.ClassDef(name=found) if found == name:
                yield from _class(node, _choices(body))
                return
            case ast.AnnAssign(target=ast.Name(id=found), value=ast.expr() as value) if found == name:
                yield from ["```text", f"{name} = {ast.unparse(value)}", "```", ""]
                yield from _markdown(_docstring_behind(body, number))
                return
    raise ValueError(f"{aurora_cli.HOMES[name]} has no {name} at its top")


def _class(node: ast.ClassDef, choices: Mapping[str, str]) -> Iterator[str]:
    yield from _text(node)
    functions = [member for member in node.body if isinstance(member, ast.FunctionDef)]
    properties = [each for each in functions if any(ast.unparse(one) == "property" for one in each.decorator_list)]
    rows = [*_fields(node, choices), *((each.name, _type(each.returns), "", _docstring(each)) for each in properties)]
    if rows:
        yield from ["", "| attribute | type | default | what it is |", "| --- | --- | --- | --- |"]
        yield from (f"| `{name}` | `{cell(kind)}` | {default} | {cell(text)} |" for name, kind, default, text in rows)
    wanted = MEMBERS.get(node.name)
    for method in functions:
        public = not method.name.startswith("_") if wanted is None else method.name in wanted
        if public and method not in properties:
            yield from ["", f"#### {node.name}.{method.name}", "", *_function(method, f"{node.name}.{method.name}")]


def _fields(node: ast.ClassDef, choices: Mapping[str, str]) -> Iterator[tuple[str, str, str, str]]:
    """Name, type, default and docstring of each annotated attribute."""
    for number, field in enumerate(node.body):
        if isinstance(field, ast.AnnAssign) and isinstance(field.target, ast.Name):
            kind, text = _type(field.annotation), _docstring_behind(node.body, number)
            yield field.target.id, choices.get(kind, kind), _default(field.value), " ".join(text.split())


def _choices(body: Sequence[ast.stmt]) -> dict[str, str]:
    """The module's names for closed choices, imported ones too: `Schedule` -> `Literal['exact', 'constant']`."""
    homes = [node.module or "" for node in body if isinstance(node, ast.ImportFrom)]
    theirs = [ast.parse(_source(home)).body for home in homes if home.startswith("aurora_cli.")]
    return {
        node.targets[0].id: ast.unparse(node.value)
        for node in chain(*theirs, body)
        if isinstance(node, ast.Assign)
        and isinstance(node.targets[0], ast.Name)
        and ast.unparse(node.value).startswith("Literal[")
    }


def _function(node: ast.FunctionDef, name: str) -> Iterator[str]:
    yield from ["```text", *_signature(node, name), "```", ""]
    yield from _text(node)


def _signature(node: ast.FunctionDef, name: str) -> Iterator[str]:
    """On one line if it fits, else a parameter a line."""
    parameters = list(_parameters(node.args))
    result = f") -> {_type(node.returns)}"
    whole = f"{name}({', '.join(parameters)}{result}"
    if len(whole) <= 100:
        yield whole
        return
    yield f"{name}("
    yield from (f"    {parameter}," for parameter in parameters)
    yield result


def _parameters(arguments: ast.arguments) -> Iterator[str]:
    positional = [each for each in arguments.args if each.arg != "self"]
    missing = len(positional) - len(arguments.defaults)
    defaults: Sequence[ast.expr | None] = [None] * missing + list(arguments.defaults)
    yield from (_parameter(each, default) for each, default in zip(positional, defaults, strict=True))
    if arguments.kwonlyargs:
        yield "*"
    yield from (_parameter(*pair) for pair in zip(arguments.kwonlyargs, arguments.kw_defaults, strict=True))


def _parameter(argument: ast.arg, default: ast.expr | None) -> str:
    return f"{argument.arg}: {_type(argument.annotation)}" + (f" = {ast.unparse(default)}" if default else "")


def _type(annotation: ast.expr | None) -> str:
    if isinstance(annotation, ast.Constant) and isinstance(annotation.value, str):
        return annotation.value
    return "None" if annotation is None else ast.unparse(annotation)


def _default(value: ast.expr | None) -> str:
    """A field's default; `Field(default=1.0, gt=0.0)` has it inside."""
    if isinstance(value, ast.Call):
        value = next((each.value for each in value.keywords if each.arg == "default"), None)
    return f"`{ast.unparse(value)}`" if value else ""


def _docstring_behind(body: Sequence[ast.stmt], number: int) -> str:
    match body[number + 1 : number + 2]:
        case [ast.Expr(value=ast.Constant(value=str(text)))]:
            return text
    return ""


def _docstring(node: Documented) -> str:
    return ast.get_docstring(node) or ""


def _text(node: Documented) -> list[str]:
    return _markdown(_docstring(node))


def _markdown(docstring: str) -> list[str]:
    """Sections become lists, an example a Python block, a doctest a block that shows it."""
    lines: list[str] = []
    for title, section in _sections(docstring):
        match title:
            case "Example:":
                lines += ["```python", *section, "```", ""]
            case "Args:" | "Raises:":
                lines += [f"**{'Parameters' if title == 'Args:' else 'Raises'}**", "", *_items(section), ""]
            case _ if section[0].startswith(">>>"):
                lines += ["```text", *section, "```", ""]
            case _:
                lines += [*section, ""]
    return lines[:-1]


def _sections(docstring: str) -> Iterator[tuple[str, list[str]]]:
    """Each section's title and its lines, dedented; a paragraph has no title."""
    lines = docstring.strip().splitlines()
    while lines:
        if lines[0] in ("Args:", "Raises:", "Example:"):
            body = list(takewhile(lambda line: not line or line.startswith("    "), lines[1:]))
            yield lines[0], textwrap.dedent("\n".join(body)).strip().splitlines()
            lines = lines[1 + len(body) :]
        else:
            paragraph = list(takewhile(bool, lines))
            if paragraph:
                yield "", paragraph
            lines = lines[len(paragraph) + 1 :]


def _items(lines: Sequence[str]) -> Iterator[str]:
    """`name: text`, with what is indented deeper belonging to the line before."""
    for line in lines:
        name, colon, text = line.partition(": ")
        if line.startswith(" ") or not colon:
            yield f"  {line.strip()}"
        else:
            yield f"- `{name}`: {text}"


def cell(text: str) -> str:
    """A text in a table of Markdown."""
    return text.replace("|", "\\|").replace("<", "&lt;")
