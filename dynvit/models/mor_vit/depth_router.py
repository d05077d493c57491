"""Token choice: a router looks once at the embedded tokens and gives each a number of layers, 1 to D.

Training draws the depth by straight-through Gumbel-softmax, y = onehot(argmax) + (y_soft - sg(y_soft)), which is
exactly one-hot; evaluation takes the argmax. The gate of layer s is 1 while s <= depth: 1 - sum_{d<s} y^d.
Row 0 is the class token: it keeps at least ``floor`` layers and stays out of every statistic of the routing.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.distributed as dist
import torch.nn.functional as F
from torch import Tensor, nn

from dynvit.layers.full_precision import run_at_full_precision


@dataclass
class DepthChoice:
    """What one call of the router decided; rows are class token and patches.

    depth_BM: int64, layers of each token, 1 to ``layers``. gates_BMS: per layer, exactly 0 or 1 and differentiable;
    None in evaluation. logits_BMD, probs_BMD: of depths 1..D, probs with the noise that decided; chosen_BM: the
    router's own choice, 0-based, before the class token's floor. None when random.
    """

    depth_BM: Tensor
    gates_BMS: Tensor | None = None
    logits_BMD: Tensor | None = None
    probs_BMD: Tensor | None = None
    chosen_BM: Tensor | None = None

    @property
    def expected_depth_BM(self) -> Tensor | None:
        """Mean of the routing distribution: the router's score of a token."""
        if self.probs_BMD is None:
            return None
        return self.probs_BMD @ torch.arange(1, self.probs_BMD.shape[-1] + 1).to(self.probs_BMD)

    @property
    def confidence_B(self) -> Tensor:
        """Mean over the patches of max softmax(z), without noise."""
        return self.logits_BMD[:, 1:].softmax(-1).amax(-1).mean(1)


class DepthRouter(nn.Module):
    """Bias-free router C -> D. ``bias_D`` exists for loss-free balancing: it moves the choice, not the gradient."""

    def __init__(
        self, dim: int, depth: int, layers: int, kind: str, temperature: float, floor: int, loss_free: bool = False
    ) -> None:
        super().__init__()
        self.net = router_net(kind, dim, depth)
        self.layers, self.temperature, self.floor = layers, temperature, floor
        if loss_free:
            self.register_buffer("bias_D", torch.zeros(depth))
        else:
            self.bias_D = None
        self.load_D: Tensor | None = None  # how often each depth was chosen since the last `follow_load`

    def forward(self, x_BMC: Tensor) -> DepthChoice:
        logits_BMD = run_at_full_precision(self.net, x_BMC)
        noisy_BMD = logits_BMD
        if self.training:
            noisy_BMD = logits_BMD + gumbel_like(logits_BMD)
        probs_BMD = (noisy_BMD / self.temperature).softmax(-1)
        ranked_BMD = noisy_BMD if self.bias_D is None else noisy_BMD + self.bias_D
        chosen_BM = ranked_BMD.argmax(-1)
        if self.training and self.bias_D is not None:
            load_D = F.one_hot(chosen_BM[:, 1:], len(self.bias_D)).sum((0, 1))
            self.load_D = load_D if self.load_D is None else self.load_D + load_D
        depth_BM = at_least(chosen_BM + 1, self.floor).clamp(max=self.layers)
        gates_BMS = self._gates(chosen_BM, probs_BMD) if self.training else None
        return DepthChoice(depth_BM, gates_BMS, logits_BMD, probs_BMD, chosen_BM)

    def _gates(self, chosen_BM: Tensor, probs_BMD: Tensor) -> Tensor:
        y_BMD = F.one_hot(chosen_BM, probs_BMD.shape[-1]) + (probs_BMD - probs_BMD.detach())
        gates_BMD = 1 - (y_BMD.cumsum(-1) - y_BMD)
        kept_MD = torch.zeros(gates_BMD.shape[1:], dtype=torch.bool, device=gates_BMD.device)
        kept_MD[0, : self.floor] = True
        return gates_BMD.masked_fill(kept_MD, 1.0)[..., : self.layers]

    @torch.no_grad()
    def follow_load(self, rate: float = 1e-3) -> None:
        """Loss-free balancing: depths chosen less than the mean, over all processes, become more attractive."""
        if self.load_D is None:
            return
        load_D, self.load_D = self.load_D, None
        if dist.is_available() and dist.is_initialized():
            dist.all_reduce(load_D)
        self.bias_D += rate * torch.sign(load_D.double().mean() - load_D).to(self.bias_D)


class RandomDepth(nn.Module):
    """Control without a router: uniform depths, drawn again in training, one fixed map of positions in evaluation."""

    def __init__(self, depth: int, layers: int, floor: int, tokens: int) -> None:
        super().__init__()
        self.depth, self.layers, self.floor = depth, layers, floor
        self.register_buffer("fixed_M", torch.zeros(0, dtype=torch.int64), persistent=False)
        self.draw(tokens)

    def draw(self, tokens: int) -> None:
        """Draw the map of evaluation for a number of tokens, class token included; the same at every call."""
        shape, generator = (tokens,), torch.Generator().manual_seed(0)
        fixed_M = torch.randint(1, self.depth + 1, shape, generator=generator, device="cpu")
        self.fixed_M = fixed_M.to(self.fixed_M.device)

    def forward(self, x_BMC: Tensor) -> DepthChoice:
        if self.training:
            depth_BM = torch.randint(1, self.depth + 1, x_BMC.shape[:2], device=x_BMC.device)
        else:
            depth_BM = self.fixed_M.expand(x_BMC.shape[0], -1)
        return DepthChoice(at_least(depth_BM, self.floor).clamp(max=self.layers))


def router_net(kind: str, dim: int, out: int) -> nn.Module:
    """linear C -> out; mlp2 (also "mlp") C -> 2C GELU -> out; mlp3 C -> 2C GELU -> 2C ReLU -> out. No bias."""
    widths = {"linear": [dim], "mlp": [dim, 2 * dim], "mlp2": [dim, 2 * dim], "mlp3": [dim, 2 * dim, 2 * dim]}[kind]
    layers: list[nn.Module] = []
    for i, width in enumerate(widths[1:]):
        layers += [nn.Linear(widths[i], width, bias=False), nn.GELU() if i == 0 else nn.ReLU()]
    net = nn.Sequential(*layers, nn.Linear(widths[-1], out, bias=False))
    for layer in net:
        if isinstance(layer, nn.Linear):
            nn.init.normal_(layer.weight, std=0.02)
    return net


def at_least(depth_BM: Tensor, floor: int) -> Tensor:
    """The class token's depth raised to ``floor``, out of place."""
    return torch.cat([depth_BM[:, :1].clamp(min=floor), depth_BM[:, 1:]], 1)


def gumbel_like(logits: Tensor) -> Tensor:
    """Gumbel noise; an exponential draw of exactly 0 would make it infinite."""
    return -torch.empty_like(logits).exponential_().clamp_(min=torch.finfo(logits.dtype).tiny).log()
