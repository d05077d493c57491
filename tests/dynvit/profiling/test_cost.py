"""The parts of the task `cost`, and the task itself on models of a few thousand parameters."""

import csv
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import timm
import torch
from small_task import undeclared
from torch import nn

import dynvit
from dynvit.context import NullContext
from dynvit.models.build import build_model
from dynvit.profiling.activation_memory import forward_peak
from dynvit.profiling.execution_modes import prepared
from dynvit.profiling.interleaved_timing import PairedTiming, Seconds, fits_in_memory, largest_batch, time_pair
from dynvit.profiling.traced_ops import trace_ops
from dynvit.profiling.training_update import TrainingUpdate
from dynvit.tasks.cost import METRICS, SMOKE, Config, Timing, run
from dynvit.trunks import trunk_of

ROOT = Path(__file__).parents[3]
SMALL = {"patch_size": 8, "embed_dim": 32, "depth": 12, "num_heads": 2}


def small(name, **options):
    return {"name": name, **SMALL, **options}


# ---- trunks


def test_every_model_of_ours_has_a_trunk_that_exists():
    trunks = {name: trunk_of({"name": name}) for name in dynvit.list_models()}
    assert all(trunk is not None and timm.is_model(trunk["name"]) for trunk in trunks.values())
    ours = {name for name, trunk in trunks.items() if trunk["name"] in dynvit.list_models()}
    assert all("_lvvit_" in name for name in ours)  # LV-ViT's own trunk, in turn, is DeiT


@pytest.mark.parametrize(
    ("name", "trunk"),
    [
        ("sret_large_tiny_noslice", "deit_tiny_patch16_224"),
        ("evo_deit_small_patch16_384", "deit_small_patch16_224"),
        ("evo_levit_128s_384", "levit_128s"),
        ("evo_levit_384_384", "levit_384"),
        ("mor_vit_base_patch16_224", "deit_base_patch16_224"),
        ("dynamicvit_lvvit_medium", "lvvit_medium"),
        ("lvvit_medium", "deit_base_patch16_224"),
        ("tpc_swin_tiny_patch4_window7_224", "swin_tiny_patch4_window7_224"),
        ("deit_small_patch16_224", None),
        ("swin_tiny_patch4_window7_224", None),
    ],
)
def test_trunks(name, trunk):
    assert (trunk_of({"name": name}) or {"name": None})["name"] == trunk


def test_the_trunk_of_a_small_deit_is_as_small():
    assert trunk_of(small("evit_deit_tiny_patch16_224", keep_rate=0.5)) == small("deit_tiny_patch16_224")
    assert trunk_of({"name": "sret_tiny", "depth": [4, 4, 4]}) == {"name": "deit_tiny_patch16_224"}


def test_the_study_counts_every_model_of_ours():
    text = (ROOT / "studies/cost.yaml").read_text()
    listed = re.findall(r"^ +- (\w+)$", text.partition("  timm:")[0], re.M)
    assert sorted(listed) == dynvit.list_models()


# ---- building


def test_a_model_of_any_size_is_built_without_one():
    model = build_model({"name": "tiny_vit_5m_224"}, img_size=64, num_classes=3)
    same = build_model({"name": "tiny_vit_5m_224", "num_classes": 5}, img_size=64, num_classes=3)
    assert same.num_classes == 5
    assert model.eval()(torch.zeros(1, 3, 64, 64)).shape == (1, 3)
    assert build_model(small("deit_tiny_patch16_224"), img_size=32).patch_embed.num_patches == 16
    assert build_model(small("deit_tiny_patch16_224", img_size=16), img_size=32).patch_embed.num_patches == 4
    with pytest.raises(TypeError, match="img_size"):
        build_model({"name": "tiny_vit_5m_224", "img_size": 64})
    with pytest.raises(TypeError, match="keep_rat"):
        build_model(small("evit_deit_tiny_patch16_224", keep_rat=0.5), img_size=32)
    with pytest.raises(ValueError, match="needs a name"):
        build_model({}, img_size=32)


# ---- timm's models: complexity as published, every token active


def published(method, variant, setting):
    with (ROOT / "paper_tables/published/baselines.csv").open(newline="") as file:
        rows = [r for r in csv.DictReader(file) if (r["method"], r["variant"]) == (method, variant)]
    return next(r for r in rows if r["setting"].startswith(setting) and r["gflops"])


