"""The files of `runs/<stage>/`, by name: the one place where their names are written."""

CONFIG_FILE = "config.yaml"
"""The resolved settings; what a worker is started on."""

FINISHED_FILE = "finished.json"
"""What the run came to; written last."""

METRICS_FILE = "metrics.jsonl"
"""A line an optimizer step."""

REPORT_FILE = "report.html"
"""The run's page, complete in itself."""

SAMPLES = "samples"
"""Captions of some of the data, as training goes on."""

INITIAL = "initial"
"""The network that a run began with by chance, where no other weights are named."""

TENSORBOARD = "tensorboard"
"""TensorBoard's event files."""

PLANS = ".plans"
"""The packs of an epoch, through which the processes of a run share them while it runs."""

LOGS = "logs"
"""What each process printed, a file a rank."""

CHECKPOINTS = "checkpoints"
"""The folder of `step-00000100/` and the like."""

LATEST = "latest"
"""In `checkpoints/`: the name of the newest."""

BEST = "best"
"""In `checkpoints/`: the name of the best, by `checkpoint.keep_best`."""

MODEL_FILE = "model.safetensors"
"""In a checkpoint: what was trained."""

METADATA_FILE = "checkpoint.json"
"""In a checkpoint, written last: what it is, and where the frozen parts come from."""

RESUME_FOLDER = "resume"
"""In a checkpoint: what only going on needs, the state of the run and of the optimizer."""

SCALES_FILE = "scales.safetensors"
STATE_FILE = "state.json"
"""In `resume/`: how far the run is, and what it must stay true to."""
