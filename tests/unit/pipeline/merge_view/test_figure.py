import io

import numpy as np
from PIL import Image

from aurora_cli.captioning.regions import View
from aurora_cli.pipeline.merge_view.figure import draw


def test_the_views_stand_in_a_row_behind_the_image():
    file = io.BytesIO()
    views = [View(1.0, 4, np.array([[0, 1], [2, 3]])), View(0.5, 2, np.array([[0, 0], [1, 1]]))]
    draw(np.zeros((28, 28, 3), np.uint8), 14, views, file, facts="about")
    sheet = Image.open(file)
    assert sheet.width == 14 + 3 * (2 * 189 + 14)
    assert sheet.text == {"aurora": "about"}
