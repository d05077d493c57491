"""MoR-ViT: gates, frozen states, straight-through gradients, expert steps and losses against the spec's formulas."""

import math
from functools import partial

import pytest
import torch
import torch.nn.functional as F
from small_mor_vit import FixedDepth, images, small
from timm.models.vision_transformer import Block
from torch import nn

from dynvit.models.mor_vit.cached_kv_block import active_keys
from dynvit.models.mor_vit.depth_router import DepthRouter
from dynvit.models.mor_vit.expert_router import capacities, kept_tokens
from dynvit.models.mor_vit.loss import switch_balance, variance_balance, z_loss
from dynvit.models.mor_vit.token_order import SortedTokens, sort_by_depth
from dynvit.output import training_loss

D, M = 8, 37


def plain(block):
    """timm's own block with the same weights."""
    copy = Block(32, 4, qkv_bias=True, norm_layer=partial(nn.LayerNorm, eps=1e-6)).double()
    copy.load_state_dict(block.state_dict())
    return copy


def embedded(model, x):
    return model._pos_embed(model.patch_embed(x))


def mixed_depths(batch=4, tokens=M, depths=D):
    return torch.randint(1, depths + 1, (batch, tokens), generator=torch.Generator().manual_seed(5))


# Identities


@pytest.mark.parametrize("sharing", ["none", "cycle", "sequence", "middle_cycle", "middle_sequence"])
def test_off_is_the_plain_shared_transformer(sharing):
    model, x = small(sharing=sharing, routing="off"), images()
    h = embedded(model, x)
    for name in model.blocks.schedule.layers:
        h = plain(model.blocks.get_submodule(name))(h)
    expected = model.head(model.norm(h)[:, 0])
    assert (model(x) - expected).abs().max() < 1e-12
    assert torch.equal(model.train()(x), model.eval()(x))  # plain logits in training


@pytest.mark.parametrize("context", ["frozen", "active_only"])
def test_full_depth_and_full_capacity_are_the_plain_transformer(context):
    off, x = small(routing="off"), images()
    token = small(context=context)
    token.router.net = FixedDepth(torch.full((4, M), D), D)
    expert = small(routing="expert", capacity=1.0, gating="replace", context=context)
    for model in (token, expert):
        model.load_state_dict(off.state_dict(), strict=False)
        for execution in ("masked", "gathered"):
            model.set_execution(execution)
            assert (model(x) - off(x)).abs().max() < 1e-9
    token.set_execution("masked")
    if context == "frozen":
        assert torch.equal(token(x), off(x))  # bit for bit, the gate is a where
        assert torch.equal(token.train()(x).logits, off(x))


def test_first_kv_is_frozen_context_without_sharing():
    x = images()
    a, b = (small(sharing="none", context=context)(x) for context in ("frozen", "first_kv"))
    assert (a - b).abs().max() < 1e-12


# Token choice


def test_gate_is_one_up_to_the_depth():
    router = DepthRouter(4, D, D, "linear", 1.0, floor=D).double().train()
    depth_BM = mixed_depths()
    router.net = FixedDepth(depth_BM, D)
    choice = router(torch.zeros(4, M, 4, dtype=torch.float64))
    steps = torch.arange(1, D + 1)
    assert torch.equal(choice.depth_BM[:, 1:], depth_BM[:, 1:])
    assert torch.equal(choice.gates_BMS[:, 1:], (steps <= depth_BM[:, 1:, None]).double())
    assert torch.equal(choice.depth_BM[:, 0], torch.full((4,), D))
    assert torch.equal(choice.gates_BMS[:, 0], torch.ones(4, D, dtype=torch.float64))


@pytest.mark.parametrize("routing", ["token", "random"])
def test_class_token_floor(routing):
    for training in (False, True):
        router = small(routing=routing, cls_depth="three_quarters").router.train(training)
        depth_B = router(torch.randn(64, M, 32, dtype=torch.float64)).depth_BM[:, 0]
        assert depth_B.min() >= 6
        assert training is False or set(depth_B.tolist()) == {6, 7, 8}
        router = small(routing=routing).router.train(training)
        assert (router(torch.randn(64, M, 32, dtype=torch.float64)).depth_BM[:, 0] == D).all()


