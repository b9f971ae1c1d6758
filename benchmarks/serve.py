"""The service under load: many callers at once beside one at a time, and malformed requests among them.

    python -m benchmarks.serve runs/open_pairs --index INDEX --out serve.json

The service runs in a process of its own, as users start it; callers are threads of this one. Every kind of request is
made `--requests` times by one caller, then as often by `--callers` at once; a first round, not counted, compiles. Then
every tenth request is malformed: those must be answered 4xx, all others 200, and the service must still be there.
"""

import argparse
import json
import os
import socket
import subprocess
import sys
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
from rich.console import Console
from rich.table import Table

MOLECULES = (
    "CCO",
    "CC(=O)Oc1ccccc1C(=O)O",
    "c1ccccc1O",
    "C[C@H](N)C(=O)O",
    "CCN(CC)CC",
    "OCC(O)CO",
    "CC#N",
    "C1CCNCC1",
)
TEXTS = ("a carboxylic acid", "an aromatic amine", "a tertiary amine", "a steroid", "an alpha-amino acid", "a phenol")
MALFORMED = (
    ("/caption", {"molecules": ["no molecule"]}),
    ("/embed", {"texts": ["x" * 100_000]}),
    ("/generate", {"texts": "not a list"}),
    ("/embed", {}),
    ("/nowhere", {}),
)


def main(arguments: list[str] | None = None) -> None:
    """Measure, print a table, write JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path)
    parser.add_argument("--index", type=Path)
    parser.add_argument("--requests", type=int, default=128)
    parser.add_argument("--callers", type=int, default=32)
    parser.add_argument("--max-length", type=int, default=32, help="tokens written")
    parser.add_argument("--out", type=Path, default=Path("serve.json"))
    options = parser.parse_args(arguments)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [sys.executable, "-c", "from atomas_jax.cli import main; main()", "serve", str(options.run)]
    command += ["--port", str(port), *(["--index", str(options.index)] if options.index else [])]
    service = subprocess.Popen(command)
    try:
        with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=600) as client:
            _wait(client, service)
            rows = [measure(client, kind, options) for kind in kinds(options)]
            faults = malformed(client, options)
    finally:
        service.terminate()
        service.wait()
    show(rows, options)
    print(f"with malformed requests among them: {faults}")
    facts = {"callers": options.callers, "requests": options.requests, "cores": os.cpu_count(), "measured": rows}
    options.out.write_text(json.dumps(facts | {"malformed": faults}, indent=2) + "\n")
    print(f"written: {options.out}")


def kinds(options: argparse.Namespace) -> list[str]:
    """The calls that are measured."""
    return ["embed", "caption", "generate", *(["search"] if options.index else [])]


def request(kind: str, number: int, options: argparse.Namespace) -> tuple[str, dict]:
    """Path and body of a request of one string."""
    decoding = {"method": "greedy", "max_length": options.max_length}
    molecule, text = MOLECULES[number % len(MOLECULES)], TEXTS[number % len(TEXTS)]
    bodies = {
        "embed": {"texts": [text]},
        "caption": {"molecules": [molecule], "decoding": decoding},
        "generate": {"texts": [text], "decoding": decoding},
        "search": {"texts": [text], "k": 10},
    }
    return f"/{kind}", bodies[kind]


def measure(client: httpx.Client, kind: str, options: argparse.Namespace) -> dict:
    """Requests a second, one caller and many, and how many strings shared a batch."""

    def call(number: int) -> int:
        path, body = request(kind, number, options)
        return client.post(path, json=body).status_code

    def round_of(callers: int) -> tuple[float, float]:
        before = client.get("/health").json()
        started = time.perf_counter()
        with ThreadPoolExecutor(callers) as pool:
            codes = Counter(pool.map(call, range(options.requests)))
        seconds = time.perf_counter() - started
        if set(codes) != {200}:
            raise SystemExit(f"{kind}: {dict(codes)}")
        after = client.get("/health").json()
        return options.requests / seconds, (after["items"] - before["items"]) / (after["batches"] - before["batches"])

    for callers in (1, 2, 3, 5, 9, options.callers, options.callers):  # every size of batch is compiled
        round_of(callers)
    alone, _ = round_of(1)
    together, shared = round_of(options.callers)
    return {"kind": kind, "one caller": alone, "callers": together, "gain": together / alone, "strings a batch": shared}


def malformed(client: httpx.Client, options: argparse.Namespace) -> dict[str, int]:
    """Counts of status codes where every tenth request is malformed, by whether it was."""

    def call(number: int) -> tuple[str, int]:
        if number % 10 == 0:
            path, body = MALFORMED[number // 10 % len(MALFORMED)]
            return "malformed", client.post(path, json=body).status_code
        path, body = request("embed", number, options)
        return "sound", client.post(path, json=body).status_code

    with ThreadPoolExecutor(options.callers) as pool:
        codes = Counter(pool.map(call, range(options.requests * 2)))
    if any((kind == "sound") != (code == 200) or code >= 500 for kind, code in codes):
        raise SystemExit(f"wrong answers: {dict(codes)}")
    if client.get("/health").status_code != 200:
        raise SystemExit("the service is gone")
    return {f"{kind} {code}": count for (kind, code), count in sorted(codes.items())}


def _wait(client: httpx.Client, service: subprocess.Popen, seconds: float = 300) -> None:
    started = time.monotonic()
    while time.monotonic() - started < seconds:
        if service.poll() is not None:
            raise SystemExit(f"the service ended with {service.returncode}")
        try:
            client.get("/health")
        except httpx.TransportError:
            time.sleep(0.3)
        else:
            return
    raise SystemExit("the service does not answer")


def show(rows: list[dict], options: argparse.Namespace) -> None:
    """Print the table."""
    table = Table(title=f"requests a second, {options.requests} requests of one string each")
    for heading in ("", "one caller", f"{options.callers} callers", "gain", "strings a batch"):
        table.add_column(heading)
    for row in rows:
        numbers = (row["one caller"], row["callers"], row["gain"], row["strings a batch"])
        table.add_row(row["kind"], *(f"{number:,.1f}" for number in numbers))
    Console(width=120).print(table)


if __name__ == "__main__":
    main()
