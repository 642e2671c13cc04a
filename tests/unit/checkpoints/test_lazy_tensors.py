"""A tensor that is not read yet: what is read of it, and what it is called."""

import pytest
import torch
from safetensors.torch import save_file

from aurora_cli.checkpoints.lazy_tensors import rename
from aurora_cli.checkpoints.weight_files import open_weights
from aurora_cli.errors import DataError


def test_a_weight_that_is_not_a_number_is_named_when_it_is_read(tmp_path):
    path = tmp_path / "w.safetensors"
    save_file(
        {"good": torch.ones(3), "bad": torch.tensor([1.0, float("nan")]), "inf": torch.tensor([-torch.inf])}, path
    )
    tensors = open_weights(path)
    tensors["good"].read()
    with pytest.raises(DataError, match=r"w.safetensors: tensor bad holds NaN"):
        tensors["bad"].read()
    with pytest.raises(DataError, match=r"w.safetensors: tensor inf holds an infinity"):
        tensors["inf"].read()


def test_two_names_for_one_weight_are_an_error(tmp_path):
    save_file({"x": torch.ones(1), "y": torch.ones(1)}, tmp_path / "w.safetensors")
    with pytest.raises(DataError, match="one was expected"):
        rename(open_weights(tmp_path / "w.safetensors"), lambda _: "z")