@pytest.mark.parametrize("training", [False, True])
def test_masked_state_is_frozen_bit_for_bit(training):
    model, x, depth_BM, states = small().train(training), images(), mixed_depths(), []
    model.router.net = FixedDepth(depth_BM, D)
    final, _, _ = model._propagate(x, states)
    for b in range(4):
        for token in range(1, M):
            assert torch.equal(final[b, token], states[depth_BM[b, token] - 1][b, token])
    assert not torch.equal(states[0], states[1])


def test_gathered_state_is_frozen_bit_for_bit():
    model, x, depth_BM, left = small(), images(), mixed_depths(), {}
    model.router.net = FixedDepth(depth_BM, D)
    sparse = model.blocks.sparse

    def watch(i, x, order, active, cache):
        new = sparse(i, x, order, active, cache)
        next_rows = order.layers[i + 1].active if i + 1 < D else 0
        left[i + 1] = new[next_rows:].clone()  # rows whose last layer this was
        assert not isinstance(order, SortedTokens)
        return new

    model.blocks.sparse = watch
    with torch.no_grad():
        final, choice, _ = model._propagate(x)
    for depth, rows in left.items():
        assert torch.equal(final[choice.depth_BM == depth], rows)


@pytest.mark.parametrize("context", ["frozen", "active_only"])
def test_training_step_is_the_formula(context):
    """h <- h + gate (Block(h) - h) with y = onehot + (soft - sg(soft)): logits, loss terms and every gradient."""
    model, x = small(context=context).train(), images()
    torch.manual_seed(7)
    output = model(x)
    (output.logits.square().sum() + output.losses["z"] + output.losses["balance"]).backward()
    found = {name: p.grad.clone() for name, p in model.named_parameters()}
    model.zero_grad()

    torch.manual_seed(7)
    h = embedded(model, x)
    z = model.router.net(h)
    soft = (z - torch.empty_like(z).exponential_().log()).softmax(-1)
    y = F.one_hot(soft.argmax(-1), D) + soft - soft.detach()
    for s in range(D):
        gate = torch.cat([torch.ones(4, 1), 1 - y[:, 1:, :s].sum(-1)], 1)[..., None]
        block, active = model.blocks[s], gate[..., 0] > 0.5
        mask = active[:, None, None, :] if context == "active_only" else None
        h = h + gate * (Block.forward(block, h, attn_mask=mask) - h)
    u = soft[:, 1:].mean((0, 1))
    z_term, balance = z.logsumexp(-1).square().mean(), torch.relu(((u - u.mean()) ** 2).mean())
    logits = model.head(model.norm(h)[:, 0])
    (logits.square().sum() + z_term + balance).backward()
    assert (output.logits - logits).abs().max() < 1e-9
    assert torch.allclose(torch.stack([output.losses["z"], output.losses["balance"]]), torch.stack([z_term, balance]))
    assert torch.equal(output.extra["depth"], soft[:, 1:].argmax(-1).int() + 1)
    for name, parameter in model.named_parameters():
        assert (parameter.grad - found[name]).abs().max() < 1e-9 * max(1, found[name].abs().max()), name
    assert found["router.net.0.weight"].abs().max() > 1e-3


@pytest.mark.parametrize("context", ["frozen", "active_only", "first_kv"])
@pytest.mark.parametrize("cls_depth", ["full", "three_quarters"])
def test_images_without_active_tokens(cls_depth, context):
    """The first image keeps its class token alone, or nothing at all, while others still work."""
    model, x, depth_BM = small(cls_depth=cls_depth, context=context), images(), mixed_depths()
    depth_BM[0] = 1
    depth_BM[1:, 5] = D
    model.router.net = FixedDepth(depth_BM, D)
    gathered, single = model(x), []
    model.set_execution("masked")
    masked = model(x)
    assert (gathered - masked).abs().max() < 1e-9
    assert gathered.isfinite().all()
    for b in range(4):
        model.router.net = FixedDepth(depth_BM[b : b + 1], D)
        model.set_execution("gathered")
        single.append(model(x[b : b + 1]))
    assert (torch.cat(single) - masked).abs().max() < 1e-9
    model.router.net = FixedDepth(depth_BM, D)
    training_loss(model.train()(x), torch.arange(4)).backward()
    assert all(p.grad is None or p.grad.isfinite().all() for p in model.parameters())


