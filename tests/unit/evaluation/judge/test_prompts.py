"""Prompts as files: read, replaced, and filled so that no caption can pretend to be a part of them."""

import pytest

from aurora_cli.errors import UsageError
from aurora_cli.evaluation.judge.prompts import ANSWER, JUDGE, Prompts, read_prompts, write_prompts


def test_what_is_written_is_what_is_used_and_a_changed_one_is_another(tmp_path):
    ours = read_prompts(None)
    assert [path.name for path in write_prompts(tmp_path / "p")] == [ANSWER, JUDGE]
    assert read_prompts(tmp_path / "p") == ours
    file = tmp_path / "p" / JUDGE
    file.write_text(file.read_text() + "Be strict.\n")
    assert read_prompts(tmp_path / "p").sha256 != ours.sha256
    with pytest.raises(UsageError, match=r"answer\.txt: is there already"):
        write_prompts(tmp_path / "p")
    assert "Be strict." in file.read_text()


def test_names_are_filled_in_one_pass(tmp_path):
    prompts = Prompts("{{caption}} | {{ question }}", "{{question}} {{answer}} {{prediction}}")
    assert prompts.to_answer("a {{question}} \\1", "why?") == "a {{question}} \\1 | why?"
    assert prompts.to_judge("q", "{{prediction}}", "p") == "q {{prediction}} p"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("Nothing.", "holds no name in double braces; it must hold {{caption}}, {{question}}"),
        ("{{caption}}", "holds {{caption}}; it must hold"),
        ("{{caption}} {{question}} {{colour}}", "holds {{caption}}, {{colour}}, {{question}}; it must hold"),
    ],
)
def test_a_prompt_without_its_names_or_with_others_is_an_error(tmp_path, text, message):
    write_prompts(tmp_path)
    (tmp_path / ANSWER).write_text(text)
    with pytest.raises(UsageError) as error:
        read_prompts(tmp_path)
    assert message in str(error.value)


def test_a_folder_without_a_prompt_says_how_to_get_one(tmp_path):
    with pytest.raises(UsageError, match="--write-judge-prompts"):
        read_prompts(tmp_path)
