"""The code that an export carries: one file, no aurora_cli, the same behaviour."""

import ast
import dataclasses
import sys

import pytest

from aurora_cli.config.merging import TokenMerging
from aurora_cli.export.remote import bundle, merging


def test_the_file_imports_only_torch_transformers_and_the_standard_library():
    tree = ast.parse(bundle.bundle())
    imported = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            imported |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            imported.add((node.module or "").split(".")[0])
    assert imported - sys.stdlib_module_names == {"torch", "transformers"}


def test_the_file_uses_nothing_that_it_does_not_define():
    source = bundle.bundle()
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


def test_a_name_that_two_modules_define_is_an_error(monkeypatch):
    sources = {"aurora_cli.x": "from aurora_cli.y import B\n\nA = 1\n", "aurora_cli.y": "A = 2\nB = 3\n"}
    monkeypatch.setattr(bundle, "_source", sources.__getitem__)
    monkeypatch.setattr(bundle, "ROOT", "aurora_cli.x")
    with pytest.raises(ValueError, match=r"A is defined in aurora_cli\.y and in aurora_cli\.x"):
        bundle.bundle.__wrapped__()
