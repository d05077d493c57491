"""TPS: a training step against the official code, and squeezing by class attention written out token by token."""

import math
from zlib import crc32

import numpy as np
import parity
import pytest
import timm
import torch
from small_deit import SIZE, images, randomize_weights

import dynvit
from dynvit.config.classify import Config
from dynvit.config.teacher import Teacher
from dynvit.reducers.tps import squeeze
from dynvit.train.distillation import distillation_loss


def official_noise(stage, logprob):
    u = np.random.Generator(np.random.PCG64(crc32(f"gumbel_stage{stage}".encode()))).random(tuple(logprob.shape))
    return torch.from_numpy(-np.log(-np.log(u)))


@pytest.mark.parametrize("checkpointing", [False, True])
def test_a_training_step_equals_the_official_code(checkpointing):
    fixture = parity.load("tps_mini_train")
    facts, sizes = fixture.facts["model"], ("img_size", "patch_size", "embed_dim", "depth", "num_heads", "num_classes")
    trunk = timm.create_model("vit_tiny_patch16_224", **{key: facts[key] for key in sizes}).double()
    model = dynvit.reduce(trunk, "tps", keep=facts["keep"], locations=facts["loc"]).train()
    dynvit.load_official(model, fixture.state_dict())
    model.set_grad_checkpointing(checkpointing)
    model.noise = official_noise
    with dynvit.trace_tokens(model) as trace:
        output = model(fixture.image())
    assert parity.largest_difference(output.logits, fixture.array("logits_fp64")) < parity.FLOAT32_INSIDE
    for stage, block in enumerate(facts["loc"]):
        assert torch.equal(trace.active[block], fixture.array(f"mask_stage{stage}") > 0.5)
    step = fixture.facts["train"]
    loss = dynvit.training_loss(output, torch.tensor(fixture.facts["labels"]))
    assert abs(loss.item() - step["loss"]) < 1e-8
    assert abs(output.losses["ratio"].item() / 3 - step["ratio"]) < 1e-9
    loss.backward()
    assert parity.wrong_gradients(model, step["gradient_norms"], tolerance=parity.FLOAT32_INSIDE) == {}


def test_a_count_beyond_the_patches_is_all_of_them():
    """The loss asked for a share above 1, which no predictor can reach."""
    losses = {}
    for keep in (10_000, 1.0):
        torch.manual_seed(0)
        trunk = timm.create_model("vit_tiny_patch16_224", img_size=64, embed_dim=24, depth=2, num_heads=3)
        model = dynvit.reduce(trunk, "tps", keep=[keep], locations=[1]).train()
        model.noise = official_noise
        losses[keep] = model(torch.ones(2, 3, 64, 64)).losses["ratio"].item()
    assert losses[10_000] == losses[1.0]


def test_squeezing_in_place_is_the_squeezing_of_evaluation():
    """Masks of ones and zeros give what removal gives."""
    x = torch.randn(1, 12, 6, dtype=torch.float64, generator=torch.Generator().manual_seed(3))
    stays = torch.tensor([1.0, 0, 1, 1, 0, 0, 1, 1, 0, 1, 1, 0], dtype=torch.float64).view(1, 12, 1)
    ours = squeeze(x, stays, 1 - stays)[0]
    kept = [i for i in range(12) if stays[0, i] > 0]
    unit = x[0] / (x[0].norm(dim=1, keepdim=True) + 1e-6)
    for j in range(12):
        joins = [i for i in range(12) if i not in kept and max(kept, key=lambda k: (unit[i] @ unit[k]).item()) == j]
        weights = [math.e, *(math.exp((unit[i] @ unit[j]).item()) for i in joins)]
        mean = sum(w * x[0, i] for w, i in zip(weights, [j, *joins], strict=True)) / sum(weights)
        assert torch.allclose(ours[j], mean, atol=1e-12)


def test_by_class_attention_as_written_out():
    """One block, one image at a time: rank by the class row, squeeze each pruned token into its nearest."""
    trunk = randomize_weights(timm.create_model("vit_tiny_patch16_224", **(SIZE | {"depth": 1}))).double().eval()
    model, x = dynvit.reduce(trunk, "tps", score="class", keep=0.5, locations=(0,)), images()
    block, H = trunk.blocks[0], 3
    tokens = trunk._pos_embed(trunk.patch_embed(x))
    q, k, _ = block.attn.qkv(block.norm1(tokens)).unflatten(-1, (3, H, 16)).permute(2, 0, 3, 1, 4)
    row = ((q[:, :, :1] @ k.mT) / 4).softmax(-1)[:, :, 0].mean(1)
    after = tokens + block.attn(block.norm1(tokens))
    for image in range(3):
        y, order = after[image], sorted(range(1, 65), key=lambda i: -row[image, i].item())
        kept, gone = order[:32], order[32:]
        unit = y / (y.norm(dim=1, keepdim=True) + 1e-6)
        joins = {j: [] for j in kept}
        for i in gone:
            joins[max(kept, key=lambda j: (unit[i] @ unit[j]).item())].append(i)
        new = [y[0]]
        for j in kept:
            weights = [math.e, *(math.exp((unit[i] @ unit[j]).item()) for i in joins[j])]
            new.append(sum(w * y[i] for w, i in zip(weights, [j, *joins[j]], strict=True)) / sum(weights))
        z = torch.stack(new)
        expected = trunk.norm(z + block.mlp(block.norm2(z)))
        assert torch.allclose(model.forward_features(x[image : image + 1])[0], expected, atol=1e-10)


@pytest.mark.parametrize("method", ["tome", "ats", "mctf", "tps"])
def test_each_head_of_a_distilled_trunk_has_its_own_lesson(method):
    """The class head learns the labels, the other what the teacher says; also where a method has a loss of its own."""
    trunk = timm.create_model("deit_tiny_distilled_patch16_224", **SIZE, depth=4)
    model = dynvit.reduce(randomize_weights(trunk).double(), method).train()
    model.set_distilled_training(True)
    config, labels, taught = Config(teacher=Teacher(weight=0.5)), torch.tensor([1, 2, 3]), torch.randn(3, 10).double()
    heads = model.head.weight, model.head_dist.weight
    found = []
    for target, teacher_logits in (
        (labels, None),
        (labels, taught),
        (labels.flip(0), taught),
        (labels, taught.flip(0)),
    ):
        torch.manual_seed(0)
        output, loss = distillation_loss(model(images()), target, teacher_logits, config)
        assert torch.equal(output.logits, (output.extra["class"] + output.extra["dist"]) / 2)
        found.append(torch.autograd.grad(loss, heads, materialize_grads=True))
    assert found[0][0].any() and not found[0][1].any() and found[1][1].any()
    assert torch.equal(found[2][1], found[1][1]) and not torch.allclose(found[2][0], found[1][0])
    assert torch.equal(found[3][0], found[1][0]) and not torch.allclose(found[3][1], found[1][1])
