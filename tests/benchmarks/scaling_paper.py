"""From what was measured on one small machine to many GPUs and to money: arithmetic, no more.

What is assumed has its source beside it; what is measured comes in as `found`, a dictionary of
the run. Nothing here was measured on a GPU.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

MILLION = 1_000_000
GB, MB = 1e9, 1e6
HOUR_S = 3600.0
DAY_H = 24.0
"""With CPUs alone: as many of them as take so long for a million images."""
GPUS = 100
NETWORKS = 3
"""That a chest passes: gate, type, chest."""
PADDLE = (
    "[PaddleClas, 1.3.2: T4, TensorRT](https://github.com/PaddlePaddle/PaddleClas/blob/"
    "8b3c4f5c65063b13d59fce67981ff3185817a8fc/docs/zh_CN/models/ImageNet1k/DenseNet.md)"
)
GUIDE = "AWS on-demand, us-east-1, as told in [a guide of {when}]({where})"
S3 = GUIDE.format(
    when="S3 prices",
    where="https://devnotes.tech/understanding-aws-s3-pricing-a-complete-cost-breakdown-with-examples",
)
RDS = GUIDE.format(
    when="RDS prices, June 2026",
    where="https://www.usage.ai/blogs/aws/reserved-instances/rds/pricing-calculator/",
)
EC2 = GUIDE.format(
    when="EC2 prices, June 2026",
    where="https://www.factualminds.com/blog/amazon-ec2-on-demand-pricing-instance-families-2026/",
)
REQUESTS = (
    "[AWS](https://docs.aws.amazon.com/AmazonS3/latest/userguide/optimizing-performance.html)"
)
LIST = "AWS on-demand, us-east-1, Linux, from memory of 2025 lists: no source, check it"


@dataclass(frozen=True, slots=True)
class Assumed:
    """A number that nobody measured here."""

    what: str
    value: float
    unit: str
    source: str


ASSUMED = {
    "gpu_batch": Assumed("batch of the published GPU figure", 8, "images", PADDLE),
    "gpu_batch_ms": Assumed(
        "NVIDIA T4, DenseNet-121, 224 px, half precision, that batch", 10.50221, "ms", PADDLE
    ),
    "gpu_share": Assumed(
        "share of that speed that we count on", 0.5, "", "ours: torch, not TensorRT; a guess"
    ),
    "gpu_h": Assumed("AWS g4dn.xlarge (one T4, 4 vCPU)", 0.526, "$/h", LIST),
    "cpu_h": Assumed("AWS c7i.xlarge (4 vCPU), workers and API", 0.1785, "$/h", LIST),
    "cpu_vcpus": Assumed("vCPU of a c7i.xlarge", 4, "", LIST),
    "database_h": Assumed("AWS RDS db.m7g.xlarge, PostgreSQL, one zone", 0.337, "$/h", LIST),
    "broker_h": Assumed("AWS m7g.large with Valkey", 0.0816, "$/h", EC2),
    "put_1000": Assumed("S3 Standard, 1,000 PUT", 0.005, "$", S3),
    "get_1000": Assumed("S3 Standard, 1,000 GET", 0.0004, "$", S3),
    "s3_month": Assumed("S3 Standard", 0.023, "$/GB and month", S3),
    "database_month": Assumed("RDS gp3", 0.115, "$/GB and month", RDS),
    "put_s": Assumed("S3, PUT of one partitioned prefix", 3500, "1/s", REQUESTS),
    "get_s": Assumed("S3, GET of one partitioned prefix", 5500, "1/s", REQUESTS),
    "database_cores": Assumed("cores of a large database server", 32, "", "db.m7g.8xlarge, say"),
    "wal_mb_s": Assumed("writes of an RDS gp3 volume as it comes", 125, "MB/s", RDS),
    "broker_cores": Assumed("cores that Valkey runs commands on", 1, "", "its design"),
}


def value(name: str) -> float:
    """An assumed number."""
    return ASSUMED[name].value


def gpu_images_per_s() -> float:
    """Images that pass all networks on one GPU in a second."""
    batches_s = 1000.0 / value("gpu_batch_ms")
    return batches_s * value("gpu_batch") * value("gpu_share") / NETWORKS


def object_bytes(found: Mapping[str, Any]) -> float:
    """Bytes in storage for each image."""
    total = sum(kind["bytes"] for kind in found["objects"].values())
    return float(total / found["counted_images"])


def requests(found: Mapping[str, Any], method: str) -> float:
    """S3 requests of a method for each image."""
    return float(found["s3_requests"].get(method, 0.0))


def demands(found: Mapping[str, Any], images_per_s: float) -> dict[str, tuple[float, str]]:
    """What so many images a second ask of the servers: name -> (number, unit)."""
    cpu, stages = found["cpu_s"], found["stage_cpu_s"]
    each = {
        "images": (1.0, "1/s"),
        "broker: messages": (found["broker_messages"], "1/s"),
        "broker: all commands": (found["broker_commands"], "1/s"),
        "broker: cores": (cpu["broker"], ""),
        "database: rows written": (found["row_writes"], "1/s"),
        "database: commits": (found["commits"], "1/s"),
        "database: log written": (found["wal_bytes"] / MB, "MB/s"),
        "database: cores": (cpu["database"], ""),
        "storage: PUT": (requests(found, "PUT"), "1/s"),
        "storage: GET": (requests(found, "GET"), "1/s"),
        "storage: bytes kept": (object_bytes(found) / MB, "MB/s"),
        "ingest: cores": (found["ingest_cpu_s"], ""),
        "prepare: cores": (stages["prepare"], ""),
    }
    return {name: (number * images_per_s, unit) for name, (number, unit) in each.items()}


@dataclass(frozen=True, slots=True)
class Limit:
    """A server's end: at how many images a second it comes, and what to do then."""

    what: str
    images_per_s: float
    remedy: str


