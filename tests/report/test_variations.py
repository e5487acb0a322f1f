"""The picture per variation shows the evaluations in `summary.json`, for five variations and for a thousand."""

import numpy as np
import pytest
from matplotlib.container import BarContainer

from gsljax.errors import UserError
from gsljax.report.runs import load_run
from gsljax.report.variations import per_variation_figure
from tests.report.run_directories import gsl_records, gsl_summary, write_run


def test_few_variations_are_bars_by_id_beside_the_plateau(tmp_path):
    axes = per_variation_figure(load_run(write_run(tmp_path / "run", gsl_records(), gsl_summary()))).axes[0]
    bars = {container.get_label(): container for container in axes.containers if isinstance(container, BarContainer)}
    assert {label: [patch.get_height() for patch in group.patches] for label, group in bars.items()} == {
        "generalist before its specialists (mean over 3: 0.20)": [0.0, 0.6, 0.0],
        "final (mean over 3: 0.80)": [0.7, 0.8, 0.9],
    }
    for group, side in zip(bars.values(), (-1, 1), strict=True):
        centers = [patch.get_x() + patch.get_width() / 2 for patch in group.patches]
        np.testing.assert_allclose(centers, [place + 0.2 * side for place in range(3)])
    assert [text.get_text() for text in axes.texts] == ["0.00", "0.60", "0.00", "0.70", "0.80", "0.90"]


def test_variations_are_called_by_their_names_where_they_have_some(tmp_path):
    summary = gsl_summary()
    for variation, row in summary["final"]["per_variation"].items():
        row["name"] = f"task {variation}"
    axes = per_variation_figure(load_run(write_run(tmp_path / "run", gsl_records(), summary))).axes[0]
    labels = {text.get_text(): text.get_position()[0] for text in axes.get_xticklabels()}
    assert labels == {"task 0": 0, "task 1": 1, "task 2": 2}


def test_a_baseline_has_only_its_final_evaluation(tmp_path):
    summary = gsl_summary(stages=[{"name": "baseline", "samples": 2000}])
    axes = per_variation_figure(load_run(write_run(tmp_path / "run", gsl_records(), summary))).axes[0]
    assert [container.get_label() for container in axes.containers] == ["final (mean over 3: 0.80)"]


def test_many_variations_are_a_sorted_curve(tmp_path):
    values = np.random.default_rng(0).permutation(1024) / 1024
    final = {"success": 0.5, "per_variation": {str(place): {"success": v} for place, v in enumerate(values.tolist())}}
    final["per_variation"]["7"] = {"success": None}
    run = load_run(write_run(tmp_path / "run", gsl_records(), gsl_summary(final=final)))
    axes = per_variation_figure(run).axes[0]
    (line,) = (line for line in axes.lines if line.get_gid() == "final")
    np.testing.assert_array_equal(line.get_ydata(), np.sort(np.delete(values, 7)))
    np.testing.assert_array_equal(line.get_xdata(), np.arange(1, 1024))


def _with_specialists(plateau, specialists, final):
    """A summary with these successes by variation."""

    def rows(values):
        return {str(variation): {"success": value} for variation, value in values.items()}

    stages = [{"name": "evaluation", "samples": 1, "per_variation": rows(plateau)}]
    stages.append({"name": "demonstrations", "samples": 1, "specialists": rows(specialists)})
    return gsl_summary(stages=stages, final={"success": 0.5, "per_variation": rows(final)})


def test_specialists_are_bars_on_their_few_variations(tmp_path):
    summary = _with_specialists({0: 0.1, 1: 0.6, 2: 0.2}, {0: 0.8, 2: 0.4}, {0: 0.7, 1: 0.8, 2: 0.9})
    axes = per_variation_figure(load_run(write_run(tmp_path / "run", gsl_records(), summary))).axes[0]
    bars = {container.get_label(): container for container in axes.containers if isinstance(container, BarContainer)}
    group = bars["specialists, each on its own (mean over 2: 0.60)"]
    np.testing.assert_allclose([patch.get_x() + patch.get_width() / 2 for patch in group.patches], [0, 2])
    assert [patch.get_height() for patch in group.patches] == [0.8, 0.4]


def test_specialists_are_points_at_the_places_of_their_many_variations(tmp_path):
    """Variation v has place 60 - v of 60 on the generalist's curve; 7 never ended an episode, and has none."""
    plateau = {variation: 0.9 - variation / 100 for variation in range(60)}
    summary = _with_specialists(plateau | {7: None}, {59: 0.7, 40: 0.5, 7: 0.2}, dict.fromkeys(range(60), 0.8))
    axes = per_variation_figure(load_run(write_run(tmp_path / "run", gsl_records(), summary))).axes[0]
    (points,) = (one for one in axes.collections if one.get_gid() == "specialists, each on its own")
    np.testing.assert_allclose(points.get_offsets(), [[20, 0.5], [1, 0.7]])


@pytest.mark.parametrize("summary", [None, gsl_summary(final={"success": 0.5})])
def test_without_an_evaluation_per_variation_there_is_nothing_to_draw(tmp_path, summary):
    run = load_run(write_run(tmp_path / "run", gsl_records(), summary))
    with pytest.raises(UserError, match="has no evaluation per variation"):
        per_variation_figure(run)
