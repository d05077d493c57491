"""MACs and parameters: exact numbers, every kind of product, and nothing left behind in the model."""

import threading

import pytest
import timm
import torch
import torch.nn.functional as F
from torch import nn
from torch.nn.attention import SDPBackend, sdpa_kernel

import dynvit
from dynvit.layers.mac_counting import exclude_from_macs
from dynvit.macs import count_macs

aten = torch.ops.aten


def counted(function, *args):
    with torch.no_grad(), count_macs() as counter:
        function(*args)
    return counter.macs


@pytest.fixture(params=[torch.float32, torch.float64], ids=["float32", "float64"])
def dtype(request):
    return request.param


def small(**options):
    return timm.create_model("vit_tiny_patch16_224", img_size=16, patch_size=4, embed_dim=12, depth=2, **options)


class Early(nn.Module):
    """Bright images take the second layer, dark ones do not."""

    def __init__(self):
        super().__init__()
        self.first, self.second, self.guide = nn.Linear(4, 4), nn.Linear(4, 4), nn.Linear(4, 7)
        self.training_only = ("guide",)
        self.trace, self.execution, self.seen = None, "masked", []

    def set_execution(self, mode):
        self.execution = mode

    def forward(self, x):
        self.seen.append((len(x), self.training, self.execution, self.trace))
        x = self.first(x.flatten(1))
        return self.second(x) if x.sum() > 0 else x


@pytest.mark.parametrize("fused", [True, False])
def test_deit_tiny_is_exact(fused, dtype):
    model = timm.create_model("deit_tiny_patch16_224").to(dtype)
    for block in model.blocks:
        block.attn.fused_attn = fused
    found = dynvit.complexity(model, torch.randn(2, 3, 224, 224, dtype=dtype))
    assert found.macs.tolist() == [1_253_683_200] * 2
    assert found.macs.dtype == torch.float64
    assert found.params == 5_717_416
    assert found.gmacs == 1.2536832


@pytest.mark.parametrize("mode", [torch.no_grad, torch.inference_mode, torch.enable_grad])
def test_same_under_every_grad_mode(mode):
    model, images = small(), torch.randn(1, 3, 16, 16)
    with mode():
        assert dynvit.complexity(model, images).macs.item() == dynvit.complexity(model, images.clone()).macs.item()
    x = torch.randn(3, 17, 12)
    with mode(), count_macs() as counter:
        F.linear(x, torch.randn(5, 12))
        torch.einsum("bnd,bmd->bnm", x, x)
    assert counter.macs == 3 * 17 * 12 * 5 + 3 * 17 * 17 * 12


@pytest.mark.parametrize("backend", [SDPBackend.FLASH_ATTENTION, SDPBackend.MATH])
@pytest.mark.parametrize("head", [8, 20])
def test_fused_attention_counts_the_same_by_every_kernel(backend, head, dtype):
    q, k, v = (torch.randn(2, 3, n, d, dtype=dtype) for n, d in ((5, head), (7, head), (7, head)))
    with sdpa_kernel(backend):
        assert counted(F.scaled_dot_product_attention, q, k, v) == 2 * 3 * 5 * 7 * 2 * head
        assert counted(lambda: F.scaled_dot_product_attention(query=q, key=k, value=v)) == 2 * 3 * 5 * 7 * 2 * head
    masked = counted(lambda: F.scaled_dot_product_attention(q, k, v, attn_mask=torch.ones(5, 7, dtype=torch.bool)))
    assert masked == 2 * 3 * 5 * 7 * 2 * head


@pytest.mark.parametrize(
    ("kernel", "more"),
    [
        ("_scaled_dot_product_efficient_attention", (None, False)),
        ("_scaled_dot_product_flash_attention", ()),
        ("_scaled_dot_product_cudnn_attention", (None, False)),
        ("_scaled_dot_product_flash_attention_for_cpu", ()),
    ],
)
def test_attention_kernels_called_directly(kernel, more):
    q, k, v = (torch.empty(2, 3, n, 8, device="meta") for n in (5, 7, 7))
    assert counted(getattr(aten, kernel), q, k, v, *more) == 2 * 3 * 5 * 7 * 2 * 8