@pytest.mark.parametrize(
    ("name", "method", "variant", "setting"),
    [
        ("deit_small_patch16_224", "EViT", "keep 1.0", ""),
        ("swin_tiny_patch4_window7_224", "Swin", "Swin-T", "224"),
        ("swin_small_patch4_window7_224", "Swin", "Swin-S", "224"),
        ("levit_128s", "LeViT", "LeViT-128S", "224"),
        ("tiny_vit_5m_224", "TinyViT", "TinyViT-5M", "224"),
    ],
)
def test_multiply_accumulates_of_timm_models_are_the_published_ones(name, method, variant, setting):
    row = published("baseline" if method == "EViT" else method, "keep 1.0" if method == "EViT" else variant, setting)
    found = run(Config(model={"name": name}), NullContext())["metrics"]
    digits = len(row["gflops"].partition(".")[2])
    assert f"{found['gflops']:.{digits}f}" == row["gflops"]


def test_deit3_costs_what_deit_costs():
    ours, theirs = (run(Config(model={"name": f"{n}_small_patch16_224"}), NullContext()) for n in ("deit3", "deit"))
    assert ours["metrics"]["gflops"] == theirs["metrics"]["gflops"] == 4.598882304


@pytest.mark.parametrize(
    ("name", "size", "layers"),
    [
        ("deit3_small_patch16_224", 32, [4] * 12),
        ("deit_tiny_distilled_patch16_224", 32, [4] * 12),
        ("cait_xxs24_224", 32, [4] * 24),
        ("xcit_nano_12_p16_224", 32, [4] * 12),
        ("swin_tiny_patch4_window7_224", 64, [256] * 2 + [64] * 2 + [16] * 6 + [4] * 2),
        ("levit_128s", 64, [16] * 2 + [4] * 3 + [1] * 4),
        ("tiny_vit_5m_224", 64, [256] * 2 + [64] * 2 + [16] * 6 + [4] * 2),
    ],
)
def test_every_token_of_a_timm_model_is_active(name, size, layers):
    model = build_model({"name": name}, img_size=size, num_classes=10).eval()
    with torch.no_grad(), dynvit.trace_tokens(model) as trace:
        model(torch.randn(2, 3, size, size))
    assert [active.shape[1] for active in trace.active] == layers
    assert all(active.all() for active in trace.active)
    assert trace.depth.unique().tolist() == [len(layers)]
    assert dynvit.complexity(model, torch.randn(1, 3, size, size)).gmacs > 0


# ---- counting


@pytest.mark.parametrize(
    "model",
    [
        small("evit_deit_tiny_patch16_224"),
        small("deit_tiny_patch16_224"),
        {"name": "levit_128s"},
        {"name": "swin_tiny_patch4_window7_224", "embed_dim": 24, "depths": (1, 1), "num_heads": (1, 2)},
    ],
    ids=lambda model: model["name"],
)
def test_counting_on_shapes_is_counting(model):
    found = run(Config(model=model, image_size=64, num_classes=7), NullContext())["metrics"]
    real = build_model(model, img_size=64, num_classes=7).eval()
    assert next(real.parameters()).device.type == "cpu"
    assert found["gflops"] == dynvit.complexity(real, torch.randn(1, 3, 64, 64)).gmacs
    assert found["params_m"] == sum(p.numel() for p in real.parameters()) / 1e6


def test_a_dynamic_model_is_counted_image_by_image():
    model = small("avit_deit_tiny_patch16_224", gate_scale=40.0, gate_center=1.5)
    found = run(Config(model=model, image_size=32, counted_images=3), NullContext(seed=3))["metrics"]
    torch.manual_seed(3)
    images = torch.randn(3, 3, 32, 32, generator=torch.Generator().manual_seed(3))
    expected = dynvit.complexity(build_model(model, img_size=32, num_classes=1000), images)
    assert found["gflops"] == expected.gmacs
    assert found["gflops"] < found["trunk_gflops"]
    assert found["mac_ratio"] == found["trunk_gflops"] / found["gflops"]


