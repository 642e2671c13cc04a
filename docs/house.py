"""docs/images/house.svg, the rooms of the package and who imports whom, and the table of rooms in
how-it-works/architecture.md: docs/reference.py writes both.

Floors are the layers of the contracts in pyproject.toml, arrows are the imports as they are. An arrow that follows from
two others is not drawn; nor are those to the ground floor, which every room above it may use.
"""

import ast
import html
import re
import textwrap
import tomllib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "aurora_cli"
DRAWING = ROOT / "docs" / "images" / "house.svg"
ARCHITECTURE = ROOT / "docs" / "how-it-works" / "architecture.md"
BEGIN, END = "<!-- rooms: written by docs/house.py -->", "<!-- rooms: end -->"

GROUND = ("runs", "hub", "config", "io", "console", "errors", "constants", "imports")
"""Drawn as slabs without arrows; the last four share one."""

Arrow = tuple[str, str]

WIDTH, MARGIN, GAP, LEADING = 1040, 16, 14, 14
FLAT = 30
"""Height below which a box has a single line."""
IN_A_ROW = 8
"""Commands."""
COLOURS = {"cli": "#dbeafe", "demo": "#dbeafe", "pipeline": "#e0e7ff", "data": "#dcfce7", "ground": "#f1f5f9"}
PLAIN = "#fef3c7"
SPANS = {
    "checkpoints": (0.245, 0.62),
    "evaluation": (0.635, 1.0),
    "models": (0.0, 0.22),
    "data": (0.245, 1.0),
    "media": (0.51, 0.745),
}
"""Shares of the width that a room takes where its floor is not simply divided by equal parts."""


@dataclass(frozen=True)
class Box:
    room: str
    left: float
    top: float
    width: float
    height: float

    @property
    def right(self) -> float:
        return self.left + self.width

    @property
    def bottom(self) -> float:
        return self.top + self.height


def floors(container: str) -> list[list[str]]:
    """The rooms of a container, floor by floor from the top, as the contract names them."""
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["importlinter"]
    (contract,) = [one for one in settings["contracts"] if one.get("containers") == [container]]
    return [[name.strip() for name in re.split(r"[|:]", layer)] for layer in contract["layers"]]


def commands() -> list[str]:
    """The rooms of `pipeline` that are a command's."""
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["importlinter"]
    (contract,) = [one for one in settings["contracts"] if one["type"] == "independence"]
    return [module.removeprefix("aurora_cli.pipeline.") for module in contract["modules"]]


@cache
def imports() -> set[tuple[str, str]]:
    """Every module that imports another of the package, and that one, by dotted names without the package's.

    A step that `cli` names in a string, to import it when it is called, counts as imported.
    """
    found = set()
    for path in PACKAGE.rglob("*.py"):
        module = ".".join(path.relative_to(PACKAGE).with_suffix("").parts).removesuffix(".__init__")
        for node in ast.walk(_without_type_checking(ast.parse(path.read_text(encoding="utf-8")))):
            found |= {(module, name.removeprefix("aurora_cli.")) for name in _named_by(node)}
    return found


def _named_by(node: ast.AST) -> list[str]:
    if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("aurora_cli"):
        return [f"{node.module}.{alias.name}" for alias in node.names]
    if isinstance(node, ast.Import):
        return [alias.name for alias in node.names if alias.name.startswith("aurora_cli.")]
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "_step":
        return [f"aurora_cli.{ast.literal_eval(node.args[0])}"]
    return []


def _without_type_checking(tree: ast.Module) -> ast.Module:
    class Strip(ast.NodeTransformer):
        def visit_If(self, node: ast.If) -> ast.AST | None:
            return None if ast.unparse(node.test) == "TYPE_CHECKING" else self.generic_visit(node)

    return Strip().visit(tree)


def arrows(rooms: Iterable[str], inside: str = "") -> set[Arrow]:
    """Who imports whom among `rooms`, which lie in the package `inside`; arrows that others imply are dropped."""
    names = set(rooms)

    def room_of(module: str) -> str | None:
        first = module.removeprefix(inside).split(".")[0]
        return first if module.startswith(inside) and first in names else None

    pairs = {(room_of(importer), room_of(imported)) for importer, imported in imports()}
    direct = {(above, below) for above, below in pairs if above and below and above != below}
    return {arrow for arrow in direct if not _reaches(direct - {arrow}, *arrow)}


