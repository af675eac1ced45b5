"""Searching: any point is a rulebook that makes sense, a killed search goes on, and nothing wins by missing."""

import json
import os
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from adsbench.budgets.objectives import EarlyStop
from adsbench.data.layers import read_layers
from adsbench.data.settings import Problem, find_root
from adsbench.rules.policy import policy
from adsbench.rules.rulebook import ORDERED, book
from adsbench.tuning.search import SearchSettings, random_search, search
from adsbench.tuning.space import Space, changed, from_cube, shrunk, space_of, to_cube
from adsbench.tuning.trials import Journal, Task, Watch

RULES = policy(read_layers(find_root(), environ={}))
WHOLE = space_of(RULES)
START = dict(zip(WHOLE.table['parameter'], WHOLE.table['value']))
SIZE = len(WHOLE.table)
points = st.lists(st.floats(0, 1), min_size=SIZE, max_size=SIZE)


def plain(count: int) -> Space:
    "A space of numbers from 0 to 1 that start at a half"
    names = [f'p{j}' for j in range(count)]
    table = pd.DataFrame(
        {'parameter': names, 'default': 0.5, 'value': 0.5, 'low': 0.0, 'high': 1.0}
    )
    return Space(table.assign(unit='number', group=''), ())


def stairs(count: int = 20, matter: int = 5, folds: int = 4, seed: int = 0) -> Task:
    "A score in steps: best where the first numbers are all high; folds weigh them differently"
    tilt = 1 + 0.2 * np.random.default_rng(seed).standard_normal((folds, matter))

    def score(values, asked):
        at = np.floor(5 * np.array([values[f'p{j}'] for j in range(matter)])) / 5
        return np.array([1 + 0.02 * (tilt[fold] * (at - 0.4)).sum() for fold in asked])

    return Task(score, folds, plain(count))


@settings(max_examples=30, deadline=None)
@given(points)
def test_any_point_is_a_rulebook_that_can_be_read(cube):
    values = from_cube(WHOLE, np.array(cube))
    table = WHOLE.table.set_index('parameter')
    found = pd.Series(values)
    assert (found >= table['low'] - 1e-9).all() and (found <= table['high'] + 1e-9).all()
    four = [values[name] for name in ORDERED]
    assert (np.diff(four) > 0).all()
    whole = table.index[table['unit'].isin(['count', 'days'])]
    assert all(float(values[name]).is_integer() for name in whole)
    assert all(type(value) is float for value in values.values())
    json.dumps(values)


def test_any_point_passes_the_reader_of_rulebooks():
    for cube in np.random.default_rng(0).random((5, SIZE)):
        values = from_cube(WHOLE, cube)
        moved = {n: p.model_copy(update={'value': values[n]}) for n, p in RULES.parameters.items()}
        book(RULES.model_copy(update={'parameters': moved}))


def test_start_is_its_own_image_whatever_a_customer_set():
    own = {'cold_days': 2.5, 'low_roas': 0.5, 'med_roas': 0.505, 'exc_roas': 9.0}
    moved = {
        n: p.model_copy(update={'value': own.get(n, p.value)}) for n, p in RULES.parameters.items()
    }
    space = space_of(RULES.model_copy(update={'parameters': moved}))
    start = dict(zip(space.table['parameter'], space.table['value']))
    assert start['cold_days'] == 2.5 and from_cube(space, to_cube(space, start)) == start
    assert changed(space, start) == {}


@settings(max_examples=20, deadline=None)
@given(points, st.floats(0, 1))
def test_part_of_the_way_keeps_the_order(cube, weight):
    values = shrunk(WHOLE, from_cube(WHOLE, np.array(cube)), weight)
    four = [values[name] for name in ORDERED]
    assert four == sorted(set(four))


def test_screening_leaves_out_what_no_rule_reads():
    space = space_of(RULES, {'clicks_earn': 3})
    assert set(space.table['parameter']) == {
        'high_rpc', 'enough_clicks', 'conservative_up', 'aggressive_up',
    }  # fmt: skip
    assert set(space.table['parameter']) | set(space.left_out) == set(RULES.parameters)
    with pytest.raises(Problem, match='no rule decides'):
        space_of(RULES, {})


def test_search_beats_random_draws_at_the_same_evaluations():
    ours, drawn = [], []
    for seed in range(3):
        task, few = stairs(seed=seed), SearchSettings(iterations=25)
        ours.append(search(task, few, seed).trials['best'].max())
        drawn.append(random_search(task, few, seed).trials['best'].max())
    assert np.mean(ours) > np.mean(drawn)
    assert np.mean(np.array(ours) > np.array(drawn)) > 0.6


def test_evaluations_are_counted_by_folds_and_never_exceeded():
    asked = []

    def counting(values, folds):
        asked.append(len(folds))
        return stairs().evaluate(values, folds)

    found = search(stairs()._replace(evaluate=counting), SearchSettings(iterations=15), 1)
    assert found.used == pytest.approx(sum(asked) / 4) and found.used <= 15
    assert asked[0] == 4, 'the defaults first, on all folds'
    assert found.trials['stage'][0] == 'defaults' and found.trials['used'].is_monotonic_increasing


def test_same_seed_same_search():
    few = SearchSettings(iterations=15)
    one, two, other = (search(stairs(), few, seed) for seed in (3, 3, 4))
    assert one.trials['values'].equals(two.trials['values']) and one.chosen == two.chosen
    assert not one.trials['values'].equals(other.trials['values'])


