"""Files of weights: read back as they were written, and damage is named."""

import io
import json
import os
import pickle
import zipfile
from collections import OrderedDict

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from aurora_cli.checkpoints.weight_files import has_weights, open_weights
from aurora_cli.checkpoints.writing import write_weights
from aurora_cli.errors import DataError

TENSORS = {
    "a": torch.arange(6.0).reshape(2, 3),
    "b": torch.tensor([1, 2, 3]),
    "c": torch.ones(4, 4, dtype=torch.bfloat16),
    "scalar": torch.tensor(2.5),
    "empty": torch.zeros(0, 3),
}


def values(tensors):
    return {name: tensor.read() for name, tensor in tensors.items()}


def assert_equal(found, expected):
    assert found.keys() == expected.keys()
    for name, tensor in expected.items():
        assert found[name].dtype == tensor.dtype
        assert torch.equal(found[name], tensor)


def test_our_writer_writes_what_safetensors_reads(tmp_path):
    save_file(TENSORS, tmp_path / "theirs.safetensors")
    write_weights(tmp_path / "ours", open_weights(tmp_path / "theirs.safetensors"), safe=True, max_shard_bytes=1 << 30)
    assert_equal(load_file(tmp_path / "ours" / "model.safetensors"), TENSORS)


@pytest.mark.parametrize("safe", [True, False])
def test_shards_hold_at_most_their_size_and_read_back_the_same(tmp_path, safe):
    tensors = {f"layer.{number}": torch.full((10, 10), float(number)) for number in range(7)}
    save_file(tensors, tmp_path / "all.safetensors")
    folder = tmp_path / "shards"
    write_weights(folder, open_weights(tmp_path / "all.safetensors"), safe=safe, max_shard_bytes=1000)
    files = sorted(folder.glob("model-*.safetensors" if safe else "pytorch_model-*.bin"))
    assert len(files) == 4  # 400 bytes a tensor, two in a shard
    index = json.loads(next(folder.glob("*.index.json")).read_text())
    assert index["metadata"]["total_size"] == 7 * 400
    assert has_weights(folder)
    assert_equal(values(open_weights(folder)), tensors)


def test_a_missing_shard_is_named_with_what_it_held(tmp_path):
    tensors = {"one": torch.ones(10), "two": torch.ones(10)}
    save_file(tensors, tmp_path / "all.safetensors")
    write_weights(tmp_path / "m", open_weights(tmp_path / "all.safetensors"), safe=True, max_shard_bytes=40)
    (tmp_path / "m" / "model-00002-of-00002.safetensors").unlink()
    with pytest.raises(DataError, match=r"model-00002-of-00002.safetensors: this shard is missing; .* holds two"):
        open_weights(tmp_path / "m")


@pytest.mark.parametrize("share", [0.0, 0.01, 0.3, 0.9, 0.999])
@pytest.mark.parametrize("name", ["w.safetensors", "w.pth"])
def test_a_file_that_is_cut_off_is_named(tmp_path, name, share):
    path = tmp_path / name
    tensors = {f"t{number}": torch.randn(50) for number in range(20)}
    save_file(tensors, path) if name.endswith("safetensors") else torch.save(tensors, path)
    whole = path.read_bytes()
    path.write_bytes(whole[: int(len(whole) * share)])
    with pytest.raises(DataError, match=name):
        values(open_weights(path))


class Payload:
    """Unpickled, it would make a file."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.mkdir, (str(self.path),)


@pytest.mark.parametrize("zipped", [True, False])
def test_code_in_a_pickle_is_not_run(tmp_path, zipped):
    path, mark = tmp_path / "evil.pth", tmp_path / "owned"
    content = {"state_dict": {"w": torch.ones(2)}, "meta": Payload(mark)}
    torch.save(content, path, _use_new_zipfile_serialization=zipped)
    with pytest.raises(DataError, match=r"evil.pth: carries code besides weights, which was not run") as caught:
        open_weights(path)
    assert not mark.exists()
    assert caught.value.hint is not None
    for protocol in (2, 4, 5):
        (tmp_path / "bare.pth").write_bytes(pickle.dumps({"x": Payload(mark)}, protocol))
        with pytest.raises(DataError, match=r"bare.pth: carries code .* asks for posix.mkdir"):
            open_weights(tmp_path / "bare.pth")
    assert not mark.exists()


def test_what_mmengine_keeps_beside_the_weights_is_passed_over(tmp_path):
    """Its message hub holds a HistoryBuffer of numpy arrays; that class is not here, and is not needed."""
    import sys
    import types

    module = types.ModuleType("mmengine.logging.history_buffer")

    class HistoryBuffer:
        def __init__(self):
            self._log_history = np.arange(3.0)
            self._count = np.float64(1.0)

    HistoryBuffer.__module__, HistoryBuffer.__qualname__ = module.__name__, "HistoryBuffer"
    module.HistoryBuffer = HistoryBuffer
    names = ["mmengine", "mmengine.logging", module.__name__]
    sys.modules |= dict(zip(names, [types.ModuleType(names[0]), types.ModuleType(names[1]), module], strict=True))
    try:
        content = {
            "meta": {"epoch": 1, "cfg": "text", "seed": None},
            "state_dict": OrderedDict(w=torch.ones(2)),
            "message_hub": {"log_scalars": OrderedDict(loss=HistoryBuffer())},
        }
        torch.save(content, tmp_path / "epoch_1.pth")
    finally:
        for name in names:
            del sys.modules[name]
    assert_equal(values(open_weights(tmp_path / "epoch_1.pth")), {"w": torch.ones(2)})


def test_a_pickle_without_tensors_is_refused(tmp_path):
    torch.save({"state_dict": {"text": "none"}}, tmp_path / "a.pth")
    torch.save([1, 2], tmp_path / "b.pth")
    for name in ("a.pth", "b.pth"):
        with pytest.raises(DataError, match=name):
            open_weights(tmp_path / name)


def test_an_index_that_leads_out_of_its_folder_is_refused(tmp_path):
    save_file({"w": torch.ones(1)}, tmp_path / "outside.safetensors")
    (tmp_path / "m").mkdir()
    index = {"weight_map": {"w": "../outside.safetensors"}}
    (tmp_path / "m" / "model.safetensors.index.json").write_text(json.dumps(index))
    with pytest.raises(DataError, match="a file beside it was expected"):
        open_weights(tmp_path / "m")


def test_a_zip_that_is_no_checkpoint_is_refused(tmp_path):
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("hello", "world")
    (tmp_path / "w.bin").write_bytes(buffer.getvalue())
    with pytest.raises(DataError, match=r"w\.bin"):
        open_weights(tmp_path / "w.bin")


@pytest.mark.parametrize("content", ['{"weight_map": {"one": 3}}', '{"weight_map": []}', "{}"])
def test_an_index_that_names_no_files_is_refused(tmp_path, content):
    (tmp_path / "model.safetensors.index.json").write_text(content)
    with pytest.raises(DataError, match=r"model\.safetensors\.index\.json: is not an index of shards"):
        open_weights(tmp_path)
