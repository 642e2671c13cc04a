"""`aurora convert`: every layout holds the same weights, computes the same, and is whole or absent."""

import json
import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file

import aurora_cli
from aurora_cli.checkpoints import names
from aurora_cli.checkpoints.facts import LogitComparison
from aurora_cli.checkpoints.opening import open_checkpoint
from aurora_cli.checkpoints.weight_files import open_weights
from aurora_cli.checkpoints.writing import write_weights
from aurora_cli.cli.app import run as aurora
from aurora_cli.config.settings import ConvertSettings, ModelSettings, Settings
from aurora_cli.errors import DataError, UsageError
from aurora_cli.export import verify
from aurora_cli.export.verify_ids import check_ids, check_stops
from aurora_cli.io.atomic import read_json
from aurora_cli.pipeline.convert.command import run
from tests.captioners import GOLDEN, MERGING, TOKENIZER, WEIGHTS, convert_settings, make_runs, weights
from tests.preloaded import ORDINARY

LLAVA_TENSORS = read_json(GOLDEN / "export" / "huggingface_tensors.json")["pytorch_model.bin"]


@pytest.fixture(autouse=True)
def _imports_done(request: pytest.FixtureRequest) -> None:
    """Exports are verified in processes of their own, in the slow tests."""
    if request.node.get_closest_marker("slow"):
        request.getfixturevalue("imports_done")


def export(workspace: Path, layout: str, **convert) -> Path:
    result = run(convert_settings(workspace, format=layout, verify=False, **convert))
    assert result.done
    assert result.exit_code == 0
    return Path(result.output)


def read(path: Path) -> dict[str, torch.Tensor]:
    return {name: tensor.read() for name, tensor in open_checkpoint(path).tensors.items()}


def assert_same(found, expected):
    assert found.keys() == expected.keys()
    for name, tensor in expected.items():
        assert torch.equal(found[name], tensor), name


def test_without_a_run_the_message_says_what_to_type(tmp_path):
    with pytest.raises(DataError) as caught:
        run(convert_settings(tmp_path))
    assert caught.value.hint == "aurora train --stage projection"


@pytest.mark.parametrize("given", [{"checkpoint": "nothing"}, {"base": "nothing"}])
def test_a_source_that_is_not_there_is_told_by_a_dry_run_too(tmp_path, given):
    make_runs(tmp_path)
    with pytest.raises(DataError, match="nothing: there is no such folder or file"):
        run(convert_settings(tmp_path, **given), dry_run=True)


def test_the_folder_of_a_runs_checkpoints_is_not_one_and_the_run_is_named(tmp_path):
    make_runs(tmp_path)
    with pytest.raises(DataError, match="is not a checkpoint") as caught:
        run(convert_settings(tmp_path, checkpoint="runs/language/checkpoints"))
    assert caught.value.hint == f"{tmp_path / 'runs/language'} is one: its newest checkpoint is taken."


@pytest.mark.slow
def test_an_unfinished_run_is_not_taken_unasked(tmp_path):
    newest = make_runs(tmp_path)
    for finished in tmp_path.glob("runs/*/finished.json"):
        finished.unlink()
    with pytest.raises(DataError, match="has finished") as caught:
        run(convert_settings(tmp_path))
    assert "aurora convert runs/language" in (caught.value.hint or "")
    assert run(convert_settings(tmp_path, checkpoint=str(newest), verify=False)).done


@pytest.mark.slow
def test_the_newest_finished_run_becomes_a_verified_export_and_a_second_call_does_nothing(tmp_path):
    make_runs(tmp_path)
    settings = convert_settings(tmp_path, format="huggingface")
    assert run(settings, dry_run=True).lines() == [
        f"Would write runs/language as huggingface to {tmp_path / 'export' / 'huggingface'}"
    ]
    assert not (tmp_path / "export").exists()
    first = run(settings)
    assert first.done
    assert first.verified
    assert first.stages == ("projection", "language")
    assert [each.what for each in first.differences] == [
        "an image, nothing merged, plain transformers",
        "a video, kept ratio 0.5",
    ]
    assert all(each.difference < 1e-5 for each in first.differences)
    assert first.lines()[-1] == (
        "  right at kept ratio 0.5, as it was trained: a program that does not merge runs it at kept ratio 1, which is "
        "another model"
    )
    files = {file: file.stat().st_mtime_ns for file in Path(first.output).rglob("*")}
    second = run(settings)
    assert not second.done
    assert second.verified
    assert "nothing to do" in second.lines()[0]
    assert files == {file: file.stat().st_mtime_ns for file in Path(first.output).rglob("*")}

    weights_file = tmp_path / "runs/language/checkpoints/step-00000002/model.safetensors"
    os.utime(weights_file)
    assert run(convert_settings(tmp_path, format="huggingface", verify=False)).done
    assert not run(convert_settings(tmp_path, format="huggingface", verify=False)).done
    (Path(first.output) / "config.json").unlink()
    assert run(convert_settings(tmp_path, format="huggingface", verify=False)).done


