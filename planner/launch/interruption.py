"""How a run is told to end: signals of a user, of systemd and of a closing terminal become one interrupt."""

from __future__ import annotations

import signal
from types import FrameType


class sigterm_as_interrupt:  # noqa: N801  (used as a statement)
    """SIGTERM and SIGHUP end a run as Ctrl-C does: engine stopped, trials kept. Further signals are ignored.

    Both become SIGINT, which asyncio handles between two steps of its loop; an exception raised elsewhere may end up in
    a parser's callback and be lost. A signal that was ignored before stays ignored: a run under `nohup` outlives its
    terminal.
    """

    def __enter__(self) -> None:
        def interrupt(number: int, frame: FrameType | None) -> None:  # noqa: ARG001
            for each in self._before:
                signal.signal(each, signal.SIG_IGN)
            if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:  # a background job ignores SIGINT
                raise KeyboardInterrupt
            signal.raise_signal(signal.SIGINT)

        before = {each: signal.getsignal(each) for each in (signal.SIGTERM, signal.SIGHUP)}
        self._before = {each: handler for each, handler in before.items() if handler is not signal.SIG_IGN}
        for each in self._before:
            signal.signal(each, interrupt)

    def __exit__(self, *_: object) -> None:
        for each, handler in self._before.items():
            signal.signal(each, handler)
