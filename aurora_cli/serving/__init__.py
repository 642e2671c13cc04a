"""A captioner served to others: over HTTP by itself, or by vLLM.

start         from settings to a server that runs
server        a service on a port, by uvicorn; draining
app           all routes, behind the guard
guard         who may come, how much may be sent, and how slowly
completions   `POST /v1/chat/completions`, whole and streamed
schema        OpenAI's request, as far as it is served
conversation  from a request to a row: prompt ids, frames, options
media         which images and videos a request may name, and their pixels
engine        the one thread that the model runs in, and its queue
answer_text   an answer's text while its tokens come
metrics       what was done, for Prometheus
refusal       why a request is not answered
page          the page, and page_routes what it asks
vllm          the plugin by which vLLM merges tokens
"""
