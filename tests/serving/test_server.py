"""What needs a socket: limits, clients that leave or dawdle, the end."""

import http.client
import signal
import socket
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from mge.errors import ConfigError
from mge.serving.front import Hosts
from mge.serving.limits import Limits
from mge.serving.server import listen
from tests.serving.backends import Colors, expected
from tests.serving.running import figure, get, picture, post, served, wait_until

pytestmark = pytest.mark.alone  # some measure how long an answer takes
RED = picture(220, 30, 40)


def head(length: int = 100, *more: str) -> bytes:
    lines = ["POST /predict HTTP/1.1", "Host: x", "Content-Type: image/png", f"Content-Length: {length}", *more]
    return "\r\n".join([*lines, "", ""]).encode()


def read_all(connection: socket.socket) -> bytes:
    connection.settimeout(20)
    return b"".join(iter(lambda: connection.recv(65536), b""))


def chunks(count: int) -> Iterator[bytes]:
    for _ in range(count):
        yield bytes(100_000)


def test_many_clients_get_their_own_answers() -> None:
    colors = [(5 * n, 250 - 5 * n, 7 * n % 251) for n in range(50)]
    with served(Colors(seconds=0.002)) as port, ThreadPoolExecutor(16) as clients:
        photos = [picture(*color) for color in colors]
        answers = list(clients.map(lambda photo: post(port, photo), photos))
        assert figure(port, "mge_batch_photos_count") < 51  # some were answered together
    for photo, (status, answer, _) in zip(photos, answers, strict=True):
        said = {entry["label"]: entry["probability"] for entry in answer["predictions"][0]["top"]}
        assert status == 200
        assert [said[name] for name in ("blue", "green", "red")] == pytest.approx(expected(photo))


def test_above_the_bound_requests_are_told_to_come_back_and_health_answers() -> None:
    backend = Colors()
    with served(backend, Limits(queue=8)) as port, ThreadPoolExecutor(30) as clients:
        backend.gate.clear()
        asked = [clients.submit(post, port, RED) for _ in range(30)]
        wait_until(lambda: sum(job.done() for job in asked) == 22)
        assert get(port, "/health")[0] == 200
        assert figure(port, "mge_photos ") == 8
        backend.gate.set()
        answers = [job.result() for job in asked]
        assert Counter(status for status, _, _ in answers) == {200: 8, 503: 22}
        assert {headers.get("retry-after") for status, _, headers in answers if status == 503} == {"1"}
        assert post(port, RED)[0] == 200


def test_a_form_takes_as_many_places_as_it_has_photos() -> None:
    def send_form(photos: int) -> tuple[int, dict[str, Any], dict[str, str]]:
        part = b'--x\r\nContent-Disposition: form-data; name="photos"; filename="a"\r\n\r\n' + RED + b"\r\n"
        return post(port, part * photos + b"--x--\r\n", kind="multipart/form-data; boundary=x")

    backend = Colors()
    with served(backend, Limits(queue=4)) as port, ThreadPoolExecutor(1) as clients:
        backend.gate.clear()
        previous = clients.submit(send_form, 2)
        wait_until(lambda: figure(port, "mge_photos ") == 2)
        status, answer, _ = send_form(3)
        assert (status, "busy" in answer["error"]) == (503, True)
        backend.gate.set()
        assert previous.result()[0] == 200
        assert send_form(3)[0] == 200
        assert figure(port, "mge_photos ") == 0


def test_one_client_may_be_held_to_a_share() -> None:
    backend = Colors()
    with served(backend, Limits(per_client=2)) as port, ThreadPoolExecutor(5) as clients:
        backend.gate.clear()
        asked = [clients.submit(post, port, RED) for _ in range(5)]
        wait_until(lambda: sum(job.done() for job in asked) == 3)
        backend.gate.set()
        assert Counter(job.result()[0] for job in asked) == {200: 2, 429: 3}


def test_a_body_that_is_too_large_is_refused_with_an_answer_that_the_client_sees() -> None:
    with served(Colors(), Limits(max_bytes=1_000_000)) as port:
        for body in (chunks(300), b"".join(chunks(300))):  # chunked, and with its length
            status, answer, _ = post(port, body)
            assert (status, answer["error"]) == (413, "the body is too large; accepted: up to 1 MB")
        assert post(port, RED)[0] == 200


