"""Query files: which there are, which one a country uses, what they hold."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from sql_databricks_bridge.core.suggestions import closest, listed
from sql_databricks_bridge.core.text_files import read_text
from sql_databricks_bridge.errors import QueryFileError, UnknownNameError, UsageError
from sql_databricks_bridge.models.names import require_simple_name


@dataclass(frozen=True, slots=True)
class QueryFile:
    """A query by its file. `country` is None for the base folder's; `overrides` the base file that it replaces."""

    name: str
    path: Path
    country: str | None = None
    overrides: Path | None = None

    @property
    def shown_as(self) -> str:
        """The file as messages and manifests name it, with '/' on every system."""
        return self.path.as_posix()

    def read(self) -> str:
        """The text, UTF-8, its line ends LF; raises `QueryFileError`."""
        return read_text(self.path, self.shown_as, QueryFileError)


@dataclass(frozen=True, slots=True)
class QueryFolder:
    """All query files: the base ones and each country's, by name."""

    root: Path
    base: Mapping[str, QueryFile]
    countries: Mapping[str, Mapping[str, QueryFile]]

    def of_country(self, country: str | None) -> Mapping[str, QueryFile]:
        """The queries of a country by name, sorted: the base ones, overridden and added to by its own folder."""
        return dict(sorted({**self.base, **self.countries.get(country or "", {})}.items()))


def discover(queries_dir: Path) -> QueryFolder:
    """Find `*.sql` and `{country}/*.sql`; names that begin with a dot are not looked at.

    Raises `QueryFileError` with every problem at once: an illegal name, a link out of the folder, something that is no
    file, two names that differ in case only (one file on Windows and macOS). `UsageError` where the folder is missing.
    """
    if not queries_dir.is_dir():
        raise UsageError(
            f"The queries folder {queries_dir} does not exist.", hint="Name it by --queries-dir or BRIDGE_QUERIES_DIR."
        )
    root = queries_dir.resolve()
    problems: list[str] = []
    base = _files_of(queries_dir, root, None, {}, problems)
    countries: dict[str, Mapping[str, QueryFile]] = {}
    for folder in sorted(queries_dir.iterdir()):
        if folder.name.startswith(".") or not folder.is_dir() or folder.suffix.lower() == ".sql":
            continue
        if not folder.resolve().is_relative_to(root):
            problems.append(f"{folder.as_posix()} is a link out of {queries_dir.as_posix()}")
            continue
        files = _files_of(folder, root, folder.name, base, problems)
        if not files:
            continue
        _check_name(folder.name, f"{folder.as_posix()}: the country", problems)
        _check_case(folder.name, countries, folder.as_posix(), problems)
        countries[folder.name] = files
    if problems:
        raise QueryFileError("; ".join(problems) + ".")
    return QueryFolder(queries_dir, base, countries)


def choose(folder: QueryFolder, country: str | None, chosen: Sequence[str] | None) -> tuple[QueryFile, ...]:
    """The query files of a run: those `chosen`, once each and in that order, or all of them sorted by name.

    Raises `UnknownNameError` listing every name that does not exist, `UsageError` where the folder has no query,
    `QueryFileError` where a folder's name misses the country's by its case.
    """
    known = folder.of_country(country)
    for name in folder.countries:
        if country and name != country and name.casefold() == country.casefold():
            raise QueryFileError(
                f"The folder {(folder.root / name).as_posix()} differs from the country {country} in case only.",
                hint=f"Rename it to {country}, else its queries are not used.",
            )
    if not known:
        raise UsageError(
            f"The queries folder {folder.root.as_posix()} has no .sql file.",
            hint="Write one SELECT into a file NAME.sql, or choose a folder by --queries-dir or BRIDGE_QUERIES_DIR.",
        )
    if not chosen:
        return tuple(known.values())
    names = tuple(dict.fromkeys(chosen))
    unknown = [name for name in names if name not in known]
    if unknown:
        told = []
        for name in unknown:
            near = closest(name, known)
            told.append(f"{name!r} (did you mean {near}?)" if near else repr(name))
        raise UnknownNameError(
            f"There {'is no query' if len(unknown) == 1 else 'are no queries'} {', '.join(told)}.",
            hint=f"Queries{f' of {country}' if country else ''}: {listed(known)}.",
        )
    return tuple(known[name] for name in names)


def folder_warnings(folder: QueryFolder, country: str, countries: Iterable[str]) -> tuple[str, ...]:
    """What is legal in the folder and yet seems a mistake, for a run of `country`."""
    known = tuple(countries)
    warnings = []
    for name in folder.countries:
        if name not in known:
            near = closest(name, known)
            warnings.append(
                f"{(folder.root / name).as_posix()} belongs to no country{f'; did you mean {near}?' if near else ''}"
            )
    for query in folder.countries.get(country, {}).values():
        near = closest(query.name, folder.base) if query.overrides is None else None
        if near:
            warnings.append(f"{query.shown_as} overrides no query; did you mean {near}?")
    return tuple(warnings)


def _files_of(
    folder: Path, root: Path, country: str | None, base: Mapping[str, QueryFile], problems: list[str]
) -> dict[str, QueryFile]:
    found: dict[str, QueryFile] = {}
    for path in sorted(folder.iterdir()):
        if path.name.startswith(".") or path.suffix.lower() != ".sql":
            continue
        shown = path.as_posix()
        if path.suffix != ".sql":
            problems.append(f"{shown}: the suffix must be .sql in lower case")
        elif not path.resolve().is_relative_to(root):
            problems.append(f"{shown} is a link out of {root.name}")
        elif not path.is_file():
            problems.append(f"{shown} is {'a broken link' if path.is_symlink() else 'no file'}")
        else:
            _check_name(path.stem, f"{shown}: the query", problems)
            _check_case(path.stem, found, shown, problems)
            _check_case(path.stem, base, shown, problems)
            overridden = base.get(path.stem)
            found[path.stem] = QueryFile(path.stem, path, country, overridden.path if overridden else None)
    return found


def _check_name(name: str, what: str, problems: list[str]) -> None:
    try:
        require_simple_name(name, what)
    except UsageError as exc:
        problems.append(str(exc).rstrip("."))


def _check_case(name: str, others: Iterable[str], shown: str, problems: list[str]) -> None:
    problems.extend(
        f"{shown} differs from {other} in case only, and is the same file on Windows and macOS"
        for other in others
        if other != name and other.casefold() == name.casefold()
    )
