"""An engine of vLLM's in a process of its own: `python vllm_engine.py JOBS.json OUT.json`.

JOBS has `engine`, the arguments of `vllm.LLM`, and `calls`: each a list of chats with its `mm_processor_kwargs`. OUT
has for each call a list of {ids, prompt, cached}, or the text of its error.
"""

import json
import os
import sys
from pathlib import Path


def main() -> None:
    os.environ |= {"VLLM_ENABLE_V1_MULTIPROCESSING": "0", "HF_HUB_OFFLINE": "1"}
    os.environ.setdefault("VLLM_CPU_KVCACHE_SPACE", "1")
    from vllm import LLM, SamplingParams

    jobs = json.loads(Path(sys.argv[1]).read_text())
    engine = LLM(enforce_eager=True, seed=0, **jobs["engine"])
    results = []
    for call in jobs["calls"]:
        greedy = SamplingParams(temperature=0, max_tokens=call["new_tokens"])
        try:
            found = engine.chat(call["chats"], greedy, use_tqdm=False, mm_processor_kwargs=call["changes"])
        except ValueError as error:
            results.append(str(error))
            continue
        results.append(
            [
                {
                    "ids": list(one.outputs[0].token_ids)[: -1 if one.outputs[0].finish_reason == "stop" else None],
                    "prompt": len(one.prompt_token_ids),
                    "cached": one.num_cached_tokens,
                }
                for one in found
            ]
        )
    Path(sys.argv[2]).write_text(json.dumps(results))


if __name__ == "__main__":
    main()
