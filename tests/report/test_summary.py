"""The final tables hold the numbers of `summary.json`."""

import io

from rich import box
from rich.console import Console

from gsljax.report.summary import summary_tables
from tests.report.run_directories import gsl_records, gsl_summary


def rows(summary, last_records=None) -> list[list[str]]:
    """Print the tables and split their lines into cells."""
    console = Console(file=io.StringIO(), force_terminal=False, width=120)
    for table in summary_tables(summary, last_records or {}, box.MARKDOWN):
        console.print(table)
    assert isinstance(console.file, io.StringIO)
    return [[cell.strip() for cell in line.strip("| ").split("|")] for line in console.file.getvalue().splitlines()]


def test_each_stage_has_its_samples_seconds_rate_return_and_success():
    table = rows(gsl_summary(), {record["stage"]: record for record in gsl_records()})
    assert ["stage", "samples", "seconds", "compiling", "samples/s", "return", "success"] in table
    assert ["generalist", "400", "2.0", "1.2", "500", "-8.000", "0.200"] in table  # 400 in 0.8 s without compilation
    assert ["evaluation", "0", "0.5", "-", "-", "-", "-"] in table
    assert ["specialists", "600", "3.0", "-", "200", "-1.000", "0.900"] in table
    assert ["imitation", "600", "2.0", "-", "300", "-2.000", "0.800"] in table
    assert ["all", "2k", "8.0"] in [row[:3] for row in table]


def test_final_evaluation_and_plateau():
    table = rows(gsl_summary(test={"return": -4.0, "success": 0.6, "normalized": 0.5}))
    assert ["plateau: H fired at epoch 1; the generalist was taken after 200 samples"] in table
    assert ["evaluation", "return", "success", "normalized"] in table
    assert ["final, actions sampled", "-2.000", "0.800", "-"] in table
    assert ["final, deterministic", "-1.500", "0.850", "-"] in table
    assert ["test variations", "-4.000", "0.600", "0.500"] in table


def test_few_variations_are_listed():
    table = rows(gsl_summary())
    assert ["variation", "return", "success"] in table
    assert [row[0::2] for row in table if row[0] in ("0", "1", "2")] == [["0", "0.700"], ["1", "0.800"], ["2", "0.900"]]


def test_variations_are_called_by_their_names_where_they_have_some():
    summary = gsl_summary()
    for variation, row in summary["final"]["per_variation"].items():
        row["name"] = f"task {variation}"
    listed = [row for row in rows(summary) if row[0].startswith("task")]
    assert [row[0::2] for row in listed] == [["task 0", "0.700"], ["task 1", "0.800"], ["task 2", "0.900"]]


def test_of_many_variations_the_worst_the_median_and_the_best_are_shown():
    per_variation: dict = {str(variation): {"return": float(-((variation * 7) % 1024))} for variation in range(1024)}
    per_variation["5"] = {"return": None}  # no episode ended; 7 · 5 = 35 is missing from 0 .. 1023
    table = rows(gsl_summary(final={"return": -500.0, "per_variation": per_variation}))
    assert ["of 1024 variations by return", "return"] in table
    assert [row for row in table if row[0].startswith(("worst", "median", "best"))] == [
        [f"worst (variation {next(v for v in range(1024) if v * 7 % 1024 == 1023)})", "-1023"],
        [f"median (variation {next(v for v in range(1024) if v * 7 % 1024 == 512)})", "-512.0"],
        ["best (variation 0)", "0.000"],
    ]


def test_a_run_without_plateau_success_or_evaluation_has_only_its_stages():
    stages = [{"name": "baseline", "samples": 100, "wall_seconds": 2.0, "return": -3.0}]
    table = rows({"total_samples": 100, "wall_seconds": 2.0, "stages": stages, "plateau": None, "final": None})
    assert [row for row in table if row != [""] and not row[0].startswith("-")] == [
        ["stage", "samples", "seconds", "samples/s", "return"],
        ["baseline", "100", "2.0", "50", "-3.000"],
        ["all", "100", "2.0"],
    ]