@pytest.mark.slow
def test_round_trips_change_no_bit(tmp_path):
    source = read(make_runs(tmp_path))
    first = export(tmp_path, "huggingface")
    xtuner = export(tmp_path, "xtuner", checkpoint=str(first))
    again = export(tmp_path, "huggingface", checkpoint=str(xtuner), output=tmp_path / "again")
    official = export(tmp_path, "official", checkpoint=str(again))
    assert_same(read(xtuner), read(first))
    assert_same(weights(again), weights(first))
    assert_same(read(official), read(first))
    for name, tensor in source.items():
        assert torch.equal(read(first)[name][: len(tensor)], tensor)
    for folder in (first, xtuner, again, official):
        checkpoint = open_checkpoint(folder)
        assert checkpoint.merging == MERGING
        assert [stage.stage for stage in checkpoint.history] == ["projection", "language"]
    assert (again / "tokenizer.json").read_text() == (first / "tokenizer.json").read_text()


@pytest.mark.slow
def test_a_run_straight_to_xtuner_and_official_keeps_rows_and_names(tmp_path):
    source = read(make_runs(tmp_path))
    xtuner, official = export(tmp_path, "xtuner"), export(tmp_path, "official")
    assert_same(read(xtuner), source)
    assert_same(read(official), source)
    assert set(load_file(xtuner / "projector" / "model.safetensors")) == {
        f"model.{layer}.{kind}" for layer in (0, 2) for kind in ("weight", "bias")
    }
    assert "model.embed_tokens.weight" in weights(xtuner)
    assert {"model.mm_projector.0.weight", "model.vision_tower.vision_tower.vision_model.post_layernorm.bias"} <= set(
        weights(official)
    )


@pytest.mark.slow
def test_parts_of_an_xtuner_export_load_by_themselves(tmp_path):
    from transformers import AutoModel, AutoModelForCausalLM, AutoTokenizer, CLIPVisionModel

    make_runs(tmp_path)
    folder = export(tmp_path, "xtuner")
    for cls, where in ((AutoModelForCausalLM, folder), (CLIPVisionModel, folder / "visual_encoder")):
        _, info = cls.from_pretrained(where, output_loading_info=True)
        assert not info["missing_keys"]
        assert not info["unexpected_keys"]
    # By `architectures` servers would take the root for a captioner, and load it without eyes.
    assert read_json(folder / "config.json")["architectures"] == ["AuroraCapLanguageModelPart"]
    assert len(AutoTokenizer.from_pretrained(folder)) == 671
    projector, info = AutoModel.from_pretrained(folder / "projector", trust_remote_code=True, output_loading_info=True)
    assert not info["missing_keys"]
    expected = aurora_cli.load_model(folder).model.multi_modal_projector
    tokens = torch.randn(3, 32)
    torch.testing.assert_close(projector(tokens), expected(tokens))


@pytest.mark.slow
def test_golden_weights_get_the_names_and_shapes_of_the_originals_own_export(tmp_path):
    settings = Settings(
        workspace=tmp_path,
        model=ModelSettings(tokenizer=str(GOLDEN / "tokenize" / "mistral_v1")),
        convert=ConvertSettings(checkpoint=str(WEIGHTS), format="huggingface", verify=False),
    )
    result = run(settings)
    found = {name: tuple(tensor.shape) for name, tensor in weights(Path(result.output)).items()}
    assert found.keys() == LLAVA_TENSORS.keys()
    for name, (shape, dtype, _) in LLAVA_TENSORS.items():
        if ".mlp." not in name or "language_model" not in name:  # the recorded export had a narrower language model
            assert found[name] == tuple(shape), name
        assert dtype == "torch.float32"
    assert any("did not" in note or "does not say" in note for note in result.notes)
    assert not any("another model" in line for line in result.lines())  # nothing merges
    config = read_json(Path(result.output) / "config.json")
    assert config["image_token_index"] == 32000
    assert config["merging"]["schedule"] == "constant"


