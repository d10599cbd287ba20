"""The scorer on the benchmark's own files, and the combined detector's figure on them."""

from __future__ import annotations

import pytest

from stream_processor.detectors.combined import Combined
from tests.benchmarks.nab.corpus import ROOT, read_corpus
from tests.benchmarks.nab.nab_scores import held_out, score_as_channels
from tests.benchmarks.nab.scoring import PROFILES, best_threshold, gather_gains, perfect_scores
from tests.benchmarks.nab.windowed_gaussian import windowed_gaussian

pytestmark = pytest.mark.skipif(not (ROOT / "labels").is_dir(), reason=f"the benchmark's files are not at {ROOT}")


@pytest.fixture(scope="module")
def files():
    return read_corpus()


def ranked(files, scores, profile="standard"):
    return gather_gains(scores, [file.windows for file in files], PROFILES[profile])


def test_the_corpus_is_whole(files):
    assert (len(files), sum(len(file.values) for file in files)) == (58, 365_558)
    assert sum(len(file.windows) for file in files) == 116


def test_a_first_row_of_every_window_is_perfect(files):
    scores = [perfect_scores(len(file.values), file.windows) for file in files]
    assert best_threshold(ranked(files, scores)).score == pytest.approx(100.0)


def test_the_windowed_gaussian_scores_about_as_published(files):
    """39.6 in the scoreboard of NAB 1.1."""
    scores = [windowed_gaussian(file.values) for file in files]
    assert best_threshold(ranked(files, scores)).score == pytest.approx(39.6, abs=1.0)


def test_the_combined_detector_stands_where_the_docs_say(files):
    scores = score_as_channels(Combined(), files)
    best = [best_threshold(ranked(files, scores, profile)).score for profile in PROFILES]
    assert best == pytest.approx([75.2, 65.6, 80.6], abs=0.5)
    assert held_out(ranked(files, scores)) > 72.0
