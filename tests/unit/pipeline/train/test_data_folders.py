"""The folders that a stage trains on, as settings name them."""

import pytest

from aurora_cli.errors import UsageError
from aurora_cli.pipeline.train.data_folders import split_weight


def test_weights_are_read_off_the_end_of_a_folder() -> None:
    assert split_weight("a/b") == ("a/b", 1.0)
    assert split_weight("a/b:2") == ("a/b", 2.0)
    assert split_weight("a:b/c") == ("a:b/c", 1.0)
    for text in ("a:0", "a:-1", "a:nan", "a:inf"):
        with pytest.raises(UsageError, match="a number above 0 was expected"):
            split_weight(text)
