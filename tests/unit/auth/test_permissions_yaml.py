"""permissions.yaml: what it says, and everything that is wrong with it, told at once with lines and no secrets."""

from __future__ import annotations

import datetime as dt
import hashlib
import re
from collections.abc import Mapping
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sql_databricks_bridge.auth.patterns import Home
from sql_databricks_bridge.auth.permissions import BearerToken, Grant, Permissions, User, token_digest
from sql_databricks_bridge.auth.permissions_yaml import Reading, Rules, read_permissions
from sql_databricks_bridge.auth.token import sign_in
from sql_databricks_bridge.core.config import Environment
from sql_databricks_bridge.errors import SettingsError, SignInRefused
from sql_databricks_bridge.models.tables import SourceName

DOCS = Path(__file__).parents[3] / "docs" / "permissions.md"
SECRET = "s3cr3t-of-sixteen-characters"
NOON = dt.datetime(2026, 6, 15, 12, tzinfo=dt.UTC)
HASH = hashlib.sha256(b"hashed-token").hexdigest()


def read(
    folder: Path,
    text: str | bytes,
    environment: Environment = Environment.DEVELOPMENT,
    environ: Mapping[str, str] | None = None,
) -> Reading:
    path = folder / "permissions.yaml"
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    plain_tokens = environment is not Environment.PRODUCTION
    return read_permissions(path, Rules(Home("sql01", "Sales"), environ or {}, plain_tokens, NOON))


def user_of(permissions: Permissions, token: str) -> User | None:
    try:
        return sign_in(token, permissions, NOON)
    except SignInRefused:
        return None


def problems(folder: Path, text: str | bytes, **options: object) -> str:
    """What is told about a file, its folder left out."""
    with pytest.raises(SettingsError) as caught:
        read(folder, text, **options)  # type: ignore[arg-type]
    chained = caught.value.__cause__ or (None if caught.value.__suppress_context__ else caught.value.__context__)
    assert chained is None, "a chained error would quote the file's lines in a traceback"
    return str(caught.value).replace(f"{folder.as_posix()}/permissions.yaml", "FILE")


def one_user(lines: str) -> str:
    return "users:\n  - name: ana\n" + "".join(f"    {line}\n" for line in lines.splitlines())


def grant(permissions: Permissions, table: str) -> Grant | None:
    return permissions.write_grant(permissions.users[0], "sql01", "Sales", "dbo", table)


def test_a_whole_file_says_who_may_do_what(tmp_path: Path) -> None:
    reading = read(
        tmp_path,
        f"""
        users:
          - name: ana
            token: env:ANA_TOKEN
            tokens: [sha256:{HASH}]
            signing_key: env:ANA_KEY
            sources: [main.sales.*, "lab.`odd+one`.t"]
            permissions:
              - table: dbo.*
                access: read_write
                max_delete_rows: 10000
              - {{table: dbo.Payroll, access: read}}
              - table: Archive.dbo.[odd name]
                access: write
                allow_cascade: true
          - name: Team Norte (Perú)
        end: true
        """,
        Environment.PRODUCTION,
        {"ANA_TOKEN": "token-of-ana", "ANA_KEY": SECRET},
    )
    permissions = reading.permissions
    ana = permissions.users[0]
    assert [user.name for user in permissions.users] == ["ana", "Team Norte (Perú)"]
    assert user_of(permissions, "token-of-ana") is user_of(permissions, "hashed-token") is ana
    assert ana.signing_key is not None
    assert ana.signing_key.get_secret_value() == SECRET
    assert grant(permissions, "Orders") == Grant(10000, False, "dbo.*")
    assert grant(permissions, "payroll") is None
    assert permissions.write_grant(ana, "sql01", "archive", "dbo", "odd name") == Grant(
        0, True, "Archive.dbo.[odd name]"
    )
    assert permissions.source_allowed(ana, SourceName("lab", "odd+one", "t"))
    assert reading.guarded
    assert not reading.plain_secrets


