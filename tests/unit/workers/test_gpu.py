"""GPU memory, with a stand-in for torch: no machine of the tests has a GPU."""

import sys
from types import SimpleNamespace

import pytest
from prometheus_client import CollectorRegistry

from workers.gpu import GpuMemory


@pytest.fixture
def registry() -> CollectorRegistry:
    registry = CollectorRegistry()
    registry.register(GpuMemory())
    return registry


def test_a_process_without_torch_or_device_tells_nothing(
    registry: CollectorRegistry, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delitem(sys.modules, "torch", raising=False)
    assert list(registry.collect()) == []
    cold = SimpleNamespace(cuda=SimpleNamespace(is_initialized=lambda: False))
    monkeypatch.setitem(sys.modules, "torch", cold)
    assert list(registry.collect()) == []


def test_each_device_is_told_of(
    registry: CollectorRegistry, monkeypatch: pytest.MonkeyPatch
) -> None:
    cuda = SimpleNamespace(
        is_initialized=lambda: True,
        device_count=lambda: 2,
        mem_get_info=lambda device: (10 + device, 100),
        memory_reserved=lambda device: 7 * device,
    )
    monkeypatch.setitem(sys.modules, "torch", SimpleNamespace(cuda=cuda))

    def of(what: str, device: str) -> float | None:
        return registry.get_sample_value(f"xraytriage_gpu_memory_{what}_bytes", {"device": device})

    assert [of(what, "1") for what in ("free", "total", "reserved")] == [11, 100, 7]
    assert of("free", "0") == 10
