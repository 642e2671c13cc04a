"""Settings of a language model that judges captions."""

from pydantic import Field

from aurora_cli.config.section import LocalPath, OutputFolder, Section


class JudgeSettings(Section):
    """A judge behind an endpoint, for `aurora evaluate`."""

    url: str | None = None
    """OpenAI-compatible endpoint of a language model that answers and judges questions; none: no judge."""

    model: str | None = None
    """The judge's name at that endpoint."""

    key_env: str | None = None
    """Environment variable with the endpoint's key; none: AURORA_JUDGE_KEY, else OPENAI_API_KEY, else no key."""

    prompts: LocalPath | None = None
    """Folder with answer.txt and judge.txt, what the judge is asked; none: aurora's own."""

    concurrency: int = Field(default=4, ge=1)
    """Requests at a time."""

    max_tokens: int = Field(default=256, ge=1)
    """Tokens of a reply at most."""

    timeout_s: float = Field(default=120.0, gt=0.0)
    """A request that is silent for this many seconds is made again."""

    tries: int = Field(default=6, ge=1)
    """How often a request is made before its question counts as failed."""

    write_prompts: OutputFolder | None = None
    """Write aurora's own prompts into this folder, and do nothing else."""
