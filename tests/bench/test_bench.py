"""The benchmark's own judgement: it measures whole trees of processes and lets no wrong count pass."""

from __future__ import annotations

import json
import sys

import pytest

from bench import abuse, ingest, race, serve
from bench.check import Referee, counted, minutes_below
from bench.data import make_data, open_data
from bench.document import put_section, spread, verdict
from bench.errors import BenchError
from bench.machine import ROOT
from bench.measure import measure
from bench.product import environment


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return make_data(tmp_path_factory.mktemp("bench"), "--days", "1", "--messages", "2000")


def ran(name, data, out):
    out.mkdir()
    command = [sys.executable, str(ROOT / "bench" / "peers" / f"{name}.py"), str(data.events), str(out)]
    measured = measure(command, env=environment(), log=out / "log")
    return race.closing_line(name, measured.output)


def test_peers_that_need_no_package_of_their_own_count_the_same_and_the_truth(data, tmp_path):
    referee = Referee(data.truth)
    for name in ("duckdb_json", "plain_python"):
        said = ran(name, data, tmp_path / name)
        found = referee.judge(name, minutes_below(tmp_path / name))
        assert (said["views"], said["cells"]) == (found.views, found.cells) == (data.views, found.cells)


def test_a_view_too_few_a_cell_twice_and_a_wrong_minute_are_found(data, tmp_path):
    ran("duckdb_json", data, tmp_path / "a")
    right = f"({minutes_below(tmp_path / 'a')})"
    referee = Referee(data.truth)
    referee.judge("right", f"FROM {right}")
    for wrong, words in [
        (f"SELECT * REPLACE (views + (row_number() OVER () = 1)::INT AS views) FROM {right}", "the sample has"),
        (f"FROM {right} UNION ALL FROM {right}", "cells twice"),
        (f"SELECT * REPLACE (minute + 1440 * (row_number() OVER () = 1)::INT AS minute) FROM {right}", "are wrong"),
        (f"SELECT * REPLACE (minute - minute % 1440 + (minute + 1) % 1440 AS minute) FROM {right}", "cells"),
    ]:
        with pytest.raises(BenchError, match=words):
            referee.judge("wrong", wrong)


def test_a_digest_tells_cells_that_differ_by_a_swap():
    rows = "SELECT * FROM (VALUES ('iOS', 'a', 24000000, {}), ('iOS', 'b', 24000000, {})) t(platform, product, minute, views)"
    assert counted(rows.format(1, 2))[0] != counted(rows.format(2, 1))[0]
    assert counted(rows.format(1, 2))[0] == counted(rows.format(1, 2) + " ORDER BY product DESC")[0]


def test_what_a_command_and_its_children_take_is_measured(tmp_path):
    child = "import time; held = bytearray(150_000_000); end = time.process_time() + 0.5\nwhile time.process_time() < end: pass"
    script = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {child!r}], check=True); print('done')"
    measured = measure([sys.executable, "-c", script], env=environment(), log=tmp_path / "log")
    assert measured.output == "done\n"
    assert measured.seconds >= 0.5
    assert measured.cpu_seconds >= 0.3
    assert 150e6 < measured.peak_bytes < 400e6


def test_a_command_that_fails_shows_its_last_words(tmp_path):
    with pytest.raises(BenchError, match=r"exit code 3; its last words:\n.*no luck"):
        measure([sys.executable, "-c", "print('no luck'); exit(3)"], env=environment(), log=tmp_path / "log")


def test_a_sample_that_the_peers_cannot_read_is_refused(tmp_path):
    with pytest.raises(BenchError, match="leave --data out"):
        open_data(tmp_path)
    parameters = {"clean": False, "layout": "lines", "gzip": False}
    (tmp_path / "truth.json").write_text(json.dumps({"parameters": parameters}))
    with pytest.raises(BenchError, match="--clean --layout lines"):
        open_data(tmp_path)


def test_a_peer_has_to_say_what_it_counted():
    assert race.closing_line("x", 'words\n{"views": 1, "cells": 2, "seconds": 0.5}\n')["cells"] == 2
    with pytest.raises(BenchError, match="its last line is"):
        race.closing_line("x", "no JSON")


def test_a_section_replaces_itself_and_nothing_else(tmp_path):
    file = tmp_path / "benchmarks.md"
    put_section(file, "one", "first")
    put_section(file, "two", "second")
    put_section(file, "one", "third")
    text = file.read_text()
    assert "first" not in text
    assert text.index("third") < text.index("second")
    assert text.count("written by the benchmark") == 2


@pytest.mark.parametrize(("value", "code"), [(3.0, 0), (3.1, 1)])
def test_a_bound_that_is_missed_is_the_exit_code_of_each_benchmark_after_its_report(
    monkeypatch, tmp_path, capsys, value, code
):
    body = "a table\n" + verdict("memory", 1, most=2) + verdict("p99, ms", value, most=3)
    monkeypatch.setitem(ingest.MODES, "idle", ("Idle", lambda _: body))
    monkeypatch.setattr(serve, "_run", lambda *_: body)
    monkeypatch.setattr(abuse, "_run", lambda *_: body)
    monkeypatch.setattr(abuse, "lake_with_views", lambda *_: tmp_path)
    monkeypatch.setattr(abuse, "_views", lambda _: 0)
    for number, (benchmark, arguments) in enumerate([(ingest, ["--mode", "idle"]), (serve, []), (abuse, [])]):
        docs = tmp_path / f"{number}.md"
        assert benchmark.main([*arguments, "--cache", str(tmp_path), "--docs", str(docs)]) == code
        assert body in docs.read_text()
        told = capsys.readouterr().err
        assert told == ("missed: p99, ms: 3.10, wanted at most 3\n" if code else "")


def test_figures_are_a_median_with_its_range_and_bounds_are_kept_or_not():
    assert spread([3.0, 1.0, 2.0]) == "2.0 (1.0-3.0)"
    assert "**met**" in verdict("x", 3.0, most=3)
    assert "**missed**" in verdict("x", 1.49, least=1.5)
