"""The training loop; knows no data and no files of other programs."""
