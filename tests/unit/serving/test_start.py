"""What is refused before anything is served."""

import pytest

from aurora_cli.config.settings import Settings
from aurora_cli.config.using import CaptionSettings, ServeSettings
from aurora_cli.errors import UsageError
from aurora_cli.pipeline.serve import command
from aurora_cli.pipeline.serve.command import run
from aurora_cli.serving.start import Address, Served, check_address
from tests.captioners import make_runs


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "::1"])
def test_this_machines_own_addresses_need_no_key(host):
    check_address(host, None)


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "fe80::1", "example.org"])
def test_others_do(host):
    check_address(host, "a key")
    with pytest.raises(UsageError, match="no key is wanted"):
        check_address(host, None)


@pytest.mark.parametrize(
    ("host", "said"),
    [("", "'': is no address$"), ("localhost:8000", "is no address; .*--host localhost --port 8000$")],
)
def test_an_address_has_a_name_and_no_port(host, said):
    with pytest.raises(UsageError, match=said):
        check_address(host, None)


def test_a_ratio_of_its_own_that_the_tower_cannot_come_down_to_is_refused_at_once_and_not_by_each_request(tmp_path):
    make_runs(tmp_path)
    serve = ServeSettings(model=str(tmp_path / "runs" / "language"), token_kept_ratio=0.01, port=0)
    with pytest.raises(UsageError, match=r"kept ratio 0\.01, "):
        run(Settings(workspace=tmp_path, serve=serve))


@pytest.mark.parametrize(
    ("own", "of_caption", "served"),
    [("float16", "bfloat16", "float16"), (None, "bfloat16", "bfloat16"), (None, None, None)],
)
def test_the_type_of_the_weights_is_as_in_caption_where_serve_says_none(tmp_path, monkeypatch, own, of_caption, served):
    given = []

    def serve(settings: Settings, model: str, address: Address, *rest: object) -> Served:
        given.append(settings.caption.dtype)
        return Served("http://127.0.0.1/", 0, 0)

    monkeypatch.setattr(command, "serve", serve)
    model = tmp_path / "model"
    model.mkdir()
    settings = Settings(
        workspace=tmp_path,
        serve=ServeSettings(model=str(model), dtype=own),
        caption=CaptionSettings(dtype=of_caption),
    )
    run(settings)
    assert given == [served]
