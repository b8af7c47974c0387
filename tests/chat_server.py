"""A real HTTP server that speaks as OpenAI's chat endpoint does, and answers as a test says."""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

Answer = str | int | bytes
"""Text of a reply, an HTTP status with an error, or a body as it stands."""


class ChatServer:
    """`answer` takes a question. Use as a context."""

    def __init__(self, answer: Callable[[str], Answer]) -> None:
        self.answer = answer
        self.bodies: list[dict[str, Any]] = []
        self.headers: list[dict[str, str]] = []
        self.most_at_once = 0
        self._now = 0
        self._lock = threading.Lock()
        self._server = _Quiet(("127.0.0.1", 0), self._handler())
        self.url = f"http://127.0.0.1:{self._server.server_port}/v1"

    @property
    def questions(self) -> list[str]:
        return [body["messages"][0]["content"] for body in self.bodies]

    def __enter__(self) -> ChatServer:
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,))
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    def _handler(owner) -> type[BaseHTTPRequestHandler]:  # noqa: N805 - `self` is the handler below
        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                with owner._lock:
                    owner.bodies.append(body)
                    owner.headers.append({k.lower(): v for k, v in self.headers.items()})
                    owner._now += 1
                    owner.most_at_once = max(owner.most_at_once, owner._now)
                known = self.path == "/v1/chat/completions"
                answer = owner.answer(body["messages"][0]["content"]) if known else 404
                with owner._lock:
                    owner._now -= 1
                self._send(answer)

            def _send(self, answer: Answer) -> None:
                status = answer if isinstance(answer, int) else 200
                data = answer if isinstance(answer, bytes) else _body(answer)
                self.send_response(status)
                self.send_header("Content-Length", str(len(data)))
                self.end_headers()
                self.wfile.write(data)

            def log_message(self, *_: object) -> None:
                pass

        return Handler


class _Quiet(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 64  # of 5, the sixth connection at a time waits a second

    def handle_error(self, *_: object) -> None:
        """A client that has stopped waiting breaks the connection: that is what some tests are about."""


def _body(answer: str | int) -> bytes:
    if isinstance(answer, int):
        return json.dumps({"error": {"message": f"status {answer}"}}).encode()
    message = {"role": "assistant", "content": answer}
    return json.dumps({"choices": [{"index": 0, "message": message}]}).encode()


def blocks(question: str) -> dict[str, str]:
    """What stands between a question's marked lines, by name."""
    return {
        m[1]: m[3]
        for m in re.finditer(r"\[([A-Z0-9 ]+) ([0-9a-f]{16})\]\n(.*?)\n\[END OF \1 \2\]", question, re.S)
    }