@pytest.mark.slow
def test_the_state_dict_of_training_exports_as_the_folder_does(tmp_path):
    state = tmp_path / "iter_1.pth"
    torch.save({"state_dict": load_file(WEIGHTS / "aurora_state_dict.safetensors"), "meta": {}}, state)
    from_state = export(tmp_path, "xtuner", checkpoint=str(state), base=str(WEIGHTS), output=Path("a"))
    from_folder = export(tmp_path, "xtuner", checkpoint=str(WEIGHTS), output=Path("b"))
    for part in ("", "visual_encoder", "projector"):
        assert_same(weights(from_state / part), weights(from_folder / part))


@pytest.mark.slow
def test_a_narrower_type_shards_and_pickled_files_are_written_when_asked_for(tmp_path):
    source = read(make_runs(tmp_path))
    folder = export(tmp_path, "xtuner", dtype="bfloat16", max_shard_size="30KB", safe_serialization=False)
    assert (folder / "pytorch_model.bin.index.json").exists()
    assert not list(folder.rglob("*.safetensors"))
    assert_same(read(folder), {name: tensor.bfloat16() for name, tensor in source.items()})
    request = verify.VerifyRequest(tmp_path / "runs/language", folder, "xtuner", "bfloat16")
    assert all(each.holds for each in verify.compare(request))
    assert max(each.difference for each in verify.compare(request)) > 0


@pytest.mark.slow
def test_an_export_that_computes_something_else_stays_marked_and_exits_3(tmp_path, monkeypatch):
    make_runs(tmp_path)
    wrong = [LogitComparison("an image", 0.5, 1e-4)]
    monkeypatch.setattr(verify, "verify_in_child", lambda request: wrong)
    result = run(convert_settings(tmp_path, format="xtuner"))
    assert result.exit_code == 3
    assert result.verified is False
    assert "NOT VERIFIED" in "\n".join(result.lines())
    assert read_json(Path(result.output) / "aurora.json")["verified"]["ok"] is False
    assert run(convert_settings(tmp_path, format="xtuner")).exit_code == 3


@pytest.mark.slow
def test_what_was_written_and_not_verified_is_verified_by_the_next_call(tmp_path, monkeypatch):
    make_runs(tmp_path)
    folder = export(tmp_path, "xtuner")
    written = (folder / "model.safetensors").stat().st_mtime_ns
    monkeypatch.setattr(verify, "verify_in_child", verify.compare)
    result = run(convert_settings(tmp_path, format="xtuner"))
    assert result.verified
    assert (folder / "model.safetensors").stat().st_mtime_ns == written
    assert not run(convert_settings(tmp_path, format="xtuner")).done


@pytest.mark.slow
def test_verifying_notices_a_changed_weight_and_a_missing_one(tmp_path):
    run_folder = make_runs(tmp_path)
    folder = export(tmp_path, "huggingface")
    request = verify.VerifyRequest(run_folder, folder, "huggingface", "float32")
    assert all(each.holds for each in verify.compare(request))
    file = folder / "model.safetensors"
    tensors = load_file(file)
    save_file(tensors | {names.HEAD: tensors[names.HEAD] * 1.01}, file, metadata={"format": "pt"})
    assert not all(each.holds for each in verify.compare(request))
    del tensors["multi_modal_projector.linear_1.bias"]
    save_file(tensors, file, metadata={"format": "pt"})
    with pytest.raises(DataError, match=r"multi_modal_projector\.linear_1\.bias"):
        verify.compare(request)


@pytest.mark.slow
def test_verifying_names_the_first_id_that_differs_from_training_and_exits_3(tmp_path):
    make_runs(tmp_path)
    settings = convert_settings(tmp_path, format="huggingface")
    template = export(tmp_path, "huggingface") / "chat_template.jinja"
    template.write_text(template.read_text().replace("ASSISTANT:", "assistant:"))
    result = run(settings)
    assert result.exit_code == 3
    assert "NOT VERIFIED" in "\n".join(result.lines())
    reason = (
        r"text alone, 1 turn, the prompt: id 12 is \d+ \('\S+'\) in the export, "
        r"and was \d+ \('ĠASSISTANT'\) in training"
    )
    assert re.search(reason, "\n".join(result.notes)), result.notes


