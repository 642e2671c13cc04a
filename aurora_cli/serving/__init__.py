"""An export served to others.

vllm   the plugin by which vLLM merges tokens
"""
