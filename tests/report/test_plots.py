from __future__ import annotations

import numpy as np
import pytest
from sklearn.metrics import confusion_matrix

from tape_bench import registry
from tape_bench.errors import RecordError, UsageError
from tape_bench.report import plots
from tape_bench.report.leaderboard.build import build_leaderboard
from tape_bench.report.plots import detail, mutations, slices, style
from tape_bench.results.collect import collect_records
from tape_bench.scoring.metrics import find
from tape_bench.scoring.predictions import Predictions, items_per_example

random = np.random.default_rng(0)


def residues() -> Predictions:
    lengths = random.integers(20, 80, size=60)
    truth = random.integers(-1, 3, size=lengths.sum())
    scores = random.normal(size=(len(truth), 3)).astype(np.float32)
    return Predictions("token_class", tuple(f"p{i}" for i in range(60)), lengths, scores, truth)


def contacts() -> Predictions:
    lengths = random.integers(20, 60, size=6)
    count = int(items_per_example("residue_pair", lengths).sum())
    return Predictions(
        "residue_pair",
        tuple(f"p{i}" for i in range(6)),
        lengths,
        random.random(count).astype(np.float32),
        random.integers(-1, 2, size=count),
    )


def test_confusion_counts_are_those_of_sklearn():
    predictions = residues()
    known = predictions.targets >= 0

    expected = confusion_matrix(predictions.targets[known], predictions.values[known].argmax(1))

    np.testing.assert_array_equal(detail.confusion_counts(predictions, 3), expected)


def test_contact_maps_are_true_above_and_predicted_below():
    laid = detail.contact_map(np.array([0.1, 0.2, 0.3], np.float32), np.array([1, 0, -1]), 8)

    # Pairs of a chain of eight, six or more apart: (0, 6), (0, 7), (1, 7).
    assert laid[0, 6] == 1
    assert laid[0, 7] == 0
    assert np.isnan(laid[1, 7])
    assert [laid[6, 0], laid[7, 0], laid[7, 1]] == pytest.approx([0.1, 0.2, 0.3])
    assert np.isnan(laid[3, 4])


def test_confidence_of_logits_and_of_probabilities_is_the_same():
    logits = residues()
    exponents = np.exp(logits.values.astype(np.float64))
    shares = (exponents / exponents.sum(axis=1, keepdims=True)).astype(np.float32)
    probabilities = Predictions("token_class", logits.ids, logits.lengths, shares, logits.targets)

    for one, other in zip(detail.confidence(logits), detail.confidence(probabilities), strict=True):
        np.testing.assert_allclose(one, other, atol=1e-6)


def test_groups_never_part_equal_values():
    values = np.array([4] * 50 + [5] * 30 + [6] * 20 + [-1] * 5)

    groups, labels = slices.groups_of(values)

    assert labels == ["4", "5", "6"]
    assert groups[:50].tolist() == [0] * 50
    assert set(groups[-5:]) == {-1}


def test_slices_are_the_metric_of_their_proteins():
    predictions = residues()
    groups, labels = slices.groups_of(predictions.lengths)

    found = slices.sliced(find("accuracy.pooled", "token_class"), [predictions], groups, labels)

    owner = np.repeat(groups, predictions.lengths)
    assert len(found) > 2
    for one in found:
        mine = (owner == labels.index(one.label)) & (predictions.targets >= 0)
        right = predictions.values[mine].argmax(1) == predictions.targets[mine]
        assert one.value == pytest.approx(right.mean())


def test_mutations_are_counted_against_the_usual_residues():
    library = ["MKVL", "MKVL", "MAVL", "MKVI", "MKV"]

    assert mutations.parent(library) == "MKVL"
    assert mutations.substitutions([*library, "AAAA"], "MKVL").tolist() == [0, 0, 1, 1, -1, 4]


@pytest.mark.parametrize(
    ("task", "predictions", "kinds"),
    [
        ("secondary_structure", residues(), {"confusion", "length", "calibration"}),
        ("contact", contacts(), {"contacts", "calibration"}),
    ],
)
def test_every_picture_of_a_record_is_drawn(tmp_path, write_run, task, predictions, kinds):
    write_run(tmp_path / "results", predictions, task, model="<b>$x$</b>")
    (filed,) = collect_records([tmp_path / "results"]).filed

    drawn = plots.of_record(filed)

    assert {plot.name.split("/")[1].split("-")[0] for plot in drawn} == kinds
    for plot in drawn:
        png, svg = plots.save(plot, tmp_path / "plots", ("png", "svg"))
        assert png.read_bytes().startswith(b"\x89PNG")
        assert b"<b>" not in svg.read_bytes()


