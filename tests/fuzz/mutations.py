"""Changes to files, drawn at random: of their bytes, and of what stands in them."""

from __future__ import annotations

import gzip
import io
import json
import pickle
import pickletools
import random
import tarfile
import zipfile
from collections.abc import Callable
from typing import Any

import numpy as np

Change = Callable[[random.Random, bytes], bytes]

ODD_JSON = (
    "null", "true", "false", "-1", "0", "1", "2", "3.5", "2147483648", "9223372036854775808",
    "1" + "0" * 30, "1" + "0" * 400, "9" * 5000, "1e308", "1e999", "-1e999", "NaN", "Infinity",
    '""', '"\\u001b[2J\\u001b]0;x\\u0007"', '"\\ud83d"', '"\\u0000"', '"' + "x" * 3000 + '"', '"1"',
    "[]", "{}", "[[]]", '{"a": {}}', "[" * 300 + "]" * 300, "[" * 100000, '{"a":' * 3000,
    '"../../../etc/passwd"', '"/etc/passwd"', '"."', '"a\\nb"', "[1, 2, 3]", '["a"]', "[null]",
    '"\\u202eabc"', '"[bold red]x[/]"', '"nan"', "0.0", "-0.0", '[{"a": 1}]', "1e-320", '"=1+1"',
)  # fmt: skip
"""Values that no file of ours has where they are put."""


def raw(rng: random.Random, content: bytes) -> bytes:
    """Change bytes without a look at what they mean."""
    changed = bytearray(content)
    for _ in range(rng.choice((1, 1, 1, 2, 4, 16))):
        size = len(changed)
        at = rng.randrange(size + 1)
        length = rng.choice((1, 1, 2, 4, 8, 64, 512))
        match rng.randrange(9):
            case 0 if size:
                changed[min(at, size - 1)] ^= 1 << rng.randrange(8)
            case 1 if size:
                changed[min(at, size - 1)] = rng.randrange(256)
            case 2:
                del changed[at:]
            case 3:
                del changed[at : at + length]
            case 4:
                changed[at:at] = rng.randbytes(length)
            case 5:
                changed[at : at + length] = bytes([rng.choice((0, 255))]) * length
            case 6:
                changed[at:at] = changed[at : at + length]
            case 7:
                width = rng.choice((1, 2, 4, 8))
                number = rng.choice((0, 1, 127, 128, 255, 2**15, 2**31 - 1, 2**31, 2**63 - 1))
                changed[at : at + width] = (number % 256**width).to_bytes(width, "little")
            case _:
                other = rng.randrange(size + 1)
                changed[at : at + length] = changed[other : other + length]
    return bytes(changed)


def of_json(rng: random.Random, content: bytes) -> bytes:
    """Put an odd value into JSON, take one out, or write one twice."""
    found = json.loads(content)
    places = list(_places(found))
    if not places or rng.random() < 0.02:
        return rng.choice(ODD_JSON).encode()
    for _ in range(rng.choice((1, 1, 1, 2, 3))):
        inside, key = rng.choice(places)
        odd = f"@@{rng.randrange(len(ODD_JSON))}@@"
        if isinstance(inside, list):
            if key < len(inside):
                inside[key] = odd
        elif rng.random() < 0.15:
            inside.pop(key, None)
        elif rng.random() < 0.1:
            inside[rng.choice(("x", "", "\x1b[2J", "__class__", "id"))] = odd
        else:
            inside[key] = odd
    text = json.dumps(found)
    for number, snippet in enumerate(ODD_JSON):
        text = text.replace(f'"@@{number}@@"', snippet)
    return text.encode("utf-8", "surrogatepass")


def _places(found: Any) -> Any:
    waiting = [found]
    while waiting:
        inside = waiting.pop()
        keys = range(len(inside)) if isinstance(inside, list) else list(inside)
        for key in keys:
            yield inside, key
            if isinstance(inside[key], dict | list):
                waiting.append(inside[key])


