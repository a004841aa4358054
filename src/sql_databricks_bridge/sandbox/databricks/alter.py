"""ALTER TABLE and COMMENT ON: another schema, other properties or comments, each one commit without data.

Sources: Databricks SQL reference, "ALTER TABLE", "ALTER TABLE ... COLUMN clause", "COMMENT ON"; Databricks docs, "Error
conditions".
"""

from __future__ import annotations

import copy
import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import sqlglot
from sqlglot import TokenType, exp
from sqlglot.errors import SqlglotError

from . import conflicts
from .execution import Execution, Outcome
from .failures import SqlFailure, syntax_error, unresolved_column, unsupported
from .names import Place, quoted
from .schemas import check_names, delta_type, new_field, require_features, widen, with_properties
from .sqltext import Statement, existing, only, spark_sql
from .writing import turn_on


@dataclass(slots=True)
class _Change:
    """A table as it is to be. `fields` are the schema's; `operation` is what the history will say."""

    table: str
    metadata: dict[str, Any]
    protocol: dict[str, Any]
    fields: list[dict[str, Any]]
    operation: str = ""

    @property
    def properties(self) -> dict[str, str]:
        found: dict[str, str] = self.metadata["configuration"]
        return found

    def field(self, name: str) -> dict[str, Any]:
        for field in self.fields:
            if field["name"].lower() == name.lower():
                return field
        raise unresolved_column(quoted(name))


def alter(run: Execution, tree: exp.Alter) -> Outcome:
    """ALTER TABLE t SET TBLPROPERTIES, ADD COLUMN[S], ALTER COLUMN ... COMMENT or TYPE."""
    kind = str(tree.args.get("kind")).upper()
    if kind != "TABLE":
        raise unsupported(f"ALTER {kind}")
    only(tree, "this kind actions", "ALTER TABLE")
    return _altered(run, tree.this, tree.args["actions"])


def alter_columns(run: Execution, statement: Statement) -> Outcome:
    """ALTER TABLE t ALTER COLUMN with several columns, which sqlglot does not know: `a COMMENT 'x', b TYPE BIGINT`."""
    words, tokens, text = statement.words, statement.tokens, statement.text
    start = next((i for i in range(3, len(words) - 1) if words[i : i + 2] == ["ALTER", "COLUMN"]), None)
    if words[:2] != ["ALTER", "TABLE"] or start is None:
        raise unsupported(f"this {' '.join(words[:2])} statement")
    cuts, depth = [tokens[start + 1].end + 1], 0
    for token in tokens[start + 2 :]:
        depth += (token.token_type is TokenType.L_PAREN) - (token.token_type is TokenType.R_PAREN)
        if token.token_type is TokenType.COMMA and not depth:
            cuts.append(token.end + 1)
    ends = [*(cut - 1 for cut in cuts[1:]), len(text)]
    head = text[: cuts[0]]
    actions: list[exp.Expression] = []
    for first, last in zip(cuts, ends, strict=True):
        try:
            one = sqlglot.parse_one(head + text[first:last], dialect="databricks")
        except SqlglotError as error:
            raise syntax_error(f"'{text[first:last].strip()}'") from error
        if not isinstance(one, exp.Alter):
            raise unsupported(f"ALTER COLUMN {text[first:last].strip()}")
        actions += one.args["actions"]
        target = one.this
    return _altered(run, target, actions)


def comment_on(run: Execution, tree: exp.Comment) -> Outcome:
    """COMMENT ON TABLE t IS '...' and COMMENT ON COLUMN t.c IS '...'."""
    kind = str(tree.args.get("kind")).upper()
    only(tree, "this kind expression", "COMMENT ON")
    if kind not in ("TABLE", "COLUMN"):
        raise unsupported(f"COMMENT ON {kind}")
    parts, column = list(tree.this.parts), None
    if kind == "COLUMN":
        column = parts.pop().name
    if not parts:
        raise unsupported("COMMENT ON COLUMN without a table")
    text = _text(tree.expression, "a comment")
    target = exp.to_table(quoted(*(part.name for part in parts)), dialect="databricks")
    with _changing(run, target) as change:
        if column is None:
            change.operation, change.metadata["description"] = "SET TBLPROPERTIES", text
        else:
            change.operation = "CHANGE COLUMN"
            change.field(column)["metadata"]["comment"] = text
    return Outcome.nothing()


def _altered(run: Execution, target: exp.Expression, actions: list[exp.Expression]) -> Outcome:
    for each in actions:
        if type(each) not in _ACTIONS:
            raise unsupported(f"ALTER TABLE with {spark_sql(each)}")
    with _changing(run, target) as change:
        for each in actions:
            _ACTIONS[type(each)](change, each)
    return Outcome.nothing()


