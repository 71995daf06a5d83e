"""The page has the same answers as the other doors (`tests/peers/test_same_answers.py`)."""

from collections.abc import Callable

import pytest
from playwright.sync_api import Page

from fibclient import FibClient
from tests.support.questions import ANSWERED, Question
from tests.support.servers import RunningServer

QUESTIONS = [question for question in ANSWERED if question.expect_on_page]


@pytest.mark.parametrize("question", QUESTIONS, ids=[each.command[:50] for each in QUESTIONS])
def test_answers(question: Question, server: RunningServer, visit: Callable[..., Page]) -> None:
    """The page shows what the client library returns."""
    with FibClient(server.address) as library:
        answer = question.call(library)
    page = visit(question.search)
    assert question.expect_on_page is not None
    question.expect_on_page(page, answer)
