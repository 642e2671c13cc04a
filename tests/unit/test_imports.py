"""What is imported at once is left alone by the garbage collector, which then goes on as before."""

import gc

import pytest

from aurora_cli.imports import imported_at_once


@pytest.fixture(autouse=True)
def thawed():
    yield
    gc.unfreeze()
    gc.enable()


@pytest.mark.parametrize("collects", [True, False])
def test_nothing_is_collected_meanwhile_and_the_collector_is_left_as_it_was(collects):
    if not collects:
        gc.disable()
    before = gc.get_freeze_count()
    with imported_at_once():
        assert not gc.isenabled()
        made = [[] for _ in range(10_000)]
    assert gc.isenabled() == collects
    assert gc.get_freeze_count() >= before + len(made)


def test_after_an_import_that_fails_too():
    with pytest.raises(ModuleNotFoundError), imported_at_once():
        import no_such_module  # noqa: F401  # pyrefly: ignore[missing-import]
    assert gc.isenabled()