def of_lines(rng: random.Random, content: bytes) -> bytes:
    """Change lines of a table, a card or a FASTA file."""
    lines = content.decode("utf-8").split("\n")
    for _ in range(rng.choice((1, 1, 2, 5))):
        at = rng.randrange(len(lines))
        odd = rng.choice(
            ("", ",", '"', "\t", "\0", "\x1b[2J", "1_0", "1e999", "nan", "9" * 5000, "[" * 3000,
            ">",
             "> ", "M" * 200_000, "{}", "'''", "#", "= 1", "inf", "-", "１", "ss", "\r", "\ufeff",
             "0x1F", "[[a]]", "[a.b]", '"' + "a" * 140_000 + '"', "../x", "a = " + "{a=" * 500)
        )  # fmt: skip
        match rng.randrange(7):
            case 0:
                lines[at] = odd
            case 1:
                lines.insert(at, lines[rng.randrange(len(lines))])
            case 2 if len(lines) > 1:
                del lines[at]
            case 3:
                key, equals, _ = lines[at].partition("=")
                lines[at] = f"{key}{equals}{odd}" if equals else lines[at] + odd
            case 4:
                cells = lines[at].split(",")
                cells[rng.randrange(len(cells))] = odd
                lines[at] = ",".join(cells)
            case 5:
                cut = rng.randrange(len(lines[at]) + 1)
                lines[at] = lines[at][:cut] + odd + lines[at][cut:]
            case _:
                other = rng.randrange(len(lines))
                lines[at], lines[other] = lines[other], lines[at]
    return "\n".join(lines).encode("utf-8", "surrogatepass")


def odd_object(rng: random.Random) -> Any:
    """Return a value that pickles, and that no record has."""
    nested: Any = rng.choice(((), [], {}))
    for _ in range(rng.choice((3, 60, 400))):
        nested = rng.choice(((nested,), (nested, nested), [nested, nested]))
        if isinstance(nested, list) and rng.random() < 0.3:
            nested = {"a": nested[0], "b": nested[0]}
    own: list[Any] = []
    own.append(own)
    return rng.choice(
        (
            None, True, -1, 10**30, 10**600, 0.5, float("nan"), float("inf"), "", "\ud83d", "\0",
            "\x1b[2J",
            "x" * 5000, b"\xff", b"", nested, own, {1: 2}, {(): 1}, {(1, 2): 3}, [[1], [1, 2]],
            ["a"],
            np.zeros((2, 2)), np.zeros(0), np.array(3), np.float64("nan"), np.array(["a"]),
            np.zeros(3, "c8"), np.int8(3), {1, 2}, frozenset("ab"), range(3), complex(1, 2),
            np.array([2**63], np.uint64), [2**70], [True], np.zeros(5, ">i2"), np.zeros((1,) * 8),
        )
    )  # fmt: skip


FRAGMENTS = (
    b"2\x86" * 30, b"r\xff\xff\xff\x0f", b"r\xff\xff\xff\x7f", b"2\x86\x85" * 9,
    b"h\x00h\x00\x86q\x00" * 40,
    b"(", b"t", b"0", b"1", b"}", b"]", b")", b"h\x00", b"h\x01", b"q\x00", b"\x94", b"N", b"s",
    b"a", b"e",
    b"u", b"cos\nsystem\n", b"cbuiltins\neval\n", b"R", b"b", b"\x81", b"X\xff\xff\xff\x7f",
    b"\x8b\x00\x00\x10\x00",
    b"\x96\xff\xff\xff\xff\xff\xff\xff\x7f", b"I" + b"9" * 5000 + b"\n",
    b"L" + b"7" * 9000 + b"L\n", b"P1\n",
    b"Q", b"\x82\x01", b"cnumpy\ndtype\n", b"(X\x02\x00\x00\x00f4I0\nI1\ntR", b".",
    b"\x95\xff\xff\xff\xff\xff\xff\xff\x7f",
    b"cbuiltins\nbytearray\n\x8a\x05\xff\xff\xff\xff\x02\x85R", b"cbuiltins\nset\n]\x85R",
    b"\x8f", b"\x90", b"\x91",
)  # fmt: skip


