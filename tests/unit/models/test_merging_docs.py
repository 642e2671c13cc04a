import re
from pathlib import Path

from aurora_cli.config.merging import TokenMerging
from aurora_cli.models.merge_plan import num_visual_tokens

PAGE = (Path(__file__).parents[3] / "docs" / "how-it-works" / "merging.md").read_text(encoding="utf-8")
ROW = re.compile(r"^\| (0\.\d+|1\.0) \| (\d+) \| ([\d.]+) % \| (\d+) \| ([\d.]+) % \|$", re.MULTILINE)


def test_the_table_of_the_page_is_what_the_plan_says():
    rows = ROW.findall(PAGE)
    assert len(rows) == 7
    for ratio, *columns in rows:
        expected = []
        for schedule in ("exact", "constant"):
            tokens = num_visual_tokens(378, 378, merging=TokenMerging(kept_ratio=float(ratio), schedule=schedule))
            expected += [str(tokens), f"{100 * tokens / 729:.1f}"]
        assert columns == expected


def test_the_worked_video_of_the_page_is_right():
    merged = num_visual_tokens(378, 378, merging=TokenMerging(kept_ratio=0.1))
    assert f"729 + 7 * {merged} = {729 + 7 * merged:,} tokens" in PAGE