def drawn_text(figure) -> str:
    from matplotlib.text import Text

    return "\n".join(artist.get_text() for artist in figure.findobj(Text))


def test_pictures_say_what_they_show(tmp_path, write_run):
    write_run(tmp_path, contacts(), "contact", model="m", data="simulated", seeds=(0,))
    (filed,) = collect_records([tmp_path]).filed
    picture = next(plot for plot in plots.of_record(filed) if "contacts" in plot.name)

    figure = picture.draw()
    style.entitle(figure, picture)

    text = drawn_text(figure)
    assert "SIMULATED DATA" in text
    assert "m, Contact prediction, test\nsimulated data, probe, seed 0" in text
    for sign in ("above the diagonal: true contacts", "below: predicted probability", "surest"):
        assert sign.replace("surest", "most surely") in text


def test_calibration_axes_have_plain_numbers():
    figure = detail.calibration(residues())
    figure.draw_without_rendering()

    below = figure.axes[1]
    labels = [label.get_text() for label in below.get_yticklabels(which="both")]
    assert any(labels)
    assert not any("$" in label or "^" in label for label in labels)


def test_long_names_are_folded_and_not_cut():
    name = "onehot (seeds 0, all records, head linear, layer 33, revision main)"

    assert " ".join(style.name(name).split("\n")) == name
    assert max(len(line) for line in style.name(name).split("\n")) <= 28


def test_values_give_a_scatter_and_nothing_by_length(tmp_path, write_run, measured):
    write_run(tmp_path, measured(0.5), "stability")
    (filed,) = collect_records([tmp_path]).filed

    assert [plot.name.split("-")[0] for plot in plots.of_record(filed)] == ["bert/scatter"]


def test_a_protein_nobody_scored_is_named(tmp_path, write_run):
    write_run(tmp_path, contacts(), "contact")
    (filed,) = collect_records([tmp_path]).filed
    (plot,) = plots.of_record(filed, ["contacts"], ["nobody"])

    with pytest.raises(UsageError, match="no protein named 'nobody'"):
        plots.svg(plot)


def test_without_predictions_there_is_no_picture(tmp_path, write_run, measured):
    path = write_run(tmp_path, measured(0.5), "stability")
    path.with_suffix(".predictions.npz").unlink()
    (filed,) = collect_records([tmp_path]).filed

    with pytest.raises(RecordError, match="not beside the record"):
        plots.of_record(filed)


def test_leaderboards_are_drawn_the_same_every_time(make, cards):
    records = [make(model="$\\alpha$ <b>"), make("stability", model="x", control=True)]
    board = build_leaderboard(records, registry.baselines(), cards)

    drawn = plots.of_leaderboard(board)

    assert [plot.name for plot in drawn] == ["overview", "published"]
    for plot in drawn:
        assert plots.svg(plot) == plots.svg(plot)
        assert b"<b>" not in plots.svg(plot)


def test_pictures_of_simulated_data_have_no_published_figures(make, cards):
    board = build_leaderboard([make(data="simulated")], registry.baselines(), cards)

    assert [plot.name for plot in plots.of_leaderboard(board)] == ["overview-simulated"]


def test_models_on_the_same_proteins_share_a_picture(tmp_path, write_run):
    predictions = residues()
    for model in ("one", "other"):
        write_run(tmp_path / model, predictions, "secondary_structure", model=model)
    filed = collect_records([tmp_path / "one", tmp_path / "other"]).filed

    drawn = {plot.name.split("-")[0]: plot for plot in plots.of_records(filed)}

    assert drawn.keys() == {"together/length", "together/calibration"}
    for plot in drawn.values():
        (legend,) = plot.draw().legends
        named = [text.get_text().split(":")[0] for text in legend.get_texts()]
        assert named == ["one", "other"]
    assert plots.of_records(filed[:1]) == []
    assert plots.of_records(filed, ["scatter"]) == []


def test_one_model_with_two_heads_has_two_names(tmp_path, write_run):
    predictions = residues()
    for place in ("a", "b", "c"):
        write_run(tmp_path / place, predictions, "secondary_structure")
    filed = collect_records([tmp_path / place for place in "abc"]).filed

    names = [
        text.get_text()
        for plot in plots.of_records(filed, ["length"])
        for text in plot.draw().legends[0].get_texts()
    ]

    assert len({*names}) == 3


def test_proteins_in_no_part_are_counted():
    predictions = residues()
    groups, labels = np.zeros(60, int), ["all"]
    groups[:3] = -1
    metric = find("accuracy.pooled", "token_class")

    found = slices.sliced(metric, [predictions], groups, labels)
    (panel,) = slices.draw({"one": found}, "residues", "Q3", len(groups)).axes

    assert panel.get_xlabel() == "residues (3 of 60 proteins not shown)"
