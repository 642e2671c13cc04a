"""`aurora convert --push-to-hub` against a hub on this machine."""

import hashlib
from pathlib import Path

import pytest

from aurora_cli.errors import HostError, UsageError
from aurora_cli.pipeline.convert.command import run
from tests.captioners import convert_settings, make_runs
from tests.upload_hub import UploadHub, upload_hub

pytestmark = pytest.mark.filterwarnings("ignore:Use 'content=<...>':DeprecationWarning")  # huggingface_hub's own call


@pytest.fixture
def hub(monkeypatch, tmp_path):
    """huggingface_hub reads its endpoint and token when it is imported: both are set where it keeps them."""
    from huggingface_hub import constants

    with upload_hub() as hub:
        monkeypatch.setattr(constants, "ENDPOINT", hub.url)
        monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", True)  # its protocol is not spoken here
        monkeypatch.setenv("HF_TOKEN", hub.token)
        monkeypatch.setenv("HF_HUB_DISABLE_PROGRESS_BARS", "1")
        yield hub


def push(workspace: Path, repo: str = "me/captioner", **convert):
    return run(convert_settings(workspace, format="huggingface", verify=False, push_to_hub=repo, **convert))


@pytest.mark.slow
def test_every_file_of_the_export_is_in_one_commit(hub: UploadHub, tmp_path):
    make_runs(tmp_path)
    result = push(tmp_path, private=True)
    folder = Path(result.output)
    assert hub.repos["me/captioner"] == {
        str(file.relative_to(folder)): file.read_bytes() for file in folder.rglob("*") if file.is_file()
    }
    assert hub.private == {"me/captioner"}
    assert hub.commits == ["aurora convert"]
    assert result.lines()[-1] == f"  on the hub: {hub.url}/me/captioner/commit/{1:040d}"
    weights = (folder / "model.safetensors").read_bytes()
    assert set(hub.objects) >= {hashlib.sha256(weights).hexdigest()}
    assert [each for each in hub.unknown if not each.startswith("GET")] == []


@pytest.mark.slow
def test_a_second_push_writes_nothing_here_and_sends_no_weights_again(hub: UploadHub, tmp_path):
    make_runs(tmp_path)
    push(tmp_path)
    sent = dict(hub.objects)
    again = push(tmp_path)
    assert not again.done
    assert again.pushed is not None
    assert hub.objects == sent


@pytest.mark.slow
@pytest.mark.parametrize(
    ("path", "status", "hint"), [("create", 403, "may write"), ("commit", 500, "again"), ("batch", 403, "may write")]
)
def test_a_hub_that_refuses_leaves_the_export_here_and_says_what_to_do(
    hub: UploadHub, tmp_path, path, status, hint, monkeypatch
):
    from huggingface_hub.utils import _http

    monkeypatch.setattr(_http.time, "sleep", lambda seconds: None)
    make_runs(tmp_path)
    hub.refuse = (path, status)
    with pytest.raises(HostError, match="me/captioner") as caught:
        push(tmp_path)
    assert hint in (caught.value.hint or "")
    assert (tmp_path / "export" / "huggingface" / "config.json").exists()
    hub.refuse = None
    assert push(tmp_path).pushed is not None


@pytest.mark.slow
def test_without_a_hub_or_with_a_bad_name_it_is_said(hub: UploadHub, tmp_path):
    make_runs(tmp_path)
    with pytest.raises(UsageError, match="no name of a repository"):
        push(tmp_path, repo="a/b/c")
    hub.close()
    with pytest.raises(HostError, match="me/captioner"):
        push(tmp_path)


def test_a_bad_name_is_told_before_anything_is_written(hub: UploadHub, tmp_path):
    make_runs(tmp_path)
    with pytest.raises(UsageError, match="no name of a repository"):
        push(tmp_path, repo="a bad name")
    assert not (tmp_path / "export").exists()


def test_a_dry_run_says_that_it_would_upload(tmp_path):
    make_runs(tmp_path)
    settings = convert_settings(tmp_path, format="huggingface", push_to_hub="me/captioner")
    assert run(settings, dry_run=True).lines()[0].endswith(", and upload it to me/captioner")
