"""`{name}` is a placeholder wherever it is code, `{{` and `}}` are braces."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sql_databricks_bridge.core.template import parse_template

NAMES = st.from_regex(r"[a-z_][a-z0-9_]{0,5}(\.[a-z]{1,4}){0,2}", fullmatch=True)
TEXTS = st.text("ab 1,=(){}", max_size=8)


@given(st.lists(st.one_of(NAMES.map(lambda name: ("slot", name)), TEXTS.map(lambda text: ("text", text)))), st.data())
def test_what_was_escaped_and_filled_comes_back(parts: list[tuple[str, str]], data: st.DataObject) -> None:
    values = {name: data.draw(TEXTS) for kind, name in parts if kind == "slot"}
    written = "".join(
        f"{{{text}}}" if kind == "slot" else text.replace("{", "{{").replace("}", "}}") for kind, text in parts
    )
    template = parse_template(written)
    assert template.problems == ()
    assert template.fill(lambda slot: values[slot.name]) == "".join(
        values[text] if kind == "slot" else text for kind, text in parts
    )


@given(st.text("ab{}\n'-/*# .", max_size=20))
def test_no_text_breaks_the_scanner_and_unfilled_slots_stay(text: str) -> None:
    template = parse_template(text)
    if not template.problems and "{{" not in text and "}}" not in text:
        assert template.fill(lambda _: None) == text


def test_a_value_is_not_expanded_again() -> None:
    assert parse_template("SELECT {a}").fill(lambda _: "{b} {{") == "SELECT {b} {{"


def test_a_string_is_code_and_a_comment_is_not() -> None:
    template = parse_template("SELECT '{a}%', [{b}] -- {c} { } {\n/* {d}\n{{ */, {e.f}")
    assert [slot.name for slot in template.slots] == ["a", "b", "e.f"]
    assert template.problems == ()
    filled = template.fill(lambda slot: None if slot.name == "d" else slot.name.upper())
    assert filled == "SELECT 'A%', [B] -- C { } {\n/* {d}\n{ */, E.F"


@pytest.mark.parametrize(
    ("text", "line", "told"),
    [
        ("SELECT\n  {d '2013-01-01'}", 2, "column 3: `{d '2013-01-01'}` is not a placeholder"),
        ("SELECT {fn NOW()}", 1, "`{fn NOW()}`"),
        ("SELECT '{\"a\": 1}'", 1, '`{"a": 1}`'),
        ("SELECT { a }", 1, "`{ a }`"),
        ("SELECT {}", 1, "`{}`"),
        ("SELECT {a", 1, "`{a`"),
        ("SELECT {a..b}", 1, "`{a..b}`"),
        ("SELECT a}", 1, "column 9: a single `}`"),
    ],
)
def test_a_stray_brace_is_told_with_its_place_and_the_remedy(text: str, line: int, told: str) -> None:
    (problem,) = parse_template(text).problems
    assert problem.line == line
    assert told in problem.message
    assert "write `{{` and `}}`" in problem.message


def test_braces_count_as_format_counts_them() -> None:
    assert parse_template("{{{a}}}").fill(lambda _: "x") == "{x}"
    assert parse_template("{{a}}").slots == ()


def test_a_name_may_have_letters_of_any_language() -> None:
    assert [slot.name for slot in parse_template("{región} {a-b.c_d}").slots] == ["región", "a-b.c_d"]
