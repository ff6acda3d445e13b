"""Experiments that float on a model of the MLflow registry: which versions answer, and whose runs would never end."""

from __future__ import annotations

from collections.abc import Mapping

from ops.config import Experiment
from ops.models import FoundModel


def floating_models(experiment: Experiment) -> list[FoundModel]:
    """Its registry models, of generator and verifiers, for which the file names no version."""
    models = [experiment.model, *(model for _, model in experiment.verifier_models())]
    return [model for model in models if isinstance(model, FoundModel) and model.floats]


def answering_versions(experiment: Experiment) -> dict[str, int | None]:
    """The version that answers now, by ``name:alias`` or ``name:latest``: two aliases of one name are two entries."""
    return {model.shown: model.version for model in floating_models(experiment)}


def endless(experiments: Mapping[str, Experiment]) -> dict[str, str]:
    """Why no sensor may start them, by experiment: those whose own runs change what they float on.

    Every run registers what it trains under the experiment's name. One that floats on itself, or on another that floats
    on it, directly or through others, would be started by its own result for ever. One that only follows such a circle
    ends: nobody starts the circle but its user.
    """
    edges = {name: {model.name for model in floating_models(item)} for name, item in experiments.items()}
    found = {}
    for name in edges:
        way = _way_back(name, edges)
        if way:
            what = "the model that it registers itself" if way == [name] else f"itself by way of {', '.join(way[:-1])}"
            found[name] = f"{name} floats on {what}: left alone, it would never end"
    return found


def _way_back(start: str, edges: Mapping[str, set[str]]) -> list[str]:
    """The shortest way from ``start`` back to itself, itself last; empty where there is none."""
    ways, seen = [[name] for name in sorted(edges[start])], set(edges[start])
    for way in ways:  # grows while it is read: breadth first
        if way[-1] == start:
            return way
        new = sorted(edges.get(way[-1], set()) - seen)
        seen.update(new)
        ways += [[*way, name] for name in new]
    return []