def test_no_attention_mask_is_empty():
    """Some attention kernels turn a row without keys into NaN."""
    active_BM = torch.tensor([[False, False, False], [True, False, True]])
    assert active_keys(active_BM)[:, 0, 0].tolist() == [[True, True, True], [True, False, True]]
    order = sort_by_depth(torch.tensor([[1, 1, 1], [2, 3, 3]]), 4, mask_keys=True)
    assert [(layer.active, layer.width) for layer in order.layers] == [(6, 3), (3, 3), (2, 2), (0, 0)]
    assert order.layers[1].keys.tolist() == [[True, False, False], [True, True, True]]
    assert order.layers[2].keys.tolist() == [[True, False], [True, True]]


@pytest.mark.parametrize("router", ["linear", "mlp2", "mlp3"])
def test_the_task_alone_moves_the_router(router):
    model = small(router=router, z_loss=0, balance="none").train()
    output = model(images())
    assert output.losses == {}
    training_loss(output, torch.arange(4)).backward()
    assert all(p.grad.abs().max() > 0 for p in model.router.parameters())


def test_evaluation_is_deterministic_and_training_is_not():
    for routing in ("token", "random"):
        model, x = small(routing=routing), images()
        assert torch.equal(model(x), model(x))
        model.train()
        assert not torch.equal(model(x).extra["depth"], model(x).extra["depth"])


def test_confidence_scales_the_logits():
    model, x = small(confidence=True), images()
    bare = small()
    bare.load_state_dict(model.state_dict())
    z = model.router.net(embedded(model, x))[:, 1:]
    assert torch.allclose(model(x), bare(x) * z.softmax(-1).amax(-1).mean(1)[:, None])
    assert not torch.allclose(model(x), bare(x))


# Expert choice


@pytest.mark.parametrize("gating", ["weighted", "additive", "replace"])
@pytest.mark.parametrize("router", ["linear", "mlp"])
def test_expert_steps_are_the_formula(gating, router):
    """Naively, image by image: g = alpha sigmoid(w.h / temp), hierarchical top-k, x <- x + g Block(x_sel)."""
    model = small(routing="expert", router=router, context="active_only", gating=gating, temperature=0.7, alpha=0.3)
    x = images()
    with torch.no_grad():
        expected = torch.cat([naive(model, row, gating) for row in embedded(model, x)])
        assert (model.forward_features(x) - model.norm(expected)).abs().max() < 1e-9


def naive(model, h, gating):
    h = plain(model.blocks.head)(h[None])[0]
    candidates = list(range(1, M))
    for r, net in enumerate(model.router.nets):
        g = {i: 0.3 * torch.sigmoid(net(h[i]) / 0.7) for i in candidates}
        keep = max(1, int((3 - r) / 3 * 36))
        candidates = sorted(sorted(candidates, key=lambda i: -g[i].item())[:keep])
        state = h[[0, *candidates]][None]
        for block in model.blocks.shared:
            state = plain(block)(state)
        h = h.clone()
        h[0] = state[0, 0]
        for i, new in zip(candidates, state[0, 1:], strict=True):
            h[i] = {"weighted": h[i] + g[i] * new, "additive": h[i] + new, "replace": new}[gating]
    return plain(model.blocks.tail)(h[None])


def test_kept_tokens_of_the_spec():
    assert kept_tokens(capacities("linear", 10), 196) == (196, 176, 156, 137, 117, 98, 78, 58, 39, 19)
    assert kept_tokens(capacities(0.5, 3), 196) == (98, 98, 98)
    assert kept_tokens(capacities([0.3, 0.01], 2), 10) == (3, 1)


@pytest.mark.parametrize("routing", ["expert", "token"])
def test_capacities_are_checked(routing):
    with pytest.raises(ValueError, match="must not increase"):
        small(routing=routing, capacity=[0.5, 0.6, 0.5])
    with pytest.raises(ValueError, match="2 shares for 3 recursions"):
        small(routing=routing, capacity=[0.5, 0.4])
    with pytest.raises(ValueError, match=r"\(0, 1\]"):
        small(routing=routing, capacity=0.0)
    with pytest.raises(ValueError, match="'linear', a number or a list"):
        small(routing=routing, capacity="constant")


def test_constant_capacity_selects_once():
    model = small(routing="expert", capacity=0.5, recursion=6).train()
    depth_BN = model(images()).extra["depth"]
    assert set(depth_BN.unique().tolist()) == {2, D}
    assert (depth_BN == D).sum(1).tolist() == [18] * 4


