"""The answers to the last requests of each client."""

import random

from master.log.requests import MOST_CLIENTS, RequestTable


def test_an_answer_is_kept_until_its_client_says_that_it_has_it() -> None:
    table = RequestTable()
    for number in (1, 2, 3):
        table.note(client=7, number=number, oldest=1, answer=10 * number)
    table.note(client=7, number=4, oldest=3, answer=40)
    assert [table.answer(7, number) for number in range(1, 6)] == [None, None, 30, 40, None]
    assert [table.is_outdated(7, number) for number in range(1, 6)] == [True, True, False, False, False]
    assert table.answer(8, 3) is None and not table.is_outdated(8, 1)


def test_requests_may_be_carried_out_in_another_order_than_they_were_made() -> None:
    table = RequestTable()
    table.note(client=7, number=5, oldest=4, answer=50)
    table.note(client=7, number=4, oldest=2, answer=40)
    assert table.answer(7, 4) == 40 and table.answer(7, 5) == 50, "what one says of the oldest holds for all"
    table.note(client=7, number=3, oldest=2, answer=30)
    assert table.answer(7, 3) is None, "its client has said that it has that answer"
    table.check_invariants()


def test_a_request_without_a_name_is_not_remembered() -> None:
    table = RequestTable()
    table.note(client=0, number=1, oldest=1, answer=5)
    assert len(table) == 0 and list(table.rows()) == []


def test_an_answer_of_0_is_an_answer() -> None:
    table = RequestTable()
    table.note(client=7, number=1, oldest=1, answer=0)
    assert table.answer(7, 1) == 0


def test_the_client_that_was_heard_of_longest_ago_is_forgotten_first() -> None:
    table = RequestTable()
    for client in range(1, MOST_CLIENTS + 1):
        table.note(client=client, number=1, oldest=1, answer=client)
    table.note(client=1, number=2, oldest=1, answer=1)
    table.note(client=MOST_CLIENTS + 1, number=1, oldest=1, answer=1)
    assert table.answer(1, 1) == 1 and table.answer(2, 1) is None and table.answer(3, 1) == 3
    table.check_invariants()


def test_rows_carry_everything_and_the_order_too() -> None:
    chance = random.Random(1)
    table = RequestTable()
    for number in range(1, 500):
        oldest = max(1, number - chance.randrange(5))
        table.note(client=chance.randrange(1, 20), number=number, oldest=oldest, answer=number)
    table.note(client=99, number=3, oldest=4, answer=1)  # A client of which only the oldest is known.
    again = RequestTable.from_rows(table.rows())
    again.check_invariants()
    assert list(again.rows()) == list(table.rows()) and len(again) == len(table)
    assert again.is_outdated(99, 3) and again.answer(99, 3) is None
