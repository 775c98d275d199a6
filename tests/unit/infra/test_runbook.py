"""docs/operations.md knows every alert and every secret."""

import re
from pathlib import Path

import yaml

ROOT = Path(__file__).parents[3]


def test_every_alert_has_a_row_and_every_row_an_alert() -> None:
    rules = yaml.safe_load((ROOT / "infra/prometheus/alerts.yml").read_text())
    alerts = {rule["alert"] for group in rules["groups"] for rule in group["rules"]}
    rows = re.findall(
        r"^\| (Xraytriage\w+) \|", (ROOT / "docs/operations.md").read_text(), re.MULTILINE
    )
    assert set(rows) == alerts
    assert len(rows) == len(alerts)
