"""The few calls of the Kubernetes API that dagster-k8s makes, on loopback: a job's container is a process here.

No cluster is at hand, and a mock of the Python client would not notice a manifest that Kubernetes could not read: here
real requests of the real client arrive, and the real command of a step's container runs. Not a test itself.
"""

from __future__ import annotations

import json
import subprocess
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import yaml


class FakeKubernetes:
    """Serves until closed. ``jobs`` are the manifests that were posted; processes are their containers."""

    def __init__(self, folder: Path, environment: dict[str, str]) -> None:
        self.folder, self.environment = folder, environment
        self.jobs: dict[str, dict[str, Any]] = {}
        self.processes: dict[str, subprocess.Popen[bytes]] = {}
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(self))
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def kubeconfig(self) -> Path:
        """A file that names this server as the current cluster."""
        address = f"http://127.0.0.1:{self._server.server_port}"
        path = self.folder / "kubeconfig.yaml"
        path.write_text(
            yaml.safe_dump(
                {
                    "apiVersion": "v1",
                    "kind": "Config",
                    "clusters": [{"name": "here", "cluster": {"server": address}}],
                    "users": [{"name": "me", "user": {}}],
                    "contexts": [{"name": "here", "context": {"cluster": "here", "user": "me"}}],
                    "current-context": "here",
                }
            )
        )
        return path

    def start(self, job: dict[str, Any]) -> dict[str, Any]:
        """What the cluster would do with a new job: run its container once."""
        name = job["metadata"]["name"]
        (container,) = job["spec"]["template"]["spec"]["containers"]
        values = {item["name"]: item["value"] for item in container.get("env", []) if "value" in item}
        command = [*(container.get("command") or []), *(container.get("args") or [])]
        log = (self.folder / f"{name}.log").open("wb")
        environment = {**self.environment, **values, "HOSTNAME": name}
        self.jobs[name] = job
        self.processes[name] = subprocess.Popen(command, env=environment, stdout=log, stderr=subprocess.STDOUT)
        return job

    def status(self, name: str) -> dict[str, Any] | None:
        """The job with its state; None where there is no such job."""
        if name not in self.jobs:
            return None
        code = self.processes[name].poll()
        state = {"active": 1} if code is None else {"succeeded": 1} if code == 0 else {"failed": 1}
        return {**self.jobs[name], "status": state}

    def close(self) -> None:
        """Stop serving and end every container."""
        self._server.shutdown()
        self._server.server_close()
        for process in self.processes.values():
            process.kill()
            process.wait()


def _handler(cluster: FakeKubernetes) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            self._answer(201, cluster.start(body))

        def do_GET(self) -> None:
            words = self.path.split("?")[0].strip("/").split("/")
            found = cluster.status(words[6]) if "jobs" in words and len(words) > 6 else None
            self._answer(*((200, found) if found else (404, {"kind": "Status", "code": 404, "reason": "NotFound"})))

        def do_DELETE(self) -> None:
            name = self.path.split("?")[0].rsplit("/", 1)[-1]
            if name in cluster.processes:
                cluster.processes[name].terminate()
            self._answer(200, {"kind": "Status", "status": "Success"})

        def _answer(self, code: int, body: dict[str, Any]) -> None:
            data = json.dumps(body).encode()
            self.send_response(code)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        def log_message(self, *_: object) -> None:
            pass

    return Handler
