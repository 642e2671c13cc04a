"""The Python files of an export: our own modules, put into one file each; so they have one source."""

import ast
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import NamedTuple

PACKAGE = "aurora_cli"
MODELING = "modeling_aurora"
SERVED = "modeling_llava"
"""Modules of an export."""
MODEL = "aurora_cli.export.remote.model"
LLAVA = "aurora_cli.export.remote.llava"
PROCESSOR = "aurora_cli.export.remote.processing_aurora"
INSTEAD = {"aurora_cli.config.merging": "aurora_cli.export.remote.merging"}
"""Modules that need more than torch and transformers, and what stands for them."""

_HEADING = '''"""{what} Written by `aurora convert`.

Modules of aurora_cli, one after the other, in one file; Apache-2.0.
"""
'''


def modeling_source() -> str:
    return _bundle(MODEL, "AuroraCap for transformers: LLaVA with a vision tower that merges tokens.")


def served_source() -> str:
    """The model once more, as a class of another name: it stands beside that module, and imports it.

    Raises:
        ValueError: it imports something else of ours.
    """
    text = _source(LLAVA)
    if text.count(PACKAGE) != 1 or f"from {MODEL} import" not in text:
        raise ValueError(f"{LLAVA} imports more of ours than {MODEL}")
    return text.replace(f"from {MODEL} import", f"from .{MODELING} import")


def processing_source() -> str:
    return _bundle(PROCESSOR, "The processor of an AuroraCap export: images as in training, a placeholder a frame.")


@cache
def _bundle(root: str, what: str) -> str:
    """The text of the file.

    Raises:
        ValueError: two modules define the same name, which one file cannot hold; or one uses a module of ours otherwise
            than by its attributes.
    """
    modules: list[str] = []
    _visit(root, modules)
    imports: dict[str, set[str]] = {}
    bodies: list[str] = []
    owners: dict[str, str] = {}
    for module in modules:
        text = _source(module)
        tree = ast.parse(text)
        for name in _defined(tree):
            if owners.setdefault(name, module) != module:
                raise ValueError(f"{name} is defined in {owners[name]} and in {module}")
        for node in tree.body:
            _note_import(node, imports)
        bodies.append(f"# --- {module}\n\n" + _body(text, tree))
    plain = [f"import {name}" for name in sorted(imports.pop("", ()))]
    named = [f"from {module} import {', '.join(sorted(found))}" for module, found in sorted(imports.items())]
    return "\n".join([_HEADING.format(what=what), *plain, "", *named, "", "", "\n\n".join(bodies)])


def _visit(module: str, order: list[str]) -> None:
    """Append `module` behind all that it imports of us."""
    module = INSTEAD.get(module, module)
    if module in order:
        return
    for node in ast.parse(_source(module)).body:
        for needed in _own_imports(node):
            _visit(needed, order)
    order.append(module)


def _own_imports(node: ast.stmt) -> list[str]:
    if not isinstance(node, ast.ImportFrom) or not (node.module or "").startswith(PACKAGE):
        return []
    submodules = [f"{node.module}.{alias.name}" for alias in node.names]
    if all(_exists(submodule) for submodule in submodules):  # `from aurora_cli.models import packed_attention`
        return submodules
    return [node.module or ""]


def _body(text: str, tree: ast.Module) -> str:
    """A module's text without its docstring and imports, the attributes of modules of ours as plain names.

    Text is cut out where the syntax tree says, so that comments, strings and formatting stay as they are.
    """
    lines = [line.encode() for line in text.splitlines()]  # the tree counts columns in bytes
    for prefix in _prefixes(tree, _imported_modules(tree)):
        line = lines[prefix.line]
        if line[prefix.column : prefix.end_column] != f"{prefix.module}.".encode():
            # Before Python 3.12 the tree does not know where in an f-string an expression stands.
            raise ValueError(f"line {prefix.line + 1}: {prefix.module}. is not where the syntax tree says: {line!r}")
        lines[prefix.line] = line[: prefix.column] + line[prefix.end_column :]
    for index, node in enumerate(tree.body):
        is_docstring = index == 0 and isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
        if is_docstring or isinstance(node, ast.Import | ast.ImportFrom):
            lines[node.lineno - 1 : node.end_lineno] = [b""] * ((node.end_lineno or node.lineno) - node.lineno + 1)
    return b"\n".join(lines).decode().strip() + "\n"


class _Span(NamedTuple):
    line: int
    column: int
    end_column: int
    module: str


def _imported_modules(tree: ast.Module) -> set[str]:
    """Names that stand for modules of ours: `packed_attention` of `from aurora_cli.models import packed_attention`."""
    return {
        alias.name
        for node in tree.body
        if isinstance(node, ast.ImportFrom) and _own_imports(node) not in ([], [node.module])
        for alias in node.names
    }


def _prefixes(tree: ast.Module, modules: set[str]) -> list[_Span]:
    """Where `module.` stands before an attribute, the last of a line first.

    Raises:
        ValueError: a module's name stands where no attribute of it follows.
    """
    spans: list[_Span] = []
    in_attributes: set[ast.expr] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id in modules:
            in_attributes.add(node.value)
            end_column = (node.end_col_offset or 0) - len(node.attr.encode())
            spans.append(_Span(node.value.lineno - 1, node.value.col_offset, end_column, node.value.id))
    for node in ast.walk(tree):
        if not isinstance(node, ast.Name) or not isinstance(node.ctx, ast.Load):
            continue
        if node.id in modules and node not in in_attributes:
            raise ValueError(f"line {node.lineno}: {node.id} is a module, which one file has not")
    return sorted(spans, reverse=True)


def _defined(tree: ast.Module) -> list[str]:
    names: list[str] = []
    for node in tree.body:
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            names.append(node.name)
        elif isinstance(node, ast.Assign):
            names += [target.id for target in node.targets if isinstance(target, ast.Name)]
        elif isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
            names.append(node.target.id)
    return names


def _note_import(node: ast.stmt, imports: dict[str, set[str]]) -> None:
    """Add what a statement imports from others than us; "" gathers plain imports."""
    if isinstance(node, ast.Import):
        imports.setdefault("", set()).update(ast.unparse(alias) for alias in node.names)
    elif isinstance(node, ast.ImportFrom) and not _own_imports(node):
        imports.setdefault(node.module or "", set()).update(ast.unparse(alias) for alias in node.names)


def _exists(module: str) -> bool:
    try:
        return find_spec(module) is not None
    except ModuleNotFoundError:
        return False


def _source(module: str) -> str:
    spec = find_spec(module)
    if spec is None or spec.origin is None:
        raise ValueError(f"{module} has no source")
    return Path(spec.origin).read_text(encoding="utf-8")
