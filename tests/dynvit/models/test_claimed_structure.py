"""Properties that sentences of the papers state, each beside a model that does not have it.

paper_tables/claims.yaml names these tests (`shown_by`): the first of a pair shows the sentence, the other its control.
"""

from __future__ import annotations

import timm
import torch
from torch import Tensor, nn

import dynvit
from dynvit.tokens import trace_tokens

SMALL = {"img_size": 32, "patch_size": 4, "embed_dim": 64, "depth": 8, "num_heads": 4, "num_classes": 10}
TOKENS = 64


def images(n: int = 4) -> Tensor:
    return torch.randn(n, 3, 32, 32, generator=torch.Generator().manual_seed(1))


def built(name: str, **options: object) -> nn.Module:
    """An untrained model whose attention prefers some tokens: with timm's small weights it is nearly even."""
    torch.manual_seed(0)
    model = timm.create_model(name, **{**SMALL, **options}).eval()
    with torch.no_grad():
        for key, weight in model.named_parameters():
            if key.endswith("qkv.weight"):
                weight *= 10
            elif key.startswith("stabilizer"):
                weight.normal_()  # begins at zero
    return model


@torch.no_grad()
def active(model: nn.Module) -> Tensor:
    """Return which tokens each layer computes ``bool[L, B, N]``."""
    with trace_tokens(model) as trace:
        model(images())
    return torch.stack([a_BN.bool() for a_BN in trace.active])


def evo_vit() -> nn.Module:
    return built("evo_deit_tiny_patch16_224", prune_from=2, selection="layer")


def evit() -> nn.Module:
    return built("evit_deit_tiny_patch16_224", locations=[2, 4])


def shuffled_logits(stabilizer: str) -> tuple[Tensor, Tensor]:
    """Return the logits of images and of the same images with their patches in another order, without positions."""
    model = built("tpc_deit_tiny_patch16_224", pause=False, stabilizer=stabilizer)
    order = torch.randperm(TOKENS, generator=torch.Generator().manual_seed(2))
    x_BCSS = images()
    patches = nn.functional.unfold(x_BCSS, 4, stride=4)[:, :, order]
    with torch.no_grad():
        model.pos_embed.zero_()
        return model(x_BCSS), model(nn.functional.fold(patches, 32, 4, stride=4))


# ---- TPC-ViT: the stabilizer implicitly encodes local image structures


def test_the_stabilizer_sees_who_is_beside_a_token() -> None:
    for stabilizer in ("dw_pre", "dw_mlp", "peg_once"):
        straight, shuffled = shuffled_logits(stabilizer)
        assert (straight - shuffled).abs().max() > 1e-3, stabilizer


def test_without_the_stabilizer_order_is_all_the_same() -> None:
    straight, shuffled = shuffled_logits("off")
    assert torch.allclose(straight, shuffled, atol=1e-5)


# ---- Evo-ViT: instance-wise selection, slow and fast paths, a grid that stays whole


def test_images_keep_tokens_of_their_own() -> None:
    last_BN = active(evo_vit())[-1]
    assert len({tuple(row.tolist()) for row in last_BN}) == len(last_BN)


def test_a_regular_grid_keeps_the_same_tokens() -> None:
    model = dynvit.reduce(built("deit_tiny_patch16_224"), method="uniform")
    last_BN = active(model)[-1]
    assert 0 < last_BN[0].sum() < TOKENS
    assert (last_BN == last_BN[0]).all()


@torch.no_grad()
def test_tokens_that_are_not_selected_wait_in_the_grid() -> None:
    model = evo_vit()
    computed: list[int] = []
    model.blocks[-1].mlp.register_forward_hook(lambda _, inputs, __: computed.append(inputs[0].shape[1]))
    out_BMC = model.forward_features(images())
    assert computed[0] < TOKENS
    assert out_BMC.shape[1] == TOKENS + 1


@torch.no_grad()
def test_evo_vit_keeps_its_grid_and_takes_tokens_back() -> None:
    model = evo_vit()
    assert model.forward_features(images()).shape[1] == TOKENS + 1
    active_LBN = active(model)
    assert (~active_LBN[:-1] & active_LBN[1:]).any()


@torch.no_grad()
def test_evit_loses_its_grid() -> None:
    model = evit()
    assert model.forward_features(images()).shape[1] < TOKENS
    active_LBN = active(model)
    assert not (~active_LBN[:-1] & active_LBN[1:]).any()