def test_attention_and_training_heads_are_told_apart():
    config = Config(model=small("evo_deit_tiny_patch16_224", keep_ratio=1.0), image_size=32)
    found = run(config, NullContext())["metrics"]
    tokens, width, depth = 17, 32, 12
    assert found["gflops_attention"] == 2 * tokens**2 * width * depth / 1e9
    assert found["params_training_m"] - found["params_m"] == pytest.approx((33_000 + 64) / 1e6)  # class head, its norm


def test_norms_are_counted_as_fvcore_does():
    found = run(Config(model={"name": "deit_small_patch16_224"}), NullContext())["metrics"]
    assert found["gflops_norms"] == 25 * 197 * 384 * 5 / 1e9
    found = run(Config(model={"name": "levit_128s"}, image_size=64), NullContext())["metrics"]
    real, elements = build_model({"name": "levit_128s"}, img_size=64).eval(), []
    for module in real.modules():
        if isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d):
            module.register_forward_hook(lambda module, args, out: elements.append(out.numel()))
    real(torch.zeros(1, 3, 64, 64))
    assert found["gflops_norms"] == 2 * sum(elements) / 1e9 > 0


# ---- operators and memory


class Steps(nn.Module):
    """Three tensors of 1 MB, of which at most two live at once."""

    def __init__(self, stop=False):
        super().__init__()
        self.weight, self.stop = nn.Parameter(torch.ones(1 << 20)), stop

    def forward(self, x):
        y = x + 1
        if self.stop:
            torch._dynamo.graph_break()
        z = y * 2
        del y
        return (z + 1).view(-1, 2)


@pytest.mark.parametrize(("stop", "expected"), [(False, (3, 0)), (True, (3, 1))])
def test_operators_are_the_calls_that_the_compiler_sees(stop, expected):
    found = trace_ops(Steps(stop), torch.zeros(256, 1024))
    assert (found.operators, found.breaks) == expected


def test_peak_of_a_forward_pass_is_what_lives_at_once():
    x = torch.zeros(256, 1024)
    assert forward_peak(Steps(), x) == 2 << 20
    assert forward_peak(nn.Identity(), x) == 0
    inplace = nn.Sequential(nn.Linear(1024, 512), nn.ReLU(inplace=True))
    assert forward_peak(inplace, x) == 256 * 512 * 4


# ---- time


def test_model_and_rival_run_in_turn_after_a_warm_up():
    order = []
    ours, theirs = (lambda _, name=name: order.append(name) for name in ("ours", "theirs"))
    found = time_pair(ours, theirs, torch.zeros(1), rounds=3, warmup=2)
    assert order == ["ours", "theirs"] * 5
    assert len(found.model) == len(found.baseline) == 3
    order.clear()
    time_pair(lambda x: order.append("ours"), None, torch.zeros(1), rounds=2, warmup=1)
    assert order == ["ours"] * 3


def test_speed_up_is_the_median_of_the_rounds_ratios():
    def seconds(*cpu):
        return tuple(Seconds(wall=2.0, cpu=value) for value in cpu)

    found = PairedTiming(seconds(1, 1, 1, 1, 1), seconds(1, 2, 3, 4, 5))
    assert found.speedup() == (2, 3, 4)
    assert found.rates(batch=8) == (4, 4)  # by the wall clock
    assert PairedTiming((Seconds(1.0),), (Seconds(3.0),)).speedup() == (3, 3, 3)  # a GPU: no time of the CPU's


def test_the_largest_batch_is_found_by_doubling():
    tried = []

    def fits(batch):
        tried.append(batch)
        return batch <= 48

    assert largest_batch(fits, limit=1024) == 32
    assert tried == [1, 2, 4, 8, 16, 32, 64]
    assert largest_batch(fits, limit=20) == 16
    assert largest_batch(lambda batch: False, limit=20) == 0
    assert not fits_in_memory([nn.Identity()], torch.zeros(1, 3, 8, 8), 1)  # on a CPU


# ---- the task


