"""Reports are pure functions of records, and leave other files alone."""

import json
import math
import os
import subprocess
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest
from matplotlib import pyplot

from repro import paper
from repro.engine.files import results_lock, write
from repro.errors import UserError
from repro.mnist.runs import Arm
from repro.report import build, format, plotting, records
from repro.report.mnist.section import sections as mnist_sections
from repro.report.pages import reproduce

SWEEP = (Arm.TEMPERATURE_SWEEP, Arm.WIDTH_HARD_TARGETS)
WITHOUT_3 = (Arm.WITHOUT_3, Arm.WITHOUT_3_VALIDATION)
ONLY_7_8 = (Arm.ONLY_7_8, Arm.ONLY_7_8_VALIDATION)


def test_a_report_has_all_files_and_is_reproducible(reported, read_files):
    first = read_files(reported)
    names = {Path(name).name for name in first}
    tables = ("headline", "temperatures", "missing_classes", "data_fractions", "theory", "gap",
              "transfer", "transfer_contrasts")  # fmt: skip
    assert {"claims.csv", "REPRODUCE.md", "README.md", "index.html", "records.jsonl"} <= names
    assert {f"{table}.csv" for table in tables} <= names
    for figure in ("soft_targets", "temperature_by_width", "bias_shift", "data_fraction", "training_curves"):
        assert {f"{figure}.png", f"{figure}.svg"} <= names
    assert {"scorecard.png", "scorecard.svg"} <= names
    leftover = reported / "results" / "claims.csv.999999999.unfinished"
    leftover.write_text("of a command that was killed")
    in_use, of_same_number = (
        reported / "results" / f"bench.json.{process}.unfinished" for process in (os.getppid(), os.getpid())
    )
    in_use.write_text("of a command that runs")
    of_same_number.write_text("of a command that was killed, in a container")
    build.report(reported)
    assert in_use.exists() and not of_same_number.exists()
    in_use.unlink()
    assert read_files(reported) == first and not leftover.exists()


def test_claims_have_the_documented_columns(reported):
    claims = pd.read_csv(reported / "results" / "claims.csv")
    assert tuple(claims.columns) == build.CLAIM_COLUMNS
    assert set(claims["verdict"]) <= set(paper.Verdict)
    ids = {claim.id for claim in paper.CLAIMS if claim.id.startswith(("mnist.", "theory."))}
    assert set(claims["claim"]) == ids - {"mnist.wide_flat", "mnist.narrow_best_T"}
    assert pd.to_numeric(claims["ours"]).notna().all()
    judged = claims[claims["verdict"] != "shown"]
    assert judged["criterion"].str.len().gt(10).all()


def test_networks_that_two_settings_share_are_counted_once(reported):
    (section,) = mnist_sections(reported)
    twice = build.claim_table([section, replace(section, dataset="mnist-again")])
    again = twice[twice["dataset"] == "mnist-again"]
    with_interval = again["ci_low"] != ""
    assert with_interval.any() and (again[with_interval]["counted"] == "no").all()
    assert again[with_interval]["note"].str.contains("not counted: the networks of mnist").all()
    first = twice[twice["dataset"] == "mnist"]
    assert set(first["counted"]) == {"yes", "no"} and not first["note"].str.contains("networks of").any()


@pytest.mark.parametrize(
    ("row", "shown"),
    [
        ((69.9, (67.31, 72.49), (61.4, 78.38)), ["69.9", "[67.3, 72.5]", "[61.4, 78.4]"]),
        ((150.3, (145.2, 155.44), ("", "")), ["150.3", "[145.2, 155.4]", "–"]),
        (("0.8769", ("0.839", "0.9147"), (0.7452, 1.0084)), ["0.877", "[0.839, 0.915]", "[0.745, 1.008]"]),
        ((34.517, (33.5, 35.66), (None, None)), ["34.5", "[33.5, 35.7]", "–"]),
        ((2, ("", ""), ("", "")), ["2", "–", "–"]),
        ((3.14159, (3.0, 3.0), ("", "")), ["3.142", "[3, 3]", "–"]),
        (("", (None, None), ("", "")), ["–", "–", "–"]),
        ((-0.01, (-3.0, 2.9), ("", "")), ["0.0", "[-3.0, 2.9]", "–"]),
        ((1, (-math.inf, math.inf), ("", "")), ["1", "[-inf, inf]", "–"]),
    ],
)
def test_a_value_and_its_intervals_have_as_many_decimals(row, shown):
    assert format.measured(*row) == shown


