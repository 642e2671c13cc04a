"""An export's tokenizer and chat template give the ids that training saw."""

import json

import pytest
from tokenizers import Tokenizer
from transformers import AutoTokenizer

from aurora_cli.constants import IGNORE_INDEX, IMAGE_PLACEHOLDER
from aurora_cli.data.annotations.files import RawRecord
from aurora_cli.data.tokenization.encoder import Encoder
from aurora_cli.data.tokenization.templates import TEMPLATES
from aurora_cli.data.tokenization.tokenizer import load_tokenizer
from aurora_cli.export.tokenizer import (
    chat_template,
    export_tokenizer,
    own_chat_template,
    write_chat_template,
    write_tokenizer,
)
from tests.captioners import GOLDEN, TOKENIZER

MISTRAL = GOLDEN / "tokenize" / "mistral_v1"


@pytest.mark.slow
@pytest.mark.parametrize("folder", [TOKENIZER, MISTRAL], ids=["bytes", "sentencepiece"])
def test_the_first_question_has_the_ids_of_training(tmp_path, folder):
    question = "<image>\n What  is in the image?"
    record = {
        "id": 0,
        "image": "a.png",
        "conversations": [{"from": "human", "value": question}, {"from": "gpt", "value": "x"}],
    }
    encoder = Encoder(load_tokenizer(folder), "vicuna", max_length=100, frames=1)
    trained = encoder.encode([RawRecord(1, json.dumps(record).encode())], "f", images_are_video=False)
    untaught = trained.input_ids[trained.labels == IGNORE_INDEX].tolist()
    prompt = untaught[: len(untaught) - len(load_tokenizer(folder).encode(TEMPLATES["vicuna"].separator))]

    tokenizer = export_tokenizer(folder)
    write_tokenizer(tokenizer, tmp_path)
    write_chat_template("vicuna", tokenizer, tmp_path)
    loaded = AutoTokenizer.from_pretrained(tmp_path)
    content = [{"type": "image"}, {"type": "text", "text": "\n What  is in the image?"}]
    text = loaded.apply_chat_template([{"role": "user", "content": content}], tokenize=False)
    ids = loaded(text, add_special_tokens=False)["input_ids"]
    assert [IMAGE_PLACEHOLDER if token == tokenizer.image_id else token for token in ids] == prompt
    assert loaded.pad_token_id == tokenizer.pad_id != loaded.eos_token_id
    assert loaded("a", add_special_tokens=True)["input_ids"][0] == loaded.bos_token_id


@pytest.mark.slow
def test_both_tokens_are_added_once_and_the_image_comes_first(tmp_path):
    first = export_tokenizer(MISTRAL)
    assert (first.image_id, first.pad_id, first.size) == (32000, 32001, 32002)
    write_tokenizer(first, tmp_path)
    again = export_tokenizer(tmp_path)
    assert (again.image_id, again.pad_id, again.size) == (32000, 32001, 32002)


def test_a_padding_token_that_is_there_is_kept():
    base = Tokenizer.from_file(str(TOKENIZER / "tokenizer.json"))
    tokenizer = export_tokenizer(TOKENIZER)
    assert tokenizer.pad_id == base.token_to_id("<pad>")
    assert tokenizer.size == base.get_vocab_size() + 1


def rendered(name, messages):
    from transformers.utils.chat_template_utils import render_jinja_template

    template = chat_template(TEMPLATES[name], "<s>", "</s>")
    return render_jinja_template(conversations=[messages], chat_template=template)[0][0]


def test_the_chat_template_writes_turns_as_training_did():
    image = {"type": "image"}
    messages = [
        {"role": "system", "content": "Be short."},
        {"role": "user", "content": [{"type": "text", "text": " What? "}, image, image]},
        {"role": "assistant", "content": "A dog."},
        {"role": "user", "content": "Sure? "},
    ]
    expected = "<s>Be short. USER: <image> <image>\nWhat? ASSISTANT:A dog.</s>\n<s>USER: Sure?  ASSISTANT:"
    assert rendered("vicuna", messages) == expected


def test_a_tokenizers_own_template_is_kept_and_images_move_to_the_front():
    from transformers.utils.chat_template_utils import render_jinja_template

    image = {"type": "image"}
    messages = [
        {"role": "user", "content": [{"type": "text", "text": " What? "}, image]},
        {"role": "assistant", "content": "A dog."},
    ]
    strings = "\n{%- for m in messages %}[{{ m.role }}]{{ m.content }}{% endfor %}"
    parts = strings.replace("m.content", "m.content[0].text")
    for own, in_parts in ((strings, False), (parts, True)):
        template = own_chat_template(own, in_parts=in_parts)
        rendered = render_jinja_template(conversations=[messages], chat_template=template)[0][0]
        assert rendered == "[user]<image>\nWhat?[assistant]A dog."


@pytest.mark.parametrize("name", TEMPLATES)
def test_every_template_has_a_chat_template_with_its_own_words(name):
    template = TEMPLATES[name]
    text = rendered(name, [{"role": "user", "content": "<image>Hi"}, {"role": "assistant", "content": "Yes"}])
    question = "<image>\n" + ("" if template.images_only else "Hi")
    begin, end = (
        ("<s>" if template.begin is None else template.begin),
        ("</s>" if template.end is None else template.end),
    )
    assert text == begin + template.prompt.replace("{text}", question) + "Yes" + end + template.separator
