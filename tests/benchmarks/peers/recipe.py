"""What every tool trains by: AdamW without decay, a cosine, gradients clipped at 1, 8 or 9 samples a step."""

RATE, WARMUP = 1e-3, 0.0
"""Without warm-up: the first step of transformers' would have the rate 0, one of few steps."""
IGNORED = -100
"""Label of what is no target."""
