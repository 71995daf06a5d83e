"""`top`: the live view and the output for programs."""

import fcntl
import io
import json
import os
import re
import signal
import subprocess
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from rich.console import Console

from fibclient.cli.measuring.polling import ServerStatus
from fibclient.cli.measuring.server_sample import SampleRates
from fibclient.cli.render.top_order import ORDERS, TopOrder, ordered
from fibclient.cli.render.top_view import TopView, sparkline
from fibclient.errors import ServerUnreachable
from fibcommon.addresses import Address
from tests.fibclient.cli.measuring.test_server_sample import READING
from tests.support.fake_server import fake_server, in_turn
from tests.support.fibclient_command import COMMAND, Terminal, fibclient
from tests.support.servers import RunningServer
from tests.support.waiting import DEADLINE_SECONDS, wait_until

RATES = SampleRates(12_345.6, 0.0, 5e6, 0.00012, 0.0034)
UP = ServerStatus(
    Address("fib", 1), 1.0, READING, RATES, None, (replace(RATES, requests_per_second=6000), RATES)
)
DOWN = ServerStatus(
    Address("nobody", 2), 0.0, None, None, ServerUnreachable("cannot connect"), (None,)
)


@pytest.mark.parametrize(
    ("values", "width", "line"),
    [
        ([], 10, ""),
        ([0, 7], 10, "▁█"),
        ([0, 0], 10, "▁▁"),
        ([100, 3, 2, 1], 2, "█▅"),
        ([1, None, 1], 10, "█ █"),
        ([1, 2], 0, ""),
        ([1, 2], -5, ""),
        (list(range(8)), 8, "▁▂▃▄▅▆▇█"),
    ],
)
def test_sparkline_is_scaled_to_highest_value(
    values: list[float | None], width: int, line: str
) -> None:
    """The last values are scaled to the highest; a missing value is a gap."""
    assert sparkline(values, width) == line


def shown(statuses: list[ServerStatus], width: int, height: int) -> list[str]:
    """Return the lines of a view on a screen of the given size."""
    console = Console(width=width, height=height, file=io.StringIO(), color_system=None)
    with console.capture() as capture:
        console.print(TopView(statuses, 1.0, TopOrder()))
    return capture.get().splitlines()


def test_top_shows_panels_with_room() -> None:
    """If they fit, each server has a panel with all its values."""
    text = "\n".join(shown([UP, DOWN], 100, 30))
    for part in (
        "fib:1 · fibserver 1.2.3 · up 60.0 s",
        "12,346/s",
        "▄█",
        "5.0 MB/s",
        "errors    0.0/s",
        "p50 0.12 ms   p99 3.4 ms",
        "5, 2 waiting",
        "2, 1 busy, 3 died",
        "1.5 kB of 8.0 kB, 2.0 kB shared, 3.0 kB in total  ━",
        "json 1,000",
        "nobody:2",
        "down  cannot connect",
    ):
        assert part in text


def test_rates_are_unknown_before_first_interval() -> None:
    """Only the rates are unknown before the first interval."""
    text = "\n".join(shown([replace(UP, rates=None, history=())], 100, 30))
    assert re.search(r"latency +– ", text)
    assert "2, 1 busy" in text


def test_top_shows_rows_without_room_for_panels() -> None:
    """If panels do not fit, each server has a row."""
    lines = shown([UP, replace(UP, rates=None), DOWN], 100, 12)
    assert len(lines) < 12
    assert re.search(r"fib:1 +12,346 +5.0 MB/s +0.12 ms +3.4 ms", "\n".join(lines))
    assert "nobody:2 down  cannot connect" in "\n".join(lines)


@pytest.mark.parametrize("width", [20, 40, 60, 80, 140])
@pytest.mark.parametrize("height", [8, 24, 40])
def test_top_fits_every_screen(width: int, height: int) -> None:
    """No line is longer than the screen is wide."""
    for line in shown([UP, DOWN], width, height):
        assert len(line.rstrip()) <= width


def test_top_prints_lines_without_terminal(server: RunningServer) -> None:
    """Without a terminal, a header and a line for each server and interval are printed."""
    servers = f"{server.address},127.0.0.1:1"
    arguments = ("top", "--count", "2", "--interval", "0.2")
    done = fibclient("--server", servers, *arguments)
    assert (done.returncode, done.stderr) == (0, "")
    header, *lines = [line.split() for line in done.stdout.splitlines()]
    assert [line[14] for line in lines] == [server.address, "127.0.0.1:1"] * 2
    figures = dict(zip(header, lines[0], strict=True))
    assert float(figures["req/s"]) >= 0
    assert int(figures["workers"]) > 0
    assert lines[1][:14] == ["-"] * 14
    assert lines[1][15] == "down:"


def test_top_prints_json(server: RunningServer) -> None:
    """`--json` prints an object for each server and interval."""
    arguments = ("top", "--count", "2", "--interval", "0.1")
    done = fibclient("--server", server.address, "--json", *arguments)
    views = [json.loads(line) for line in done.stdout.splitlines()]
    assert len(views) == 2
    for view in views:
        assert (view["server"], view["is_up"]) == (server.address, True)
        assert view["interval_seconds"] > 0
        assert view["requests_per_second"] >= 0
        assert view["memory_limit_bytes"] > 0