def test_the_file_in_the_docs_says_what_the_docs_say(tmp_path: Path) -> None:
    found = re.search(r"```yaml\n(.*?)```", DOCS.read_text(), re.DOTALL)
    assert found is not None
    environ = {"SALES_TOKEN": "token-of-sales", "SALES_SIGNING_KEY": SECRET}
    reading = read(tmp_path, found[1], Environment.PRODUCTION, environ)
    permissions = reading.permissions
    team = permissions.users[0]
    assert reading.guarded
    assert user_of(permissions, "token-of-sales") is team
    assert grant(permissions, "Orders") == Grant(10000, False, "dbo.*")
    assert grant(permissions, "Payroll") is None
    assert permissions.read_allowed(team, "sql01", "Sales", "dbo", "Payroll")
    assert permissions.write_grant(team, "sql01", "Archive", "dbo", "Orders") == Grant(500, True, "Archive.dbo.Orders")
    assert permissions.source_allowed(team, SourceName("main", "sales", "orders"))


def test_the_seeds_file_is_understood(tmp_path: Path) -> None:
    reading = read(
        tmp_path,
        """
        users:
          - token: "project-token"
            name: "project-name"
            permissions:
              - table: "dbo.Table"
                access: "read_write"
                max_delete_rows: 10000
        """,
    )
    assert grant(reading.permissions, "Table") == Grant(10000, False, "dbo.Table")
    assert user_of(reading.permissions, "project-token") is not None
    assert reading.plain_secrets
    assert reading.secrets == ("project-token",)
    assert "project-token" not in repr(reading)
    assert not reading.guarded


@pytest.mark.parametrize("text", ["", "# nobody yet\n", "users:\n", "users: []\nend: true\n", "end: true\n"])
def test_a_file_without_users_gives_nobody_anything(tmp_path: Path, text: str) -> None:
    assert read(tmp_path, text).permissions == Permissions()


def test_all_problems_are_told_together_each_with_its_line(tmp_path: Path) -> None:
    told = problems(
        tmp_path,
        """user: []
users:
  - nam: ana
    token: abc def
    signing_key: short
    sources: [main.sales]
    permissions:
      - table: dbo.Ord*
        acces: read
      - table: dbo.Orders
        access: raed
        max_delete_rows: -1
      - table: dbo.Lines
        access: read
        max_delete_rows: 5
      - dbo.Orders
  - bob
  - name: eve
    permission: []
    tokens: xyz
bridge_Zq9-4x: here
""",
    )
    wanted = """FILE:1: the file has no key 'user' (did you mean users?)
FILE:3: a user has no key 'nam' (did you mean name?)
FILE:3: a user needs a `name` of 1 to 128 printable characters, without blanks around it
FILE:4: a token is sha256:<64 hexadecimal digits>, env:NAME or, plain, visible ASCII without blanks
FILE:9: a permission has no key 'acces' (did you mean access?)
FILE:8: the table pattern 'dbo.Ord*' is not
FILE:8: a permission needs `access`: one of read, write, read_write
FILE:11: a permission needs `access`: one of read, write, read_write (did you mean read?)
FILE:12: `max_delete_rows` must be a number of rows, digits only; 0 allows no DELETE
FILE:15: `max_delete_rows` means nothing where `access` is read
FILE:16: a permission is a mapping of table, access, max_delete_rows, allow_cascade
FILE:6: the source pattern 'main.sales' is none of
FILE:5: a signing key needs 16 characters or more
FILE:17: a user is a mapping of name, token, tokens, signing_key, sources, permissions, allow_openquery
FILE:19: a user has no key 'permission' (did you mean permissions?)
FILE:20: `tokens` must be a list
FILE:21: the file has no key of these 13 characters, which may be a secret (known are users, end)""".splitlines()
    assert [line for line in wanted if line not in told] == []
    assert told.count("FILE:") == len(wanted)


