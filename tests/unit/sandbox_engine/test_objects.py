"""Views, synonyms, schemas by EXEC, named constraints and the catalog that describes them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest

Run = Callable[[str], Any]


@pytest.fixture(autouse=True)
def _drop(run: Run) -> Iterator[None]:
    yield
    run("DROP VIEW IF EXISTS obj_v, obj_w; DROP SYNONYM IF EXISTS obj_s; DROP SYNONYM IF EXISTS obj_sv; "
        "DROP TABLE IF EXISTS obj_c, obj_t, obj_m.t; DROP SCHEMA IF EXISTS obj_m")  # fmt: skip


def make(run: Run) -> None:
    out = run(
        "CREATE TABLE obj_t (id int NOT NULL CONSTRAINT obj_pk PRIMARY KEY, code varchar(9) CONSTRAINT obj_df DEFAULT "
        "('x'), n int CONSTRAINT obj_ck CHECK (n > 0), INDEX obj_ix (code DESC)); "
        "CREATE UNIQUE INDEX obj_uf ON obj_t (n) INCLUDE (code) WHERE n IS NOT NULL; "
        "INSERT INTO obj_t (id, n) VALUES (1, 10), (2, 20)"
    )
    assert not out.errors, out.messages
    assert not run("CREATE VIEW obj_v AS SELECT id, n * 2 AS twice FROM obj_t").errors
    assert not run("CREATE SYNONYM obj_s FOR dbo.obj_t").errors


def test_a_view_and_a_synonym_are_read_and_are_no_tables(run: Run) -> None:
    make(run)
    assert run("SELECT v.twice FROM dbo.obj_v AS v WHERE v.id = 2").rows == [[(40,)]]
    assert run("SELECT COUNT(*) FROM obj_s s JOIN obj_v ON obj_v.id = s.id").rows == [[(2,)]]
    assert run("SELECT name, type, type_desc FROM sys.objects WHERE name LIKE 'obj[_][vst]' ORDER BY name").rows == [
        [("obj_s", "SN", "SYNONYM"), ("obj_t", "U ", "USER_TABLE"), ("obj_v", "V ", "VIEW")]
    ]
    assert run("SELECT name FROM sys.views; SELECT name, base_object_name FROM sys.synonyms").rows == [
        [("obj_v",)], [("obj_s", "[dbo].[obj_t]")]
    ]  # fmt: skip
    assert run("SELECT name FROM sys.columns WHERE object_id = OBJECT_ID('obj_v') ORDER BY column_id").rows == [
        [("id",), ("twice",)]
    ]
    ids = run("SELECT OBJECT_ID('obj_v', 'V'), OBJECT_ID('obj_v', 'U'), OBJECT_ID('obj_s'), OBJECT_ID('obj_s', 'U')")
    assert [v is None for v in ids.rows[0][0]] == [False, True, False, True]
    assert run("SELECT table_type FROM information_schema.tables WHERE table_name = 'obj_v'").rows == [[("VIEW",)]]


def test_a_synonym_may_be_written_to_and_a_view_is_refused(run: Run) -> None:
    make(run)
    assert run("INSERT INTO obj_s (id) VALUES (3); SELECT COUNT(*) FROM obj_t").rows == [[(3,)]]
    for sql in ("INSERT INTO obj_v (id) VALUES (1)", "UPDATE obj_v SET id = 1", "DELETE obj_v"):
        assert run(sql).errors == [50100]


@pytest.mark.parametrize(
    ("sql", "number"),
    [
        ("CREATE VIEW obj_t AS SELECT 1 AS a", 2714),
        ("CREATE TABLE obj_v (a int)", 2714),
        ("SELECT 1; CREATE VIEW obj_w AS SELECT 1 AS a", 111),
        ("CREATE VIEW obj_w AS SELECT 1", 4511),
        ("CREATE VIEW obj_w AS SELECT nope FROM obj_t", 207),
        ("CREATE VIEW obj_w AS SELECT @x AS a", 137),
        ("DROP VIEW obj_w", 3701),
        ("DROP SYNONYM obj_v", 3701),
        ("CREATE TABLE obj_c (id int CONSTRAINT obj_pk PRIMARY KEY)", 2714),
        ("CREATE TABLE obj_c (id int CONSTRAINT obj_ck CHECK (id > 1))", 2714),
        ("SELECT 1; CREATE SCHEMA obj_m", 111),
    ],
)
def test_a_wrong_definition_has_its_number(run: Run, sql: str, number: int) -> None:
    make(run)
    assert run(sql).errors == [number]


def test_a_schema_is_made_by_exec_if_it_is_missing(run: Run) -> None:
    make_it = "IF NOT EXISTS (SELECT 1 FROM sys.schemas WHERE name = 'obj_m') EXEC('CREATE SCHEMA obj_m')"
    assert run(f"{make_it}; {make_it}; CREATE TABLE obj_m.t (a int); SELECT SCHEMA_ID('obj_m')").errors == []
    assert run(
        "SELECT HAS_PERMS_BY_NAME('obj_m.t', 'OBJECT', 'INSERT'), OBJECT_SCHEMA_NAME(OBJECT_ID('obj_m.t'))"
    ).rows == [[(1, "obj_m")]]


def test_the_catalog_describes_indexes_and_constraints(run: Run) -> None:
    make(run)
    of = "object_id = OBJECT_ID('obj_t')"
    assert run(
        f"SELECT name, is_unique, is_primary_key, has_filter, is_disabled, filter_definition FROM sys.indexes "
        f"WHERE {of} ORDER BY name"
    ).rows == [
        [
            ("obj_ix", False, False, False, False, None),
            ("obj_pk", True, True, False, False, None),
            ("obj_uf", True, False, True, False, "(n IS NOT NULL)"),
        ]
    ]
    assert run(
        "SELECT c.name, k.key_ordinal, k.is_included_column, k.is_descending_key FROM sys.index_columns k JOIN "
        "sys.indexes i ON i.object_id = k.object_id AND i.index_id = k.index_id JOIN sys.columns c ON c.object_id = "
        "k.object_id AND c.column_id = k.column_id WHERE i.name IN ('obj_uf', 'obj_ix') ORDER BY i.name, "
        "k.index_column_id"
    ).rows == [[("code", 1, False, True), ("n", 1, False, False), ("code", 0, True, False)]]
    assert run(
        "SELECT d.name, d.definition, c.name FROM sys.default_constraints d JOIN sys.columns c ON "
        "c.default_object_id = d.object_id JOIN sys.objects o ON o.object_id = d.object_id WHERE "
        "d.parent_object_id = OBJECT_ID('obj_t')"
    ).rows == [[("obj_df", "(('x'))", "code")]]
    assert run(
        "SELECT name, definition FROM sys.check_constraints WHERE parent_object_id = OBJECT_ID('obj_t')"
    ).rows == [[("obj_ck", "(n > 0)")]]
    assert run("SELECT temporal_type, is_memory_optimized FROM sys.tables WHERE name = 'obj_t'").rows == [[(0, False)]]
    assert run(f"SELECT DISTINCT rows FROM sys.partitions WHERE {of}").rows == [[(2,)]]


def test_a_temporary_table_made_by_exec_is_gone_after_it(run: Run) -> None:
    out = run("EXEC('CREATE TABLE #x (a int); INSERT INTO #x VALUES (1); SELECT a FROM #x'); SELECT a FROM #x")
    assert (out.errors, out.rows) == ([208], [[(1,)]])


def test_an_error_in_exec_ends_the_whole_batch_under_xact_abort(run: Run) -> None:
    out = run("SET XACT_ABORT ON; BEGIN TRAN; EXEC('SELECT 1 / 0 AS x'); SELECT 'on'")
    assert (out.errors, out.rows) == ([8134], [])
    assert run("SELECT @@TRANCOUNT").rows == [[(0,)]]


def test_an_alias_type_stands_in_sys_types_under_its_own_id(run: Run) -> None:
    assert not run("CREATE TYPE dbo.obj_flag FROM varchar(7) NOT NULL").errors
    out = run(
        "CREATE TABLE obj_c (a dbo.obj_flag, b obj_flag NULL, c int); DECLARE @x dbo.obj_flag = 'toolongforit'; "
        "INSERT INTO obj_c VALUES (@x, NULL, 1); SELECT a FROM obj_c; "
        "SELECT c.name, t.name, t.is_user_defined, s.name, c.is_nullable, c.max_length FROM sys.columns c JOIN "
        "sys.types t ON t.user_type_id = c.user_type_id JOIN sys.types s ON s.user_type_id = c.system_type_id WHERE "
        "c.object_id = OBJECT_ID('obj_c') ORDER BY c.column_id; SELECT TYPE_NAME(TYPE_ID('dbo.obj_flag'))"
    )
    try:
        assert not out.errors, out.messages
        assert out.rows == [
            [("toolong",)],
            [
                ("a", "obj_flag", True, "varchar", False, 7),
                ("b", "obj_flag", True, "varchar", True, 7),
                ("c", "int", False, "int", True, 4),
            ],
            [("obj_flag",)],
        ]
        assert run("CREATE TYPE obj_flag FROM int").errors == [219]
        assert run("DROP TYPE obj_flag").errors == [3732]
    finally:
        run("DROP TABLE IF EXISTS obj_c")
        assert run("DROP TYPE obj_flag; SELECT TYPE_ID('obj_flag')").rows == [[(None,)]]
    assert run("CREATE TABLE obj_c (a obj_flag)").errors == [2715]