def test_top_shows_recovered_server(serve: Callable[..., RunningServer], tmp_path: Path) -> None:
    """A server that was down is shown as up once it replies."""
    address = f"unix:{tmp_path}/fib.sock"
    command = [*COMMAND, "--server", address, "--json", "top", "--interval", "0.1"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as child:
        assert child.stdout is not None
        view = json.loads(child.stdout.readline())
        assert not view["is_up"]
        assert "No such file" in view["error"]
        serve("--listen", address)
        while not view["is_up"] or view["requests_per_second"] is None:
            view = json.loads(child.stdout.readline())
        child.send_signal(signal.SIGINT)
        assert child.wait() == 0


@pytest.mark.parametrize("key", ["q", "Q", "\x03"])
def test_live_view_uses_alternate_screen(server: RunningServer, key: str) -> None:
    """The live view uses the alternate screen, and a key ends it without an error."""
    with Terminal("--server", server.address, "top", rows=30, columns=100) as terminal:
        terminal.wait_for("resident")
        terminal.press("x")
        terminal.press(key)
        screen = terminal.wait()
    assert screen.code == 0
    assert screen.raw.index("\x1b[?1049h") < screen.raw.rindex("\x1b[?1049l")
    assert "Traceback" not in screen.text


def test_top_without_server_fails() -> None:
    """If no server was reachable in any interval, the exit code is 3."""
    arguments = ("top", "--count", "1", "--interval", "0.1")
    done = fibclient("--server", "127.0.0.1:1", *arguments)
    assert done.returncode == 3
    assert "Connection refused" in done.stdout


@pytest.mark.parametrize(
    ("reply", "also", "code"),
    [
        (b"-NOAUTH no\r\n", "", 1),
        (b"HTTP/1.1 400 Bad Request\r\n", "", 1),
        (b"-NOAUTH no\r\n", ",127.0.0.1:1", 3),
    ],
)
def test_top_of_rejecting_servers_fails(reply: bytes, also: str, code: int) -> None:
    """The exit code is 1 if all servers are reachable and reject the requests."""
    with fake_server(in_turn(reply)) as server:
        arguments = ("top", "--count", "1", "--interval", "0.1")
        done = fibclient("--server", server.address + also, *arguments)
    assert done.returncode == code


def test_top_shows_redis_as_down() -> None:
    """A Redis is down, and the error says that it is not a fibserver."""
    with fake_server(in_turn(*[b"$15\r\nredis_version:7\r\n", b"*0\r\n"] * 2)) as server:
        arguments = ("top", "--count", "1", "--interval", "0.1")
        done = fibclient("--server", server.address, "--json", *arguments)
    assert "is not a fibserver" in json.loads(done.stdout)["error"]


def test_servers_are_sorted_by_column() -> None:
    """Numbers are sorted from the highest on; servers without them are last in both directions."""
    slow = replace(UP, server=Address("slow", 1), rates=replace(RATES, p99_seconds=9.0))
    new = replace(UP, server=Address("new", 1), rates=None)
    given = [DOWN, UP, new, slow]
    order = TopOrder("p99")
    assert ordered(given, order) == [slow, UP, new, DOWN]
    assert ordered(given, order.reversed()) == [UP, slow, new, DOWN]
    assert ordered(given, TopOrder("server")) == [UP, new, DOWN, slow]
    assert ordered(given, TopOrder()) == given
    assert order.moved(1).moved(-1) == order
    assert TopOrder().moved(-1).name == ORDERS[-1]


def test_rows_have_a_history() -> None:
    """A row has the history of the requests if the screen is wide enough."""
    assert "▄█" in "\n".join(shown([UP] * 5, 100, 20))
    assert "▄█" not in "\n".join(shown([UP] * 5, 60, 20))


def test_keys_sort_and_last_figures_stay(server: RunningServer) -> None:
    """Arrows choose the column and r the direction; the last figures stay after the end."""
    servers = f"127.0.0.1:1,{server.address}"
    with Terminal("-s", servers, "top", "--interval", "60", rows=30, columns=100) as terminal:
        terminal.wait_for("sorted by given")
        terminal.press("\x1b[C")
        terminal.wait_for("sorted by server ▲")
        terminal.press("r")
        terminal.wait_for("sorted by server ▼")
        terminal.press("q")
        screen = terminal.wait()
    assert screen.code == 0
    last = screen.raw.rpartition("\x1b[?1049l")[2]
    assert server.address in last
    assert "resident" in last
    assert "to quit" not in last


def test_top_ends_although_nobody_reads(server: RunningServer) -> None:
    """SIGTERM ends `top` while it waits for a reader that has stalled."""
    reading, writing = os.pipe()
    fcntl.fcntl(writing, fcntl.F_SETPIPE_SZ, 4096)
    command = [*COMMAND, "-s", server.address, "top", "--json", "--interval", "0.1"]
    with subprocess.Popen(command, stdout=writing) as child:
        wait_until(lambda: is_writing(child.pid), "the pipe is full")
        child.terminate()
        assert child.wait(DEADLINE_SECONDS) == 128 + signal.SIGTERM
    os.close(reading)
    os.close(writing)


def test_live_view_ends_although_nobody_reads(server: RunningServer) -> None:
    """SIGTERM ends the live view, and restores the terminal, although nobody reads its output."""
    arguments = ("-s", server.address, "top", "--interval", "0.1")
    with Terminal(*arguments, rows=30, columns=100) as terminal:
        before = terminal.settings
        wait_until(lambda: is_writing(terminal.process_id), "the terminal's buffer is full")
        assert terminal.settings != before
        terminal.send(signal.SIGTERM)
        assert terminal.wait_unread() == 128 + signal.SIGTERM
        assert terminal.settings == before


def is_writing(process_id: int) -> bool:
    """Return whether a process waits in the kernel for the reader of a pipe or terminal."""
    return Path(f"/proc/{process_id}/wchan").read_text().endswith(("pipe_write", "wait_woken"))
