"""The public names of the client library.

Those of `fibcommon` are shared by all packages, and need not be exported again.
"""

import inspect
import typing
from collections.abc import Iterator
from concurrent.futures import Future
from typing import Any

import pytest

import fibclient


def annotations(public: Any) -> Iterator[Any]:
    """Yield the annotations of a function, or of the public members and fields of a class."""
    if inspect.isfunction(public):
        yield from typing.get_type_hints(public).values()
        return
    # The client imports this class on demand, for the type checker only.
    module = {**vars(inspect.getmodule(public)), "Future": Future}
    yield from typing.get_type_hints(public, module).values()
    for name, member in vars(public).items():
        function = member.fget if isinstance(member, property) else member
        function = getattr(function, "__func__", function)
        if inspect.isfunction(function) and (not name.startswith("_") or name == "__init__"):
            yield from typing.get_type_hints(function, module).values()


def classes(annotation: Any) -> Iterator[type]:
    """Yield the classes that an annotation mentions."""
    if isinstance(annotation, type) and not typing.get_args(annotation):
        yield annotation
    for argument in typing.get_args(annotation):
        arguments = argument if isinstance(argument, list) else [argument]
        for argument in arguments:
            yield from classes(argument)


@pytest.mark.parametrize("name", sorted({*fibclient.__all__} - {"__version__"}))
def test_public_signatures_mention_only_public_classes(name: str) -> None:
    """Users can import every class that a public signature mentions."""
    public = {getattr(fibclient, name) for name in fibclient.__all__}
    for annotation in annotations(getattr(fibclient, name)):
        for mentioned in classes(annotation):
            if mentioned.__module__.startswith("fibclient."):
                assert mentioned in public