@pytest.mark.slow
@pytest.mark.parametrize("layout", ["huggingface", "xtuner", "official"])
def test_verifying_notices_an_end_that_training_did_not_teach(tmp_path, layout):
    make_runs(tmp_path)
    folder = export(tmp_path, layout)
    config = read_json(folder / "generation_config.json")
    assert config["eos_token_id"] == 2
    check_ids(folder, TOKENIZER, "vicuna")
    (folder / "generation_config.json").write_text(json.dumps({**config, "eos_token_id": 3}))
    with pytest.raises(DataError, match=r"training ended with the ids \[2\]; it ends with \[3\]"):
        check_ids(folder, TOKENIZER, "vicuna")


@pytest.mark.slow
def test_verifying_lets_an_export_stop_at_the_end(tmp_path):
    from transformers import AutoModelForImageTextToText

    make_runs(tmp_path)
    folder = export(tmp_path, "huggingface")
    model = AutoModelForImageTextToText.from_pretrained(folder)
    check_stops(model, folder, TOKENIZER, "vicuna")
    model.generation_config.suppress_tokens = [2]
    with pytest.raises(DataError, match="does not stop at 2, which ended answers in training"):
        check_stops(model, folder, TOKENIZER, "vicuna")


def nan_weight(workspace: Path) -> str:
    file = workspace / "runs/language/checkpoints/step-00000002/model.safetensors"
    tensors = load_file(file)
    tensors["lm_head.weight"][3, 3] = float("nan")
    save_file(tensors, file)
    return r"step-00000002/model.safetensors: tensor lm_head.weight holds NaN"


def truncated(workspace: Path) -> str:
    file = workspace / "runs/projection/initial/model.safetensors"
    file.write_bytes(file.read_bytes()[:-100])
    return r"initial/model.safetensors: cannot be read, it is cut off or damaged \(tensor \S+ ends 100 bytes"


def wrong_shape(workspace: Path) -> str:
    file = workspace / "runs/language/checkpoints/step-00000002/model.safetensors"
    save_file({**load_file(file), "lm_head.weight": torch.zeros(2, 32)}, file)
    return r"model.safetensors: tensor lm_head.weight has shape \(2, 32\)"


def missing_weights(workspace: Path) -> str:
    (workspace / "runs/projection/checkpoints/step-00000002/model.safetensors").unlink()
    return r"projection/checkpoints/step-00000002/model.safetensors: no such weights file"


def missing_shard(workspace: Path) -> str:
    initial = workspace / "runs/projection/initial"
    tensors = open_weights(initial)
    write_weights(initial, tensors, safe=True, max_shard_bytes=30_000)
    (initial / "model.safetensors").unlink()
    sorted(initial.glob("model-*"))[1].unlink()
    return r"initial/model-00002-of-\d+.safetensors: this shard is missing; .* holds language_model\.\S+ and more"


def missing_tensor(workspace: Path) -> str:
    file = workspace / "runs/projection/initial/model.safetensors"
    tensors = load_file(file)
    del tensors["multi_modal_projector.linear_2.bias"]
    save_file(tensors, file)
    return r"lacks tensor multi_modal_projector\.linear_2\.bias"


@pytest.mark.slow
@pytest.mark.parametrize("damage", [nan_weight, truncated, wrong_shape, missing_weights, missing_shard, missing_tensor])
def test_damage_names_file_and_tensor_and_leaves_nothing_behind(tmp_path, damage):
    make_runs(tmp_path)
    message = damage(tmp_path)
    with pytest.raises(DataError, match=message):
        run(convert_settings(tmp_path, format="huggingface", verify=False))
    assert not (tmp_path / "export").exists() or not list((tmp_path / "export").iterdir())


def test_a_pth_with_a_payload_ends_with_exit_3_and_does_not_run_it(tmp_path, capfd):
    class Payload:
        def __reduce__(self):
            return os.mkdir, (str(tmp_path / "owned"),)

    torch.save({"state_dict": {"projector.model.0.weight": torch.ones(2)}, "x": Payload()}, tmp_path / "iter_1.pth")
    assert aurora(["convert", "iter_1.pth", "out", "--workspace", str(tmp_path)]) == 3
    assert "iter_1.pth: carries code besides weights, which was not run" in capfd.readouterr().err
    assert [entry.name for entry in tmp_path.iterdir()] == ["iter_1.pth"]


