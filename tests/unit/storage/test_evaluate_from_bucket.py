"""`aurora evaluate` of captions, references and their media that lie in a bucket finds what it finds of files."""

import json
import tarfile
from pathlib import Path

import pytest
from PIL import Image

from aurora_cli.config.settings import CaptionSettings, EvaluateSettings, ExtractSettings, Settings
from aurora_cli.errors import DataError, HostError
from aurora_cli.pipeline.evaluate import command as evaluate
from aurora_cli.pipeline.evaluate.result import EvaluateResult
from aurora_cli.pipeline.extract import command as extract
from tests.captioners import make_runs
from tests.object_storage import forget_clients, needs_s3

NAMES = [f"{number}.png" for number in range(3)]
REFERENCES = [{"id": name, "references": [f"a photo of number {name}", "a photo"]} for name in NAMES]
CAPTIONS = [{"media": name, "caption": f"a photo of {name}"} for name in NAMES]


def lines_of(rows: list[dict]) -> bytes:
    return b"".join(json.dumps(row).encode() + b"\n" for row in rows)


def evaluated(workspace: Path, **values: object) -> EvaluateResult:
    chosen = EvaluateSettings.model_validate(
        {"metrics": ("rouge_l",), "resamples": 100, "tokenizer": "python"} | values
    )
    caption = CaptionSettings(max_new_tokens=4)
    result = evaluate.run(Settings(workspace=workspace, evaluate=chosen, caption=caption))
    assert isinstance(result, EvaluateResult)
    return result


def test_captions_and_references_by_url_score_as_files_do(bucket, tmp_path):
    urls, files = {}, {}
    for name, rows in {"captions": CAPTIONS, "references": REFERENCES, "against": CAPTIONS[1:]}.items():
        files[name] = tmp_path / f"{name}.jsonl"
        files[name].write_bytes(lines_of(rows))
        urls[name] = bucket.write(f"run/{name}.jsonl", lines_of(rows))
    here, there = evaluated(tmp_path, **files, output="here"), evaluated(tmp_path, **urls)
    assert there.metrics == here.metrics
    assert there.against is not None
    assert there.against.captions == urls["against"], "not its copy in the cache"
    assert (there.captions, there.references) == (urls["captions"], urls["references"])
    assert (tmp_path / "evaluation/captions/evaluation.json").is_file()
    evaluated(tmp_path, **urls)
    assert [path.name for path in (tmp_path / "evaluation").iterdir()] == ["captions"], "found as its own"


def test_an_object_that_is_not_there_and_one_that_holds_no_references_are_named_by_their_urls(memory, tmp_path):
    with pytest.raises(DataError, match=r"memory://bucket/no\.jsonl: there is no such object"):
        evaluated(tmp_path, captions=memory.url("no.jsonl"), references=memory.url("no.jsonl"))
    empty = memory.write("empty.jsonl", lines_of([{"id": "a", "references": []}]))
    with pytest.raises(DataError, match=r"^memory://bucket/empty\.jsonl: holds no reference"):
        evaluated(tmp_path, captions=empty, references=empty)
    named = memory.write("references.jsonl", lines_of(REFERENCES))
    other = memory.write("other.jsonl", lines_of([{"media": "z.png", "caption": "z"}]))
    with pytest.raises(DataError, match=r"memory://bucket/other\.jsonl"):
        evaluated(tmp_path, captions=other, references=named)


@needs_s3
@pytest.mark.slow
def test_wrong_credentials_are_exit_4_and_say_what_to_set(s3, tmp_path, monkeypatch):
    url = s3.write("references.jsonl", lines_of(REFERENCES))
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    forget_clients()
    with pytest.raises(HostError, match="no credentials for bucket") as raised:
        evaluated(tmp_path, captions=url, references=url)
    assert "AWS_ACCESS_KEY_ID" in str(raised.value)


@pytest.mark.slow
def test_a_model_captions_the_media_that_references_in_a_bucket_name(memory, tmp_path):
    make_runs(tmp_path)
    (tmp_path / "local").mkdir()
    for name in NAMES:
        Image.effect_noise((60, 40), 30).save(tmp_path / "local" / name)
        memory.write(f"set/{name}", (tmp_path / "local" / name).read_bytes())
    (tmp_path / "local/references.jsonl").write_bytes(lines_of(REFERENCES))
    outside = {"id": str(tmp_path / "local/0.png"), "references": ["of this machine"]}
    url = memory.write("set/references.jsonl", lines_of([*REFERENCES, outside]))
    with tarfile.open(tmp_path / "all.tar", "w") as tar:
        for name in NAMES:
            tar.add(tmp_path / "local" / name, name)
    extract.run(Settings(workspace=tmp_path, extract=ExtractSettings(inputs=(tmp_path / "all.tar",), layout="index")))
    for name in ("all.tar", "all.tar.index"):
        memory.write(name, (tmp_path / name).read_bytes())
    here = evaluated(tmp_path, model="runs/language", references="local/references.jsonl", output="here")
    for number, root in enumerate([None, memory.url("set/"), memory.url("all.tar"), tmp_path / "all.tar"]):
        there = evaluated(tmp_path, model="runs/language", references=url, media_root=root, output=f"there-{number}")
        assert there.metrics == here.metrics
        assert there.matched == len(NAMES), "and not the file of this machine"