def test_rows_of_absent_runs_are_left_out(reported):
    path = records.path(reported, "mnist", "mnist")
    lines = [line for line in path.read_text().splitlines() if json.loads(line)["arm"] not in WITHOUT_3]
    path.write_text("\n".join(lines) + "\n")
    claims = build.claim_table(mnist_sections(reported))
    assert not claims["claim"].str.startswith("mnist.no3").any() and len(claims) > 5


def test_an_interrupted_experiment_is_reported_without_its_missing_parts(reported, figures_are_stubs):
    runs = records.load(reported, "mnist", "mnist")
    for arms, figure in ((SWEEP, "temperature_by_width"), ((Arm.DATA_FRACTION,), "data_fraction"), (WITHOUT_3, None),
                         (ONLY_7_8, "bias_shift")):  # fmt: skip
        runs = [record for record in runs if record["arm"] not in arms]
        records.save(reported, "mnist", "mnist", runs)
        build.report(reported)
        drawn = {path.stem for path in (reported / "figures").rglob("*.png")}
        assert figure not in drawn and "training_curves" in drawn


def test_a_report_waits_for_another_and_sees_its_records(reported, figures_are_stubs):
    path = records.path(reported, "mnist", "mnist")
    with ThreadPoolExecutor() as second:
        with results_lock(reported):
            report = second.submit(build.report, reported)
            time.sleep(0.5)
            lines = [line for line in path.read_text().splitlines() if json.loads(line)["arm"] not in WITHOUT_3]
            write(path, "".join(f"{line}\n" for line in lines).encode())
            assert not report.done()
        report.result()
    assert not pd.read_csv(reported / "results" / "claims.csv")["claim"].str.startswith("mnist.no3").any()


def test_without_finished_runs_the_earlier_records_stay(reported, read_files):
    before = read_files(reported / "results")
    with pytest.raises(UserError, match="no run is complete"):
        records.save(reported, "mnist", "mnist", [])
    assert read_files(reported / "results") == before


def test_examples_of_earlier_records_are_removed(reported):
    path = records.path(reported, "mnist", "mnist", "shown.json")
    assert path.exists()
    records.save(reported, "mnist", "mnist", records.load(reported, "mnist", "mnist"))
    assert not path.exists()


def test_claims_of_other_profiles_are_labeled(reported):
    claims = pd.read_csv(reported / "results" / "claims.csv")
    assert (
        claims["note"].str.startswith("not a committed profile, or one with --set: networks and data may differ").all()
    )


def test_stale_tables_and_figures_are_removed_and_other_files_are_not(reported, figures_are_stubs):
    tables, figures = reported / "results/mnist/paper", reported / "figures/mnist/paper"
    for path in (tables / "own.csv", figures / "own.png"):
        path.write_text("mine")
    page = tables / "README.md"
    page.write_text(page.read_text() + "\n[old.csv](old.csv)\n")
    for path in (tables / "old.csv", figures / "old.png", figures / "old.svg"):
        path.write_text("of an earlier report")
    build.report(reported)
    assert (tables / "own.csv").exists() and (figures / "own.png").exists()
    assert not list(tables.glob("old.*")) and not list(figures.glob("old.*"))


def test_a_records_file_that_was_cut_at_a_line_end_is_refused(reported):
    path = records.path(reported, "mnist", "mnist")
    path.write_text("\n".join(path.read_text().splitlines()[:-1]) + "\n")
    with pytest.raises(UserError, match="1 of 2 seeds are missing"):
        build.report(reported)


