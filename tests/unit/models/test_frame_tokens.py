"""Tower and projector as one module that compilers take whole."""

import pytest
import torch

from aurora_cli.config.merging import TokenMerging
from tests.unit.models.conftest import clip_config, dinov2_config, siglip_config

TOWERS = {"clip": clip_config, "siglip": siglip_config, "dinov2": dinov2_config}
MERGING = TokenMerging(kept_ratio=0.5)


@pytest.fixture(params=TOWERS)
def model(request, tiny):
    return tiny(vision=TOWERS[request.param](), merging=MERGING).eval()


@torch.no_grad()
def test_it_gives_what_the_projector_makes_of_the_merged_frames(model):
    pixels = torch.randn(3, 3, 56, 56)
    for merging, tokens in ((None, 8), (TokenMerging(kept_ratio=0.25), 4), (TokenMerging(), 16)):
        found = model.frame_tokens(merging)(pixels)
        assert found.shape == (3, tokens, 32)
        assert torch.equal(found, model.model.multi_modal_projector(model.encode_images(pixels, merging)))
    wide = torch.randn(1, 3, 84, 84)
    assert torch.equal(model.frame_tokens(side=84)(wide), model.model.multi_modal_projector(model.encode_images(wide)))


@pytest.mark.slow
@torch.no_grad()
def test_it_compiles_as_one_graph(model):
    """Nothing in it falls back to Python; what a backend makes of the graph is its own affair."""
    module, pixels = model.frame_tokens(), torch.randn(2, 3, 56, 56)
    compiled = torch.compile(module, fullgraph=True, backend="eager")
    torch.testing.assert_close(compiled(pixels), module(pixels), atol=1e-6, rtol=0)


@pytest.mark.slow
@torch.no_grad()
def test_it_is_exported_for_any_number_of_frames(model):
    module = model.frame_tokens()
    frames = torch.export.Dim("frames")
    program = torch.export.export(module, (torch.randn(2, 3, 56, 56),), dynamic_shapes=({0: frames},))
    for count in (1, 2, 5):
        pixels = torch.randn(count, 3, 56, 56)
        torch.testing.assert_close(program.module()(pixels), module(pixels), atol=1e-5, rtol=0)
