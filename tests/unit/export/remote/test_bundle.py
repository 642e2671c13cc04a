"""The code that an export carries: one file, no aurora_cli, the same behaviour."""

import ast
import dataclasses
import sys

import pytest

from aurora_cli.config.merging import TokenMerging
from aurora_cli.export.remote import bundle, merging


def test_the_file_imports_only_torch_transformers_and_the_standard_library():
    tree = ast.parse(bundle.modeling_source())
    imported = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            imported |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            imported.add((node.module or "").split(".")[0])
    assert imported - sys.stdlib_module_names == {"torch", "transformers"}


def test_the_file_uses_nothing_that_it_does_not_define():
    source = bundle.modeling_source()
    namespace = {"__name__": "modeling_aurora", "__builtins__": __builtins__}
    exec(compile(source, "modeling_aurora.py", "exec"), namespace)
    assert namespace["AuroraCapForImageTextToText"].__mro__[1] is namespace["AuroraCap"]
    assert "aurora_cli." not in source.replace("# --- aurora_cli.", "")


def test_merging_without_pydantic_has_the_same_fields_and_defaults():
    theirs = {field.name: field.default for field in dataclasses.fields(merging.TokenMerging)}
    assert theirs == {name: field.default for name, field in TokenMerging.model_fields.items()}
    changed = merging.TokenMerging().model_copy(update={"kept_ratio": 0.5})
    assert changed.model_dump() == TokenMerging(kept_ratio=0.5).model_dump()
    for wrong in ({"kept_ratio": 0.0}, {"kept_ratio": 1.5}, {"schedule": "other"}):
        with pytest.raises(ValueError, match="was expected"):
            merging.TokenMerging(**wrong)


def bundled(monkeypatch: pytest.MonkeyPatch, **sources: str) -> str:
    """The file of modules `aurora_cli.<name>`, `x` the root."""
    modules = {f"aurora_cli.{name}": text for name, text in sources.items()}
    monkeypatch.setattr(bundle, "_source", modules.__getitem__)
    monkeypatch.setattr(bundle, "_exists", modules.__contains__)
    return bundle._bundle.__wrapped__("aurora_cli.x", "x")


def test_a_modules_attributes_become_plain_names_and_what_looks_like_them_stays(monkeypatch):
    x = '''
from aurora_cli import y

TEXT = "é: y.A and so on"  # y.A is one
both = {"é": y.A, "sum": y.A + y.A}


class C:
    """Like y.A."""

    y = 3


def f(c):
    return c.y.real + y.B.real, f"{y.A} y.A"
'''
    namespace: dict[str, object] = {}
    text = bundled(monkeypatch, x=x, y="A = 1\nB = 2\n")
    assert 'TEXT = "é: y.A and so on"  # y.A is one\nboth = {"é": A, "sum": A + A}\n' in text
    assert '"""Like y.A."""' in text
    assert 'return c.y.real + B.real, f"{A} y.A"' in text
    exec(text, namespace)
    assert namespace["both"] == {"é": 1, "sum": 2}


def test_a_module_that_is_no_prefix_is_an_error(monkeypatch):
    with pytest.raises(ValueError, match="line 3: y is a module, which one file has not"):
        bundled(monkeypatch, x="from aurora_cli import y\n\nprint(y)\n", y="A = 1\n")


def test_a_name_that_two_modules_define_is_an_error(monkeypatch):
    with pytest.raises(ValueError, match=r"A is defined in aurora_cli\.y and in aurora_cli\.x"):
        bundled(monkeypatch, x="from aurora_cli.y import B\n\nA = 1\n", y="A = 2\nB = 3\n")
