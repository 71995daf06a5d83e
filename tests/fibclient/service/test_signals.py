"""Signals as bytes in a pipe."""

import os
import select
import signal

from fibclient.service.signals import SignalPipe


def test_signals_arrive() -> None:
    """A signal makes the pipe readable, and does nothing else."""
    with SignalPipe((signal.SIGUSR1, signal.SIGUSR2)) as signals:
        assert select.select([signals], [], [], 0)[0] == []
        os.kill(os.getpid(), signal.SIGUSR2)
        os.kill(os.getpid(), signal.SIGUSR1)
        assert select.select([signals], [], [], 30)[0] == [signals]
        assert signals.take() == [signal.SIGUSR2, signal.SIGUSR1]


def test_what_was_before_is_back() -> None:
    """Handlers are as they were afterwards, and no descriptor is left."""
    before = signal.getsignal(signal.SIGUSR1)
    descriptors = os.listdir("/proc/self/fd")
    with SignalPipe((signal.SIGUSR1,)):
        assert signal.getsignal(signal.SIGUSR1) is not before
    assert signal.getsignal(signal.SIGUSR1) is before
    assert os.listdir("/proc/self/fd") == descriptors
    assert signal.set_wakeup_fd(-1) == -1


def test_ignoring_for_good() -> None:
    """A process that is about to end is not disturbed any more, outside the context either."""
    before = signal.getsignal(signal.SIGUSR1)
    try:
        with SignalPipe((signal.SIGUSR1, signal.SIGUSR2)) as signals:
            signals.ignore(signal.SIGUSR1)
            os.kill(os.getpid(), signal.SIGUSR1)
            assert select.select([signals], [], [], 0)[0] == []
        assert signal.getsignal(signal.SIGUSR1) is signal.SIG_IGN
        assert signal.getsignal(signal.SIGUSR2) is not signal.SIG_IGN
    finally:
        signal.signal(signal.SIGUSR1, before)
