"""What vLLM alone imports: it imports vLLM.

loader      leaves videos to the processor
processor   a request's prompt and media -> ids, pixels and plans
model       the tower that merges, the projector, and a language model of vLLM's
"""
