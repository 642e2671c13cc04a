"""`aurora doctor`: what is missing is named with the line to type, and is exit 4."""

import importlib.metadata
import subprocess
import sys
from pathlib import Path

import pytest

from aurora_cli.config.settings import Settings
from aurora_cli.pipeline import doctor


@pytest.mark.slow
def test_a_complete_machine_is_exit_0() -> None:
    result = doctor.run(Settings())
    assert result.exit_code == 0, result.problems
    assert result.video_decoder == "decord"
    assert "torch" in result.packages


def quick(monkeypatch: pytest.MonkeyPatch, torch: str = "") -> None:
    """Let the doctor import nothing that takes time."""
    monkeypatch.setattr(doctor, "TORCH_PROBE", torch)
    monkeypatch.setattr(doctor, "DECORD_PROBE", "")


def test_a_missing_and_an_old_package_are_exit_4_with_the_line_to_type(monkeypatch: pytest.MonkeyPatch) -> None:
    real = importlib.metadata.version

    def version(name: str) -> str:
        if name == "isal":
            raise importlib.metadata.PackageNotFoundError(name)
        return "4.0.0" if name == "transformers" else real(name)

    monkeypatch.setattr(importlib.metadata, "version", version)
    quick(monkeypatch)
    result = doctor.run(Settings())
    assert result.exit_code == 4
    assert any(problem.startswith("isal: pip install 'isal") for problem in result.problems)
    assert any(problem.startswith("transformers is 4.0.0: pip install") for problem in result.problems)


@pytest.mark.parametrize(
    ("module", "complaint"),
    [
        ("raise OSError('libcudart.so.12: cannot open shared object file')", "OSError: libcudart.so.12: cannot open"),
        ("import os, signal; os.kill(os.getpid(), signal.SIGILL)", "it was killed by SIGILL"),
    ],
)
def test_packages_that_do_not_import_are_named_even_if_they_crash(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, module: str, complaint: str
) -> None:
    for name in ("torch", "decord"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "__init__.py").write_text(module)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    result = doctor.run(Settings())
    assert (result.exit_code, result.device, result.precision, result.video_decoder) == (
        4,
        "unknown",
        "unknown",
        "none",
    )
    torch, decord = result.problems
    assert torch.startswith(f"torch does not import ({complaint}")
    assert torch.endswith("pip install --force-reinstall torch")
    assert decord.startswith(f"decord does not import ({complaint}")


def test_gpus_are_counted_and_named(monkeypatch: pytest.MonkeyPatch) -> None:
    quick(monkeypatch, torch="print('A100', 'A100', sep='\\n')")
    result = doctor.run(Settings())
    assert (result.device, result.precision) == ("2 x A100", "bf16")


def test_a_folder_of_the_name_of_a_package_does_not_hide_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "tomllib.py").write_text("raise SystemExit(1)")
    monkeypatch.chdir(tmp_path)
    quick(monkeypatch, torch="import tomllib")
    assert doctor.run(Settings()).device != "unknown"


@pytest.mark.slow
def test_the_doctor_itself_imports_neither_torch_nor_decord() -> None:
    code = (
        "import sys; from aurora_cli.config.settings import Settings; from aurora_cli.pipeline import doctor; "
        "doctor.run(Settings()); assert not {'torch', 'decord', 'numpy'} & set(sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
