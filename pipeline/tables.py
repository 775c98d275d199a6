"""The database tables. Times are seconds since 1970 by the database's clock."""

from typing import Any, ClassVar

from sqlalchemy import (
    JSON,
    Column,
    Computed,
    Float,
    Index,
    Integer,
    LargeBinary,
    Text,
    UniqueConstraint,
    text,
)
from sqlmodel import Field, SQLModel

WAITING = text("stage IS NOT NULL")
OPEN = text("closed_at IS NULL")
OF_STUDY = text("study_instance_uid IS NOT NULL")
UNSENT = text("state = 'waiting'")


class Job(SQLModel, table=True):
    """A counted set of images that were submitted together."""

    __table_args__: ClassVar[Any] = (
        # At most one open job of a study and a sender; jobs that are of no study have nulls here.
        Index(
            "uq_job_open_study",
            "study_instance_uid",
            "peer",
            unique=True,
            sqlite_where=OPEN,
            postgresql_where=OPEN,
        ),
        Index("ix_job_study", "study_instance_uid"),
        Index("ix_job_closed", "closed_at", sqlite_where=OF_STUDY, postgresql_where=OF_STUDY),
    )

    id: str = Field(primary_key=True)
    source: str = Field(description="door it came in by: api, cli, dicom")
    priority: int = Field(description="see pipeline.states.Priority")
    created_at: float = Field(sa_column=Column(Float, nullable=False))
    closed_at: float | None = Field(
        default=None, sa_column=Column(Float), description="no more images will be added"
    )
    study_instance_uid: str | None = Field(
        default=None, sa_column=Column(Text), description="(0020,000D) of a job made of a study"
    )
    peer: str | None = Field(
        default=None,
        sa_column=Column(Text),
        description="who sends the study: a calling AE title, or stow",
    )
    last_arrival_at: float | None = Field(
        default=None,
        sa_column=Column(Float),
        description="of a study: when its last instance came, since a quiet study is closed",
    )


class Image(SQLModel, table=True):
    """One submitted image, where it is on its walk and who works on it."""

    __table_args__: ClassVar[Any] = (
        UniqueConstraint("job_id", "once_key", name="uq_image_job_once_key"),
        # Pages of a job in order of id, and its counts per state, from one index.
        Index("ix_image_job", "job_id", "id", "state"),
        # What is due, and what waits where since when, from the entries of waiting images alone.
        Index(
            "ix_image_due",
            "due_at",
            "stage",
            "priority",
            "queued_at",
            sqlite_where=WAITING,
            postgresql_where=WAITING,
        ),
        Index("ix_image_sha256", "sha256"),
        Index("ix_image_study", "study_instance_uid"),
        Index("ix_image_state_finished", "state", "finished_at"),
    )

    id: str = Field(primary_key=True)
    job_id: str = Field(foreign_key="job.id")
    name: str = Field(sa_column=Column(Text, nullable=False), description="never logged")
    once_key: str | None = Field(
        default=None,
        sa_column=Column(Text),
        description="unique in the job: a resumed walk adds no path twice",
    )
    sha256: str | None = Field(default=None, description="of the original bytes, hex")
    size_bytes: int = 0
    original: str | None = Field(default=None, description="object reference of the original")
    prepared: str | None = Field(default=None, description="object reference of the prepared array")
    format: str | None = None
    width_px: int | None = None
    height_px: int | None = None
    header: dict[str, Any] | None = Field(default=None, sa_column=Column(JSON))
    study_instance_uid: str | None = Field(
        default=None,
        sa_column=Column(Text, Computed("header ->> 'study_instance_uid'", persisted=True)),
        description="the database's own copy from the header, so that a study is found",
    )
    priority: int = Field(description="copied from the job, so that a scan needs no join")

    state: str = Field(description="see pipeline.states.State")
    stage: str | None = Field(default=None, description="stage it waits for; none when terminal")
    reason_code: str | None = None
    reason: str | None = Field(default=None, sa_column=Column(Text))
    xray_type: str | None = None
    flags: list[dict[str, str]] | None = Field(
        default=None,
        sa_column=Column(JSON(none_as_null=True)),
        description="where header and networks disagree: code and message of each",
    )

    token: int = Field(default=0, sa_column=Column(Integer, nullable=False, server_default="0"))
    lease_until: float | None = Field(default=None, sa_column=Column(Float))
    attempts: int = Field(default=0, description="claims of the present stage, counted beforehand")
    due_at: float | None = Field(default=None, sa_column=Column(Float))
    queued_at: float | None = Field(default=None, sa_column=Column(Float))
    worker: str | None = None
    stopped_at: str | None = Field(default=None, description="stage that quarantined it")
    last_error: str | None = Field(default=None, sa_column=Column(Text))
    created_at: float = Field(sa_column=Column(Float, nullable=False))
    finished_at: float | None = Field(default=None, sa_column=Column(Float))


