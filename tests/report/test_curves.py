"""The figures show the numbers in the run directories: every line's points are checked against them."""

import json

import numpy as np
import pytest
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Rectangle
from matplotlib.text import Annotation

from gsljax.errors import UserError
from gsljax.report import canvas
from gsljax.report.curves import comparison_figure, learning_curve_figure
from gsljax.report.runs import load_run
from tests.report.run_directories import epochs, gsl_records, gsl_summary, write_run


def lines(axes: Axes) -> dict[str, Line2D]:
    """Return the lines by what they show."""
    return {str(line.get_gid()): line for line in axes.lines if line.get_gid()}


def points(line: Line2D) -> tuple[list[float], list[float]]:
    """Return a line's x and y."""
    return np.asarray(line.get_xdata(), float).tolist(), np.asarray(line.get_ydata(), float).tolist()


def spans(axes: Axes) -> dict[str, tuple[float, float]]:
    """Return the x-range of every tinted span."""
    found = {str(patch.get_gid()): patch for patch in axes.patches if isinstance(patch, Rectangle)}
    return {gid: (patch.get_x(), patch.get_x() + patch.get_width()) for gid, patch in found.items()}


def texts(figure: Figure) -> list[str]:
    """Return every label of a figure's legends."""
    roots = [figure, *figure.subfigs]
    return [text.get_text() for root in roots for legend in root.legends for text in legend.get_texts()]


@pytest.fixture
def gsl_run(tmp_path):
    return load_run(write_run(tmp_path / "gsl", gsl_records(), gsl_summary()))


def test_one_run_is_drawn_point_by_point(gsl_run):
    figure = learning_curve_figure(gsl_run)
    drawn = lines(figure.axes[0])
    assert points(drawn["generalist:raw"]) == ([100, 200, 300, 400], [0.0, 0.2, 0.25, 0.2])
    assert points(drawn["imitation:raw"]) == ([1600, 2000], [0.4, 0.8])  # an epoch without an episode has no point
    assert points(drawn["specialists:member 0"]) == ([700, 1000], [0.4, 0.8])
    assert points(drawn["specialists:member 2"]) == ([700, 1000], [0.6, 1.0])
    assert points(drawn["specialists:smoothed"]) == ([700, 1000], [0.5, 0.9])
    assert points(drawn["final"]) == ([2000], [0.8])
    assert points(drawn["plateau"])[0] == [200, 200]
    assert spans(figure.axes[0]) == {
        "generalist:span": (0, 400),
        "specialists:span": (400, 1000),
        "demonstrations:span": (1000, 1400),
        "imitation:span": (1400, 2000),
        "look-ahead": (200, 400),
    }
    assert figure.axes[0].get_xlim() == (0, 2000)
    low, high = figure.axes[0].get_ylim()
    assert low <= 0 < 1 <= high < 1.1
    assert {
        "generalist taken (where H = 1)",
        "look-ahead",
        "final evaluation: 0.80",
        "specialists (mean; thin: each of 3)",
    } <= set(texts(figure))


def test_smoothed_lines_are_one_percent_of_the_run_wide(tmp_path):
    success = np.random.default_rng(0).uniform(size=300)
    run = load_run(write_run(tmp_path / "run", list(epochs("baseline", 0, 50, success.tolist())), method="ppo"))
    drawn = lines(learning_curve_figure(run).axes[0])
    samples = np.arange(1, 301) * 50.0
    assert points(drawn["baseline:raw"]) == (samples.tolist(), success.tolist())
    expected = canvas.smooth(samples, success, 150.0)
    np.testing.assert_array_equal(drawn["baseline:smoothed"].get_ydata(), expected)
    assert np.std(expected) < 0.6 * np.std(success)


def test_a_run_that_goes_on_has_neither_plateau_nor_final_dot(tmp_path):
    run = load_run(write_run(tmp_path / "run", gsl_records()[:3]))
    figure = learning_curve_figure(run)
    assert set(lines(figure.axes[0])) == {"generalist:raw", "generalist:smoothed"}
    assert spans(figure.axes[0]) == {}


def test_a_plateau_that_did_not_fire_is_not_called_one(tmp_path):
    plateau = {"epoch": 3, "samples": 400, "fired": False}
    run = load_run(write_run(tmp_path / "run", gsl_records(), gsl_summary(plateau=plateau)))
    figure = learning_curve_figure(run)
    assert "generalist taken (H did not fire)" in texts(figure)
    assert "look-ahead" not in spans(figure.axes[0])


def test_a_stage_too_narrow_for_its_name_is_once_in_the_legend(tmp_path):
    records = [*epochs("generalist", 0, 400, [0.1, 0.2, 0.3, 0.4]), *epochs("imitation", 1600, 50, [0.5, 0.6])]
    figure = learning_curve_figure(load_run(write_run(tmp_path / "run", records)))
    assert texts(figure).count("generalist, phase II") == 1
    named = [text.get_text() for text in figure.axes[0].texts if isinstance(text, Annotation)]
    assert "generalist" in named and "generalist, phase II" not in named


