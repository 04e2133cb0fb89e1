"""The Kubernetes values, read by the classes that will read them.

The chart's own JSON schema is in no Python package, and is not copied here. What can be validated
is validated by what runs in the cluster: the run launcher's config schema, the Kubernetes models,
and dagster.yaml's own values, which the chart only renames.
"""

import re
from pathlib import Path
from typing import Any, cast

import kubernetes
import pytest
import yaml
from dagster._config import Shape, process_config
from dagster_k8s.job import UserDefinedDagsterK8sConfig
from dagster_k8s.launcher import K8sRunLauncher
from dagster_k8s.models import k8s_model_from_dict

ROOT = Path(__file__).parents[2]
VALUES: dict[str, Any] = yaml.safe_load(
    (ROOT / "deploy" / "kubernetes" / "values.yaml").read_text(encoding="utf-8")
)
SHIPPED: dict[str, Any] = yaml.safe_load(
    (ROOT / "migration_assets" / "defs" / "dagster.yaml").read_text(encoding="utf-8")
)
DEPLOYMENT = VALUES["dagster-user-deployments"]["deployments"][0]


# Neither package has types.
SCHEMA: Any = cast("Any", Shape)(cast("Any", K8sRunLauncher).config_type())
RUN_CONFIG: Any = UserDefinedDagsterK8sConfig


def _snake(node: Any) -> Any:
    """The chart's camelCase as dagster.yaml's snake_case."""
    if isinstance(node, dict):
        return {re.sub(r"(?<=[a-z])([A-Z])", r"_\1", k).lower(): _snake(v) for k, v in node.items()}
    return [_snake(each) for each in node] if isinstance(node, list) else node


def _launcher() -> dict[str, Any]:
    """The launcher's config as the chart renders it, with the names it adds itself."""
    given = dict(VALUES["runLauncher"]["config"]["k8sRunLauncher"])
    run = given.pop("runK8sConfig")
    return {
        **_snake({k: v for k, v in given.items() if k not in ("resources", "securityContext")}),
        "env_secrets": [each["name"] for each in given["envSecrets"]],
        "resources": given["resources"],
        "security_context": given["securityContext"],
        "run_k8s_config": {
            "pod_spec_config": _snake(run["podSpecConfig"]),
            "job_spec_config": _snake(run["jobSpecConfig"]),
        },
        "service_account_name": "migration-dagster",
        "instance_config_map": "migration-dagster-instance",
        "postgres_password_secret": VALUES["global"]["postgresqlSecretName"],
        "dagster_home": "/opt/dagster/dagster_home",
        "job_namespace": "default",
    }


def test_the_run_launcher_takes_its_config() -> None:
    processed = process_config(SCHEMA, _launcher())
    assert processed.success, processed.errors


def test_a_config_the_launcher_does_not_know_would_be_found() -> None:
    assert not process_config(SCHEMA, {**_launcher(), "imagePolicy": "Always"}).success


def test_the_run_s_pod_and_job_are_what_kubernetes_knows() -> None:
    config = RUN_CONFIG.from_dict(_launcher()["run_k8s_config"])
    assert config.job_spec_config["backoff_limit"] == 0
    with pytest.raises(Exception, match="nonsense"):
        RUN_CONFIG.from_dict({"pod_spec_config": {"nonsense": 1}})


@pytest.mark.parametrize(
    ("model", "value"),
    [
        (kubernetes.client.V1PodSecurityContext, DEPLOYMENT["podSecurityContext"]),
        (kubernetes.client.V1SecurityContext, DEPLOYMENT["securityContext"]),
        (kubernetes.client.V1ResourceRequirements, DEPLOYMENT["resources"]),
        (kubernetes.client.V1ResourceRequirements, VALUES["dagsterWebserver"]["resources"]),
    ],
)
def test_contexts_and_resources_are_what_kubernetes_knows(model: Any, value: Any) -> None:
    k8s_model_from_dict(model, _snake(value))


def test_queue_limits_monitoring_and_retention_are_those_of_one_machine() -> None:
    """Two truths drift; the chart has its own names for the same values."""
    concurrency = _snake(VALUES["concurrency"])
    assert concurrency.pop("enabled")
    assert concurrency == SHIPPED["concurrency"]
    retention = _snake(VALUES["retention"])
    assert retention.pop("enabled")
    assert retention == SHIPPED["retention"]
    assert _snake(VALUES["dagsterDaemon"]["runMonitoring"]) == SHIPPED["run_monitoring"]
    assert _snake(VALUES["dagsterDaemon"]["runRetries"]) == SHIPPED["run_retries"]
    assert VALUES["telemetry"] == SHIPPED["telemetry"]
    assert VALUES["computeLogManager"]["type"] == SHIPPED["compute_logs"]["class"]
    more = VALUES["additionalInstanceConfig"]
    assert more == {name: SHIPPED[name] for name in more}


def test_no_queue_config_stands_beside_its_successor() -> None:
    """Dagster refuses a dagster.yaml that limits runs in two places."""
    assert VALUES["dagsterDaemon"]["runCoordinator"] == {"enabled": False}


def test_the_chart_and_the_code_are_of_one_release() -> None:
    text = (ROOT / "deploy" / "kubernetes" / "values.yaml").read_text(encoding="utf-8")
    version = re.search(r"--version (\S+)", text)
    pinned = re.search(
        r"^dagster==(\S+)$", (ROOT / "constraints.txt").read_text("utf-8"), re.MULTILINE
    )
    assert version
    assert pinned
    assert version[1] == pinned[1]
