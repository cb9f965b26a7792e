"""What a report says of a replica, and which replicas agree: pure decisions."""

import itertools
import random

import pytest

from master.chunks.judging import Answer, Progress, Reported, judge_report, plan_members
from master.chunks.replicas import TRANSITIONS, ReplicaState

S = ReplicaState


def judged(
    reported: int,
    was: ReplicaState = S.ABSENT,
    *,
    version: int | None = 5,
    attempted: int = 5,
    member: bool = True,
    registration: bool = False,
    unsure: bool = False,
    damaged: bool = False,
    limit: int = 0,
    admission: bool = False,
) -> ReplicaState:
    return judge_report(
        Reported(reported, unsure, damaged),
        version=version,
        attempted=attempted,
        is_member=member,
        was=was,
        is_registration=registration,
        condemned_through=limit,
        is_of_admission=admission,
    )


def test_versions_decide_about_a_replica_of_which_nothing_is_known() -> None:
    assert judged(5) is S.CURRENT
    assert judged(4) is S.STALE
    assert judged(6, attempted=7) is S.CURRENT, "a raise had failed: nothing was written under that number"
    assert judged(8, attempted=7) is S.UNSURE, "from a future that the log has lost"
    assert judged(5, version=None) is S.ORPHAN
    assert judged(6, attempted=7, member=False) is S.UNSURE, "a comparison that failed took nothing from a whole copy"
    assert judged(6, attempted=7, member=False, admission=True) is S.STALE, "it was below 5 before"
    assert judged(6, attempted=7, admission=True) is S.CURRENT, "what a member has is whole"
    assert judged(5, member=False) is S.UNSURE, "a copy that was never logged, or a disk from somewhere else"


def test_what_is_being_made_is_not_judged() -> None:
    for version, registration, reported in itertools.product((None, 5), (True, False), (1, 5, 9)):
        assert judged(reported, S.FORMING, version=version, registration=registration) is S.FORMING


def test_an_outdated_report_changes_nothing_and_a_registration_is_believed() -> None:
    for was in (S.CURRENT, S.CORRUPT, S.SURPLUS):
        assert judged(4, was) is was
        assert judged(4, was, registration=True) is S.STALE


def test_a_replica_whose_server_lost_power_waits_for_a_comparison() -> None:
    for was in (S.ABSENT, S.CURRENT, S.STALE, S.SURPLUS, S.CORRUPT):
        assert judged(5, was, unsure=True, registration=True) is S.UNSURE
    assert judged(4, unsure=True) is S.STALE, "what is stale need not be compared"
    assert judged(5, unsure=True, damaged=True) is S.UNSURE, "doubtful blocks are no rot"


def test_damage_is_remembered_until_a_registration_says_otherwise() -> None:
    assert judged(5, S.CURRENT, damaged=True) is S.CORRUPT
    assert judged(5, S.CORRUPT) is S.CORRUPT
    assert judged(5, S.CORRUPT, registration=True) is S.CURRENT


def test_a_replica_that_was_called_stale_and_has_the_version_is_compared_first() -> None:
    assert judged(5, S.STALE) is S.UNSURE
    assert judged(4, S.STALE) is S.STALE


def test_a_condemned_replica_stays_so_until_its_server_knows_better() -> None:
    assert judged(5, S.CONDEMNED, limit=5) is S.CONDEMNED
    assert judged(4, S.CONDEMNED, limit=5) is S.CONDEMNED
    assert judged(5, S.CONDEMNED, limit=4) is S.CURRENT, "the server refuses the order, which is for an older one"
    assert judged(5, S.CONDEMNED, limit=5, registration=True) is S.CURRENT, "the server may never have heard of it"
    assert judged(6, S.CONDEMNED, version=None, limit=5) is S.ORPHAN


def test_every_verdict_is_a_step_that_the_table_allows() -> None:
    flags = (True, False)
    for was, reported, known in itertools.product(S, (1, 4, 5, 6, 8), flags):
        if (was in (S.CURRENT, S.UNSURE, S.CORRUPT, S.STALE, S.SURPLUS) and not known) or (was is S.ORPHAN and known):
            continue  # `forget` has dropped these; and a number that is an orphan's is never given out.
        for member, registration, unsure, damaged, limit in itertools.product(flags, flags, flags, flags, (4, 6)):
            verdict = judged(
                reported,
                was,
                version=5 if known else None,
                attempted=6,
                member=member,
                registration=registration,
                unsure=unsure,
                damaged=damaged,
                limit=limit,
            )
            before = S.ABSENT if was is S.CONDEMNED and verdict is not was else was  # See `Reporting._judge`.
            assert verdict is before or verdict in TRANSITIONS[before], (was, verdict)