def of_pickle(rng: random.Random, content: bytes) -> bytes:
    """Put instructions between those of a pickle."""
    try:
        places = [position for _, _, position in pickletools.genops(content) if position]
    except Exception:
        return raw(rng, content)
    changed = content
    for _ in range(rng.choice((1, 1, 2, 4))):
        at = rng.choice(places)
        changed = changed[:at] + rng.choice(FRAGMENTS) + changed[at:]
    return changed


def pickled(rng: random.Random, record: dict[str, Any]) -> bytes:
    """Pickle a record with something odd in it, in any protocol."""
    changed = dict(record)
    if rng.random() < 0.7:
        changed[rng.choice([*changed, "id", "primary"])] = odd_object(rng)
    value: Any = changed if rng.random() < 0.95 else odd_object(rng)
    try:
        content = pickle.dumps(value, rng.randrange(6))
    except RecursionError:
        content = b"]" * 5000
    match rng.randrange(3):
        case 0:
            return of_pickle(rng, content)
        case 1:
            return raw(rng, content)
        case _:
            return content


def of_zip(rng: random.Random, content: bytes, change: Change = raw) -> bytes:
    """Change one member of a zip archive, its checksum made to fit."""
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        members = {info.filename: archive.read(info) for info in archive.infolist()}
        kind = archive.infolist()[0].compress_type
    chosen = rng.choice(list(members))
    if rng.random() < 0.5:
        chosen = next((name for name in members if name.endswith("data.pkl")), chosen)
    members[chosen] = change(rng, members[chosen])
    if rng.random() < 0.1:
        members[rng.choice(("../x", "/x", "a" * 300, "\x1b[2J", ".npy"))] = b"x"
    if rng.random() < 0.1:
        del members[rng.choice(list(members))]
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w", kind) as archive:
        for name, inside in members.items():
            archive.writestr(name, inside)
    return made.getvalue()


def of_tarball(rng: random.Random, content: bytes) -> bytes:
    """Change a gzipped tar: its members' heads, what follows its end, or its bytes."""
    tar = gzip.decompress(content)
    if rng.random() < 0.5:
        return gzip.compress(raw(rng, tar), 1) + _after(rng)
    made = io.BytesIO()
    with tarfile.open(fileobj=io.BytesIO(tar)) as old, tarfile.open(fileobj=made, mode="w") as new:
        for member in old:
            if rng.random() < 0.4:
                match rng.randrange(6):
                    case 0:
                        member.name = rng.choice(
                            ("../x", "/x", "toy/" + "x" * 300, "toy", "toy/a/b/c", "\x1b[2J",
                            "toy/../..",
                             "._toy", "toy/\ud83d", "toy/a\0b", ".", "", "toy/toy_train.json/x")
                        )  # fmt: skip
                    case 1:
                        member.type = rng.choice(
                            (tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.CHRTYPE, tarfile.DIRTYPE,
                             tarfile.FIFOTYPE, tarfile.GNUTYPE_SPARSE, tarfile.XHDTYPE, b"Z")
                        )  # fmt: skip
                        member.linkname = "/etc/passwd"
                    case 2:
                        member.size = rng.choice((0, 10**3, 10**12, 2**40))
                    case 3:
                        member.mode = rng.choice((0, 0o7777, 0o100))
                    case 4:
                        member.mtime = rng.choice((-1, 10**15))
                    case _:
                        member.pax_headers = {
                            "path": "../../x",
                            "size": rng.choice(("9" * 30, "-1", "a")),
                        }
            data = io.BytesIO(bytes(min(member.size, 2000)))
            try:
                new.addfile(member, data if member.isreg() and member.size < 2000 else None)
            except Exception:
                new.addfile(tarfile.TarInfo("toy/x"))
    return gzip.compress(made.getvalue(), 1) + _after(rng)


_ZEROS = gzip.compress(bytes(1 << 26), 1)


def _after(rng: random.Random) -> bytes:
    return rng.choice((b"", b"", b"", b"x" * 100, _ZEROS))
