"""The forward pass of a model of the two official papers never holds more memory than its plain trunk's."""

import pytest
import timm
import torch
from torch.profiler import ProfilerActivity, profile

import dynvit  # noqa: F401 - registers the models

PAIRS = [
    ("evo_deit_tiny_patch16_224", "deit_tiny_patch16_224"),
    ("evo_levit_128s", "levit_128s"),
    ("sret_tiny", "deit_tiny_patch16_224"),
]


def peak_bytes(name: str, batch: int = 2) -> int:
    """Most bytes that one evaluation forward holds beyond weights and images, from the allocator's own events."""
    model = timm.create_model(name).eval()
    images = torch.randn(batch, 3, 224, 224)
    with torch.inference_mode():
        model(images)
        with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as profiler:
            model(images)
    events = [e for e in profiler.profiler.kineto_results.events() if e.name() == "[memory]"]
    held = peak = 0
    for event in sorted(events, key=lambda e: e.start_ns()):
        held += event.nbytes()
        peak = max(peak, held)
    return peak


@pytest.mark.parametrize(("name", "trunk"), PAIRS)
def test_peak_memory_is_not_above_the_trunks(name: str, trunk: str) -> None:
    assert 0 < peak_bytes(name) <= peak_bytes(trunk)
