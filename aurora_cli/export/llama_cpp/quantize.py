"""From halves to 4 bits: done by llama.cpp itself, whose K types the package `gguf` reads and does not write.

Run in a process of its own, where llama-cpp-python is: `python -m aurora_cli.export.llama_cpp.quantize FROM TO`.
"""

import importlib
import importlib.util
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

from aurora_cli.errors import HostError
from aurora_cli.io.endings import end_of

BINDING = "llama_cpp"
_PROGRAM = "llama-quantize"
_LAST_LINES = 5


def is_bound() -> bool:
    """Whether llama-cpp-python is installed."""
    return importlib.util.find_spec(BINDING) is not None


def check_quantizer() -> None:
    """
    Raises:
        HostError: nothing here quantizes.
    """
    if not is_bound() and shutil.which(_PROGRAM) is None:
        raise HostError(
            f"--quantization q4_k_m: llama.cpp makes it, and neither llama-cpp-python nor {_PROGRAM} is installed",
            hint="pip install llama-cpp-python (it compiles for minutes), or take --quantization q8_0",
        )


def quantize(source: Path, target: Path) -> None:
    """Write `target`, of the type q4_k_m.

    Raises:
        HostError: it failed; the message is llama.cpp's.
    """
    program = shutil.which(_PROGRAM)
    if is_bound():
        command = [sys.executable, "-m", __name__, str(source), str(target)]
    else:
        command = [str(program), str(source), str(target), "Q4_K_M"]
    child = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, errors="replace")
    if child.returncode != 0 or not target.is_file():
        last = " | ".join(child.stderr.strip().splitlines()[-_LAST_LINES:])
        raise HostError(f"{target.name}: llama.cpp, which quantizes it, {end_of(child.returncode)}: {last}")


def main(source: str, target: str) -> int:
    binding: Any = importlib.import_module(BINDING)
    parameters = binding.llama_model_quantize_default_params()
    parameters.ftype = binding.LLAMA_FTYPE_MOSTLY_Q4_K_M
    return binding.llama_model_quantize(source.encode(), target.encode(), parameters)


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
