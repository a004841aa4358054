"""YAML as its author wrote it, merged by laws, refused with its place."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sql_databricks_bridge.core.yaml_text import Items, Node, Place, Scalar, Tree, leaves, load_yaml, merge
from sql_databricks_bridge.errors import SettingsError

HERE = Place("f.yaml", 1, 1)


def load(tmp_path: Path, text: str | bytes) -> Tree:
    path = tmp_path / "f.yaml"
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    return load_yaml(path, "f.yaml")


def plain(node: Node) -> Any:
    """The node as Python's dicts, lists and texts."""
    if isinstance(node, Tree):
        return {key: plain(value) for key, value in node.entries.items()}
    return [plain(item) for item in node.nodes] if isinstance(node, Items) else node.text


@pytest.mark.parametrize(
    "written", ["NO", "yes", "on", "007", "0o17", "1_000", "1.10", "1e3", "2024-01-01", "0x1F", "12:30:45", ".5", "y"]
)
def test_a_scalar_keeps_what_its_author_wrote(tmp_path: Path, written: str) -> None:
    assert plain(load(tmp_path, f"a: {written}\n{written}: b\n")) == {"a": written, written: "b"}


def test_null_is_nothing_and_quotes_make_it_a_word(tmp_path: Path) -> None:
    text = "a:\nb: null\nc: ~\nd: 'null'\ne: ''\nf: !!str null\n"
    assert plain(load(tmp_path, text)) == {"a": None, "b": None, "c": None, "d": "null", "e": "", "f": "null"}


def test_an_empty_file_is_an_empty_mapping(tmp_path: Path) -> None:
    assert plain(load(tmp_path, "# nothing yet\n")) == {}


def test_a_value_knows_the_line_of_its_key(tmp_path: Path) -> None:
    tree = load(tmp_path, "a: 1\nb:\n  c: |\n    x\n    y\n")
    assert [(path, node.at.line, node.at.column) for path, node in leaves(tree)] == [("a", 1, 1), ("b.c", 3, 3)]


def test_anchors_and_merge_keys_work_and_own_keys_win(tmp_path: Path) -> None:
    text = "base: &base {a: 1, b: 2}\nmore: &more {b: 3, c: 4}\nd:\n  <<: [*base, *more]\n  a: 5\n"
    assert plain(load(tmp_path, text))["d"] == {"a": "5", "b": "2", "c": "4"}


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("a: 1\nb: 2\na: 3\n", "f.yaml:3:1: the key 'a' is here twice, first in line 1"),
        ("x:\n  1: a\n  '1': b\n", "f.yaml:3:3: the key '1' is here twice, first in line 2"),
        ("a: [1, 2\n", "f.yaml:2:1 is not YAML"),
        ("a: 1\n\tb: 2\n", "f.yaml:2:1 is not YAML"),
        ("a: b: c\n", "f.yaml:1:5 is not YAML"),
        ("- a\n- b\n", "f.yaml:1:1 is not a mapping"),
        ("just words\n", "f.yaml:1:1 is not a mapping"),
        ("a: 1\n---\nb: 2\n", "f.yaml:2:1 is not YAML"),
        ("a: !!python/object/apply:os.system ['true']\n", "f.yaml:1:4: the tag"),
        ("a: &a\n  b: *a\n", "an alias that holds itself"),
        ("? [a]\n: b\n", "a key must be a name"),
        ("~: b\n", "a key must be a name"),
        ("a: *nothing\n", "f.yaml:1:4 is not YAML"),
        ("a: x\x07y\n", "f.yaml:1 is not YAML"),
        (b"a: 1\nb: \xe9\n", "f.yaml:2 is not UTF-8: byte 0xE9 at offset 8"),
    ],
)
def test_what_is_wrong_is_told_with_file_line_and_column(tmp_path: Path, text: str | bytes, told: str) -> None:
    with pytest.raises(SettingsError) as caught:
        load(tmp_path, text)
    assert told in str(caught.value)


def test_aliases_that_multiply_are_refused_and_not_expanded(tmp_path: Path) -> None:
    lines = ["a0: &a0 [1, 1, 1, 1, 1, 1, 1, 1, 1, 1]"]
    lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]" for n in range(1, 9)]
    with pytest.raises(SettingsError, match="aliases counted"):
        load(tmp_path, "\n".join(lines))


def test_an_error_shows_no_value(tmp_path: Path) -> None:
    with pytest.raises(SettingsError) as caught:
        load(tmp_path, "password: hunter2\nx: [hunter2\n")
    assert "hunter2" not in str(caught.value)


TREES = st.recursive(
    st.text("ab", max_size=2).map(lambda text: Scalar(text, HERE)),
    lambda nodes: st.dictionaries(st.sampled_from("abc"), nodes, max_size=3).map(lambda entries: Tree(entries, HERE)),
    max_leaves=8,
)
MAPPINGS = st.dictionaries(st.sampled_from("abc"), TREES, max_size=3).map(lambda entries: Tree(entries, HERE))


@given(MAPPINGS)
def test_merging_with_nothing_or_itself_changes_nothing(tree: Tree) -> None:
    assert plain(merge(tree, Tree())) == plain(merge(Tree(), tree)) == plain(merge(tree, tree)) == plain(tree)


@given(MAPPINGS, MAPPINGS)
def test_every_leaf_of_the_country_wins(base: Tree, over: Tree) -> None:
    merged = dict(leaves(merge(base, over)))
    for path, node in leaves(over):
        assert merged[path] is node


@given(MAPPINGS, MAPPINGS)
def test_a_common_leaf_stays_unless_the_country_writes_on_its_way(base: Tree, over: Tree) -> None:
    merged = dict(leaves(merge(base, over)))
    written = {path for path, _ in leaves(over)}
    for path, node in leaves(base):
        hidden = any(path == other or path.startswith(f"{other}.") for other in written)
        if not hidden and path in merged:
            assert merged[path] is node
        elif not hidden:
            # Only a mapping of the country's in the leaf's place can hide it.
            at: Node = over
            for key in path.split("."):
                assert isinstance(at, Tree)
                at = at.entries[key]
            assert isinstance(at, Tree)


def test_a_heading_without_lines_overrides_nothing(tmp_path: Path) -> None:
    base = load(tmp_path, "tables:\n  a: t\nx: 1\n")
    over = load(tmp_path, "tables:\n  # a: u\nx:\n")
    assert plain(merge(base, over)) == {"tables": {"a": "t"}, "x": None}
