"""Names of weights, against what the original's code really writes."""

from hypothesis import given
from hypothesis import strategies as st

from aurora_cli.checkpoints import names
from aurora_cli.io.atomic import read_json
from tests.captioners import GOLDEN

STATE = read_json(GOLDEN / "export" / "state_dict_keys.json")["keys"]
LLAVA = read_json(GOLDEN / "export" / "huggingface_tensors.json")["pytorch_model.bin"]
PREFIX = {"": "llm.", "visual_encoder": "visual_encoder.", "projector": "projector."}


def test_a_training_state_dict_becomes_exactly_the_names_that_the_original_exports():
    assert {names.canonical(name) for name in STATE} - {None} == set(LLAVA)
    assert names.canonical("visual_encoder.pos_emb") is None


def test_every_layout_reads_back_what_it_writes():
    for name in LLAVA:
        assert names.canonical(name) == name
        assert names.canonical(names.official(name)) == name
        folder, own = names.xtuner(name)
        assert names.canonical(PREFIX[folder] + own) == name


def test_names_in_memory_of_transformers_4_and_5_are_the_same_weights():
    for name in LLAVA:
        part = names.part_of(name)
        if part == "vision_tower":
            newer, older = name.replace("vision_tower.vision_model.", "model.vision_tower."), f"model.{name}"
        elif part == "projector":
            newer = older = f"model.{name}"
        else:
            newer = name.replace("language_model.model.", "model.language_model.").replace(
                "language_model.lm_head", "lm_head"
            )
            older = newer
        assert names.canonical(newer) == names.canonical(older) == name
        assert names.canonical(f"module.{newer}") == name


@given(st.text(alphabet="abcdeglmnorstuv_.0123", min_size=1, max_size=60))
def test_any_name_is_read_and_reading_twice_changes_nothing(name):
    once = names.canonical(name)
    if once is not None and once.startswith((names.VISION, names.PROJECTOR, names.LANGUAGE)):
        assert names.canonical(once) in (once, None)
