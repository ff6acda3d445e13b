"""Templates: which file is found, what is refused before anything runs, what is part of the identity."""

from __future__ import annotations

from pathlib import Path

import pytest

from ops.config import Experiment
from ops.errors import ExperimentError
from ops.plan import make_plan
from ops.prompts.base import PROMPT_KINDS, PromptKind
from ops.prompts.templates import (
    BUILT_IN,
    WORDINGS,
    check_folder,
    check_template,
    example_values,
    find_template,
)
from ops.prompts.text import TextFormat
from ops.tasks.arithmetic import Arithmetic
from ops.tasks.countdown import Countdown
from ops.types import Problem

TASK = Arithmetic()
VALUES = {"question": "What?", "response": "This.", "first": "One.", "second": "Two.", "low": 1, "high": 5}


def write(folder: Path, name: str, text: str) -> str:
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    return str(folder)


@pytest.mark.parametrize("task", [Arithmetic(), Countdown(), Countdown(numbers=2), Countdown(numbers=4)])
@pytest.mark.parametrize("wording", WORDINGS)
@pytest.mark.parametrize("kind", PROMPT_KINDS)
def test_every_built_in_template_can_be_used(task, wording, kind):
    template = find_template(task.name, wording, kind)
    examples = example_values(task)
    check_template(template, examples)
    text = template.render({**VALUES, **examples})
    assert "What?" in text
    assert "{" not in text
    assert text == text.strip()
    assert "\n\n\n" not in text
    bare = template.render({**VALUES, **{name: [] for name in examples}})
    assert "What?" in bare
    if wording == "few_shot":  # every worked example is set off as the stop string expects
        assert f"\n\n{text}".count("\n\nProblem: ") == len(examples["examples"]) + 1
    check_template(template, {name: [] for name in examples})


def test_the_built_in_folder_holds_nothing_else():
    names = sorted(str(path.relative_to(BUILT_IN)) for path in BUILT_IN.rglob("*.j2"))
    assert names == sorted(f"default/{wording}/{kind}.j2" for wording in WORDINGS for kind in PROMPT_KINDS)


def test_worked_examples_show_right_and_wrong():
    values = example_values(TASK)
    assert len(values["examples"]) == 4
    assert [item["is_correct"] for item in values["judged_examples"]] == [True, False, False, True]
    assert [item["better"] for item in values["compared_examples"]] == ["A", "B", "B", "A"]
    for item, (problem, right), (_, wrong) in zip(
        values["judged_examples"], TASK.examples(), TASK.wrong_examples(), strict=True
    ):
        assert item["response"] == (right if item["is_correct"] else wrong)
        assert item["solution"] == right
        assert TASK.grade(problem, right).verdict == "correct"
        assert TASK.grade(problem, wrong).verdict == "incorrect"
    for item in values["compared_examples"]:
        assert item["solution"] == (item["first"] if item["better"] == "A" else item["second"])


def test_a_task_without_wrong_examples_has_nothing_judged(monkeypatch):
    monkeypatch.setattr(Arithmetic, "wrong_examples", lambda self: [])
    values = example_values(TASK)
    assert len(values["examples"]) == 4
    assert values["wrong_examples"] == values["judged_examples"] == values["compared_examples"] == []


def test_the_users_folder_comes_first(tmp_path):
    def found(folder=None, task="arithmetic"):
        return find_template(task, "chat", "solve", folder).text

    assert found() == "{{ question }}\n"
    folder = write(tmp_path, "chat/solve.j2", "General: {{ question }}")
    assert found(folder) == "General: {{ question }}"
    write(tmp_path, "arithmetic/chat/solve.j2", "Special: {{ question }}")
    assert found(folder) == "Special: {{ question }}"
    assert found(folder, "countdown") == "General: {{ question }}"
    assert find_template("arithmetic", "few_shot", "solve", folder).path == BUILT_IN / "default/few_shot/solve.j2"
    check_folder(folder)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("{{ question }}", "the variable response is not used"),
        ("{{ question }} {{ response }} {{ answer }}", "unknown variable answer; expected one of question, response"),
        ("{{ question }} {{ response }} {{ low }}", "unknown variable low"),
        ("{{ question }} {{ response", "line 1"),
        ("{{ question }}\n{{ response }}\n{% for x in examples %}", "line 3"),
        ("{% include 'other.j2' %}{{ question }}{{ response }}", "reads no other"),
        ("{% extends 'x' %}{{ question }}{{ response }}", "reads no other"),
        ("{{ question }}{{ response }}{% for x in examples %}{{ x.reply }}{% endfor %}", "no attribute 'reply'"),
        ("{{ question }}{{ response }}{{ ''.__class__.__mro__ }}", "cannot be rendered"),
        ("{{ question }}{{ response }}{{ 1 / 0 }}", "cannot be rendered"),
        ("{{ question }}{{ response }}{{ range(10 ** 9) | list }}", "cannot be rendered"),
        ("{% set a = question ~ response %}", "renders to nothing"),
    ],
)
def test_templates_that_are_refused(tmp_path, text, words):
    folder = write(tmp_path, "chat/binary_cot.j2", text)
    with pytest.raises(ExperimentError, match=words) as error:
        TextFormat.identity(TASK, "auto", "binary_cot", folder)
    assert error.value.where == str(tmp_path / "chat/binary_cot.j2")
    assert error.value.field == "prompts.folder"
    assert error.value.remedy
    TextFormat.identity(TASK, "few_shot", "binary_cot", folder)  # the chat template is not spoken


