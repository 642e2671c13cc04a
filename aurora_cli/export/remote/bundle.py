"""`modeling_aurora.py`: our model's own modules put into one file, so that there is only one source of them."""

import ast
import re
from functools import cache
from importlib.util import find_spec
from pathlib import Path

PACKAGE = "aurora_cli"
ROOT = "aurora_cli.export.remote.model"
INSTEAD = {"aurora_cli.config.merging": "aurora_cli.export.remote.merging"}
"""Modules that need more than torch and transformers, and what stands for them."""

_HEADING = '''"""AuroraCap for transformers: LLaVA with a vision tower that merges tokens. Written by `aurora convert`.

The modules of aurora_cli that make up the model, one after the other, in one file; Apache-2.0.
"""
'''


@cache
def bundle() -> str:
    """The text of the file.

    Raises:
        ValueError: two modules define the same name, which one file cannot hold.
    """
    modules: list[str] = []
    _visit(ROOT, modules)
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
    return "\n".join([_HEADING, *plain, "", *named, "", "", "\n\n".join(bodies)])


def processing_source() -> str:
    return _source("aurora_cli.export.remote.processing_aurora")


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
    """A module's text without its docstring and imports, its own modules' attributes as plain names."""
    lines = text.splitlines()
    inlined: list[str] = []
    for index, node in enumerate(tree.body):
        is_docstring = index == 0 and isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
        if is_docstring or isinstance(node, ast.Import | ast.ImportFrom):
            lines[node.lineno - 1 : node.end_lineno] = [""] * ((node.end_lineno or node.lineno) - node.lineno + 1)
        if isinstance(node, ast.ImportFrom) and len(_own_imports(node)) and _own_imports(node) != [node.module]:
            inlined += [alias.name for alias in node.names]
    body = "\n".join(lines).strip() + "\n"
    for name in inlined:
        body = re.sub(rf"\b{name}\.(?=\w)", "", body)
    return body


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
