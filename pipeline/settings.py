"""Every setting, its default and its meaning; read from `XRAYTRIAGE_…` variables."""

import base64
from enum import StrEnum
from functools import cache
from pathlib import Path
from typing import Annotated

from pydantic import Field, ValidationError, ValidationInfo, field_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from pipeline import addresses
from pipeline.dicom.destination import parse


class Device(StrEnum):
    """Where a model runs."""

    AUTO = "auto"
    CPU = "cpu"
    CUDA = "cuda"


class Identifiers(StrEnum):
    """What becomes of the name, the numbers and the dates in a header."""

    DROP = "drop"
    ENCRYPT = "encrypt"


FERNET_KEY_BYTES = 32
KEY_HOWTO = (
    "make a key with `python -c 'from cryptography.fernet import Fernet; "
    "print(Fernet.generate_key().decode())'` and keep it where the data are not"
)


PLACEHOLDER = "change-me"
"""What example files say where a secret belongs; nothing starts with it."""


class SettingsError(ValueError):
    """A variable of the environment is wrong; the words name it, never its value."""


class Settings(BaseSettings):
    """Settings of one process. An unset server address means: use the embedded server."""

    model_config = SettingsConfigDict(
        env_prefix="XRAYTRIAGE_",
        extra="ignore",
        frozen=True,
        hide_input_in_errors=True,  # keys and passwords are among the settings
    )

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

    dicom_port: Annotated[
        int | None,
        Field(description="Port of the DICOM listener; 0 takes a free one, unset starts none"),
    ] = None
    dicom_host: Annotated[str, Field(description="Address the DICOM listener listens on")] = (
        "127.0.0.1"
    )
    dicom_ae_title: Annotated[
        str, Field(description="Our application entity title", pattern=r"^[!-\[\]-~]{1,16}$")
    ] = "XRAYTRIAGE"
    dicom_calling_aets: Annotated[
        str,
        Field(description="AE titles that may send, with commas; empty: any, on loopback only"),
    ] = ""
    dicom_max_associations: Annotated[
        int, Field(description="Associations at a time; each may hold one object in memory", ge=1)
    ] = 8
    dicom_max_pdu_bytes: Annotated[
        int, Field(description="Largest protocol data unit that we take", ge=4096)
    ] = 128 * 2**10
    dicom_network_timeout_s: Annotated[
        float, Field(description="An association silent for so long is aborted", gt=0)
    ] = 60.0
    dicom_acse_timeout_s: Annotated[
        float, Field(description="Longest wait for an association's request or release", gt=0)
    ] = 30.0
    dicom_dimse_timeout_s: Annotated[
        float, Field(description="Longest wait for the rest of a DIMSE message", gt=0)
    ] = 60.0
    dicom_quiet_s: Annotated[
        float, Field(description="A study of which nothing came for so long is complete", gt=0)
    ] = 30.0

    dicom_destination: Annotated[
        str | None,
        Field(description="Where results of studies go: dimse://AET@host:port or http(s)://…"),
    ] = None
    dicom_destination_authorization: Annotated[
        str | None, Field(description="Header Authorization for a DICOMweb destination")
    ] = None
    dicom_send_attempts: Annotated[
        int, Field(description="Tries of one result, over a day with the default", ge=1)
    ] = 30
    dicom_send_timeout_s: Annotated[
        float, Field(description="Longest wait for an answer of the destination", gt=0)
    ] = 30.0
    dicom_send_age_s: Annotated[
        float, Field(description="Studies closed longer ago are sent only where asked", gt=0)
    ] = 86400.0

    identifiers: Annotated[
        Identifiers,
        Field(description="Who the patient is: drop, or encrypt apart for results as DICOM"),
    ] = Identifiers.DROP
    identifiers_key: Annotated[
        str | None,
        Field(description="Fernet key; older ones behind it, with commas", validate_default=True),
    ] = None

    catalogue: Annotated[
        Path | None, Field(description="File with further stages (see models/catalogue.py)")
    ] = None
    device: Annotated[Device, Field(description="auto, cpu or cuda")] = Device.AUTO
    operating_point: Annotated[
        str | None,
        Field(description="sensitive, balanced or specific; the card's default where it lacks it"),
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
    pulse_dir: Annotated[
        Path | None,
        Field(description="Folder of the marks that `xraytriage probe` reads; unset makes none"),
    ] = None
    metrics_host: Annotated[
        str, Field(description="Address on which workers and reconciler serve /metrics")
    ] = "127.0.0.1"
    metrics_port: Annotated[
        int,
        Field(
            description="Port on which a worker or the reconciler serves /metrics; 0 is off. The "
            "embedded stack counts up from it: prepare, the stages of the catalogue, reconcile, "
            "dicom, dicom-send"
        ),
    ] = 0
    otlp_endpoint: Annotated[
        str | None, Field(description="OTLP/HTTP collector for traces, http(s)://…; unset is off")
    ] = None
    otlp_ratio: Annotated[
        float, Field(description="Share of images whose walk is traced", ge=0, le=1)
    ] = 1.0

    @field_validator("*")
    @classmethod
    def _is_no_placeholder(cls, value: object) -> object:
        if isinstance(value, str) and PLACEHOLDER in value.lower():
            raise ValueError(f"still says {PLACEHOLDER}; put a value of your own in its place")
        return value

    @field_validator("database_url")
    @classmethod
    def _is_a_database(cls, text: str | None) -> str | None:
        return None if text is None else addresses.database(text)

    @field_validator("broker_url")
    @classmethod
    def _is_a_redis(cls, text: str | None) -> str | None:
        return None if text is None else addresses.redis(text)

    @field_validator("s3_endpoint", "otlp_endpoint")
    @classmethod
    def _is_a_web_server(cls, text: str | None) -> str | None:
        return None if text is None else addresses.web(text)

    @field_validator("dicom_destination")
    @classmethod
    def _destination_is_understood(cls, text: str | None) -> str | None:
        return None if text is None else str(parse(text))

    @field_validator("identifiers_key")
    @classmethod
    def _key_fits(cls, key: str | None, info: ValidationInfo) -> str | None:
        if key is None:
            if info.data.get("identifiers") is Identifiers.ENCRYPT:
                raise ValueError(f"is needed where identifiers are encrypted; {KEY_HOWTO}")
            return None
        if not all(_is_fernet_key(part.strip()) for part in key.split(",")):
            raise ValueError(f"is no Fernet key; {KEY_HOWTO}")
        return key

    @property
    def sqlite_path(self) -> Path:
        """File of the embedded database."""
        return self.data_dir / "database" / "xraytriage.sqlite3"

    @property
    def database(self) -> str:
        """SQLAlchemy address of the database in use."""
        return self.database_url or f"sqlite:///{self.sqlite_path}"


def _is_fernet_key(text: str) -> bool:
    try:
        return len(base64.urlsafe_b64decode(text.encode())) == FERNET_KEY_BYTES
    except ValueError:
        return False


@cache
def settings() -> Settings:
    """The settings of this process, read once. Raises SettingsError."""
    try:
        return Settings()
    except ValidationError as error:
        raise SettingsError(in_words(error)) from None


def in_words(error: ValidationError) -> str:
    """Which variables are wrong, and why."""
    wrong = "; ".join(
        f"XRAYTRIAGE_{'_'.join(str(part) for part in item['loc']).upper()}: "
        + item["msg"].removeprefix("Value error, ")
        for item in error.errors(include_input=False, include_url=False)
    )
    return f"the settings are wrong: {wrong}"
