"""Optional dependencies: an error that names the extra which is not installed."""

from collections.abc import Iterator
from contextlib import contextmanager

__all__ = ["MissingExtra", "extra"]


class MissingExtra(ImportError):
    """Packages of an extra of this distribution are not installed."""


@contextmanager
def extra(user: str, name: str, *packages: str) -> Iterator[None]:
    """Raise an error that says how to install an extra if an import in the block lacks it.

    Args:
        user: What needs the extra, for the message.
        name: Name of the extra in setup.cfg.
        packages: Names of the distributions in the extra. Each has one module, named alike.

    Raises:
        MissingExtra: One of the packages is missing.
    """
    try:
        yield
    except ModuleNotFoundError as error:
        from importlib.util import find_spec  # needed only here

        modules = {package: package.replace("-", "_") for package in packages}
        if (error.name or "").partition(".")[0] not in modules.values():
            raise
        missing = [package for package, module in modules.items() if find_spec(module) is None]
        raise MissingExtra(
            f"{user} needs {_listed(missing)}: pip install 'fibservice[{name}]'"
        ) from error


def _listed(names: list[str]) -> str:
    """Return names as in a sentence: `a`, `a and b` or `a, b and c`."""
    *others, last = names
    return f"{', '.join(others)} and {last}" if others else last