def test_a_damaged_line_of_records_is_named(reported):
    path = records.path(reported, "mnist", "mnist")
    path.write_text(path.read_text()[:-20])
    with pytest.raises(UserError, match="is not a record"):
        build.report(reported)
    path.write_text('{"arm": "teacher"}\n')
    with pytest.raises(UserError, match="lacks"):
        build.report(reported)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda lines: lines + lines[:1], "more than once"),
        (lambda lines: lines + lines, "more than once"),
        (lambda lines: [lines[0].replace('"experiment": "mnist"', '"experiment": "speech"'), *lines[1:]], "of speech"),
        (lambda lines: [lines[0].replace('"wall_seconds": ', '"wall_seconds": NaN, "was": '), *lines[1:]], "line 1 is"),
        (lambda lines: ["[" * 100_000, *lines[1:]], "line 1 is not a record"),
    ],
)
def test_records_that_are_repeated_or_of_another_experiment_are_refused(reported, change, message):
    path = records.path(reported, "mnist", "mnist")
    path.write_text("".join(change(path.read_text().splitlines(keepends=True))))
    with pytest.raises(UserError, match=message) as caught:
        build.report(reported)
    assert str(path) in str(caught.value)


def test_missing_records_are_reported_in_one_line(tmp_path):
    with pytest.raises(UserError, match="there are no records"):
        build.report(tmp_path)
    assert not list(tmp_path.iterdir())


def test_a_readme_without_a_results_block_stays_as_it_is(reported, figures_are_stubs):
    (reported / "README.md").write_bytes(b"mine\r\n")
    build.report(reported)
    assert (reported / "README.md").read_bytes() == b"mine\r\n"
    block = "<!-- results: generated by repro report -->\nstale\n<!-- end of generated results -->"
    assert "stale" not in reproduce.with_glance(block, build.claim_table([]))


@pytest.fixture(scope="module")
def draw_card(tmp_path_factory) -> Callable[..., bytes]:
    """Function that draws a figure in a process of its own, with variables of the environment, and returns the PNG."""
    code = (
        "import sys; from pathlib import Path; from repro.report import build, plotting, scorecard;"
        "plotting.save(lambda: scorecard.draw(build.claim_table([])), Path(sys.argv[1]) / 'card', '')"
    )

    def draw(**variables: str) -> bytes:
        folder, environment = tmp_path_factory.mktemp("card"), os.environ | variables
        result = subprocess.run([sys.executable, "-c", code, folder], env=environment, capture_output=True, text=True)
        assert result.returncode == 0, result.stderr
        return (folder / "card.png").read_bytes()

    return draw


@pytest.fixture(scope="module")
def plain_card(made, draw_card) -> bytes:
    return draw_card()


@pytest.mark.parametrize("backend", ["module://matplotlib_inline.backend_inline", "TkAgg", "no-such-backend"])
def test_figures_do_not_depend_on_the_backend_or_the_settings_of_the_user(plain_card, draw_card, tmp_path, backend):
    (tmp_path / "matplotlibrc").write_text("font.size: 30\naxes.facecolor: red\n")
    assert draw_card(MPLBACKEND=backend, MATPLOTLIBRC=str(tmp_path)) == plain_card


def test_no_figure_is_left_open(reported, figures_are_stubs):
    build.report(reported)
    assert not pyplot.get_fignums()


def test_tables_in_markdown_escape_what_would_break_them():
    text = format.markdown(pd.DataFrame({"a|b": ["x|y", "two\nlines"], "c": ["<b>", 1.5]}))
    assert text.splitlines()[0] == "| a|b | c |".replace("a|b", r"a\|b")
    assert text.splitlines()[2:] == [r"| x\|y | &lt;b> |", "| two lines | 1.5 |"]


def test_saved_figures_contain_no_date(tmp_path):
    from matplotlib.figure import Figure

    for name in ("first", "second"):
        plotting.save(lambda: Figure(figsize=(1, 1)), tmp_path / name, "mnist")
    assert (tmp_path / "first.svg").read_bytes() == (tmp_path / "second.svg").read_bytes()
    assert (tmp_path / "first.png").read_bytes() == (tmp_path / "second.png").read_bytes()
