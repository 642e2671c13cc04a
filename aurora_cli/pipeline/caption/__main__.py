"""`python -m aurora_cli.pipeline.caption CONFIG SHARE`: one of the processes of `aurora caption --num-processes`."""

from aurora_cli.pipeline.caption.work import main

main()
