"""The public shapes: what the API answers. No table and no internal record leaves as it is."""

from datetime import datetime
from typing import Literal

from pydantic import BaseModel, Field

PriorityWord = Literal["stat", "routine", "bulk"]
"""The words of `pipeline.states.Priority`."""


class ImageAccepted(BaseModel):
    """The answer for one submitted file."""

    id: str
    name: str = Field(description="as submitted; a member of a zip is `archive.zip/member`")
    sha256: str | None = Field(description="of the bytes; null when they were not read")
    state: str = Field(description="received, or rejected at the door")
    reason_code: str | None
    reason: str | None = Field(description="why it was rejected, in words")
    url: str
    page: str = Field(description="the same for people")


class JobAccepted(BaseModel):
    """A job was made; its images are on their walk."""

    id: str
    priority: PriorityWord
    url: str
    results: str
    page: str = Field(description="the same for people")
    images: list[ImageAccepted]


class JobPublic(BaseModel):
    """A job and how far it is."""

    id: str
    source: str = Field(description="door it came in by: api, cli, dicom")
    priority: str = Field(description="stat, routine or bulk")
    created_at: datetime
    open: bool = Field(description="more images may still be added")
    counts: dict[str, int] = Field(description="images per state, every state named")
    total: int
    finished: int = Field(description="images in a terminal state")
    progress: float = Field(ge=0, le=1, description="finished / total")
    url: str
    results: str
    page: str


class FindingPublic(BaseModel):
    """A label worth showing."""

    label: str
    score: float = Field(description="calibrated probability")
    threshold: float = Field(description="of the operating point")
    positive: bool = Field(description="score at or over the threshold")
    experimental: bool = Field(description="too little data behind this label to rely on it")
    heatmap: str | None = Field(description="URL of the PNG overlay")


class StageRunPublic(BaseModel):
    """What one model version said of an image."""

    stage: str
    model_version: str
    answer: str | None = Field(description="the one label, where a stage has one")
    scores: dict[str, float]
    operating_point: str
    wait_ms: float = Field(description="from queued to claimed")
    compute_ms: float = Field(description="this image's share of the computing")
    created_at: datetime
    findings: list[FindingPublic]


class FlagPublic(BaseModel):
    """Where the file's header and the networks disagree."""

    code: str = Field(description="body_part or view_position")
    message: str = Field(description="in words")


class ImagePublic(BaseModel):
    """An image: where it is, and everything that was said of it."""

    id: str
    job_id: str
    name: str
    sha256: str | None
    size_bytes: int
    state: str
    waits_for: str | None = Field(description="stage it waits for; null when terminal")
    reason_code: str | None
    reason: str | None
    answer: str = Field(description="the result, or the progress, in words")
    is_xray: bool | None
    xray_score: float | None
    xray_type: str | None
    type_score: float | None
    abnormal: bool | None
    abnormality_score: float | None
    format: str | None
    width_px: int | None
    height_px: int | None
    header: dict[str, str | int | float | list[float]] | None = Field(
        description="facts of the file's header that are not personal"
    )
    flags: list[FlagPublic] = Field(description="where header and networks disagree")
    priority: str
    created_at: datetime
    finished_at: datetime | None
    stages: list[StageRunPublic] = Field(description="every run, oldest first")
    url: str
    job: str
    preview: str | None = Field(description="URL of the prepared image as a PNG")
    page: str


class ResultsPage(BaseModel):
    """Some images of a job, in order of arrival."""

    items: list[ImagePublic]
    next: str | None = Field(description="URL of the next page; null on the last")


class OperatingPointPublic(BaseModel):
    """A validated threshold."""

    threshold: float
    sensitivity: float | None
    specificity: float | None


class LabelPublic(BaseModel):
    """What a stage can say."""

    name: str
    experimental: bool
    operating_points: dict[str, OperatingPointPublic]


class CardPublic(BaseModel):
    """The essence of a stage's model card."""

    model_version: str
    architecture: str
    input_px: int
    labels: list[LabelPublic]
    default_operating_point: str
    intended_use: str
    disclaimer: str


class StagePublic(BaseModel):
    """A stage of this installation and the model behind it."""

    name: str
    after: str | None = Field(description="the stage before it")
    on: str | None = Field(description="the answer of that stage on which this one runs")
    card: CardPublic | None = Field(description="null where no valid card is installed")
    card_error: str | None = Field(description="why there is no card")


class StagesPublic(BaseModel):
    """The catalogue, root first."""

    stages: list[StagePublic]


class Alive(BaseModel):
    """The process answers."""

    status: Literal["alive"]
    version: str


class CheckPublic(BaseModel):
    """Whether one server answers."""

    ok: bool
    why: str | None = Field(description="in words, where it does not")


class Ready(BaseModel):
    """Every server that the API needs answers."""

    status: Literal["ready"]
    checks: dict[str, CheckPublic]
