"""Plain-text prompts for any checkpoint: few-shot for base models, the chat template where there is one."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

from ops.errors import ModelError
from ops.prompts.base import PromptKind, Scale
from ops.prompts.templates import (
    WORDINGS,
    Template,
    Wording,
    check_folder,
    check_template,
    example_values,
    find_template,
)
from ops.prompts.verdicts import read_better, read_score, read_verdict
from ops.tasks.base import Task
from ops.types import Problem, Verdict

Style = Literal["auto", "chat", "few_shot"]
"""auto: through the chat template where the tokenizer has one (base checkpoints may have one too: name few_shot)."""

_NEXT = "\n\nProblem:"
"""What follows a worked example in the few-shot templates, and so ends whatever a base model writes."""


class TextFormat:
    """Questions in words, from templates. A tokenizer with a chat template is spoken to through it."""

    name = "text"
    version = "2"
    choices: tuple[str, str] = (" Yes", " No")
    p_true_choices: tuple[str, str] = (" A", " B")

    @classmethod
    def identity(cls, task: Task, style: Style, kind: PromptKind, folder: str | None = None) -> dict[str, Any]:
        """What of the format decides responses and verdicts, for fingerprints: templates, worked examples, questions.

        With ``auto`` both wordings count: which one is spoken, the tokenizer decides, and it is part of the model.

        Raises:
            ExperimentError: when a template cannot be used.
        """
        if folder is not None:
            check_folder(folder)
        values = example_values(task)
        digests = {}
        for wording in WORDINGS if style == "auto" else (style,):
            template = find_template(task.name, wording, kind, folder)  # type: ignore[attr-defined]
            check_template(template, values)
            digests[wording] = template.digest
        worked = {"examples": values["examples"]} if kind == "solve" else values
        return {"format": cls.name, "version": cls.version, "style": style, "templates": digests, "worked": worked}

    def __init__(self, task: Task, model_path: Path, style: Style = "auto", folder: str | None = None) -> None:
        """
        Raises:
            ModelError: when there is no tokenizer, or no chat template where ``style`` is chat.
        """
        from ops.engines.tokens import load_tokenizer

        self.task, self.folder = task, folder
        self.tokenizer: Any = load_tokenizer(model_path)
        template = bool(getattr(self.tokenizer, "chat_template", None))
        if style == "chat" and not template:
            raise ModelError(
                str(model_path),
                "the tokenizer has no chat template",
                field="model.prompts",
                remedy="use few_shot, or add the template to the tokenizer",
            )
        self.is_chat = template and style != "few_shot"
        self.choices = self._single_tokens(type(self).choices)
        self.p_true_choices = self._single_tokens(type(self).p_true_choices)
        self.solve_stop: tuple[str, ...] = () if self.is_chat else (_NEXT,)
        self.check_stop: tuple[str, ...] = () if self.is_chat else (_NEXT,)
        bos = self.tokenizer.bos_token
        adds_bos = bos is not None and self.tokenizer("x")["input_ids"][:1] == [self.tokenizer.bos_token_id]
        self._start = bos if adds_bos else ""  # base models get it where their tokenizer would put it
        self._examples = example_values(task)
        self._templates: dict[PromptKind, Template] = {}

    def _single_tokens(self, choices: tuple[str, str]) -> tuple[str, str]:
        """The choices as they begin an answer: after a space, or without one where a chat's turn is new.

        Tokenizers that put the space in themselves (SentencePiece) know the bare word as one token only.
        """
        bare = (choices[0].strip(), choices[1].strip())
        spaced_is_single, bare_is_single = (all(self._n_tokens(word) == 1 for word in pair) for pair in (choices, bare))
        return bare if self.is_chat or (bare_is_single and not spaced_is_single) else choices

    def _n_tokens(self, text: str) -> int:
        return len(self.tokenizer(text, add_special_tokens=False)["input_ids"])

    def solve(self, problem: Problem) -> str:
        return self._prompt("solve", question=self.task.question(problem))

    def completion(self, response: str, finished: bool) -> str:
        end = self.tokenizer.eos_token or ""
        if self.is_chat:
            return response + (end if finished else "")
        return f" {response.strip()}" + (_NEXT if finished else "")

    def logit(self, problem: Problem, response: str) -> str:
        return self._about("logit", problem, response)

    def p_true(self, problem: Problem, response: str) -> str:
        return self._about("p_true", problem, response)

    def binary_cot(self, problem: Problem, response: str) -> str:
        return self._about("binary_cot", problem, response)

    def score_cot(self, problem: Problem, response: str, scale: Scale) -> str:
        return self._about("score_cot", problem, response, low=scale[0], high=scale[1])

    def tournament(self, problem: Problem, first: str, second: str) -> str:
        question = self.task.question(problem)
        return self._prompt("tournament", question=question, first=first.strip(), second=second.strip())

    def parse_binary_cot(self, transcript: str, finished: bool) -> Verdict:
        """The last 'Verdict: ...' of the transcript."""
        return read_verdict(transcript)

    def parse_score_cot(self, transcript: str, finished: bool, scale: Scale) -> float | None:
        """The last 'Score: ...' of the transcript, where it is on the scale."""
        return read_score(transcript, scale)

    def parse_tournament(self, transcript: str, finished: bool) -> Literal["first", "second"] | None:
        """The last 'Better: ...' of the transcript."""
        return read_better(transcript)

    def _about(self, kind: PromptKind, problem: Problem, response: str, **values: Any) -> str:
        return self._prompt(kind, question=self.task.question(problem), response=response.strip(), **values)

    def _prompt(self, kind: PromptKind, **values: Any) -> str:
        if kind not in self._templates:
            wording: Wording = "chat" if self.is_chat else "few_shot"
            self._templates[kind] = find_template(self.task.name, wording, kind, self.folder)  # type: ignore[attr-defined]
        text = self._templates[kind].render({**values, **self._examples})
        return self._chat(text) if self.is_chat else f"{self._start}{text}"

    def _chat(self, text: str) -> str:
        message = [{"role": "user", "content": text}]
        return self.tokenizer.apply_chat_template(message, tokenize=False, add_generation_prompt=True)
