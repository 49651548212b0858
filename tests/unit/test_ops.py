"""Dashboard, alerts and documentation speak of metrics that there are."""

import json
import re
from pathlib import Path

import pytest
import yaml
from prometheus_client import CollectorRegistry

from console.metrics import ConsoleMetrics
from scoring.metrics import ScoringMetrics
from telemetry.health import Health
from telemetry.metrics import show_health
from worker.metrics import WorkerMetrics

ROOT = Path(__file__).parents[2]
OPS = ROOT / "ops"
SERIES = {
    "counter": ("_total",),
    "histogram": ("_bucket", "_sum", "_count"),
    "gauge": ("",),
}


def registries():
    health = CollectorRegistry()
    show_health(health, Health())
    services = (ScoringMetrics(), WorkerMetrics(), ConsoleMetrics())
    return [*(metrics.registry for metrics in services), health]


FAMILIES = {family.name: family for registry in registries() for family in registry.collect()}
NAMES = {
    family.name + suffix
    for family in FAMILIES.values()
    for suffix in SERIES.get(family.type, ("",))
}


def metrics_in(text):
    return set(re.findall(r"\b(?:baton|process|python)_\w+", text))


def expressions():
    """Every expression that a dashboard or an alert asks Prometheus for, with whence it comes."""
    for panel in json.loads((OPS / "grafana.json").read_text())["panels"]:
        for target in panel.get("targets", []):
            yield panel["title"], target["expr"]
    for group in yaml.safe_load((OPS / "alerts.yaml").read_text())["groups"]:
        for rule in group["rules"]:
            yield rule["alert"], rule["expr"]


@pytest.mark.parametrize(("where", "expression"), list(expressions()))
def test_every_metric_that_is_asked_for_exists(where, expression):
    found = metrics_in(expression)
    assert found, where
    assert found <= NAMES


def test_the_dashboard_shows_every_metric():
    shown = metrics_in((OPS / "grafana.json").read_text())
    families = {name for name in FAMILIES if name.startswith("baton_")}
    missing = {
        name
        for name in families
        if not any(name + suffix in shown for suffix in SERIES[FAMILIES[name].type])
    }
    # What /metrics has for joins, and what only an alert is for.
    assert missing == {
        "baton_build_info",
        "baton_console_state_age_seconds",
        "baton_scoring_fenced",
        "baton_worker_batch_commands",
    }


def test_the_documentation_lists_every_metric_and_no_other():
    page = (ROOT / "docs" / "operations.md").read_text()
    listed = re.findall(r"^\| `(baton_\w+)` \|", page, re.MULTILINE)
    assert len(listed) == len(set(listed))
    names = {
        family.name + ("_total" if family.type == "counter" else "")
        for family in FAMILIES.values()
        if family.name.startswith("baton_")
    }
    assert set(listed) == names


def test_every_alert_is_explained():
    page = (ROOT / "docs" / "operations.md").read_text()
    rules = yaml.safe_load((OPS / "alerts.yaml").read_text())["groups"][0]["rules"]
    for rule in rules:
        assert f"`{rule['alert']}`" in page
        assert rule["labels"]["severity"] in {"critical", "warning"}
        assert rule["annotations"]["summary"]


def test_prometheus_scrapes_the_services_of_compose_at_their_port():
    scraped = yaml.safe_load((OPS / "prometheus.yaml").read_text())
    services = yaml.safe_load((ROOT / "compose.yaml").read_text())["services"]
    assert scraped["rule_files"] == ["alerts.yaml"]
    for job in scraped["scrape_configs"]:
        (found,) = job["dns_sd_configs"]
        for name in found["names"]:
            assert services[name]["environment"]["BATON_METRICS_PORT"] == found["port"]
