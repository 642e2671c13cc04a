"""What the machine has."""

import pytest

from aurora_cli.io.machine import cpu_flags, memory_bytes


def test_a_container_may_have_less_than_the_machine(tmp_path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "none").write_text("max")
    (tmp_path / "less").write_text("1234567")
    monkeypatch.setattr("aurora_cli.io.machine.CGROUP_LIMITS", [str(tmp_path / each) for each in ("absent", "none")])
    assert memory_bytes() > 1 << 28
    monkeypatch.setattr("aurora_cli.io.machine.CGROUP_LIMITS", [str(tmp_path / each) for each in ("none", "less")])
    assert memory_bytes() == 1234567


def test_flags_are_those_of_an_x86_processor_and_none_where_none_are_told(tmp_path) -> None:
    (tmp_path / "x86").write_text(
        "processor\t: 0\nflags\t\t: fpu amx_bf16\nvmx flags\t: ept\n\nprocessor\t: 1\nflags\t\t: fpu\n"
    )
    (tmp_path / "arm").write_text("processor\t: 0\nFeatures\t: fp asimd bf16\n")
    assert cpu_flags(tmp_path / "x86") == {"fpu", "amx_bf16"}
    assert cpu_flags(tmp_path / "arm") == cpu_flags(tmp_path / "absent") == frozenset()
