"""Captions are true of what is drawn, and no frame of a video shows where its shape goes."""

import random
from collections import Counter, defaultdict
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from aurora_cli.demo import drawing
from aurora_cli.demo.drawing import (
    CELLS,
    COLOURS,
    FRAMES,
    MIDDLES,
    MOTIONS,
    PLACES,
    SHAPES,
    SIDE,
    TRAVEL,
    Scene,
    draw,
    image_scene,
    video_scene,
)

MANY = 60


def painted(image: Image.Image, scene: Scene) -> np.ndarray:
    """(side, side): which pixels have the shape's colour, give or take the soft edge."""
    distance = np.abs(np.asarray(image, np.int16) - np.array(COLOURS[scene.colour], np.int16)).max(axis=-1)
    return distance < 40


def middle(image: Image.Image, scene: Scene) -> np.ndarray:
    """Mean (right, down) of the painted pixels, in sides."""
    rows, columns = np.nonzero(painted(image, scene))
    return np.array([columns.mean(), rows.mean()]) / SIDE


def images() -> list[Scene]:
    rng = random.Random(5)
    return [image_scene(rng) for _ in range(MANY)]


def videos() -> list[Scene]:
    rng = random.Random(6)
    return [video_scene(rng) for _ in range(MANY)]


def test_an_image_has_its_shape_in_the_colour_at_the_place_of_the_caption() -> None:
    for scene in images():
        (image,) = draw(scene)
        centre = middle(image, scene)
        nearest = min(PLACES, key=lambda place: float(np.hypot(*(centre - np.array(PLACES[place])))))
        assert nearest == scene.place
        assert scene.caption == f"A {scene.colour} {scene.shape} at the {nearest}."
        others = [colour for colour in COLOURS if colour != scene.colour]
        assert not any(painted(image, replace(scene, colour=colour)).sum() > 8 for colour in others)


def test_a_shape_is_large() -> None:
    for scene in images():
        rows, columns = np.nonzero(painted(draw(scene)[0], scene))
        assert min(np.ptp(rows), np.ptp(columns)) >= SIDE / 3


def test_shapes_differ_in_the_share_of_their_square_that_they_fill_or_how() -> None:
    """A circle fills pi / 4 of its square, a triangle half: told apart at a glance, not by an edge."""
    scene = replace(images()[0], centre=(0.5, 0.5), radius=0.24)
    masks = {shape: painted(draw(replace(scene, shape=shape))[0], replace(scene, shape=shape)) for shape in SHAPES}
    for one in SHAPES:
        for other in SHAPES:
            if one < other:
                shared = (masks[one] & masks[other]).sum() / (masks[one] | masks[other]).sum()
                assert shared < 0.85, (one, other)


@pytest.mark.parametrize("frames", [FRAMES, 9])
def test_a_video_moves_where_its_caption_says(frames: int) -> None:
    step_S = TRAVEL / frames
    for scene in videos():
        assert scene.motion is not None
        assert scene.caption == f"A {scene.colour} {scene.shape} moves {scene.motion}."
        inside = replace(scene, centre=(0.5, 0.5))  # nothing is cut off, so the mean of the pixels is its centre
        way = np.diff([middle(image, inside) for image in draw(inside, frames)], axis=0)
        np.testing.assert_allclose(way, np.array([MOTIONS[scene.motion]] * (frames - 1)) * step_S, atol=0.02)


def test_frames_of_a_longer_video_that_are_sampled_evenly_are_the_short_videos_frames() -> None:
    for scene in videos()[:10]:
        long = draw(scene, 3 * FRAMES)
        assert [image.tobytes() for image in draw(scene)] == [image.tobytes() for image in long[1::3]]


def test_right_is_left_backwards_and_up_is_down_backwards() -> None:
    """So a frame without its index in the video cannot tell them apart."""
    for scene in videos():
        for way, back in (("right", "left"), ("up", "down")):
            forth = [image.tobytes() for image in draw(replace(scene, motion=way))]
            assert forth == [image.tobytes() for image in draw(replace(scene, motion=back))][::-1]


def best_guess(frame: int) -> float:
    """How often the direction is guessed from where the shape is in one frame, by somebody who knows the generator."""
    seen: dict[tuple[int, int], Counter[str]] = defaultdict(Counter)
    for motion, (right, down) in MOTIONS.items():
        for x in MIDDLES:
            for y in MIDDLES:
                steps = round(TRAVEL * CELLS * ((frame + 0.5) / FRAMES - 0.5))
                seen[x + right * steps, y + down * steps][motion] += 1
    return sum(max(counts.values()) for counts in seen.values()) / sum(counts.total() for counts in seen.values())


def test_one_frame_does_not_tell_the_direction() -> None:
    """The middle frame says nothing; the union of four 5x5 squares, each moved a cell, has 45 cells of 4 x 25."""
    assert [best_guess(frame) for frame in range(FRAMES)] == pytest.approx([0.45, 0.25, 0.45])


def test_the_middle_of_the_way_and_all_else_do_not_depend_on_the_direction() -> None:
    rng = random.Random(7)
    scenes = [video_scene(rng) for _ in range(4000)]
    for motion in MOTIONS:
        part = [scene for scene in scenes if scene.motion == motion]
        assert len(part) == pytest.approx(1000, abs=120)
        assert np.mean([scene.centre for scene in part], axis=0) == pytest.approx([0.5, 0.5], abs=0.02)
        assert Counter(scene.shape for scene in part).most_common()[-1][1] > 180


def test_every_attribute_is_guessed_in_at_most_three_of_ten() -> None:
    for values in (SHAPES, COLOURS, PLACES, MOTIONS):
        assert 1 / len(values) <= 0.3


def test_the_blank_image_shows_nothing() -> None:
    (image,) = drawing.blank(1)
    assert len(image.getcolors() or ()) == 1
