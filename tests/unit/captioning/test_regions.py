import numpy as np

from aurora_cli.captioning.regions import paint, region_colours


def test_a_region_has_the_mean_colour_of_its_patches_wherever_they_lie():
    patches = np.array([[[0.0, 10, 0], [100, 20, 0]], [[50, 30, 0], [200, 40, 3]]])
    regions = np.array([[7, 2], [2, 7]])  # the diagonal (0 + 200) / 2, and the rest (100 + 50) / 2
    colours = region_colours(patches, regions)
    assert colours.tolist() == [[[100, 25, 1.5], [75, 25, 0]], [[75, 25, 0], [100, 25, 1.5]]]


def test_a_line_runs_between_two_regions_and_nowhere_else():
    image = np.full((4, 8, 3), 40, np.uint8)
    image[:, 4:] = 240
    painted = paint(image, 2, np.array([[0, 0, 1, 1], [0, 0, 1, 1]]), cell=5)
    assert painted.shape == (10, 20, 3)
    assert (painted[:, :10] == 40).all()
    assert (painted[:, 10] == 132).all()  # 240 is light: 0.55 of it
    assert (painted[:, 11:] == 240).all()
    dark = paint(np.full((4, 8, 3), 40, np.uint8), 2, np.array([[0, 0, 1, 1], [0, 0, 1, 1]]), cell=5)
    assert (dark[:, 10] == 158).all()  # 0.45 * 40 + 0.55 * 255


def test_pixels_that_fill_no_patch_are_not_painted():
    image = np.full((7, 7, 3), 40, np.uint8)
    image[6] = image[:, 6] = 255
    assert (paint(image, 2, np.zeros((3, 3), int), cell=1) == 40).all()