def test_a_client_that_asks_before_it_sends_is_told_at_once() -> None:
    with served(Colors(), Limits(max_bytes=1000)) as port, socket.create_connection(("127.0.0.1", port)) as connection:
        connection.sendall(head(5000, "Expect: 100-continue"))
        assert read_all(connection).startswith(b"HTTP/1.1 413")


def test_a_body_that_does_not_come_is_not_waited_for() -> None:
    with served(Colors(), Limits(queue=3, body_seconds=0.3)) as port:
        slow = [socket.create_connection(("127.0.0.1", port)) for _ in range(3)]
        for connection in slow:
            connection.sendall(head(100) + b"abc")
        wait_until(lambda: figure(port, "mge_photos ") == 3)
        for connection in slow:
            assert read_all(connection).startswith(b"HTTP/1.1 408")
            connection.close()
        assert post(port, RED)[0] == 200


@pytest.mark.parametrize(
    ("sent", "answer"), [(b"", b""), (b"POST /predict HTT", b"HTTP/1.1 408"), (head()[:-2], b"HTTP/1.1 408")]
)
def test_a_header_that_does_not_come_is_not_waited_for(sent: bytes, answer: bytes) -> None:
    limits = Limits(header_seconds=0.3)
    with served(Colors(), limits) as port, socket.create_connection(("127.0.0.1", port)) as connection:
        connection.sendall(sent)
        assert read_all(connection)[:12] == answer


def test_a_header_that_comes_in_time_starts_no_timer_for_the_answer() -> None:
    with served(Colors(seconds=0.5), Limits(header_seconds=0.2)) as port:
        assert post(port, RED)[0] == 200


def test_what_is_no_http_is_refused() -> None:
    with served(Colors()) as port, socket.create_connection(("127.0.0.1", port)) as connection:
        connection.sendall(b"\x16\x03\x01 hello\r\n\r\n")
        assert read_all(connection).startswith(b"HTTP/1.1 400")


@pytest.mark.parametrize("length", [0, 5, 1000])
def test_a_body_that_could_be_read_in_two_ways_is_refused_and_nothing_behind_it_is_answered(length: int) -> None:
    with served(Colors()) as port, socket.create_connection(("127.0.0.1", port)) as connection:
        connection.sendall(head(length, "Transfer-Encoding: chunked") + b"0\r\n\r\n" + head(0))
        answer = read_all(connection)
        assert answer.startswith(b"HTTP/1.1 400")
        assert b"has Transfer-Encoding and Content-Length; send one of them" in answer
        assert answer.count(b"HTTP/1.1") == 1
        assert post(port, RED)[0] == 200


def test_a_page_of_another_name_cannot_read_a_server_of_this_machine() -> None:
    with served(Colors(), hosts=Hosts.of_server("127.0.0.1", address="127.0.0.1")) as port:
        status, answer, headers = post(port, RED, Host=f"evil.example:{port}")
        assert status == 421
        assert answer["error"].startswith("Host 'evil.example:")
        assert "--allow-host" in answer["error"]
        assert headers["connection"] == "close"
        assert post(port, RED, Host=f"localhost:{port}")[0] == 200
        assert get(port, "/model")[0] == 200
        for path in ("/model", "/", "/health", "/openapi.json", "/nothing"):
            with socket.create_connection(("127.0.0.1", port)) as connection:
                connection.sendall(f"GET {path} HTTP/1.1\r\nHost: evil.example\r\n\r\n".encode())
                assert read_all(connection).startswith(b"HTTP/1.1 421"), path


def test_a_program_that_is_no_browser_may_leave_its_host_out() -> None:
    hosts = Hosts.of_server("127.0.0.1", address="127.0.0.1")
    with served(Colors(), hosts=hosts) as port, socket.create_connection(("127.0.0.1", port)) as connection:
        connection.sendall(b"GET /health HTTP/1.0\r\n\r\n")
        assert read_all(connection).startswith(b"HTTP/1.1 200")


