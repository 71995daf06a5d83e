"""Load generator that runs until its input ends: `python -m tests.systemd.load PORT`.

It prints the number of successful requests and the failures as JSON. Requests are not retried, so
every lost one is reported.
"""

import http.client
import json
import sys
import threading
import time

from tests.support.expected import digits

__all__ = ["LoadClients", "main"]

KEPT, FRESH = 4, 4
"""Numbers of clients with a persistent connection, and with a new one for each round."""

SECONDS = 30
PAUSE_SECONDS = 0.1
"""Pause between the rounds of a client, so that the load leaves CPU time for the upgrade."""

COUNTS = (1, 10, 500)


class LoadClients:
    """Clients with counts of their requests."""

    def __init__(self, port: int) -> None:
        """Start the clients.

        Args:
            port: Port of 127.0.0.1 to connect to.
        """
        self._port = port
        self._is_over = threading.Event()
        self._lock = threading.Lock()
        self._answered = 0
        self._failures: list[str] = []
        self._expected = {n: {"N": n, "result": digits(0, n)} for n in COUNTS}
        runs = [self._run_persistent] * KEPT + [self._run_reconnecting] * FRESH
        self._threads = [threading.Thread(target=run) for run in runs]
        for thread in self._threads:
            thread.start()

    def stop(self) -> dict[str, object]:
        """Stop the clients, and return their counts."""
        self._is_over.set()
        for thread in self._threads:
            thread.join()
        return {"answered": self._answered, "failures": self._failures}

    def _run_persistent(self) -> None:
        connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=SECONDS)
        while not self._is_over.wait(PAUSE_SECONDS):
            self._send_round(connection)
        connection.close()

    def _run_reconnecting(self) -> None:
        while not self._is_over.wait(PAUSE_SECONDS):
            connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=SECONDS)
            self._send_round(connection)
            connection.close()

    def _send_round(self, connection: http.client.HTTPConnection) -> None:
        for n, expected in self._expected.items():
            try:
                connection.request("GET", f"/fib/{n}")
                response = connection.getresponse()
                body = json.loads(response.read())
                failure = "" if body == expected else f"/fib/{n}: {response.status} {body}"[:300]
            except (OSError, http.client.HTTPException, ValueError) as error:
                connection.close()
                failure = f"{time.strftime('%T')} /fib/{n}: {error!r}"
            with self._lock:
                self._answered += not failure
                if failure:
                    self._failures.append(failure)


def main() -> None:
    """Send requests until the input ends."""
    clients = LoadClients(int(sys.argv[1]))
    sys.stdin.read()
    json.dump(clients.stop(), sys.stdout)


if __name__ == "__main__":
    main()