@contextmanager
def _changing(run: Execution, target: exp.Expression) -> Iterator[_Change]:
    """The table's turn; what was changed is committed in the end."""
    if not isinstance(target, exp.Table):
        raise unsupported("this target of an ALTER TABLE")
    name = existing(target, Place(run.place.catalog, run.place.schema), run.catalog)
    with turn_on(run, name) as work:
        conflicts.refuse_changed_metadata(work, work.missed())
        state = run.logs.state(work.folder)
        metadata = copy.deepcopy(state.metadata)
        metadata.setdefault("configuration", {})
        schema = json.loads(metadata["schemaString"])
        change = _Change(name.sql, metadata, copy.deepcopy(state.protocol), schema["fields"])
        yield change
        check_names([field["name"] for field in change.fields], change.properties)
        require_features(change.fields, change.protocol)
        metadata["schemaString"] = json.dumps(schema)
        run.logs.alter(work.folder, metadata, change.protocol, (change.operation, {}))
        run.writers.committed(work.folder, [run.logs.version(work.folder)], blind=False)


def _set(change: _Change, action: exp.Expression) -> None:
    given: dict[str, str] = {}
    for each in action.expressions:
        if not isinstance(each, exp.Properties) or any(
            value for key, value in action.args.items() if key != "expressions"
        ):
            raise unsupported(f"ALTER TABLE with {spark_sql(action)}")
        for pair in each.expressions:
            given |= dict([property_of(pair)])
    change.operation = "SET TBLPROPERTIES"
    change.protocol = with_properties(change.properties, change.protocol, given)


def property_of(pair: exp.Expression) -> tuple[str, str]:
    """A key and a value in TBLPROPERTIES; keys in strings or as names with dots."""
    if type(pair) is not exp.Property:
        raise unsupported(f"the property {spark_sql(pair)}")
    key, value = pair.this, pair.args["value"]
    if not isinstance(value, (exp.Literal, exp.Boolean)):
        raise unsupported(f"the value of the property {spark_sql(key)}, which is no literal")
    name = key.name if isinstance(key, (exp.Literal, exp.Var, exp.Identifier)) else spark_sql(key).replace("`", "")
    return name, (str(value.this).lower() if isinstance(value, exp.Boolean) else value.name)


def _add_all(change: _Change, action: exp.Expression) -> None:
    for column in action.expressions:
        _add(change, column)


def _add(change: _Change, column: exp.Expression) -> None:
    if not isinstance(column, exp.ColumnDef) or column.args.get("position") or column.args.get("exists"):
        raise unsupported(f"ALTER TABLE ADD COLUMN with {spark_sql(column)}")
    comment = None
    for constraint in column.constraints:
        kind = constraint.args["kind"]
        if isinstance(kind, exp.DefaultColumnConstraint):
            raise SqlFailure(
                "WRONG_COLUMN_DEFAULTS_FOR_DELTA_ALTER_TABLE_ADD_COLUMN_NOT_SUPPORTED",
                "Failed to execute the command because DEFAULT values are not supported when adding new columns to "
                "previously existing Delta tables; please add the column without a default value first, then run a "
                "second ALTER TABLE ALTER COLUMN SET DEFAULT command to apply for future inserted rows instead.",
                "0AKDC",
            )
        if not isinstance(kind, exp.CommentColumnConstraint):
            raise unsupported(f"ALTER TABLE ADD COLUMN with {spark_sql(kind)}")
        comment = _text(kind.this, "a comment")
    if any(field["name"].lower() == column.name.lower() for field in change.fields):
        raise SqlFailure(
            "FIELD_ALREADY_EXISTS",
            f"Cannot add column, because {quoted(column.name)} already exists in the table {change.table}.",
            "42710",
        )
    change.operation = "ADD COLUMNS"
    change.fields.append(new_field(column.name, delta_type(column.args["kind"]), comment, change.properties))


def _alter_column(change: _Change, action: exp.Expression) -> None:
    only(action, "this comment dtype", "ALTER COLUMN")
    field = change.field(action.name)
    change.operation = "CHANGE COLUMN"
    if action.args.get("comment") is not None:
        field["metadata"]["comment"] = _text(action.args["comment"], "a comment")
    elif action.args.get("dtype") is not None:
        widen(field, delta_type(action.args["dtype"]), change.properties, change.table)
    else:
        raise unsupported(f"ALTER COLUMN {action.name} without COMMENT or TYPE")


def _text(node: exp.Expression | None, what: str) -> str:
    if not isinstance(node, exp.Literal) or not node.is_string:
        raise unsupported(f"{what} that is not one string literal")
    return node.name


_ACTIONS: dict[type, Callable[[_Change, exp.Expression], None]] = {
    exp.AlterSet: _set,
    exp.Schema: _add_all,
    exp.ColumnDef: _add,
    exp.AlterColumn: _alter_column,
}
HANDLERS: dict[type[exp.Expression], Callable[[Execution, Any], Outcome]] = {
    exp.Alter: alter,
    exp.Comment: comment_on,
}
