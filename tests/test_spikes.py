"""Spikes: only the past judges, gaps and blanks are survived, and planted events are found once."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from adsbench.data.settings import Problem
from adsbench.stats.spikes import SpikeSettings, grid, spikes

CHOSEN = SpikeSettings()
COLUMNS = ['value', 'expected', 'score', 'direction', 'alarm']


def hourly(seed: int, hours: int = 24 * 30, tails: int = 30) -> pd.Series:
    "Hourly cost with a season of the day and a trend"
    rng, hour = np.random.default_rng(seed), np.arange(hours)
    shape = 0.4 * np.sin(2 * np.pi * hour / 24) + hour / 3000
    noise = 0.1 * rng.standard_t(tails, hours)
    index = pd.date_range('2026-03-02 00:00:01', periods=hours, freq='h')
    return pd.Series(np.exp(shape + noise), index, name='cpc')


def daily(seed: int, days: int = 60) -> pd.Series:
    "Daily revenue with quiet weekends"
    rng, day = np.random.default_rng(seed), np.arange(days)
    shape = np.where(day % 7 >= 5, -0.6, 0) + rng.normal(0, 0.1, days)
    return pd.Series(500 * np.exp(shape), pd.date_range('2026-03-02', periods=days), name='revenue')


numbers = st.one_of(
    st.floats(-1e6, 1e6), st.just(0.0), st.just(np.nan), st.just(np.inf), st.just(-np.inf)
)


@settings(max_examples=40)
@given(
    make=st.sampled_from([hourly, daily]),
    cut=st.floats(0.3, 0.95),
    poison=st.lists(numbers, min_size=1, max_size=20),
    scale=st.sampled_from(['auto', 'log', 'plain']),
    seed=st.integers(0, 9),
)
def test_a_poisoned_future_changes_nothing(make, cut, poison, scale, seed):
    series, chosen = make(seed), SpikeSettings(scale=scale)
    now = int(len(series) * cut)
    poisoned = series.copy()
    poisoned.iloc[now:] = np.resize(poison, len(series) - now)
    told = spikes(series, chosen)
    pd.testing.assert_frame_equal(spikes(poisoned, chosen)[:now], told[:now])
    pd.testing.assert_frame_equal(spikes(series[:now], chosen), told[:now])


@settings(max_examples=60)
@given(
    seed=st.integers(0, 50),
    kept=st.floats(0.3, 1),
    jitter=st.integers(0, 1200),
    twice=st.integers(0, 5),
    values=st.lists(numbers, min_size=1, max_size=10),
)
def test_any_series_gives_a_row_for_a_row(seed, kept, jitter, twice, values):
    rng = np.random.default_rng(seed)
    series = hourly(seed, 24 * 12)
    places = rng.choice(len(series), len(values))
    series.iloc[places] = values
    series.index = series.index + pd.to_timedelta(rng.integers(0, jitter + 1, len(series)), 's')
    series = series[rng.random(len(series)) < kept]
    series = pd.concat([series, series.iloc[:twice]])
    before = series.copy()
    told = spikes(series, CHOSEN)
    pd.testing.assert_series_equal(series, before)
    assert told.columns.tolist() == COLUMNS and told.index.equals(series.index)
    assert (
        told.alarm.dtype == bool and not np.isinf(told[['value', 'expected', 'score']]).any().any()
    )
    assert not told.alarm[told.score.isna()].any() and told.score[told.value.isna()].isna().all()
    assert ((told.direction != '') == (told.score.abs() >= CHOSEN.threshold)).all()
    assert (told.direction[told.alarm] != '').all()
    assert set(told.direction) <= {'up', 'down', ''}


@settings(max_examples=8)
@given(seed=st.integers(0, 50))
def test_the_order_of_rows_is_irrelevant(seed):
    series = hourly(seed, 24 * 15, tails=3)
    series.iloc[300:303] *= 3
    mixed = series.sample(frac=1, random_state=seed)
    told = spikes(series, CHOSEN)
    pd.testing.assert_frame_equal(spikes(mixed, CHOSEN).sort_index(), told, check_freq=False)


@settings(max_examples=20)
@given(seed=st.integers(0, 50), factor=st.floats(0.001, 1000))
def test_the_currency_is_irrelevant(seed, factor):
    series = hourly(seed, 24 * 15)
    told, other = spikes(series, CHOSEN), spikes(series * factor, CHOSEN)
    assert np.allclose(told.score, other.score, atol=1e-6, equal_nan=True)
    assert np.allclose(told.expected * factor, other.expected, equal_nan=True)


@pytest.mark.parametrize(
    ('start', 'length', 'factor', 'way'),
    [(400, 1, 3, 'up'), (500, 8, 1.6, 'up'), (450, 5, 0.3, 'down')],
)
def test_planted_hours_are_one_alarm_and_the_right_way(start, length, factor, way):
    for seed in range(5):
        series = hourly(seed)
        series.iloc[start : start + length] *= factor
        told = spikes(series, CHOSEN).iloc[start : start + length + 3]
        assert told.alarm.sum() == 1 and told.direction[told.alarm].iloc[0] == way


def test_a_dead_pixel_is_one_alarm_on_its_first_day():
    for seed in range(5):
        series = daily(seed)
        series.iloc[45:51] = 0
        told = spikes(series, CHOSEN)
        assert told.alarm.iloc[45] and told.direction.iloc[45] == 'down'
        assert told.alarm.iloc[45:51].sum() == 1 and (told.direction.iloc[45:48] == 'down').all()


def test_the_season_and_the_trend_are_no_news():
    alarms = [
        spikes(make(seed), CHOSEN).alarm.sum() for seed in range(10) for make in (hourly, daily)
    ]
    assert sum(alarms) <= 8, 'of 7,800 points'
    weekends = spikes(daily(0), CHOSEN).expected.dropna()
    ratio = weekends[weekends.index.dayofweek >= 5].median() / weekends.median()
    assert ratio == pytest.approx(np.exp(-0.6), rel=0.15)


def test_heavy_tails_alarm_about_twice_in_a_thousand():
    told = [spikes(hourly(seed, tails=4), CHOSEN) for seed in range(15)]
    rate = sum(t.alarm.sum() for t in told) / sum(t.score.count() for t in told)
    assert rate <= 0.003


def test_thirty_days_are_enough_and_twenty_are_not():
    series = daily(1, 30)
    series.iloc[24] /= 10
    told = spikes(series, CHOSEN)
    assert told.alarm.iloc[24] and told.score[:21].isna().all() and told.score[21:].notna().all()
    assert spikes(series[:20], CHOSEN).score.isna().all()


def test_gaps_blanks_and_double_hours():
    series = hourly(2)
    series.iloc[600] *= 4
    ragged = series.mask(series.index.hour == 3).drop(series.index[[50, 51, 52, 300, 301, 580]])
    ragged = pd.concat([ragged, ragged.iloc[[100, 400]]]).sort_index()
    told = spikes(ragged, CHOSEN)
    assert told.alarm[series.index[600]] and not told.alarm[ragged.isna()].any()


def test_zeros_and_negative_values():
    flat = pd.Series(0.0, pd.date_range('2026-03-02', periods=60))
    assert spikes(flat, CHOSEN).score.isna().all() and not spikes(flat, CHOSEN).alarm.any()
    profit = daily(3) - 450
    profit.iloc[50] = -5000
    told = spikes(profit, CHOSEN)
    assert told.alarm.iloc[50] and told.direction.iloc[50] == 'down'
    infinite = daily(3)
    infinite.iloc[40] = np.inf
    assert np.isnan(spikes(infinite, CHOSEN).value.iloc[40])


def test_summer_time_and_weeks():
    index = pd.date_range('2026-03-10', periods=24 * 30, freq='h', tz='Europe/Berlin')
    assert len(spikes(pd.Series(hourly(1).to_numpy(), index), CHOSEN)) == len(index)
    weeks = pd.Series(
        np.exp(np.random.default_rng(0).normal(0, 0.05, 40)),
        pd.date_range('2025-01-06', periods=40, freq='W-MON'),
    )
    weeks.iloc[30] *= 4
    assert spikes(weeks, CHOSEN).alarm.to_numpy().nonzero()[0].tolist() == [30]


@pytest.mark.parametrize(('freq', 'cycle'), [('15min', 96), ('h', 24), ('D', 7), ('W', 1)])
def test_the_cycle_follows_the_step(freq, cycle):
    assert grid(pd.date_range('2026-03-02', periods=40, freq=freq)).cycle == cycle


def test_small_and_strange():
    assert spikes(pd.Series([], pd.DatetimeIndex([]), dtype='float64'), CHOSEN).empty
    assert not spikes(pd.Series([3.0], pd.DatetimeIndex(['2026-03-02'])), CHOSEN).alarm.iloc[0]
    same = pd.Series(range(50), pd.DatetimeIndex(['2026-03-02'] * 50))
    assert spikes(same, CHOSEN).score.isna().all()
    whole = pd.Series(range(1, 41), pd.date_range('2026-03-02', periods=40), dtype='Int64')
    assert spikes(whole.mask(whole == 9), CHOSEN).value.isna().sum() == 1
    with pytest.raises(Problem, match='dates or times'):
        spikes(pd.Series([1.0, 2]), CHOSEN)
    with pytest.raises(Problem, match='no numbers'):
        spikes(pd.Series(['a'], pd.DatetimeIndex(['2026-03-02'])), CHOSEN)
    seconds = pd.date_range('2026-03-02', periods=20, freq='s')
    with pytest.raises(Problem, match='resample'):
        spikes(pd.Series(1.0, seconds.append(pd.DatetimeIndex(['2027-03-02']))), CHOSEN)
