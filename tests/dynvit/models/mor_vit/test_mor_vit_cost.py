"""MoR-ViT: exact parameters and multiply-accumulates of the spec's two tables (section 6)."""

import pytest
import timm
import torch
from torch import Tensor, nn

from dynvit.macs import complexity, count_macs, parameters

SIZES = ("tiny", "small", "base")

PARAMETERS = [
    ({"routing": "off"}, 1000, (1_713_640, 6_080_488, 22_776_808)),
    ({"router": "linear"}, 1000, (1_715_944, 6_085_096, 22_786_024)),
    ({"routing": "expert"}, 1000, (1_715_560, 6_084_328, 22_784_488)),
    ({"router": "mlp2"}, 1000, (1_791_976, 6_384_616, 23_974_888)),
    ({"router": "mlp3"}, 1000, (1_939_432, 6_974_440, 26_334_184)),
    ({"recursion": 5}, 1000, (2_160_808, 7_859_560, 29_873_896)),
    ({"recursion": 3}, 1000, (2_605_672, 9_634_024, 36_961_768)),
    ({"recursion": 2}, 1000, (3_495_400, 13_182_952, 51_137_512)),
    ({"router": "mlp2"}, 10, (1_600_906, 6_003_466, 23_213_578)),
    ({"routing": "off", "sharing": "none"}, 1000, (5_717_416, 22_050_664, 86_567_656)),
    ({"routing": "off", "sharing": "cycle", "recursion": 4}, 1000, (1_713_640, 6_080_488, 22_776_808)),
]

DEIT = (1_253_683_200, 4_598_882_304, 17_563_828_224)
MACS = [
    ({"routing": "off"}, DEIT),
    ({"capacity": "linear", "context": "active_only"}, (770_281_536, 2_848_202_880, 10_926_964_992)),
    ({"capacity": 0.5, "context": "active_only"}, (708_978_816, 2_642_432_256, 10_182_763_008)),
    ({"capacity": 0.25, "context": "active_only"}, (464_097_984, 1_719_149_952, 6_602_115_840)),
    ({"capacity": 0.75, "context": "active_only"}, (972_299_328, 3_602_593_920, 13_837_168_896)),
    ({"capacity": "linear"}, (808_011_072, 2_949_761_664, 11_234_481_408)),
    ({"capacity": 0.5}, (753_459_840, 2_745_844_992, 10_447_391_232)),
]
ROUTER_MACS = {
    "linear": (453_888, 907_776, 1_815_552),
    "mlp2": (15_432_192, 59_913_216, 236_021_760),
    "mlp3": (44_481_024, 176_108_544, 700_803_072),
}


class Deepest(nn.Module):
    """A router's net that runs but chooses the largest depth for every token."""

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net = net

    def forward(self, x_BMC: Tensor) -> Tensor:
        logits_BMD = self.net(x_BMC)
        return torch.arange(logits_BMD.shape[-1]).to(logits_BMD).expand_as(logits_BMD)


@pytest.mark.filterwarnings("ignore:recursion=3 runs 11 of 12")
@pytest.mark.parametrize(("options", "classes", "expected"), PARAMETERS)
def test_parameters(options, classes, expected):
    with torch.device("meta"):
        models = [timm.create_model(f"mor_vit_{size}_patch16_224", num_classes=classes, **options) for size in SIZES]
    assert tuple(parameters(model) for model in models) == expected


def test_edge_recvit_is_the_two_layer_router():
    with torch.device("meta"):
        models = [timm.create_model(f"edge_recvit_{size}_patch16_224", num_classes=10) for size in SIZES]
    assert tuple(parameters(model) for model in models) == (1_600_906, 6_003_466, 23_213_578)


@pytest.mark.parametrize("size", range(3), ids=SIZES)
@pytest.mark.parametrize(("options", "expected"), MACS)
def test_macs_of_static_routing(options, expected, size):
    with torch.device("meta"):
        model = timm.create_model(f"mor_vit_{SIZES[size]}_patch16_224", **{"routing": "expert", **options})
        image = torch.empty(1, 3, 224, 224)
    assert model.static_cost
    assert complexity(model, image).macs.tolist() == [expected[size]]


@pytest.mark.parametrize("router", ROUTER_MACS)
@pytest.mark.parametrize("size", range(3), ids=SIZES)
def test_macs_of_the_router_on_all_tokens(router, size):
    with torch.device("meta"):
        model = timm.create_model(f"mor_vit_{SIZES[size]}_patch16_224", router=router)
        tokens = torch.empty(1, 197, model.embed_dim)
    with count_macs() as counter:
        model.router(tokens)
    assert counter.macs == ROUTER_MACS[router][size]


@pytest.mark.parametrize("router", ROUTER_MACS)
def test_macs_of_token_routing_at_full_depth(router):
    model = timm.create_model("mor_vit_tiny_patch16_224", router=router)
    model.router.net = Deepest(model.router.net)
    assert complexity(model, torch.randn(1, 3, 224, 224)).macs.tolist() == [DEIT[0] + ROUTER_MACS[router][0]]


def test_macs_of_token_routing_follow_the_depths():
    """Section 5: per layer query, projection, MLP for n_s, attention 2 n_s M C, keys of the states that changed."""
    C, M = 32, 37
    model = timm.create_model(
        "mor_vit_tiny_patch16_224", img_size=24, patch_size=4, in_chans=1, num_classes=5, embed_dim=C, num_heads=4,
    )  # fmt: skip
    nn.init.normal_(model.router.net[0].weight, std=1.0)
    images = torch.randn(3, 1, 24, 24)
    model.eval()
    for image, macs in zip(images, complexity(model, images).macs.tolist(), strict=True):
        depth_M = model.router(model._pos_embed(model.patch_embed(image[None]))).depth_BM[0]
        n = [int((depth_M > s).sum()) for s in range(12)]
        keys = [M, M, *n[1:10], M]
        blocks = sum(10 * n[s] * C * C + 2 * n[s] * M * C + 2 * keys[s] * C * C for s in range(12))
        assert macs == blocks + M * C * 12 + 36 * 16 * C + C * 5
        assert len(set(n)) > 3
