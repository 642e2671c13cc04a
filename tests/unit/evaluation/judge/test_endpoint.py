"""One request of a judge on a loopback port, with every fault that a network and a server have."""

import contextlib
import random
import time
from collections.abc import Iterator
from typing import Protocol

import pytest

from aurora_cli.errors import HostError, UsageError
from aurora_cli.evaluation.judge import endpoint as module
from aurora_cli.evaluation.judge.endpoint import Endpoint, Failed, address_of, key_of
from tests.judging import KEY, Stub, running_judge

PROMPT = "Description:\n<<<\ncolour: red\n>>>\nQuestion: colour?"


@pytest.fixture
def judge(monkeypatch: pytest.MonkeyPatch) -> Iterator[Stub]:
    monkeypatch.setattr(module, "FIRST_WAIT_S", 0.01)
    with running_judge() as stub:
        yield stub


class Endpoints(Protocol):
    def __call__(self, *, tries: int = 3, timeout_s: float = 5.0) -> Endpoint: ...


@pytest.fixture
def endpoint(judge: Stub) -> Iterator[Endpoints]:
    """Makes endpoints, which are closed at the end."""
    with contextlib.ExitStack() as stack:

        def make(*, tries: int = 3, timeout_s: float = 5.0) -> Endpoint:
            made = Endpoint(address_of(judge.url), "m", KEY, max_tokens=7, timeout_s=timeout_s, tries=tries)
            return stack.enter_context(contextlib.closing(made))

        yield make


@pytest.mark.parametrize("fault", ["429", "500", "503", "408", "malformed", "empty", "cut", "torn"])
def test_what_passes_is_tried_again(judge, endpoint, fault):
    judge.faults = [fault, fault]
    assert endpoint()(PROMPT) == ("red", 100, 3)
    assert len(judge.prompts) == 3
    judge.faults = [fault] * 3
    with pytest.raises(Failed, match=r"\(3 times\)"):
        endpoint()(PROMPT)


@pytest.mark.slow
def test_a_silent_server_is_tried_again(judge, endpoint):
    judge.faults, judge.slow_s = ["slow"], 1.0
    assert endpoint(timeout_s=0.3)(PROMPT).text == "red"
    assert len(judge.prompts) == 2


@pytest.mark.slow
def test_retry_after_is_waited_for_by_all_requests(judge, endpoint):
    judge.faults, judge.retry_after = ["429"], "1"
    one = endpoint()
    assert one(PROMPT).text == "red"
    assert judge.times[1] - judge.times[0] >= 0.99
    one._quiet_until = time.monotonic() + 0.3  # as another thread leaves it
    begin = time.monotonic()
    one(PROMPT)
    assert judge.times[2] - begin >= 0.29


@pytest.mark.slow
def test_waits_without_retry_after_grow(judge, endpoint, monkeypatch):
    monkeypatch.setattr(module, "FIRST_WAIT_S", 0.1)
    judge.faults = ["500", "500", "500"]
    endpoint(tries=4)(PROMPT)
    waits = [after - before for before, after in zip(judge.times, judge.times[1:], strict=False)]
    assert [0.05 * 2**n <= wait for n, wait in enumerate(waits)] == [True] * 3


def test_waits_change_no_numbers_that_are_drawn_elsewhere(judge, endpoint):
    """A thread may still wait when its command has ended."""
    judge.faults = ["500"]
    before = random.getstate()
    endpoint()(PROMPT)
    assert len(judge.times) == 2
    assert random.getstate() == before


def test_what_does_not_pass_is_not_tried_again(judge, endpoint):
    judge.faults = ["400"]
    with pytest.raises(Failed, match=r"HTTP 400: .*refused 400"):
        endpoint()(PROMPT)
    judge.faults = ["401"]
    with pytest.raises(HostError, match="HTTP 401"):
        endpoint()(PROMPT)
    assert len(judge.prompts) == 2


def test_the_key_is_sent_and_shown_nowhere(judge, endpoint):
    """The stub's refusals repeat the key, as some servers do."""
    shown = []
    for status in ("400", "401", "500"):
        judge.faults = [status]
        with pytest.raises((Failed, HostError)) as error:
            endpoint(tries=1)(PROMPT)
        shown.append(str(error.value))
    assert judge.authorization == {f"Bearer {KEY}"}
    assert not [text for text in shown if KEY in text]
    assert "***" in shown[0]


def test_a_reasoning_model_gets_its_limit_under_its_name(judge, endpoint):
    judge.always = {"Question": "max_tokens"}
    one = endpoint()
    assert one(PROMPT).text == one(PROMPT).text == "red"
    assert [("max_tokens" in body, body.get("max_completion_tokens")) for body in judge.bodies] == [
        (True, None),
        (False, 7),
        (False, 7),
    ]


def test_a_server_that_counts_nothing(judge, endpoint):
    judge.has_usage = False
    assert endpoint()(PROMPT) == ("red", None, None)


def test_addresses():
    for given in ("http://h:1", "http://h:1/", "http://h:1/v1", "http://h:1/v1/", "http://h:1/v1/chat/completions"):
        assert address_of(given).url == "http://h:1/v1/chat/completions"
    assert address_of("https://h/openai/v1?api-version=2").url == "https://h/openai/v1/chat/completions?api-version=2"
    assert address_of("http://u:p@[::1]:8/v1").shown == "http://[::1]:8/v1/chat/completions"
    for wrong in ("h:1", "ftp://h", "http://", "http://h:port/", "file:///etc"):
        with pytest.raises(UsageError, match="is no http or https address"):
            address_of(wrong)


def test_keys(monkeypatch):
    for name in ("AURORA_JUDGE_KEY", "OPENAI_API_KEY", "MINE"):
        monkeypatch.delenv(name, raising=False)
    assert key_of(None) is None
    monkeypatch.setenv("OPENAI_API_KEY", "two")
    assert key_of(None) == "two"
    monkeypatch.setenv("AURORA_JUDGE_KEY", "one\n")
    assert key_of(None) == "one"
    with pytest.raises(UsageError, match="MINE: is not set"):
        key_of("MINE")
    monkeypatch.setenv("MINE", "three")
    assert key_of("MINE") == "three"