def test_bytes_that_are_no_text(tmp_path):
    (tmp_path / "chat").mkdir()
    (tmp_path / "chat/solve.j2").write_bytes(b"\xff\xfe")
    with pytest.raises(ExperimentError, match="not UTF-8"):
        TextFormat.identity(TASK, "chat", "solve", str(tmp_path))


@pytest.mark.parametrize(
    "name", ["solve.j2", "chat/sovle.j2", "chats/solve.j2", "arithmatic/chat/solve.j2", "a/countdown/chat/solve.j2"]
)
def test_a_file_that_nothing_looks_for_is_refused(tmp_path, name):
    folder = write(tmp_path, name, "{{ question }}")
    with pytest.raises(ExperimentError, match="no prompt looks for this file"):
        TextFormat.identity(TASK, "chat", "solve", folder)


def test_the_identity_is_the_wording(tmp_path, monkeypatch):
    plain = TextFormat.identity(TASK, "auto", "binary_cot")
    assert plain == TextFormat.identity(TASK, "auto", "binary_cot")
    assert set(plain["templates"]) == {"chat", "few_shot"}
    assert set(TextFormat.identity(TASK, "chat", "binary_cot")["templates"]) == {"chat"}
    folder = write(tmp_path, "few_shot/binary_cot.j2", "{{ question }} {{ response }}")
    mine = TextFormat.identity(TASK, "auto", "binary_cot", folder)
    assert mine["templates"]["few_shot"] != plain["templates"]["few_shot"]
    assert mine["templates"]["chat"] == plain["templates"]["chat"]
    # A copy of the built-in text is the same prompt, wherever it stands.
    built_in = BUILT_IN / "default/few_shot/binary_cot.j2"
    copy = write(tmp_path / "copy", "few_shot/binary_cot.j2", built_in.read_text(encoding="utf-8"))
    assert TextFormat.identity(TASK, "auto", "binary_cot", copy) == plain
    solve = TextFormat.identity(TASK, "auto", "solve")
    monkeypatch.setattr(Arithmetic, "wrong_examples", lambda self: [])
    assert TextFormat.identity(TASK, "auto", "binary_cot") != plain
    assert TextFormat.identity(TASK, "auto", "solve") == solve  # wrong answers are shown to verifiers only
    monkeypatch.setattr(Arithmetic, "question", lambda self, problem: "Other words.")
    assert TextFormat.identity(TASK, "auto", "solve") != solve


def _folder_model(tmp_path: Path) -> Path:
    """What the plan reads of a checkpoint; it is never loaded."""
    folder = tmp_path / "model"
    folder.mkdir()
    (folder / "config.json").write_text("{}")
    (folder / "model.safetensors").write_bytes(b"")
    return folder


def test_a_bad_template_is_found_by_the_plan_and_a_good_one_changes_one_pool(tmp_path):
    model = {"kind": "folder", "path": str(_folder_model(tmp_path)), "prompts": "few_shot"}

    def plan(folder=None):
        return make_plan(
            Experiment.model_validate(
                {
                    "name": "prompts",
                    "hypothesis": "Wording matters to verification.",
                    "model": model,
                    "task": {"name": "countdown"},
                    "verifiers": [{"name": "binary_cot"}, {"name": "logit"}],
                    "iterations": 0,
                    "prompts": {"folder": folder},
                }
            )
        )

    before = plan()
    folder = write(tmp_path / "mine", "few_shot/logit.j2", "{{ question }} {{ response }} Right?")
    after = plan(folder)
    assert before.sample_pools == after.sample_pools
    assert before.verification_pools[0]["binary_cot"] == after.verification_pools[0]["binary_cot"]
    assert before.verification_pools[0]["logit"] != after.verification_pools[0]["logit"]
    write(tmp_path / "mine", "few_shot/binary_cot.j2", "{{ question }} {{ respond }}")
    with pytest.raises(ExperimentError, match="unknown variable respond"):
        plan(folder)


