"""What `pip wheel .` makes works outside the source tree, presets and templates included."""

import os
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def aurora(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The console script of a fresh environment that has the wheel; its dependencies are those of this one."""
    folder = tmp_path_factory.mktemp("wheel")
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--quiet"]
    build = [*pip, "wheel", "--no-deps", "--no-build-isolation", "--wheel-dir", str(folder), str(ROOT)]
    subprocess.run(build, check=True, timeout=120)
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(folder / "env")], check=True, timeout=60)
    python = folder / "env" / "bin" / "python"
    (wheel,) = folder.glob("aurora_cli-*.whl")
    subprocess.run([*pip, "--python", str(python), "install", "--no-deps", str(wheel)], check=True, timeout=120)
    (site,) = (folder / "env" / "lib").glob("python*/site-packages")
    # Behind the wheel's own files, and as a plain folder: the editable install of the source tree does not come along.
    (site / "dependencies.pth").write_text(f"import sys; sys.path.append({sysconfig.get_path('purelib')!r})\n")
    return folder / "env" / "bin" / "aurora"


def call(aurora: Path, folder: Path, *args: str) -> str:
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    done = subprocess.run([aurora, *args], cwd=folder, env=environment, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_the_wheel_knows_its_presets(aurora: Path, tmp_path: Path) -> None:
    assert "auroracap-7b" in call(aurora, tmp_path, "presets")
    assert "tiny" in call(aurora, tmp_path, "presets")


def test_the_wheel_finds_what_it_needs(aurora: Path, tmp_path: Path) -> None:
    assert "All that aurora needs is here." in call(aurora, tmp_path, "doctor")


def test_the_wheel_has_the_templates_of_its_pages(aurora: Path, tmp_path: Path) -> None:
    (tmp_path / "runs/vision").mkdir(parents=True)
    (tmp_path / "runs/vision/config.yaml").write_text("train: {stage: vision}\n")
    call(aurora, tmp_path, "inspect", "runs/vision", "--html", "page.html")
    assert "No step has been done yet" in (tmp_path / "page.html").read_text()


def test_the_wheel_prepares_the_demo(aurora: Path, tmp_path: Path) -> None:
    call(aurora, tmp_path, "demo", "--prepare-only", "--images", "40", "--videos", "20", "--held-out", "4")
    assert (tmp_path / "aurora-demo" / "aurora.yaml").is_file()


def test_the_wheel_is_typed(aurora: Path) -> None:
    (package,) = aurora.parents[1].glob("lib/python*/site-packages/aurora_cli")
    assert (package / "py.typed").is_file()
