"""An endpoint that misbehaves costs its own answers; one that is not there is told at the start."""

import asyncio
import socket
import threading
import time
from collections.abc import Iterator
from itertools import count

import pytest

from chat_server import Answer, ChatServer
from groupwise.rewards import endpoint
from groupwise.rewards.endpoint import LONGEST, Endpoint, EndpointError, Reply
from groupwise.rewards.scoring import Failed


@pytest.fixture(autouse=True)
def no_pauses(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(endpoint, "PAUSE", 0.001)
    return


def ask(server: Endpoint, *questions: str) -> list[Reply]:
    return asyncio.run(server.ask(questions))[0]


def reason(reply: Reply) -> str:
    assert isinstance(reply, Failed)
    return reply.reason


def test_a_question_is_sent_as_openai_has_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("JUDGE_KEY", "secret-key")
    with ChatServer(lambda question: f"re: {question}") as server:
        judge = Endpoint(f"{server.url}/", "m", "JUDGE_KEY", request={"temperature": 0})
        assert asyncio.run(judge.ask(["one?", "two?", "one?"])) == (["re: one?", "re: two?", "re: one?"], 2)
    message = {"role": "user", "content": "one?"}
    assert {"model": "m", "messages": [message], "temperature": 0} in server.bodies
    assert [h["authorization"] for h in server.headers] == ["Bearer secret-key"] * 2
    assert "secret-key" not in repr(judge)


def test_no_key_is_sent_unless_asked_for() -> None:
    with ChatServer(lambda question: "yes") as server:
        ask(Endpoint(server.url, "m"), "?")
    assert "authorization" not in server.headers[0]


@pytest.mark.parametrize("status", [429, 500, 503])
def test_a_busy_server_is_asked_again(status: int) -> None:
    calls = count()
    with ChatServer(lambda question: "ready" if next(calls) == 2 else status) as server:
        assert asyncio.run(Endpoint(server.url, "m", retries=2).ask(["?"])) == (["ready"], 3)


def test_a_server_that_stays_broken_fails_its_answer_only() -> None:
    with ChatServer(lambda question: 500 if question == "bad" else "fine") as server:
        replies, calls = asyncio.run(Endpoint(server.url, "m", retries=2).ask(["good", "bad", "well"]))
    assert (replies[0], replies[2], calls) == ("fine", "fine", 5)
    assert reason(replies[1]).startswith("endpoint: HTTP 500")


@pytest.mark.parametrize("status", [400, 401, 404])
def test_a_refusal_is_not_asked_again(status: int) -> None:
    with ChatServer(lambda question: status) as server:
        (reply,), calls = asyncio.run(Endpoint(server.url, "m").ask(["?"]))
    assert calls == 1
    assert reason(reply).startswith(f"endpoint: HTTP {status}")


def test_a_slow_server_is_not_waited_for() -> None:
    done = threading.Event()
    with ChatServer(lambda question: "late" if done.wait(60) else 500) as server:
        start = time.monotonic()
        (reply,) = ask(Endpoint(server.url, "m", timeout=0.1, retries=1), "?")
        took = time.monotonic() - start
        done.set()
    assert reason(reply) == "endpoint: no reply within 0.1 s"
    assert 0.2 <= took < 30
    assert len(server.bodies) == 2


@pytest.mark.parametrize(
    "body", [b"<html>hi</html>", b"[]", b'{"choices": []}', b'{"choices": [{}]}', b"\xff", b"[" * 200_000]
)
def test_a_reply_of_another_shape_is_a_failure_of_the_endpoint(body: bytes) -> None:
    with ChatServer(lambda question: body) as server:
        (reply,) = ask(Endpoint(server.url, "m"), "?")
    assert reason(reply).startswith("endpoint: a reply that is not OpenAI's")


def test_a_reply_without_end_is_not_read_to_it() -> None:
    """An endpoint that has gone wrong would fill the trainer's memory."""
    with ChatServer(lambda question: b" " * (LONGEST + 1)) as server:
        (reply,) = ask(Endpoint(server.url, "m"), "?")
    assert reason(reply) == f"endpoint: a reply of more than {LONGEST} bytes"


def test_a_reply_without_text_is_an_empty_one() -> None:
    """Reasoning models that run out of tokens send null: a matter for the parser, not for another try."""
    with ChatServer(lambda question: b'{"choices": [{"message": {"content": null}}]}') as server:
        assert ask(Endpoint(server.url, "m"), "?") == [""]


@pytest.mark.parametrize("most", [1, 3])
def test_so_many_questions_are_under_way_together(most: int) -> None:
    gathered = threading.Barrier(most)

    def answer(question: str) -> Answer:
        gathered.wait(5)  # breaks unless `most` come at the same time
        return "ok"

    with ChatServer(answer) as server:
        assert ask(Endpoint(server.url, "m", concurrency=most), *"abcdef") == ["ok"] * 6
    assert server.most_at_once == most


def test_an_endpoint_that_has_gone_does_not_hold_up_the_run() -> None:
    """Without an end to it, each of hundreds of answers would wait for its own timeouts."""
    with ChatServer(lambda question: 500) as server:
        replies, calls = asyncio.run(
            Endpoint(server.url, "m", retries=0, concurrency=1).ask([str(i) for i in range(20)])
        )
    assert calls == endpoint.STRIKES == 5
    assert reason(replies[-1]).startswith("endpoint: given up after 5")


def test_single_failures_do_not_end_the_asking() -> None:
    with ChatServer(lambda question: 500 if int(question) % 2 else "ok") as server:
        replies = ask(Endpoint(server.url, "m", retries=0, concurrency=1), *map(str, range(20)))
    assert replies[::2] == ["ok"] * 10
    assert all(reason(r).startswith("endpoint: HTTP 500") for r in replies[1::2])


# ---------------------------------------------------------------- at the start


def closed_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def test_a_server_that_is_not_there_is_told_with_its_address() -> None:
    url = f"http://127.0.0.1:{closed_port()}/v1"
    with pytest.raises(EndpointError, match=rf"'m' at {url}/chat/completions cannot be asked.*{url}/models"):
        Endpoint(url, "m", retries=0).check()


@pytest.mark.parametrize(("status", "what"), [(401, "401"), (404, "404"), (500, "500")])
def test_what_a_server_refuses_is_told_at_the_start(status: int, what: str) -> None:
    with (
        ChatServer(lambda question: status) as server,
        pytest.raises(EndpointError, match=f"cannot be asked: HTTP {what}.*no key is sent"),
    ):
        Endpoint(server.url, "m").check()


def test_a_key_that_is_not_set_is_told_before_anything_is_sent(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NO_SUCH_KEY", raising=False)
    with pytest.raises(EndpointError, match=r"\$NO_SUCH_KEY, which is not set"):
        Endpoint("http://127.0.0.1:9/v1", "m", "NO_SUCH_KEY").check()


def test_a_server_that_answers_passes() -> None:
    with ChatServer(lambda question: "ready") as server:
        Endpoint(server.url, "m").check()
    assert len(server.bodies) == 1


def test_what_a_server_asks_to_wait_is_read() -> None:
    assert [endpoint._seconds(h) for h in ("7", "Wed, 21 Oct", "", "-1", "７", None)] == [7, 0, 0, 0, 0, 0]
