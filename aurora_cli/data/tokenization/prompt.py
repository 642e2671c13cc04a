"""A question in the words of training, up to where the answer begins."""

from collections.abc import Callable

from aurora_cli.constants import IMAGE, IMAGE_PLACEHOLDER
from aurora_cli.data.tokenization.templates import OWN_TEMPLATE, get_template, images_first
from aurora_cli.data.tokenization.tokenizer import TextTokenizer


class Prompter:
    """Writes questions by the template of that name, and knows the token that ends their answers.

    Raises:
        UsageError: there is no such template, or the tokenizer cannot write it.
    """

    def __init__(self, tokenizer: TextTokenizer, template: str) -> None:
        self.tokenizer = tokenizer
        self.images_only = False
        self.begin: list[int] = []
        self.write: Callable[[str], str]
        if template == OWN_TEMPLATE:
            from aurora_cli.data.tokenization.chat_encoder import own_template
            from aurora_cli.data.tokenization.chat_template import ChatMessage

            own = own_template(tokenizer)
            self.write = lambda question: own.render([ChatMessage("user", question)], add_generation_prompt=True)
            end = own.end
        else:
            ours = get_template(template)
            self.images_only = ours.images_only
            self.write = lambda question: ours.prompt.replace("{text}", question)
            end = tokenizer.eos_token if ours.end is None else ours.end
            begin = tokenizer.bos_token if ours.begin is None else ours.begin
            self.begin = [self.token_id(begin)] if begin else []
        self.end_id = self.token_id(end)

    def token_id(self, token: str) -> int:
        """The id of a token of the vocabulary."""
        return self.tokenizer.backend.get_vocab(with_added_tokens=True)[token]

    def ids(self, question: str, images: int) -> list[int]:
        """The prompt's tokens, a placeholder for each image or frame."""
        text = images_first(IMAGE * images + question, frames=None, images_only=self.images_only)
        ids = [*self.begin]
        for number, chunk in enumerate(self.write(text).split(IMAGE)):
            ids += [IMAGE_PLACEHOLDER] if number else []
            ids += self.tokenizer.encode(chunk)
        return ids
