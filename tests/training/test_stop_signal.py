import os
import signal
import threading
import time
from collections.abc import Iterator

import pytest
from lightning_fabric import Fabric

from mge.training.stop_signal import StopRequest

pytestmark = pytest.mark.alone


@pytest.fixture
def without_terminal() -> Iterator[None]:
    """As nohup starts a program."""
    previous = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    yield
    signal.signal(signal.SIGHUP, previous)


@pytest.mark.usefixtures("without_terminal")
def test_a_run_that_nohup_started_outlives_its_terminal() -> None:
    fabric = Fabric(accelerator="cpu", devices=1)
    with StopRequest() as stop:
        os.kill(os.getpid(), signal.SIGHUP)
        assert stop.agreed(fabric) == (0, False)
        os.kill(os.getpid(), signal.SIGTERM)
        assert stop.agreed(fabric) == (signal.SIGTERM, False)
    assert signal.getsignal(signal.SIGHUP) == signal.SIG_IGN


@pytest.fixture
def terminal() -> Iterator[None]:
    """As a shell starts a program, whoever started the tests."""
    previous = signal.signal(signal.SIGHUP, signal.SIG_DFL)
    yield
    signal.signal(signal.SIGHUP, previous)


@pytest.mark.usefixtures("terminal")
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGUSR1])
def test_every_signal_that_asks_a_program_to_stop_is_remembered_until_the_step_is_done(number: int) -> None:
    with StopRequest() as stop:
        os.kill(os.getpid(), number)
        assert stop.agreed(Fabric(accelerator="cpu", devices=1)) == (number, False)


def slow(seconds: float) -> Iterator[str]:
    """One photo now, another after a while."""
    yield "first"
    time.sleep(seconds)
    yield "second"


def test_a_signal_ends_a_wait_for_photos_that_never_come() -> None:
    fabric = Fabric(accelerator="cpu", devices=1)
    with StopRequest() as stop:
        photos = slow(60)
        assert stop.next_of(photos, may_stop=True) == "first"
        threading.Timer(0.2, os.kill, (os.getpid(), signal.SIGTERM)).start()
        began = time.monotonic()
        assert stop.next_of(photos, may_stop=True) is None
        assert time.monotonic() - began < 10
        assert stop.agreed(fabric) == (signal.SIGTERM, False)
        assert stop.next_of(slow(60), may_stop=True) is None  # nothing further is begun


def test_a_wait_between_halves_of_a_step_goes_on() -> None:
    with StopRequest() as stop:
        photos = slow(0.5)
        assert stop.next_of(photos, may_stop=False) == "first"
        threading.Timer(0.1, os.kill, (os.getpid(), signal.SIGTERM)).start()
        assert stop.next_of(photos, may_stop=False) == "second"
        assert stop.next_of(photos, may_stop=False) is None


def test_a_signal_that_is_passed_on_twice_is_one() -> None:
    with StopRequest() as stop:
        for _ in range(3):
            os.kill(os.getpid(), signal.SIGTERM)
        assert stop.agreed(Fabric(accelerator="cpu", devices=1)) == (signal.SIGTERM, False)


def test_a_second_signal_ends_the_process_whatever_it_waits_for() -> None:
    ready, begun = os.pipe()
    child = os.fork()  # a process that begins anew imports PyTorch first
    if not child:
        try:
            signal.alarm(60)
            with StopRequest():
                os.write(begun, b"waits")
                while True:
                    time.sleep(60)
        finally:
            os._exit(70)
    os.close(begun)
    assert os.read(ready, 5) == b"waits"
    os.kill(child, signal.SIGTERM)
    time.sleep(1.5)
    assert os.waitpid(child, os.WNOHANG) == (0, 0)
    os.kill(child, signal.SIGTERM)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 128 + signal.SIGTERM
    os.close(ready)