@pytest.mark.parametrize(
    ("lines", "told"),
    [
        ("token: {plain}", "FILE:3: a plain token is refused in production (write sha256:<its SHA-256> or env:NAME)"),
        ("tokens: [env:SET, '{plain}']", "FILE:3: a plain token is refused in production"),
        ("token:", "FILE:3: a token is sha256:"),
        ("token: []", "FILE:3: a token is sha256:"),
        ("token: env:UNSET_ONE", "FILE:3: env:UNSET_ONE names an environment variable that is not set"),
        ("token: env:EMPTY", "FILE:3: env:EMPTY names an environment variable that is not set"),
        ("token: env:BLANKS", "FILE:3: there are blanks or line ends around the secret"),
        ("token: 'env:NOT A NAME'", "FILE:3: a token is sha256:"),
        ("token: ENV:SET", "FILE:3: a token is sha256:"),
        ("token: sha256:abc", "FILE:3: a token is sha256:<64 hexadecimal digits>"),
        ("token: SHA-256:" + HASH, "FILE:3: a token is sha256:<64 hexadecimal digits>"),
        ("token: 'pässword'", "FILE:3: a token is"),
        ("tokens: [env:SET, env:SET]", "FILE:3: the token is that of line 3; a token names one user, once"),
        ("token: {token: env:SET, expires: 2027-02-29}", "FILE:3: `expires` must be a date like 2027-01-31"),
        ("token: {token: env:SET, expires: 20270131}", "FILE:3: `expires` must be a date like"),
        ("token: {token: env:SET, expires: 2027-W01-1}", "FILE:3: `expires` must be a date like"),
        ("token: {token: env:SET, expires: 2027-01-31T00:00:00}", "FILE:3: `expires` must be a date like"),
        ("token: {token: env:SET, expires: }", "FILE:3: `expires` must be a date like"),
        ("token: {token: env:SET, expiry: 2027-01-31}", "FILE:3: a token is text, or a mapping of token and expires"),
        ("token: {expires: 2027-01-31}", "FILE:3: a token is sha256:"),
        ("tokens: [{token: '{plain}'}]", "FILE:3: a plain token is refused in production"),
        ("allow_openquery: yes", "FILE:3: `allow_openquery` must be true or false"),
        ("signing_key:", "FILE:3: a signing key is env:NAME or the key itself"),
        ("signing_key: sha256:" + HASH, "FILE:3: a signing key is env:NAME or the key itself (a hash of it can't"),
        ("signing_key: 123456789012345", "FILE:3: a signing key needs 16 characters or more"),
        ("signing_key: env:SHORT", "FILE:3: a signing key needs 16 characters or more"),
        ("signing_key: env:NOT_UTF8", "FILE:3: the signing key is not UTF-8"),
        ("sources: main.sales.*", "FILE:3: `sources` must be a list"),
        ("sources: [[]]", "FILE:3: the source pattern '' is none of"),
        ("permissions:\n- {table: dbo.T, access: write, max_delete_rows: }", "FILE:4: `max_delete_rows` must be"),
        ("permissions:\n- {table: dbo.T, access: write, max_delete_rows: 1e6}", "FILE:4: `max_delete_rows` must be"),
        ("permissions:\n- {table: dbo.T, access: write, max_delete_rows: 1.0}", "FILE:4: `max_delete_rows` must be"),
        ("permissions:\n- {table: dbo.T, access: write, max_delete_rows: ١}", "FILE:4: `max_delete_rows` must be"),
        ("permissions:\n- {table: dbo.T, access: write, allow_cascade: yes}", "FILE:4: `allow_cascade` must be true"),
        ("permissions:\n- {table: dbo.T, access: read, allow_cascade: true}", "FILE:4: `allow_cascade` means nothing"),
        ("permissions:\n- {table: dbo.T}", "FILE:4: a permission needs `access`"),
        ("permissions:\n- {access: read}", "FILE:4: a permission needs a `table`"),
        (
            "permissions:\n- {table: dbo.T, access: read}\n- {table: '[SALES].DBO.t', access: write}",
            "FILE:5: '[SALES].DBO.t' means the tables of line 4 again",
        ),
    ],
)
def test_a_wrong_value_is_refused_with_its_line(tmp_path: Path, lines: str, told: str) -> None:
    environ = {
        "SET": "token-in-a-variable", "EMPTY": "", "BLANKS": f"{SECRET}\n", "SHORT": "s3cr3t",
        "NOT_UTF8": SECRET + "\udcff",
    }  # fmt: skip
    text = one_user(lines.replace("{plain}", SECRET))
    shown = problems(tmp_path, text, environment=Environment.PRODUCTION, environ=environ)
    assert told in shown
    assert shown.count("FILE:") == 1
    assert "s3cr3t" not in shown
    assert "token-in-a-variable" not in shown