def _reaches(graph: set[Arrow], start: str, end: str) -> bool:
    seen, todo = set(), [start]
    while todo:
        room = todo.pop()
        if room == end:
            return True
        if room not in seen:
            seen.add(room)
            todo += [below for above, below in graph if above == room]
    return False


def used_by_command(command: str) -> list[str]:
    """The rooms above the ground floor that a command enters."""
    inside = f"pipeline.{command}"
    rooms = set()
    for importer, imported in imports():
        if importer == inside or importer.startswith(f"{inside}."):
            parts = imported.split(".")
            rooms.add(parts[1] if parts[0] == "data" else parts[0])
    return sorted(rooms - {*GROUND, "pipeline", "__version__"})


def sentence(room: str) -> str:
    """What a room says of itself: the first line of its `__init__`, or of the module that it is."""
    path = PACKAGE.joinpath(*room.split("."))
    source = path / "__init__.py" if path.is_dir() else path.with_suffix(".py")
    text = ast.get_docstring(ast.parse(source.read_text(encoding="utf-8"))) or ""
    return text.splitlines()[0]


def row(rooms: list[str], top: float, height: float, left: float, width: float) -> list[Box]:
    """The boxes of a floor, in equal parts unless `SPANS` says otherwise."""
    part = (width - GAP * (len(rooms) - 1)) / len(rooms)
    boxes = []
    for number, room in enumerate(rooms):
        start, end = SPANS.get(room, (number * (part + GAP) / width, (number * (part + GAP) + part) / width))
        boxes.append(Box(room, left + start * width, top, (end - start) * width, height))
    return boxes


def rectangle(box: Box, colour: str, title: str) -> str:
    return (
        f'<g><title>{html.escape(title)}</title><rect x="{box.left:.0f}" y="{box.top:.0f}" width="{box.width:.0f}"'
        f' height="{box.height:.0f}" rx="5" fill="{colour}" stroke="#64748b"/></g>'
    )


def words(left: float, top: float, text: str, css: str) -> str:
    return f'<text x="{left:.0f}" y="{top:.0f}" class="{css}">{html.escape(text)}</text>'


def labelled(box: Box, colour: str, text: str, name: str | None = None) -> Iterator[str]:
    """A box with its name and a text: beside it in a flat box, else below it."""
    name = name or box.room
    text = text.replace("`", "").replace("->", "\N{RIGHTWARDS ARROW}")
    yield rectangle(box, colour, f"{name}: {text}")
    yield words(box.left + 8, box.top + 16, name, "room")
    if box.height < FLAT:
        yield words(box.left + 220, box.top + 16, text, "text")
        return
    for number, line in enumerate(wrapped(text, box.width)):
        yield words(box.left + 8, box.top + 31 + number * LEADING, line, "text")


def wrapped(text: str, width: float) -> list[str]:
    """The lines of a text in a box so wide."""
    return textwrap.wrap(text, int((width - 14) / 5.3))


def fitting(texts: Iterable[str], width: float) -> float:
    """The height of boxes so wide that hold a name and each of these texts."""
    return 26 + LEADING * max(1, *(len(wrapped(text, width)) for text in texts))


def line(above: Box, below: Box, share: float) -> str:
    """An arrow from the bottom of a box to the top of another; `share`: where along the width they have in common."""
    left, right = max(above.left, below.left) + 10, min(above.right, below.right) - 10
    start = end = left + share * (right - left)
    if right <= left:  # they stand side by side: from the nearer end of one to the nearer end of the other
        right_of_it = above.left > below.left
        start = above.left + 24 if right_of_it else above.right - 24
        end = below.right - 14 if right_of_it else below.left + 14
    return f'<line x1="{start:.0f}" y1="{above.bottom:.0f}" x2="{end:.0f}" y2="{below.top - 2:.0f}" class="arrow"/>'


def lines(boxes: dict[str, Box], drawn: set[Arrow]) -> Iterator[str]:
    """Arrows between boxes, those from one pair of floors side by side."""
    for number, (above, below) in enumerate(sorted(drawn)):
        yield line(boxes[above], boxes[below], 0.5 if number % 2 else 0.36)


