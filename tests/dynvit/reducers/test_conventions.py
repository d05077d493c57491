"""What holds for every token reducer, on trunks of all kinds; a new method is tested by being in `list_reducers()`."""

import copy
import pickle

import pytest
import timm
import torch
from small_deit import images, randomize_weights

import dynvit
from dynvit.reduction.grouping import Places
from dynvit.reduction.reducer import REDUCERS

SIZE = {"img_size": 24, "patch_size": 4, "embed_dim": 32, "num_heads": 2, "depth": 4, "num_classes": 5}
TRUNKS = {  # number of prefix tokens and the rest that is special
    "deit": ("vit_tiny_patch16_224", {}),
    "no_class_token": ("vit_tiny_patch16_224", {"class_token": False, "global_pool": "avg"}),
    "distilled": ("deit_tiny_distilled_patch16_224", {}),
    "registers": ("vit_small_patch14_reg4_dinov2", {}),
    "scaled": ("vit_tiny_patch16_224", {"init_values": 0.5, "qk_norm": True}),
    "averaged": ("vit_tiny_patch16_224", {"global_pool": "avg"}),
}
METHODS = dynvit.list_reducers()
STATIC = [method for method in METHODS if REDUCERS[method].static]
SOFT = {"sit", "patchmerger", "sinkhorn"}
"""Whose weights are made for one number of tokens."""
DECIDES = {"ats": "score", "mctf": "match"}
"""What decides where it is not `group`."""
each_method = pytest.mark.parametrize("method", METHODS)


def trunk(kind="deit", **options):
    name, special = TRUNKS[kind]
    return randomize_weights(timm.create_model(name, **(SIZE | special | options))).double().eval()


def rate(method):
    """The option that says how many tokens stay."""
    return next(name for name in ("keep", "ratio", "r") if hasattr(REDUCERS[method], name))


def reduced(method, model=None, **options):
    small = {"r": 4} if rate(method) == "r" else {"ratio": 0.8} if rate(method) == "ratio" else {}
    model = dynvit.reduce(trunk() if model is None else model, method, **(small | options))
    for name in model.reducer.modules(model, model.patch_embed.num_patches):
        randomize_weights(getattr(model, name))
    return model


def traced(model, x):
    with torch.no_grad(), dynvit.trace_tokens(model) as trace:
        return model(x), trace


@each_method
@pytest.mark.parametrize("kind", TRUNKS)
def test_each_image_is_as_alone_and_as_many_tokens_stay_as_planned(method, kind):
    model = trunk(kind)
    if kind == "no_class_token" and REDUCERS[method]().needs_class_token:
        with pytest.raises(ValueError, match=f"{method} .*class token"):
            dynvit.reduce(model, method)
        return
    model, x = reduced(method, model), images(3, 24)
    logits, trace = traced(model, x)
    alone = torch.cat([model(image[None]) for image in x])
    assert torch.allclose(logits, alone, atol=1e-10) and not torch.allclose(logits, trunk(kind)(x), atol=1e-3)
    left, least = 36, min(kept for kept in model.plan(36) if kept is not None)
    assert least < 36
    for seen, kept in zip(trace.active, model.plan(36), strict=True):
        after = left if kept is None else kept
        expected = after if model.reducer.place == "before" else left
        counts, left = seen.sum(1).tolist(), after
        # A fused token has no place of its own, and may be among those that are kept.
        assert max(counts) <= expected and (counts == [expected] * 3 or not model.static_cost or model.reducer.added)


@each_method
@pytest.mark.parametrize("kind", TRUNKS)
def test_what_keeps_everything_is_the_trunk_bit_for_bit(method, kind):
    if kind == "no_class_token" and REDUCERS[method]().needs_class_token:
        return
    model, x = trunk(kind), images(2, 24)
    everything = dynvit.reduce(model, method, **{rate(method): 0 if rate(method) == "r" else 1.0})
    assert torch.equal(everything(x), model(x))
    assert dynvit.complexity(everything, x).gmacs == dynvit.complexity(model, x).gmacs


@each_method
def test_an_image_of_one_colour_has_logits_and_gradients(method):
    model = reduced(method).train()
    output = model(torch.ones(2, 3, 24, 24, dtype=torch.float64))
    dynvit.training_loss(output, torch.tensor([1, 2])).backward()
    gradients = [parameter.grad for parameter in model.parameters() if parameter.grad is not None]
    assert all(gradient.isfinite().all() for gradient in gradients)
    with torch.no_grad():
        assert model.eval()(torch.zeros(2, 3, 24, 24, dtype=torch.float64)).isfinite().all()


@each_method
def test_every_parameter_learns_and_checkpointing_changes_nothing(method):
    model, x, gradients = reduced(method).train(), images(2, 24), []
    for enable in (False, True):
        torch.manual_seed(0)
        model.zero_grad()
        model.set_grad_checkpointing(enable)
        dynvit.training_loss(model(x), torch.tensor([1, 2])).backward()
        gradients.append({name: parameter.grad for name, parameter in model.named_parameters()})
    assert [name for name, gradient in gradients[0].items() if gradient is None or not gradient.any()] == []
    assert all(torch.equal(gradient, gradients[1][name]) for name, gradient in gradients[0].items())


