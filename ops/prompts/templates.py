"""Prompt templates in files: which file says a prompt, whether it can be used, and what it renders to.

A template is Jinja2 in a sandbox; docs/prompts.md lists its variables. A user's folder is looked through before the
built-in one, in both the task's own template before the general one.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal, get_args

from ops.errors import ExperimentError
from ops.prompts.base import PROMPT_KINDS, PromptKind
from ops.tasks.base import Task

BUILT_IN = Path(__file__).resolve().parent / "templates"
SUFFIX = ".j2"
Wording = Literal["chat", "few_shot"]
WORDINGS: tuple[Wording, ...] = get_args(Wording)

EXAMPLES = ("examples", "wrong_examples", "judged_examples", "compared_examples")
_JUDGED = ("question", "response")
REQUIRED: dict[PromptKind, tuple[str, ...]] = {
    "solve": ("question",),
    "logit": _JUDGED,
    "p_true": _JUDGED,
    "binary_cot": _JUDGED,
    "score_cot": (*_JUDGED, "low", "high"),
    "tournament": ("question", "first", "second"),
}
"""Variables that a template of a kind must use; it may use those in ``EXAMPLES`` as well."""

_REMEDY = "docs/prompts.md lists the variables and shows the built-in templates"
_SAMPLES = {"question": "1 + 1 = ?", "response": "2", "first": "2", "second": "3", "low": 0, "high": 10}


@dataclass(frozen=True)
class Template:
    """One template: the file that was found for it, and its text."""

    path: Path
    kind: PromptKind
    text: str

    @property
    def digest(self) -> str:
        """SHA-256 of the text."""
        return hashlib.sha256(self.text.encode()).hexdigest()

    def render(self, values: Mapping[str, Any]) -> str:
        """The prompt, without line breaks at its ends.

        Raises:
            ExperimentError: names the file and what went wrong in it.
        """
        from jinja2 import TemplateError

        try:
            return _compiled(self.text).render(**values).strip("\n")
        except (TemplateError, ArithmeticError, AttributeError, LookupError, TypeError, ValueError) as error:
            raise _unusable(self.path, f"cannot be rendered: {error}") from None


def find_template(task: str, wording: Wording, kind: PromptKind, folder: str | None = None) -> Template:
    """The first template there is: user/task, user, built-in/task, built-in/default.

    Raises:
        ExperimentError: when the file cannot be read.
    """
    name = f"{wording}/{kind}{SUFFIX}"
    places = [BUILT_IN / task / name, BUILT_IN / "default" / name]
    if folder is not None:
        places = [Path(folder) / task / name, Path(folder) / name, *places]
    path = next((place for place in places if place.is_file()), places[-1])
    try:
        return Template(path, kind, path.read_text(encoding="utf-8"))
    except UnicodeDecodeError as error:
        raise _unusable(path, f"not UTF-8 text (byte {error.start})") from None
    except OSError as error:
        raise _unusable(path, f"cannot be read: {error.strerror}") from None


def check_template(template: Template, examples: Mapping[str, Any]) -> None:
    """Refuse a template that could not make its prompts, before anything is sampled.

    Args:
        examples: the task's values of ``EXAMPLES``; the template is rendered once with them.

    Raises:
        ExperimentError: for a syntax error, an unknown or a missing variable, or another file asked for.
    """
    from jinja2 import TemplateSyntaxError, meta, nodes

    required = REQUIRED[template.kind]
    try:
        tree = _environment().parse(template.text)
    except TemplateSyntaxError as error:
        raise _unusable(template.path, f"line {error.lineno}: {error.message}") from None
    other = next(tree.find_all((nodes.Include, nodes.Import, nodes.FromImport, nodes.Extends)), None)
    if other is not None:
        raise _unusable(template.path, f"line {other.lineno}: a template stands alone and reads no other")
    used = meta.find_undeclared_variables(tree)
    known = (*required, *EXAMPLES)
    unknown = sorted(used - set(known))
    if unknown:
        raise _unusable(template.path, f"unknown variable {unknown[0]}; expected one of {', '.join(known)}")
    missing = [name for name in required if name not in used]
    if missing:
        raise _unusable(template.path, f"the variable {missing[0]} is not used, so no prompt would show it")
    samples = {name: _SAMPLES[name] for name in required}
    if not template.render({**samples, **examples}).strip():
        raise _unusable(template.path, "it renders to nothing")


def check_folder(folder: str) -> None:
    """Refuse template files in a user's folder that no prompt would ever look for: misspelt ones, most likely.

    Raises:
        ExperimentError: names the first such file.
    """
    from ops.tasks import TASKS

    for path in sorted(Path(folder).rglob(f"*{SUFFIX}")):
        *above, wording, name = "", *path.relative_to(folder).parts
        known_task = above in ([""], []) or (len(above) == 2 and above[1] in TASKS)
        if not known_task or wording not in WORDINGS or name.removesuffix(SUFFIX) not in PROMPT_KINDS:
            raise _unusable(
                path,
                "no prompt looks for this file",
                f"expected [TASK/]{'|'.join(WORDINGS)}/{'|'.join(PROMPT_KINDS)}{SUFFIX}",
            )


def example_values(task: Task) -> dict[str, list[dict[str, Any]]]:
    """The task's worked examples as templates see them, each list possibly empty.

    ``judged_examples`` shows every problem once, with its right or its wrong response; ``compared_examples`` shows it
    with both. Which comes when follows the pattern of ``_turned``, so that no rule as simple as taking turns predicts
    the next one.
    """
    right = [(problem, task.question(problem), response.strip()) for problem, response in task.examples()]
    wrong = {task.content_key(problem): response.strip() for problem, response in task.wrong_examples()}
    judged, compared = [], []
    for i, (problem, question, good) in enumerate(right if wrong else []):
        bad = wrong.get(task.content_key(problem))
        shows_wrong = bad is not None and _turned(i)
        about = {"problem": question, "solution": good}
        judged.append({**about, "response": bad if shows_wrong else good, "is_correct": not shows_wrong})
        if bad is not None:
            first, second = (bad, good) if _turned(i) else (good, bad)
            compared.append({**about, "first": first, "second": second, "better": "B" if _turned(i) else "A"})
    return {
        "examples": [{"problem": question, "response": good} for _, question, good in right],
        "wrong_examples": [
            {"problem": task.question(problem), "response": response.strip()}
            for problem, response in task.wrong_examples()
        ],
        "judged_examples": judged,
        "compared_examples": compared,
    }


def _turned(i: int) -> bool:
    """No, yes, yes, no, and again."""
    return i % 4 in (1, 2)


def _unusable(path: Path, problem: str, remedy: str = _REMEDY) -> ExperimentError:
    return ExperimentError(str(path), problem, field="prompts.folder", remedy=remedy)


@lru_cache(maxsize=1)
def _environment() -> Any:
    from jinja2 import StrictUndefined
    from jinja2.sandbox import ImmutableSandboxedEnvironment

    # Prompts are plain text for a model, not HTML for a browser.
    return ImmutableSandboxedEnvironment(
        undefined=StrictUndefined, autoescape=False, trim_blocks=True, lstrip_blocks=True, loader=None
    )


@lru_cache(maxsize=64)
def _compiled(text: str) -> Any:
    return _environment().from_string(text)
