"""Copies of checkpoints in another folder, or in a bucket."""

import shutil
import threading
from pathlib import Path
from typing import TYPE_CHECKING

from aurora_cli.console import Reporter
from aurora_cli.io.atomic import atomic_directory
from aurora_cli.runs.checkpoints import prune
from aurora_cli.runs.stored_checkpoints import prune_stored, put_checkpoint
from aurora_cli.training.callbacks.callback import Callback

if TYPE_CHECKING:
    from aurora_cli.training.engine.engine import Engine


class CheckpointCopies(Callback):
    """Copies every checkpoint into another folder, in a thread, while the run goes on; one at a time.

    `folder`: a path, or the URL of a folder in a bucket.
    """

    def __init__(self, folder: Path | str, keep: int, reporter: Reporter) -> None:
        self._folder = folder
        self._keep = keep
        self._reporter = reporter
        self._thread: threading.Thread | None = None

    def on_checkpoint_begin(self, engine: "Engine", step: int) -> None:
        self._wait()  # or the checkpoint being copied could be removed meanwhile

    def on_checkpoint(self, engine: "Engine", checkpoint: Path) -> None:
        self._thread = threading.Thread(target=self._copy, args=(checkpoint,), name="checkpoint copy")
        self._thread.start()

    def on_train_end(self, engine: "Engine") -> None:
        self._wait()

    def _copy(self, checkpoint: Path) -> None:
        try:
            if isinstance(self._folder, str):
                put_checkpoint(checkpoint, self._folder)
                prune_stored(self._folder, self._keep, {path.name for path in checkpoint.parent.iterdir()})
                return
            with atomic_directory(self._folder / checkpoint.name) as partial:
                shutil.copytree(checkpoint, partial, dirs_exist_ok=True)
            prune(self._folder, self._keep)
        except Exception as error:  # the run's own checkpoint is safe
            self._reporter.warning(f"{checkpoint.name} was not copied to {self._folder}: {error}")

    def _wait(self) -> None:
        if self._thread is not None:
            self._thread.join()
