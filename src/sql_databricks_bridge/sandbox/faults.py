"""Deterministic faults: rules that name the k-th matching operation and what shall go wrong with it.

Both stand-ins keep one `FaultRegistry` each, with a `Vocabulary` of their own (what may be matched, which actions
they know). A rule is a JSON object:

    {"id": "lost-upload",                       optional; a rule without one is given "fault-1", "fault-2", ...
     "match": {"method": "PUT", "path_contains": "part-00001"},
     "on": 2,                                   the first matching operation that fires, counted from 1 (default 1)
     "times": 1,                                how many in a row fire from there on; null: all of them (default 1)
     "action": {"drop": "after"}}               exactly one action, with that action's optional details beside it

The stand-in describes each operation by *facts*, a flat mapping of names to text. A match key `x` wants the fact `x`
to be equal, `x_contains` wants it to contain the text; letter case does not count, all keys must hold, and a missing
fact never matches. An empty match meets every operation.

Three numbers tell what became of a rule: `seen` (operations that matched), `fired` (those that the rule picked) and
`hits` (those where the stand-in really did it). They differ when an action does not apply, such as half an upload on
a download; a test asserts on `hits`.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field

Check = Callable[[object], str | None]
"""Returns what is wrong with a value ("must be ..."), or None when it is right."""

_RULE_KEYS = {"id", "match", "on", "times", "action"}


class FaultRuleError(ValueError):
    """A rule that can't be accepted; the message names the offending key or value."""


@dataclass(frozen=True, slots=True)
class ActionSpec:
    """One action of a vocabulary: what its value must be, and which details may stand beside it."""

    check: Check
    details: Mapping[str, Check] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Vocabulary:
    """What one stand-in understands: `facts` it can match on, `actions` it can perform."""

    facts: frozenset[str]
    actions: Mapping[str, ActionSpec]

    def match_keys(self) -> list[str]:
        """Every legal key of a rule's `match`."""
        return sorted(self.facts | {f"{fact}_contains" for fact in self.facts})


@dataclass(frozen=True, slots=True)
class FaultRule:
    """One accepted rule."""

    rule_id: str
    match: Mapping[str, str]
    on: int
    times: int | None
    action: str
    value: object
    details: Mapping[str, object]

    def matches(self, facts: Mapping[str, str]) -> bool:
        """Whether an operation with these facts is one that the rule counts."""
        return all(_holds(key, wanted, facts) for key, wanted in self.match.items())

    def picks(self, seen: int) -> bool:
        """Whether the rule fires on its `seen`-th matching operation (counted from 1)."""
        return seen >= self.on and (self.times is None or seen < self.on + self.times)


@dataclass(slots=True)
class _Tally:
    rule: FaultRule
    seen: int = 0
    fired: int = 0
    hits: int = 0

    def to_json(self) -> dict[str, object]:
        rule = self.rule
        return {
            "id": rule.rule_id,
            "match": dict(rule.match),
            "on": rule.on,
            "times": rule.times,
            "action": {rule.action: rule.value, **rule.details},
            "seen": self.seen,
            "fired": self.fired,
            "hits": self.hits,
        }


class Fired:
    """The faults that fire for one operation. The stand-in asks for an action when it reaches the place for it."""

    def __init__(self, registry: FaultRegistry, rules: Iterable[FaultRule]) -> None:
        self._registry = registry
        self._rules = list(rules)

    def take(self, action: str, value: object = None) -> FaultRule | None:
        """Return the first fired rule with this action (and this value, if one is given) and count it as hit.

        A rule is taken once for one operation.
        """
        for rule in self._rules:
            if rule.action == action and (value is None or rule.value == value):
                self._rules.remove(rule)
                self._registry.count_hit(rule.rule_id)
                return rule
        return None

    def peek(self, action: str) -> FaultRule | None:
        """The first fired rule with this action, not counted: the place it names may not have been reached yet."""
        return next((rule for rule in self._rules if rule.action == action), None)

    def __bool__(self) -> bool:
        return bool(self._rules)


