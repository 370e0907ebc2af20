"""The hub as a local server: what is fetched, and one clear error for each thing that can fail."""

from __future__ import annotations

import hashlib
import http.server
import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import hub_models
import pytest

from tape_bench.errors import ModelError
from tape_bench.models.huggingface import hub
from tape_bench.models.huggingface.names import SHORT

SHA = "0123456789abcdef0123456789abcdef01234567"
FAULTS = {
    "gated/model": (403, "GatedRepo"),
    "no/such": (401, "RepoNotFound"),
    "broken/server": (500, ""),
}


class Hub(http.server.BaseHTTPRequestHandler):
    """Answers as the hub does, with one model: `tiny/esm2`, at one commit."""

    folder: Path
    asked: list[str]

    def do_HEAD(self) -> None:
        self._answer(with_body=False)

    def do_GET(self) -> None:
        self._answer(with_body=True)

    def _answer(self, with_body: bool) -> None:
        path = self.path.partition("?")[0]
        self.asked.append(path)
        for name, (status, code) in FAULTS.items():
            if name in path:
                return self._send(status, b"{}", {"X-Error-Code": code} if code else {}, with_body)
        if "/revision/" in path and not path.endswith(("/main", SHA)):
            return self._send(404, b"{}", {"X-Error-Code": "RevisionNotFound"}, with_body)
        if path.startswith("/api/models/tiny/esm2/tree"):
            files = [
                {"type": "file", "path": file.name, "size": file.stat().st_size, "oid": "0" * 40}
                for file in sorted(self.folder.iterdir())
            ]
            return self._send(200, json.dumps(files).encode(), {}, with_body)
        if path.startswith("/api/models/tiny/esm2"):
            files = [{"rfilename": file.name} for file in sorted(self.folder.iterdir())]
            told = {"id": "tiny/esm2", "sha": SHA, "siblings": files}
            return self._send(200, json.dumps(told).encode(), {}, with_body)
        file = self.folder / path.rsplit("/", 1)[-1]
        if not file.is_file():
            return self._send(404, b"{}", {"X-Error-Code": "EntryNotFound"}, with_body)
        content = file.read_bytes()
        headers = {
            "ETag": f'"{hashlib.sha1(content).hexdigest()}"',
            "X-Repo-Commit": SHA,
            "Accept-Ranges": "bytes",
        }
        return self._send(200, content, headers, with_body)

    def _send(self, status: int, body: bytes, headers: dict[str, str], with_body: bool) -> None:
        self.send_response(status)
        for name, value in {"Content-Length": str(len(body)), **headers}.items():
            self.send_header(name, value)
        self.end_headers()
        if with_body:
            self.wfile.write(body)

    def log_message(self, *args: object) -> None:
        """Say nothing."""


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[type[Hub]]:
    place = tmp_path_factory.mktemp("hub")
    handler = type("OneHub", (Hub,), {"folder": hub_models.make("esm2", place / "m"), "asked": []})
    (handler.folder / "evil.py").write_text("raise SystemExit\n")
    (handler.folder / "pytorch_model.bin").write_bytes(b"never to be fetched")
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as serving:
        handler.address = f"http://127.0.0.1:{serving.server_address[1]}"
        threading.Thread(target=serving.serve_forever, daemon=True).start()
        yield handler
        serving.shutdown()


def ask(home: Path, address: str, spec: str, *, offline: bool = False) -> tuple[int, str]:
    """Have a process of its own load a model: the hub's library reads its settings once."""
    command = [sys.executable, "-m", "tape_bench", "models", spec, "--json"]
    environment = {
        **os.environ,
        "HF_ENDPOINT": address,
        "HF_HOME": str(home),
        "HF_HUB_OFFLINE": str(int(offline)),
        "HF_HUB_DISABLE_XET": "1",
        "TAPE_BENCH_CACHE": str(home / "cache"),
    }
    done = subprocess.run(
        command, env=environment, capture_output=True, text=True, timeout=120, check=False
    )
    assert "Traceback" not in done.stderr
    return done.returncode, done.stdout + done.stderr


def test_a_model_is_fetched_once_at_the_commit_its_branch_is_at(server: type[Hub], tmp_path: Path):
    code, said = ask(tmp_path, server.address, "hf:tiny/esm2")
    assert code == 0, said
    identity, _ = json.JSONDecoder().raw_decode(said)  # behind it stands the bar of the fetching
    assert identity["revision"] == SHA
    assert identity["reading"]["family"] == "esm2"
    assert (identity["name"], identity["hidden_size"]) == ("esm2", 24)
    fetched = {path.rsplit("/", 1)[-1] for path in server.asked if "/resolve/" in path}
    assert {"config.json", "model.safetensors", "vocab.txt"} <= fetched
    # Neither code nor a second copy of the weights; nobody is asked to convert anything.
    assert not fetched & {"evil.py", "pytorch_model.bin"}
    assert all(SHA in path for path in server.asked if "/resolve/" in path)
    # From here on, no network is needed.
    code, again = ask(tmp_path, "http://127.0.0.1:9", "hf:tiny/esm2", offline=True)
    assert code == 0, again
    assert json.loads(again)["weights_digest"] == identity["weights_digest"]
    code, again = ask(tmp_path, "http://127.0.0.1:9", "hf:tiny/esm2")
    assert code == 0, again


@pytest.mark.parametrize(
    ("spec", "said"),
    [
        ("hf:gated/model", "behind a gate"),
        ("hf:no/such", "the hub has no model 'no/such'"),
        ("hf:tiny/esm2@nowhere", "has no revision 'nowhere'"),
        ("hf:broken/server", "the hub refused"),
    ],
)
def test_what_the_hub_refuses(server: type[Hub], tmp_path: Path, spec: str, said: str):
    code, answer = ask(tmp_path, server.address, spec)
    assert code == 2
    assert said in answer


def test_no_network(tmp_path: Path):
    code, answer = ask(tmp_path, "http://127.0.0.1:9", "hf:esm2_t6_8M")
    assert code == 2
    assert "cannot be reached" in answer
    assert "hf download facebook/esm2_t6_8M_UR50D" in answer
    code, answer = ask(tmp_path, "http://127.0.0.1:9", "hf:esm2_t6_8M", offline=True)
    assert code == 2
    assert "is not on this machine" in answer


def test_a_missing_extra_is_told_with_the_line_that_installs_it(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(sys.modules, "transformers", None)
    with pytest.raises(ModelError, match="need the package transformers") as caught:
        hub.require()
    assert "pip install 'tape-bench[hf]'" in str(caught.value)


@pytest.mark.parametrize("short", SHORT)
def test_short_names_are_repositories(short: str):
    assert hub._REPOSITORY.fullmatch(SHORT[short])
    assert "/" not in short


@pytest.mark.parametrize(
    "content",
    [
        '{"num_hidden_layers": 2147483648}',
        '{"num_attention_heads": -1}',
        '{"num_layers": ' + "1" * 5000 + "}",
        "[" * 100_000,
        '{"a": ' * 500 + "1" + "}" * 500,
        "[]",
    ],
    ids=["layers", "heads", "digits", "open", "deep", "list"],
)
def test_a_configuration_is_bounded_before_it_is_believed(tmp_path: Path, content: str):
    (tmp_path / "config.json").write_text(content)
    with pytest.raises(ModelError, match=r"less than 1|not a model's"):
        hub.config_of(hub.Checkpoint(tmp_path, "x", None, None))