def test_constant_and_missing_scores_end_with_the_defaults():
    few = SearchSettings(iterations=60)
    for level, said in ((1.0, 'no number'), (np.nan, 'no score'), (np.inf, 'no score')):
        task = stairs(6)._replace(evaluate=lambda values, folds, x=level: np.full(len(folds), x))
        found = search(task, few, 0)
        assert found.chosen == found.best == dict.fromkeys(found.best, 0.5) and said in found.said


def test_a_missing_score_never_wins():
    def holes(values, folds):
        high = values['p0'] > 0.6
        return np.array([np.nan if high and fold else 1 + values['p0'] for fold in folds])

    found = search(stairs(4)._replace(evaluate=holes), SearchSettings(iterations=15), 0)
    assert found.best['p0'] <= 0.6


def test_a_fold_without_scores_is_set_aside():
    def blind(values, folds):
        return np.where(np.array(folds) == 2, np.nan, stairs().evaluate(values, folds))

    found = search(stairs()._replace(evaluate=blind), SearchSettings(iterations=12), 0)
    assert found.best != dict.fromkeys(found.best, 0.5)


def test_luck_goes_back_to_the_defaults():
    noise = lambda values, folds: np.array(
        [1 + 0.1 * np.random.default_rng([fold, int(1e6 * sum(values.values()))]).standard_normal() for fold in folds]
    )  # fmt: skip
    found = search(stairs(10)._replace(evaluate=noise), SearchSettings(iterations=15), 0)
    moved = lambda values: sum(value != 0.5 for value in values.values())
    assert moved(found.chosen) <= moved(found.best)


def test_seconds_and_stop_end_a_search():
    now = [0.0]

    def slow(values, folds):
        now[0] += 1
        return stairs().evaluate(values, folds)

    watch = Watch(clock=lambda: now[0])
    task = stairs()._replace(evaluate=slow)
    assert (
        search(task, SearchSettings(iterations=500, seconds=30), 0, watch).trials['seconds'].max()
        <= 31
    )
    stop = SearchSettings(iterations=500, stop=EarlyStop(trials=5, gain=0.001))
    found = search(stairs(), stop, 0)
    assert found.used < 250 and 'without a gain' in found.said


class Killed(Exception):
    "What ends a search here"


@pytest.mark.parametrize('after', [0, 1, 40])
def test_resume_after_an_exception_makes_the_same_trials(tmp_path: Path, after: int):
    few, calls = SearchSettings(iterations=18), []

    def dying(values, folds):
        if len(calls) == after:
            raise Killed
        calls.append(1)
        return stairs().evaluate(values, folds)

    whole = search(stairs(), few, 5)
    journal = Journal(tmp_path / 'trials')
    with pytest.raises(Killed):
        search(stairs()._replace(evaluate=dying), few, 5, Watch(journal))
    assert not after or len(pd.read_parquet(journal.path)) == after
    again = []

    def counting(values, folds):
        again.append(1)
        return stairs().evaluate(values, folds)

    resumed = search(stairs()._replace(evaluate=counting), few, 5, Watch(journal))
    same = ['stage', 'values', 'scores', 'best', 'used']
    assert repr(resumed.trials[same].values.tolist()) == repr(whole.trials[same].values.tolist())
    assert resumed.chosen == whole.chosen
    assert len(again) + after == len(pd.read_parquet(journal.path))


def test_resume_after_sigkill(tmp_path: Path):
    script = tmp_path / 'run.py'
    script.write_text(
        textwrap.dedent(f"""
        import sys, time
        sys.path[:0] = [{str(Path(__file__).parent)!r}, {str(Path(__file__).parents[1])!r}]
        from test_search import Journal, Path, SearchSettings, Watch, search, stairs
        def slow(values, folds):
            time.sleep(0.05)
            return stairs().evaluate(values, folds)
        search(stairs()._replace(evaluate=slow), SearchSettings(iterations=30), 5,
               Watch(Journal(Path({str(tmp_path / 'trials')!r}))))
    """)
    )
    running = subprocess.Popen(
        [sys.executable, str(script)], env={**os.environ, 'OMP_NUM_THREADS': '1'}
    )
    path, until = tmp_path / 'trials', time.monotonic() + 60
    while time.monotonic() < until and running.poll() is None:
        if len(list(path.glob('*.parquet'))) >= 5:
            break
        time.sleep(0.02)
    assert running.poll() is None, 'it ended by itself'
    running.send_signal(signal.SIGKILL)
    running.wait()
    there = len(pd.read_parquet(path))
    resumed = search(stairs(), SearchSettings(iterations=30), 5, Watch(Journal(path)))
    whole = search(stairs(), SearchSettings(iterations=30), 5)
    assert there >= 5 and resumed.trials['values'].equals(whole.trials['values'])
    assert resumed.chosen == whole.chosen


def test_a_journal_of_another_question_is_refused(tmp_path: Path):
    journal, few = Journal(tmp_path / 'trials', 'data of May'), SearchSettings(iterations=5)
    search(stairs(), few, 0, Watch(journal))
    for wrong in (
        lambda: search(stairs(), few, 1, Watch(journal)),
        lambda: search(stairs(21), few, 0, Watch(journal)),
        lambda: search(stairs(folds=5), few, 0, Watch(journal)),
        lambda: search(stairs(), few, 0, Watch(journal._replace(about='data of June'))),
    ):
        with pytest.raises(Problem, match='remove it to begin anew'):
            wrong()


def test_progress_is_told():
    told = []
    watch = Watch(progress=lambda used, best, seconds: told.append((used, best)))
    search(stairs(), SearchSettings(iterations=10), 0, watch)
    assert told and told == sorted(told) and told[-1][0] <= 10
