"""Every assumption of the forecast, in one table. Finished trials of the same study replace what follows from it.

A training step takes 3 x 2 x multiply-accumulates x images floating-point operations (forward, and twice that
backward) at the sustained speed of the device, and at least the time to start its operators. Memory is weights,
gradients and two optimizer moments in float32, plus what autograd keeps for each image.
"""

from __future__ import annotations

GPU_UTILIZATION = 0.1
"""Share of the peak that small vision transformers sustain in training; larger models sustain more."""
CPU_CORE_TFLOPS = 0.05
"""Sustained by one CPU core in float32."""
OPERATOR_SECONDS = 8e-6
"""To start one operator from Python."""
BYTES_PER_PARAMETER = 16
"""Weight, gradient and two moments in float32."""
ACTIVATION_OVERHEAD = 1.2
"""Memory over what autograd keeps: buffers of the backward pass, fragmentation."""
RUNTIME_GB = 0.6
"""Libraries and the CUDA context."""

DEFAULT_GPU = "a100"
GPUS = {  # from the vendors' data sheets: TFLOP/s of dense 16-bit matrix products, GB of memory
    "h200": (989, 141),
    "h100": (989, 80),
    "a100": (312, 80),
    "a100-40": (312, 40),
    "l40s": (362, 48),
    "a10": (125, 24),
    "v100": (125, 32),
    "v100-16": (125, 16),
    "rtx4090": (165, 24),
    "rtx3090": (71, 24),
    "t4": (65, 16),
}
