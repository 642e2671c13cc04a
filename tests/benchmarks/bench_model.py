"""Time and memory of the merging tower, forward and backward, beside transformers' plain CLIP in the same run.

ViT 12x384 at 378 px, batch 2. Asked for, as shares of plain CLIP's time: 0.95 at ratio 1.0 (the last layer is skipped),
1.10 times the share of FLOPs at `exact` 0.1; matching and merging 6 % of forward at 0.5; memory at 0.1 0.65 of that at
1.0; splicing 8 videos of 16 frames 5 times as fast as the loop over samples. On CUDA (fp32, TF32 off) the same runs
there, with the share of the card's peak.

Every time is the least of `RUNS`, of runs that take turns; CPU seconds are counted too, which other programs on the
machine disturb less.

    python tests/benchmarks/bench_model.py [runs, 5] [threads, 2]
"""

import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import psutil
import torch
from transformers import CLIPVisionConfig, CLIPVisionModel

from aurora_cli.config.merging import TokenMerging
from aurora_cli.models.merge_plan import removal_plan
from aurora_cli.models.multimodal_inputs import splice
from aurora_cli.models.packed_attention import block_causal_mask, packed_attention, segments_of
from aurora_cli.models.token_merging import match_tokens, merge_tokens
from aurora_cli.models.vision_encoder import encode, install_merging

LAYERS, WIDTH, HIDDEN, HEADS, SIDE, PATCH, BATCH = 12, 384, 1536, 6, 378, 14, 2
RATIOS = (1.0, 0.5, 0.2, 0.1)
DEVICE = "cuda" if torch.cuda.is_available() else "cpu"


class Cost(NamedTuple):
    wall_s: float
    cpu_s: float


def plan(ratio: float) -> tuple[int, ...]:
    return removal_plan(SIDE, SIDE, PATCH, LAYERS, LAYERS - 1, TokenMerging(kept_ratio=ratio))


class LayerFlops(NamedTuple):
    """Of a layer's forward pass on one image."""

    tokens: int
    projections: int
    attention: int
    mlp: int
    """On the tokens that are left."""
    merging: int

    @property
    def total(self) -> int:
        return self.projections + self.attention + self.mlp + self.merging


