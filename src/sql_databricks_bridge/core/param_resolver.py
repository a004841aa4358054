"""From a query file to a query that can be sent: `{placeholders}` replaced, `@parameters` typed and bound."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from sql_databricks_bridge.core.country_config import CountryConfig, Declared
from sql_databricks_bridge.core.namespace import Namespace, NoValue
from sql_databricks_bridge.core.query_loader import QueryFile
from sql_databricks_bridge.core.sql_guard import check_select
from sql_databricks_bridge.core.sql_tokens import Unclosed, ends_in_comment, one_line, parameter_uses, tokenize
from sql_databricks_bridge.core.suggestions import closest, listed, looks_secret
from sql_databricks_bridge.core.template import Slot, parse_template
from sql_databricks_bridge.core.text_files import position
from sql_databricks_bridge.errors import ParameterError, QueryFileError
from sql_databricks_bridge.models.jobs import BoundParameter, Placeholder, ResolvedQuery

HIDDEN = "***"
_STAND_IN = "x"  # for a placeholder without a value, so that the query's @parameters can be checked in the same pass


@dataclass(frozen=True, slots=True, order=True)
class Problem:
    """One thing that keeps a run from starting; `query` is '' for what concerns the whole request.

    `in_file`: the query file itself is wrong, and the message says where.
    """

    query: str
    file: str
    line: int
    message: str
    in_file: bool = False


@dataclass(frozen=True, slots=True)
class RequestValues:
    """The values that a request gives to @parameters, by lower-case name."""

    given: Mapping[str, object]
    spelled: Mapping[str, str]

    @classmethod
    def of(cls, parameters: Mapping[str, object]) -> RequestValues:
        """Index by lower case; raises `ParameterError` for two names that differ in case only."""
        given: dict[str, object] = {}
        spelled: dict[str, str] = {}
        for written, value in parameters.items():
            name = written.removeprefix("@")
            if name.casefold() in given:
                raise ParameterError(f"@{name} is given twice.")
            given[name.casefold()] = value
            spelled[name.casefold()] = name
        return cls(given, spelled)


@dataclass(frozen=True, slots=True)
class Resolution:
    """What came of one query file. `query` is None where there are problems.

    `used_keys` are YAML paths, `used_parameters` lower-case names; `without_value` are the declared @parameters that
    nobody gave a value, which is a problem unless the caller only looks.
    """

    query: ResolvedQuery | None
    problems: tuple[Problem, ...] = ()
    warnings: tuple[str, ...] = ()
    used_keys: frozenset[str] = frozenset()
    used_parameters: frozenset[str] = frozenset()
    without_value: tuple[Declared, ...] = ()


def resolve_query(
    file: QueryFile, config: CountryConfig, names: Namespace, request: RequestValues, *, values_required: bool = True
) -> Resolution:
    """Resolve one query file; nothing is raised, every problem is in the result."""
    try:
        text = file.read()
    except QueryFileError as exc:
        return Resolution(None, (_file_problem(file, exc),))
    filler = _Filler(file, names)
    template = parse_template(text)
    filler.problems += [
        Problem(file.name, file.shown_as, brace.line, f"{file.shown_as}:{brace.line}: {brace.message}", in_file=True)
        for brace in template.problems
    ]
    sql = template.fill(filler.value_of)
    warnings: tuple[str, ...] = ()
    if not filler.problems:  # what a query without all its values is can't be judged
        try:
            sql, warnings = check_select(sql, file.shown_as)
        except QueryFileError as exc:
            filler.problems.append(_file_problem(file, exc))
    binder = _Binder(file, config, request)
    binder.bind(sql)
    problems = [*filler.problems, *binder.problems]
    if values_required:
        problems += binder.missing
    query = None
    if not problems:
        query = ResolvedQuery(
            name=file.name,
            file=file.shown_as,
            sql=sql,
            sha256=hashlib.sha256(sql.encode()).hexdigest(),
            placeholders=tuple(filler.placeholders.values()),
            parameters=tuple(binder.bound),
        )
    return Resolution(
        query,
        tuple(problems),
        warnings if query else (),
        frozenset(filler.used_keys),
        frozenset(binder.used),
        tuple(binder.without_value),
    )


def unused_request_problems(config: CountryConfig, request: RequestValues, used: Iterable[str]) -> list[Problem]:
    """Values that were given and that no chosen query takes: most likely a mistyped name."""
    taken = frozenset(used)
    declared = [entry.name for entry in config.declared.values()]
    problems = []
    for folded, name in request.spelled.items():
        if folded in taken:
            continue
        if folded in config.declared:
            message = f"@{name} is given, but no chosen query uses it"
        else:
            near = closest(name, declared)
            message = f"@{name} is not declared; declared are: {listed(f'@{entry}' for entry in declared)}"
            message += f"; did you mean @{near}?" if near else ""
        problems.append(Problem("", "", 0, message))
    return problems


def problems_error(problems: Sequence[Problem]) -> ParameterError | QueryFileError:
    """One error that tells all problems, sorted, the same one of several queries once.

    It is a `QueryFileError` where every problem is in a query file itself.
    """
    places: dict[str, list[str]] = {}
    for problem in sorted(problems):
        where = places.setdefault(problem.message, [])
        if problem.query and not problem.in_file:
            where.append(f"{problem.query} ({problem.file}:{problem.line})")
    told = [f"{', '.join(where)}: {message}" if where else message for message, where in places.items()]
    text = f"{told[0]}." if len(told) == 1 else "\n  - ".join([f"{len(told)} problems, nothing was run:", *told])
    return QueryFileError(text) if all(problem.in_file for problem in problems) else ParameterError(text)


def shown_value(name: str, value: object) -> str:
    """A parameter's value for people and manifests: NULL, text as it is, else Python's plain form; secrets hidden."""
    if value is None:
        return "NULL"
    if looks_secret(name):
        return HIDDEN
    return f"0x{value.hex().upper()}" if isinstance(value, bytes) else str(value)


class _Filler:
    """Gives the slots of one template their values and remembers what it gave."""

    def __init__(self, file: QueryFile, names: Namespace) -> None:
        self._file = file
        self._names = names
        self.placeholders: dict[str, Placeholder] = {}
        self.problems: list[Problem] = []
        self.used_keys: set[str] = set()

    def value_of(self, slot: Slot) -> str | None:
        try:
            found = self._names.find(slot.name)
        except NoValue as exc:
            self.used_keys.update(exc.paths)
            if slot.in_comment:
                return None
            self.problems.append(self._problem(slot, str(exc)))
            return _STAND_IN
        if found.path is not None:
            self.used_keys.add(found.path)
        if slot.in_comment:
            # A comment must stay one: text that would end it is not pasted there.
            return None if any(mark in found.text for mark in ("\n", "/*", "*/")) else found.text
        if not slot.quoted and ends_in_comment(found.text):
            message = f"{{{slot.name}}} ends in a `--` comment ({found.origin}), which would hide the rest of the line"
            self.problems.append(self._problem(slot, f"{message}: write /* */"))
            return _STAND_IN
        # In code a line end is a blank, and the query keeps the lines of its file; in a string it is a part of it.
        text = found.text if slot.quoted else one_line(found.text)
        hidden = looks_secret(found.path or slot.name)
        self.placeholders[slot.name] = Placeholder(slot.name, HIDDEN if hidden else text, found.origin)
        return text

    def _problem(self, slot: Slot, message: str) -> Problem:
        return Problem(self._file.name, self._file.shown_as, slot.line, message)


class _Binder:
    """Binds the @parameters of one query."""

    def __init__(self, file: QueryFile, config: CountryConfig, request: RequestValues) -> None:
        self._file = file
        self._config = config
        self._request = request
        self.bound: list[BoundParameter] = []
        self.problems: list[Problem] = []
        self.missing: list[Problem] = []
        self.without_value: list[Declared] = []
        self.used: set[str] = set()

    def bind(self, sql: str) -> None:
        try:
            uses = parameter_uses(sql, tokenize(sql))
        except Unclosed:
            return  # the guard has told
        for use in uses:
            folded = use.name.casefold()
            if folded in self.used:
                continue
            self.used.add(folded)
            line, _ = position(sql, use.start)
            declared = self._config.declared.get(folded)
            if declared is None:
                near = closest(use.name, [entry.name for entry in self._config.declared.values()])
                hint = f"did you mean @{near}?" if near else f"write `params: {{{use.name}: TYPE}}`"
                message = f"@{use.name} is not declared in {' or '.join(self._config.files)}; {hint}"
                self.problems.append(self._problem(line, message))
            else:
                self._bind_one(use.name, line, declared)

    def _bind_one(self, name: str, line: int, declared: Declared) -> None:
        folded = name.casefold()
        given: object
        if folded in self._request.given:
            given, origin = self._request.given[folded], "request"
        elif declared.default is not None:
            given, origin = declared.default.text, f"{declared.default.at} (default)"
        else:
            self.without_value.append(declared)
            text = f"@{declared.name} ({declared.type.declaration}, {declared.at}) has no value: give one"
            self.missing.append(self._problem(line, f"{text}, or a default in the YAML"))
            return
        try:
            value = declared.type.parse(given)
        except ValueError as exc:
            shown = HIDDEN if looks_secret(name) else _short(given)
            text = f"@{declared.name} ({declared.type.declaration}, {declared.at}) can't be {shown}: {exc}"
            self.problems.append(self._problem(line, text))
            return
        self.bound.append(BoundParameter(name, declared.type.declaration, value, origin))

    def _problem(self, line: int, message: str) -> Problem:
        return Problem(self._file.name, self._file.shown_as, line, message)


def _file_problem(file: QueryFile, exc: QueryFileError) -> Problem:
    return Problem(file.name, file.shown_as, 0, str(exc).rstrip("."), in_file=True)


def _short(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."
