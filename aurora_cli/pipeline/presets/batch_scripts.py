"""The batch scripts for SLURM that come with aurora, copied into a workspace."""

from aurora_cli.config.presets import presets_folder
from aurora_cli.config.workspace import Workspace
from aurora_cli.errors import UsageError
from aurora_cli.io.atomic import atomic_directory
from aurora_cli.pipeline.presets.new_preset import copied_files
from aurora_cli.pipeline.presets.result import WrittenScripts

SLURM = "slurm"
"""Their name where presets are copied, the folder that has them, and the one that they are copied into."""


def copy_scripts(name: str | None, workspace: Workspace, *, dry_run: bool) -> WrittenScripts:
    """
    Raises:
        UsageError: the folder is there and differs.
    """
    target = workspace.root / (name or SLURM)
    files = copied_files(presets_folder() / SLURM)
    scripts = tuple(sorted(files))
    if target.exists():
        if target.is_dir() and copied_files(target) == files:
            return WrittenScripts(str(target), scripts, did="nothing")
        raise UsageError(
            f"{target}: is there already, and differs",
            hint=f"Name another folder: `aurora presets --copy {SLURM} FOLDER`",
        )
    if not dry_run:
        with atomic_directory(target) as partial:
            for path, content in files.items():
                (partial / path).write_bytes(content)
    return WrittenScripts(str(target), scripts, did="dry run" if dry_run else "written")