@pytest.mark.slow
def test_a_second_convert_into_the_same_output_is_refused_and_says_who_holds_it(tmp_path, capfd):
    make_runs(tmp_path)
    script = (
        "import pathlib, sys, time; from aurora_cli.io.locks import lock_output\n"
        f"with lock_output(pathlib.Path({str(tmp_path / 'export/xtuner')!r}), 'aurora convert'):\n"
        "    print('held', flush=True); sys.stdin.read()\n"
    )
    with subprocess.Popen([ORDINARY, "-c", script], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "held\n"
        with pytest.raises(UsageError, match=rf"is being written by aurora convert \(process {holder.pid} on "):
            run(convert_settings(tmp_path, verify=False))
        assert run(convert_settings(tmp_path, format="official", verify=False)).done
        holder.communicate()
    assert run(convert_settings(tmp_path, verify=False)).done
    assert sorted(entry.name for entry in (tmp_path / "export").iterdir()) == ["official", "xtuner"]


@pytest.mark.slow
def test_an_older_export_stays_when_the_next_one_fails(tmp_path):
    make_runs(tmp_path)
    folder = export(tmp_path, "huggingface")
    before = weights(folder)
    nan_weight(tmp_path)
    with pytest.raises(DataError):
        run(convert_settings(tmp_path, format="huggingface", verify=False))
    assert_same(weights(folder), before)


@pytest.mark.slow
def test_a_folder_of_something_else_is_never_replaced(tmp_path):
    run_folder = make_runs(tmp_path)
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("years")
    for output in (Path("mine"), run_folder.relative_to(tmp_path), Path()):
        with pytest.raises(UsageError, match="did not write"):
            run(convert_settings(tmp_path, output=output, verify=False))
    folder = export(tmp_path, "xtuner")
    with pytest.raises(UsageError, match="what is to be converted"):
        run(convert_settings(tmp_path, checkpoint=str(folder), output=folder, format="official", verify=False))
    assert (tmp_path / "mine" / "thesis.txt").read_text() == "years"


def test_without_a_tokenizer_the_weights_are_written_and_it_is_said(tmp_path):
    settings = Settings(
        workspace=tmp_path, convert=ConvertSettings(checkpoint=str(WEIGHTS), format="huggingface", verify=False)
    )
    result = run(settings)
    assert any("no tokenizer is known" in note for note in result.notes)
    assert read_json(Path(result.output) / "config.json")["text_config"]["vocab_size"] == 2048


@pytest.mark.slow
def test_the_result_is_json(tmp_path):
    import dataclasses

    make_runs(tmp_path)
    result = run(convert_settings(tmp_path, format="xtuner", verify=False))
    assert json.loads(json.dumps(dataclasses.asdict(result)))["merging"]["kept_ratio"] == 0.5
    shutil.rmtree(result.output)


@pytest.mark.slow
def test_pixels_of_the_exports_processor_are_the_golden_ones(tmp_path):
    from transformers import AutoProcessor

    settings = Settings(
        workspace=tmp_path,
        model=ModelSettings(tokenizer=str(TOKENIZER)),
        convert=ConvertSettings(checkpoint=str(WEIGHTS), format="huggingface", verify=False),
    )
    processor = AutoProcessor.from_pretrained(run(settings).output)
    for name, expected in load_file(GOLDEN / "pixels" / "expected.safetensors").items():
        image = Image.open(GOLDEN / "pixels" / "images" / name).convert("RGB")
        got = processor.image_processor(image, return_tensors="pt")["pixel_values"]
        torch.testing.assert_close(got, expected, atol=1e-5, rtol=0)


def test_a_verification_that_is_killed_says_so_and_not_what_was_written_last(tmp_path, monkeypatch):
    program = tmp_path / "program"
    program.write_text("#!/bin/sh\necho what was written last >&2\nkill -SEGV $$\n")
    program.chmod(0o755)
    monkeypatch.setattr(verify.sys, "executable", str(program))
    request = verify.VerifyRequest(tmp_path, tmp_path / "export", "huggingface", "float32")
    with pytest.raises(DataError) as caught:
        verify.verify_in_child(request)
    assert caught.value.message == f"{tmp_path}/export: cannot be verified: what computes it was killed by SIGSEGV"
