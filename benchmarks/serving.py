"""What the server does under load: one client after the other, many at once, too many, rude ones, and the end.

`python benchmarks/serving.py MODEL.onnx PHOTOS` starts `mge serve MODEL.onnx` on loopback, asks it in every way, and
asks the same model offline in the same run. It writes benchmarks/results/serving.json and the table in the docs.
`--soak 20000` asks that many times instead, one photo of twenty broken, and looks at the memory; it writes
benchmarks/results/serving_soak.json and a table of its own. With --out FILE, for a trial, a run writes that file only.
"""

import argparse
import http.client
import io
import itertools
import json
import os
import signal
import socket
import statistics
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import psutil
from PIL import Image
from trainings import RESULTS, write_table

from mge.data.sources import find_photos
from mge.inference.onnx_classifier import OnnxClassifier
from mge.storage.environment import describe_environment

CLIENTS, BATCH = 16, 8
ROUNDS, REQUESTS = 4, 250  # online and offline in turns
PHOTOS, SIDES = 100, (150, 250, 348, 500, 1000)  # different photos, and their shorter sides in pixels
TIMEOUT = 60
SAMPLES, WARM_UP = 100, 20  # looks at the memory while soaking; the first of them do not count for its slope


class Reply(NamedTuple):
    """What a request got, and after how long."""

    status: int
    content: bytes
    headers: dict[str, str]
    seconds: float


class Served:
    """A server in a process of its own."""

    def __init__(self, process: subprocess.Popen[str], port: int, started: float) -> None:
        self.process, self.port, self.started = process, port, started

    def rss_mb(self) -> float:
        """Its memory."""
        return float(psutil.Process(self.process.pid).memory_info().rss) / 1e6

    def connect(self) -> http.client.HTTPConnection:
        """A connection to it."""
        return http.client.HTTPConnection("127.0.0.1", self.port, timeout=TIMEOUT)

    def figure(self, name: str) -> float:
        """A line of its /metrics."""
        lines = ask(self.connect(), "GET", "/metrics").content.decode().splitlines()
        return sum(float(line.rpartition(" ")[2]) for line in lines if line.startswith(name))


@contextmanager
def served(model: str) -> Iterator[Served]:
    """`mge serve` as people start it, ready to answer."""
    started = time.perf_counter()
    command = [sys.executable, "-m", "mge", "serve", model, "--port", "0", "--batch-size", str(BATCH)]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        line = next(line for line in process.stderr if line.startswith("Serving"))
        try:
            port = int(line.partition("127.0.0.1:")[2].partition("/")[0])
            yield Served(process, port, time.perf_counter() - started)
        finally:
            process.kill()


def ask(connection: http.client.HTTPConnection, method: str, path: str, body: Any = None) -> Reply:  # noqa: ANN401
    """One request."""
    began = time.perf_counter()
    connection.request(method, path, body=body, headers={"Content-Type": "image/jpeg"} if body is not None else {})
    response = connection.getresponse()
    content = response.read()
    return Reply(response.status, content, dict(response.getheaders()), time.perf_counter() - began)