class FaultRegistry:
    """The rules of one running stand-in. Thread-safe."""

    def __init__(self, vocabulary: Vocabulary) -> None:
        self._vocabulary = vocabulary
        self._changed = threading.Condition()
        self._tallies: dict[str, _Tally] = {}
        self._named = 0

    @property
    def vocabulary(self) -> Vocabulary:
        """What rules may say here."""
        return self._vocabulary

    def add(self, document: object) -> dict[str, object]:
        """Validate and add one rule; returns it as `to_json` shows it. Raises `FaultRuleError`."""
        with self._changed:
            if isinstance(document, dict) and "id" not in document:
                self._named += 1
                document = {"id": f"fault-{self._named}", **document}
            rule = parse_rule(document, self._vocabulary)
            if rule.rule_id in self._tallies:
                raise FaultRuleError(f"A fault rule with the id {rule.rule_id!r} is already there; delete it first.")
            tally = _Tally(rule)
            self._tallies[rule.rule_id] = tally
            return tally.to_json()

    def check(self, facts: Mapping[str, str]) -> Fired:
        """Count an operation against every rule and return what fires for it, in the order the rules were added."""
        with self._changed:
            fired = []
            for tally in self._tallies.values():
                if not tally.rule.matches(facts):
                    continue
                tally.seen += 1
                if tally.rule.picks(tally.seen):
                    tally.fired += 1
                    fired.append(tally.rule)
            self._changed.notify_all()
        return Fired(self, fired)

    def count_hit(self, rule_id: str) -> None:
        """Record that a fired rule was carried out."""
        with self._changed:
            if rule_id in self._tallies:  # else: deleted while the operation was on its way
                self._tallies[rule_id].hits += 1
            self._changed.notify_all()

    def to_json(self) -> list[dict[str, object]]:
        """All rules with their counts, oldest first."""
        with self._changed:
            return [tally.to_json() for tally in self._tallies.values()]

    def get(self, rule_id: str) -> dict[str, object] | None:
        """One rule with its counts, or None."""
        with self._changed:
            tally = self._tallies.get(rule_id)
            return tally.to_json() if tally else None

    def wait_for_hits(self, rule_id: str, hits: int, timeout_s: float) -> dict[str, object] | None:
        """Block until a rule was hit `hits` times, at most `timeout_s`; returns the rule then, or None if unknown."""
        with self._changed:
            self._changed.wait_for(
                lambda: rule_id not in self._tallies or self._tallies[rule_id].hits >= hits, timeout_s
            )
            tally = self._tallies.get(rule_id)
            return tally.to_json() if tally else None

    def clear(self, rule_id: str | None = None) -> int:
        """Delete one rule, or all of them; returns how many went."""
        with self._changed:
            if rule_id is not None:
                gone = 1 if self._tallies.pop(rule_id, None) else 0
            else:
                gone = len(self._tallies)
                self._tallies.clear()
            self._changed.notify_all()
            return gone


def parse_rule(document: object, vocabulary: Vocabulary) -> FaultRule:
    """Turn a JSON object into a rule, or raise `FaultRuleError` that names what is wrong and what is allowed."""
    if not isinstance(document, dict):
        raise FaultRuleError("A fault rule is a JSON object.")
    _refuse_unknown("fault rule", document, _RULE_KEYS)
    rule_id = document.get("id")
    if not isinstance(rule_id, str) or not rule_id:
        raise FaultRuleError("'id' must be a non-empty string.")
    match = document.get("match", {})
    if not isinstance(match, dict):
        raise FaultRuleError("'match' must be an object.")
    _refuse_unknown("'match'", match, vocabulary.match_keys())
    for key, wanted in match.items():
        _require(f"'match.{key}'", wanted, text)
    on = document.get("on", 1)
    _require("'on'", on, positive_int)
    times = document.get("times", 1)
    if times is not None:
        _require("'times'", times, positive_int)
    action, value, details = _parse_action(document.get("action"), vocabulary)
    return FaultRule(rule_id, dict(match), on, times, action, value, details)


