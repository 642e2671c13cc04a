"""OpenAI's form, with media as parts of `content` (OpenAI, Qwen), or beside `messages` (LLaMA-Factory, ms-swift)."""

from aurora_cli.data.annotations.conversation import Names, conversation_schema

SCHEMA = conversation_schema(
    "openai-messages",
    '{"messages": [{"role", "content": text | [part]}], "images": [path], "videos": [path]}',
    Names("messages", ("role", "from"), ("content", "value")),
    rank=1,
)
