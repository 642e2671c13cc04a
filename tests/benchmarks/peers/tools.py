"""The peers, each by settings that a user would pick (`OTHERS` has more)."""

import shutil
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

from peers.measure import run

HERE = Path(__file__).parent
TORCH = "torch==2.13.0"


class Peer(NamedTuple):
    """Another way to train the export."""

    name: str
    settings: str
    """Both for the table."""
    script: str
    arguments: tuple[str, str]
    """Samples of a batch, or tokens of a pack; and batches of a step."""
    packages: tuple[str, ...] = ()
    """Of its environment; none: ours has them."""
    without: tuple[str, ...] = ()
    """What it asks for, does not use here, and has no builds of for a CPU's torch."""

    def by(self, settings: str, batch: str, accumulation: str) -> "Peer":
        """The same, otherwise set."""
        return self._replace(name=f"{self.name}, {settings}", settings=settings, arguments=(batch, accumulation))

    def command(self, python: Path, export: Path, records: Path, root: Path) -> list[str]:
        shutil.rmtree(
            self.output(root), ignore_errors=True
        )  # of an earlier run: some write into no folder that is there
        given = [export, records, root / "media", self.output(root)]
        return [str(python), str(HERE / self.script), *map(str, given), *self.arguments]

    def output(self, root: Path) -> Path:
        """Where it leaves its weights."""
        return root / "-".join(["trained", Path(self.script).stem, *self.arguments])

    def python(self, environments: Path, install: bool) -> Path | None:
        """Its interpreter; none: it has no environment."""
        if not self.packages:
            return Path(sys.executable)
        folder = environments / Path(self.script).stem
        python, whole = folder / "bin" / "python", folder / ".installed"
        if not whole.exists() and install:
            shutil.rmtree(folder, ignore_errors=True)
            run([sys.executable, "-m", "venv", str(folder)])
            _pip(python, "install", *self.packages)
            if self.without:
                _pip(python, "uninstall", "--yes", *self.without)
            whole.touch()
        return python if whole.exists() else None


def _pip(python: Path, *words: str) -> None:
    subprocess.run([str(python), "-m", "pip", "--quiet", "--disable-pip-version-check", *words], check=True)


_FACTORY = (("llamafactory==0.9.5", TORCH, "pillow"), ("torchvision", "torchaudio"))
_TRL = (("trl==1.16.0", TORCH, "pillow"),)

PEERS = {
    "trainer": Peer("transformers Trainer", "batches of 4 of like length", "transformers_trainer.py", ("4", "2")),
    "llama-factory": Peer(
        "LLaMA-Factory 0.9.5", "neat_packing, 4,096 tokens", "llama_factory.py", ("4096", "1"), *_FACTORY
    ),
    "trl": Peer("TRL 1.16 SFTTrainer", "batches of 4 of like length", "trl_sft.py", ("4", "2"), *_TRL),
}
OTHERS = {
    "trainer-8": PEERS["trainer"].by("batches of 8 of like length", "8", "1"),
    "llama-factory-2048": PEERS["llama-factory"].by("neat_packing, 2,048 tokens", "2048", "2"),
    "trl-8": PEERS["trl"].by("batches of 8 of like length", "8", "1"),
}
"""The same by other settings, for who names them."""
