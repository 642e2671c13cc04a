"""`import aurora_cli`: what it exports, that a type checker sees it, and that it costs nothing until it is used."""

import importlib
import inspect
import json
import subprocess
import sys
from pathlib import Path

import pytest

import aurora_cli
from aurora_cli import errors

PACKAGE = Path(aurora_cli.__file__).parent


def test_every_public_name_is_there_and_documented() -> None:
    assert sorted([*aurora_cli.HOMES, "__version__"]) == aurora_cli.__all__ == dir(aurora_cli)
    for name, home in aurora_cli.HOMES.items():
        public = getattr(aurora_cli, name)
        assert public is getattr(importlib.import_module(home), name)
        if inspect.isclass(public) or inspect.isfunction(public):
            assert (public.__doc__ or "").strip(), name


def test_every_parameter_and_result_of_a_public_function_has_a_type() -> None:
    functions = [aurora_cli.load_captioner, aurora_cli.load_model, aurora_cli.num_visual_tokens]
    functions += [aurora_cli.open_store, aurora_cli.recorded_origins, aurora_cli.Captioner.caption]
    for function in functions:
        signature = inspect.signature(function)
        assert signature.return_annotation is not inspect.Signature.empty
        for parameter in signature.parameters.values():
            assert parameter.name == "self" or parameter.annotation is not inspect.Parameter.empty, function


def test_the_errors_of_the_command_line_are_those_of_the_api() -> None:
    for name in ("AuroraError", "UsageError", "DataError", "HostError"):
        assert getattr(aurora_cli, name) is getattr(errors, name)


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="has no attribute 'caption_everything'"):
        _ = aurora_cli.caption_everything


@pytest.mark.slow
def test_only_what_needs_torch_imports_it() -> None:
    probe = (
        "import sys, aurora_cli; aurora_cli.TokenMerging(), aurora_cli.DataError, aurora_cli.Caption; "
        "aurora_cli.num_visual_tokens(378, 378), aurora_cli.open_store, aurora_cli.recorded_origins; "
        "print('torch' in sys.modules); aurora_cli.load_captioner; print('torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", probe], capture_output=True, text=True, check=True, timeout=120)
    assert done.stdout.split() == ["False", "True"]


USE = """
from pathlib import Path
import aurora_cli

captioner = aurora_cli.load_captioner("export", token_merging=aurora_cli.TokenMerging(kept_ratio=0.5))
captions = captioner.caption([Path("a.png"), "b.mp4", ["1.png", "2.png"]], prompt="What?", temperature=0.5)
reveal_type(captions[0].caption)
reveal_type(captions[0].visual_tokens)
reveal_type(aurora_cli.num_visual_tokens(378, 378))
reveal_type(aurora_cli.open_store("store").rows([0])[0].id)
captioner.caption("a.png", promt="What?")
"""


@pytest.mark.slow
def test_a_type_checker_sees_the_types_of_the_package(tmp_path: Path) -> None:
    assert (PACKAGE / "py.typed").is_file()
    (tmp_path / "use.py").write_text(USE)
    checker = Path(sys.executable).with_name("pyrefly")
    package = ["--python-interpreter-path", sys.executable, "--search-path", PACKAGE.parent]
    command = [checker, "check", *package, "--output-format", "json", "use.py"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=300)
    found = json.loads(done.stdout)["errors"]
    revealed = [each["description"] for each in found if each["name"] == "reveal-type"]
    assert [message.removeprefix("revealed type: ") for message in revealed] == ["str", "int", "int", "str"]
    assert ["promt" in each["description"] for each in found if each["severity"] == "error"] == [True], found
