"""Plain-text prompts for any checkpoint: few-shot for base models, the chat template where there is one."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any, Literal

from ops.errors import ModelError
from ops.tasks.base import Task
from ops.types import CORRECT, INCORRECT, UNPARSEABLE, Problem, Verdict

Style = Literal["auto", "chat", "few_shot"]
"""auto: through the chat template where the tokenizer has one (base checkpoints may have one too: name few_shot)."""

_VERDICT = re.compile(r"verdict\s*:?\s*\**\s*(correct|incorrect)\b", re.IGNORECASE)
_NEXT = "\n\nProblem:"


class TextFormat:
    """Questions in words. A tokenizer with a chat template is spoken to through it."""

    name = "text"
    version = "1"
    choices = (" Yes", " No")

    @classmethod
    def identity(cls, task: Task, style: Style) -> dict[str, Any]:
        """What of the format decides responses and verdicts, for fingerprints: the task's wording is part of it."""
        worked = [[task.question(problem), answer] for problem, answer in task.examples()]
        return {"format": cls.name, "version": cls.version, "style": style, "worked": worked}

    def __init__(self, task: Task, model_path: Path, style: Style = "auto") -> None:
        """
        Raises:
            ModelError: when there is no tokenizer, or no chat template where ``style`` is chat.
        """
        from ops.engines.transformers_engine import load_tokenizer

        self.task = task
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
        if self.is_chat:
            self.choices = ("Yes", "No")
        self.solve_stop: tuple[str, ...] = () if self.is_chat else (_NEXT,)
        self.binary_cot_stop: tuple[str, ...] = () if self.is_chat else (_NEXT,)

    def solve(self, problem: Problem) -> str:
        if self.is_chat:
            return self._chat(self.task.question(problem))
        worked = self.task.examples()
        shots = "".join(f"Problem: {self.task.question(p)}\nAnswer: {answer}\n\n" for p, answer in worked)
        return self._plain(f"{shots}Problem: {self.task.question(problem)}\nAnswer:")

    def completion(self, response: str, finished: bool) -> str:
        end = self.tokenizer.eos_token or ""
        if self.is_chat:
            return response + (end if finished else "")
        return f" {response.strip()}" + (_NEXT if finished else "")

    def logit(self, problem: Problem, response: str) -> str:
        question = f"{self._shown(problem, response)}\n\nIs this answer correct? Say Yes or No."
        return self._chat(question) if self.is_chat else self._plain(f"{question}\nAnswer:")

    def binary_cot(self, problem: Problem, response: str) -> str:
        question = (
            f"{self._shown(problem, response)}\n\nCheck the proposed answer step by step. Then write 'Verdict: "
            "correct' or 'Verdict: incorrect' on the last line."
        )
        return self._chat(question) if self.is_chat else self._plain(f"{question}\nCheck:")

    def parse_binary_cot(self, transcript: str, finished: bool) -> Verdict:
        """The last 'Verdict: ...' of the transcript."""
        said = _VERDICT.findall(transcript)
        if not said:
            return UNPARSEABLE
        return CORRECT if said[-1].lower() == "correct" else INCORRECT

    def _shown(self, problem: Problem, response: str) -> str:
        return f"Problem: {self.task.question(problem)}\n\nProposed answer: {response.strip()}"

    def _chat(self, text: str) -> str:
        message = [{"role": "user", "content": text}]
        return self.tokenizer.apply_chat_template(message, tokenize=False, add_generation_prompt=True)

    def _plain(self, text: str) -> str:
        """Base models get their beginning-of-sequence token where their tokenizer would put one."""
        bos = self.tokenizer.bos_token
        adds_bos = bos is not None and self.tokenizer("x")["input_ids"][:1] == [self.tokenizer.bos_token_id]
        return f"{bos}{text}" if adds_bos else text
