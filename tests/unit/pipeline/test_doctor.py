"""`aurora doctor`: what is missing is named with the line to type, and is exit 4."""

import importlib.metadata

import pytest

from aurora_cli.config.settings import Settings
from aurora_cli.pipeline import doctor


def test_a_complete_machine_is_exit_0() -> None:
    result = doctor.run(Settings())
    assert result.exit_code == 0, result.problems
    assert result.video_decoder == "decord"
    assert "torch" in result.packages


def test_a_missing_and_an_old_package_are_exit_4_with_the_line_to_type(monkeypatch: pytest.MonkeyPatch) -> None:
    real = importlib.metadata.version

    def version(name: str) -> str:
        if name == "isal":
            raise importlib.metadata.PackageNotFoundError(name)
        return "4.0.0" if name == "transformers" else real(name)

    monkeypatch.setattr(importlib.metadata, "version", version)
    result = doctor.run(Settings())
    assert result.exit_code == 4
    assert any(problem.startswith("isal: pip install 'isal") for problem in result.problems)
    assert any(problem.startswith("transformers is 4.0.0: pip install") for problem in result.problems)