# Comparisons


def test_the_largest_group_of_sure_replicas_goes_on() -> None:
    answers = [Answer("a", 9, 1), Answer("b", 10, 2), Answer("c", 9, 1), Answer("d", 10, 3, is_unsure=True)]
    assert plan_members(answers) == ("a", "c")


def test_of_equal_groups_of_sure_replicas_the_longest_goes_on() -> None:
    assert plan_members([Answer("a", 9, 1), Answer("b", 10, 2)]) == ("b",)


def test_one_sure_replica_decides_against_any_number_of_unsure_ones() -> None:
    answers = [Answer("a", 9, 1), *(Answer(f"u{n}", 20, 7, is_unsure=True) for n in range(5))]
    assert plan_members(answers) == ("a",)
    assert plan_members([*answers, Answer("v", 9, 1, is_unsure=True)]) == ("a", "v"), "and those that are like it"


def test_if_all_have_lost_power_the_least_doubtful_one_decides_and_then_the_longest() -> None:
    answers = [Answer("a", 9, 1, True, 0), Answer("b", 10, 2, True, 0), Answer("c", 90, 3, True, 1)]
    assert plan_members(answers) == ("b",)
    same_length = [Answer("a", 9, 1, True), Answer("b", 9, 2, True), Answer("c", 9, 2, True)]
    assert plan_members(same_length) == ("b", "c")


def unsure(server: str, digest: int, come: int, durable: int, *, length: int = 9, doubtful: int = 0) -> Answer:
    progress, certain = Progress(3, come), Progress(3, durable)
    return Answer(server, length, digest, True, doubtful, progress=progress, durable_progress=certain)


def test_of_replicas_that_all_lost_power_the_furthest_decides_however_many_agree_on_less() -> None:
    assert plan_members([unsure("a", 1, 7, 7), unsure("b", 1, 7, 7), unsure("c", 2, 8, 8)]) == ("c",)
    longer = [unsure("a", 1, 7, 7, length=10), unsure("b", 2, 8, 8)]
    assert plan_members(longer) == ("b",), "a length may be that of a mutation which was never completed"


def test_progress_under_a_higher_version_is_further_than_any_serial_under_a_lower_one() -> None:
    copied = Answer("a", 9, 1, True, progress=Progress(4, 0), durable_progress=Progress(4, 0))
    assert plan_members([unsure("b", 2, 99, 99), copied]) == ("a",)


def test_a_whole_replica_that_lacks_what_another_had_made_durable_does_not_decide() -> None:
    assert plan_members([unsure("a", 1, 7, 7), unsure("b", 2, 9, 8, doubtful=1)]) == ("b",)


def test_of_replicas_with_all_that_was_durable_anywhere_the_whole_one_decides_though_another_came_further() -> None:
    assert plan_members([unsure("a", 1, 8, 5), unsure("b", 2, 9, 8, doubtful=1)]) == ("a",)
    assert plan_members([unsure("a", 1, 8, 5), unsure("b", 2, 9, 8)]) == ("b",)


@pytest.mark.parametrize("seed", range(50))
def test_nothing_is_given_up_that_one_of_the_replicas_had_made_durable(seed: int) -> None:
    chance = random.Random(seed)
    answers = []
    for n in range(chance.randrange(1, 6)):
        durable = chance.randrange(5)
        come = durable + chance.randrange(3)
        answers.append(unsure(f"cs{n}", come, come, durable, doubtful=chance.randrange(2)))
    chosen = [answer for answer in answers if answer.server in plan_members(answers)]
    assert max(answer.progress for answer in chosen) >= max(answer.durable_progress for answer in answers)


def test_nobody_goes_on_if_nobody_has_answered() -> None:
    assert plan_members([]) == ()


@pytest.mark.parametrize("seed", range(50))
def test_those_that_go_on_are_alike_and_sure_if_any_is(seed: int) -> None:
    chance = random.Random(seed)
    answers = [
        Answer(f"cs{n}", chance.randrange(3), chance.randrange(3), chance.random() < 0.5, chance.randrange(2))
        for n in range(chance.randrange(1, 6))
    ]
    members = plan_members(answers)
    chosen = [answer for answer in answers if answer.server in members]
    assert chosen and len({(answer.length, answer.digest) for answer in chosen}) == 1
    assert [answer.server for answer in chosen] == list(members), "the order decides who is primary"
    if any(not answer.is_unsure for answer in answers):
        assert any(not answer.is_unsure for answer in chosen)
