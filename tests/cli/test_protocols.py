"""`tape-bench protocols` tells what there is, and docs/protocols.md says the same."""

from __future__ import annotations

import json
import re
from dataclasses import fields
from pathlib import Path

import pytest
from click.testing import CliRunner

from tape_bench import registry
from tape_bench.cli import program
from tape_bench.protocols.finetune.plan import Finetune
from tape_bench.protocols.finetune.presets import PRESETS
from tape_bench.protocols.finetune.recipe import Recipe
from tape_bench.protocols.zero_shot.plan import ZeroShot

PAGE = (Path(__file__).resolve().parents[2] / "docs" / "protocols.md").read_text("utf-8")


def said(*arguments: str) -> str:
    return CliRunner().invoke(program, ["protocols", *arguments], catch_exceptions=False).stdout


def test_every_protocol_is_listed_here_and_on_the_page():
    lines = said().splitlines()
    assert [line.split()[0] for line in lines] == list(registry.PROTOCOLS)
    assert all(len(line.split()) > 3 for line in lines)
    on_page = re.findall(r"^\| `(\w+)` \| ", PAGE, re.M)
    assert set(registry.PROTOCOLS) <= set(on_page)


@pytest.mark.parametrize("name", registry.PROTOCOLS)
def test_options_are_those_of_the_protocol(name):
    shown = re.findall(r"^-P (\w+) ", said(name), re.M)
    known = json.loads(said(name, "--json"))["options"]
    assert shown == list(known)


def test_an_option_that_the_recipe_has_can_be_given_and_every_preset_is_of_such():
    names = {field.name for field in fields(Recipe)}
    assert names <= {field.name for field in fields(Finetune)}
    for preset in PRESETS.values():
        for values in (preset.values, *preset.kinds.values(), *preset.tasks.values()):
            assert set(values) <= names
            Recipe(**{**preset.values, **values}).checked()


def test_presets_are_shown_with_their_sources_and_are_on_the_page():
    text = said("finetune")
    for name, preset in PRESETS.items():
        assert f"preset={name}" in text
        assert preset.source.split(",")[0] in text
        assert f"`{name}`" in PAGE


def test_options_that_the_page_names_are_options():
    known = {field.name for one in (Finetune, ZeroShot) for field in fields(one)}
    named = set(re.findall(r"-P (\w+)=", PAGE)) | set(re.findall(r"`(\w+)=\w+`", PAGE))
    assert named - {"OPTION"} <= known
