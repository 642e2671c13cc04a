"""LLaVA's form: also that of ShareGPT4V, ALLaVA, Cambrian, LLaVA-Video-178K and the AuroraCap training set."""

from aurora_cli.data.annotations.conversation import Names, conversation_schema

SCHEMA = conversation_schema(
    "llava",
    '{"id", "image": path | [path], "video": path | [path], "conversations": [{"from", "value"}]}',
    Names("conversations", ("from", "role"), ("value", "content")),
)
