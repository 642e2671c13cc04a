"""`python -m aurora_cli.pipeline.train CONFIG`: a worker that `aurora train` started."""

from aurora_cli.pipeline.train.process import main

main()
