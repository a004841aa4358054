"""Which query files there are, and every way in which one is refused."""

from __future__ import annotations

from pathlib import Path

import pytest

from sql_databricks_bridge.core.query_loader import choose, discover, folder_warnings
from sql_databricks_bridge.errors import QueryFileError, UnknownNameError, UsageError

SELECT = "SELECT 1 AS one"


def write(root: Path, **files: str) -> Path:
    """Write files named by keywords ('Peru__a' is Peru/a.sql) under root/queries."""
    folder = root / "queries"
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in files.items():
        path = folder / f"{name.replace('__', '/')}.sql"
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)
    return folder


def test_a_query_is_named_by_its_files_stem_and_others_are_ignored(tmp_path: Path) -> None:
    folder = write(tmp_path, b=SELECT, a=SELECT)
    (folder / "README.md").write_text("not a query")
    (folder / ".hidden.sql").write_text("an editor's")
    assert list(discover(folder).of_country(None)) == ["a", "b"]


def test_a_countrys_file_overrides_the_base_one_for_that_country_only(tmp_path: Path) -> None:
    found = discover(write(tmp_path, a=SELECT, b=SELECT, Peru__a="SELECT 2 AS two", Peru__extra=SELECT))
    assert list(found.of_country("Peru")) == ["a", "b", "extra"]
    assert found.of_country("Peru")["a"].read() == "SELECT 2 AS two"
    assert found.of_country("Peru")["a"].overrides == found.base["a"].path
    assert found.of_country("Colombia")["a"].read() == SELECT
    assert "extra" not in found.of_country("Colombia")


@pytest.mark.parametrize("name", ["a b", "-a", "a.b", "año", "a'b"])
def test_an_illegal_name_is_refused_with_its_file(tmp_path: Path, name: str) -> None:
    folder = write(tmp_path)
    (folder / f"{name}.sql").write_text(SELECT)
    with pytest.raises(QueryFileError, match="not a legal name") as caught:
        discover(folder)
    assert f"{name}.sql" in str(caught.value)


def test_names_that_differ_in_case_only_are_refused(tmp_path: Path) -> None:
    with pytest.raises(QueryFileError, match="differs from Flights in case only"):
        discover(write(tmp_path, Flights=SELECT, flights=SELECT))
    with pytest.raises(QueryFileError, match="differs from aa in case only"):
        discover(write(tmp_path / "other", aa=SELECT, Peru__AA=SELECT))


def test_a_country_folder_whose_case_is_wrong_is_not_silently_unused(tmp_path: Path) -> None:
    found = discover(write(tmp_path, a=SELECT, peru__a=SELECT))
    with pytest.raises(QueryFileError, match="Rename it to Peru"):
        choose(found, "Peru", None)


def test_a_link_out_of_the_folder_is_refused_and_one_inside_is_not(tmp_path: Path) -> None:
    folder = write(tmp_path, a=SELECT)
    (folder / "b.sql").symlink_to(folder / "a.sql")
    assert list(discover(folder).base) == ["a", "b"]
    (tmp_path / "secret.sql").write_text(SELECT)
    (folder / "c.sql").symlink_to(tmp_path / "secret.sql")
    with pytest.raises(QueryFileError, match=r"c\.sql is a link out of queries"):
        discover(folder)


def test_a_country_folder_that_links_out_a_broken_link_and_a_directory_are_refused_together(tmp_path: Path) -> None:
    folder = write(tmp_path, a=SELECT)
    outside = write(tmp_path / "other", x=SELECT)
    (folder / "Peru").symlink_to(outside)
    (folder / "gone.sql").symlink_to(folder / "nothing")
    (folder / "dir.sql").mkdir()
    with pytest.raises(QueryFileError) as caught:
        discover(folder)
    for problem in ("Peru is a link out", "gone.sql is a broken link", "dir.sql is no file"):
        assert problem in str(caught.value)


def test_a_folder_copied_from_a_config_map_works(tmp_path: Path) -> None:
    # Kubernetes mounts `a.sql -> ..data/a.sql -> ..2026_01_01/a.sql`.
    folder = write(tmp_path)
    (folder / "..2026_01_01").mkdir()
    (folder / "..2026_01_01" / "a.sql").write_text(SELECT)
    (folder / "..data").symlink_to("..2026_01_01")
    (folder / "a.sql").symlink_to("..data/a.sql")
    assert discover(folder).base["a"].read() == SELECT


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (b"SELECT 'caf\xe9'", r"a\.sql:1 is not UTF-8: byte 0xE9 at offset 11"),
        (b"SELECT 1\n\n, '\xff'", r"a\.sql:3 is not UTF-8: byte 0xFF at offset 13"),
        ("SELECT 1".encode("utf-16"), r"a\.sql is UTF-16, not UTF-8"),
        ("SELECT 1".encode("utf-32"), r"a\.sql is UTF-32, not UTF-8"),
        ("SELECT 1".encode("utf-16-le"), r"a\.sql:1 holds a NUL byte at offset 1"),
    ],
)
def test_a_file_that_is_not_utf8_is_refused_with_the_offset(tmp_path: Path, content: bytes, told: str) -> None:
    folder = write(tmp_path)
    (folder / "a.sql").write_bytes(content)
    with pytest.raises(QueryFileError, match=told):
        discover(folder).base["a"].read()


def test_a_byte_order_mark_and_windows_line_ends_change_nothing(tmp_path: Path) -> None:
    folder = write(tmp_path)
    (folder / "a.sql").write_bytes(b"\xef\xbb\xbfSELECT 1\r\n, 2\r\n")
    assert discover(folder).base["a"].read() == "SELECT 1\n, 2\n"


def test_chosen_queries_keep_their_order_and_come_once(tmp_path: Path) -> None:
    found = discover(write(tmp_path, a=SELECT, b=SELECT, c=SELECT))
    assert [file.name for file in choose(found, None, ["c", "a", "c"])] == ["c", "a"]
    assert [file.name for file in choose(found, None, None)] == ["a", "b", "c"]


def test_all_unknown_queries_are_told_together_with_what_they_may_mean(tmp_path: Path) -> None:
    found = discover(write(tmp_path, flights=SELECT, planes=SELECT))
    with pytest.raises(UnknownNameError) as caught:
        choose(found, "Peru", ["flihgts", "planes", "zzz"])
    assert "'flihgts' (did you mean flights?), 'zzz'" in str(caught.value)
    assert "Queries of Peru: flights, planes" in str(caught.value)


def test_a_missing_and_an_empty_folder_name_the_option_and_the_variable(tmp_path: Path) -> None:
    for attempt in (lambda: discover(tmp_path / "nowhere"), lambda: choose(discover(write(tmp_path)), None, None)):
        with pytest.raises(UsageError, match="--queries-dir or BRIDGE_QUERIES_DIR"):
            attempt()


def test_what_looks_like_a_mistyped_override_or_country_is_a_warning(tmp_path: Path) -> None:
    found = discover(write(tmp_path, flights=SELECT, Peru__flihgts=SELECT, Peur__flights=SELECT))
    first, second = folder_warnings(found, "Peru", ["Peru", "Colombia"])
    assert "Peur belongs to no country; did you mean Peru?" in first
    assert "flihgts.sql overrides no query; did you mean flights?" in second
