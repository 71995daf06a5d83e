"""Errors made from a server's reply."""

import pytest

from fibclient import RequestRefused


def test_trailing_space_is_removed() -> None:
    """The list of arguments in an error of Redis ends with a space, which the message has not."""
    assert str(RequestRefused("ERR unknown command 'X', with args beginning with: 'a' ")) == (
        "ERR unknown command 'X', with args beginning with: 'a'"
    )


@pytest.mark.parametrize(
    ("message", "note"),
    [
        ("NOAUTH Authentication required.", "pass the password"),
        ("WRONGPASS invalid username-password pair", "compare the password"),
    ],
)
def test_rejected_password_has_a_note(message: str, note: str) -> None:
    """A traceback shows what to do about the password; the message is the server's."""
    error = RequestRefused(message)
    assert str(error) == message
    assert error.__notes__[0].startswith(note)


def test_other_errors_have_no_note() -> None:
    """Errors whose text has the remedy get no note."""
    assert not hasattr(RequestRefused("BUSY try again later"), "__notes__")