@pytest.mark.parametrize("name", ["evit_deit_tiny_patch16_224", "mor_vit_tiny_patch16_224"])
def test_everything_of_a_method(name):
    timing = Timing(enabled=True, batch_sizes=(1, 2), rounds=2, warmup=1)
    config = Config(small(name), image_size=32, operators=True, memory_batch=2, timing=timing)
    threads = torch.get_num_threads()
    result = run(config, NullContext())
    found = result["metrics"]
    assert undeclared(METRICS, result) == set()
    for end in ("b1", "b2"):
        assert found[f"speedup_low_{end}"] <= found[f"speedup_{end}"] <= found[f"speedup_high_{end}"]
        assert found[f"share_{end}"] == found[f"speedup_{end}"] / found["mac_ratio"]
        assert found[f"images_per_second_{end}"] > 0 < found[f"trunk_images_per_second_{end}"]
    assert found["operators"] > 20
    assert found["forward_mb"] > 0
    assert result["cost"]["params"] == round(1e6 * found["params_m"])
    assert result["about"]["trunk"] == "deit_tiny_patch16_224"
    assert result["about"]["device"]
    assert result["about"]["torch"] == torch.__version__
    assert torch.get_num_threads() == threads


@pytest.mark.parametrize("name", ["evo_deit_tiny_patch16_224", "dynamicvit_deit_tiny_patch16_224"])
def test_an_update_is_timed_in_turn_with_the_backbones(name):
    timing = Timing(rounds=2, warmup=1, update=3)
    result = run(Config(small(name), image_size=32, timing=timing), NullContext())
    assert undeclared(METRICS, result) == set()
    low, middle, high = (result["metrics"][f"update_speedup{end}"] for end in ("_low", "", "_high"))
    assert 0 < low <= middle <= high


def test_an_update_without_a_backbone_is_said():
    plain = small("vit_tiny_patch16_224", depth=1)
    result = run(Config(plain, image_size=32, timing=Timing(update=2, rounds=1)), NullContext())
    assert result["about"]["not_timed"] == {"update": "there is no backbone to compare with: name one as trunk"}
    with pytest.raises(ValueError, match=r"timing\.update needs num_classes"):
        Config(plain, num_classes=0, timing=Timing(update=2))


def test_an_update_trains_with_the_methods_own_losses():
    torch.manual_seed(0)
    model = timm.create_model("mor_vit_tiny_patch16_224", img_size=32, num_classes=10)
    update = TrainingUpdate(model, classes=10)
    before = {key: value.clone() for key, value in model.state_dict().items()}
    with torch.inference_mode(False), torch.no_grad():
        update(torch.randn(2, 3, 32, 32))
    moved = {key for key, value in model.state_dict().items() if not torch.equal(value, before[key])}
    assert model.training and {"head.weight", "patch_embed.proj.weight"} <= moved
    assert any("router" in key for key in moved)


def test_a_model_without_a_trunk_is_timed_alone_and_a_trunk_can_be_named():
    timing = Timing(**{key.partition(".")[2]: value for key, value in SMOKE.items()} | {"enabled": True})
    alone = run(Config(small("deit_tiny_patch16_224"), image_size=32, timing=timing), NullContext())["metrics"]
    assert alone["images_per_second_b1"] > 0
    assert not [key for key in alone if key.startswith(("speedup", "share", "mac_ratio"))]
    named = Config(small("deit_tiny_patch16_224"), small("vit_tiny_patch16_224"), image_size=32, timing=timing)
    found = run(named, NullContext())["metrics"]
    assert found["mac_ratio"] == 1
    assert found["share_b1"] == found["speedup_b1"]


def test_compiled_models_have_metrics_of_their_own(monkeypatch):
    taken = []

    def compile_(model, **options):
        taken.append(options)
        return model

    monkeypatch.setattr(torch, "compile", compile_)
    timing = Timing(True, (1,), modes=("eager", "compiled"), rounds=1, warmup=1)
    found = run(Config(small("evit_deit_tiny_patch16_224"), image_size=32, timing=timing), NullContext())["metrics"]
    assert {"speedup_b1", "speedup_b1_compiled", "share_b1_compiled"} <= set(found)
    assert undeclared(METRICS, {"metrics": found}) == set()
    assert taken == [{"dynamic": False, "fullgraph": True, "options": {"freezing": True}}] * 2