class Identity(SQLModel, table=True):
    """Whose image it is, sealed: kept apart, and only where the settings ask for it."""

    image_id: str = Field(primary_key=True, foreign_key="image.id")
    sealed: bytes = Field(
        sa_column=Column(LargeBinary, nullable=False), description="see pipeline.identity"
    )


class StageRun(SQLModel, table=True):
    """What one model version said of one image: at most one row each."""

    __tablename__ = "stage_run"

    image_id: str = Field(primary_key=True, foreign_key="image.id")
    stage: str = Field(primary_key=True)
    model_version: str = Field(primary_key=True)
    answer: str | None = Field(default=None, description="the one label, where a stage has one")
    scores: dict[str, float] = Field(sa_column=Column(JSON, nullable=False))
    operating_point: str
    rules: dict[str, Any] | None = Field(
        default=None,
        sa_column=Column(JSON(none_as_null=True)),
        description="label -> threshold, and experimental where it is; as they were applied",
    )
    wait_ms: float = Field(description="from queued to claimed")
    compute_ms: float = Field(description="from claimed to answered, this image's share")
    worker: str
    created_at: float = Field(sa_column=Column(Float, nullable=False))


class Finding(SQLModel, table=True):
    """A label worth showing: above its operating point, or the top one of an abnormal image."""

    image_id: str = Field(primary_key=True, foreign_key="image.id")
    stage: str = Field(primary_key=True)
    model_version: str = Field(primary_key=True)
    label: str = Field(primary_key=True)
    score: float
    threshold: float
    positive: bool
    experimental: bool
    heatmap: str | None = Field(default=None, description="object reference of the overlay")
    raw_map: str | None = Field(default=None, description="object reference of the raw map, PNG")


class Outbox(SQLModel, table=True):
    """A signature that has to be sent: committed with what it announces, deleted once sent."""

    __table_args__: ClassVar[Any] = (
        Index("ix_outbox_due", "due_at"),
        Index("ix_outbox_created", "created_at"),
    )

    id: str = Field(primary_key=True)
    stage: str
    priority: int
    image_ids: list[str] = Field(sa_column=Column(JSON, nullable=False))
    created_at: float = Field(sa_column=Column(Float, nullable=False))
    due_at: float = Field(sa_column=Column(Float, nullable=False))


class DeliveryPlan(SQLModel, table=True):
    """A study job whose results were made ready for the destination."""

    __tablename__ = "delivery_plan"

    job_id: str = Field(primary_key=True, foreign_key="job.id")
    planned_at: float = Field(sa_column=Column(Float, nullable=False))


class Delivery(SQLModel, table=True):
    """One result instance on its way to the configured DICOM destination."""

    __table_args__: ClassVar[Any] = (
        Index("ix_delivery_due", "due_at", sqlite_where=UNSENT, postgresql_where=UNSENT),
        Index("ix_delivery_job", "job_id"),
    )

    sop_instance_uid: str = Field(sa_column=Column(Text, primary_key=True))
    job_id: str = Field(foreign_key="job.id")
    destination: str = Field(sa_column=Column(Text, nullable=False))
    state: str = Field(description="waiting, delivered or failed; see pipeline.records.deliveries")
    attempts: int = Field(default=0, description="counted before each try")
    due_at: float = Field(sa_column=Column(Float, nullable=False))
    last_error: str | None = Field(default=None, sa_column=Column(Text))
    delivered_at: float | None = Field(default=None, sa_column=Column(Float))


jobs, images, identities, stage_runs, findings, outbox = (
    SQLModel.metadata.tables[name]
    for name in ("job", "image", "identity", "stage_run", "finding", "outbox")
)
"""The same tables for statements written in SQLAlchemy Core, as those in pipeline.records are."""
deliveries, delivery_plans = (
    SQLModel.metadata.tables[name] for name in ("delivery", "delivery_plan")
)