def test_returns_are_drawn_where_there_is_no_success(tmp_path):
    records = [{key: value for key, value in record.items() if key != "success"} for record in gsl_records()]
    figure = learning_curve_figure(load_run(write_run(tmp_path / "run", records, gsl_summary())))
    assert points(lines(figure.axes[0])["generalist:raw"])[1] == [-10.0, -8.0, -7.5, -8.0]
    assert points(lines(figure.axes[0])["final"])[1] == [-2.0]
    assert figure.axes[0].get_ylabel() == "return"


def test_a_run_without_an_epoch_cannot_be_drawn(tmp_path, gsl_run):
    run = load_run(write_run(tmp_path / "run", []))
    for draw in (lambda: learning_curve_figure(run), lambda: comparison_figure([gsl_run, run])):
        with pytest.raises(UserError, match="has nothing to draw yet"):
            draw()
    with pytest.raises(UserError, match="no run to compare"):
        comparison_figure([])


@pytest.fixture
def ppo_runs(tmp_path):
    """Three seeds over 2,000 samples; the third stops at 1,000. Steps are too coarse to be smoothed."""
    values = [[0.1, 0.2, 0.3, 0.4], [0.3, 0.4, 0.5, 0.6], [0.2, 0.6]]
    runs = []
    for seed, success in enumerate(values):
        records = list(epochs("baseline", 0, 500, success))
        summary = {"total_samples": records[-1]["samples"], "stages": [], "final": {"success": success[-1]}}
        path = write_run(tmp_path / f"ppo{seed}", records, summary, method="ppo", seed=seed)
        runs.append(load_run(path))
    return runs


def band(axes: Axes) -> tuple[np.ndarray, np.ndarray]:
    """Return the outline's x and y of the one band in the axes."""
    outlines = [np.asarray(path.vertices) for collection in axes.collections for path in collection.get_paths()]
    (outline,) = (outline for outline in outlines if len(outline))
    return outline[:, 0], outline[:, 1]


def test_the_mean_over_seeds_is_interpolated_where_most_seeds_are(ppo_runs):
    axes, final_axes = comparison_figure(ppo_runs).axes
    x, y = (np.array(values) for values in points(lines(axes)["ppo:baseline"]))
    at = dict(zip(x.tolist(), y.tolist(), strict=True))
    assert np.isnan(at[495.0])  # before the first epoch ends nothing is known
    assert at[500.0] == pytest.approx((0.1 + 0.3 + 0.2) / 3)
    assert at[750.0] == pytest.approx((0.15 + 0.35 + 0.4) / 3)
    assert at[1000.0] == pytest.approx((0.2 + 0.4 + 0.6) / 3)
    assert at[1500.0] == pytest.approx((0.3 + 0.5) / 2)
    assert at[2000.0] == pytest.approx((0.4 + 0.6) / 2)
    two = dict(zip(*points(lines(comparison_figure(ppo_runs[1:]).axes[0])["ppo:baseline"]), strict=True))
    assert two[1000.0] == pytest.approx((0.4 + 0.6) / 2)
    assert np.isnan(two[1500.0])  # one of two is not most
    assert sorted(points(lines(final_axes)["ppo:runs"])[1]) == [0.4, 0.6, 0.6]
    assert points(lines(final_axes)["ppo:final"])[1] == pytest.approx([1.6 / 3])


@pytest.mark.parametrize(
    ("kind", "low", "high"),
    [("min to max", 0.1, 0.3), ("standard error", 0.2 - 0.1 / 3**0.5, 0.2 + 0.1 / 3**0.5)],
)
def test_the_band_is_what_its_label_says(ppo_runs, kind, low, high):
    figure = comparison_figure(ppo_runs, kind)
    x, y = band(figure.axes[0])
    assert {round(value, 9) for value in y[x == 500.0].tolist()} == {round(low, 9), round(high, 9)}
    assert any(kind in text for text in texts(figure))


def test_runs_that_are_alone_have_no_band(ppo_runs, gsl_run):
    assert not any("mean ±" in text for text in texts(comparison_figure([gsl_run, ppo_runs[0]])))
    assert any("mean ±" in text for text in texts(comparison_figure([gsl_run, *ppo_runs])))


def test_methods_are_told_apart_and_count_their_seeds(ppo_runs, gsl_run):
    figure = comparison_figure([gsl_run, *ppo_runs])
    assert {"ppo (n = 3 seeds)", "gsl (n = 1 seed)", "specialists (those that train)"} <= set(texts(figure))
    drawn = lines(figure.axes[0])
    assert drawn["gsl:imitation"].get_color() != drawn["ppo:baseline"].get_color()
    x, y = (np.array(values) for values in points(drawn["gsl:specialists"]))
    known = ~np.isnan(y)
    assert (x[known].min(), x[known].max()) == (700, 1000)
    np.testing.assert_allclose(y[known], 0.5 + 0.4 * (x[known] - 700) / 300)
    labels = [text.get_text() for text in figure.axes[1].texts]
    assert labels == ["ppo 0.53", "gsl 0.80"]


