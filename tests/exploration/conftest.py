"""What tests of studies of exploration share."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.exploration.studies import changed
from tests.studies import study_writer


@pytest.fixture
def write_exploration(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Write ``studies/NAME.yaml`` in a folder of the test's own; MINDGAP_* point there."""
    return study_writer(tmp_path, monkeypatch, changed)


@pytest.fixture(scope="module")
def write_shared_exploration(tmp_path_factory: pytest.TempPathFactory):
    """The same in one folder for the tests of a module that only read what one of them made."""
    with pytest.MonkeyPatch.context() as patch:
        yield study_writer(tmp_path_factory.mktemp("exploration"), patch, changed)
