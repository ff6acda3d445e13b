"""``mindgap ui``: recover, then Dagster's web server and daemon on 127.0.0.1."""

from __future__ import annotations

import os
import subprocess
import sys

import click

from ops.lab import PROJECT
from orchestration.instance import instance_folder, open_instance, prepare_environment


def serve(port: int) -> int:
    """Serve until interrupted; returns the exit code."""
    home = prepare_environment()
    from orchestration.partitions import add_partitions, valid_experiments
    from orchestration.recover import recover

    with open_instance(capture_output=True) as instance:
        for line in recover(instance, home):
            click.echo(f"recovered: {line}", err=True)
        add_partitions(instance, sorted(valid_experiments()))
    click.echo(f"Dagster on http://127.0.0.1:{port} (state: {home}); end with Ctrl-C", err=True)
    command = [sys.executable, "-W", "ignore", "-m", "dagster", "dev", "-w", "workspace.yaml"]
    command += ["-h", "127.0.0.1", "-p", str(port), "--log-level", "warning"]
    # The folder of dagster.yaml; its storage is elsewhere. Without it Dagster makes a temporary folder in the clone.
    server = subprocess.Popen(command, cwd=PROJECT, env={**os.environ, "DAGSTER_HOME": str(instance_folder())})  # noqa: S603
    while True:
        try:
            return server.wait()
        except KeyboardInterrupt:
            continue  # the server has heard it too, and ends its own children first
