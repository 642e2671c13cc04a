"""`python -m aurora_cli` is `aurora`."""

from aurora_cli.cli.app import main

if __name__ == "__main__":
    main()