def make_photos(pattern: str, *, sides: Sequence[int]) -> list[bytes]:
    """JPEGs of several sizes: real photos, evenly spread, enlarged or made smaller."""
    files = find_photos([pattern])
    spread = files[:: max(1, len(files) // PHOTOS)][:PHOTOS]
    photos = []
    for path, side in zip(spread, itertools.cycle(sides), strict=False):
        with Image.open(path) as opened:
            scale = side / min(opened.size)
            image = opened.convert("RGB").resize((round(opened.width * scale), round(opened.height * scale)))
        file = io.BytesIO()
        image.save(file, "JPEG", quality=88)
        photos.append(file.getvalue())
    return photos


def load(server: Served, photos: Sequence[bytes], *, requests: int) -> tuple[list[tuple[int, Reply]], float]:
    """Requests of many clients, each on a connection that it keeps; which photo each was, and photos a second."""
    numbers, replies = itertools.count(), []

    def run(_: int) -> None:
        connection = server.connect()
        while (number := next(numbers)) < requests:
            which = number * 7 % len(photos)
            replies.append((which, ask(connection, "POST", "/predict?top=1000", photos[which])))
        connection.close()

    began = time.perf_counter()
    with ThreadPoolExecutor(CLIENTS) as clients:
        list(clients.map(run, range(CLIENTS)))
    return replies, requests / (time.perf_counter() - began)


def under_load(server: Served, photos: Sequence[bytes], offline: OnnxClassifier) -> dict[str, Any]:
    """The server beside the same model asked offline, in turns."""
    expected = [dict(zip(offline.class_names, offline.predict(photo).probabilities, strict=True)) for photo in photos]
    order = [photos[number * 7 % len(photos)] for number in range(REQUESTS)]
    load(server, photos, requests=50)
    offline_rates, rates, replies = [], [], []
    for _ in range(ROUNDS):
        began = time.perf_counter()
        offline.predict(list(order), batch_size=BATCH)
        offline_rates.append(REQUESTS / (time.perf_counter() - began))
        asked, rate = load(server, photos, requests=REQUESTS)
        replies += asked
        rates.append(rate)
    seconds = sorted(reply.seconds for _, reply in replies)
    return {
        "clients": CLIENTS, "requests": len(replies), "statuses": Counter(str(reply.status) for _, reply in replies),
        "largest_difference": max(difference(reply, expected[which]) for which, reply in replies),
        "photos_a_second": rates, "offline_photos_a_second": offline_rates,
        "ratio": statistics.median(rate / other for rate, other in zip(rates, offline_rates, strict=True)),
        "p50_ms": 1000 * seconds[len(seconds) // 2], "p99_ms": 1000 * seconds[len(seconds) * 99 // 100],
    }  # fmt: skip


def difference(reply: Reply, expected: dict[str, float]) -> float:
    """The largest difference of a probability from what is expected; infinite where there is no such answer."""
    if reply.status != 200:
        return float("inf")
    (prediction,) = json.loads(reply.content)["predictions"]
    said = {entry["label"]: entry["probability"] for entry in prediction["top"]}
    return max((abs(said[name] - value) for name, value in expected.items()), default=float("inf"))


def too_many(server: Served, photo: bytes, *, count: int = 300) -> dict[str, Any]:
    """Clients at once, far more than there are places, while someone asks for /health."""
    health: list[float] = []
    done = threading.Event()

    def watch() -> None:
        while not done.is_set():
            health.append(ask(server.connect(), "GET", "/health").seconds)
            time.sleep(0.05)

    before = server.rss_mb()
    watcher = threading.Thread(target=watch)
    watcher.start()
    with ThreadPoolExecutor(count) as clients:
        replies = list(clients.map(lambda _: ask(server.connect(), "POST", "/predict", photo), range(count)))
    done.set()
    watcher.join()
    time.sleep(1)
    return {
        "clients": count, "statuses": Counter(str(reply.status) for reply in replies),
        "busy_with_retry_after": sum("retry-after" in reply.headers for reply in replies if reply.status == 503),
        "health_asked": len(health), "health_worst_ms": 1000 * max(health), "rss_mb": [before, server.rss_mb()],
    }  # fmt: skip


def too_large(server: Served) -> dict[str, Any]:
    """Bodies of 50 MB and, in chunks, of 200 MB, with the most memory that the server had meanwhile."""
    found: dict[str, Any] = {}
    million = bytes(1_000_000)
    chunked = (million for _ in range(200))
    for name, body in (("50 MB with its length", million * 50), ("200 MB in chunks", chunked)):
        before, peaks, done = server.rss_mb(), [0.0], threading.Event()

        def watch(peaks: list[float] = peaks, done: threading.Event = done) -> None:
            while not done.wait(0.01):
                peaks.append(server.rss_mb())

        watcher = threading.Thread(target=watch)
        watcher.start()
        reply = ask(server.connect(), "POST", "/predict", body)
        done.set()
        watcher.join()
        found[name] = {"status": reply.status, "seconds": reply.seconds, "rss_rise_mb": max(peaks) - before}
    return found


def hang_up(server: Served, photo: bytes, *, count: int = 40) -> dict[str, Any]:
    """Clients that send a photo and leave 50 ms later; how many were computed all the same."""
    head = f"POST /predict HTTP/1.1\r\nHost: x\r\nContent-Type: image/jpeg\r\nContent-Length: {len(photo)}\r\n\r\n"
    before = server.figure("mge_batch_photos_sum")
    leaving = [socket.create_connection(("127.0.0.1", server.port)) for _ in range(count)]
    for connection in leaving:
        connection.sendall(head.encode() + photo)
    time.sleep(0.05)
    for connection in leaving:
        connection.close()
    while server.figure("mge_photos "):
        time.sleep(0.05)
    return {"clients": count, "computed": server.figure("mge_batch_photos_sum") - before}


def stop(server: Served, photo: bytes, *, count: int = 24) -> dict[str, Any]:
    """SIGTERM while requests are in work."""
    with ThreadPoolExecutor(count) as clients:
        asked = [clients.submit(ask, server.connect(), "POST", "/predict", photo) for _ in range(count)]
        while (in_work := server.figure("mge_photos ")) + sum(job.done() for job in asked) < count:
            time.sleep(0.002)
        began = time.perf_counter()
        server.process.send_signal(signal.SIGTERM)
        statuses = Counter(str(job.result().status) for job in asked)
        code = server.process.wait(TIMEOUT)
    return {
        "clients": count, "in_work_at_the_signal": in_work, "statuses": statuses, "exit_code": code,
        "seconds": time.perf_counter() - began,
    }  # fmt: skip


def soak(server: Served, photos: Sequence[bytes], *, requests: int) -> dict[str, Any]:
    """Very many requests, one photo of twenty broken: does the memory grow?"""
    some = [*photos[:95], photos[0][: len(photos[0]) // 2], b"hello", b"", bytes(5000), photos[1][:40]]
    statuses: Counter[str] = Counter()
    memory, files, began = [], [], time.perf_counter()
    for number in range(SAMPLES):
        replies, _ = load(server, some, requests=requests // SAMPLES)
        statuses.update(str(reply.status) for _, reply in replies)
        memory.append(server.rss_mb())
        files.append(psutil.Process(server.process.pid).num_fds())
        if number % 10 == 9:
            print(f"{sum(statuses.values())} requests, {memory[-1]:.1f} MB", flush=True)  # noqa: T201
    slope, error = slope_with_error(memory[WARM_UP:])
    return {
        "requests": requests // SAMPLES * SAMPLES, "statuses": statuses, "rss_mb": memory, "open_files": files,
        "seconds": time.perf_counter() - began,
        "mb_per_1000_requests": slope * 1000 / (requests // SAMPLES),
        "standard_error": error * 1000 / (requests // SAMPLES),
    }  # fmt: skip


def slope_with_error(values: Sequence[float]) -> tuple[float, float]:
    """How much values grow from one to the next by least squares, and the standard error of that."""
    line = statistics.linear_regression(range(len(values)), values)
    left = sum((value - line.intercept - line.slope * number) ** 2 for number, value in enumerate(values))
    spread = sum((number - (len(values) - 1) / 2) ** 2 for number in range(len(values)))
    return line.slope, (left / (len(values) - 2) / spread) ** 0.5


def soak_table(found: dict[str, Any]) -> list[list[str]]:
    """What soaking showed, as rows; the first is the head."""
    statuses, memory, files = found["statuses"], found["rss_mb"], found["open_files"]
    said = {"200": "answered", "422": "refused with 422"}
    return [
        ["very many requests, one photo of twenty broken", "what came"],
        [f"{CLIENTS} clients, {found['requests']} requests in {found['seconds']:.0f} s", shown(statuses, said)],
        ["lost, or answered otherwise", str(found["requests"] - statuses["200"] - statuses["422"])],
        [f"memory after {WARM_UP} %; after all of them", f"{memory[WARM_UP - 1]:.1f} MB; {memory[-1]:.1f} MB"],
        [
            "its slope between, by least squares",
            f"{1000 * found['mb_per_1000_requests']:.1f} ± {1000 * found['standard_error']:.1f} kB a 1,000 requests",
        ],
        ["open files", f"{min(files)} to {max(files)}"],
    ]


def table(figures: dict[str, Any]) -> list[list[str]]:
    """The figures as rows; the first is the head."""
    loaded, many, large = figures["load"], figures["too_many"], figures["too_large"]
    rate, offline = (statistics.median(loaded[name]) for name in ("photos_a_second", "offline_photos_a_second"))
    said = {"200": "answered", "503": "told to come back"}
    rows = [
        [
            "from start to ready; memory then",
            f"{figures['start']['seconds']:.1f} s; {figures['start']['rss_mb']:.0f} MB",
        ],
        [f"{loaded['clients']} clients, {loaded['requests']} requests", shown(loaded["statuses"], said)],
        ["largest difference of a probability from offline", f"{loaded['largest_difference']:.1e}"],
        ["p50; p99", f"{loaded['p50_ms']:.0f} ms; {loaded['p99_ms']:.0f} ms"],
        ["photos a second; offline in batches", f"{rate:.0f}; {offline:.0f} (ratio {loaded['ratio']:.2f})"],
        [f"{many['clients']} clients at once, 64 places", shown(many["statuses"], said)],
        ["/health meanwhile, at worst", f"{many['health_worst_ms']:.0f} ms"],
        *(
            [name, f"{found['status']} after {found['seconds']:.1f} s, memory +{found['rss_rise_mb']:.0f} MB"]
            for name, found in large.items()
        ),
        [f"of {figures['hang_up']['clients']} that hang up, computed", f"{figures['hang_up']['computed']:.0f}"],
        [
            f"SIGTERM with {figures['stop']['clients']} in work",
            f"{shown(figures['stop']['statuses'], said)}, exit code {figures['stop']['exit_code']} "
            f"after {figures['stop']['seconds']:.1f} s",
        ],
    ]
    return [["what was asked", "what came"], *rows]


def shown(statuses: dict[str, int], said: dict[str, str]) -> str:
    """Statuses in words."""
    return ", ".join(f"{count} {said.get(status, status)}" for status, count in sorted(statuses.items()))


def main() -> None:
    """Measures, and writes the figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model", help="an .onnx file of mge export")
    parser.add_argument("photos", help="a folder of photos")
    parser.add_argument("--soak", type=int, default=0, help="ask that many times instead")
    parser.add_argument("--out", type=Path, help="JSON file for a trial; the page is left as it is")
    given = parser.parse_args()
    photos = make_photos(given.photos, sides=SIDES[:2] if given.soak else SIDES)
    largest = max(photos, key=len)
    figures: dict[str, Any] = {
        "command": " ".join(["python", "benchmarks/serving.py", *sys.argv[1:]]),
        "environment": describe_environment(), "load_average_before": os.getloadavg()[0],
    }  # fmt: skip
    with served(given.model) as server:
        figures["start"] = {"seconds": server.started, "rss_mb": server.rss_mb()}
        if given.soak:
            figures["soak"] = soak(server, photos, requests=given.soak)
        else:
            offline = OnnxClassifier.load(given.model)
            for name, measure in (
                ("load", lambda: under_load(server, photos, offline)), ("too_large", lambda: too_large(server)),
                ("hang_up", lambda: hang_up(server, largest)), ("too_many", lambda: too_many(server, largest)),
                ("stop", lambda: stop(server, largest)),
            ):  # fmt: skip
                figures[name] = measure()
                print(name, json.dumps(figures[name]), flush=True)  # noqa: T201
    out = given.out or RESULTS / ("serving_soak.json" if given.soak else "serving.json")
    out.write_text(json.dumps(figures, indent=1) + "\n", encoding="utf-8")
    if given.out is None and given.soak:
        write_table("soak", soak_table(figures["soak"]))
    elif given.out is None:
        write_table("serving", table(figures))


if __name__ == "__main__":
    main()
