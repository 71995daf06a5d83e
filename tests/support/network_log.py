"""Requests of a page, with their bytes, from the browser's own network log."""

from typing import Any, NamedTuple
from urllib.parse import urlsplit

from playwright.sync_api import CDPSession, Page

__all__ = ["NetworkLog", "Transfer"]


class Transfer(NamedTuple):
    """One request, and what came over the wire.

    Attributes:
        method: Method of the request.
        path: Path of its URL.
        status: Status of the response, 0 without one.
        size_bytes: Bytes of the response, headers included; 0 from the browser's cache.
        is_cached: Whether the browser's cache had the response, without asking the server.
    """

    method: str
    path: str
    status: int
    size_bytes: int
    is_cached: bool

    @property
    def is_file(self) -> bool:
        """Whether the response is the page or one of its files, rather than data."""
        return self.path.endswith("/") or "/page/" in self.path


class NetworkLog:
    """Requests of a page, from now on.

    Attributes:
        session: Session of the DevTools protocol.
    """

    def __init__(self, page: Page) -> None:
        """Start to record.

        Args:
            page: A page of Chromium.
        """
        self._entries: dict[str, dict[str, Any]] = {}
        self.session: CDPSession = page.context.new_cdp_session(page)
        for event, handler in (
            ("Network.requestWillBeSent", self._on_request),
            ("Network.requestServedFromCache", self._on_cached),
            ("Network.responseReceived", self._on_response),
            ("Network.loadingFinished", self._on_finished),
        ):
            self.session.on(event, handler)
        self.session.send("Network.enable")

    def clear(self) -> None:
        """Forget all requests so far."""
        self._entries.clear()

    def transfers(self) -> list[Transfer]:
        """Return the requests whose responses are complete, without those of the browser."""
        return [
            Transfer(
                *(entry["method"], urlsplit(entry["url"]).path, entry.get("status", 0)),
                *(entry["size"], entry.get("is_cached", False)),
            )
            for entry in self._entries.values()
            if "size" in entry and entry["url"].startswith("http")
        ]

    def _on_request(self, event: dict[str, Any]) -> None:
        request = event["request"]
        self._entries[event["requestId"]] = {"method": request["method"], "url": request["url"]}

    def _on_cached(self, event: dict[str, Any]) -> None:
        self._entries[event["requestId"]]["is_cached"] = True

    def _on_response(self, event: dict[str, Any]) -> None:
        entry, response = self._entries.get(event["requestId"], {}), event["response"]
        entry["status"] = response["status"]
        if response.get("fromDiskCache"):
            entry["is_cached"] = True

    def _on_finished(self, event: dict[str, Any]) -> None:
        entry = self._entries.get(event["requestId"], {})
        entry["size"] = 0 if entry.get("is_cached") else int(event["encodedDataLength"])
