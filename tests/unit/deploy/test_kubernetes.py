"""The Kubernetes manifests fit each other, the service, and the restricted Pod Security Standard."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from sql_databricks_bridge import __version__
from sql_databricks_bridge.auth.loader import PermissionsFile
from sql_databricks_bridge.core import production
from sql_databricks_bridge.core.config import Environment, Settings
from sql_databricks_bridge.core.country_config import list_countries, load_country
from sql_databricks_bridge.core.query_loader import discover
from sql_databricks_bridge.main import openapi_document
from tests.unit.deploy.manifests import (
    DEPLOY,
    KUBERNETES,
    ROOT,
    dockerfile_environment,
    document,
    documents,
    env_file,
)

BASE = KUBERNETES / "base"
OVERLAYS = sorted((KUBERNETES / "overlays").iterdir())
CUSTOMIZATIONS = sorted(KUBERNETES.rglob("kustomization.yaml"))
DEPLOYMENTS = sorted(KUBERNETES.rglob("deployment.yaml"))


def pod() -> dict[str, Any]:
    found: dict[str, Any] = document(BASE / "deployment.yaml")["spec"]["template"]["spec"]
    return found


def container() -> dict[str, Any]:
    (found,) = pod()["containers"]
    return dict(found)


def secrets_named() -> dict[str, str]:
    """Each variable that comes from a secret, with the secret's key."""
    return {
        variable["name"]: variable["valueFrom"]["secretKeyRef"]["key"]
        for path in DEPLOYMENTS
        for each in document(path)["spec"].get("template", {}).get("spec", {}).get("containers", ())
        for variable in each.get("env", ())
    }


def files_named(customization: Path) -> list[Path]:
    """Every file and folder that a kustomization names."""
    there = document(customization)
    names = [*there.get("resources", ()), *there.get("components", ())]
    names += [patch["path"] for patch in there.get("patches", ())]
    for generator in there.get("configMapGenerator", ()):
        names += [*generator.get("files", ()), *generator.get("envs", ())]
    return [customization.parent / name for name in names]


@pytest.mark.parametrize("path", sorted(DEPLOY.rglob("*.yaml")), ids=lambda path: str(path.relative_to(ROOT)))
def test_every_yaml_file_can_be_read(path: Path) -> None:
    assert all(isinstance(found, (dict, list)) for found in documents(path))


@pytest.mark.parametrize("customization", CUSTOMIZATIONS, ids=lambda path: path.parent.name)
def test_a_kustomization_names_only_files_that_are_there(customization: Path) -> None:
    assert files_named(customization)
    assert [path for path in files_named(customization) if not path.exists()] == []


def test_no_manifest_is_forgotten_by_the_kustomizations() -> None:
    named = {path.resolve() for customization in CUSTOMIZATIONS for path in files_named(customization)}
    files = {path.resolve() for path in KUBERNETES.rglob("*") if path.is_file() and path.name != "kustomization.yaml"}
    assert files - named == set()


def test_every_probe_asks_a_route_of_the_service() -> None:
    probes = {name: container()[name]["httpGet"] for name in ("startupProbe", "livenessProbe", "readinessProbe")}
    assert {name: probe["path"] for name, probe in probes.items()} == {
        "startupProbe": "/health/startup",
        "livenessProbe": "/health/live",
        "readinessProbe": "/health/ready",
    }
    assert {probe["path"] for probe in probes.values()} <= set(openapi_document()["paths"])  # type: ignore[call-overload]
    ports = {port["name"]: port["containerPort"] for port in container()["ports"]}
    assert {probe["port"] for probe in probes.values()} == {"http"}
    assert ports == {"http": int(dockerfile_environment()["SERVE_PORT"])}


