"""Is there an order of the steps that explains every answer? (Wing and Gong 1993, Lowe 2017.)

The problem. Three clients ask at the same time; a step takes effect at some moment between its invocation and its
response, and a step whose answer was lost at some moment after its invocation, or never. Is there a choice of moments
under which every answer is the right one?

The idea. Go through invocations and responses in the order of time, and keep all *configurations* that are possible so
far: a state, and the set of steps that have begun and not yet taken effect. At a response, the step must have taken
effect before: every configuration goes on as all those that are reached by letting pending steps take effect, that step
the last of them. If no configuration is left, no order explains this answer, and the step is named.

Equal configurations are kept once (Lowe's memo of bit set and state). Of two with the same state, one that has the same
required steps pending and more of the optional ones can do whatever the other can, so that the other is dropped:
without this, every lost answer would double the work for the rest of the history. Only steps whose paths touch,
directly or by way of others, are tried before a step; and before a step that changes nothing, only as many as it needs.

An optional step whose time is over took effect before everything that is invoked later, or never. To try both at that
moment would double the work for each. It stays pending until something that is invoked later ends it: a change of the
same paths, or a look that would have seen its effect and did not.

What we simplify. A look whose answer it would not change, or before which it was not possible, does not end it.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

from cluster.swarm.names import EMPTY, Action, State, is_below

DEFAULT_BUDGET = 200_000


@dataclass(frozen=True, slots=True)
class Step:
    """One change or one look at the namespace. `error`: the refusal that was answered, "" for success. A step without
    `is_required` may take effect at any time from its invocation to `responded`, or never. `may_have_been_done`: what
    it asks for may be there already, and then it changes nothing."""

    operation: int
    action: Action
    paths: tuple[str, ...]
    invoked: float
    responded: float = math.inf
    is_required: bool = True
    error: str = ""
    text: str = ""
    may_have_been_done: bool = False


@dataclass(frozen=True, slots=True)
class Explained:
    """The outcome: `failed` is the step that no order explains, `is_undecided` that the search was given up. `states`
    are examples of what the namespace could be at that moment."""

    failed: Step | None = None
    states: tuple[State, ...] = ()
    is_undecided: bool = False
    tried: int = 0


@dataclass(slots=True)
class _Configurations:
    """Possible configurations: by state and required pending steps, the largest sets of optional pending ones."""

    found: dict[tuple[State, int], list[int]] = field(default_factory=dict)

    def add(self, state: State, required: int, optional: int) -> None:
        kept = self.found.setdefault((state, required), [])
        if any(optional | other == other for other in kept):
            return
        kept[:] = [other for other in kept if other | optional != optional]
        kept.append(optional)

    def each(self) -> list[tuple[State, int, int]]:
        return [(state, required, optional) for (state, required), kept in self.found.items() for optional in kept]


class _Search:
    def __init__(self, steps: Sequence[Step], budget: int) -> None:
        self.steps = steps
        self.budget = budget
        self.tried = 0
        self.required_mask = sum(1 << place for place, step in enumerate(steps) if step.is_required)
        self._touching = [
            sum(1 << other for other, step in enumerate(steps) if _touch(one.paths, step.paths)) for one in steps
        ]
        self._too_late = [0] * len(steps)  # By step: the optional ones that do not take effect after it.

    def explain(self, initial: State) -> Explained:
        now = _Configurations()
        now.add(initial, 0, 0)
        overdue = 0
        for place, is_response in _events(self.steps):
            bit = 1 << place
            if is_response and not self.required_mask & bit:
                overdue |= bit
                continue
            if not is_response:
                self._too_late[place] = overdue & self._touching[place]
                begun = _Configurations()
                for state, required, optional in now.each():
                    if self.required_mask & bit:
                        begun.add(state, required | bit, optional)
                    else:
                        begun.add(state, required, optional | bit)
                now = begun
                continue
            after = _Configurations()
            for state, required, optional in now.each():
                if not required & bit:
                    after.add(state, required, optional)
                elif not self._take_effect(place, state, required, optional, after):
                    return Explained(is_undecided=True, tried=self.tried)
            if not after.found:
                examples = tuple(dict.fromkeys(state for state, _, _ in now.each()))[:3]
                return Explained(self.steps[place], examples, tried=self.tried)
            now = after
        return Explained(tried=self.tried)

    def _take_effect(self, place: int, state: State, required: int, optional: int, after: _Configurations) -> bool:
        """Add all configurations in which the step has just taken effect. False if there are too many to try."""
        tryable = self._connected(place, required | optional)
        asked = self.steps[place]
        seen = {(state, required, optional)}
        stack = [(state, required, optional)]
        while stack:
            here, required, optional = stack.pop()
            if _after(asked, here) == here:
                after.add(here, required & ~(1 << place), optional & ~self._not_seen(place, here, optional))
                if not asked.may_have_been_done:
                    continue  # It never changes anything, so whatever else is pending can as well come after it.
            for other in _bits((required | optional) & tryable):
                self.tried += 1
                if self.tried > self.budget:
                    return False
                step, bit = self.steps[other], 1 << other
                reached = _after(step, here)
                if reached is None or (not step.is_required and reached == here):
                    continue
                if other == place:
                    after.add(reached, required & ~bit, optional & ~self._too_late[place])
                    continue
                found = (reached, required & ~bit, optional & ~bit)
                if found not in seen:
                    seen.add(found)
                    stack.append(found)
        return True

    def _not_seen(self, place: int, state: State, optional: int) -> int:
        """The optional steps that would have changed the answer of this look, were they not too late for it."""
        look, not_seen = self.steps[place], 0
        for other in _bits(optional & self._too_late[place]):
            reached = _after(self.steps[other], state)
            if reached is not None and _after(look, reached) is None:
                not_seen |= 1 << other
        return not_seen

    def _connected(self, place: int, pending: int) -> int:
        found, new = 0, 1 << place
        while new:
            found |= new
            reached = 0
            for other in _bits(new):
                reached |= self._touching[other]
            new = reached & pending & ~found
        return found


def explain(steps: Sequence[Step], *, initial: State = EMPTY, budget: int = DEFAULT_BUDGET) -> Explained:
    """Look for an order of the steps that explains every answer."""
    return _Search(steps, budget).explain(initial)


def _events(steps: Sequence[Step]) -> list[tuple[int, bool]]:
    """Invocations and responses in order; of equal times, invocations first."""
    found = [(step.invoked, False, place) for place, step in enumerate(steps)]
    found += [(step.responded, True, place) for place, step in enumerate(steps) if not math.isinf(step.responded)]
    return [(place, is_response) for _, is_response, place in sorted(found)]


def _after(step: Step, state: State) -> State | None:
    outcome = step.action(state)
    if step.error:
        return state if outcome.state is None and step.error in outcome.reasons else None
    return outcome.state


def _touch(some: tuple[str, ...], others: tuple[str, ...]) -> bool:
    return any(one == other or is_below(one, other) or is_below(other, one) for one in some for other in others)


def _bits(mask: int) -> list[int]:
    found = []
    while mask:
        low = mask & -mask
        found.append(low.bit_length() - 1)
        mask ^= low
    return found
