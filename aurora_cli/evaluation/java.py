"""Java programs that `pycocoevalcap` brings."""

import importlib.util
import shutil
from pathlib import Path

JAVA = ("java", "-XX:+UseSerialGC")
"""Java's own choice of collector takes twice the memory, and these programs are no quicker for it."""


def find_jar(below: Path) -> Path | None:
    """The program at this path below the package, where it and Java are."""
    spec = importlib.util.find_spec("pycocoevalcap")
    if spec is None or not spec.submodule_search_locations or shutil.which("java") is None:
        return None
    jar = Path(spec.submodule_search_locations[0], below)
    return jar if jar.is_file() else None
