"""Folds by day: nothing overlaps, the embargo holds, and later rows never move an earlier fold."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from adsbench.data.settings import Problem
from adsbench.stats.splits import SplitSettings, calendar, possible, splits

FIRST = pd.Timestamp('2026-01-05')
DAY = pd.Timedelta(days=1)

chosen = st.builds(
    SplitSettings,
    folds=st.integers(1, 6),
    test_days=st.integers(1, 10),
    embargo_days=st.integers(0, 28),
    min_train_days=st.integers(1, 40),
)


def needed(cut: SplitSettings) -> int:
    "Days of history that these folds need"
    return cut.min_train_days + cut.embargo_days + cut.folds * cut.test_days


def panel(days: int, seed: int) -> pd.Series:
    "Dates of a table: every day one to four times, at any hour, in no order"
    rng = np.random.default_rng(seed)
    day = rng.permutation(np.repeat(np.arange(days), rng.integers(1, 5, days)))
    hours = pd.to_timedelta(rng.integers(0, 24 * 60, len(day)), unit='min')
    return pd.Series(FIRST + pd.to_timedelta(day, unit='D') + hours)


@settings(max_examples=60)
@given(cut=chosen, more=st.integers(0, 40), seed=st.integers(0, 1000))
def test_no_overlap_and_the_embargo_is_kept(cut, more, seed):
    dates = panel(needed(cut) + more, seed)
    folds = splits(dates, cut)
    assert len(folds) == cut.folds
    tested = np.zeros(len(dates), dtype=int)
    day = dates.dt.normalize()
    for fold in folds:
        train, test = fold.train(dates), fold.test(dates)
        tested += test
        assert train.any() and test.any() and not (train & test).any()
        assert (day[test].min() - day[train].max()) == (cut.embargo_days + 1) * DAY
        assert day[train].min() == FIRST and day[train].nunique() >= cut.min_train_days
        assert day[test].nunique() == cut.test_days
        for side in (train, test):
            assert not set(day[side]) & set(day[~side]), 'all rows of a day are on one side'
    assert tested.max() == 1, 'a day is tested once'
    sizes = [fold.train(dates).sum() for fold in folds]
    assert sizes == sorted(sizes)


@settings(max_examples=40)
@given(cut=chosen, more=st.integers(0, 30), seed=st.integers(0, 1000))
def test_the_order_of_rows_is_irrelevant(cut, more, seed):
    dates = panel(needed(cut) + more, seed)
    mixed = dates.sample(frac=1, random_state=seed)
    folds = splits(dates, cut)
    assert splits(mixed, cut) == folds
    for fold in folds:
        back = pd.Series(fold.train(mixed), mixed.index).sort_index()
        assert (back.to_numpy() == fold.train(dates)).all()


@settings(max_examples=40)
@given(cut=chosen, more=st.integers(0, 60), seed=st.integers(0, 1000))
def test_later_rows_leave_earlier_folds_alone(cut, more, seed):
    now = panel(needed(cut), seed)
    later = pd.concat([now, panel(more + 1, seed + 1) + needed(cut) * DAY], ignore_index=True)
    before = splits(now, cut)
    end = later.max().normalize()
    assert possible(FIRST, end, cut)[: cut.folds] == before, 'none has moved'
    assert splits(later, cut) == possible(FIRST, end, cut)[-cut.folds :], 'the latest are taken'
    for fold in before:
        assert (fold.train(later)[: len(now)] == fold.train(now)).all()
        assert not fold.train(later)[len(now) :].any() and not fold.test(later)[len(now) :].any()


def test_a_poisoned_future_changes_no_score():
    dates = panel(90, 1)
    value = pd.Series(np.random.default_rng(0).normal(size=len(dates)))
    folds = splits(dates, SplitSettings(folds=4))
    score = lambda v, f: (v[f.test(dates)] - v[f.train(dates)].mean()).abs().mean()
    for fold in folds:
        poisoned = value.where(dates.dt.normalize() <= fold.test_last, np.inf)
        assert score(poisoned, fold) == score(value, fold)
        hidden = (dates.dt.normalize() > fold.train_last) & (dates.dt.normalize() < fold.test_first)
        assert score(value.mask(hidden, 1e9), fold) == score(value, fold)


def test_one_day_too_few_says_how_many_are_needed():
    cut = SplitSettings(folds=2, test_days=7, embargo_days=28, min_train_days=28)
    enough = pd.Series(pd.date_range(FIRST, periods=needed(cut)))
    assert len(splits(enough, cut)) == 2
    with pytest.raises(Problem, match=r'69 days of history, 70 needed'):
        splits(enough[:-1], cut)
    with pytest.raises(Problem, match='0 days of history'):
        splits(enough[:0], cut)
    with pytest.raises(Problem, match='0 days of history'):
        splits(enough.where(enough < FIRST), cut)


def test_a_hole_as_long_as_a_test_window_is_refused():
    dates = pd.Series(pd.date_range(FIRST, periods=80))
    cut = SplitSettings(folds=3)
    fold = splits(dates, cut)[1]
    with pytest.raises(Problem, match=f'{fold.test_first:%Y-%m-%d}'):
        splits(dates[~fold.test(dates)], cut)


def test_clocks_zones_and_blanks():
    stamps = pd.Series(pd.to_datetime(['2026-03-01 23:30', None])).dt.tz_localize('Europe/Berlin')
    assert calendar(stamps)[0] == pd.Timestamp('2026-03-01'), 'the day of the clock it carries'
    fold = splits(pd.Series(pd.date_range(FIRST, periods=80)), SplitSettings(folds=1))[0]
    assert not fold.train(stamps)[1] and not fold.test(stamps)[1]
    with pytest.raises(Problem, match='must be dates'):
        splits(pd.Series([1, 2, 3], name='age'), SplitSettings())


def test_an_index_of_dates_will_do():
    index = pd.date_range(FIRST, periods=80)
    assert splits(index, SplitSettings()) == splits(pd.Series(index), SplitSettings())


@pytest.mark.parametrize('wrong', [{'embargo_days': 29}, {'folds': 0}, {'test_days': 0}, {'x': 1}])
def test_settings_have_ranges(wrong):
    with pytest.raises(ValueError):
        SplitSettings(**wrong)
