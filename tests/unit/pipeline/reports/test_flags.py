"""Where a header contradicts the networks, the report and `results.jsonl` say so."""

import json
from pathlib import Path

from models.catalogue import STAGES
from pipeline.reports.results import About, write_results
from tests.stand_in.finished import FinishedJob

SAID = "header says HAND, image looks like CHEST"
FLAGS = [{"code": "body_part", "message": SAID}]


def test_the_flag_is_a_badge_and_in_the_lines(job: FinishedJob, tmp_path: Path) -> None:
    job.chest("a.dcm", flags=FLAGS)
    job.chest("b.dcm")
    about = About(("in",), "xraytriage 0.1.0", images=2, seconds=1.0)
    write_results(job.engine, job.store, STAGES, job.job_id, tmp_path, about)
    page = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert page.count(f'<span class="badge warn">{SAID}</span>') == 1
    lines = (tmp_path / "results.jsonl").read_text(encoding="utf-8").splitlines()
    assert [json.loads(line)["flags"] for line in lines] == [FLAGS, None]
    assert SAID not in (tmp_path / "results.csv").read_text(encoding="utf-8")