def test_the_pod_is_restricted() -> None:
    """Pod Security Standards, profile restricted; besides, nothing of the image can be written to."""
    assert pod()["securityContext"]["runAsNonRoot"] is True
    assert pod()["securityContext"]["runAsUser"] == 10001
    assert pod()["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    assert container()["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
    assert pod()["automountServiceAccountToken"] is False
    assert not {"hostNetwork", "hostPID", "hostIPC"} & pod().keys()
    assert {kind for volume in pod()["volumes"] for kind in volume if kind != "name"} == {
        "persistentVolumeClaim",
        "emptyDir",
        "configMap",
    }


def test_every_folder_that_the_service_writes_to_is_a_volume_that_can_be_written() -> None:
    environment = dockerfile_environment()
    written = {environment["BRIDGE_AUDIT_DIR"], environment["BRIDGE_SPOOL_DIR"], "/tmp/x"}
    written.add(environment["JOB_STORE_URL"].removeprefix("sqlite:///"))
    mounts = [mount["mountPath"] for mount in container()["volumeMounts"] if not mount.get("readOnly")]
    assert [path for path in written if not any(Path(path).is_relative_to(mount) for mount in mounts)] == []


def test_every_mount_has_its_volume_and_every_configuration_its_mount() -> None:
    mounts = {mount["name"]: mount["mountPath"] for mount in container()["volumeMounts"]}
    assert mounts.keys() == {volume["name"] for volume in pod()["volumes"]}
    environment = dockerfile_environment()
    assert mounts["queries"] == environment["BRIDGE_QUERIES_DIR"]
    assert mounts["config"] == environment["BRIDGE_CONFIG_DIR"]
    assert mounts["permissions"] == str(Path(environment["BRIDGE_PERMISSIONS_FILE"]).parent)
    generated = {generator["name"] for generator in document(BASE / "kustomization.yaml")["configMapGenerator"]}
    used = {volume["configMap"]["name"] for volume in pod()["volumes"] if "configMap" in volume}
    assert used | {each["configMapRef"]["name"] for each in container()["envFrom"]} == generated


def test_every_variable_is_a_setting() -> None:
    names = [*env_file(BASE / "settings.env"), *secrets_named()]
    assert [name for name in names if name.lower() not in Settings.model_fields] == []


def test_secrets_come_by_reference_only() -> None:
    secret = {name.upper() for name, field in Settings.model_fields.items() if "SecretStr" in str(field.annotation)}
    assert secret & env_file(BASE / "settings.env").keys() == set()
    assert secrets_named().keys() <= secret
    assert secrets_named()["SQLSERVER_PASSWORD"] == "sql-password"  # as the seed names it


def test_production_accepts_the_settings_without_a_warning() -> None:
    values: dict[str, Any] = {name.lower(): value for name, value in env_file(BASE / "settings.env").items()}
    image = {name.lower(): value for name, value in dockerfile_environment().items() if name.lower() == "job_store_url"}
    settings = Settings(_env_file=None, **{"audit_key": "k" * 32, **image, **values})  # type: ignore[call-arg]
    assert settings.environment is Environment.PRODUCTION
    assert production.check(settings) == ()


def test_services_select_the_deployments_pods() -> None:
    deployment = document(BASE / "deployment.yaml")["spec"]
    labels = deployment["template"]["metadata"]["labels"]
    assert deployment["selector"]["matchLabels"] == labels
    service = document(BASE / "service.yaml")
    assert service["spec"]["selector"] == labels
    assert document(BASE / "disruption-budget.yaml")["spec"]["selector"]["matchLabels"] == labels
    assert document(BASE / "network-policy.yaml")["spec"]["podSelector"]["matchLabels"] == labels
    monitor = document(KUBERNETES / "components/monitoring/service-monitor.yaml")["spec"]
    assert monitor["selector"]["matchLabels"] == service["metadata"]["labels"]
    assert {each["port"] for each in monitor["endpoints"]} == {port["name"] for port in service["spec"]["ports"]}
    assert "/metrics" in {each["path"] for each in monitor["endpoints"]}


@pytest.mark.parametrize("overlay", OVERLAYS, ids=lambda path: path.name)
def test_an_overlay_brings_the_volume_that_the_base_mounts(overlay: Path) -> None:
    claims = {
        volume["persistentVolumeClaim"]["claimName"] for volume in pod()["volumes"] if "persistentVolumeClaim" in volume
    }
    assert {document(overlay / "volume-claim.yaml")["metadata"]["name"]} == claims


def test_one_replica_never_shares_its_sqlite_and_several_never_use_one() -> None:
    single = document(KUBERNETES / "overlays/single/deployment.yaml")["spec"]
    assert single["strategy"] == {"type": "Recreate"}
    assert document(BASE / "deployment.yaml")["spec"]["replicas"] == single.get("replicas", 1) == 1
    several = document(KUBERNETES / "overlays/several/deployment.yaml")["spec"]
    assert several["replicas"] > 1
    names = {variable["name"] for each in several["template"]["spec"]["containers"] for variable in each["env"]}
    assert "JOB_STORE_URL" in names
    claim = document(KUBERNETES / "overlays/several/volume-claim.yaml")
    assert claim["spec"]["accessModes"] == ["ReadWriteMany"]


def test_the_image_is_of_this_version() -> None:
    (image,) = document(BASE / "kustomization.yaml")["images"]
    assert image == {"name": container()["image"], "newTag": __version__}


def test_what_the_config_maps_hold_can_be_used_as_kubernetes_mounts_it(tmp_path: Path) -> None:
    """A ConfigMap's files are links into ..data, itself a link to a folder with the time in its name."""
    for generator in document(BASE / "kustomization.yaml")["configMapGenerator"]:
        folder = tmp_path / generator["name"]
        moment = folder / "..2026_11_24_12_00_00.1"
        moment.mkdir(parents=True)
        (folder / "..data").symlink_to(moment.name)
        for name in generator.get("files", ()):
            (moment / Path(name).name).write_bytes((BASE / name).read_bytes())
            (folder / Path(name).name).symlink_to(f"..data/{Path(name).name}")
    assert list_countries(tmp_path / "bridge-config") == ("Colombia",)
    assert load_country(tmp_path / "bridge-config", "Colombia").database == "Flights"
    queries = discover(tmp_path / "bridge-queries").of_country("Colombia")
    assert {name: file.read() for name, file in queries.items()} == {
        "airlines": (ROOT / "queries/airlines.sql").read_text(encoding="utf-8")
    }
    file = PermissionsFile(
        tmp_path / "bridge-permissions/permissions.yaml", Environment.PRODUCTION, server="sql", database="Sales"
    )
    assert [user.name for user in file.current().users] == ["sales-team"]