def layer_flops(tokens: int, removed: int) -> LayerFlops:
    half = tokens // 2
    return LayerFlops(
        tokens,
        projections=8 * tokens * WIDTH**2,
        attention=4 * tokens**2 * WIDTH,
        mlp=4 * (tokens - removed) * WIDTH * HIDDEN,
        merging=(2 * half**2 * WIDTH // HEADS + 2 * half * removed * WIDTH) if removed else 0,
    )


def layers_flops(removals: tuple[int, ...]) -> list[LayerFlops]:
    tokens, layers = (SIDE // PATCH) ** 2 + 1, []
    for removed in removals:
        layers.append(layer_flops(tokens, removed))
        tokens -= removed
    return layers


def tower_flops(removals: tuple[int, ...]) -> int:
    """Of forward on one image; backward is twice as much."""
    patches = (SIDE // PATCH) ** 2
    return 2 * patches * 3 * PATCH**2 * WIDTH + sum(layer.total for layer in layers_flops(removals))


def peak_tflops() -> float | None:
    """What the card can do in fp32 (TF32 off), where that is known."""
    known = {"H100": 66.9, "H200": 66.9, "A100": 19.5, "L40": 90.5, "RTX 4090": 82.6, "RTX 3090": 35.6, "V100": 15.7}
    if DEVICE != "cuda":
        return None
    name = torch.cuda.get_device_name()
    return next((tflops for model, tflops in known.items() if model in name), None)


def print_model() -> None:
    """What a layer costs, with merging, beside one of the plain tower."""
    whole = layer_flops((SIDE // PATCH) ** 2 + 1, 0)
    print(f"MFLOP of a layer's forward pass on one image; a plain layer: {whole.total / 1e6:,.0f}")
    print("kept  layer  tokens  projections  attention     MLP  merging   total  of plain")
    for ratio in (0.5, 0.1):
        for number, layer in enumerate(layers_flops(plan(ratio)), 1):
            parts = (layer.projections, layer.attention, layer.mlp, layer.merging, layer.total)
            columns = (f"{part / 1e6:{width},.0f}" for part, width in zip(parts, (13, 11, 8, 9, 8), strict=True))
            print(f"{ratio:4} {number:6} {layer.tokens:7}{''.join(columns)} {layer.total / whole.total:9.2f}")


def towers() -> tuple[CLIPVisionModel, CLIPVisionModel]:
    """Plain, and with merging installed: the same weights."""
    torch.manual_seed(0)
    config = CLIPVisionConfig(
        hidden_size=WIDTH,
        intermediate_size=HIDDEN,
        num_hidden_layers=LAYERS,
        num_attention_heads=HEADS,
        image_size=SIDE,
        patch_size=PATCH,
        attn_implementation="sdpa",
    )
    plain, merging = CLIPVisionModel(config).to(DEVICE), CLIPVisionModel(config).to(DEVICE)
    merging.load_state_dict(plain.state_dict())
    install_merging(merging)
    return plain, merging


def least(works: dict[str, Callable[[], object]], runs: int) -> dict[str, Cost]:
    costs: dict[str, list[Cost]] = {name: [] for name in works}
    for _ in range(runs + 1):
        for name, work in works.items():
            began, cpu_began = time.perf_counter(), time.process_time()
            work()
            if DEVICE == "cuda":
                torch.cuda.synchronize()
            costs[name].append(Cost(time.perf_counter() - began, time.process_time() - cpu_began))
    return {
        name: Cost(min(cost.wall_s for cost in taken[1:]), min(cost.cpu_s for cost in taken[1:]))
        for name, taken in costs.items()
    }


def trained(module: torch.nn.Module, forward: Callable[[], torch.Tensor]) -> Callable[[], None]:
    def work() -> None:
        module.zero_grad()
        forward().square().mean().backward()

    return work


def bench_tower(runs: int) -> None:
    plain, merging = towers()
    pixels = torch.randn(BATCH, 3, SIDE, SIDE, device=DEVICE)
    works = {"plain CLIP": trained(plain, lambda: plain(pixels).last_hidden_state)}
    for ratio in RATIOS:
        for proportional in (False, True) if ratio < 1 else (False,):
            name = f"kept {ratio}{' proportional' if proportional else ''}"
            works[name] = trained(
                merging, lambda ratio=ratio, p=proportional: encode(merging, pixels, plan(ratio), p).hidden
            )
    costs = least(works, runs)
    whole_flops = tower_flops((0,) * LAYERS)
    floor = costs["plain CLIP"]
    peak = peak_tflops()
    print("speed-up: ideal = plain FLOPs / ours; asked: 1.0 in 0.95 of plain's time, 0.1 within 1.10 of its FLOP ratio")
    print(
        "forward + backward      wall s   CPU s   of plain: wall   CPU   FLOPs   (time/FLOPs)  speed-up ideal  TFLOP/s"
    )
    for name, cost in costs.items():
        ratio = float(name.split()[1]) if name.startswith("kept") else None
        flops = whole_flops if ratio is None else tower_flops(plan(ratio))
        share, wall, cpu = flops / whole_flops, cost.wall_s / floor.wall_s, cost.cpu_s / floor.cpu_s
        speed = 3 * BATCH * flops / cost.wall_s / 1e12
        print(
            f"{name:22} {cost.wall_s:7.3f} {cost.cpu_s:7.3f} {wall:16.3f} {cpu:5.3f} {share:7.3f} "
            f"{wall / share:8.2f} {cpu / share:5.2f} {1 / wall:9.2f} {1 / share:6.2f} {speed:8.3f}"
            f"{'' if peak is None else f'  {speed / peak:.0%} of peak'}"
        )


def bench_overhead(runs: int) -> None:
    """Matching and merging alone, on the shapes that the layers have, against the whole forward at 0.5."""
    _, merging = towers()
    pixels = torch.randn(BATCH, 3, SIDE, SIDE, device=DEVICE)
    removals = plan(0.5)
    tokens = torch.randn(BATCH, (SIDE // PATCH) ** 2 + 1, WIDTH, device=DEVICE)
    keys = torch.randn(BATCH, HEADS, tokens.shape[1], WIDTH // HEADS, device=DEVICE)

    def merge_only() -> None:
        hidden, size = tokens, None
        for removed in removals:
            metric = keys[:, :, : hidden.shape[1]].float().mean(dim=1)
            hidden, size = merge_tokens(hidden, size, match_tokens(metric, removed))

    with torch.no_grad():
        works = {"forward": lambda: encode(merging, pixels, removals), "merging": merge_only}
        costs = least(works, runs)
    shares = costs["merging"].wall_s / costs["forward"].wall_s, costs["merging"].cpu_s / costs["forward"].cpu_s
    print(f"matching and merging, of forward at 0.5: wall {shares[0]:.3f}, CPU {shares[1]:.3f}   (asked for: 0.06)")


def bench_splice(runs: int) -> None:
    """8 videos of 16 frames of 73 tokens, 64 tokens of text around them, forward and backward."""
    videos, frames, frame_tokens, text, channels = 8, 16, 73, 64, 1024
    visual = torch.randn(videos * frames * frame_tokens, channels, device=DEVICE, requires_grad=True)
    width = text + frames * frame_tokens
    embeds = torch.randn(videos, width, channels, device=DEVICE)
    places = torch.zeros(videos, width, dtype=torch.bool, device=DEVICE)
    places[:, 4 : 4 + frames * frame_tokens] = True

    def loop() -> torch.Tensor:
        rows, used = [], 0
        for row in range(videos):
            parts = [embeds[row, :4]]
            for _ in range(frames):
                parts.append(visual[used : used + frame_tokens])
                used += frame_tokens
            rows.append(torch.cat([*parts, embeds[row, 4 + frames * frame_tokens :]]))
        return torch.stack(rows)

    def once(joined: Callable[[], torch.Tensor]) -> Callable[[], object]:
        gradient = torch.ones(videos, width, channels, device=DEVICE)
        return lambda: torch.autograd.grad(joined(), visual, gradient)

    costs = least({"loop": once(loop), "ours": once(lambda: splice(embeds, places, visual))}, 3 * runs)
    ratio = costs["loop"].wall_s / costs["ours"].wall_s
    print(f"splicing 128 frames: {costs['ours'].wall_s * 1e3:.1f} ms, {ratio:.1f} times as fast as the loop (asked: 5)")


def bench_packed(runs: int) -> None:
    """Attention alone, forward and backward, of a row of 4096 tokens that holds 16 samples."""
    samples, length = 16, 256
    ids = torch.arange(1, samples + 1, device=DEVICE).repeat_interleave(length)[None]
    heads = [torch.randn(1, 8, samples * length, 64, device=DEVICE, requires_grad=True) for _ in range(3)]
    module, segments = torch.nn.Module(), segments_of(ids)

    def ours() -> None:
        packed_attention(module, *heads, None, segments=segments)[0].sum().backward()

    def masked() -> None:
        packed_attention(module, *heads, block_causal_mask(ids))[0].sum().backward()

    costs = least({"ours": ours, "masked": masked}, runs)
    ratio = costs["masked"].wall_s / costs["ours"].wall_s
    print(f"attention of 16 samples in 4096 tokens: {ratio:.1f} times as fast as under a mask (squares: 16)")


def bench_memory() -> None:
    """Peak above what the process holds before the pass; a fresh process each."""
    peaks = {}
    for ratio, recompute in ((1.0, False), (0.1, False), (1.0, True), (0.1, True)):
        command = [sys.executable, __file__, "--peak", str(ratio), str(int(recompute))]
        peaks[ratio, recompute] = float(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
    for (ratio, recompute), peak in peaks.items():
        name = f"kept {ratio}{', recomputed' if recompute else ''}"
        print(f"growth of peak memory, {name:22} {peak:7.0f} MB   {peak / peaks[1.0, False]:.2f} of 1.0")


def print_peak(ratio: float, recompute: bool) -> None:
    _, merging = towers()
    merging.train()
    merging.encoder.gradient_checkpointing = recompute
    pixels = torch.randn(BATCH, 3, SIDE, SIDE, device=DEVICE)
    for parameter in merging.parameters():
        parameter.grad = torch.zeros_like(parameter)
    if DEVICE == "cuda":
        held = torch.cuda.memory_allocated()
        encode(merging, pixels, plan(ratio)).hidden.square().mean().backward()
        print((torch.cuda.max_memory_allocated() - held) / 2**20)
        return
    process = psutil.Process()
    held = process.memory_info().rss
    encode(merging, pixels, plan(ratio)).hidden.square().mean().backward()
    # Of this program alone: getrusage also counts what the parent held when it started this one.
    peak_kb = next(line.split()[1] for line in Path("/proc/self/status").read_text().splitlines() if "VmHWM" in line)
    print((int(peak_kb) * 1024 - held) / 2**20)


def main() -> None:
    runs = int(sys.argv[1]) if len(sys.argv) > 1 else 5
    torch.set_num_threads(int(sys.argv[2]) if len(sys.argv) > 2 else 2)
    print_model()
    bench_tower(runs)
    bench_overhead(runs)
    bench_splice(runs)
    bench_packed(runs)
    bench_memory()


if __name__ == "__main__":
    if sys.argv[1:2] == ["--peak"]:
        torch.set_num_threads(1)
        print_peak(float(sys.argv[2]), sys.argv[3] == "1")
    else:
        main()
