"""The judging op in a process of its own that ends itself by SIGKILL: ``python killed_judges.py HOME FILE CHUNKS``.

FILE holds the experiment as JSON. After CHUNKS committed chunks it is killed; with 0 it runs to its end and prints how
much it judged.
"""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from ops.config import Experiment
from ops.lab import Lab
from ops.stages import chunks
from ops.stages.synthetic_judgements import judge_pairs
from ops.storage.pool import Pool


def main(home: str, file: str, count: str) -> None:
    chunks.CHUNK_ROWS = 8  # 4 rows a chunk
    left = int(count)
    append = Pool.append

    def counted(pool: Pool, frame) -> None:
        nonlocal left
        append(pool, frame)
        left -= 1
        if left == 0:
            os.kill(os.getpid(), signal.SIGKILL)

    Pool.append = counted
    lab = Lab.open(Experiment.model_validate_json(Path(file).read_text()), home=Path(home))
    print(judge_pairs(lab)["judged"])
    lab.close()


if __name__ == "__main__":
    main(*sys.argv[1:])
