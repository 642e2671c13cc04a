"""`aurora presets`: lists what there is; shows one; copies one, or writes a new one, into the workspace's `presets`."""

from pathlib import Path

from aurora_cli.config.presets import OWN_PRESETS, find_preset, own_presets, preset_names, presets_folder, stage_order
from aurora_cli.config.resolve import Resolved
from aurora_cli.config.workspace import Workspace
from aurora_cli.console import SILENT, Reporter
from aurora_cli.errors import UsageError
from aurora_cli.io.atomic import atomic_directory
from aurora_cli.pipeline.presets.batch_scripts import SLURM, copy_scripts
from aurora_cli.pipeline.presets.listing import list_presets
from aurora_cli.pipeline.presets.new_preset import Files, copied_files, new_files
from aurora_cli.pipeline.presets.result import PresetFiles, PresetsResult, WrittenPreset, WrittenScripts


def run(
    resolved: Resolved, reporter: Reporter = SILENT, *, dry_run: bool = False
) -> PresetsResult | PresetFiles | WrittenPreset | WrittenScripts:
    """List the presets; or show one, or make one.

    Raises:
        UsageError: there is no preset of that name, or another one has it already; parts that cannot be.
        DataError: the files of a part are missing or damaged.
    """
    step, workspace = resolved.settings.presets, Workspace(resolved.settings.workspace)
    wishes = {"--show": step.show, "--copy": step.copy_of, "--new": step.new}
    given = [name for name, wish in wishes.items() if wish is not None]
    if len(given) > 1:
        raise UsageError(f"{' and '.join(given)} at once: one of them was expected")
    if step.name is not None and step.copy_of is None:
        raise UsageError(f"presets: {step.name} names a copy, and nothing is copied", hint=f"--copy tiny {step.name}")
    if step.show is not None:
        return show(step.show, workspace.root)
    if step.copy_of == SLURM and SLURM not in own_presets(workspace.root):
        return copy_scripts(step.name, workspace, dry_run=dry_run)
    if step.copy_of is not None:
        if step.name is None:
            raise UsageError(
                "--copy: the copy needs a name", hint=f"aurora presets --copy {step.copy_of} my-{step.copy_of}"
            )
        return _write(step.name, copied_files(find_preset(step.copy_of, workspace.root)), workspace, dry_run=dry_run)
    if step.new is not None:
        check_name(step.new)
        files, lines = new_files(step.new, resolved)
        for line in lines:
            reporter.info(line)
        return _write(step.new, files, workspace, dry_run=dry_run)
    return list_presets(workspace.root)


def show(name: str, workspace: Path) -> PresetFiles:
    """A preset's folder, and its text."""
    path = find_preset(name, workspace)
    files = [path] if path.is_file() else sorted(path.glob("*.yaml"), key=stage_order)
    folder = path.parent if path.is_file() else path
    return PresetFiles(name, str(folder), {file.name: file.read_text(encoding="utf-8") for file in files})


def check_name(name: str) -> None:
    """
    Raises:
        UsageError: it cannot be a folder's, or an installed preset has it.
    """
    if not name or Path(name).name != name or name.startswith("."):
        raise UsageError(f"presets: {name!r} cannot be the name of a preset: it becomes a folder in {OWN_PRESETS}")
    if name in preset_names():
        raise UsageError(
            f"presets: {name} is the name of an installed preset ({presets_folder() / name})",
            hint=f"Take another name: my-{name}",
        )


def _write(name: str, files: Files, workspace: Workspace, *, dry_run: bool) -> WrittenPreset:
    """
    Raises:
        UsageError: a preset of that name is there and differs.
    """
    check_name(name)
    target = workspace.root / OWN_PRESETS / name
    existing = own_presets(workspace.root).get(name)
    if existing is not None or target.exists():
        there = existing or target
        if there == target and copied_files(target) == files:
            return WrittenPreset(name, str(target), tuple(sorted(files)), did="nothing")
        raise UsageError(
            f"{there}: is there already, and differs",
            hint=f"Take another name, or remove it; `aurora presets --show {name}` prints it.",
        )
    if not dry_run:
        with atomic_directory(target) as partial:
            for path, content in files.items():
                (partial / path).parent.mkdir(parents=True, exist_ok=True)
                (partial / path).write_bytes(content)
    return WrittenPreset(name, str(target), tuple(sorted(files)), did="dry run" if dry_run else "written")
