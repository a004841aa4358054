"""What each system view selects. `{db}` is the database's id, `{name}` its quoted name.

Column lists are those of Microsoft's "System catalog views" pages, cut to what tools and this project read; a column
left out is Msg 207, never a made-up value.
"""

from __future__ import annotations

from dataclasses import dataclass

from ..contract import SqlType
from .types import BIGINT, BIT, DATETIME, INT, SMALLINT, SYSTEM_TYPES, TINYINT, nvarchar

_NAME = nvarchar(128)
_CHAR2 = SqlType("char", 2)
_T = {
    "name": _NAME, "int": INT, "small": SMALLINT, "tiny": TINYINT, "bit": BIT, "datetime": DATETIME, "char2": _CHAR2,
    "big": BIGINT, "desc": nvarchar(60), "text": nvarchar(4000), "max": nvarchar(-1),
    "guid": SqlType("uniqueidentifier"), "lsn": SqlType("binary", 10),
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class View:
    """A view's query and its (name, type, nullable) columns in order."""

    sql: str
    columns: tuple[tuple[str, SqlType, bool], ...]


def _view(columns: str, sql: str) -> View:
    """`columns`: 'name:kind' items, '?' after the kind for nullable."""
    out = []
    for item in columns.split():
        name, _, kind = item.partition(":")
        out.append((name, _T[kind.rstrip("?")], kind.endswith("?")))
    return View(sql, tuple(out))


def _ticks(column: str) -> str:
    return f"tsql.ticks_datetime((extract(epoch FROM {column}) * 10000000)::int8 + 621355968000000000, 'datetime2')"


_COLLATION = "'SQL_Latin1_General_CP1_CI_AS'"
_TABLES = "tsql.tables t JOIN tsql.schemas s ON s.dbid = t.dbid AND s.lname = t.lschema WHERE t.dbid = {db}"
_COLUMNS = "tsql.tables t CROSS JOIN LATERAL jsonb_array_elements(t.def->'columns') c WHERE t.dbid = {db}"
_ALL_COLUMNS = (
    "(SELECT id, dbid, def FROM tsql.tables UNION ALL SELECT id, dbid, def FROM tsql.objects WHERE kind = 'V') t "
    "CROSS JOIN LATERAL jsonb_array_elements(t.def->'columns') c WHERE t.dbid = {db}"
)
# A default has no id of its own: tables' ids are 16 apart, columns at most 1,024.
_DEFAULT_ID = "1200000000 + (t.id - 581577110) / 16 * 1024 + (c->>'id')::int4"
_GENERATED = "CASE c->>'generated' WHEN 'ROW START' THEN 1 WHEN 'ROW END' THEN 2 ELSE 0 END::int2"
_GENERATED_NAME = (
    "CASE c->>'generated' WHEN 'ROW START' THEN 'AS_ROW_START' WHEN 'ROW END' THEN 'AS_ROW_END' "
    "ELSE 'NOT_APPLICABLE' END"
)
_COLUMN_LIST = (
    "object_id:int name:name? column_id:int system_type_id:tiny user_type_id:int max_length:small "
    "precision:tiny scale:tiny "
    "collation_name:name? is_nullable:bit? is_ansi_padded:bit is_rowguidcol:bit is_identity:bit is_computed:bit "
    "is_filestream:bit is_replicated:bit? is_xml_document:bit xml_collection_id:int default_object_id:int "
    "is_sparse:bit? is_column_set:bit? generated_always_type:tiny? generated_always_type_desc:desc? is_hidden:bit "
    "is_masked:bit graph_type:int? encryption_type:int? column_encryption_key_id:int? "
    "is_data_deletion_filter_column:bit?"
)
_COLUMN_SQL = (
    "SELECT t.id, c->>'name', (c->>'id')::int4, (c->'sys'->>0)::int2, (c->'sys'->>1)::int4, (c->'sys'->>2)::int2, "
    "(c->'sys'->>3)::int2, (c->'sys'->>4)::int2, c->'type'->'collation'->>'name', (c->>'nullable')::bool, "
    "(c->'type'->>'name') IN ('char','varchar','binary','varbinary','nchar','nvarchar'), false, "
    "jsonb_typeof(c->'identity') = 'array', c->>'computed' IS NOT NULL, false, false, false, 0, "
    f"CASE WHEN c->>'default' IS NULL THEN 0 ELSE {_DEFAULT_ID} END, false, false, "
    f"{_GENERATED}, {_GENERATED_NAME}, coalesce((c->>'hidden')::bool, false), "
    f"false, NULL::int4, NULL::int4, NULL::int4, false FROM {_ALL_COLUMNS}"
)
_OBJECT_LIST = (
    "name:name object_id:int principal_id:int? schema_id:int parent_object_id:int type:char2? type_desc:desc? "
    "create_date:datetime modify_date:datetime is_ms_shipped:bit"
)
_TABLE_ROWS = (
    "SELECT t.def->>'name' AS name, t.id, NULL::int4, s.id, 0, 'U ', 'USER_TABLE', "
    f"{_ticks('t.created')}, {_ticks('t.modified')}, false FROM {_TABLES}"
)


def _constraint_rows(path: str, kind: str, description: str) -> str:
    return (
        f"SELECT k->>'name', (k->>'object_id')::int4, NULL::int4, s.id, t.id, '{kind}', '{description}', "
        f"{_ticks('t.created')}, "
        f"{_ticks('t.modified')}, false FROM tsql.tables t JOIN tsql.schemas s ON s.dbid = t.dbid AND "
        f"s.lname = t.lschema "
        f"CROSS JOIN LATERAL jsonb_array_elements(t.def->'{path}') k WHERE t.dbid = {{db}}"
    )


_PRIMARY = _constraint_rows("indexes", "PK", "PRIMARY_KEY_CONSTRAINT") + " AND (k->>'primary')::bool"
_UNIQUE = (
    _constraint_rows("indexes", "UQ", "UNIQUE_CONSTRAINT")
    + " AND (k->>'constraint')::bool AND NOT (k->>'primary')::bool"
)
_CHECKS = _constraint_rows("checks", "C ", "CHECK_CONSTRAINT")
_KEYS = _constraint_rows("foreign_keys", "F ", "FOREIGN_KEY_CONSTRAINT")
_TRIGGER_ROWS = "tsql.tables t CROSS JOIN LATERAL jsonb_array_elements(t.def->'triggers') g"
_TRIGGERS = _constraint_rows("triggers", "TR", "SQL_TRIGGER")
_DEFAULTS = (
    f"SELECT c->>'default_name', {_DEFAULT_ID}, NULL::int4, s.id, t.id, 'D ', 'DEFAULT_CONSTRAINT', "
    f"{_ticks('t.created')}, {_ticks('t.modified')}, false FROM tsql.tables t JOIN tsql.schemas s ON s.dbid = t.dbid "
    "AND s.lname = t.lschema CROSS JOIN LATERAL jsonb_array_elements(t.def->'columns') c WHERE t.dbid = {db} "
    "AND c->>'default' IS NOT NULL"
)


def _object_rows(kind: str, shown: str, description: str) -> str:
    return (
        f"SELECT o.def->>'name', o.id, NULL::int4, s.id, 0, '{shown}', '{description}', {_ticks('o.created')}, "
        f"{_ticks('o.modified')}, false FROM tsql.objects o JOIN tsql.schemas s ON s.dbid = o.dbid AND "
        f"s.lname = o.lschema WHERE o.dbid = {{db}} AND o.kind = '{kind}'"
    )


_VIEWS = _object_rows("V", "V ", "VIEW")
_SYNONYMS = _object_rows("SN", "SN", "SYNONYM")
_BASE_NAME = (
    "(SELECT string_agg('[' || replace(p, ']', ']]') || ']', '.' ORDER BY n) FROM "
    "jsonb_array_elements_text(o.def->'target') WITH ORDINALITY x(p, n))"
)
_INDEXES = "tsql.tables t CROSS JOIN LATERAL jsonb_array_elements(t.def->'indexes') i"
_ID = (
    "(SELECT (x->>'id')::int4 FROM jsonb_array_elements({table}.def->'columns') x "
    "WHERE lower(x->>'name') = lower({name}))"
)

_TYPE_ROWS = ", ".join(
    f"('{name}', {v[0]}::int2, {v[1]}, 4, {v[2]}::int2, {v[3]}::int2, {v[4]}::int2, "
    f"{_COLLATION if name in ('char', 'varchar', 'nchar', 'nvarchar', 'text', 'ntext', 'sysname') else 'NULL'}, "
    f"{'false' if name in ('sysname', 'timestamp') else 'true'}, false, {'true' if v[0] == 240 else 'false'})"
    for name, v in SYSTEM_TYPES.items()
)

SESSION_COLUMNS = (
    "session_id", "host_name", "program_name", "login_name", "status", "transaction_isolation_level", "database_id",
    "open_transaction_count", "is_user_process",
)  # fmt: skip

LOCK_COLUMNS = (
    "resource_database_id", "resource_description", "request_mode", "request_session_id", "request_owner_type",
    "request_reference_count",
)  # fmt: skip

VIEWS: dict[str, View] = {
    "sys.change_tracking_databases": _view(
        "database_id:int is_auto_cleanup_on:bit? retention_period:int? retention_period_units:tiny? "
        "retention_period_units_desc:desc? max_cleanup_version:big?",
        "SELECT dbid, auto_cleanup, retention, units::int2, (ARRAY['MINUTES', 'HOURS', 'DAYS'])[units], NULL::int8 "
        "FROM tsql.ct_databases",
    ),
    "sys.change_tracking_tables": _view(
        "object_id:int is_track_columns_updated_on:bit min_valid_version:big? begin_version:big? cleanup_version:big?",
        "SELECT id, columns_updated, begin_version, begin_version, 0::int8 FROM tsql.ct_tables WHERE dbid = {db}",
    ),
    "cdc.change_tables": _view(
        "object_id:int version:int? source_object_id:int? capture_instance:name start_lsn:lsn? end_lsn:lsn? "
        "supports_net_changes:bit? has_drop_pending:bit? role_name:name? index_name:name? filegroup_name:name? "
        "create_date:datetime?",
        f"SELECT 1900000000 + number, 0, source, name, start_lsn, NULL::bytea, net, false, role, index_name, NULL, "
        f"{_ticks('created')} FROM tsql.cdc_instances WHERE dbid = {{db}}",
    ),
    "sys.dm_tran_locks": _view(  # application locks that are held; no others are known
        "resource_type:desc resource_database_id:int resource_description:desc resource_associated_entity_id:int? "
        "request_mode:desc request_type:desc request_status:desc request_session_id:int request_owner_type:desc "
        "request_reference_count:small",
        "SELECT 'APPLICATION', resource_database_id, resource_description, 0, request_mode, 'LOCK', 'GRANT', "
        "request_session_id, request_owner_type, request_reference_count FROM {locks}",
    ),
    "sys.dm_exec_sessions": _view(
        "session_id:small host_name:name? program_name:name? login_name:name status:desc "
        "transaction_isolation_level:small database_id:small open_transaction_count:int is_user_process:bit",
        f"SELECT {', '.join(SESSION_COLUMNS)} FROM {{sessions}}",
    ),
    "sys.databases": _view(
        "name:name database_id:int create_date:datetime compatibility_level:tiny collation_name:name? state:tiny? "
        "state_desc:desc? snapshot_isolation_state:tiny? snapshot_isolation_state_desc:desc? "
        "is_read_committed_snapshot_on:bit? is_read_only:bit? user_access_desc:desc? recovery_model_desc:desc? "
        "is_cdc_enabled:bit",
        f"SELECT name, id, {_ticks('created')}, 160::int2, {_COLLATION}, 0::int2, 'ONLINE', snapshot::int4::int2, "
        "CASE WHEN snapshot THEN 'ON' ELSE 'OFF' END, true, false, 'MULTI_USER', 'SIMPLE', "
        "EXISTS (SELECT 1 FROM tsql.cdc_databases x WHERE x.dbid = databases.id) FROM tsql.databases",
    ),
    "sys.schemas": _view(
        "name:name schema_id:int principal_id:int?", "SELECT name, id, 1 FROM tsql.schemas WHERE dbid = {db}"
    ),
    "sys.tables": _view(
        _OBJECT_LIST + " is_external:bit temporal_type:tiny? temporal_type_desc:desc? is_memory_optimized:bit? "
        "is_tracked_by_cdc:bit?",
        _TABLE_ROWS.replace(
            ", false FROM",
            ", false, false, 0::int2, 'NON_TEMPORAL_TABLE', false, "
            "EXISTS (SELECT 1 FROM tsql.cdc_instances x WHERE x.source = t.id) FROM",
        ),
    ),
    "sys.objects": _view(
        _OBJECT_LIST,
        " UNION ALL ".join([_TABLE_ROWS, _PRIMARY, _UNIQUE, _CHECKS, _KEYS, _DEFAULTS, _TRIGGERS, _VIEWS, _SYNONYMS]),
    ),
    "sys.views": _view(_OBJECT_LIST, _VIEWS),
    "sys.synonyms": _view(
        _OBJECT_LIST + " base_object_name:text?", _SYNONYMS.replace(", false FROM", f", false, {_BASE_NAME} FROM")
    ),
    "sys.triggers": _view(
        "name:name object_id:int parent_class:tiny parent_class_desc:desc? parent_id:int type:char2 type_desc:desc? "
        "create_date:datetime modify_date:datetime is_ms_shipped:bit is_disabled:bit is_not_for_replication:bit "
        "is_instead_of_trigger:bit",
        "SELECT g->>'name', (g->>'object_id')::int4, 1::int2, 'OBJECT_OR_COLUMN', t.id, 'TR', 'SQL_TRIGGER', "
        f"{_ticks('t.created')}, {_ticks('t.modified')}, false, (g->>'disabled')::bool, false, "
        f"(g->>'instead_of')::bool FROM {_TRIGGER_ROWS} WHERE t.dbid = {{db}}",
    ),
    "sys.trigger_events": _view(
        "object_id:int type:int type_desc:desc is_first:bit? is_last:bit? event_group_type:int? "
        "event_group_type_desc:desc? is_trigger_event:bit?",
        "SELECT (g->>'object_id')::int4, CASE e WHEN 'INSERT' THEN 1 WHEN 'UPDATE' THEN 2 ELSE 3 END, e, false, false, "
        f"NULL::int4, NULL::text, true FROM {_TRIGGER_ROWS} CROSS JOIN LATERAL "
        "jsonb_array_elements_text(g->'events') e WHERE t.dbid = {db}",
    ),
    "sys.sql_modules": _view(
        "object_id:int definition:max? uses_ansi_nulls:bit? uses_quoted_identifier:bit? is_schema_bound:bit?",
        "SELECT (g->>'object_id')::int4, g->>'text', true, true, false FROM "
        f"{_TRIGGER_ROWS} WHERE t.dbid = {{db}} UNION ALL "
        "SELECT o.id, o.def->>'text', true, true, false FROM tsql.objects o WHERE o.dbid = {db} AND o.kind = 'V'",
    ),
    "sys.computed_columns": _view(
        "object_id:int name:name? column_id:int system_type_id:tiny user_type_id:int max_length:small precision:tiny "
        "scale:tiny collation_name:name? is_nullable:bit? is_computed:bit definition:max? "
        "uses_database_collation:bit is_persisted:bit",
        "SELECT t.id, c->>'name', (c->>'id')::int4, (c->'sys'->>0)::int2, (c->'sys'->>1)::int4, "
        "(c->'sys'->>2)::int2, (c->'sys'->>3)::int2, (c->'sys'->>4)::int2, c->'type'->'collation'->>'name', "
        "(c->>'nullable')::bool, true, '(' || (c->>'computed') || ')', true, (c->>'persisted')::bool FROM "
        f"{_COLUMNS} AND c->>'computed' IS NOT NULL",
    ),
    "sys.columns": _view(_COLUMN_LIST, _COLUMN_SQL),
    "sys.all_columns": _view(_COLUMN_LIST, _COLUMN_SQL),
    "sys.identity_columns": _view(
        "object_id:int name:name? column_id:int system_type_id:tiny seed_value:text? increment_value:text? "
        "last_value:text? is_not_for_replication:bit?",
        "SELECT t.id, c->>'name', (c->>'id')::int4, (c->'sys'->>0)::int2, c->'identity'->>0, c->'identity'->>1, "
        "(SELECT q.last_value::text FROM pg_sequences q WHERE q.schemaname = t.def->>'pg_schema' AND "
        "q.sequencename = (t.def->>'pg_name') || '_c' || (c->>'id') || '_seq'), false FROM "
        + _COLUMNS
        + " AND jsonb_typeof(c->'identity') = 'array'",
    ),
    "sys.default_constraints": _view(
        "name:name object_id:int schema_id:int parent_object_id:int parent_column_id:int definition:max?",
        f"SELECT c->>'default_name', {_DEFAULT_ID}, s.id, t.id, (c->>'id')::int4, '(' || "
        "(c->>'default') || ')' FROM "
        "tsql.tables t JOIN tsql.schemas s ON s.dbid = t.dbid AND s.lname = t.lschema CROSS JOIN LATERAL "
        "jsonb_array_elements(t.def->'columns') c WHERE t.dbid = {db} AND c->>'default' IS NOT NULL",
    ),
    "sys.check_constraints": _view(
        "name:name object_id:int parent_object_id:int is_disabled:bit definition:max?",
        "SELECT k->>'name', (k->>'object_id')::int4, t.id, false, k->>'text' FROM tsql.tables t CROSS JOIN LATERAL "
        "jsonb_array_elements(t.def->'checks') k WHERE t.dbid = {db}",
    ),
    "sys.types": _view(
        "name:name system_type_id:tiny user_type_id:int schema_id:int max_length:small precision:tiny scale:tiny "
        "collation_name:name? is_nullable:bit? is_user_defined:bit is_assembly_type:bit",
        f"SELECT * FROM (VALUES {_TYPE_ROWS}) q UNION ALL "
        "SELECT o.def->>'name', (c->'sys'->>0)::int2, (o.def->>'user_type_id')::int4, s.id, (c->'sys'->>2)::int2, "
        "(c->'sys'->>3)::int2, (c->'sys'->>4)::int2, c->'type'->'collation'->>'name', (c->>'nullable')::bool, true, "
        "false FROM tsql.objects o JOIN tsql.schemas s ON s.dbid = o.dbid AND s.lname = o.lschema CROSS JOIN LATERAL "
        "jsonb_array_elements(o.def->'columns') c WHERE o.dbid = {db} AND o.kind = 'AT'",
    ),
    "sys.indexes": _view(
        "object_id:int name:name? index_id:int type:tiny type_desc:desc? is_unique:bit? is_primary_key:bit? "
        "is_unique_constraint:bit? is_disabled:bit? has_filter:bit filter_definition:max? ignore_dup_key:bit? "
        "is_hypothetical:bit?",
        "SELECT t.id, i->>'name', (i->>'id')::int4, CASE WHEN (i->>'clustered')::bool THEN 1 ELSE 2 END::int2, "
        "CASE WHEN (i->>'clustered')::bool THEN 'CLUSTERED' ELSE 'NONCLUSTERED' END, "
        "(i->>'unique')::bool, (i->>'primary')::bool, "
        "(i->>'constraint')::bool AND NOT (i->>'primary')::bool, false, i->>'filter' IS NOT NULL, i->>'filter', "
        "false, false "
        f"FROM {_INDEXES} WHERE t.dbid = {{db}} UNION ALL "
        "SELECT t.id, NULL, 0, 0::int2, 'HEAP', false, false, false, false, false, NULL, false, false FROM tsql.tables "
        "t WHERE t.dbid = {db} "
        "AND NOT EXISTS (SELECT 1 FROM jsonb_array_elements(t.def->'indexes') i WHERE (i->>'clustered')::bool)",
    ),
    "sys.index_columns": _view(
        "object_id:int index_id:int index_column_id:int column_id:int key_ordinal:tiny partition_ordinal:tiny "
        "is_descending_key:bit? is_included_column:bit?",
        "SELECT t.id, (i->>'id')::int4, k.n::int4, " + _ID.format(table="t", name="k.v->>0") + ", k.n::int2, 0::int2, "
        f"(k.v->>1)::bool, false FROM {_INDEXES} CROSS JOIN LATERAL jsonb_array_elements(i->'columns') "
        f"WITH ORDINALITY k(v, n) WHERE t.dbid = {{db}} UNION ALL "
        "SELECT t.id, (i->>'id')::int4, jsonb_array_length(i->'columns') + k.n::int4, "
        + _ID.format(table="t", name="k.v")
        + f", 0::int2, 0::int2, false, true FROM {_INDEXES} CROSS JOIN LATERAL "
        "jsonb_array_elements_text(i->'include') WITH ORDINALITY k(v, n) WHERE t.dbid = {db}",
    ),
    "sys.partitions": _view(
        "partition_id:text object_id:int index_id:int partition_number:int rows:big?",
        "SELECT (t.id::int8 * 1024 + p.id)::text, t.id, p.id, 1, tsql.count_rows(t.def->>'pg_schema', "
        "t.def->>'pg_name') FROM tsql.tables t CROSS JOIN LATERAL (SELECT (i->>'id')::int4 FROM "
        "jsonb_array_elements(t.def->'indexes') i UNION SELECT 0 WHERE NOT EXISTS (SELECT 1 FROM "
        "jsonb_array_elements(t.def->'indexes') i WHERE (i->>'clustered')::bool)) p(id) WHERE t.dbid = {db}",
    ),
    "sys.key_constraints": _view(
        _OBJECT_LIST + " unique_index_id:int? is_system_named:bit",
        " UNION ALL ".join(
            x.replace(", false FROM", ", false, (k->>'id')::int4, false FROM") for x in (_PRIMARY, _UNIQUE)
        ),
    ),
    "sys.foreign_keys": _view(
        _OBJECT_LIST + " referenced_object_id:int? key_index_id:int? is_disabled:bit is_not_trusted:bit "
        "delete_referential_action:tiny? delete_referential_action_desc:desc? update_referential_action:tiny? "
        "update_referential_action_desc:desc?",
        _KEYS.replace(
            ", false FROM",
            ", false, (k->>'target_id')::int4, 1, false, coalesce(k->>'trusted' = 'false', false), "
            + ", ".join(
                f"CASE k->>'{a}' WHEN 'CASCADE' THEN 1 WHEN 'SET NULL' THEN 2 WHEN 'SET DEFAULT' THEN 3 ELSE 0 "
                f"END::int2, "
                f"replace(k->>'{a}', ' ', '_')"
                for a in ("on_delete", "on_update")
            )
            + " FROM",
        ),
    ),
    "sys.foreign_key_columns": _view(
        "constraint_object_id:int constraint_column_id:int parent_object_id:int parent_column_id:int "
        "referenced_object_id:int referenced_column_id:int",
        "SELECT (k->>'object_id')::int4, c.n::int4, t.id, "
        + _ID.format(table="t", name="c.v")
        + ", r.id, "
        + _ID.format(table="r", name="(k->'target_columns'->>(c.n::int4 - 1))")
        + " FROM tsql.tables t CROSS JOIN LATERAL jsonb_array_elements(t.def->'foreign_keys') k CROSS JOIN LATERAL "
        "jsonb_array_elements_text(k->'columns') WITH ORDINALITY c(v, n) JOIN tsql.tables r ON r.id = "
        "(k->>'target_id')::int4 "
        "WHERE t.dbid = {db}",
    ),
    "information_schema.tables": _view(
        "TABLE_CATALOG:name? TABLE_SCHEMA:name? TABLE_NAME:name TABLE_TYPE:text?",
        f"SELECT {{name}}, s.name, t.def->>'name', 'BASE TABLE' FROM {_TABLES} UNION ALL "
        f"SELECT {{name}}, v.name, o.def->>'name', 'VIEW' FROM tsql.objects o JOIN tsql.schemas v ON v.dbid = o.dbid "
        "AND v.lname = o.lschema WHERE o.dbid = {db} AND o.kind = 'V'",
    ),
    "information_schema.schemata": _view(
        "CATALOG_NAME:name? SCHEMA_NAME:name SCHEMA_OWNER:name?",
        "SELECT {name}, name, 'dbo' FROM tsql.schemas WHERE dbid = {db}",
    ),
    "information_schema.columns": _view(
        "TABLE_CATALOG:name? TABLE_SCHEMA:name? TABLE_NAME:name COLUMN_NAME:name? ORDINAL_POSITION:int "
        "COLUMN_DEFAULT:max? "
        "IS_NULLABLE:text? DATA_TYPE:name? CHARACTER_MAXIMUM_LENGTH:int? CHARACTER_OCTET_LENGTH:int? "
        "NUMERIC_PRECISION:tiny? "
        "NUMERIC_SCALE:int? DATETIME_PRECISION:small? COLLATION_NAME:name?",
        "SELECT {name}, s.name, t.def->>'name', c->>'name', (c->>'id')::int4, '(' || (c->>'default') || ')', "
        "CASE WHEN (c->>'nullable')::bool THEN 'YES' ELSE 'NO' END, c->'type'->>'name', "
        "(c->'type'->>'length')::int4, CASE WHEN c->'type'->>'length' IS NULL THEN NULL ELSE (c->'sys'->>2)::int4 END, "
        "CASE WHEN c->'type'->>'name' IN "
        "('tinyint','smallint','int','bigint','decimal','numeric','money','smallmoney','real','float') "
        "THEN (c->'sys'->>3)::int2 END, CASE WHEN c->'type'->>'name' IN "
        "('tinyint','smallint','int','bigint','decimal','numeric',"
        "'money','smallmoney') THEN (c->'sys'->>4)::int4 END, CASE WHEN c->'type'->>'name' IN "
        "('time','datetime2','datetimeoffset') "
        "THEN (c->'sys'->>4)::int2 WHEN c->'type'->>'name' = 'datetime' THEN 3 WHEN c->'type'->>'name' "
        "IN ('date','smalldatetime') "
        "THEN 0 END::int2, c->'type'->'collation'->>'name' FROM (SELECT dbid, lschema, def FROM tsql.tables UNION ALL "
        "SELECT dbid, lschema, def FROM tsql.objects WHERE kind = 'V') t JOIN tsql.schemas s ON "
        "s.dbid = t.dbid AND "
        "s.lname = t.lschema CROSS JOIN LATERAL jsonb_array_elements(t.def->'columns') c WHERE t.dbid = {db}",
    ),
}