def test_auxiliary_loss():
    """BCE(logit, selected), mean over the candidates, summed over the recursions."""
    model, x = small(routing="expert", recursion=6, gating="replace").train(), images()
    model.set_execution("masked")
    expected, h, candidates = 0.0, embedded(model, x), torch.ones(4, 36, dtype=torch.bool)
    with torch.no_grad():
        h = model.blocks.head(h)
        for r, keep in enumerate(kept_tokens(capacities("linear", 6), 36)):
            logits = model.router.nets[r](h[:, 1:])[..., 0]
            chosen = torch.zeros_like(candidates)
            for b in range(4):
                order = [i for i in logits[b].argsort(descending=True).tolist() if candidates[b, i]]
                chosen[b, order[:keep]] = True
            p = torch.sigmoid(logits[candidates])
            expected -= torch.where(chosen[candidates], p.log(), (1 - p).log()).mean().item()
            active = F.pad(chosen, (1, 0), value=True)[..., None]
            h, candidates = torch.where(active, model.blocks[1 + r](h), h), chosen
    output = model(x)
    assert math.isclose(output.losses["aux"].item(), expected, rel_tol=1e-9)
    assert output.weights == {"aux": 1e-3}


def test_warm_up_starts_with_every_token_and_survives_a_checkpoint():
    model, x = small(routing="expert", capacity=0.25, capacity_warmup=4).train(), images()
    kept = [(model(x).extra["depth"] == D).sum(1)[0].item() for _ in range(6)]
    assert kept == [int((0.25 + 0.75 * (1 + math.cos(math.pi * min(1, t / 4))) / 2) * 36 + 1e-9) for t in range(6)]
    assert kept[0] == 36
    assert kept[4] == kept[5] == 9
    other = small(routing="expert", capacity=0.25, capacity_warmup=4)
    assert other._kept(36)[0] == 36
    other.load_state_dict(model.state_dict())
    assert other._kept(36)[0] == 9
    other.set_step(2)
    assert other._kept(36)[0] == kept[2]


# Losses


def test_uniform_probabilities():
    uniform_BND, chosen_BN = torch.full((2, 24, D), 1 / D), torch.arange(24).remainder(D).repeat(2, 1)
    assert variance_balance(uniform_BND) == 0
    assert switch_balance(uniform_BND, chosen_BN).item() == pytest.approx(1)
    assert switch_balance(uniform_BND, torch.zeros_like(chosen_BN)).item() == pytest.approx(1)
    collapsed_BND = F.one_hot(torch.zeros_like(chosen_BN), D).double()
    assert switch_balance(collapsed_BND, torch.zeros_like(chosen_BN)).item() == pytest.approx(D)
    assert variance_balance(collapsed_BND).item() == pytest.approx((1 / D) * (1 - 1 / D))
    assert z_loss(torch.zeros(3, D)).item() == pytest.approx(math.log(D) ** 2)


@pytest.mark.parametrize("balance", ["variance", "switch"])
def test_class_token_is_absent_from_the_balance(balance):
    model, x = small(balance=balance, cls_depth="three_quarters").train(), images()

    class Spoiled(nn.Module):
        def __init__(self, net):
            super().__init__()
            self.net = net

        def forward(self, h_BMC):
            return torch.cat([self.net(h_BMC)[:, :1] * 100, self.net(h_BMC)[:, 1:]], 1)

    torch.manual_seed(0)
    before = model(x).losses
    model.router.net = Spoiled(model.router.net)
    torch.manual_seed(0)
    after = model(x).losses
    assert before["balance"] == after["balance"] > 0
    assert before["z"] != after["z"]  # which is over all tokens


def test_loss_free_balance_moves_the_choice():
    model, x = small(balance="loss_free", z_loss=0).train(), images()
    nn.init.zeros_(model.router.net[0].weight)
    model.router.bias_D[3] = 50.0
    for _ in range(3):  # parts of one step
        assert (model(x).extra["depth"] == 4).all()
    assert model.router.bias_D[3] == 50.0
    model.end_step()
    assert model.router.bias_D[3] == 50.0 - 1e-3
    assert (model.router.bias_D[[0, 1, 2, 4, 5, 6, 7]] == 1e-3).all()
    assert "router.bias_D" in model.state_dict()
