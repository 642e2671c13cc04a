"""Where the subsets of the published training set come from, and under which terms.

Licences are given as the page at `url` states them; pages change, so it is the page that counts. `not stated` means
that the page names none. A licence of a data set covers its annotations; its images and videos stay their owners'.
The set as a whole is published as Apache-2.0 (https://huggingface.co/datasets/wchai/AuroraCap-trainset), which
cannot loosen the terms of what it was taken from.
"""

from pathlib import Path

from aurora_cli.data.download.manifest import DownloadManifest
from aurora_cli.data.download.origin import Origin

PUBLISHED_SET = "AuroraCap-trainset"
"""Name of the repository that this table describes; copies under another owner keep it."""


_OPENAI = "and the terms of use of OpenAI"

_LLAVA_PRETRAIN = Origin(
    "LLaVA-Pretrain (558K of LAION, CC, SBU)",
    "other",
    "https://huggingface.co/datasets/liuhaotian/LLaVA-Pretrain",
    "its sources' terms apply, see the page",
)
_SHAREGPT4V = Origin("ShareGPT4V", "CC BY-NC 4.0", "https://huggingface.co/datasets/Lin-Chen/ShareGPT4V")
_DENSEFUSION = Origin("DenseFusion-1M", "CC BY 4.0", "https://huggingface.co/datasets/BAAI/DenseFusion-1M")
_ALLAVA = Origin("ALLaVA-4V", "Apache-2.0", "https://huggingface.co/datasets/FreedomIntelligence/ALLaVA-4V")
_SHAREGPT4VIDEO = Origin(
    "ShareGPT4Video", "CC BY-NC 4.0", "https://huggingface.co/datasets/ShareGPT4Video/ShareGPT4Video"
)

_ORIGINS: dict[str, tuple[Origin, ...]] = {
    "projection/sharegpt4v": (_SHAREGPT4V, _LLAVA_PRETRAIN),
    "projection/laion_cc_sbu": (_LLAVA_PRETRAIN,),
    "projection/densefusion": (_DENSEFUSION,),
    "projection/allava_caption_vflan": (_ALLAVA,),
    "projection/allava_caption_laion": (_ALLAVA,),
    "vision/sharegpt4v_pt": (_SHAREGPT4V, _LLAVA_PRETRAIN),
    "vision/m3it": (
        Origin(
            "M3IT",
            "other",
            "https://huggingface.co/datasets/MMInstruction/M3IT",
            "each task keeps the licence of its own source, see the page",
        ),
    ),
    "vision/llava_onevision": (
        Origin("LLaVA-OneVision-Data", "Apache-2.0", "https://huggingface.co/datasets/lmms-lab/LLaVA-OneVision-Data"),
    ),
    "vision/laion": (_LLAVA_PRETRAIN,),
    "vision/cost": (
        Origin(
            "COST",
            "MIT",
            "https://huggingface.co/datasets/shi-labs/COST",
            "the images are those of COCO and Visual Genome",
        ),
    ),
    "vision/chatterbox": (
        Origin(
            "ChatterBox CB-300K",
            "not stated",
            "https://github.com/sunsmarterjie/ChatterBox",
            "made from Visual Genome",
        ),
    ),
    "language/allava_caption_laion": (_ALLAVA,),
    "language/allava_caption_vflan": (_ALLAVA,),
    "language/allava_instruct_laion": (_ALLAVA,),
    "language/allava_instruct_vflan": (_ALLAVA,),
    "language/cambrian": (
        Origin("Cambrian-10M", "Apache-2.0", "https://huggingface.co/datasets/nyu-visionx/Cambrian-10M"),
    ),
    "language/densefusion": (_DENSEFUSION,),
    "language/evol": (
        Origin(
            "Evol-Instruct-GPT4-Turbo-143K (ALLaVA-4V)",
            "Apache-2.0",
            _ALLAVA.url,
            "the published set does not say which Evol-Instruct it took; this one by its name and size",
        ),
    ),
    "language/facecaption": (
        Origin(
            "FaceCaption-15M",
            "CC BY 4.0",
            "https://huggingface.co/datasets/OpenFace-CQUPT/FaceCaption-15M",
            "for research and education only, says its page",
        ),
    ),
    "language/llava_mix": (
        Origin(
            "LLaVA-Instruct-150K (its mix of 665K)",
            "CC BY 4.0",
            "https://huggingface.co/datasets/liuhaotian/LLaVA-Instruct-150K",
            _OPENAI,
        ),
    ),
    "language/llavanext": (
        Origin("LLaVA-NeXT-Data", "not stated", "https://huggingface.co/datasets/lmms-lab/LLaVA-NeXT-Data"),
    ),
    "language/m4": (
        Origin("M4-Instruct", "CC BY 4.0", "https://huggingface.co/datasets/lmms-lab/M4-Instruct-Data", _OPENAI),
    ),
    "language/miradata": (Origin("MiraData", "GPL-3.0", "https://huggingface.co/datasets/TencentARC/MiraData"),),
    "language/sharegpt4v": (_SHAREGPT4V, _LLAVA_PRETRAIN),
    "language/sharegpt4video_caption": (_SHAREGPT4VIDEO,),
    "language/sharegpt4video_qa": (_SHAREGPT4VIDEO,),
}


def origins_of(subset: str) -> tuple[Origin, ...]:
    """Where `<split>/<subset>` of the published set comes from; empty if it is not one of its subsets.

    >>> [origin.licence for origin in origins_of("language/m4")]
    ['CC BY 4.0']
    """
    return _ORIGINS.get(subset, ())


def recorded_origins(path: str | Path) -> dict[str, tuple[Origin, ...]]:
    """Subset -> its origins, as the download noted them, for the data folder or a folder inside it.

    A subset of unknown origin is there with none. What a model card says of the data that a run was trained on comes
    from here: `recorded_origins(media_root)` for each store.
    """
    path = Path(path)
    top = DownloadManifest.above(path)
    manifest = DownloadManifest.of_folder(top) if top is not None else None
    if top is None or manifest is None:
        return {}
    below = path.absolute().relative_to(top).parts[:2]
    return {
        subset: origins for subset, origins in manifest.terms.items() if tuple(subset.split("/"))[: len(below)] == below
    }
