"""Signals and the watchdog."""

import os
import signal
import threading

import pytest

from aurora_cli.errors import HostError
from aurora_cli.training.processes.signals import StopRequest, on_stop_signals
from aurora_cli.training.processes.watchdog import Watchdog


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_is_noted_and_a_second_one_interrupts(number: signal.Signals) -> None:
    before = signal.getsignal(number)
    request = StopRequest()
    with on_stop_signals(request):
        assert not request.requested
        os.kill(os.getpid(), number)
        assert request.requested
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), number)
    assert signal.getsignal(number) is before


def test_outside_the_main_thread_signals_stay_as_they_are() -> None:
    before = signal.getsignal(signal.SIGTERM)
    seen: list[object] = []

    def work() -> None:
        with on_stop_signals(StopRequest()):
            seen.append(signal.getsignal(signal.SIGTERM))

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert seen == [before]


@pytest.mark.slow
def test_a_step_that_does_not_end_is_reported_with_its_samples_and_stacks(capfd: pytest.CaptureFixture[str]) -> None:
    reported = threading.Event()
    errors: list[HostError] = []

    def on_timeout(error: HostError) -> None:
        errors.append(error)
        reported.set()

    with Watchdog(0.2, 3, on_timeout) as watchdog:
        watchdog.on_data(17, [5, 8])
        assert reported.wait(10)
    assert errors[0].exit_code == 4
    assert "rank 3 is in step 17, samples [5, 8]" in errors[0].message
    assert "test_a_step_that_does_not_end" in capfd.readouterr().err


@pytest.mark.slow
def test_steps_that_end_are_not_reported() -> None:
    errors: list[HostError] = []
    with Watchdog(0.6, 0, errors.append) as watchdog:
        for step in range(8):
            watchdog.on_step_begin(step)
            threading.Event().wait(0.1)
    assert errors == []
