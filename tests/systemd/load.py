"""Clients that keep asking until their input ends: `python -m tests.systemd.load PORT`.

It prints as JSON how many requests were answered, and what became of the others. No request is
tried again: one that was lost is told of, though any browser or proxy would repeat it.
"""

import http.client
import json
import sys
import threading
import time

from tests.support.expected import digits

__all__ = ["main"]

KEPT, FRESH = 4, 4
"""Clients that keep their connection, and clients that make one for each request."""

SECONDS = 30
PAUSE_SECONDS = 0.1
"""Between the requests of a client: a steady load, with time left for what happens beside it."""

COUNTS = (1, 10, 500)


class LoadClients:
    """Clients, and what they have seen."""

    def __init__(self, port: int) -> None:
        """Start them.

        Args:
            port: of 127.0.0.1.
        """
        self._port = port
        self._is_over = threading.Event()
        self._lock = threading.Lock()
        self._answered = 0
        self._failures: list[str] = []
        self._expected = {n: {"N": n, "result": digits(0, n)} for n in COUNTS}
        ask = [self._keep_asking] * KEPT + [self._ask_afresh] * FRESH
        self._threads = [threading.Thread(target=each) for each in ask]
        for thread in self._threads:
            thread.start()

    def stop(self) -> dict[str, object]:
        """End them, and return the figures."""
        self._is_over.set()
        for thread in self._threads:
            thread.join()
        return {"answered": self._answered, "failures": self._failures}

    def _keep_asking(self) -> None:
        connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=SECONDS)
        while not self._is_over.wait(PAUSE_SECONDS):
            self._ask(connection)
        connection.close()

    def _ask_afresh(self) -> None:
        while not self._is_over.wait(PAUSE_SECONDS):
            connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=SECONDS)
            self._ask(connection)
            connection.close()

    def _ask(self, connection: http.client.HTTPConnection) -> None:
        for n, expected in self._expected.items():
            try:
                connection.request("GET", f"/fib/{n}")
                reply = connection.getresponse()
                answer = json.loads(reply.read())
                failure = "" if answer == expected else f"/fib/{n}: {reply.status} {answer}"[:300]
            except (OSError, http.client.HTTPException, ValueError) as error:
                connection.close()
                failure = f"{time.strftime('%T')} /fib/{n}: {error!r}"
            with self._lock:
                self._answered += not failure
                if failure:
                    self._failures.append(failure)


def main() -> None:
    """Ask until the input ends."""
    clients = LoadClients(int(sys.argv[1]))
    sys.stdin.read()
    json.dump(clients.stop(), sys.stdout)


if __name__ == "__main__":
    main()
