"""What the gate found, for people, for pull requests and for CI systems."""

from __future__ import annotations

from xml.etree import ElementTree

from tape_bench.report.gate.judge import Exit, Finding, Verdict
from tape_bench.report.leaderboard.formats.markdown import escape
from tape_bench.report.wording import DASH, number, plain

WORDS = {
    Exit.FINE: "fine",
    Exit.REGRESSION: "REGRESSION",
    Exit.NOT_COMPARABLE: "not comparable",
    Exit.UNTOLD: "cannot be told",
}


def text(verdict: Verdict) -> str:
    """Write one line a score, and the verdict."""
    lines = [
        f"{WORDS[finding.outcome]:22} {_place(finding)}: {_figures(finding)}{finding.why}"
        for finding in verdict.findings
    ]
    lines += [f"note: {note}" for note in verdict.notes]
    return "\n".join(plain(line) for line in [*lines, headline(verdict)])


def headline(verdict: Verdict) -> str:
    """Write the verdict in one sentence."""
    count = len(verdict.findings)
    bad = sum(finding.outcome == verdict.outcome for finding in verdict.findings)
    if verdict.outcome is Exit.FINE:
        return f"fine: nothing got worse in {count} score{'s' * (count != 1)}"
    return f"{WORDS[verdict.outcome]}: {bad} of {count} score{'s' * (count != 1)}"


def markdown(verdict: Verdict) -> str:
    """Write a summary for a pull request."""
    lines = [
        f"### tape-bench check: {headline(verdict)}",
        "",
        "| | task | model | score | reference | new | change | tolerance | |",
        "| --- | --- | --- | --- | ---: | ---: | ---: | ---: | --- |",
    ]
    for finding in verdict.findings:
        change = finding.change
        cells = [
            "✅" if finding.outcome is Exit.FINE else "❌",
            escape(finding.task),
            escape(finding.model),
            escape(f"{change.label} ({change.split})" if change else DASH),
            _number(change.a if change else None),
            _number(change.b if change else None),
            _number(change.difference if change else None, "+"),
            f"{finding.tolerance:g}",
            escape(f"{WORDS[finding.outcome]}: {finding.why}"),
        ]
        lines.append(f"| {' | '.join(cells)} |")
    lines += ["", *(f"- {escape(note)}" for note in verdict.notes)]
    if verdict.paired:
        lines.append(
            f"Changes are paired by protein; {verdict.level:.0%} intervals, all of them together."
        )
    return "\n".join(lines).rstrip() + "\n"


def junit(verdict: Verdict) -> str:
    """Write JUnit XML: a regression is a failure, what could not be checked an error."""
    failures = sum(finding.outcome is Exit.REGRESSION for finding in verdict.findings)
    good = sum(finding.outcome is Exit.FINE for finding in verdict.findings)
    counts = {
        "tests": str(len(verdict.findings)),
        "failures": str(failures),
        "errors": str(len(verdict.findings) - failures - good),
    }
    suite = ElementTree.Element("testsuite", {"name": "tape-bench check", **counts})
    for finding in verdict.findings:
        case = ElementTree.SubElement(
            suite,
            "testcase",
            classname=plain(f"{finding.task or 'records'}.{finding.model}"),
            name=plain(finding.name),
        )
        if finding.outcome is not Exit.FINE:
            kind = "failure" if finding.outcome is Exit.REGRESSION else "error"
            message = plain(_figures(finding) + finding.why)
            ElementTree.SubElement(
                case, kind, message=message, type=WORDS[finding.outcome]
            ).text = message
    suites = ElementTree.Element("testsuites", counts)
    suites.append(suite)
    ElementTree.indent(suites)
    return ElementTree.tostring(suites, encoding="unicode", xml_declaration=True) + "\n"


def _place(finding: Finding) -> str:
    return " ".join(filter(None, (finding.task, finding.model, finding.name)))


def _figures(finding: Finding) -> str:
    change = finding.change
    if change is None or change.difference is None:
        return ""
    return f"{_number(change.a)} -> {_number(change.b)}, "


def _number(value: float | None, sign: str = "") -> str:
    return DASH if value is None else number(value, 4, sign)
