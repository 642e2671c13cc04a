"""DeepSpeed's folders, written here as DeepSpeed lays them out: every weight comes back from the ranks' parts."""

import math

import pytest
import torch

from aurora_cli.checkpoints.zero import is_zero, open_zero
from aurora_cli.errors import DataError

SHAPES = {"a.weight": (5, 3), "a.bias": (5,), "b.weight": (2, 2, 3), "c": (1,)}
FROZEN = {"f.weight": (3, 3)}


def tensors(shapes):
    generator = torch.Generator().manual_seed(0)
    return {name: torch.randn(shape, generator=generator) for name, shape in shapes.items()}


def write_zero2(folder, ranks, groups=(("a.weight", "c"), ("a.bias", "b.weight"))):
    folder.mkdir()
    values, frozen = tensors(SHAPES), tensors(FROZEN)
    model = {
        "module": {},
        "param_shapes": [{name: torch.Size(SHAPES[name]) for name in group} for group in groups],
        "frozen_param_shapes": {name: torch.Size(shape) for name, shape in FROZEN.items()},
        "frozen_param_fragments": frozen,
        "shared_params": {"alias": "c"},
    }
    torch.save(model, folder / "mp_rank_00_model_states.pt")
    flats = []
    for group in groups:
        flat = torch.cat([values[name].flatten() for name in group])
        size = math.ceil(len(flat) / (2 * ranks)) * 2
        flats.append(torch.cat([flat, torch.zeros(size * ranks - len(flat))]).chunk(ranks))
    for rank in range(ranks):
        state = {
            "single_partition_of_fp32_groups": [flat[rank].clone() for flat in flats],
            "partition_count": [ranks] * 2,
        }
        torch.save({"optimizer_state_dict": state}, folder / f"bf16_zero_pp_rank_{rank}_mp_rank_00_optim_states.pt")
    return {**values, **frozen, "alias": values["c"]}


def write_zero3(folder, ranks, groups):
    folder.mkdir()
    values, frozen = tensors(SHAPES), tensors(FROZEN)

    def parts(tensor):
        size = math.ceil(tensor.numel() / ranks)
        padded = torch.cat([tensor.flatten(), torch.zeros(size * ranks - tensor.numel())])
        return padded.chunk(ranks)

    for rank in range(ranks):
        model = {
            "module": {},
            "param_shapes": [{name: torch.Size(SHAPES[name]) for name in group} for group in groups],
            "frozen_param_shapes": {name: torch.Size(shape) for name, shape in FROZEN.items()},
            "frozen_param_fragments": {name: parts(tensor)[rank].clone() for name, tensor in frozen.items()},
            "shared_params": {},
        }
        torch.save(model, folder / f"zero_pp_rank_{rank}_mp_rank_00_model_states.pt")
        flat = [torch.cat([parts(values[name])[rank] for name in group]) for group in groups]
        state = {"fp32_flat_groups": flat, "partition_count": ranks}
        torch.save({"optimizer_state_dict": state}, folder / f"zero_pp_rank_{rank}_mp_rank_00_optim_states.pt")
    return {**values, **frozen}


def assert_opens_as(folder, expected):
    assert is_zero(folder)
    found = open_zero(folder)
    assert found.keys() == expected.keys()
    for name, tensor in expected.items():
        assert torch.equal(found[name].read(), tensor)
        assert found[name].shape == tuple(tensor.shape)


@pytest.mark.parametrize("ranks", [1, 2, 3, 11])
def test_zero_2_comes_back_from_any_number_of_ranks(tmp_path, ranks):
    assert_opens_as(tmp_path / "ckpt", write_zero2(tmp_path / "ckpt", ranks))


@pytest.mark.parametrize("ranks", [1, 2, 3, 11])
@pytest.mark.parametrize("groups", [[tuple(SHAPES)], [("a.weight",), ("a.bias", "b.weight", "c")]])
def test_zero_3_comes_back_from_any_number_of_ranks(tmp_path, ranks, groups):
    assert_opens_as(tmp_path / "ckpt", write_zero3(tmp_path / "ckpt", ranks, groups))


def test_latest_says_which_step_is_meant(tmp_path):
    expected = write_zero2(tmp_path / "global_step4", 2)
    (tmp_path / "latest").write_text("global_step4")
    assert_opens_as(tmp_path, expected)


def test_a_rank_without_its_file_is_counted(tmp_path):
    write_zero2(tmp_path / "ckpt", 3)
    (tmp_path / "ckpt" / "bf16_zero_pp_rank_1_mp_rank_00_optim_states.pt").unlink()
    with pytest.raises(DataError, match="3 ranks wrote it, 2 of their"):
        open_zero(tmp_path / "ckpt")


def test_parts_that_do_not_fill_a_shape_name_the_tensor(tmp_path):
    write_zero2(tmp_path / "ckpt", 1)
    file = tmp_path / "ckpt" / "bf16_zero_pp_rank_0_mp_rank_00_optim_states.pt"
    state = {"single_partition_of_fp32_groups": [torch.zeros(16), torch.zeros(6)], "partition_count": [1, 1]}
    torch.save({"optimizer_state_dict": state}, file)
    with pytest.raises(DataError, match=r"end before tensor b.weight of shape \(2, 2, 3\) is full"):
        open_zero(tmp_path / "ckpt")


def test_without_an_optimizer_the_models_own_weights_are_taken(tmp_path):
    (tmp_path / "ckpt").mkdir()
    module = {"module": {"w": torch.ones(2)}, "param_shapes": []}
    torch.save(module, tmp_path / "ckpt" / "mp_rank_00_model_states.pt")
    assert_opens_as(tmp_path / "ckpt", {"w": torch.ones(2)})
