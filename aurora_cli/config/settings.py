"""Every setting of aurora: one strict, frozen tree. A field's docstring is its help on the command line and in docs.

Paths that are relative start at the workspace. `None` means what the docstring says, never "unknown".
"""

from pathlib import Path

from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict

from aurora_cli.config.importing import ImportSettings
from aurora_cli.config.merging import MergingSettings
from aurora_cli.config.preparing import (
    DownloadSettings,
    ExtractSettings,
    MergeShardsSettings,
    MergeTarsSettings,
    TokenizeSettings,
)
from aurora_cli.config.section import LocalPath
from aurora_cli.config.training import CheckpointSettings, DataSettings, ModelSettings, TrainSettings
from aurora_cli.config.using import (
    CaptionSettings,
    ConvertSettings,
    DemoSettings,
    EvaluateSettings,
    InspectSettings,
    MergeCaptionsSettings,
    MergeViewSettings,
    PresetsSettings,
    ServeSettings,
)


class Settings(BaseSettings):
    """The whole tree. `config.resolve.resolve` builds it: it merges the sources and knows where a value came from."""

    model_config = SettingsConfigDict(
        extra="forbid",
        frozen=True,
        use_attribute_docstrings=True,
        validate_default=True,
        env_prefix="AURORA_",
        env_nested_delimiter="__",
    )

    workspace: LocalPath = Path()
    """Folder that all relative paths start from."""

    preset: str = "auroracap-7b"
    """A preset's name, or a file or folder like one."""

    model: ModelSettings = ModelSettings()
    merging: MergingSettings = MergingSettings()
    download: DownloadSettings = DownloadSettings()
    merge_tars: MergeTarsSettings = MergeTarsSettings()
    extract: ExtractSettings = ExtractSettings()
    import_data: ImportSettings = ImportSettings()
    tokenize: TokenizeSettings = TokenizeSettings()
    merge_shards: MergeShardsSettings = MergeShardsSettings()
    train: TrainSettings = TrainSettings()
    data: DataSettings = DataSettings()
    checkpoint: CheckpointSettings = CheckpointSettings()
    convert: ConvertSettings = ConvertSettings()
    caption: CaptionSettings = CaptionSettings()
    merge_captions: MergeCaptionsSettings = MergeCaptionsSettings()
    evaluate: EvaluateSettings = EvaluateSettings()
    serve: ServeSettings = ServeSettings()
    merge_view: MergeViewSettings = MergeViewSettings()
    demo: DemoSettings = DemoSettings()
    inspect: InspectSettings = InspectSettings()
    presets: PresetsSettings = PresetsSettings()

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Only what it is given: `resolve` reads the environment and the files itself, to know each value's source."""
        return (init_settings,)
