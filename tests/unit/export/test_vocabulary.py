"""New rows: as many as requested, drawn as the original draws them, the old ones untouched."""

import pytest
import torch
from safetensors.torch import save_file

from aurora_cli.checkpoints import names
from aurora_cli.checkpoints.weight_files import open_weights
from aurora_cli.export.vocabulary import grow, new_rows


@pytest.mark.slow
def test_new_rows_have_the_mean_and_a_hundred_thousandth_of_the_covariance():
    torch.manual_seed(0)
    mixing = torch.randn(8, 8)
    embedding = torch.randn(5000, 8) @ mixing + 3.0
    rows = new_rows(embedding, 20000, seed=0)
    torch.testing.assert_close(rows.mean(0), embedding.mean(0), atol=1e-3, rtol=0)
    expected = 1e-5 * embedding.T.cov()
    torch.testing.assert_close(rows.T.cov(), expected, atol=0.03 * float(expected.max()), rtol=0)
    assert torch.equal(rows, new_rows(embedding, 20000, seed=0))


def test_the_old_rows_stay_and_the_head_grows_too(tmp_path):
    tensors = {names.EMBEDDING: torch.randn(10, 4).bfloat16(), names.HEAD: torch.randn(10, 4), "other": torch.ones(1)}
    save_file(tensors, tmp_path / "w.safetensors")
    opened = open_weights(tmp_path / "w.safetensors")
    grown = grow(opened, 64)
    for name in (names.EMBEDDING, names.HEAD):
        assert grown[name].shape == (64, 4)
        values = grown[name].read()
        assert values.dtype == tensors[name].dtype
        assert torch.equal(values[:10], tensors[name])
        assert values[10:].isfinite().all()
    assert grow(opened, 10) is opened