@each_method
def test_tokens_are_followed_to_the_end(method):
    model, x = reduced(method), images(2, 24)
    _, trace = traced(model, x)
    sources, last = model.sources, model.plan(36)
    assert len(trace.active) == len(sources.layers) == 4
    tokens = 1 + min(kept for kept in last if kept is not None) + model.reducer.added
    for of in sources.token_of_patch:
        assert of[0] == 0 and of.min() >= -1 and of.max() < tokens
        if method not in SOFT and not model.reducer.added:  # every token stands for something
            assert set(of.tolist()) - {-1} == set(range(of.max().item() + 1))
    final, states = model.forward_intermediates(x, output_fmt="NLC")
    assert [state.shape for state in states] == [(2, 36, 32)] * 4
    assert torch.equal(final, model.forward_features(x))
    for of, state, tokens in zip(sources.token_of_patch[:, 1:], states[-1], final, strict=True):
        assert torch.allclose(model.norm(state)[of >= 0], tokens[of[of >= 0]], atol=1e-10)


@each_method
@pytest.mark.parametrize("options", [{}, {"locations": (1, 3)}, {"r": (4, -1.0)}], ids=["own", "listed", "falling"])
@torch.no_grad()
def test_pruned_layers_leave_the_others_as_they_were(method, options):
    if not all(hasattr(REDUCERS[method], name) for name in options) or (method == "mctf" and options):
        return
    model, x = reduced(method, **options), images(2, 24)
    every = model.forward_intermediates(x, intermediates_only=True)
    for last in (2, 1, 0):
        assert model.prune_intermediate_layers([last], prune_head=not last) == [last]
        assert torch.equal(model.forward_intermediates(x, [last], intermediates_only=True)[0], every[last])
        assert model(x).isfinite().all() and (last == 0 or model.train()(x) is not None)
        model.eval()


def test_features_of_first_layers_with_a_count_for_every_block():
    sizes = SIZE | {"r": [4] * 4}
    every = timm.create_model("tome_deit_tiny_patch16_224", **sizes).eval()
    first = timm.create_model("tome_deit_tiny_patch16_224", features_only=True, out_indices=(1,), **sizes).eval()
    first.model.load_state_dict(every.state_dict(), strict=False)
    x = images(2, 24).float()
    assert torch.equal(first(x)[0], every.forward_intermediates(x, intermediates_only=True)[1])


@each_method
def test_copies_and_state_dicts_answer_alike(method):
    model, x = reduced(method), images(2, 24)
    expected = model(x)
    for other in (copy.deepcopy(model), pickle.loads(pickle.dumps(model))):
        assert torch.equal(other(x), expected)
    fresh = dynvit.reduce(timm.create_model(TRUNKS["deit"][0], **SIZE).double().eval(), method, **vars(model.reducer))
    assert dynvit.load_official(fresh, model.state_dict()) is fresh and torch.equal(fresh(x), expected)


@each_method
def test_images_need_not_be_square_nor_of_one_size(method):
    model = reduced(method, trunk(img_size=(16, 32)))
    assert model(images(2, 32)[:, :, :16]).shape == (2, 5)
    if method in SOFT:
        model.set_input_size((32, 32))
        with pytest.raises(ValueError, match="patches"):
            model(images(2))
    else:
        model.set_input_size((32, 32))
        assert traced(model, images(2))[0].shape == (2, 5)
        assert model.sources.token_of_patch.shape == (2, 65)


@each_method
@pytest.mark.parametrize("half", ["autocast", "bfloat16"])
def test_half_precision_decides_as_full_precision(method, half, monkeypatch):
    """The same states and signals give the same decision, whatever they are computed in."""
    kind, same = REDUCERS[method], []
    name = DECIDES.get(method, "group")
    decide = getattr(kind, name)

    def twice(self, *args):
        result = decide(self, *args)
        with torch.autocast("cpu", enabled=False):
            again = decide(self, *map(widened, args))
        pairs = [(a, b) for a, b in zip(flat(result), flat(again), strict=True) if isinstance(a, torch.Tensor)]
        same.extend(torch.equal(a, b) for a, b in pairs if method in DECIDES or not a.is_floating_point())
        return result

    monkeypatch.setattr(kind, name, twice)
    model = reduced(method).float()
    x = images(4, 24).float()
    if half == "bfloat16":
        model, x = model.bfloat16(), x.bfloat16()
    with torch.no_grad(), torch.autocast("cpu", dtype=torch.bfloat16, enabled=half == "autocast"):
        assert model(x).isfinite().all()
    assert same and all(same)


def flat(result):
    """The tensors of a result, and what else it has."""
    return [part for item in result for part in flat(item)] if isinstance(result, tuple) else [result]


def widened(value):
    """States, signals and learnt scores as float32; layers that mix tokens decide nothing."""
    if isinstance(value, torch.Tensor):
        return value.float() if value.is_floating_point() else value
    if isinstance(value, Places) and value.model.reducer.name not in SOFT:
        return value._replace(model=copy.deepcopy(value.model).float())
    if hasattr(value, "_fields") and not isinstance(value, Places):
        return type(value)(*(widened(part) for part in value))
    return value


@pytest.mark.parametrize("method", STATIC)
@torch.no_grad()
def test_one_graph_for_batches_of_any_size(method):
    model, x = reduced(method, trunk(depth=2)), images(3, 24)
    torch._dynamo.reset()
    expected = model(x)
    assert torch.allclose(torch.compile(model, backend="eager", fullgraph=True)(x), expected, atol=1e-10)
    shapes = ({0: torch.export.Dim("batch", min=1, max=64)},)
    program = torch.export.export(model, (images(2, 24),), dynamic_shapes=shapes).module()
    assert torch.allclose(program(x), expected, atol=1e-10)
    assert torch.allclose(program(x[:1]), expected[:1], atol=1e-10)
