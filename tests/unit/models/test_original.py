"""Random cases beside a slow, obvious writing-out of the original's algorithm: what the goldens are a part of."""

import random

import pytest
import torch
from torch.nn import functional as F
from transformers import CLIPVisionModel, Dinov2Model

from aurora_cli.models.merge_plan import removal_plan
from aurora_cli.models.vision_encoder import encode, install_merging
from tests.original_algorithm import Captioner, as_clip, tower_features

RATIOS = (0.05, 0.1, 0.2, 0.3, 0.5, 0.8, 0.95, 1.0)


@pytest.mark.slow
@pytest.mark.parametrize("kind", [CLIPVisionModel, Dinov2Model])
@pytest.mark.parametrize("seed", range(24))
def test_the_tower_is_the_originals_at_any_size_depth_and_ratio(configs, original, seed, kind):
    """Of DINOv2, which spreads positions otherwise, at its own size alone; at others it is held to transformers'."""
    draw = random.Random(seed)
    layers, ratio = draw.choice((2, 3, 6, 12)), draw.choice(RATIOS)
    height, width = (14 * draw.randint(1, 7) + draw.choice((0, 0, 5)) for _ in range(2))
    torch.manual_seed(seed)
    own_size = draw.choice((42, 56, 84))
    config = configs.clip if kind is CLIPVisionModel else configs.dinov2
    tower = kind(config(num_hidden_layers=layers, image_size=own_size)).eval()
    if kind is Dinov2Model:
        height = width = own_size
        with torch.no_grad():
            for name, parameter in tower.named_parameters():
                if name.endswith(("lambda1", "projection.bias")):
                    parameter.copy_(0.5 + torch.rand_like(parameter))
    pixels = torch.randn(2, 3, height, width)
    weights = {name: tensor.double() for name, tensor in tower.state_dict().items()}
    weights = as_clip(weights) if kind is Dinov2Model else weights
    install_merging(tower)

    plan = removal_plan(height, width, 14, layers, layers - 1, original(ratio))
    for image in range(2):
        seen = tower_features(weights, tower.config, pixels[image].double(), ratio)
        for layer in range(1, layers):
            size = encode(tower, pixels, plan[:layer]).size
            assert size is None or size[image].tolist() == seen.sizes[layer - 1]
        features = encode(tower, pixels, plan).hidden[image, 1:]
        torch.testing.assert_close(features.double(), seen.features, atol=1e-4, rtol=0)


def random_batch(draw: random.Random) -> list[tuple[list[int], list[int], list[int]]]:
    """Samples of text alone, of images, of videos, and of both: ids, labels, lengths of their media."""
    samples = []
    for kind in draw.sample(["text", "image", "video", "both", "video"], k=draw.randint(1, 4)):
        media = {"text": [], "image": [1], "video": [draw.randint(2, 5)], "both": [1, draw.randint(2, 3), 1]}[kind]
        ids = [1]
        for length in media:
            ids += [draw.randint(3, 63) for _ in range(draw.randint(0, 2))] + [-200] * length
        ids += [draw.randint(3, 63) for _ in range(draw.randint(3, 8))]
        labels = [token if draw.random() < 0.6 and token != -200 else -100 for token in ids]
        samples.append((ids, [*labels[:-1], ids[-1]], media))
    return samples


@pytest.mark.slow
@pytest.mark.parametrize("slowfast", [False, True], ids=["merged", "slow-fast"])
@pytest.mark.parametrize("seed", range(6))
def test_a_batch_of_text_images_and_videos_is_the_originals_sample_by_sample(tiny, configs, original, seed, slowfast):
    draw = random.Random(seed)
    ratio, size = draw.choice(RATIOS), draw.choice([(56, 56), (84, 56), (42, 70)])
    vision = configs.clip(num_hidden_layers=draw.choice((3, 6, 12)))
    text = configs.llama(num_key_value_heads=draw.choice((1, 2, 4)), tie_word_embeddings=draw.random() < 0.5)
    model = tiny(vision, text, original(ratio, slowfast))
    samples = random_batch(draw)
    frames = [[torch.randn(3, *size) for _ in range(sum(media))] for _, _, media in samples]

    slow = Captioner(model)
    rows = [
        slow.sample(ids, labels, images, media, ratio, slowfast)
        for (ids, labels, media), images in zip(samples, frames, strict=True)
    ]
    losses = [F.cross_entropy(logits[:-1], torch.tensor(labels[1:]), reduction="sum") for logits, labels in rows]
    count = sum(label != -100 for _, labels in rows for label in labels[1:])
    expected = sum(losses) / count
    expected.backward()

    width = max(len(ids) for ids, _, _ in samples)
    images = [frame for sample in frames for frame in sample]
    outputs = model(
        input_ids=torch.tensor([ids + [0] * (width - len(ids)) for ids, _, _ in samples]),
        attention_mask=torch.tensor([[1] * len(ids) + [0] * (width - len(ids)) for ids, _, _ in samples]),
        labels=torch.tensor([labels + [-100] * (width - len(labels)) for _, labels, _ in samples]),
        pixel_values=torch.stack(images) if images else None,
        media_lengths=[length for _, _, media in samples for length in media],
    )
    outputs.loss.backward()
    assert outputs.loss.item() == pytest.approx(expected.item(), abs=1e-5)
    for row, (logits, _) in enumerate(rows):
        torch.testing.assert_close(outputs.logits[row, : len(logits)].double(), logits, atol=1e-4, rtol=0)
    for name, tensor in slow.weights.items():
        gradient = model.get_parameter(name).grad
        assert (gradient is None) == (tensor.grad is None), name
        if tensor.grad is not None:
            torch.testing.assert_close(gradient.double(), tensor.grad, atol=1e-5, rtol=1e-3)
