"""From what was found to what is shown: records become public shapes with links."""

from collections.abc import Callable
from datetime import UTC, datetime
from urllib.parse import quote

from starlette.requests import Request

from pipeline.api import words
from pipeline.api.schemas import (
    FindingPublic,
    ImageAccepted,
    ImagePublic,
    JobAccepted,
    JobPublic,
    StageRunPublic,
)
from pipeline.ingest import Accepted
from pipeline.records.results import FindingView, ImageView, JobView, RunView
from pipeline.reports.row import GATE, TYPE, XRAY, abnormality, abnormality_runs
from pipeline.states import Priority, State

_KEPT = (
    *("id", "job_id", "name", "sha256", "size_bytes", "state", "reason_code", "reason"),
    *("format", "width_px", "height_px", "header"),
)
"""Columns of an image that are shown as they are."""

Links = Callable[..., str]
"""The address of a route by its name and its path parameters."""


def links(request: Request) -> Links:
    """Addresses as the caller of this request reaches them."""

    def link(name: str, **path: str) -> str:
        return str(request.url_for(name, **path))

    return link


def heatmap_link(link: Links, image_id: str, finding: FindingView) -> str:
    """Address of a finding's heatmap; labels may hold any character."""
    return link("get_heatmap", image_id=image_id, label=quote(finding.label, safe=""))


def job_public(job: JobView, link: Links) -> JobPublic:
    """A job as the API shows it."""
    return JobPublic(
        id=job.id,
        source=job.source,
        priority=Priority(job.priority).word,
        created_at=moment(job.created_at),
        open=job.closed_at is None,
        counts={state.value: job.counts.get(state, 0) for state in State},
        total=job.total,
        finished=job.finished,
        progress=progress(job),
        **_job_links(job.id, link),
    )


def progress(job: JobView) -> float:
    """Finished share; a closed job without images is finished, an open one has not begun."""
    if job.total == 0:
        return 0.0 if job.closed_at is None else 1.0
    return job.finished / job.total


def job_accepted(
    job_id: str, priority: Priority, images: list[Accepted], link: Links
) -> JobAccepted:
    """The answer to an upload."""
    return JobAccepted.model_validate(
        {
            "id": job_id,
            "priority": priority.word,
            "images": [_accepted(image, link) for image in images],
            **_job_links(job_id, link),
        }
    )


def image_public(view: ImageView, link: Links) -> ImagePublic:
    """An image as the API shows it."""
    row = view.row
    return ImagePublic.model_validate(
        {
            **{name: row[name] for name in _KEPT},
            "flags": row["flags"] or [],
            "waits_for": row["stage"],
            "answer": words.answer(view),
            **_summary(view),
            "priority": Priority(row["priority"]).word,
            "created_at": moment(row["created_at"]),
            "finished_at": None if row["finished_at"] is None else moment(row["finished_at"]),
            "stages": [_run(run, row["id"], link) for run in view.runs],
            "url": link("get_image", image_id=row["id"]),
            "job": link("get_job", job_id=row["job_id"]),
            "preview": link("get_preview", image_id=row["id"]) if row["prepared"] else None,
            "page": link("image_page", image_id=row["id"]),
        }
    )


def moment(seconds: float) -> datetime:
    """A time of the database."""
    return datetime.fromtimestamp(seconds, UTC)


def _job_links(job_id: str, link: Links) -> dict[str, str]:
    return {
        "url": link("get_job", job_id=job_id),
        "results": link("list_results", job_id=job_id),
        "page": link("job_page", job_id=job_id),
    }


def _accepted(image: Accepted, link: Links) -> ImageAccepted:
    return ImageAccepted(
        id=image.image_id,
        name=image.name,
        sha256=image.sha256,
        state=image.state,
        reason_code=image.reason_code,
        reason=image.reason,
        url=link("get_image", image_id=image.image_id),
        page=link("image_page", image_id=image.image_id),
    )


def _summary(view: ImageView) -> dict[str, bool | float | str | None]:
    gate, type_ = view.run(GATE), view.run(TYPE)
    verdicts = [found for run in abnormality_runs(view) if (found := abnormality(run))]
    return {
        "is_xray": gate.answer == XRAY if gate else None,
        "xray_score": gate.scores.get(XRAY) if gate else None,
        "xray_type": type_.answer if type_ else None,
        "type_score": _type_score(type_) if type_ else None,
        "abnormal": any(positive for positive, _ in verdicts) if verdicts else None,
        "abnormality_score": max((score for _, score in verdicts), default=None),
    }


def _type_score(run: RunView) -> float | None:
    # `unknown` is an answer without a score of its own: the best label's score was too low.
    return run.scores.get(run.answer or "", max(run.scores.values(), default=None))


def _run(run: RunView, image_id: str, link: Links) -> StageRunPublic:
    return StageRunPublic(
        stage=run.stage,
        model_version=run.model_version,
        answer=run.answer,
        scores=run.scores,
        operating_point=run.operating_point,
        wait_ms=run.wait_ms,
        compute_ms=run.compute_ms,
        created_at=moment(run.created_at),
        findings=[_finding(finding, image_id, link) for finding in run.findings],
    )


def _finding(finding: FindingView, image_id: str, link: Links) -> FindingPublic:
    heatmap = heatmap_link(link, image_id, finding) if finding.heatmap else None
    return FindingPublic(
        label=finding.label,
        score=finding.score,
        threshold=finding.threshold,
        positive=finding.positive,
        experimental=finding.experimental,
        heatmap=heatmap,
    )