@pytest.fixture(scope="module")
def tokenizer_folder(tmp_path_factory) -> Path:
    """A tokenizer with a chat template and a beginning-of-sequence token that it adds itself."""
    from tokenizers import Tokenizer, models, pre_tokenizers, processors
    from transformers import PreTrainedTokenizerFast

    words = {"<unk>": 0, "<s>": 1, "</s>": 2}
    tokenizer = Tokenizer(models.WordLevel(words, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    tokenizer.post_processor = processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 1)])
    fast = PreTrainedTokenizerFast(tokenizer_object=tokenizer, bos_token="<s>", eos_token="</s>", unk_token="<unk>")
    fast.chat_template = "{% for m in messages %}[{{ m.role }}]{{ m.content }}{% endfor %}[assistant]"
    folder = tmp_path_factory.mktemp("tokenizer")
    fast.save_pretrained(folder)
    return folder


def test_prompts_of_both_wordings(tokenizer_folder, tmp_path):
    problem: Problem = TASK.generate("eval", 1, 0)[0]
    chat, plain = TextFormat(TASK, tokenizer_folder), TextFormat(TASK, tokenizer_folder, "few_shot")
    assert chat.solve(problem) == f"[user]{TASK.question(problem)}[assistant]"
    assert plain.solve(problem).startswith("<s>Problem: ")
    assert plain.solve(problem).endswith(f"Problem: {TASK.question(problem)}\nAnswer:")
    assert plain.solve(problem).count("Problem:") == 5  # four worked examples
    for form in (chat, plain):
        scored = form.score_cot(problem, " 1 + 1 = 2 \n", (1, 5))
        assert "from 1 " in scored
        assert "Proposed answer: 1 + 1 = 2\n" in scored
        compared = form.tournament(problem, "mine {{ low }}", "yours")
        assert compared.index("Answer A: mine {{ low }}\n") < compared.index("Answer B: yours\n")
    assert plain.logit(problem, "x").endswith("Is the proposed answer correct?")
    assert plain.p_true(problem, "x").endswith("The proposed answer is:")
    assert (plain.p_true_choices, chat.p_true_choices) == ((" A", " B"), ("A", "B"))
    assert plain.binary_cot(problem, "x").endswith("Proposed answer: x\nCheck:")
    folder = write(tmp_path, "chat/logit.j2", "{{ question }} | {{ response }}")
    mine = TextFormat(TASK, tokenizer_folder, folder=folder)
    assert mine.logit(problem, "x") == f"[user]{TASK.question(problem)} | x[assistant]"


def test_a_tokenizer_that_puts_the_space_in_itself_is_asked_for_the_bare_word(tmp_path):
    """As SentencePiece tokenizers do: ' Yes' is two tokens of theirs, 'Yes' is one."""
    from tokenizers import Tokenizer, models, normalizers
    from transformers import PreTrainedTokenizerFast

    vocabulary = [
        ("<unk>", 0.0),
        ("<s>", 0.0),
        ("</s>", 0.0),
        *((piece, -1.0) for piece in ("▁Yes", "▁No", "▁A", "▁B", "▁")),
    ]
    tokenizer = Tokenizer(models.Unigram(vocabulary, unk_id=0))
    tokenizer.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    fast = PreTrainedTokenizerFast(tokenizer_object=tokenizer, bos_token="<s>", eos_token="</s>", unk_token="<unk>")
    fast.save_pretrained(tmp_path)
    assert [len(fast(word, add_special_tokens=False)["input_ids"]) for word in (" Yes", "Yes")] == [2, 1]
    form = TextFormat(TASK, tmp_path, "few_shot")
    assert (form.choices, form.p_true_choices) == (("Yes", "No"), ("A", "B"))


def test_worked_transcripts_are_read_as_they_are_meant():
    """What few-shot prompts show as a check is what the parsers read."""
    values = example_values(TASK)
    form = TextFormat.__new__(TextFormat)
    ends: dict[PromptKind, str] = {"binary_cot": "Check:", "score_cot": "Check:", "tournament": "Comparison:"}
    for kind, mark in ends.items():
        text = find_template("arithmetic", "few_shot", kind).render({**VALUES, **values})
        worked = [part.split("\n\nProblem:")[0] for part in text.split(mark)[1:-1]]
        if kind == "binary_cot":
            said = [form.parse_binary_cot(part, True) for part in worked]
            assert said == ["correct", "incorrect", "incorrect", "correct"]
        elif kind == "score_cot":
            assert [form.parse_score_cot(part, True, (1, 5)) for part in worked] == [5.0, 1.0, 1.0, 5.0]
        else:
            assert [form.parse_tournament(part, True) for part in worked] == ["first", "second", "second", "first"]
