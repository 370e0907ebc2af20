"""Commands that are disturbed, and what must stand there when they have been repeated."""

from __future__ import annotations

import functools
import hashlib
import http.server
import json
import re
import sys
import tarfile
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

PROGRAM = [sys.executable, "-m", "tape_bench.cli"]
_PASSING = ("resources", "provenance", "digest")
"""What a record says of when and how long."""


@dataclass(frozen=True)
class Scenario:
    """One command, which is given a place of its own, and a place of what it works on."""

    command: Callable[[Path, Path], list[str]]
    made: tuple[str, ...]
    """What stands in its place when it is done, as names or beginnings of names."""


def _run(devices: int) -> Callable[[Path, Path], list[str]]:
    return lambda place, given: [
        *PROGRAM, "run", f"proteinlm:{given / 'model'}", "--data", "sample", "-t", "stability",
        "--head", "tape", "--seeds", "0,1", "--out", str(place / "results"), "--limit", "60",
        "--tokens-per-batch", "256", "--devices", str(devices), "--quiet",
    ]  # fmt: skip


SCENARIOS = {
    "run": Scenario(_run(1), ("results",)),
    "run --devices 2": Scenario(_run(2), ("results",)),
    "convert": Scenario(
        lambda place, given: [*PROGRAM, "convert", str(given / "shards"), str(place / "made")],
        ("made",),
    ),
    "embed": Scenario(
        lambda place, given: [
            *PROGRAM, "embed", f"proteinlm:{given / 'model'}", str(given / "p.fa"), "-o",
            str(place / "out.npz"), "--pool", "residues", "-q",
        ],
        ("out.npz",),
    ),
    "fetch": Scenario(
        lambda place, given: [
            *PROGRAM, "data", "fetch", "stability", "--mirror", (given / "address").read_text(),
            "--data", str(place / "data"), "-q",
        ],
        ("data",),
    ),
    "check": Scenario(
        lambda place, given: [
            *PROGRAM, "check", str(given / "results"), "--against", str(place / "reference"),
            "--update",
        ],
        ("reference",),
    ),
}  # fmt: skip


def prepare(given: Path) -> None:
    """Write what the commands work on: a small model in two forms, proteins, a mirror, records."""
    import numpy as np

    from tape_bench import evaluate
    from tape_bench.models.controls.untrained import RandomWeights
    from tape_bench.models.proteinlm.config import ProteinLMConfig
    from tape_bench.models.proteinlm.convert import convert
    from tape_bench.models.proteinlm.megatron.writer import Sharding

    config = ProteinLMConfig(
        layers=4, hidden=256, heads=4, positions=700, layernorm_eps=1e-12, gelu="tanh"
    )
    convert(RandomWeights(config, 0), given / "model")
    convert(RandomWeights(config, 0), given / "shards", to="megatron", sharding=Sharding(2, 2))
    rng = np.random.default_rng(0)
    proteins = ("".join(rng.choice(list("ACDEFGHIKLMNPQRSTVWY"), 300)) for _ in range(120))
    (given / "p.fa").write_text("".join(f">p{i}\n{p}\n" for i, p in enumerate(proteins)))
    evaluate(
        "onehot", ("stability", "fluorescence"), data="sample", limit=60, out=given / "results"
    )
    data = given / "stability"
    data.mkdir()
    for split in ("train", "valid", "test"):
        records = [
            {"id": f"{split}{i}", "primary": "MKV", "stability_score": [i]} for i in range(9)
        ]
        (data / f"stability_{split}.json").write_text(json.dumps(records))
    (data / "filler").write_bytes(rng.bytes(3 << 20))
    with tarfile.open(given / "stability.tar.gz", "w:gz", compresslevel=1) as tar:
        tar.add(data, "stability")
    (given / "address").write_text(_mirror(given))


class _Slow(http.server.SimpleHTTPRequestHandler):
    """A mirror that gives a piece at a time, and goes on from where it is asked to."""

    def log_message(self, *what: object) -> None:
        pass

    def do_GET(self) -> None:
        path = Path(self.directory) / self.path.strip("/")
        if path.suffix != ".gz":
            self.send_error(404)
            return
        content = path.read_bytes()
        asked = re.match(r"bytes=(\d+)-", self.headers.get("Range", ""))
        start = int(asked[1]) if asked else 0
        self.send_response(206 if asked else 200)
        self.send_header("ETag", '"one"')
        self.send_header("Content-Length", str(len(content) - start))
        if asked:
            self.send_header("Content-Range", f"bytes {start}-{len(content) - 1}/{len(content)}")
        self.end_headers()
        try:
            for at in range(start, len(content), 1 << 16):
                self.wfile.write(content[at : at + (1 << 16)])
                time.sleep(0.01)
        except OSError:
            pass


def _mirror(folder: Path) -> str:
    handler = functools.partial(_Slow, directory=str(folder))
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return f"http://127.0.0.1:{server.server_address[1]}"


def outcome(place: Path) -> dict[str, str]:
    """Return every file there with a digest of what counts in it."""
    found = {}
    for path in sorted(place.rglob("*")):
        name = path.relative_to(place).as_posix()
        if name.split("/")[0] in ("cache", "tmp", "home"):
            continue
        if path.is_file():
            found[name] = hashlib.sha256(_what_counts(path)).hexdigest()
        elif not any(path.iterdir()):
            found[f"{name}/"] = "empty"
    return found


def _what_counts(path: Path) -> bytes:
    content = path.read_bytes()
    if path.suffix == ".json" and b'"run_key"' in content:
        record = json.loads(content)
        kept = {name: value for name, value in record.items() if name not in _PASSING}
        return json.dumps(kept, sort_keys=True).encode()
    return content
