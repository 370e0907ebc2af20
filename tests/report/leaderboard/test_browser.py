"""The HTML page in a real browser: it sorts, it filters, and it fits a phone."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tape_bench import registry
from tape_bench.report import plots
from tape_bench.report.leaderboard import formats
from tape_bench.report.leaderboard.build import build_leaderboard
from tape_bench.report.leaderboard.formats import html

BROWSER = shutil.which("chromium") or shutil.which("google-chrome")

PROBE = """
<script>
window.onerror = (message) => { document.title = "FAULT " + message; };
const click = (number) => document.querySelectorAll("thead button")[number].click();
const shown = "tbody:not([hidden]) tr:not(.group):not([hidden]) th";
const models = () => [...document.querySelectorAll(shown)]
  .map((head) => head.firstChild.firstChild.textContent).join(" ");
const told = [];
click(1); told.push("falling: " + models());
click(1); told.push("rising: " + models());
const form = document.querySelector("form");
form.elements.data.value = "partial";
form.dispatchEvent(new Event("change"));
told.push("partial: " + models());
form.elements.task.checked = false;
form.dispatchEvent(new Event("change"));
told.push("columns: " + document.querySelectorAll("td.figure:not([hidden])").length);
document.body.textContent = told.join(" / ");
</script>
"""


@pytest.mark.slow
@pytest.mark.skipif(BROWSER is None, reason="no browser on this machine")
def test_the_page_sorts_and_filters(make, cards, tmp_path):
    records = [
        make(value=0.3, model="low", data="partial"),
        make(value=0.9, model="high", data="partial"),
        make(value=None, undefined="constant", model="none", data="partial"),
        make(value=0.5, model="<img src=x onerror=alert(1)>", data="partial"),
        make(value=0.4, model="other"),
    ]
    board = build_leaderboard(records, registry.baselines()[:0], cards)
    # The page forbids what it does not need; the probe is part of the page here.
    page = formats.render(board, "html").replace("</body>", PROBE + "</body>")

    told = shown(page, tmp_path)

    assert "FAULT" not in told
    img = r"&lt;img src=x onerror=alert\(1\)&gt;"
    # Each group is sorted by itself: scores on other data stay apart.
    assert re.search(rf"falling: high {img} low none other", told)
    assert re.search(rf"rising: low {img} high none other", told)
    assert re.search(rf"partial: low {img} high none /", told)
    assert "columns: 0" in told


PHONE = 400
"""CSS pixels across."""


@pytest.mark.slow
@pytest.mark.skipif(BROWSER is None, reason="no browser on this machine")
def test_the_page_fits_a_phone(make, cards, tmp_path):
    records = [
        make(task, 0.5, model=name, data="partial", control="control" in name)
        for task in cards
        for name in ("a-control", "esm2_t33_650M_UR50D", "x" * 60)
    ]
    board = build_leaderboard(records, registry.baselines(), cards)
    pictures = [
        html.Picture(plot.caption, plots.svg(plot), plots.svg(plot, narrow=True))
        for plot in plots.of_leaderboard(board)
    ]
    file = tmp_path / "page.html"
    file.write_text(html.render(board, pictures), encoding="utf-8")

    with phone(tmp_path, file) as ask:
        across = ask("[innerWidth, document.documentElement.scrollWidth]")
        shift = ask("(document.querySelector('.scroll').scrollLeft = 200)")
        name = ask(
            "[...document.querySelectorAll('tbody th')]"
            ".map((head) => head.getBoundingClientRect().left)"
        )
        table = ask("document.querySelector('.scroll').getBoundingClientRect().left")
        scale = ask(
            "[...document.querySelectorAll('figure img')]"
            ".map((image) => image.getBoundingClientRect().width / image.naturalWidth)"
        )
        names = ask(
            "[...document.querySelectorAll('.name')]"
            ".map((name) => name.getBoundingClientRect().width)"
        )

    assert across == [PHONE, PHONE]
    assert shift == 200
    assert all(table <= left <= table + 2 for left in name), "the names scroll out of sight"
    assert len(scale) == 2
    # Letters of nine points are twelve pixels high at full size.
    assert all(12 * factor > 9 for factor in scale)
    assert max(names) < PHONE / 2


@contextmanager
def phone(folder: Path, file: Path) -> Iterator[Any]:
    """Open a page as a phone does; yields a function that evaluates JavaScript in it.

    The browser is spoken to over pipes, its file descriptors 3 and 4: what the layout does on a
    phone shows only where the screen is emulated, not in a narrow window.
    """
    to_browser, from_browser = os.pipe(), os.pipe()
    # The shell puts the two ends where the browser looks for them.
    flags = "--headless --no-sandbox --disable-gpu --no-first-run --disable-background-networking"
    command = f'exec "$0" "$@" 3<&{to_browser[0]} 4>&{from_browser[1]}'
    arguments = [*flags.split(), "--remote-debugging-pipe", f"--user-data-dir={folder / 'phone'}"]
    browser = subprocess.Popen(
        ["bash", "-c", command, str(BROWSER), *arguments, "about:blank"],
        pass_fds=(to_browser[0], from_browser[1]),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    os.close(to_browser[0])
    os.close(from_browser[1])
    with os.fdopen(from_browser[0], "rb") as answers, os.fdopen(to_browser[1], "wb") as orders:

        def messages() -> Iterator[dict[str, Any]]:
            text = b""
            while byte := answers.read(1):
                if byte == b"\0":
                    yield json.loads(text)
                    text = b""
                else:
                    text += byte

        heard = messages()

        def call(method: str, **parameters: Any) -> dict[str, Any]:
            order = {"id": 1, "method": method, "params": parameters, **session}
            orders.write(json.dumps(order).encode() + b"\0")
            orders.flush()
            answer = next(message for message in heard if message.get("id") == 1)
            assert "error" not in answer, answer
            return answer["result"]

        session: dict[str, str] = {}
        try:
            target = call("Target.createTarget", url="about:blank")["targetId"]
            attached = call("Target.attachToTarget", targetId=target, flatten=True)
            session["sessionId"] = attached["sessionId"]
            screen = {"width": PHONE, "height": 800, "deviceScaleFactor": 2, "mobile": True}
            call("Emulation.setDeviceMetricsOverride", **screen)
            call("Page.enable")
            call("Page.navigate", url=file.as_uri())
            next(m for m in heard if m.get("method") == "Page.loadEventFired")
            yield lambda script: call("Runtime.evaluate", expression=script, returnByValue=True)[
                "result"
            ]["value"]
        finally:
            browser.terminate()
            browser.wait(timeout=30)


def shown(page: str, folder: Path) -> str:
    file = folder / "page.html"
    file.write_text(page, encoding="utf-8")
    flags = (
        "--headless --no-sandbox --disable-gpu --no-first-run --disable-background-networking "
        "--disable-component-update --disable-sync --dump-dom"
    )
    done = subprocess.run(
        [str(BROWSER), *flags.split(), f"--user-data-dir={folder / 'profile'}", file.as_uri()],
        capture_output=True,
        text=True,
        timeout=120,
    )
    return done.stdout
