"""What the demo's images and videos show, how they are drawn, and what is true of them.

An image has one large shape of one colour at one of five places. In a video the shape moves a short way to the right,
to the left, up or down. The middle of its way does not depend on where it goes: of a video's frames put in a bag, none
tells right from left or up from down, and of the first or the last frame the best guess of the direction is right in
45 of 100 videos (the demo's tests compute it).
"""

import random
from dataclasses import dataclass

from PIL import Image, ImageDraw

SIDE = 56
"""Pixels; the side that the tiny preset's model sees, so that nothing is resized."""

OVERSAMPLING = 2
FRAMES = 3
CELLS = 8
"""Shapes of videos stand, but for a little, on a lattice of so many cells a side: half of the tiny preset's patches."""

MIDDLES = range(2, CELLS - 1)
"""Lattice lines, both ways, on which the middle of a shape's way lies."""

TRAVEL = FRAMES / CELLS
"""Way in the whole video, in sides of the image: a cell from one of `FRAMES` frames to the next."""

JITTER = 0.02
"""Sides of the image that a shape stands off its middle at most."""

RADIUS = 0.24
"""Of a shape, about, in sides of the image."""

SHAPES = ("circle", "square", "triangle", "cross")
COLOURS = {"red": (220, 40, 40), "green": (40, 180, 60), "blue": (50, 80, 230), "yellow": (240, 220, 50)}
PLACES = {
    "top left": (0.25, 0.25),
    "top right": (0.75, 0.25),
    "bottom left": (0.25, 0.75),
    "bottom right": (0.75, 0.75),
    "centre": (0.5, 0.5),
}
MOTIONS = {"right": (1, 0), "left": (-1, 0), "up": (0, -1), "down": (0, 1)}

IMAGE_ATTRIBUTES = ("shape", "colour", "place")
VIDEO_ATTRIBUTES = ("shape", "colour", "motion")


@dataclass(frozen=True)
class Scene:
    """Everything that decides what is drawn; positions and the radius in sides of the image."""

    shape: str
    colour: str
    place: str | None
    """Of an image; none for a video."""
    motion: str | None
    """Of a video; none for an image."""
    centre: tuple[float, float]
    """Of the shape; in a video, in the middle of its way."""
    radius: float
    background: tuple[int, int, int]

    @property
    def attributes(self) -> dict[str, str]:
        """What a caption has to get right."""
        where = {"place": self.place} if self.motion is None else {"motion": self.motion}
        return {"shape": self.shape, "colour": self.colour, **{name: str(word) for name, word in where.items()}}

    @property
    def caption(self) -> str:
        """
        >>> image_scene(random.Random(0)).caption
        'A red cross at the bottom right.'
        """
        if self.motion is None:
            return f"A {self.colour} {self.shape} at the {self.place}."
        return f"A {self.colour} {self.shape} moves {self.motion}."

    @property
    def questions(self) -> list[tuple[str, str]]:
        """Questions with short answers, one for each attribute."""
        where = (
            ("Where is it?", f"At the {self.place}.")
            if self.motion is None
            else ("Which way does it move?", f"It moves {self.motion}.")
        )
        return [("Which shape is it?", f"A {self.shape}."), ("Which colour is it?", f"{self.colour.title()}."), where]


def image_scene(rng: random.Random) -> Scene:
    """A scene of one frame."""
    place = rng.choice(list(PLACES))
    x, y = PLACES[place]
    return Scene(
        shape=rng.choice(SHAPES),
        colour=rng.choice(list(COLOURS)),
        place=place,
        motion=None,
        centre=(_near(rng, x), _near(rng, y)),
        radius=RADIUS * rng.uniform(0.85, 1.1),
        background=_grey(rng),
    )


def video_scene(rng: random.Random) -> Scene:
    """A scene whose shape moves."""
    return Scene(
        shape=rng.choice(SHAPES),
        colour=rng.choice(list(COLOURS)),
        place=None,
        motion=rng.choice(list(MOTIONS)),
        centre=(_near(rng, rng.choice(MIDDLES) / CELLS), _near(rng, rng.choice(MIDDLES) / CELLS)),
        radius=RADIUS * rng.uniform(0.85, 1.0),
        background=_grey(rng),
    )


def draw(scene: Scene, frames: int = FRAMES) -> list[Image.Image]:
    """The frame of an image, or the frames of the video: the middles of equal segments of its time."""
    if scene.motion is None:
        return [_frame(scene, scene.centre)]
    right, down = MOTIONS[scene.motion]
    x, y = scene.centre
    ways = [TRAVEL * ((frame + 0.5) / frames - 0.5) for frame in range(frames)]
    return [_frame(scene, (x + right * way, y + down * way)) for way in ways]


def blank(frames: int) -> list[Image.Image]:
    """Frames on which nothing is to be seen."""
    return [Image.new("RGB", (SIDE, SIDE), (118, 118, 118)) for _ in range(frames)]


def _frame(scene: Scene, centre: tuple[float, float]) -> Image.Image:
    image = Image.new("RGB", (SIDE * OVERSAMPLING,) * 2, scene.background)
    paint(image, scene, centre)
    return image.resize((SIDE, SIDE), Image.Resampling.BICUBIC)


def paint(image: Image.Image, scene: Scene, centre: tuple[float, float]) -> None:
    """The scene's shape on a square image, its centre there."""
    canvas, side = ImageDraw.Draw(image), image.width
    x, y, radius = centre[0] * side, centre[1] * side, scene.radius * side
    if scene.shape == "circle":
        canvas.ellipse([x - radius, y - radius, x + radius, y + radius], fill=COLOURS[scene.colour])
    else:
        outline = _OUTLINES[scene.shape]
        canvas.polygon([(x + radius * dx, y + radius * dy) for dx, dy in outline], fill=COLOURS[scene.colour])


def _near(rng: random.Random, middle: float) -> float:
    return middle + rng.uniform(-JITTER, JITTER)


def _grey(rng: random.Random) -> tuple[int, int, int]:
    level = rng.randint(100, 135)
    red, green, blue = (level + rng.randint(-6, 6) for _ in range(3))
    return red, green, blue


_ARM, _REACH = 0.3, 1.15
_OUTLINES = {
    "square": [(-1, -1), (1, -1), (1, 1), (-1, 1)],
    "triangle": [(0, -1.15), (1.15, 1), (-1.15, 1)],
    "cross": [
        (-_ARM, -_REACH), (_ARM, -_REACH), (_ARM, -_ARM), (_REACH, -_ARM), (_REACH, _ARM), (_ARM, _ARM),
        (_ARM, _REACH), (-_ARM, _REACH), (-_ARM, _ARM), (-_REACH, _ARM), (-_REACH, -_ARM), (-_ARM, -_ARM),
    ],
}  # fmt: skip
"""Corners around the centre, in radii."""
