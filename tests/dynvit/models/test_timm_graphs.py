"""Every family as one graph: torch.compile, torch.export with a batch of any size, ONNX in onnxruntime."""

import onnxruntime
import pytest
import torch
from dynvit_families import FAMILIES, build, images

BATCH = {0: torch.export.Dim("batch", min=1, max=64)}
SHALLOW = {
    "sret": {"unique": (1, 1, 1)}, "evo_levit": {"embed_dim": (16, 24), "num_heads": (2, 2), "depth": (3, 1)},
    "tpc_swin": {"depths": (1, 2), "num_heads": (2, 2)}, "tpc_swin_rate": {"depths": (1, 2), "num_heads": (2, 2)},
    "mor_token": {"depth": 4}, "mor_expert": {"depth": 4}, "mor_random": {"depth": 4}, "edge_recvit": {"depth": 4},
    "evit": {"depth": 3, "locations": (1,)},
    "evo_deit_mean": {"depth": 2}, "evo_deit_random": {"depth": 2}, "mor_off": {"depth": 2}, "lvvit": {"depth": 2},
    "tpc_deit": {"depth": 2}, "tpc_deit_random": {"depth": 2}, "tpc_lvvit": {"depth": 2},
}  # fmt: skip
"""Three layers where a decision is carried from layer to layer, two where another family of the method has three."""
ONNX = (
    "sret", "evo_deit", "evo_levit", "mor_token", "mor_expert", "tpc_deit_rate", "tpc_swin_rate", "dynamicvit_deit",
    "evit", "tome", "avit", "lvvit",
)  # fmt: skip
"""One of each method; the export takes seconds."""
MASKED = ("evo_deit", "mor_expert", "dynamicvit_deit", "evit")
"""Whose masked form is not what a compiled gathered model runs anyway."""
ALL = pytest.mark.parametrize("family", FAMILIES)


@pytest.fixture(autouse=True)
def _no_graphs_of_other_tests():
    torch._dynamo.reset()


def shallow(family):
    return build(family, **SHALLOW.get(family, {"depth": 3}))


@ALL
@torch.no_grad()
def test_evaluation_compiles_to_one_graph(family):
    graphs = []

    def count(graph, _):
        graphs.append(graph)
        return graph

    for execution in ("gathered", "masked") if family in MASKED else ("gathered",):
        model = shallow(family)
        model.set_execution(execution)
        expected = model(images())
        compiled = torch.compile(model, backend=count, fullgraph=True, dynamic=False)
        assert torch.allclose(compiled(images()), expected, atol=1e-5)
        assert len(graphs) == 1
        graphs.clear()


@ALL
@torch.no_grad()
def test_an_exported_model_takes_batches_of_any_size(family):
    model = shallow(family)
    program = torch.export.export(model, (images(2),), dynamic_shapes=(BATCH,)).module()
    x = images(5)
    expected = model(x)
    assert torch.allclose(program(x), expected, atol=1e-5)
    assert torch.allclose(program(x[:1]), expected[:1], atol=1e-5)


@pytest.mark.parametrize("family", ONNX)
@torch.no_grad()
def test_onnxruntime_gives_the_same_logits(family, tmp_path):
    """Where the number of tokens depends on the image, the graph is the masked form."""
    model, file = shallow(family), tmp_path / "model.onnx"
    torch.onnx.export(model, (images(2),), file, dynamo=True, dynamic_shapes=(BATCH,), verbose=False)
    session = onnxruntime.InferenceSession(file, providers=["CPUExecutionProvider"])
    x = images(3)
    (logits,) = session.run(None, {session.get_inputs()[0].name: x.numpy()})
    assert torch.allclose(torch.from_numpy(logits), model(x), atol=1e-4)


@torch.no_grad()
def test_inductor_gives_the_same_logits():
    model = shallow("mor_token")
    compiled = torch.compile(model, fullgraph=True)
    assert torch.allclose(compiled(images()), model(images()), atol=1e-4)


@pytest.mark.parametrize("family", ["mor_token", "dynamicvit_deit", "avit", "tpc_swin"])
def test_training_compiles(family):
    model = shallow(family).train()
    output = torch.compile(model, backend="eager")(images())
    output.logits.sum().backward()
    assert model.patch_embed.proj.weight.grad.isfinite().all()
