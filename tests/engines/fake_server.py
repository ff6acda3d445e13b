"""A stand-in for vLLM's server that starts at once: what it answers can be told from the seed. Not for anything else.

Arguments: port, model's name, checkpoint, and a JSON object: ``fail`` (what it says before it ends at once), ``delay``
(seconds per answer), ``die_at`` (a file: where it is missing, the server makes it and is killed at its 5th answer;
empty: always).
"""

import json
import math
import os
import signal
import subprocess
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

PORT, MODEL, ROOT, FAULTS = int(sys.argv[1]), sys.argv[2], sys.argv[3], json.loads(sys.argv[4])
ANSWERS, LOCK = [0], threading.Lock()


def answer(body, key):
    n, token = body["max_tokens"], 5 + (body.get("seed") or 0) % 7
    top = {f"token_id:{one}": -1.5 for one in body.get("logprob_token_ids") or []}
    logprobs = {
        "tokens": [f"token_id:{token}"] * n,
        "token_logprobs": [math.log(0.5)] * n,
        "top_logprobs": [{f"token_id:{token}": math.log(0.5), **top}] * n,
    }
    choice = {"index": 0, "text": "x", "finish_reason": "length", "token_ids": [token] * n, "logprobs": logprobs}
    choice["prompt_token_ids"] = body["prompt"]
    usage = {"prompt_tokens": len(body["prompt"]), "completion_tokens": n}
    return {"id": f"cmpl-{key}", "choices": [choice], "usage": usage}


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *parts):
        pass

    def say(self, what, status=200):
        body = json.dumps(what).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def allowed(self):
        right = self.headers.get("Authorization") == f"Bearer {os.environ['VLLM_API_KEY']}"
        if not right:
            self.say({"error": "no"}, 401)
        return right

    def do_GET(self):
        if self.path == "/health":
            self.say({})
        elif self.path == "/version":
            self.say({"version": "0.0.fake"})
        elif self.allowed():
            self.say({"data": [{"id": MODEL, "owned_by": "vllm", "root": ROOT, "max_model_len": 64}]})

    def do_POST(self):
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        if not self.allowed():
            return
        time.sleep(FAULTS.get("delay", 0))
        with LOCK:
            ANSWERS[0] += 1
            died = Path(FAULTS["die_at"] or "/nowhere") if "die_at" in FAULTS else None
            if died is not None and ANSWERS[0] == 5 and not died.exists():
                if FAULTS["die_at"]:
                    died.touch()
                os.kill(os.getpid(), signal.SIGKILL)
        self.say(answer(body, self.headers["X-Request-Id"]))


class Server(ThreadingHTTPServer):
    request_queue_size = 256
    daemon_threads = True


if __name__ == "__main__":
    if "fail" in FAULTS:
        sys.exit(FAULTS["fail"])
    core = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])  # as vLLM's, a process of its own

    def end(number, frame):
        core.kill()
        sys.exit(0)

    signal.signal(signal.SIGTERM, end)
    print(f"started {MODEL}", flush=True)
    Server(("127.0.0.1", PORT), Handler).serve_forever()
