"""`info` on a terminal and for programs."""

import json
import re

import pytest

from fibclient.cli.render.tables import show_tables
from fibcommon.info import parse_info
from tests.support.fibclient_command import fibclient, on_terminal
from tests.support.servers import RunningServer

NOBODY = "127.0.0.1:1"


def test_info_prints_plain_lines_without_terminal(server: RunningServer) -> None:
    """Without a terminal, the lines are printed as the server sends them."""
    done = fibclient("--server", server.address, "info", "server")
    assert (done.returncode, done.stderr) == (0, "")
    heading, first, *rest = done.stdout.splitlines()
    assert heading == "# Server"
    assert first.startswith("redis_version:")
    assert f"tcp_port:{server.port}" in rest


def test_info_prints_json(server: RunningServer) -> None:
    """`--json` prints the values by section; numbers are numbers."""
    done = fibclient("--server", server.address, "--json", "info")
    sections = json.loads(done.stdout)
    assert sections["server"]["tcp_port"] == server.port
    assert sections["workers"]["workers"] > 0
    assert isinstance(sections["workers"]["worker_pids"], list)
    assert isinstance(sections["server"]["fibserver_version"], str)
    assert list(sections) == list(parse_info(fibclient("--server", server.address, "info").stdout))


def test_info_of_several_servers(server: RunningServer) -> None:
    """Each server is shown under its address; an unreachable one does not affect others."""
    servers = f"{NOBODY},{server.address}"
    done = fibclient("--server", servers, "info", "clients")
    assert done.returncode == 3
    assert done.stdout.splitlines()[:2] == [f"## {server.address}", "# Clients"]
    assert done.stderr.startswith(f"{NOBODY}  cannot connect")

    done = fibclient("--server", servers, "--json", "info", "clients")
    assert done.returncode == 3
    found = json.loads(done.stdout)
    assert found[NOBODY]["error"].startswith("cannot connect")
    assert found[server.address]["clients"]["connected_clients"]


def test_info_of_unreachable_server() -> None:
    """A single unreachable server gives exit code 3 and one line."""
    done = fibclient("--server", NOBODY, "info")
    assert (done.returncode, done.stdout) == (3, "")
    assert done.stderr.startswith(f"fibclient: cannot connect to {NOBODY}")
    assert done.stderr.count("\n") == 1


def test_unknown_section_is_an_error(server: RunningServer) -> None:
    """An unknown section is an error."""
    done = fibclient("--server", server.address, "info", "nonsense")
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == (
        f"fibclient: {server.address} has no section 'nonsense': see `fibclient info --help`\n"
    )


def test_info_on_terminal_shows_tables(server: RunningServer) -> None:
    """A terminal shows tables for each section, with formatted values."""
    screen = on_terminal("--server", server.address, "info", "all", columns=100)
    assert screen.code == 0
    assert "Memory\n" in screen.text
    assert "maxmemory                536.9 MB" in screen.text
    assert "maxmemory_human" not in screen.text
    lines = [line.split() for line in screen.lines]
    assert ["maxclients", "10,000"] in lines
    assert ["tcp_port", str(server.port)] in lines
    assert ["elements", "bytes", "streamed_bytes"] in lines
    assert max(map(len, screen.lines)) <= 100


def test_info_fits_narrow_and_dumb_terminals(server: RunningServer) -> None:
    """Tables fit narrow terminals; a dumb one gets no control sequences."""
    plain = fibclient("--server", server.address, "info", "all").stdout
    names = {"total_connections_received", *re.findall(r"([\w.]+)=", plain)}
    for columns in (60, 40):
        screen = on_terminal("--server", server.address, "info", "all", columns=columns)
        assert max(map(len, screen.lines)) <= columns
        assert names <= set(screen.text.replace("=", " ").split())  # no name is folded
    screen = on_terminal("--server", server.address, "info", "all", term="dumb")
    assert "\x1b" not in screen.raw


def test_long_info_value_is_folded(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A value that is too long is folded, but its name is not."""
    monkeypatch.setenv("COLUMNS", "40")
    show_tables({"workers": {"total_connections_received": "1", "worker_pids": "12345," * 40}})
    assert "total_connections_received" in capsys.readouterr().out