@pytest.mark.parametrize(
    ("second", "told"),
    [
        ("name: ana", "FILE:5: the user 'ana' is here twice, first in line 2"),
        ("name: ANA", "FILE:5: the user 'ANA' is here twice, first in line 2"),
        ("name: ａna", "is here twice, first in line 2"),
        (f"name: bob\n    token: {SECRET}", "FILE:6: the token is that of line 3"),
        (f"name: bob\n    token: sha256:{hashlib.sha256(SECRET.encode()).hexdigest()}", "the token is that of line 3"),
        ("name: bob\n    tokens: [env:SAME]", "FILE:6: the token is that of line 3"),
        (f"name: bob\n    signing_key: {SECRET}", "FILE:6: the signing key is that of line 4"),
        ("name: bob\n    signing_key: env:SAME", "FILE:6: the signing key is that of line 4"),
    ],
)
def test_what_must_be_unique_among_users_is(tmp_path: Path, second: str, told: str) -> None:
    text = one_user(f"token: {SECRET}\nsigning_key: {SECRET}") + f"  - {second}\n"
    shown = problems(tmp_path, text, environ={"SAME": SECRET})
    assert told in shown
    assert SECRET not in shown


@pytest.mark.parametrize("name", ["''", "' ana'", "'ana '", '"a\\nb"', '"a\\u202Eb"', "", "[ana]", "x" * 129])
def test_a_name_that_a_log_could_not_show_is_refused(tmp_path: Path, name: str) -> None:
    assert "FILE:2: a user needs a `name`" in problems(tmp_path, f"users:\n  - name: {name}\n")


def live(*expiries: str) -> str:
    tokens = "".join(f"\n  - {{token: token-{n}{text}}}" for n, text in enumerate(expiries))
    return one_user(f"tokens:{tokens}")


@pytest.mark.parametrize(
    "expiries",
    [
        ("", ""),
        (", expires: 2026-06-14", "", ""),
        (", expires: 2026-06-15", ", expires: 2026-06-14", ""),
        (", expires: 2020-01-01", ", expires: 2021-01-01", ", expires: 2022-01-01", ""),
    ],
)
def test_two_tokens_of_a_user_may_be_live_and_any_number_expired(tmp_path: Path, expiries: tuple[str, ...]) -> None:
    (user,) = read(tmp_path, live(*expiries)).permissions.users
    dates = [dt.date.fromisoformat(text.split()[-1]) if text else None for text in expiries]
    assert user.tokens == tuple(BearerToken(token_digest(f"token-{n}"), date) for n, date in enumerate(dates))


@pytest.mark.parametrize("third", ["", ", expires: 2026-06-15", ", expires: 2031-01-01"])
def test_a_third_live_token_is_an_error(tmp_path: Path, third: str) -> None:
    told = problems(tmp_path, live("", ", expires: 2026-06-15", third))
    assert "FILE:2: the user has more than 2 tokens that have not expired" in told
    both = one_user("token: a\ntokens: [b, c]")
    assert "FILE:2: the user has more than 2 tokens" in problems(tmp_path, both)


