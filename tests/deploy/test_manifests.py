"""compose.yaml and deploy/kubernetes: valid, closed but for the gateway, and no secret in sight."""

from pathlib import Path
from typing import Any

import kubernetes_validate
import yaml

ROOT = Path(__file__).parents[2]
COMPOSE: dict[str, Any] = yaml.safe_load((ROOT / "compose.yaml").read_text())
MANIFESTS: list[dict[str, Any]] = [
    document
    for path in sorted((ROOT / "deploy" / "kubernetes").glob("*.yaml"))
    if path.name != "kustomization.yaml"
    for document in yaml.safe_load_all(path.read_text())
]
WORKLOADS = [item for item in MANIFESTS if item["kind"] in ("Deployment", "StatefulSet")]


def test_kubernetes_takes_every_manifest() -> None:
    assert {item["metadata"]["name"] for item in WORKLOADS} == {
        "gateway",
        "merge-worker",
        "serve-worker",
        "redis",
    }
    for manifest in MANIFESTS:
        kubernetes_validate.validate(manifest, "1.37", strict=True)


def test_no_container_runs_as_root_or_writes_outside_its_volumes() -> None:
    for workload in WORKLOADS:
        pod = workload["spec"]["template"]["spec"]
        assert pod["securityContext"]["runAsNonRoot"]
        assert not pod["automountServiceAccountToken"]
        for container in pod["containers"]:
            allowed = container["securityContext"]
            assert allowed["readOnlyRootFilesystem"]
            assert not allowed["allowPrivilegeEscalation"]
            assert allowed["capabilities"] == {"drop": ["ALL"]}


def test_only_the_gateway_lets_the_outside_in() -> None:
    assert [name for name, service in COMPOSE["services"].items() if "ports" in service] == ["gateway"]
    inner = {name for name, network in COMPOSE["networks"].items() if network and network.get("internal")}
    for name, service in COMPOSE["services"].items():
        assert name == "gateway" or set(service["networks"]) <= inner
    sharing = [name for name, service in COMPOSE["services"].items() if "engines" in service["networks"]]
    assert sharing == ["gateway", "engine"]

    policies = [item["spec"] for item in MANIFESTS if item["kind"] == "NetworkPolicy"]
    assert {"podSelector": {}, "policyTypes": ["Ingress", "Egress"]} in policies
    lets_in = {"podSelector": {"matchLabels": {"app": "gateway"}}}
    to_engines = {"podSelector": {"matchLabels": {"app": "serve-worker"}}, "policyTypes": ["Ingress"]}
    assert to_engines | {"ingress": [{"from": [lets_in]}]} in policies


def test_each_part_has_its_own_user_of_redis_and_its_password_comes_in_a_file() -> None:
    for name, user in (
        ("gateway", "gateway"),
        ("merge-worker", "merge-worker"),
        ("engine", "serve-worker"),
    ):
        service = COMPOSE["services"][name]
        assert service["secrets"] == [{"source": f"{user}-redis-url", "target": "redis-url"}]
        assert service["environment"]["REDIS_URL_FILE"] == "/run/secrets/redis-url"
        assert "REDIS_URL" not in service["environment"]
    for workload in WORKLOADS:
        name = workload["metadata"]["name"]
        volumes = workload["spec"]["template"]["spec"]["volumes"]
        secrets = [volume["secret"]["secretName"] for volume in volumes if "secret" in volume]
        assert secrets == ["redis-users" if name == "redis" else f"redis-of-{name}"]
