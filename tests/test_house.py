"""The house holds its own rules: rooms that fit one look, the field's words, typed values at every door.

The arrows between rooms are import-linter's (`make lint`). What is here are the rules that it does not know.
"""

import ast
import io
import re
import statistics
import tokenize
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "aurora_cli"
MODULES = sorted(PACKAGE.rglob("*.py"))
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]

ROOM_FILES = 15
MEDIAN_LINES = 140

FIELDS_WORD = {
    "taught": "target tokens, label mask",
    "untaught": "ignored by the loss",
    "sentinel": "placeholder token",
    "picture": "image",
    "clip": "video",
    "watcher": "callback",
    "held_out": "validation",
    "reckon": "estimate",
    "reckoning": "cost estimate",
    "dog": "watchdog",
    "bark": "on_timeout",
    "told_norm": "guard_grad_norm",
    "usual_loss": "loss_ema",
    "settle": "commit",
    "settler": "group commit",
    "settling": "group commit",
    "whole_file": "atomic_write",
    "whole_folder": "atomic_directory",
    "written_out": "render",
    "together": "collectives",
    "meet": "rendezvous",
    "told": "message",
    "said": "message",
    "asked": "request",
    "mine": "local",
    "chosen": "selected",
    "place": "path, position, link",
    "placed": "rendered",
    "stretch": "segment",
    "deaf": "ignore",
}
"""Words that were private to this house, and what everybody else calls the thing."""

KEPT = re.compile(
    r"clip_prompt|clip_subsets|frame-lists clip|--frame-lists[ =]clip|clip\.mp4"
    r"|image_places|--image-places"
    r"|clip_grad|clip_vision|np\.clip|\.clip\(|gradient_clipping|clipping"
)
"""Settings, file names and other people's names that keep the word."""


def relative(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def test_no_room_has_more_files_than_a_screen_holds() -> None:
    rooms = {}
    for module in MODULES:
        rooms[relative(module.parent)] = rooms.get(relative(module.parent), 0) + (module.name != "__init__.py")
    assert {room: files for room, files in rooms.items() if files > ROOM_FILES} == {}


def test_the_usual_file_is_short() -> None:
    lines = [len(module.read_text("utf-8").splitlines()) for module in MODULES if module.name != "__init__.py"]
    assert statistics.median(lines) <= MEDIAN_LINES


@pytest.mark.slow
def test_every_room_says_what_it_is() -> None:
    silent = [relative(module) for module in MODULES if ast.get_docstring(ast.parse(module.read_text("utf-8"))) is None]
    assert silent == []


def public_signatures(tree: ast.Module) -> Iterator[tuple[str, ast.expr]]:
    """(name, annotation) of what others see: parameters and results of public functions, fields of public classes."""
    for node in tree.body:
        if isinstance(node, ast.FunctionDef | ast.ClassDef) and not node.name.startswith("_"):
            yield from _annotations(node)


def _annotations(node: ast.FunctionDef | ast.ClassDef, owner: str = "") -> Iterator[tuple[str, ast.expr]]:
    if isinstance(node, ast.ClassDef):
        for inner in node.body:
            if isinstance(inner, ast.AnnAssign) and isinstance(inner.target, ast.Name):
                if not inner.target.id.startswith("_"):
                    yield f"{node.name}.{inner.target.id}", inner.annotation
            elif isinstance(inner, ast.FunctionDef) and (not inner.name.startswith("_") or inner.name == "__init__"):
                yield from _annotations(inner, f"{node.name}.")
        return
    arguments = node.args
    for argument in [*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs, arguments.vararg, arguments.kwarg]:
        if argument is not None and argument.annotation is not None:
            yield f"{owner}{node.name}({argument.arg})", argument.annotation
    if node.returns is not None:
        yield f"{owner}{node.name} ->", node.returns


def test_no_public_signature_holds_an_untyped_dict() -> None:
    untyped = [
        f"{relative(module)}: {name} {written}"
        for module in MODULES
        for name, annotation in public_signatures(ast.parse(module.read_text("utf-8")))
        if "dict[str, Any]" in (written := ast.unparse(annotation))
    ]
    assert untyped == []


def words_of(identifier: str) -> list[str]:
    """`CLIP_SUFFIXES` -> clip, suffixes; `TaughtHead` -> taught, head."""
    pieces = re.findall(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+", identifier)
    return [piece.lower() for piece in pieces]


def private_words(identifier: str) -> set[str]:
    words = words_of(identifier)
    joined = identifier.lower()
    found = {word for word in FIELDS_WORD if "_" in word and word in joined}
    return found | {word for word in FIELDS_WORD if word in words or f"{word}s" in words}


def test_names_in_code_are_the_fields() -> None:
    """Identifiers only: what an upgrade path reads from an old file is a string."""
    assert [found for module in MODULES for found in other_names(module)] == []


def other_names(module: Path) -> list[str]:
    """Identifiers that have a word of the field, and where they stand."""
    found = set()
    for token in tokenize.generate_tokens(io.StringIO(module.read_text("utf-8")).readline):
        if token.type == tokenize.NAME and not KEPT.search(token.string) and not _is_borrowed(token, module):
            line = f"{relative(module)}:{token.start[0]}"
            found |= {f"{line}: {token.string} ({FIELDS_WORD[word]})" for word in private_words(token.string)}
    return sorted(found)


def _is_borrowed(token: tokenize.TokenInfo, module: Path) -> bool:
    """Names of other libraries, the demo's own subject (a drawn shape stands at a place) and its setting."""
    if token.string == "held_out" and (
        module.is_relative_to(PACKAGE / "demo") or module == PACKAGE / "config/using.py"
    ):
        return True  # `aurora demo --held-out`: images that nothing was trained or validated on
    if re.search(r"CLIP[A-Z]|\bCLIP\b|clip_grad_norm_|\.clip\b", token.string) or ".clip(" in token.line:
        return True
    return module.is_relative_to(PACKAGE / "demo") and words_of(token.string)[-1:] in (["place"], ["places"])


PROSE = (
    "taught",
    "untaught",
    "sentinel",
    "sentinels",
    "picture",
    "pictures",
    "clip",
    "clips",
    "reckon",
    "reckons",
    "reckoned",
)
"""Words that a reader would search for under another name."""


@pytest.mark.parametrize("page", PAGES, ids=relative)
def test_pages_and_help_speak_the_fields_words(page: Path) -> None:
    text = KEPT.sub("", page.read_text("utf-8"))
    text = re.sub(r"`[^`\n]*`", "", text)  # keys of files and names of settings are quoted
    text = re.sub(r"^```.*?^```$", "", text, flags=re.MULTILINE | re.DOTALL)
    found = {word for word in re.findall(r"[a-z]+", text) if word in PROSE}
    assert found == set()
