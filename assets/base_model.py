"""The model of iteration 0."""

from __future__ import annotations

import dagster as dg

from assets.common import about
from assets.metadata import shown
from ops.gpu_ops import base_model_op
from ops.stages.base_model import obtain_base_model

DESCRIPTION = """\
The model before any self-improvement. A built-in recipe is pretrained here from its seed (a tiny model organism whose
verifying was taught with gold labels); a checkpoint of your own is checked and fingerprinted. A Hugging Face folder."""

_obtain = base_model_op(obtain_base_model, shown)


@dg.graph_asset(**about("base_model", None, {"torch", "huggingface"}, DESCRIPTION, gpu=True))
def base_model():
    return _obtain()
