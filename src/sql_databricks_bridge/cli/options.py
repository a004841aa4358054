"""Options that several commands take."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

CountryOption = Annotated[str, typer.Option("--country", "-c", metavar="NAME", help="Country: config/NAME.yaml.")]
QueriesOption = Annotated[
    list[str] | None, typer.Option("--query", "-q", metavar="Q", help="Only this query; repeat for several.")
]
QueriesDirOption = Annotated[
    Path | None, typer.Option("--queries-dir", metavar="DIR", help="Folder of the .sql files.", show_default="queries")
]
ConfigDirOption = Annotated[
    Path | None, typer.Option("--config-dir", metavar="DIR", help="Folder of the YAML files.", show_default="config")
]
DestinationOption = Annotated[
    str | None,
    typer.Option("--destination", metavar="CATALOG.SCHEMA.VOLUME", help="One of the volumes that the YAML allows."),
]
ParamOption = Annotated[
    list[str] | None,
    typer.Option("--param", "-p", metavar="K=V", help="Value of a declared @K; repeat for several."),
]
LookbackOption = Annotated[
    int | None, typer.Option("--lookback-months", metavar="N", help="Length of the time window, 0 to 1200.")
]
PublishOption = Annotated[
    bool | None,
    typer.Option(
        "--publish/--no-publish", help="Make Delta tables of the results, or only land them; else as the YAML says."
    ),
]
StrictOption = Annotated[
    bool, typer.Option("--strict", help="Refuse a query of which anything would get lost on the way.")
]
PartitionsOption = Annotated[
    str | None,
    typer.Option(
        "--partitions", metavar="N|auto", help="Read a query in N ranges at once; auto: 4 for tables of a million rows."
    ),
]
PartitionKeyOption = Annotated[
    str | None,
    typer.Option("--partition-key", metavar="COL,...", help="Columns to split by; else those of the table's index."),
]
PartitionLockOption = Annotated[
    bool | None,
    typer.Option(
        "--partition-lock/--no-partition-lock", help="Give all ranges one view, by a short shared lock on the table."
    ),
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print one JSON document for machines.")]