def drawing() -> str:
    """The whole house as SVG."""
    upper = [floor for floor in floors("aurora_cli") if floor[0] not in GROUND]
    width = WIDTH - 2 * MARGIN
    rows = command_rows(width - 20)
    heights = {"cli": 26, "demo": 26, "pipeline": 48 + sum(height + 6 for _, height in rows), "models": 252}
    boxes: dict[str, Box] = {}
    top: float = MARGIN
    for floor in upper:
        height = heights.get(floor[0]) or fitting(map(sentence, floor), width / len(floor) - GAP)
        boxes |= {box.room: box for box in row(floor, top, height, MARGIN, width)}
        top += height + 24
    inner_boxes = data_boxes(boxes["data"])
    parts = list(lines(boxes, arrows(boxes)))
    for room, box in boxes.items():
        parts += labelled(box, COLOURS.get(room, PLAIN), sentence(room))
    parts += lines(inner_boxes, arrows(inner_boxes, inside="data."))
    for room, box in inner_boxes.items():
        parts += labelled(box, "#ffffff", sentence(f"data.{room}"))
    parts += command_boxes(boxes["pipeline"], rows)
    ground, bottom = ground_floor(top - 6, width)
    return svg([*parts, *ground], bottom + MARGIN)


def data_boxes(data: Box) -> dict[str, Box]:
    """The rooms inside `data`, on its three floors."""
    found: dict[str, Box] = {}
    inner = floors("aurora_cli.data")
    step = (data.height - 36) / len(inner)
    for number, floor in enumerate(inner):
        boxes = row(floor, data.top + 42 + number * step, step - 22, data.left + 10, data.width - 20)
        found |= {box.room: box for box in boxes}
    return found


def command_rows(width: float) -> list[tuple[list[str], float]]:
    """The commands of each row, and the height of its boxes."""
    names = commands()
    rows = [names[start : start + IN_A_ROW] for start in range(0, len(names), IN_A_ROW)]
    return [(row, fitting(map(entered, row), width / len(row) - GAP)) for row in rows]


def entered(command: str) -> str:
    return ", ".join(used_by_command(command))


def command_boxes(pipeline: Box, rows: list[tuple[list[str], float]]) -> Iterator[str]:
    """A box a command, with the rooms that it enters."""
    top = pipeline.top + 40
    for names, height in rows:
        for box in row(names, top, height, pipeline.left + 10, pipeline.width - 20):
            yield from labelled(box, "#ffffff", entered(box.room), box.room.replace("_", "-"))
        top += height + 6


def ground_floor(top: float, width: float) -> tuple[list[str], float]:
    """Slabs: each may import those below it, and everything above imports all of them."""
    note = "Everything above may import the floors below; each of them imports only those below itself."
    parts = [words(MARGIN, top + 8, note, "text")]
    top += 16
    for slab in (*[(name,) for name in GROUND[:4]], GROUND[4:]):
        box = Box(slab[0], MARGIN, top, width, 22)
        about = sentence(slab[0]) if len(slab) == 1 else "Messages to the user, errors with their exit codes, names."
        parts += labelled(box, COLOURS["ground"], about, ", ".join(slab))
        top += 25
    return parts, top


def svg(parts: list[str], height: float) -> str:
    style = (
        "text{font-family:Helvetica,Arial,sans-serif;fill:#0f172a}.room{font-size:13px;font-weight:bold}"
        ".text{font-size:11px;fill:#334155}.arrow{stroke:#475569;stroke-width:1.4;marker-end:url(#head)}"
    )
    head = (
        '<defs><marker id="head" markerWidth="8" markerHeight="8" refX="7" refY="4" orient="auto">'
        '<path d="M0,0 L8,4 L0,8 z" fill="#475569"/></marker></defs>'
    )
    opening = f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height:.0f}" role="img">'
    background = f'<rect width="{WIDTH}" height="{height:.0f}" fill="#ffffff"/>'
    title = "<title>The rooms of aurora_cli on their floors; imports point down</title>"
    return "\n".join([opening, title, f"<style>{style}</style>", head, background, *parts, "</svg>"]) + "\n"


def rooms_table() -> str:
    """A row a room, from the top floor down."""
    rows = ["| room | what is in it |", "| --- | --- |"]
    for floor in floors("aurora_cli"):
        for room in floor:
            rows.append(f"| `{room}` | {sentence(room)} |")
            if room == "data":
                inner = [name for names in floors("aurora_cli.data") for name in names]
                rows += [f"| `data/{name}` | {sentence(f'data.{name}')} |" for name in inner]
    return "\n".join(rows)


def pages() -> dict[Path, str]:
    """The files that this script writes, as they should be."""
    page = ARCHITECTURE.read_text("utf-8")
    before, _, rest = page.partition(BEGIN)
    _, _, after = rest.partition(END)
    return {DRAWING: drawing(), ARCHITECTURE: f"{before}{BEGIN}\n\n{rooms_table()}\n\n{END}{after}"}
