"""Curves in bins of samples, and the table that has ours beside the published ones."""

from benchmarks.procgen_reference import binned, rows_of


def test_returns_are_averaged_over_bins_and_epochs_without_an_episode_left_out():
    points = [(10_000, 1.0), (90_000, 3.0), (100_000, 5.0), (150_000, None), (10_000_000, 9.0)]
    assert binned(points) == {50_000: 2.0, 150_000: 5.0}


def test_the_table_has_the_range_of_the_published_curves_and_each_of_ours_where_all_have_both_bins():
    def curve(height, last):
        return {at: height + at / 1e6 for at in range(50_000, last, 100_000)}

    rows = rows_of("bigfish", [curve(1.0, 1_600_000), curve(3.0, 1_600_000)], [curve(2.0, 1_000_000)])
    expected = {"name": "bigfish, 500,000 samples", "lowest": 1.5, "highest": 3.5, "run 0": 2.5}
    assert [{key: value if key == "name" else round(value, 6) for key, value in row.items()} for row in rows] == [
        expected
    ]