def test_onnx_is_timed_beside_the_backbone_and_what_cannot_be_exported_says_why(monkeypatch):
    def refuse(*_, **__):
        raise RuntimeError("one graph is not to be had")

    monkeypatch.setattr(torch.export, "export", refuse)
    monkeypatch.setattr("dynvit.profiling.execution_modes._onnx", lambda model, images, place: model)
    timing = Timing(True, (1,), modes=("exported", "onnx", "eager"), rounds=1, warmup=1)
    result = run(Config(small("evit_deit_tiny_patch16_224"), image_size=32, timing=timing), NullContext())
    assert result["about"]["not_timed"] == {"b1_exported": "RuntimeError: one graph is not to be had"}
    assert {"speedup_b1", "speedup_b1_onnx", "share_b1_onnx"} <= set(result["metrics"])
    assert "speedup_b1_exported" not in result["metrics"]
    assert undeclared(METRICS, result) == set()


def test_onnxruntime_runs_what_the_model_computes():
    model = timm.create_model("evit_deit_tiny_patch16_224", img_size=32, **SMALL | {"depth": 4}, locations=(1,)).eval()
    images = torch.randn(2, 3, 32, 32)
    with prepared("onnx", [model], images) as (call,):
        (logits,) = call(images)
    assert torch.allclose(torch.from_numpy(logits), model(images), atol=1e-4)


def test_without_the_packages_of_onnx_the_other_modes_are_timed(monkeypatch):
    monkeypatch.setattr("dynvit.profiling.execution_modes.find_spec", lambda name: None)
    timing = Timing(True, (1,), modes=("eager", "onnx"), rounds=1, warmup=1)
    result = run(Config(small("evit_deit_tiny_patch16_224"), image_size=32, timing=timing), NullContext())
    assert "pip install onnx" in result["about"]["not_timed"]["b1_onnx"]
    assert "speedup_b1" in result["metrics"] and "speedup_b1_onnx" not in result["metrics"]


def test_a_killed_compilation_of_another_process_is_in_nobodys_way(tmp_path, monkeypatch):
    """Half a library stays in the folder that all processes share: nothing is read from it, nothing left in it."""
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", str(tmp_path))
    model, images = torch.nn.Conv2d(3, 2, 4).eval(), torch.randn(1, 3, 8, 8)
    with prepared("compiled", [model], images) as (call,):
        first = call(images)
    for library in tmp_path.rglob("*.so"):
        library.write_bytes(b"")
    with prepared("compiled", [model], images) as (call,):
        assert torch.equal(call(images), first)
    assert not list(tmp_path.rglob("*.so")) and os.environ["TORCHINDUCTOR_CACHE_DIR"] == str(tmp_path)


@pytest.mark.parametrize(
    ("wrong", "text"),
    [
        ({"counted_images": 0}, "counted_images must be >= 1, got 0"),
        ({"threads": -1}, "threads must be >= 0, got -1"),
        ({"timing": Timing(batch_sizes=(1, 0))}, "timing.batch_sizes must be >= 1, got 0"),
        ({"timing": Timing(rounds=0)}, "timing.rounds must be >= 1, got 0"),
    ],
)
def test_amounts_that_cannot_be(wrong, text):
    with pytest.raises(ValueError, match=text):
        Config(**wrong)


def test_onnx_is_refused_before_anything_is_counted(monkeypatch):
    timing = Timing(True, (1,), modes=("onnx",))
    with pytest.raises(ValueError, match=r"timing\.modes: onnx is timed in float32 only, not in bfloat16"):
        Config(dtype="bfloat16", timing=timing)
    with pytest.raises(ValueError, match="on the CPU only, not on cuda"):
        run(Config(timing=timing), NullContext(device="cuda"))
    monkeypatch.setattr("dynvit.profiling.execution_modes.find_spec", lambda name: None)
    with pytest.raises(ModuleNotFoundError, match="needs onnx and onnxruntime and onnxscript"):
        run(Config(timing=timing), NullContext())


def test_it_needs_torch_and_timm_only():
    hidden = ["mlflow", "ray", "submitit", "pydantic", "pandas", "click", "rich", "yaml", "sklearn", "scipy"]
    code = f"""
import sys
sys.modules.update(dict.fromkeys({hidden}))
from dynvit.tasks.cost import Config, Timing, run
from dynvit.context import NullContext
model = {small("evit_deit_tiny_patch16_224") | {"depth": 2, "locations": [1]}!r}
print(run(Config(model, image_size=32, operators=True, timing=Timing(True, (1,), rounds=1)), NullContext())["metrics"])
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, check=False)
    assert done.returncode == 0, done.stderr
    assert "share_b1" in done.stdout
