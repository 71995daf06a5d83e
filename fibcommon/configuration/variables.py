"""Misspelled environment variables.

Others may have the prefix of a service too: Kubernetes and Docker set variables such as
FIBSERVER_PORT for a service of that name. So unknown variables are no errors, and only those that
resemble a setting are reported.
"""

import re
from collections.abc import Iterable, Iterator

__all__ = ["misspelled_variables"]

_OF_CONTAINERS = r"(SERVICE_(HOST|PORT(_.*)?)|(PORT|ENV)(_.*)?|NAME)"
"""Names after the prefix that Kubernetes (services) and Docker (links) set."""


def misspelled_variables(
    prefix: str, names: Iterable[str], variables: Iterable[str]
) -> Iterator[str]:
    """Yield a line for each variable that has the prefix, is unknown and resembles a known one.

    Args:
        prefix: Prefix of the variables, such as `FIBSERVER_`.
        names: Names of the known variables without the prefix, in upper case.
        variables: Names of the variables that are set.
    """
    known = [*names]
    for variable in variables:
        name = variable.removeprefix(prefix)
        if name == variable or name in known or re.fullmatch(_OF_CONTAINERS, name):
            continue
        import difflib  # takes 5 ms, and is rarely needed

        close = difflib.get_close_matches(name.upper(), known, 1)
        if close:
            yield f"{variable} is not a setting and is ignored; did you mean {prefix}{close[0]}?"
