"""The fault rules that both stand-ins share."""

from __future__ import annotations

import threading
from typing import Any

import pytest

from sql_databricks_bridge.sandbox.databricks.vocabulary import VOCABULARY
from sql_databricks_bridge.sandbox.faults import FaultRegistry, FaultRuleError, any_of, count, one_of

PUT = {"method": "PUT", "path": "/api/2.0/fs/files/Volumes/a/b/c/x"}


def registry(*rules: dict[str, Any]) -> FaultRegistry:
    made = FaultRegistry(VOCABULARY)
    for rule in rules:
        made.add(rule)
    return made


def test_a_rule_fires_from_its_kth_match_on_as_often_as_it_says() -> None:
    faults = registry({"id": "r", "match": {"method": "put"}, "on": 2, "times": 2, "action": {"drop": "after"}})
    taken = [faults.check(PUT).take("drop") is not None for _ in range(5)]
    assert taken == [False, True, True, False, False]
    assert faults.get("r") == {
        "id": "r",
        "match": {"method": "put"},
        "on": 2,
        "times": 2,
        "action": {"drop": "after"},
        "seen": 5,
        "fired": 2,
        "hits": 2,
    }


def test_times_null_never_ends() -> None:
    faults = registry({"times": None, "action": {"status": 503}})
    assert all(faults.check(PUT).take("status") for _ in range(20))


def test_a_rule_that_fired_but_was_not_carried_out_is_not_a_hit() -> None:
    faults = registry({"id": "r", "action": {"half_upload": True}})
    assert faults.check(PUT).take("drop") is None
    found = faults.get("r")
    assert found is not None
    assert (found["seen"], found["fired"], found["hits"]) == (1, 1, 0)


def test_all_match_keys_must_hold_letter_case_does_not_count_and_a_missing_fact_never_matches() -> None:
    faults = registry(
        {"id": "r", "match": {"path_contains": "VOLUMES", "statement_contains": "x"}, "action": {"delay_s": 0}}
    )
    faults.check(PUT)
    faults.check({**PUT, "statement": "select X"})
    faults.check({**PUT, "statement": "select y"})
    assert (faults.get("r") or {})["seen"] == 1


def test_an_action_can_be_asked_for_by_its_value_and_is_taken_once() -> None:
    fired = registry({"action": {"drop": "after"}}).check(PUT)
    assert fired.take("drop", "before") is None
    assert fired.take("drop", "after") is not None
    assert fired.take("drop", "after") is None


@pytest.mark.parametrize(
    ("rule", "named"),
    [
        ([], "JSON object"),
        ({"action": {"status": 503}, "when": 1}, "'when'"),
        ({"action": {"status": 503}, "match": {"url": "x"}}, "'url'"),
        ({"action": {"status": 503}, "match": {"path": ""}}, "match.path"),
        ({"action": {"status": 503}, "on": 0}, "'on'"),
        ({"action": {"status": 503}, "on": True}, "'on'"),
        ({"action": {"status": 503}, "times": 0}, "'times'"),
        ({"action": {"explode": True}}, "'explode'"),
        ({"action": {}}, "nothing"),
        ({"action": {"status": 503, "drop": "after"}}, "exactly one"),
        ({"action": {"status": "503"}}, "action.status"),
        ({"action": {"status": 503, "retry_before": 1}}, "'retry_before'"),
        ({"action": {"status": 503, "retry_after": -1}}, "retry_after"),
        ({"action": {"drop": "sometimes"}}, "action.drop"),
        ({"action": {"delay_s": -0.1}}, "delay_s"),
        ({"action": {"statement_error": {"message": "x"}}}, "error_code"),
        ({"action": {"statement_error": {"message": "x", "error_code": "y", "code": "z"}}}, "'code'"),
        ({"id": "", "action": {"status": 503}}, "'id'"),
    ],
)
def test_a_wrong_rule_is_refused_by_the_name_of_what_is_wrong(rule: Any, named: str) -> None:
    faults = registry()
    with pytest.raises(FaultRuleError, match=named):
        faults.add(rule)
    assert faults.to_json() == []


def test_an_id_is_used_once_and_made_up_where_none_is_given() -> None:
    faults = registry({"id": "r", "action": {"status": 503}})
    with pytest.raises(FaultRuleError, match="already there"):
        faults.add({"id": "r", "action": {"status": 503}})
    assert faults.add({"action": {"status": 503}})["id"] == "fault-1"
    assert faults.clear("r") == 1
    assert faults.clear("r") == 0
    assert faults.clear() == 1


def test_checks_combine_and_one_of_knows_true_from_1() -> None:
    assert any_of(count, one_of("all"))("all") is None
    assert any_of(count, one_of("all"))("some") == "must be 0 or more or must be one of 'all'"
    assert one_of(True)(1) is not None


def test_wait_for_hits_wakes_on_the_hit_and_gives_up_in_time() -> None:
    faults = registry({"id": "r", "action": {"status": 503}})
    thread = threading.Thread(target=lambda: faults.check(PUT).take("status"))
    thread.start()
    assert (faults.wait_for_hits("r", 1, 10) or {})["hits"] == 1
    thread.join()
    assert (faults.wait_for_hits("r", 2, 0.01) or {})["hits"] == 1
    assert faults.wait_for_hits("unknown", 1, 10) is None


def test_every_operation_is_counted_once_by_many_threads() -> None:
    faults = registry({"id": "r", "on": 1, "times": 100, "action": {"status": 503}})

    def work() -> None:
        for _ in range(100):
            faults.check(PUT).take("status")

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    found = faults.get("r") or {}
    assert (found["seen"], found["hits"]) == (800, 100)
