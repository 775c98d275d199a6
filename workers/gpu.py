"""Memory of the GPUs that this process uses, asked when somebody scrapes."""

import sys
from collections.abc import Iterator

from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector


class GpuMemory(Collector):
    """Gauges per device; nothing where this process never loaded torch or has no device."""

    def collect(self) -> Iterator[Metric]:
        """Free and total bytes of each device, and what this process has taken of them."""
        torch = sys.modules.get("torch")
        if torch is None or not torch.cuda.is_initialized():
            return
        free = _gauge("free", "Bytes free on the device, whoever uses the rest")
        total = _gauge("total", "Bytes of the device")
        reserved = _gauge("reserved", "Bytes that this process holds, in use or cached")
        for device in range(torch.cuda.device_count()):
            left, all_ = torch.cuda.mem_get_info(device)
            for gauge, value in (
                (free, left),
                (total, all_),
                (reserved, torch.cuda.memory_reserved(device)),
            ):
                gauge.add_metric([str(device)], value)
        yield from (free, total, reserved)

    def describe(self) -> Iterator[Metric]:
        """Nothing beforehand: whether there is a GPU is only known when asked."""
        return iter(())


def _gauge(what: str, words: str) -> GaugeMetricFamily:
    return GaugeMetricFamily(f"xraytriage_gpu_memory_{what}_bytes", words, labels=("device",))