def _parse_action(document: object, vocabulary: Vocabulary) -> tuple[str, object, dict[str, object]]:
    if not isinstance(document, dict):
        raise FaultRuleError("'action' must be an object with one action.")
    named = [key for key in document if key in vocabulary.actions]
    if len(named) != 1:
        found = ", ".join(map(repr, document)) or "nothing"
        raise FaultRuleError(f"'action' needs exactly one of {', '.join(sorted(vocabulary.actions))}; found {found}.")
    action = named[0]
    spec = vocabulary.actions[action]
    _require(f"'action.{action}'", document[action], spec.check)
    details = {key: value for key, value in document.items() if key != action}
    _refuse_unknown(f"action {action!r}", details, spec.details)
    for key, value in details.items():
        _require(f"'action.{key}'", value, spec.details[key])
    return action, document[action], details


def _refuse_unknown(where: str, found: Iterable[str], allowed: Iterable[str]) -> None:
    unknown = sorted(set(found) - set(allowed))
    if unknown:
        raise FaultRuleError(
            f"Unknown key {', '.join(map(repr, unknown))} in {where}; allowed: {', '.join(sorted(allowed)) or 'none'}."
        )


def _require(where: str, value: object, check: Check) -> None:
    wrong = check(value)
    if wrong:
        raise FaultRuleError(f"{where} {wrong}, not {value!r}.")


def _holds(key: str, wanted: str, facts: Mapping[str, str]) -> bool:
    fact = facts.get(key)
    if fact is not None:
        return fact.casefold() == wanted.casefold()
    fact = facts.get(key.removesuffix("_contains"))
    return key.endswith("_contains") and fact is not None and wanted.casefold() in fact.casefold()


# Checks for vocabularies --------------------------------------------------------------------------


def text(value: object) -> str | None:
    """A non-empty string."""
    return None if isinstance(value, str) and value else "must be a non-empty string"


def positive_int(value: object) -> str | None:
    """A whole number of at least 1."""
    return None if isinstance(value, int) and not isinstance(value, bool) and value >= 1 else "must be 1 or more"


def count(value: object) -> str | None:
    """A whole number of at least 0."""
    return None if isinstance(value, int) and not isinstance(value, bool) and value >= 0 else "must be 0 or more"


def seconds(value: object) -> str | None:
    """A duration in seconds, 0 or more."""
    good = isinstance(value, (int, float)) and not isinstance(value, bool) and value >= 0
    return None if good else "must be a number of seconds, 0 or more"


def true(value: object) -> str | None:
    """The literal true: an action that has nothing to say but that it happens."""
    return None if value is True else "must be true"


def one_of(*allowed: object) -> Check:
    """One of the given values."""

    def check(value: object) -> str | None:
        known = any(type(value) is type(candidate) and value == candidate for candidate in allowed)
        return None if known else f"must be one of {', '.join(map(repr, allowed))}"

    return check


def any_of(*checks: Check) -> Check:
    """A value that satisfies one of several checks."""

    def check(value: object) -> str | None:
        complaints = [complaint for complaint in (each(value) for each in checks) if complaint]
        return None if len(complaints) < len(checks) else " or ".join(complaints)

    return check


def fields(required: Mapping[str, Check], optional: Mapping[str, Check] | None = None) -> Check:
    """An object with exactly these fields."""
    optional = optional or {}

    def check(value: object) -> str | None:
        if not isinstance(value, dict):
            return "must be an object"
        if missing := sorted(set(required) - set(value)):
            return f"must have the field {missing[0]!r}"
        for key, item in value.items():
            each = required.get(key) or optional.get(key)
            if each is None:
                return f"may not have the field {key!r}"
            if complaint := each(item):
                return f"must have a right {key!r} (it {complaint})"
        return None

    return check
