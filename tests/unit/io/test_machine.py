"""What the machine has."""

import pytest

from aurora_cli.io.machine import memory_bytes


def test_a_container_may_have_less_than_the_machine(tmp_path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "none").write_text("max")
    (tmp_path / "less").write_text("1234567")
    monkeypatch.setattr("aurora_cli.io.machine.CGROUP_LIMITS", [str(tmp_path / each) for each in ("absent", "none")])
    assert memory_bytes() > 1 << 28
    monkeypatch.setattr("aurora_cli.io.machine.CGROUP_LIMITS", [str(tmp_path / each) for each in ("none", "less")])
    assert memory_bytes() == 1234567
