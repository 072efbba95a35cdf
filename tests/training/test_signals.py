import os
import signal
from collections.abc import Iterator

import pytest
from lightning_fabric import Fabric

from mge.training.signals import StopRequest


@pytest.fixture
def without_terminal() -> Iterator[None]:
    """As nohup starts a program."""
    former = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    yield
    signal.signal(signal.SIGHUP, former)


@pytest.mark.usefixtures("without_terminal")
def test_a_run_that_nohup_started_outlives_its_terminal() -> None:
    fabric = Fabric(accelerator="cpu", devices=1)
    with StopRequest() as stop:
        os.kill(os.getpid(), signal.SIGHUP)
        assert stop.agreed(fabric) == (0, False)
        os.kill(os.getpid(), signal.SIGTERM)
        assert stop.agreed(fabric) == (signal.SIGTERM, False)
    assert signal.getsignal(signal.SIGHUP) == signal.SIG_IGN
