"""A request becomes a plan; what is wrong with it is told to the caller, what is wrong with us to the log."""

from __future__ import annotations

import dataclasses

from sql_databricks_bridge import composition
from sql_databricks_bridge.api.problems import Refused, Slug
from sql_databricks_bridge.api.schemas import ExtractRequest
from sql_databricks_bridge.core.config import Settings
from sql_databricks_bridge.core.country_config import load_country
from sql_databricks_bridge.errors import ParameterError, QueryFileError, SettingsError, UnknownNameError, UsageError
from sql_databricks_bridge.models.jobs import ExtractionPlan
from sql_databricks_bridge.models.names import require_simple_name
from sql_databricks_bridge.models.partitions import AskedPartitions


def plan_of(settings: Settings, body: ExtractRequest, job_id: str) -> ExtractionPlan:
    """Resolve the request wholly; `Refused` (422) tells what is wrong with it, `SettingsError` is the service's own."""
    own_folders(settings)
    where = "body.country"
    try:
        known_country(settings, body.country)
        _may_publish(settings, body)
        where = "body.queries"
        plan = composition.plan(
            settings,
            composition.Request(
                country=body.country,
                queries=body.queries or (),
                destination=body.destination,
                parameters=body.parameters or {},
                lookback_months=body.lookback_months,
                limit=body.limit,
                publish=body.publish,
                strict=body.strict,
                partitions=AskedPartitions(
                    None if body.partitions is None else str(body.partitions),
                    tuple(body.partition_key or ()),
                    body.partition_lock,
                ),
            ),
        )
    except SettingsError:
        raise
    except UsageError as exc:
        if isinstance(exc, ParameterError):
            where = "body.parameters"
        elif not isinstance(exc, (UnknownNameError, QueryFileError)):
            where = "body"
        message, hint = _without_folders(settings, exc.message), _without_folders(settings, exc.hint or "")
        raise Refused(Slug.INVALID_REQUEST, message, hint=hint or None, errors=[(where, message.rstrip("."))]) from exc
    return dataclasses.replace(plan, run_id=job_id)


def _may_publish(settings: Settings, body: ExtractRequest) -> None:
    """`Refused` where the request wants tables and the country's YAML makes none: nobody allowed them there."""
    if body.publish and not load_country(settings.bridge_config_dir, body.country).publishing.wanted:
        told = f"{body.country} publishes no tables."
        hint = "An operator allows it by `publish:` in the country's YAML."
        raise Refused(Slug.INVALID_REQUEST, told, hint=hint, errors=[("body.publish", told.rstrip("."))])


def known_country(settings: Settings, country: str) -> None:
    """Check the country's YAML; `UnknownNameError` where there is none. What is no name the disk is not asked for."""
    try:
        require_simple_name(country, "The country")
    except UsageError as exc:
        raise UnknownNameError(exc.message, hint=exc.hint) from exc
    load_country(settings.bridge_config_dir, country)


def _without_folders(settings: Settings, text: str) -> str:
    """The text with the names of our folders alone: where they lie is not the caller's business."""
    for folder in (settings.bridge_queries_dir, settings.bridge_config_dir):
        text = text.replace(str(folder), folder.name)
    return text


def own_folders(settings: Settings) -> None:
    """`SettingsError` where a folder that the service reads is not there: no caller can help that."""
    for variable, folder in (
        ("BRIDGE_QUERIES_DIR", settings.bridge_queries_dir),
        ("BRIDGE_CONFIG_DIR", settings.bridge_config_dir),
    ):
        if not folder.is_dir():
            raise SettingsError(f"There is no folder {folder}.", hint=f"{variable} names it.")
