"""timm's global_pool="" with classes: logits of every token, each image's own."""

import pytest
import torch
from dynvit_families import FAMILIES, build, images


@pytest.mark.parametrize("family", FAMILIES)
@torch.no_grad()
def test_logits_of_every_token_are_those_of_its_own_image(family):
    """What belongs to an image (LV-ViT's best patch, MoR-ViT's confidence) met the tokens of a batch as if it was
    theirs: an error, or with as many images as tokens other numbers."""
    model, x = build(family), images()
    model.reset_classifier(7, "")
    tokens = model(x)
    alone = torch.cat([model(image[None]) for image in x])
    assert torch.allclose(tokens, alone, atol=1e-5)
    many = x[:1].expand(tokens.shape[1], -1, -1, -1) * torch.linspace(0.5, 1, tokens.shape[1]).view(-1, 1, 1, 1)
    assert torch.allclose(model(many)[-1:], alone[:1], atol=1e-4)
    assert torch.equal(model.forward_head(model.forward_features(x)), tokens)
