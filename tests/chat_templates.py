"""Chat templates of the kinds that tokenizers come with, and the text that ends an answer in each."""

from typing import NamedTuple


class Chat(NamedTuple):
    source: str
    end: str
    in_parts: bool = False


CHAT_TEMPLATES = {
    "chatml": Chat(
        "{% for message in messages %}{{ '<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>' "
        "+ '\n' }}{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}",
        "<|im_end|>",
    ),
    "headers": Chat(
        "{{- bos_token }}\n{%- for message in messages %}\n{{- '<|start_header_id|>' + message.role + "
        "'<|end_header_id|>\n\n' + message.content | trim + '<|eot_id|>' }}\n{%- endfor %}\n"
        "{%- if add_generation_prompt %}{{- '<|start_header_id|>assistant<|end_header_id|>\n\n' }}{%- endif %}",
        "<|eot_id|>",
    ),
    "brackets": Chat(
        "{%- if messages[0].role == 'system' %}{%- set system = messages[0].content %}"
        "{%- set messages = messages[1:] %}{%- endif %}{%- for message in messages %}"
        "{%- if (message.role == 'user') != (loop.index0 % 2 == 0) %}{{- raise_exception('roles must alternate') }}"
        "{%- endif %}{%- if message.role == 'user' %}{{- bos_token + '[INST] ' }}"
        "{%- if loop.first and system is defined %}{{- '<<SYS>>' + system + '<</SYS>>' }}{%- endif %}"
        "{{- message.content.strip() + ' [/INST]' }}{%- else %}{{- ' ' + message.content.strip() + ' ' + eos_token }}"
        "{%- endif %}{%- endfor %}",
        "</s>",
    ),
    "generation": Chat(
        "{{ bos_token }}{% for message in messages %}{% if message.role == 'assistant' %}ASSISTANT:"
        "{% generation %} {{ message.content }}{{ eos_token }}{% endgeneration %}{% else %}"
        "{{ message.role.upper() }}: {{ message.content }} {% endif %}{% endfor %}"
        "{% if add_generation_prompt %}ASSISTANT:{% endif %}",
        "</s>",
    ),
    "parts": Chat(
        "{{ bos_token }}{% for message in messages %}{{ '[' ~ message.role ~ ']' }}"
        "{% for part in message.content %}{{ part.text if part.type == 'text' else '<image>' }}{% endfor %}"
        "{{ eos_token if message.role == 'assistant' else '\n' }}{% endfor %}",
        "</s>",
        in_parts=True,
    ),
}