def test_plain_tokens_are_read_in_production_where_that_is_allowed_by_name(tmp_path: Path) -> None:
    path = tmp_path / "permissions.yaml"
    path.write_text(one_user(f"token: {SECRET}"))
    reading = read_permissions(path, Rules(Home("sql01", "Sales"), {}, True, NOON))
    assert user_of(reading.permissions, SECRET) is reading.permissions.users[0]
    assert reading.plain_secrets


def test_openquery_is_allowed_only_where_the_file_says_so(tmp_path: Path) -> None:
    texts = ["allow_openquery: true", "allow_openquery: false", "sources: []"]
    assert [read(tmp_path, one_user(text)).permissions.users[0].allow_openquery for text in texts] == [
        True, False, False
    ]  # fmt: skip


def test_a_hash_in_a_variable_is_a_hash_there_too(tmp_path: Path) -> None:
    permissions = read(tmp_path, one_user("token: env:T"), environ={"T": f"sha256:{HASH}"}).permissions
    assert user_of(permissions, "hashed-token") is not None
    assert user_of(permissions, f"sha256:{HASH}") is None


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("end: true\nusers: []\n", "FILE:1: `end: true` must be the last line"),
        ("users: []\nend:\n", "FILE:2: `end` must be true (the file may be half-written)"),
        ("users: []\nend: tru", "FILE:2: `end` must be true (the file may be half-written)"),
        ("users: []\nend: [true]\n", "FILE:2: `end` must be true"),
    ],
)
def test_the_guard_must_be_the_last_line_and_whole(tmp_path: Path, text: str, told: str) -> None:
    assert told in problems(tmp_path, text)


@pytest.mark.parametrize(
    "text",
    [
        f"users:\n  - token: *{SECRET}\n",
        f"users:\n  - token: !{SECRET} x\n",
        f"users:\n  - token: !{SECRET}!x y\n",
        f"users:\n  - token: {SECRET}: x: y\n",
        f"users:\n  - token: '{SECRET}\n",
        f"users:\n  - token: {SECRET}\x07\n",
        f"users:\n  - token: [{SECRET}, &{SECRET} a, &{SECRET} b\n",
        f"- {SECRET}\n",
        f"users: {SECRET}\n",
        f"users: [{SECRET}]\n",
        f"users:\n  - token: {SECRET}\xff\n".encode("latin-1"),
        f"users:\n  - token: {{{SECRET}: 1}}\n",
    ],
)
def test_a_file_that_is_no_yaml_is_refused_without_its_text(tmp_path: Path, text: str | bytes) -> None:
    shown = problems(tmp_path, text)
    assert "FILE" in shown
    assert SECRET not in shown


def test_a_half_written_file_is_never_taken_for_the_whole(tmp_path: Path) -> None:
    """Cut at any byte, a file that ends with the guard is refused, or says that it has no guard."""
    whole = one_user(f"token: sha256:{HASH}\npermissions:\n  - table: dbo.*\n    access: write") + "end: true"
    for length in range(len(whole)):
        try:
            reading = read(tmp_path, whole[:length])
        except SettingsError:
            continue
        assert not reading.guarded, whole[:length]
    assert read(tmp_path, whole).guarded


LINES = st.sampled_from(
    ["users:", "  - name: ana", "    name: bob", "    token: abcdef", "    tokens:", "      - x", "    permissions:",
     "      - table: dbo.*", "        access: read", "        access: write", "        max_delete_rows: 5", "end: true",
     "    sources: [a.b.*]", "  -", "    - ", "\t", "    signing_key: &a 0123456789abcdef", "    token: *a", "  <<: *a"]
)  # fmt: skip


@given(st.lists(LINES, max_size=14))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)  # each example writes the file
def test_any_file_is_read_or_refused_with_its_name(tmp_path: Path, lines: list[str]) -> None:
    try:
        users = read(tmp_path, "\n".join(lines)).permissions.users
    except SettingsError as exc:
        told, users = exc.message, ()
    else:
        told = "permissions.yaml"
    assert "permissions.yaml" in told
    assert len({user.name for user in users}) == len(users)
    assert all(user.name for user in users)