def test_an_answer_that_takes_too_long_is_given_up() -> None:
    backend = Colors()
    with served(backend, Limits(deadline=1)) as port:
        backend.gate.clear()
        status, answer, _ = post(port, RED)
        backend.gate.set()
        assert (status, answer["error"]) == (504, "no result within 1 seconds; try again later")
        assert post(port, RED)[0] == 200


def test_of_clients_that_hang_up_few_are_computed() -> None:
    backend = Colors()
    with served(backend, Limits(batch_size=8)) as port:
        backend.gate.clear()
        before = sum(backend.batches)
        leaving = []
        for _ in range(40):
            connection = socket.create_connection(("127.0.0.1", port))
            connection.sendall(head(len(RED)) + RED)
            leaving.append(connection)
        wait_until(lambda: figure(port, "mge_photos ") == 40)
        for connection in leaving:
            connection.close()
        wait_until(lambda: figure(port, "mge_photos ") == 0)
        backend.gate.set()
        assert post(port, RED)[0] == 200
        assert sum(backend.batches) - before - 1 <= 10
        assert figure(port, 'mge_requests_total{path="/predict",status="499"}') == 40


def test_a_connection_may_be_used_again_also_after_an_error() -> None:
    with served(Colors()) as port:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
        for body, status in ((RED, 200), (b"hello", 422), (RED, 200)):
            connection.request("POST", "/predict", body=body, headers={"Content-Type": "image/png"})
            response = connection.getresponse()
            response.read()
            assert response.status == status
        connection.close()


SERVER = """
import sys
from mge.serving.app import create_app
from mge.serving.front import Hosts
from mge.serving.limits import Limits
from mge.serving.server import build_server, listen
from tests.serving.backends import Colors

opened = listen("127.0.0.1", 0)
limits = Limits(batch_size=4)
app = create_app(Colors(seconds=float(sys.argv[1])), limits=limits)
say = lambda: print(opened.getsockname()[1], flush=True)
build_server(app, limits=limits, on_start=say).run(sockets=[opened])
"""


@contextmanager
def started(seconds: float) -> Iterator[tuple[subprocess.Popen[str], int]]:
    """A server in a process of its own, each batch of which lasts some time, and its port."""
    with subprocess.Popen([sys.executable, "-c", SERVER, str(seconds)], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            yield process, int(process.stdout.readline())
        finally:
            process.kill()


def test_who_was_let_in_is_answered_before_the_server_stops() -> None:
    with started(seconds=0.1) as (process, port), ThreadPoolExecutor(24) as clients:
        asked = [clients.submit(post, port, RED) for _ in range(24)]
        wait_until(lambda: figure(port, "mge_photos ") + sum(job.done() for job in asked) >= 24)
        process.send_signal(signal.SIGTERM)
        assert [job.result()[0] for job in asked] == [200] * 24
        assert process.wait(20) == 0
        with pytest.raises(ConnectionRefusedError):
            get(port, "/health")


def test_a_second_signal_stops_the_server_at_once() -> None:
    with started(seconds=3) as (process, port), ThreadPoolExecutor(1) as clients:
        asked = clients.submit(post, port, RED)
        wait_until(lambda: figure(port, "mge_photos ") == 1)
        process.send_signal(signal.SIGTERM)
        time.sleep(0.3)
        assert process.poll() is None
        process.send_signal(signal.SIGTERM)
        second = time.monotonic()
        assert process.wait(20) == 128 + signal.SIGTERM
        assert time.monotonic() - second < 1.5
        with pytest.raises((ConnectionError, http.client.HTTPException)):
            asked.result()


def test_a_port_that_is_taken_is_named() -> None:
    taken = listen("127.0.0.1", 0)
    port = taken.getsockname()[1]
    with pytest.raises(ConfigError, match=f"port {port} cannot be used: .* give another --host or --port"):
        listen("127.0.0.1", port)
    taken.close()


def test_no_thread_and_no_file_is_left_behind() -> None:
    before = threading.active_count(), len(list(Path("/proc/self/fd").iterdir()))
    with served(Colors()) as port:
        for _ in range(20):
            post(port, RED)
    assert (threading.active_count(), len(list(Path("/proc/self/fd").iterdir()))) == before