@pytest.mark.parametrize(
    ("product", "expected"),
    [
        (lambda: torch.randn(4, 6) @ torch.randn(6, 5), 4 * 6 * 5),
        (lambda: torch.randn(2, 4, 6) @ torch.randn(2, 6, 5), 2 * 4 * 6 * 5),
        (lambda: torch.randn(2, 4, 6) @ torch.randn(6), 2 * 4 * 6),
        (lambda: torch.randn(6) @ torch.randn(6), 6),
        (lambda: torch.addmv(torch.randn(4), torch.randn(4, 6), torch.randn(6)), 4 * 6),
        (lambda: torch.baddbmm(torch.randn(2, 4, 5), torch.randn(2, 4, 6), torch.randn(2, 6, 5)), 2 * 4 * 6 * 5),
        (lambda: torch.addbmm(torch.randn(4, 5), torch.randn(2, 4, 6), torch.randn(2, 6, 5)), 2 * 4 * 6 * 5),
        (lambda: torch.einsum("bhid,bhjd->bhij", torch.randn(2, 3, 4, 6), torch.randn(2, 3, 5, 6)), 2 * 3 * 4 * 5 * 6),
        (lambda: F.conv2d(torch.randn(2, 6, 8, 8), torch.randn(9, 6, 3, 3), padding=1), 2 * 64 * 9 * 6 * 9),
        (lambda: F.conv2d(torch.randn(2, 6, 8, 8), torch.randn(6, 1, 3, 3), groups=6, stride=2), 2 * 9 * 6 * 9),
        (lambda: F.conv1d(torch.randn(2, 6, 8), torch.randn(9, 6, 1)), 2 * 8 * 9 * 6),
        (lambda: F.bilinear(torch.randn(4, 6), torch.randn(4, 5), torch.randn(7, 6, 5)), 4 * 6 * 5 * 7),
        (lambda: nn.LSTM(6, 5)(torch.randn(3, 2, 6)), 3 * 2 * 4 * 5 * (6 + 5)),
        (lambda: nn.LSTM(6, 5, 2, bidirectional=True)(torch.randn(3, 6)), 3 * 2 * 4 * 5 * (6 + 5 + 10 + 5)),
        (lambda: nn.GRU(6, 5, batch_first=True)(torch.randn(3, 2, 6)), 3 * 2 * 3 * 5 * (6 + 5)),
        (lambda: nn.RNN(6, 5)(torch.randn(3, 2, 6)), 3 * 2 * 5 * (6 + 5)),
        (lambda: F.layer_norm(torch.randn(4, 6), (6,)), 0),
        (lambda: F.gelu(torch.randn(4, 6)), 0),
    ],
)
def test_products(product, expected):
    assert counted(product) == expected


def test_recurrent_layers_of_timm_count_alike_on_every_device():
    """On the CPU an LSTM is one kernel, which counted nothing: half of Sequencer2D."""
    model = timm.create_model("sequencer2d_s", img_size=32)
    with torch.device("meta"):
        shapes = timm.create_model("sequencer2d_s", img_size=32)
    found = dynvit.complexity(model, torch.randn(1, 3, 32, 32)).gmacs
    assert found == dynvit.complexity(shapes, torch.randn(1, 3, 32, 32, device="meta")).gmacs


def test_recurrent_layers_of_a_gpu_are_seen_in_one_kernel():
    weights = [torch.randn(20, 6), torch.randn(20, 5), torch.randn(20), torch.randn(20)]
    given = (torch.randn(3, 2, 6), weights, 4, None, torch.zeros(1, 2, 5), torch.zeros(1, 2, 5))
    with count_macs() as counter:
        assert counter.formulas[aten._cudnn_rnn](*given, out_val=None) == 2 * 3 * 2 * 20 * (6 + 5)


def test_multihead_attention_fast_path_is_seen():
    layer = nn.TransformerEncoderLayer(64, 4, 128, batch_first=True).eval()
    expected = 10 * (4 * 64 * 64 + 2 * 64 * 128) + 2 * 10 * 10 * 64
    assert counted(layer, torch.randn(1, 10, 64)) == expected


