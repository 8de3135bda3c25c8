"""What `deploy/` says holds for the program that it deploys. No container engine is needed to see that."""

from __future__ import annotations

import importlib.util
import json
import re
from importlib import metadata
from typing import Any

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from dimwatch.app.configuration import resolve, unknown_variables
from dimwatch.app.standalone import PORTS
from dimwatch.cli import COMMANDS
from tests.docs.generated import ROOT, metrics

DEPLOY = ROOT / "deploy"
SECRET = re.compile(r"\$\{(\w+)(?::[?-][^}]*)?\}")
OWN = re.compile(r"dimwatch_\w+")


def read(name: str) -> str:
    return (DEPLOY / name).read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def services() -> dict[str, Any]:
    """The services of the compose file, its merge keys resolved."""
    found: dict[str, Any] = yaml.safe_load(read("compose.yaml"))["services"]
    return found


def roles(services: dict[str, Any]) -> dict[str, dict[str, Any]]:
    return {name: service for name, service in services.items() if service["image"].startswith("dimwatch:")}


def test_every_role_has_a_service_that_runs_it(services: dict[str, Any]) -> None:
    wanted = {role for role in PORTS if role in COMMANDS}
    assert {service["command"][0] for service in roles(services).values()} == wanted


def test_settings_of_the_services_are_settings(services: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    for name, service in roles(services).items():
        environment = {key: SECRET.sub("secret", str(value)) for key, value in service["environment"].items()}
        assert unknown_variables(environment) == [], name
        with monkeypatch.context() as patch:
            for key, value in environment.items():
                patch.setenv(key, value)
            settings = resolve().settings
        assert settings.eventlog.backend == "kafka"
        assert settings.store.mode == "server"
        assert settings.telemetry.token is not None, "metrics are open to the network of the containers"


def test_every_secret_is_in_the_example_and_in_use() -> None:
    asked = {match.group(1) for match in SECRET.finditer(read("compose.yaml"))}
    assert asked == set(re.findall(r"^(\w+)=$", read("dimwatch.env.example"), flags=re.MULTILINE))
    assert ":?" in read("compose.yaml"), "without secrets compose refuses to start"


def test_services_restart_are_watched_and_publish_to_this_machine_alone(services: dict[str, Any]) -> None:
    for name, service in services.items():
        assert service["restart"] == "unless-stopped", name
        assert "healthcheck" in service or name == "otel-collector", name
        assert ":" in service["image"], f"{name}: pinned"
        assert not service["image"].endswith(":latest"), name
        assert all(port.startswith("127.0.0.1:") for port in service.get("ports", ())), name
    for name, service in roles(services).items():
        assert service["read_only"], name
        assert service["cap_drop"] == ["ALL"], name


def test_files_that_services_mount_are_there(services: dict[str, Any]) -> None:
    mounts = [volume.split(":")[0] for service in services.values() for volume in service.get("volumes", ())]
    files = [mount for mount in mounts if mount.startswith("./")]
    assert files
    for file in files:
        assert (DEPLOY / file).exists(), file


def test_prometheus_looks_at_every_role() -> None:
    config = yaml.safe_load(read("prometheus/prometheus.yml"))
    names = config["scrape_configs"][0]["dns_sd_configs"][0]["names"]
    assert sorted(names) == sorted(PORTS)


def test_alerts_and_panels_are_about_metrics_that_there_are() -> None:
    known = {name.removesuffix("_total") for name in metrics()}
    rules = yaml.safe_load(read("prometheus/rules.yml"))["groups"][0]["rules"]
    expressions = {rule["alert"]: rule["expr"] for rule in rules}
    board = json.loads(read("grafana/dashboards/dimwatch.json"))
    expressions |= {panel["title"]: t["expr"] for panel in board["panels"] for t in panel["targets"] if "expr" in t}
    for name, expression in expressions.items():
        unknown = {found for found in OWN.findall(expression) if found.removesuffix("_total") not in known}
        assert not unknown, f"{name}: {unknown}"
    for rule in rules:
        assert {"summary", "remedy"} <= rule["annotations"].keys(), rule["alert"]


def test_panels_have_their_data_source_provisioned() -> None:
    provisioned = yaml.safe_load(read("grafana/provisioning/datasources/dimwatch.yaml"))["datasources"]
    uids = {source["uid"]: source["type"] for source in provisioned}
    board = json.loads(read("grafana/dashboards/dimwatch.json"))
    identifiers = [panel["id"] for panel in board["panels"]]
    assert len(identifiers) == len(set(identifiers))
    for panel in board["panels"]:
        for target in panel["targets"]:
            assert uids[target["datasource"]["uid"]] == target["datasource"]["type"], panel["title"]


def test_the_collector_is_of_one_version_and_writes_what_workers_read() -> None:
    builder = yaml.safe_load(read("collector/builder.yaml"))
    version = builder["dist"]["version"]
    modules = [
        entry["gomod"] for part in ("receivers", "processors", "exporters", "extensions") for entry in builder[part]
    ]
    assert all(module.endswith(f" v{version}") for module in modules)
    assert f"opentelemetry-collector-contrib:{version}" in read("compose.yaml")
    kafka = yaml.safe_load(read("collector/config.yaml"))["exporters"]["kafka"]
    assert (kafka["traces"]["topic"], kafka["logs"]["topic"]) == ("otlp_spans", "otlp_logs")
    assert kafka["partition_traces_by_id"]
    assert kafka["partition_logs_by_trace_id"]
    assert kafka["record_partitioner"] == {"sticky_key": {"hasher": "sarama_compat"}}, (
        "the partition of our own receiver"
    )
    assert kafka["producer"]["required_acks"] == -1, "a queue that forgets what one broker has is no queue"


def test_the_image_installs_all_that_dimwatch_needs_and_no_tools_of_ours() -> None:
    path = DEPLOY / "runtime_lock.py"
    spec = importlib.util.spec_from_file_location("runtime_lock", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    direct = [line for line in metadata.requires("dimwatch") or [] if "extra ==" not in line]
    locked = module.runtime((ROOT / "requirements.lock").read_text(encoding="utf-8"), direct)
    names = {canonicalize_name(name) for name in re.findall(r"^([A-Za-z0-9._-]+)==", locked, flags=re.MULTILINE)}
    assert all("--hash=sha256:" in entry for entry in re.split(r"\n(?=[A-Za-z0-9])", locked))
    assert not names & {"pytest", "mypy", "ruff", "playwright", "langchain", "ipykernel"}
    for name in names - {"backports-zstd", "colorama"}:  # not for every platform and Python
        for line in metadata.requires(name) or []:
            requirement = Requirement(line)
            if requirement.marker is None or requirement.marker.evaluate({"extra": ""}):
                assert canonicalize_name(requirement.name) in names, f"{name} needs {line}"


def test_the_units_of_systemd_run_commands_that_there_are() -> None:
    assert "/bin/dimwatch up --data" in read("systemd/dimwatch.service")
    for unit in ("dimwatch.service", "dimwatch@.service"):
        assert "RestartPreventExitStatus=78" in read(f"systemd/{unit}"), "EX_CONFIG: a restart can not help"
        assert "NoNewPrivileges=yes" in read(f"systemd/{unit}")
