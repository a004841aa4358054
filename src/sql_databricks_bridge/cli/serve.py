"""`bridge serve`: the service, until somebody stops it."""

from __future__ import annotations

from typing import Annotated

import typer

from sql_databricks_bridge import composition
from sql_databricks_bridge.cli import output


def serve(
    host: Annotated[
        str | None, typer.Option("--host", metavar="ADDRESS", help="Address to listen on.", show_default="SERVE_HOST")
    ] = None,
    port: Annotated[
        int | None,
        typer.Option(
            "--port", metavar="N", min=0, max=65535, help="TCP port; 0 takes a free one.", show_default="SERVE_PORT"
        ),
    ] = None,
    json: Annotated[bool, typer.Option("--json", help="Print the ready line as JSON.")] = False,
) -> int:
    """Run the REST API, the jobs and, with POLLER_ENABLED, the poller. Ctrl-C or SIGTERM ends it in order, with code 0.

    One line on standard output says where it listens; the log goes to standard error.
    """
    import structlog

    config = composition.settings("INFO")
    from sql_databricks_bridge.core import production

    log = structlog.get_logger(__name__)
    for warning in production.check(config):
        log.warning("settings.insecure", what=warning)
    from sql_databricks_bridge.api import serving

    options = serving.ServingOptions(
        host=config.serve_host if host is None else host,
        port=config.serve_port if port is None else port,
        header_timeout_s=config.header_timeout_s,
    )

    def ready(url: str) -> None:
        log.info("service.ready", url=url)
        if json:
            output.print_json_line({"status": "ready", "url": url})
        else:
            output.out().print(f"serving on {url}; its API: {url}/docs; Ctrl-C stops", markup=False, soft_wrap=True)

    listening = serving.listen(options.host, options.port)  # before all else: a port in use is told at once
    from sql_databricks_bridge import main

    app = main.create_app(config)
    service = app.state.service
    return serving.serve(
        app,
        listening,
        options,
        on_ready=ready,
        on_stopping=service.stop,
        on_refused=service.metrics.request_refused,
    )