def test_stages_are_shaded_between_the_medians_of_their_boundaries(tmp_path):
    runs = []
    for seed, length in enumerate((3, 4, 8)):
        records = [*epochs("generalist", 0, 100, [0.1] * length), *epochs("imitation", 100 * length, 100, [0.3] * 4)]
        runs.append(load_run(write_run(tmp_path / str(seed), records, seed=seed)))
    assert spans(comparison_figure(runs).axes[0]) == {"generalist:span": (0, 400), "imitation:span": (400, 800)}


def test_stages_that_end_at_different_samples_are_averaged_from_their_start_to_their_end(tmp_path):
    runs = []
    for seed, length in enumerate((2, 4, 6)):
        records = [
            *epochs("generalist", 0, 100, np.linspace(0.1, 0.5, length + 1)[1:].tolist()),
            *epochs("imitation", 100 * length, 100, [0.2 + 0.1 * seed, 0.4 + 0.1 * seed]),
        ]
        runs.append(load_run(write_run(tmp_path / str(seed), records, gsl_summary(), seed=seed)))
    drawn = lines(comparison_figure(runs).axes[0])
    x, y = (np.array(values) for values in points(drawn["gsl:generalist"]))
    assert y[np.isclose(x, 400)] == pytest.approx(0.5)  # all of them end at the median, 400
    assert y[np.isclose(x, 200)] == pytest.approx(0.3)  # and are half-way at half of it
    x, y = (np.array(values) for values in points(drawn["gsl:imitation"]))
    known = ~np.isnan(y)
    assert (x[known].min(), x[known].max()) == pytest.approx((500, 600), abs=5)
    assert (y[known][0], y[known][-1]) == pytest.approx((0.3, 0.5), abs=0.02)


def test_runs_under_way_do_not_squeeze_those_that_are_over(tmp_path):
    runs = []
    for seed, length in enumerate((10, 2, 3)):
        records = [*epochs("generalist", 0, 100, [0.1] * 4), *epochs("imitation", 400, 100, [0.5] * length)]
        runs.append(
            load_run(write_run(tmp_path / str(seed), records, gsl_summary() if length == 10 else None, seed=seed))
        )
    axes = comparison_figure(runs).axes[0]
    assert spans(axes)["imitation:span"] == (400, 1400)
    x, y = (np.array(values) for values in points(lines(axes)["gsl:imitation"]))
    assert x[~np.isnan(y)].max() == pytest.approx(700, abs=10)  # from there on one of three is not most


def test_stages_that_methods_share_are_drawn_once(tmp_path, gsl_run):
    records = gsl_records()
    records[-1]["success"] = 0.5
    without = load_run(write_run(tmp_path / "other", records, gsl_summary(), method="gsl-no-demonstrations"))
    drawn = lines(comparison_figure([without, gsl_run]).axes[0])
    assert set(drawn) >= {"gsl:generalist", "gsl:imitation", "gsl-no-demonstrations:imitation"}
    assert "gsl-no-demonstrations:generalist" not in drawn


def test_presets_have_a_row_each(tmp_path, gsl_run):
    records = [{key: value for key, value in record.items() if key != "success"} for record in gsl_records()]
    other = load_run(write_run(tmp_path / "other", records, gsl_summary(), preset="chair"))
    figure = comparison_figure([gsl_run, other])
    assert [(axes.get_title(), axes.get_ylabel()) for axes in figure.axes[::2]] == [
        ("chair", "return"),
        ("maze", "success rate"),
    ]


def test_what_is_pooled_is_said(tmp_path):
    records = list(epochs("baseline", 0, 100, [0.1, 0.2]))
    paths = [
        write_run(tmp_path / str(place), records, seed=place // 2, config={"seed": place, "lanes": 4 + place // 3})
        for place in range(4)
    ]
    runs = [load_run(path) for path in paths]
    assert "gsl (n = 4 runs, settings differ)" in texts(comparison_figure(runs))
    assert "gsl (n = 1 seed)" in texts(comparison_figure([runs[0], runs[0]]))  # the same run twice is one run
    assert "gsl (n = 2 seeds)" in texts(comparison_figure([runs[0], runs[2]]))


def test_labels_of_equal_results_do_not_cover_each_other(tmp_path):
    runs = []
    for method in ("ppo", "gsl", "gsl-bc", "gsl-classic"):
        records = list(epochs("baseline", 0, 100, [0.9, 1.0]))
        summary = json.loads(json.dumps({"total_samples": 200, "final": {"success": 1.0}}))
        runs.append(load_run(write_run(tmp_path / method, records, summary, method=method)))
    axes = comparison_figure(runs).axes[1]
    heights = sorted(text.xy[1] for text in axes.texts if isinstance(text, Annotation))
    low, high = axes.get_ylim()
    assert min(np.diff(heights)) > 0.05 * (high - low)
    assert low <= heights[0] and heights[-1] <= high
