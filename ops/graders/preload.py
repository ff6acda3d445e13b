"""What the server of grading workers loads once, so that a new worker starts in milliseconds."""

import contextlib

with contextlib.suppress(ImportError):  # a worker that needs them says so itself, item by item
    import math_verify  # noqa: F401
    import pebble  # noqa: F401

import ops.graders.math  # noqa: F401
