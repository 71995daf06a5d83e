#!/opt/fib/bin/python -I
"""Health check of the image: probes the service that the container runs as its first process.

fibserver is probed by `fibclient ping`, which fails while it drains; fibweb by `/healthz`, which
succeeds without a fibserver, since a restart of fibweb would not help.
"""

import http.client
import os
import sys
from pathlib import Path

PROBE_SECONDS = 5


def main() -> None:
    """Exit with 0 if the service is healthy; otherwise with a message."""
    # Parts of the command, an init program's before them.
    command = Path("/proc/1/cmdline").read_bytes().decode(errors="replace").split("\0")
    names = {Path(part).name for part in command}
    if "fibweb" in names:
        check_fibweb(os.environ["FIBWEB_LISTEN"].partition(",")[0])
    elif "fibserver" in names:
        ping = ["fibclient", "--server", os.environ["FIBSERVER_LISTEN"]]
        ping += ["--timeout", str(PROBE_SECONDS)]
        if password_file := os.environ.get("FIBSERVER_PASSWORD_FILE"):
            ping += ["--password-file", password_file]
        os.execvp(ping[0], [*ping, "ping"])


def check_fibweb(address: str) -> None:
    """Request `/healthz`; exit with a message if the response is not 200.

    Args:
        address: HOST:PORT; 0.0.0.0 and [::] lead to this host.
    """
    connection = http.client.HTTPConnection(address, timeout=PROBE_SECONDS)
    try:
        connection.request("GET", "/healthz")
        status = connection.getresponse().status
    except (OSError, http.client.HTTPException) as error:
        sys.exit(f"fibweb does not reply on {address}: {error}")
    if status != http.client.OK:
        sys.exit(f"fibweb on {address} replied {status} to /healthz")


if __name__ == "__main__":
    main()
