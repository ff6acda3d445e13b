"""Where human labels come from, as an experiment says it under ``evaluation.labels``."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from ops.variants import Seed, Strict


class FileLabels(Strict):
    """Labels that people gave: a JSONL file that ``mindgap evaluate import`` writes.

    ``path``: left out, ``labels/NAME.jsonl`` beside the folder of experiments, or ``NAME.jsonl`` in the folder
    ``MINDGAP_LABELS``. No file is no labels yet.
    """

    source: Literal["file"] = "file"
    path: str | None = None


class GoldLabels(Strict):
    """The truth in place of people, of a random part of the pairs: what labels would have said.

    ``count``: labelled pairs of each model, drawn at random by ``seed``; None: all of them.
    """

    source: Literal["gold"]
    count: int | None = Field(None, ge=2)
    seed: Seed = 0


Labels = Annotated[FileLabels | GoldLabels, Field(discriminator="source")]
