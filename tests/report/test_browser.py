"""The HTML page in a real browser: it sorts, it filters, and nothing in it goes wrong."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from tape_bench import registry
from tape_bench.report import formats, leaderboard

BROWSER = shutil.which("chromium") or shutil.which("google-chrome")

PROBE = """
<script>
window.onerror = (message) => { document.title = "FAULT " + message; };
const click = (number) => document.querySelectorAll("thead button")[number].click();
const models = () => [...document.querySelectorAll("tbody tr:not([hidden]) th")]
  .map((head) => head.firstChild.textContent).join(" ");
const told = [];
click(3); told.push("falling: " + models());
click(3); told.push("rising: " + models());
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
        make(value=0.9, model="high", data="partial", digest="8" * 64),
        make(value=None, undefined="constant", model="none", data="partial"),
        make(value=0.5, model="<img src=x onerror=alert(1)>"),
    ]
    board = leaderboard.build(records, registry.baselines()[:0], cards)
    # The page forbids what it does not need; the probe is part of the page here.
    page = formats.render(board, "html").replace("</body>", PROBE + "</body>")

    told = shown(page, tmp_path)

    assert "FAULT" not in told
    assert re.search(r"falling: high &lt;img src=x onerror=alert\(1\)&gt; low none", told)
    assert re.search(r"rising: low &lt;img src=x onerror=alert\(1\)&gt; high none", told)
    assert "partial: low high none" in told
    assert "columns: 0" in told


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
