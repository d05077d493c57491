"""The dynamic methods under `classify` at ten times its default learning rate: they may learn badly, never break."""

import math

import pytest
from small_task import config

from dynvit.context import NullContext
from dynvit.tasks.classify import Train, run

WIDTH = {"embed_dim": 32, "depth": 4, "num_heads": 2, "patch_size": 2}
MODELS = {
    "tpc": {"name": "tpc_deit_tiny_patch16_224"},
    "tpc_budget": {"name": "tpc_deit_tiny_patch16_224", "keep_rate": 0.5, "stabilizer": "dw_mlp"},
    "mor_token": {"name": "mor_vit_tiny_patch16_224", "recursion": 2},
    "mor_expert": {"name": "mor_vit_tiny_patch16_224", "recursion": 2, "routing": "expert"},
}


@pytest.mark.parametrize("amp", ["off", "bfloat16"])
@pytest.mark.parametrize("name", MODELS)
def test_ten_times_the_rate(name, amp):
    context = NullContext()
    options = config(epochs=2, lr=10 * Train().lr, warmup_epochs=0, schedule="constant", amp=amp)
    options = type(options)({**MODELS[name], **WIDTH}, options.data, options.train, evaluation=options.evaluation)
    metrics = run(options, context)["metrics"]  # raises NotFinite at the first loss that is none
    logged = [value for _, values in context.history for value in values.values()]
    assert all(math.isfinite(value) for value in logged)
    assert all(math.isfinite(value) for value in metrics["last"].values())
    assert 0 < metrics["active_share"] <= 1
    assert metrics["mean_depth"] == pytest.approx(4 * metrics["active_share"])
    if name == "tpc_budget":
        assert metrics["active_share"] == pytest.approx((1 + 3 * 0.5) / 4)  # the first layer sees every token
