"""An output whose name promises another format than is written is refused before anything is done."""

import pytest

from aurora_cli.config.resolve import resolve
from aurora_cli.errors import SettingsError


@pytest.mark.parametrize(
    ("setting", "value", "said"),
    [
        ("caption.output", "captions.csv", "a file of JSON lines is written; a name that ends in .jsonl was expected"),
        ("caption.output", "captions.PARQUET", "JSON lines"),
        ("caption.output", "captions.jsonl.gz", "JSON lines"),
        ("caption.output", "s3://bucket/captions.tsv", "JSON lines"),
        ("evaluate.output", "scores.json", "a folder is written; a name without .json was expected"),
        ("convert.output", "model.gguf", "a folder"),
        ("tokenize.output", "tokens.parquet", "a folder"),
        ("merge_shards.output", "merged.arrow", "a folder"),
        ("extract.output", "media.zip", "a folder"),
        ("download.output", "data.tar", "a folder"),
        ("train.run_dir", "model.pt", "a folder"),
        ("evaluate.judge.write_prompts", "prompts.txt", "a folder"),
        ("inspect.html", "report.json", "a page of HTML is written; a name that ends in .html was expected"),
        ("import_data.html", "preview.md", "a page of HTML"),
        ("train.write", "fit.json", "a file of YAML is written; a name that ends in .yaml was expected"),
    ],
)
def test_a_name_that_promises_another_format_is_refused(tmp_path, monkeypatch, setting, value, said):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SettingsError, match=rf"^{setting}: '.*' \(from --set\) is not allowed: .*{said}"):
        resolve(sets=[f"{setting}={value}"], environment={})


@pytest.mark.parametrize(
    ("setting", "value"),
    [
        ("caption.output", "captions.jsonl"),
        ("caption.output", "captions.ndjson"),
        ("caption.output", "captions-ratio-0.3"),
        ("caption.output", "s3://bucket/captions.jsonl"),
        ("evaluate.output", "evaluation/llava-1.5"),
        ("convert.output", "export/auroracap.v2"),
        ("inspect.html", "report.html"),
        ("train.write", "fit.yml"),
    ],
)
def test_a_name_that_promises_that_or_nothing_is_taken(tmp_path, monkeypatch, setting, value):
    monkeypatch.chdir(tmp_path)
    section, _, field = setting.partition(".")
    assert str(getattr(getattr(resolve(sets=[f"{setting}={value}"], environment={}).settings, section), field)) == value
