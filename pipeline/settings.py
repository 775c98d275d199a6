"""Every setting, its default and its meaning; read from `XRAYTRIAGE_…` variables."""

from enum import StrEnum
from functools import cache
from pathlib import Path
from typing import Annotated

from pydantic import Field
from pydantic_settings import BaseSettings, SettingsConfigDict


class Device(StrEnum):
    """Where a model runs."""

    AUTO = "auto"
    CPU = "cpu"
    CUDA = "cuda"


class Settings(BaseSettings):
    """Settings of one process. An unset server address means: use the embedded server."""

    model_config = SettingsConfigDict(env_prefix="XRAYTRIAGE_", extra="ignore", frozen=True)

    data_dir: Annotated[Path, Field(description="State of the embedded stack")] = Path(
        "xraytriage-data"
    )
    broker_url: Annotated[str | None, Field(description="Redis or Valkey, redis://…")] = None
    database_url: Annotated[str | None, Field(description="SQLAlchemy address")] = None
    s3_endpoint: Annotated[str | None, Field(description="S3-compatible endpoint, http(s)://…")] = (
        None
    )
    s3_bucket: Annotated[str, Field(description="Bucket; made when missing")] = "xraytriage"
    s3_access_key: Annotated[str | None, Field(description="S3 access key")] = None
    s3_secret_key: Annotated[str | None, Field(description="S3 secret key")] = None
    s3_region: Annotated[str, Field(description="S3 region")] = "us-east-1"
    s3_timeout_s: Annotated[float, Field(description="Connect and read timeout, one try")] = 10.0
    s3_attempts: Annotated[int, Field(description="Tries of one storage call", ge=1)] = 7
    s3_patience_s: Annotated[
        float, Field(description="No new try of a storage call after that long; below lease_s")
    ] = 30.0

    host: Annotated[str, Field(description="Address the API listens on")] = "127.0.0.1"
    port: Annotated[int, Field(description="Port of the API; 0 takes a free one")] = 0
    flower_port: Annotated[int, Field(description="Port of Flower; 0 takes a free one")] = 0

    catalogue: Annotated[
        Path | None, Field(description="File with further stages (see models/catalogue.py)")
    ] = None
    device: Annotated[Device, Field(description="auto, cpu or cuda")] = Device.AUTO
    operating_point: Annotated[
        str | None, Field(description="sensitive, balanced or specific; unset: the card's")
    ] = None
    model_threads: Annotated[int, Field(description="CPU threads per model; 0: all cores")] = 0

    max_file_bytes: Annotated[int, Field(description="Largest accepted image file")] = 256 * 2**20
    max_request_files: Annotated[int, Field(description="Most images in one API request")] = 10_000
    chunk_size: Annotated[int, Field(description="Most image ids in one message", ge=1)] = 32
    disk_watermark_bytes: Annotated[
        int, Field(description="Free bytes under which new work is refused (embedded stack)")
    ] = 512 * 2**20

    lease_s: Annotated[float, Field(description="How long a silent claim holds")] = 60.0
    scan_s: Annotated[float, Field(description="Pause between two reconciler scans")] = 15.0
    attempts: Annotated[int, Field(description="Tries of one stage before quarantine")] = 3
    publish_timeout_s: Annotated[float, Field(description="Deadline of one publish")] = 2.0
    prepare_image_s: Annotated[float, Field(description="CPU time limit of decoding one image")] = (
        20.0
    )
    prepare_memory_bytes: Annotated[
        int, Field(description="Memory a decoding child may add", ge=2**26)
    ] = 2 * 2**30
    drain_s: Annotated[float, Field(description="Grace for running work after SIGTERM")] = 30.0
    log_json: Annotated[bool, Field(description="JSON log lines instead of readable ones")] = False

    @property
    def sqlite_path(self) -> Path:
        """File of the embedded database."""
        return self.data_dir / "database" / "xraytriage.sqlite3"

    @property
    def database(self) -> str:
        """SQLAlchemy address of the database in use."""
        return self.database_url or f"sqlite:///{self.sqlite_path}"


@cache
def settings() -> Settings:
    """The settings of this process, read once."""
    return Settings()
