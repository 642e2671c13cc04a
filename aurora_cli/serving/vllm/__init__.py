"""The plugin by which vLLM merges tokens as an export says.

plugin    the entry point: registers the model
config    how vLLM finds that a LLaVA is an export of ours
served    what an export's files say, and what a request may change of it
prompt    where images and videos stand in a prompt, and what becomes of their marks
medium    what a request brings, and its pixels by the readers of `aurora caption`
inside    what vLLM alone imports, for it imports vLLM: the processor of requests, and the model
"""
