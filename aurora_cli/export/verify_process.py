"""`python -m aurora_cli.export.verify_process REQUEST`: an export is compared with its source, in a fresh process."""

import sys

from aurora_cli.imports import imported_at_once, in_own_process, without_compiler

if __name__ == "__main__":
    in_own_process()
    with imported_at_once(), without_compiler():
        from aurora_cli.export.verify import answer  # with torch
    sys.exit(answer(sys.argv[1]))
