"""What is refused before anything is served."""

import pytest

from aurora_cli.config.settings import Settings
from aurora_cli.config.using import ServeSettings
from aurora_cli.errors import UsageError
from aurora_cli.pipeline.serve.command import run
from aurora_cli.serving.start import check_address
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
