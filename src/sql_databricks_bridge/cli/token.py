"""`bridge token`: bearer tokens for the REST API."""

from __future__ import annotations

import datetime as dt
import json as json_text
import random
import re
from typing import Annotated

import typer

from sql_databricks_bridge.cli import output
from sql_databricks_bridge.cli.options import JsonOption

app = typer.Typer(no_args_is_help=True, help="Make bearer tokens.", rich_markup_mode=None)

_PLAIN_IN_YAML = re.compile(r"[A-Za-z][\w-]*", re.ASCII)
_MEANS_SOMETHING_IN_YAML = frozenset({"null", "true", "false", "yes", "no", "on", "off", "y", "n"})


@app.callback()
def _token() -> None:
    """Make bearer tokens."""


@app.command("new", epilog="Example: bridge token new sales-team --expires 2027-01-31")
def new(
    name: Annotated[str, typer.Argument(metavar="NAME", help="The user of permissions.yaml that it is for.")],
    expires: Annotated[
        str | None, typer.Option("--expires", metavar="DATE", help="Last day (UTC) on which it is good: 2027-01-31.")
    ] = None,
    json: JsonOption = False,
) -> None:
    """Make a token. It is shown this once; permissions.yaml takes its hash, which is shown as YAML to paste."""
    from sql_databricks_bridge.auth.permissions import token_digest
    from sql_databricks_bridge.auth.token import new_token

    _check_name(name)
    last_day = _last_day(expires)
    token = new_token(random.SystemRandom())
    yaml = _yaml(name, token_digest(token).hex(), last_day)
    if json:
        output.print_json(
            {"name": name, "token": token, "expires": last_day.isoformat() if last_day else None, "yaml": yaml}
        )
        return
    typer.echo(f"{token}\n")
    typer.echo("# The line above is the token: keep it now, it can't be shown again. Into permissions.yaml goes:\n")
    typer.echo(yaml, nl=False)


def _check_name(name: str) -> None:
    from sql_databricks_bridge.auth.permissions_yaml import NAME_LENGTH, is_user_name
    from sql_databricks_bridge.errors import UsageError

    if not is_user_name(name):
        raise UsageError(
            f"{name[:NAME_LENGTH]!r} can't be a user's name.",
            hint=f"Take 1 to {NAME_LENGTH} printable characters, without blanks around them.",
        )


def _last_day(text: str | None) -> dt.date | None:
    from sql_databricks_bridge.errors import UsageError

    if text is None:
        return None
    try:
        day = dt.datetime.strptime(text, "%Y-%m-%d").replace(tzinfo=dt.UTC).date()
    except ValueError:
        raise UsageError(f"--expires {text!r} is not a date.", hint="Write it as 2027-01-31.") from None
    if day < dt.datetime.now(dt.UTC).date():
        raise UsageError(f"--expires {text}: that day is over.", hint="Name a day to come, or leave it out.")
    return day


def _yaml(name: str, digest: str, last_day: dt.date | None) -> str:
    plain = _PLAIN_IN_YAML.fullmatch(name) and name.lower() not in _MEANS_SOMETHING_IN_YAML
    shown = name if plain else json_text.dumps(name)
    lines = [f"  - name: {shown}", "    tokens:", f"      - token: sha256:{digest}"]
    if last_day is not None:
        lines.append(f"        expires: {last_day.isoformat()}")
    return "".join(f"{line}\n" for line in lines)