def limits(found: Mapping[str, Any]) -> list[Limit]:
    """What gives way first, first."""
    cpu = found["cpu_s"]
    ends = [
        Limit(
            "database: log of one volume",
            value("wal_mb_s") * MB / found["wal_bytes"],
            "provision more throughput for the volume; larger chunks (`XRAYTRIAGE_CHUNK_SIZE`)",
        ),
        Limit(
            "database: cores of one server",
            value("database_cores") / cpu["database"],
            "larger chunks; then one installation for each site or region",
        ),
        Limit(
            "broker: the one core of Valkey",
            value("broker_cores") / cpu["broker"],
            "larger chunks; a faster core; then one installation for each site or region",
        ),
        Limit(
            "storage: PUT of one prefix",
            value("put_s") / max(requests(found, "PUT"), 1e-9),
            "let the load grow slowly: two digits of the hash follow, so S3 can divide it",
        ),
        Limit(
            "storage: GET of one prefix",
            value("get_s") / max(requests(found, "GET"), 1e-9),
            "the same",
        ),
    ]
    return sorted(ends, key=lambda end: end.images_per_s)


@dataclass(frozen=True, slots=True)
class Cost:
    """A line of the bill of a million images."""

    what: str
    arithmetic: str
    dollars: float


def costs(found: Mapping[str, Any], *, gpu: bool) -> list[Cost]:
    """What a million images cost on one GPU, or on CPUs alone; storage for one month."""
    stages = found["stage_cpu_s"]
    cpu_s = found["ingest_cpu_s"] + stages["prepare"]
    bill = []
    if gpu:
        rate = gpu_images_per_s()
        hours = MILLION / rate / HOUR_S
        words = f"1,000,000 / {rate:,.0f} per s = {hours:,.1f} h x ${value('gpu_h')}"
        bill.append(Cost("GPU, all networks", words, hours * value("gpu_h")))
    else:
        cpu_s = found["ingest_cpu_s"] + sum(stages.values())
        hours = DAY_H
    vcpu_h = MILLION * cpu_s / HOUR_S
    instance_h = vcpu_h / value("cpu_vcpus")
    bill.append(
        Cost(
            "CPU: ingest and prepare" if gpu else "CPU: ingest, prepare, networks",
            f"{cpu_s:.3f} s x 1,000,000 = {vcpu_h:,.1f} vCPU h / 4 x ${value('cpu_h')}",
            instance_h * value("cpu_h"),
        )
    )
    return bill + _servers(hours) + _kept(found)


def _servers(hours: float) -> list[Cost]:
    return [
        Cost(name, f"{hours:,.1f} h x ${value(price)}", hours * value(price))
        for name, price in (("database server", "database_h"), ("broker", "broker_h"))
    ]


def _kept(found: Mapping[str, Any]) -> list[Cost]:
    puts, gets = requests(found, "PUT"), requests(found, "GET")
    objects_gb = object_bytes(found) * MILLION / GB
    rows_gb = found["database_bytes"]["PostgreSQL"] * MILLION / GB
    lines = (
        ("S3: PUT", puts * 1000, "thousand", "put_1000"),
        ("S3: GET", gets * 1000, "thousand", "get_1000"),
        ("S3: one month", objects_gb, "GB", "s3_month"),
        ("database volume: one month", rows_gb, "GB", "database_month"),
    )
    return [
        Cost(name, f"{many:,.1f} {unit} x ${value(price)}", many * value(price))
        for name, many, unit, price in lines
    ]
