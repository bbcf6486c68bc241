"""Writes the rules of deploy/prometheus as one object for the Prometheus Operator (`make docs`)."""

from __future__ import annotations

from pathlib import Path

import yaml

ROOT = Path(__file__).parents[2]
RULES = ROOT / "deploy" / "prometheus" / "rules"
MANIFEST = ROOT / "deploy" / "kubernetes" / "components" / "monitoring" / "prometheus-rule.yaml"

HEADER = "# Generated from deploy/prometheus/rules by `make docs`; a test keeps it true.\n"


def manifest() -> str:
    """Return the whole manifest."""
    groups = [
        group for file in sorted(RULES.glob("*.yml")) for group in yaml.safe_load(file.read_text("utf-8"))["groups"]
    ]
    rule = {
        "apiVersion": "monitoring.coreos.com/v1",
        "kind": "PrometheusRule",
        "metadata": {"name": "alignfed"},
        "spec": {"groups": groups},
    }
    return HEADER + yaml.safe_dump(rule, sort_keys=False, width=120, allow_unicode=True)


if __name__ == "__main__":
    MANIFEST.write_text(manifest(), "utf-8")