def test_each_image_runs_alone_and_pays_for_itself():
    model = Early()
    nn.init.eye_(model.first.weight)
    nn.init.zeros_(model.first.bias)
    images = torch.stack([torch.ones(1, 2, 2), -torch.ones(1, 2, 2), torch.ones(1, 2, 2)])
    found = dynvit.complexity(model, images)
    assert found.macs.tolist() == [32, 16, 32]
    assert found.params == 2 * 20  # the guide is for training
    assert model.seen == [(1, False, "gathered", None)] * 3


def test_static_model_runs_once():
    model = Early()
    model.static_cost = True
    assert dynvit.complexity(model, torch.ones(5, 1, 2, 2)).macs.shape == (5,)
    assert len(model.seen) == 1


def test_model_is_left_as_it_was():
    model = Early().train()
    model.second.eval()
    model.trace = trace = dynvit.TokenTrace()
    dynvit.complexity(model, torch.ones(1, 1, 2, 2))
    assert model.training
    assert not model.second.training
    assert model.execution == "masked"
    assert model.trace is trace
    with pytest.raises(RuntimeError):
        dynvit.complexity(model, torch.ones(1, 1, 3, 3))  # the first layer does not fit
    assert model.training
    assert model.execution == "masked"


def test_a_running_trace_does_not_see_the_counting():
    model = small().eval()
    with dynvit.trace_tokens(model) as trace:
        model(torch.randn(3, 3, 16, 16))
        dynvit.complexity(model, torch.randn(1, 3, 16, 16))
    assert [active.shape for active in trace.active] == [(3, 16)] * 2


def test_uncounted_products_are_left_out():
    x = torch.randn(4, 6)

    def product():
        with exclude_from_macs():
            x @ x.mT
            with exclude_from_macs():
                F.scaled_dot_product_attention(x[None], x[None], x[None])
            x @ x.mT
        return x @ x.mT

    assert counted(product) == 4 * 6 * 4
    assert product().shape == (4, 4)  # without a counter it is nothing


def test_uncounted_compiles():
    @torch.compile(backend="eager", fullgraph=True)
    def product(x):
        with exclude_from_macs():
            score = x @ x.mT
        return score + 1

    x = torch.randn(4, 6)
    assert torch.equal(product(x), x @ x.mT + 1)


def test_counter_inside_a_counter():
    x = torch.randn(4, 6)
    with count_macs() as outer:
        x @ x.mT
        with count_macs() as inner, exclude_from_macs():
            x @ x.mT
        F.scaled_dot_product_attention(x[None], x[None], x[None])
    assert (outer.macs, inner.macs) == (96 + 2 * 96, 0)


def test_threads_do_not_see_each_other():
    x, inside, done = torch.randn(4, 6), threading.Event(), threading.Event()
    counts = {}

    def pausing():
        with count_macs() as counter, exclude_from_macs():
            inside.set()
            done.wait(10)
            x @ x.mT
        counts["pausing"] = counter.macs

    def counting():
        inside.wait(10)
        with count_macs() as counter:
            x @ x.mT
        counts["counting"] = counter.macs
        done.set()

    threads = [threading.Thread(target=f) for f in (pausing, counting)]
    for thread in threads:
        thread.start()
    inside.wait(10)
    x @ x.mT
    for thread in threads:
        thread.join()
    assert counts == {"pausing": 0, "counting": 96}


def test_shared_parameters_count_once_and_used_ones_stay():
    model = Early()
    model.second = model.first
    assert dynvit.complexity(model, torch.ones(1, 1, 2, 2)).params == 20
    model.guide = model.first  # used in evaluation under another name
    assert dynvit.complexity(model, torch.ones(1, 1, 2, 2)).params == 20


def test_compiled_model_is_counted():
    model, images = small(), torch.randn(1, 3, 16, 16)
    compiled = torch.compile(model, backend="eager")
    assert dynvit.complexity(compiled, images).macs.item() == dynvit.complexity(model, images).macs.item() > 0


@pytest.mark.parametrize("shape", [(0, 3, 16, 16), (3, 16, 16)])
def test_images_of_a_wrong_shape(shape):
    with pytest.raises(ValueError, match="images must be a batch"):
        dynvit.complexity(small(), torch.zeros(shape))
