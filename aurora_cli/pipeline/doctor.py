"""`aurora doctor`: what is installed, which device, which decoder, what is missing, and the line to type."""

import importlib.metadata
import os
import platform
import shutil
from dataclasses import dataclass, field
from pathlib import Path

from packaging.requirements import Requirement

import aurora_cli
from aurora_cli.config.settings import Settings
from aurora_cli.config.workspace import Workspace
from aurora_cli.console import SILENT, Reporter
from aurora_cli.errors import EXIT_ENVIRONMENT, EXIT_OK
from aurora_cli.io.atomic import existing_parent
from aurora_cli.pipeline.result import Result

DISTRIBUTION = "aurora-cli"
SHOWN = ("torch", "transformers", "accelerate", "deepspeed", "datasets", "tokenizers", "huggingface-hub", "decord2")


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
    problems: list[str] = field(default_factory=list)
    """What keeps aurora from working, each with the line to type."""
    notes: list[str] = field(default_factory=list)
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
    problems = _unmet_requirements()
    notes = []
    device, precision = "unknown", "unknown"
    try:
        device, precision = _device()
    except (ImportError, OSError) as error:
        problems.append(f"torch does not import ({error}): pip install --force-reinstall torch")
    video_decoder = "decord"
    try:
        import decord  # noqa: F401
    except (ImportError, OSError) as error:
        video_decoder = "none"
        problems.append(f"decord does not import ({error}): pip install --force-reinstall decord2")
    if _has("decord") and _has("decord2"):
        problems.append(
            "decord and decord2 overwrite each other: pip uninstall -y decord decord2 && pip install decord2"
        )
    compiler = shutil.which("c++") or shutil.which("g++")
    if compiler is None:
        notes.append("no C++ compiler: DeepSpeed's own CPU kernels cannot be built; aurora trains without them")
    if device == "cpu" and shutil.which("nvidia-smi"):
        notes.append("an NVIDIA driver is here but torch is a CPU build: pip install --force-reinstall torch")
    root = Workspace(settings.workspace).root
    return DoctorResult(
        python=platform.python_version(),
        aurora=aurora_cli.__version__,
        packages={name: importlib.metadata.version(name) for name in SHOWN if _has(name)},
        device=device,
        precision=precision,
        video_decoder=video_decoder,
        compiler=compiler or "none",
        hub="offline (HF_HUB_OFFLINE)" if os.environ.get("HF_HUB_OFFLINE") in ("1", "true", "ON") else _endpoint(),
        disk_free_gb=shutil.disk_usage(existing_parent(root)).free / 1e9,
        cores=len(os.sched_getaffinity(0)),
        problems=problems,
        notes=notes,
    )


def _unmet_requirements() -> list[str]:
    problems = []
    for line in importlib.metadata.requires(DISTRIBUTION) or ():
        requirement = Requirement(line)
        if requirement.marker and not requirement.marker.evaluate({"extra": ""}):
            continue
        if not _has(requirement.name):
            problems.append(f"{requirement.name}: pip install '{requirement.name}{requirement.specifier}'")
        elif not requirement.specifier.contains(importlib.metadata.version(requirement.name), prereleases=True):
            have = importlib.metadata.version(requirement.name)
            problems.append(f"{requirement.name} is {have}: pip install '{requirement.name}{requirement.specifier}'")
    return problems


def _has(name: str) -> bool:
    try:
        importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return False
    return True


def _device() -> tuple[str, str]:
    import torch

    if torch.cuda.is_available():
        names = [torch.cuda.get_device_name(index) for index in range(torch.cuda.device_count())]
        return f"{len(names)} x {names[0]}", "bf16"
    return "cpu", "fp32"


def _endpoint() -> str:
    return os.environ.get("HF_ENDPOINT", "the default endpoint") + (
        ", with a token"
        if os.environ.get("HF_TOKEN") or Path("~/.cache/huggingface/token").expanduser().exists()
        else ""
    )
