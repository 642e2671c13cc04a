"""`aurora doctor`: what is installed, which device, which decoder, what is missing, and the line to type."""

import importlib.metadata
import os
import platform
import shutil
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from packaging.requirements import Requirement

import aurora_cli
from aurora_cli.config.settings import Settings
from aurora_cli.config.workspace import Workspace
from aurora_cli.console import SILENT, Reporter
from aurora_cli.errors import EXIT_ENVIRONMENT, EXIT_OK
from aurora_cli.io.atomic import existing_parent
from aurora_cli.io.endings import end_of
from aurora_cli.io.machine import cpu_flags
from aurora_cli.pipeline.result import Result

DISTRIBUTION = "aurora-cli"
TORCH_PROBE = """
import torch
if torch.cuda.is_available():
    print(*(torch.cuda.get_device_name(index) for index in range(torch.cuda.device_count())), sep="\\n")
"""
"""Writes the names of the GPUs, a line each."""
DECORD_PROBE = "import decord"
SHOWN = (
    "torch",
    "transformers",
    "accelerate",
    "deepspeed",
    "datasets",
    "tokenizers",
    "huggingface-hub",
    "decord2",
    "bitsandbytes",
)
EXTRAS = {
    "bitsandbytes": ("quantized", "train.optimizer=adamw_8bit or train.quantize_base"),
    "gguf": ("gguf", "aurora convert of a GGUF file"),
    "onnxruntime": ("onnx", "aurora convert --format onnx"),
    "pillow-heif": ("heif", "HEIC images"),
    "ray": ("ray", "aurora caption --engine ray"),
}
"""Packages that only some uses need: by what they are installed, and for what."""


@dataclass(frozen=True)
class DoctorResult(Result):
    python: str
    aurora: str
    packages: dict[str, str]
    device: str
    precision: str
    video_decoder: str
    compiler: str
    hub: str
    disk_free_gb: float
    cores: int
    problems: tuple[str, ...] = ()
    """What keeps aurora from working, each with the line to type."""
    notes: tuple[str, ...] = ()
    """What only some uses need."""

    def lines(self) -> list[str]:
        facts = {
            "aurora": f"{self.aurora} on Python {self.python}",
            "packages": ", ".join(f"{name} {version}" for name, version in self.packages.items()),
            "device": f"{self.device}; trains in {self.precision}",
            "videos": self.video_decoder,
            "compiler": self.compiler,
            "hub": self.hub,
            "machine": f"{self.cores} cores, {self.disk_free_gb:,.1f} GB of disk free",
        }
        lines = [f"{name:<10}{fact}" for name, fact in facts.items()]
        lines += [f"missing   {problem}" for problem in self.problems]
        lines += [f"note      {note}" for note in self.notes]
        return [*lines, "Something is missing." if self.problems else "All that aurora needs is here."]

    @property
    def exit_code(self) -> int:
        return EXIT_ENVIRONMENT if self.problems else EXIT_OK


def run(settings: Settings, reporter: Reporter = SILENT, *, dry_run: bool = False) -> DoctorResult:
    """Look around; nothing is touched, so a dry run is the same."""
    with ThreadPoolExecutor() as pool:
        torch, decord = pool.map(_import_elsewhere, (TORCH_PROBE, DECORD_PROBE))
    device, precision = _device(torch)
    compiler = shutil.which("c++") or shutil.which("g++")
    root = Workspace(settings.workspace).root
    return DoctorResult(
        python=platform.python_version(),
        aurora=aurora_cli.__version__,
        packages={name: version for name in SHOWN if (version := _version(name)) is not None},
        device=device,
        precision=precision,
        video_decoder="decord" if decord.complaint is None else "none",
        compiler=compiler or "none",
        hub="offline (HF_HUB_OFFLINE)" if os.environ.get("HF_HUB_OFFLINE") in ("1", "true", "ON") else _endpoint(),
        disk_free_gb=shutil.disk_usage(existing_parent(root)).free / 1e9,
        cores=len(os.sched_getaffinity(0)),
        problems=(*_unmet_requirements(), *_broken_packages(torch, decord)),
        notes=tuple(_notes(device, compiler)),
    )


class _Probe(NamedTuple):
    """What a process that imported something wrote, or why it could not."""

    output: str
    complaint: str | None


def _import_elsewhere(code: str) -> _Probe:
    """Run Python code in a process of its own: what crashes there crashes no doctor, and its import costs no memory."""
    done = subprocess.run([sys.executable, "-P", "-c", code], capture_output=True, text=True)
    if done.returncode == 0:
        return _Probe(done.stdout, None)
    if done.returncode < 0:
        return _Probe("", f"it {end_of(done.returncode)}")
    return _Probe("", done.stderr.strip().rpartition("\n")[2] or f"exit {done.returncode}")


def _device(torch: _Probe) -> tuple[str, str]:
    """What trains, and in which precision."""
    if torch.complaint is not None:
        return "unknown", "unknown"
    gpus = torch.output.splitlines()
    return (f"{len(gpus)} x {gpus[0]}", "bf16") if gpus else ("cpu", "fp32")


def _broken_packages(torch: _Probe, decord: _Probe) -> Iterator[str]:
    if torch.complaint is not None:
        yield f"torch does not import ({torch.complaint}): pip install --force-reinstall torch"
    if decord.complaint is not None:
        yield f"decord does not import ({decord.complaint}): pip install --force-reinstall decord2"
    if _version("decord") and _version("decord2"):
        yield "decord and decord2 overwrite each other: pip uninstall -y decord decord2 && pip install decord2"


def _notes(device: str, compiler: str | None) -> Iterator[str]:
    if compiler is None:
        yield "no C++ compiler: DeepSpeed's own CPU kernels cannot be built; aurora trains without them"
    if device == "cpu" and shutil.which("nvidia-smi"):
        yield "an NVIDIA driver is installed but torch is a CPU build: pip install --force-reinstall torch"
    if device == "cpu" and "amx_bf16" in cpu_flags():
        yield "this CPU has AMX: aurora caption, evaluate and serve are about three times as fast with --dtype bfloat16"
    for package, (extra, use) in EXTRAS.items():
        if _version(package) is None:
            yield f"{package} is not installed, which {use} needs: pip install '{DISTRIBUTION}[{extra}]'"


def _unmet_requirements() -> list[str]:
    problems = []
    for line in importlib.metadata.requires(DISTRIBUTION) or ():
        requirement = Requirement(line)
        if requirement.marker and not requirement.marker.evaluate({"extra": ""}):
            continue
        version = _version(requirement.name)
        if version is None:
            problems.append(f"{requirement.name}: pip install '{requirement.name}{requirement.specifier}'")
        elif not requirement.specifier.contains(version, prereleases=True):
            problems.append(f"{requirement.name} is {version}: pip install '{requirement.name}{requirement.specifier}'")
    return problems


def _version(name: str) -> str | None:
    """Of the installed distribution; none: it is not there."""
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None


def _endpoint() -> str:
    return os.environ.get("HF_ENDPOINT", "the default endpoint") + (
        ", with a token"
        if os.environ.get("HF_TOKEN") or Path("~/.cache/huggingface/token").expanduser().exists()
        else ""
    )
