"""`bench.placement`: what it tells follows from the seed, and keeps the rule of racks."""

from bench.placement import play, plot, tables
from master.balance.placement_policies import POLICIES


def test_both_policies_are_played_to_their_end_and_drawn():
    facts = {"servers": 6, "chunks": 120, "racks": 3, "seed": 1}
    outcomes = [play(name, **facts) for name in POLICIES]
    again = play(POLICIES[0], **facts)
    assert again.steps == outcomes[0].steps
    assert [outcome.broken for outcome in outcomes] == [0, 0]
    paper, hashing = (outcome.steps["evened out"][0] for outcome in outcomes)
    assert paper.highest < hashing.highest < 2
    assert "| evened out | hashing |" in tables(outcomes)
    drawn = plot(outcomes, "small")
    assert drawn.startswith("<svg") and drawn.count("<rect") > 40
