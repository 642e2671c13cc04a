"""Shares of a list: each unit in one of them, about as many in each, and nothing taken from the environment unasked."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aurora_cli.config.resolve import resolve
from aurora_cli.config.share import Share, balanced_shares, share_in, share_of, untaken_share
from aurora_cli.errors import SettingsError, UsageError

COUNTS = st.integers(1, 40)


@given(st.integers(0, 500), COUNTS)
def test_each_unit_is_in_one_share_and_shares_differ_by_one_unit_at_most(units: int, count: int) -> None:
    shares = [[unit for unit in range(units) if Share(index, count).takes(unit)] for index in range(count)]
    assert sorted(unit for share in shares for unit in share) == list(range(units))
    assert max(map(len, shares)) - min(map(len, shares)) <= 1


@given(st.integers(0, 300), COUNTS, st.integers(1, 8))
def test_the_shares_of_a_share_are_its_units_and_no_others(units: int, count: int, inner: int) -> None:
    for index in range(count):
        split = [Share(index, count).split(part, inner) for part in range(inner)]
        taken = [unit for unit in range(units) for share in split if share.takes(unit)]
        assert len({*split}) == inner
        assert taken == [unit for unit in range(units) if any(share.takes(unit) for share in split)]
    every = [Share(index, count).split(part, inner) for index in range(count) for part in range(inner)]
    assert sorted(every) == [Share(index, count * inner) for index in range(count * inner)]


@given(st.lists(st.integers(0, 10**12), max_size=60), COUNTS)
def test_shares_by_size_differ_by_the_largest_unit_at_most_and_are_a_function_of_the_list(
    sizes: list[int], count: int
) -> None:
    shares = balanced_shares(sizes, count)
    assert shares == balanced_shares(list(sizes), count)
    assert all(0 <= share < count for share in shares)
    loads = [sum(size for size, share in zip(sizes, shares, strict=True) if share == index) for index in range(count)]
    assert max(loads) - min(loads) <= max(sizes, default=0)


@pytest.mark.parametrize(
    ("said", "wrong"), [("a/b", "like 0/8 for the first of eight"), ("-1/2", "a share is I/N"), ("0/0", "0/1 is all")]
)
def test_the_settings_refuse_what_is_no_share_before_anything_is_done(said: str, wrong: str) -> None:
    for command in ("caption", "evaluate", "extract", "tokenize", "download", "inspect"):
        with pytest.raises(SettingsError) as caught:
            resolve(sets=[f"{command}.shard={said}"], environment={})
        assert f"{command}.shard: '{said}' (from --set) is not allowed: " in str(caught.value)
        assert wrong in str(caught.value)


@pytest.mark.parametrize("said", ["8/8", "3/0", "0/0"])
def test_a_share_that_does_not_exist_is_refused_with_those_that_do(said: str) -> None:
    with pytest.raises(UsageError, match=rf"--shard {said}: .* numbered from 0"):
        share_of(said, {})


ARRAY = {"TASK_ID": "3", "TASK_COUNT": "5", "TASK_MIN": "1", "TASK_MAX": "5"}


def array(**changed: str) -> dict[str, str]:
    return {f"SLURM_ARRAY_{name}": value for name, value in {**ARRAY, **changed}.items()}


TORCHRUN = {"RANK": "1", "WORLD_SIZE": "2", "LOCAL_RANK": "1"}
SRUN = {"SLURM_STEP_ID": "0", "SLURM_PROCID": "2", "SLURM_STEP_NUM_TASKS": "4", "SLURM_NTASKS": "8"}
BATCH_SCRIPT = {"SLURM_PROCID": "0", "SLURM_NTASKS": "4", "SLURM_SUBMIT_DIR": "/home"}
SALLOC_SHELL = {"SLURM_NTASKS": "4", "SLURM_JOB_ID": "7", "SLURM_SUBMIT_DIR": "/home"}
INTERACTIVE_STEP = {**SALLOC_SHELL, "SLURM_STEP_ID": "4294967290", "SLURM_PROCID": "0", "SLURM_STEP_NUM_TASKS": "1"}


@pytest.mark.parametrize(
    ("environ", "share"),
    [
        (array(), "2/5"),
        (array(TASK_ID="3", TASK_MIN="0", TASK_MAX="4"), "3/5"),
        (TORCHRUN, "1/2"),
        (SRUN, "2/4"),
        ({**SRUN, **TORCHRUN}, "1/2"),
        ({**array(), **BATCH_SCRIPT}, "2/5"),
        ({**array(), **SRUN}, "10/20"),
        (INTERACTIVE_STEP, "0/1"),
    ],
)
def test_auto_takes_the_share_of_an_array_a_launcher_or_both(environ: dict[str, str], share: str) -> None:
    found = share_of("auto", environ)
    assert found is not None
    assert str(found.share) == share


@pytest.mark.parametrize("environ", [{}, SALLOC_SHELL, BATCH_SCRIPT])
def test_auto_where_nothing_says_which_share_is_refused(environ: dict[str, str]) -> None:
    with pytest.raises(UsageError, match="nothing says which share"):
        share_of("auto", environ)


@pytest.mark.parametrize(
    "environ",
    [
        array(TASK_COUNT="2", TASK_ID="2", TASK_MIN="2"),  # --array=2,5: some of the shares again
        array(TASK_COUNT="2", TASK_ID="3", TASK_MIN="3", TASK_MAX="4"),
        array(TASK_COUNT="4", TASK_MIN="0", TASK_MAX="6"),  # --array=0-6:2
        {"SLURM_ARRAY_TASK_ID": "3"},
        {**TORCHRUN, "RANK": "2"},
        {"RANK": "0"},
        {**TORCHRUN, "RANK": "one"},
    ],
)
def test_auto_where_the_environment_does_not_say_how_many_shares_there_are_is_refused(environ: dict[str, str]) -> None:
    with pytest.raises(UsageError, match="--shard auto: "):
        share_of("auto", environ)


@pytest.mark.parametrize("environ", [array(), TORCHRUN, SRUN])
def test_nothing_is_taken_unasked_but_a_line_says_what_could_be(environ: dict[str, str]) -> None:
    assert share_of(None, environ) is None
    found = share_in(environ)
    assert found is not None
    assert f"--shard auto takes share {found.share}" in (untaken_share(None, environ) or "")
    assert untaken_share("0/2", environ) is None


@pytest.mark.parametrize("environ", [{}, SALLOC_SHELL, BATCH_SCRIPT, INTERACTIVE_STEP, {"RANK": "x"}])
def test_a_shell_of_an_allocation_is_not_mentioned(environ: dict[str, str]) -> None:
    assert untaken_share(None, environ) is None
