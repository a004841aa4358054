"""Where names are looked up: the sources of a query and of the queries around it."""

from __future__ import annotations

from dataclasses import dataclass, field

from .bound import Ex, OutColumn, Source, SourceColumn
from .errors import error, invalid_column
from .table import Table


@dataclass(slots=True)
class CteInfo:
    """A common table expression in sight."""

    name: str
    alias: str
    columns: list[OutColumn]
    level: str | None = None  # the recursion level's column, inside the recursive part


@dataclass(slots=True)
class Scope:
    """One query's FROM, and its parent's."""

    parent: Scope | None = None
    sources: list[Source] = field(default_factory=list)
    ctes: dict[str, CteInfo] = field(default_factory=dict)
    group: dict[str, Ex] | None = None  # bound text of a grouped expression -> what stands for it after grouping
    in_aggregate: bool = False
    clause: str = "select"
    windows: bool = True  # window functions allowed here
    row_locks: list[tuple[Source, Table, str]] | None = None  # to be taken with the rows; None: not possible here

    def cte(self, name: str) -> CteInfo | None:
        scope: Scope | None = self
        while scope is not None:
            found = scope.ctes.get(name.lower())
            if found is not None:
                return found
            scope = scope.parent
        return None

    def find(self, parts: tuple[str, ...], line: int) -> Ex | None:
        """The column that `parts` names here or further out, None where there is none."""
        scope: Scope | None = self
        while scope is not None:
            found = scope._find(parts, line)
            if found is not None:
                return scope._grouped(found, parts, line)
            scope = scope.parent
        return None

    def column(self, parts: tuple[str, ...], line: int) -> Ex:
        """The same: Msg 207, 209 or 4104 where there is none."""
        found = self.find(parts, line)
        if found is not None:
            return found
        if len(parts) == 1:
            raise invalid_column(parts[0], line)
        qualifier = tuple(p.lower() for p in parts[:-1])
        scope: Scope | None = self
        while scope is not None:
            if any(qualifier in s.qualifiers for s in scope.sources):
                raise invalid_column(parts[-1], line)
            scope = scope.parent
        raise error(4104, f'The multi-part identifier "{".".join(parts)}" could not be bound.', line=line)

    def _find(self, parts: tuple[str, ...], line: int) -> Ex | None:
        name = parts[-1].lower()
        qualifier = tuple(p.lower() for p in parts[:-1])
        found: list[Ex] = []
        for source in self.sources:
            if qualifier and qualifier not in source.qualifiers:
                continue
            found += [_column(c) for c in source.columns if c.name.lower() == name]
        if len(found) > 1:
            raise error(209, f"Ambiguous column name '{parts[-1]}'.", line=line)
        return found[0] if found else None

    def _grouped(self, ex: Ex, parts: tuple[str, ...], line: int) -> Ex:
        if self.group is None or self.in_aggregate:
            return ex
        if ex.sql in self.group:
            return self.group[ex.sql]
        full = ".".join(parts) if len(parts) > 1 else self._qualified(parts[0])
        where = {"having": "in the HAVING clause", "order": "in the ORDER BY clause"}.get(
            self.clause, "in the select list"
        )
        number = {"having": 8121, "order": 8127}.get(self.clause, 8120)
        raise error(
            number,
            f"Column '{full}' is invalid {where} because it is not contained in either an aggregate function or the "
            "GROUP BY clause.",
            line=line,
        )

    def _qualified(self, name: str) -> str:
        for source in self.sources:
            for c in source.columns:
                if c.name.lower() == name.lower():
                    return f"{'.'.join(source.qualifiers[-1])}.{c.name}"
        return name


def _column(c: SourceColumn) -> Ex:
    return Ex(c.sql, c.type, c.nullable, base=c.base, identity=c.identity, computed=c.computed, column=True, key=c.key)
