"""Two periods compared: exact sums, a past that cannot see the future, honest p-values, words for the unknown."""

import math
import warnings

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from adsbench.data.settings import Problem
from adsbench.stats.bootstrap import blocks, bootstrap
from adsbench.stats.changes import (
    FEW,
    Widths,
    changes,
    rest,
    weighted_median,
    window_ends,
    windows,
)
from adsbench.stats.compare import CompareSettings, compare, move, steadied
from adsbench.stats.daily import METRICS, UNKNOWN, Sides, daily, sides
from adsbench.stats.describe import cliffs_delta, describe
from adsbench.stats.discovery import bar, detectable, q_values
from adsbench.stats.placebo import fit_noise, independent, judge, parts
from adsbench.stats.poisson import errors, inflation

START = pd.Timestamp('2026-03-02')
WEEKLY = CompareSettings()
TEN = CompareSettings(baseline_days=10, current_days=10)


def one(*metrics, **more):
    "Settings that look at these metrics only"
    return CompareSettings(metrics=metrics, **more)


def account(seed, segments=24, length=112, wander=0.15, basket=0.9, size=40.0):
    "Days of ad sets to which nothing happens: rates wander, Sundays are slow, baskets heavy-tailed"
    rng = np.random.default_rng(seed)
    mood = np.zeros((length, segments))
    for day in range(1, length):
        mood[day] = 0.6 * mood[day - 1] + rng.normal(0, 0.8 * wander, segments)
    volume = size * np.exp(rng.normal(0, 0.7, segments))
    week = np.where(np.arange(length) % 7 == 6, 0.7, 1.0)[:, None]
    spend = volume * rng.lognormal(0, 0.15, (length, segments))
    impressions = rng.poisson(100 * spend)
    clicks = rng.binomial(impressions, 0.02)
    bought = rng.binomial(clicks, np.minimum(0.04 * week * np.exp(mood), 1))
    orders = np.r_[0.0, rng.lognormal(4, basket, bought.sum())].cumsum()
    last = bought.ravel().cumsum()
    return pd.DataFrame(
        {
            'date': np.repeat(pd.date_range(START, periods=length), segments),
            'adset_id': [f'{i:02d}' for i in range(segments)] * length,
            'spend': spend.ravel(),
            'impressions': impressions.ravel().astype(float),
            'clicks': clicks.ravel().astype(float),
            'purchases': bought.ravel().astype(float),
            'revenue': orders[last] - orders[last - bought.ravel()],
        }
    )


def steady(length=20, segments=8, **columns):
    "The same day again and again"
    dates = pd.date_range(START, periods=length)
    return pd.DataFrame(
        {
            'date': np.repeat(dates, segments),
            'adset_id': [f'{i:02d}' for i in range(segments)] * length,
            **columns,
        }
    )


def planted(seed=0, scatter=20.0, after=200.0):
    "Eight ad sets, ten days each side, spend 100, revenue about 300 and then about `after`; no purchases"
    level = np.where(np.arange(20) < 10, 300.0, after)[:, None]
    revenue = np.random.default_rng(seed).normal(level, scatter, (20, 8))
    return steady(spend=100.0, revenue=revenue.ravel())


def loudly(days, by, options=WEEKLY):
    "compare() as the last day sees it, where any warning of numpy or pandas is an error"
    with warnings.catch_warnings():
        warnings.simplefilter('error')
        return compare(days, by, days['date'].max(), options)


def honest(table):
    "No figure is infinite; what has no p says why, and what has one needs no excuse"
    numbers = table.select_dtypes('number').to_numpy('float64')
    assert not np.isinf(numbers).any()
    assert (table['p'].isna() == (table['why'] != '')).all()
    assert table['p'].dropna().between(0, 1).all()
    sound = table[table['p'].notna()]
    assert (sound['low'] <= sound['own'] + 1e-12).all()
    assert (sound['own'] <= sound['high'] + 1e-12).all()


# the grid
VALUE = st.sampled_from([0.0, 0.1, 1.0, 7.25, 1e6, np.nan, np.nan, np.inf])
ROWS = st.lists(
    st.tuples(
        st.integers(0, 30),
        st.sampled_from(['a', 'b', None]),
        st.sampled_from(['x', 'y', None]),
        VALUE,
        VALUE,
        VALUE,
    ),
    min_size=1,
    max_size=40,
)


def frame(rows):
    "Random rows as a table"
    days = pd.DataFrame(rows, columns=['date', 'campaign', 'ad', 'spend', 'purchases', 'revenue'])
    floats = dict.fromkeys(('spend', 'purchases', 'revenue'), 'float64')
    return days.assign(date=START + pd.to_timedelta(days['date'], 'D')).astype(floats)


@given(ROWS, st.sampled_from([[], ['ad'], ['campaign', 'ad']]))
@settings(max_examples=60)
def test_grid_equals_sums_by_hand(rows, by):
    "Every cell is the sum of the rows that know all sides; all else is zero"
    days = frame(rows)
    grid = daily(days, by)
    whole = sides(grid, METRICS['roas'])
    counted = any(math.isfinite(r[5] + r[3] + r[4]) for r in rows)
    wanted = {}
    for day, campaign, ad, spend, purchases, revenue in rows:
        known = math.isfinite(spend) and math.isfinite(revenue)
        known = known and (math.isfinite(purchases) or not counted)
        words = {'campaign': campaign or UNKNOWN, 'ad': ad or UNKNOWN}
        cell = START + pd.Timedelta(days=day), *(words[name] for name in by)
        sums = wanted.setdefault(cell, [0.0, 0.0, 0.0])
        if known:
            sums[0] += revenue
            sums[1] += spend
            sums[2] += purchases if counted else 0.0
    assert len(grid.dates) == (days['date'].max() - days['date'].min()).days + 1
    assert {cell[1:] for cell in wanted} == set(grid.segments.itertuples(index=False, name=None))
    for line, date in enumerate(grid.dates):
        for column, words in enumerate(grid.segments.itertuples(index=False, name=None)):
            top, bottom, events = wanted.get((date, *words), [0.0, 0.0, 0.0])
            assert math.isclose(whole.top[line, column], top, abs_tol=1e-9)
            assert math.isclose(whole.bottom[line, column], bottom, abs_tol=1e-9)
            if counted:
                assert math.isclose(whole.events[line, column], events, abs_tol=1e-9)
    assert whole.counted == counted


@given(ROWS)
@settings(max_examples=25)
def test_segments_add_up_to_the_account(rows):
    "Unknown is a segment, so nothing is lost on the way"
    days = frame(rows)
    fine, account_ = (sides(daily(days, by), METRICS['roas']) for by in (['campaign', 'ad'], []))
    for parts_, total in zip(fine[:2], account_[:2]):
        assert np.allclose(parts_.sum(1, keepdims=True), total)


def test_one_sided_rows_never_enter():
    "A row that lacks a side, or its count, may hold anything in the other"
    days = account(1, 6, 70)
    extra = days.assign(spend=1e9, revenue=np.nan)
    uncounted = days.assign(spend=1e9, revenue=1e9, purchases=np.nan)
    clean = compare(days, ['adset_id'], days['date'].max(), one('roas', 'aov'))
    for more in (extra, uncounted, days.assign(spend=np.inf)):
        dirty = pd.concat([days, more], ignore_index=True)
        got = compare(dirty, ['adset_id'], days['date'].max(), one('roas'))
        wanted = clean[clean['metric'] == 'roas']
        pd.testing.assert_frame_equal(got, wanted.reset_index(drop=True), rtol=1e-9)


def test_grid_ends_where_it_is_told():
    "Days without rows at the end are days; rows after the cut-off are not looked at"
    days = account(2, 3, 30)
    assert len(daily(days, until=START + pd.Timedelta(days=39)).dates) == 40
    short = daily(days, ['adset_id'], START + pd.Timedelta(days=9))
    assert len(short.dates) == 10 and short.rows['date'].max() == short.dates[-1]
    with pytest.raises(Problem, match='no day'):
        daily(days, until=START - pd.Timedelta(days=1))
    with pytest.raises(Problem, match='ad_id'):
        daily(days, ['ad_id'])


# windows and changes
@given(
    st.integers(1, 9),
    st.integers(1, 9),
    st.integers(0, 12),
    st.integers(1, 4),
    st.integers(0, 2**32 - 1),
)
@settings(max_examples=60)
def test_windows_equal_slow_sums(baseline, current, more, segments, seed):
    "Cumulative sums give what adding up the days gives"
    widths, length = Widths(baseline, current), baseline + current + more
    values = np.random.default_rng(seed).lognormal(3, 2, (length, segments))
    ends = window_ends(length, widths)
    before, after = windows(values, ends, widths)
    assert len(ends) == more + 1 and ends[-1] == length
    for line, end in enumerate(ends):
        middle = end - current
        assert np.allclose(after[line], values[middle:end].sum(0))
        assert np.allclose(before[line], values[middle - baseline : middle].sum(0))
    with pytest.raises(Problem, match='more days'):
        window_ends(baseline + current - 1, widths)


def drawn(seed, length, segments, mean=1.5):
    "Sides with few events and many zeros"
    rng = np.random.default_rng(seed)
    clicks = rng.poisson(20, (length, segments)) * rng.integers(0, 2, (length, segments))
    bought = rng.poisson(mean, (length, segments)) * (clicks > 0)
    return Sides(*(x.astype(float) for x in (bought, clicks, bought, clicks)), True)


SEEDS = st.integers(0, 2**32 - 1)


@given(SEEDS, st.integers(1, 8), st.integers(1, 8), st.floats(0, 10))
@settings(max_examples=80)
def test_change_is_antisymmetric(seed, baseline, current, prior):
    "When the windows swap roles the logarithm changes its sign and the noise stays"
    whole = drawn(seed, baseline + current, 3)
    turned = Sides(*(np.vstack([x[baseline:], x[:baseline]]) for x in whole[:4]), True)
    ends = np.array([baseline + current])
    here = changes(whole, ends, Widths(baseline, current), prior)
    there = changes(turned, ends, Widths(current, baseline), prior)
    assert np.allclose(here.log, -there.log, equal_nan=True)
    assert np.allclose(here.noise, there.noise, equal_nan=True)
    assert np.allclose(here.before, there.after, equal_nan=True)


@given(SEEDS, st.floats(0.01, 5), st.floats(0.01, 5))
@settings(max_examples=80)
def test_prior_pulls_towards_no_change(seed, little, more):
    "More imaginary events: nearer to zero, never past it, and never noisier"
    whole, ends = drawn(seed, 21, 4), np.array([21])
    bare, held, firm = (
        changes(whole, ends, Widths(), prior) for prior in (0.0, little, little + more)
    )
    assert np.isfinite(held.log).sum() >= np.isfinite(bare.log).sum()
    assert not np.isinf(np.r_[bare.log, held.log]).any()
    known = np.isfinite(bare.log)
    assert (np.abs(held.log) <= np.abs(bare.log) + 1e-12)[known].all()
    assert (bare.log * held.log >= -1e-12)[known].all()
    sound = np.isfinite(held.log)
    assert (np.abs(firm.log) <= np.abs(held.log) + 1e-12)[sound].all()
    assert (firm.noise <= held.noise)[sound].all()


def test_change_is_missing_not_zero():
    "No exposure in a window, or no event in either: nothing can be said"
    flat = np.ones((21, 3))
    bottom, top = flat * [1, 1, 0], flat * [0, 1, 0]
    bottom[14:, 1] = 0
    found = changes(Sides(top, bottom, top, bottom, True), np.array([21]), Widths())
    assert np.isnan(found.log).all()
    assert np.isnan(found.after[0, 1:]).all() and found.before[0, 1] == 1


def slow_median(values, weights):
    "The first value at which half the weight is reached"
    pairs = sorted((v, w) for v, w in zip(values, weights) if math.isfinite(v))
    half, run = sum(w for _, w in pairs) / 2, 0.0
    for value, weight in pairs:
        run += weight
        if run >= half:
            return value
    return math.nan


@given(
    st.integers(1, 9).flatmap(
        lambda n: st.lists(
            st.tuples(
                st.lists(st.sampled_from([-2.0, -0.5, 0, 0.5, 3, np.nan]), min_size=n, max_size=n),
                st.lists(st.integers(1, 8), min_size=n, max_size=n),
            ),
            min_size=1,
            max_size=4,
        )
    )
)
@settings(max_examples=60)
def test_weighted_median_equals_slow(lines):
    "One column, missing values and lines of nothing included"
    values = np.array([line for line, _ in lines], dtype=float)
    weights = np.array([line for _, line in lines], dtype=float)
    wanted = [slow_median(*line) for line in zip(values, weights)]
    assert np.array_equal(weighted_median(values, weights), wanted, equal_nan=True)


def test_rest_of_one_of_few_of_many():
    "One has no others; few are held against the sum of the others, many against their median"
    for segments in (1, 2, 3, FEW - 1, FEW, 9):
        whole = drawn(segments, 40, segments, 4.0)
        ends = window_ends(40, Widths())
        found = changes(whole, ends, Widths())
        others = rest(whole, found, ends, Widths())
        assert others.shape == found.log.shape and np.isfinite(others).all()
        if segments == 1:
            assert (others == 0).all()
        elif segments < FEW:
            for own in range(segments):
                left = [np.delete(x, own, 1).sum(1, keepdims=True) for x in whole[:4]]
                beside = changes(Sides(*left, True), ends, Widths()).log[:, 0]
                assert np.allclose(others[:, own], beside)
        else:
            assert (others == others[:, :1]).all()
            assert (others[:, 0] >= np.nanmin(found.log, axis=1)).all()
            assert (others[:, 0] <= np.nanmax(found.log, axis=1)).all()
    alone = drawn(3, 21, 3, 4.0)
    alone = Sides(*(x * [1, 0, 0] for x in alone[:4]), True)
    found = changes(alone, np.array([21]), Widths())
    assert rest(alone, found, np.array([21]), Widths())[0, 0] == 0, (
        'others without rows did nothing'
    )


def test_one_loss_does_not_lift_the_others():
    "A segment that loses nine tenths stands out; those beside it do not"
    days = account(3, 12, 112)
    hit = (days['adset_id'] == '05') & (days['date'] > days['date'].max() - pd.Timedelta(days=7))
    lost = days.assign(clicks=days['clicks'].where(~hit, (days['clicks'] * 0.1).round()))
    table = compare(lost, ['adset_id'], days['date'].max(), one('ctr')).set_index('adset_id')
    assert table.loc['05', 'p'] < 1e-4 and table.loc['05', 'own'] < -0.8
    assert table.drop('05')['p'].min() > 0.01


# the yardstick
@given(st.integers(1, 28), st.integers(1, 28), st.integers(1, 400))
@settings(max_examples=60)
def test_independent_bounds(baseline, current, ends):
    "More than none, never more than the ends, in proportion to them, and equal to its definition"
    widths = Widths(baseline, current)
    worth = independent(ends, widths)
    assert ends / (2 * (baseline + current) - 1) <= worth < ends
    assert math.isclose(worth, ends * independent(1, widths))
    shape = [-1 / baseline] * baseline + [1 / current] * current
    size, total = sum(x * x for x in shape), 1.0
    for lag in range(1, len(shape)):
        total += 2 * (sum(a * b for a, b in zip(shape, shape[lag:])) / size) ** 2
    assert math.isclose(worth, ends / total, rel_tol=1e-9)


@given(SEEDS, st.floats(0, 0.2), st.floats(0, 3))
@settings(max_examples=20)
def test_parts_are_found_and_never_negative(seed, shared, luck):
    "Planted variance parts come back; cut outliers do not widen them much"
    rng = np.random.default_rng(seed)
    noise = rng.uniform(0.01, 1, (60, 60))
    quiet = rng.normal(0, 1, noise.shape) * np.sqrt(shared + luck * noise)
    found = parts(quiet, noise)
    assert min(found) >= 0
    for v in (0.1, 0.8):
        truth = shared + luck * v
        assert abs(found[0] + found[1] * v - truth) < 0.25 * truth + 0.01
    quiet[::20] = 50
    wild = parts(quiet, noise)
    assert wild[0] + wild[1] * 0.5 < 2.5 * (shared + luck * 0.5) + 0.01 or shared + luck < 1e-3


def calibration(options, **more):
    "p-values of quiet accounts, by metric"
    pages = []
    for seed in range(26):
        days = account(seed + 100, **more)
        pages.append(compare(days, ['adset_id'], days['date'].max(), options))
    return pd.concat(pages).dropna(subset='p').groupby('metric')['p']


@pytest.mark.parametrize('wander, basket', [(0.0, 1.2), (0.25, 0.3), (0.25, 1.2)])
def test_quiet_accounts_keep_the_promise_of_p(wander, basket):
    "Five in a hundred below .05, whatever rates and baskets do"
    by_metric = calibration(one('roas', 'cvr', 'aov'), wander=wander, basket=basket)
    assert (by_metric.size() > 600).all()
    often, rarely = (
        by_metric.agg(lambda p: (p < 0.05).mean()),
        by_metric.agg(lambda p: (p < 0.01).mean()),
    )
    assert often.between(0.02, 0.08).all(), often.to_dict()
    assert (rarely <= 0.03).all(), rarely.to_dict()


def test_quiet_totals_raise_few_alarms():
    "An account has one line and few windows; its p must not be too small either"
    low = []
    for seed in range(40):
        days = account(seed + 300, 6, 112, wander=0.2)
        low.append(compare(days, [], days['date'].max(), one('cvr', 'roas'))['p'] < 0.05)
    assert pd.concat(low).mean() <= 0.1


def test_planted_half_is_found():
    "The busiest ad set loses half its purchases: p is small, the sign right, the interval on one side"
    found = []
    for seed in range(6):
        days = account(seed + 50, size=120.0)
        end = days['date'].max()
        busy = days.groupby('adset_id')['purchases'].sum().idxmax()
        hit = (days['adset_id'] == busy) & (days['date'] > end - pd.Timedelta(days=7))
        lost = days.assign(
            purchases=days['purchases'].where(~hit, (days['purchases'] / 2).round()),
            revenue=days['revenue'].where(~hit, days['revenue'] / 2),
        )
        table = compare(lost, ['adset_id'], end, one('roas')).set_index('adset_id')
        assert table.loc[busy, 'p'] == table['p'].min()
        assert -0.7 < table.loc[busy, 'own'] < -0.25 and table.loc[busy, 'high'] < 0
        found.append(table.loc[busy, 'p'])
    assert np.median(found) < 0.001 and max(found) < 0.03


def test_yardstick_leaves_this_week_out():
    "What happens in the current window does not widen the error it is judged by"
    rng = np.random.default_rng(0)
    relative, noise = rng.normal(0, 0.1, (60, 12)), np.full((60, 12), 0.01)
    found = changes(drawn(0, 80, 12, 4.0), window_ends(80, Widths()), Widths())._replace(
        noise=noise
    )
    calm = judge(relative, found, Widths())
    stormy = relative.copy()
    stormy[-7:] *= 40
    assert np.array_equal(judge(stormy, found, Widths()).error, calm.error)
    wild = relative * np.r_[4.0, np.ones(11)]
    factor = fit_noise(wild, noise, Widths()).factor
    assert factor[0] == factor.max() and factor[0] > 1.5 * np.median(factor)


# a short history
def test_planted_third_of_a_short_history():
    "The account fell and says so; each ad set fell with the others, beside which it did nothing"
    whole = loudly(planted(), [], TEN).set_index('metric').loc['roas']
    assert whole['method'] == 'quasi-Poisson' and whole['why'] == ''
    assert whole['p'] < 1e-6 and abs(whole['relative'] + 1 / 3) < 0.03
    each = loudly(planted(), ['adset_id'], TEN)
    assert len(each) == 8 and each['p'].min() > 0.01 and each['estimate'].abs().max() < 0.1
    assert (each['relative'] < -0.25).all()


def test_own_estimate_of_a_third_is_a_third():
    "Eighty rows a side leave nothing to be held back: the interval covers what was planted"
    row = compare(planted(), [], planted()['date'].max(), TEN).iloc[0]
    assert abs(row['own'] + 1 / 3) < 0.03
    assert row['low'] - 0.02 < -1 / 3 < row['high'] + 0.02


def test_drop_without_scatter_is_not_unknown():
    "300 a day and then 200 a day: the clearest drop there is"
    row = loudly(planted(scatter=0.0), [], TEN).iloc[0]
    assert row['before'] == 3 and row['after'] == 2
    assert row['p'] < 1e-6


def test_identical_periods_say_nothing():
    "The same ten days twice: no change, p = 1, for the account and each ad set"
    days = planted(after=300.0)
    again = days['revenue'].to_numpy().reshape(2, 10, 8)[0]
    days = days.assign(revenue=np.vstack([again, again]).ravel())
    for by in ([], ['adset_id']):
        table = loudly(days, by, TEN)
        assert np.allclose(table['p'], 1) and np.allclose(table[['own', 'estimate']], 0)
        assert (table['why'] == '').all()


@pytest.mark.parametrize('length', [21, 70])
@pytest.mark.parametrize('spend, revenue', [(100.0, 300.0), (10.1, 33.3), (0.07, 1234.56)])
def test_constant_days_say_nothing(length, spend, revenue):
    "Rounding of sums is not a change"
    for by in ([], ['adset_id']):
        table = loudly(steady(length, 8, spend=spend, revenue=revenue), by)
        assert np.allclose(table['relative'], 0) and np.allclose(table['p'], 1), by


def test_fallback_is_chosen_by_history():
    "Under eight weeks the days themselves are the yardstick"
    days = account(4, 6, 60)
    for length, method in ((55, 'quasi-Poisson'), (56, 'placebo')):
        table = loudly(days[days['date'] < START + pd.Timedelta(days=length)], ['adset_id'])
        assert set(table['method']) == {method} and table['p'].notna().mean() > 0.8
        honest(table)


def test_fallback_keeps_the_promise_of_p():
    "Three weeks of quiet accounts with uneven baskets: about five in a hundred"
    low = []
    for seed in range(40):
        days = account(seed + 500, 12, 21, wander=0.1, size=80.0)
        low.append(compare(days, ['adset_id'], days['date'].max(), one('roas', 'cvr'))['p'] < 0.05)
    assert 0.01 < pd.concat(low).mean() < 0.08


def test_long_windows_in_a_short_history_are_still_answered():
    "Sixty days hold four weeks twice and no placebo beside them: the fallback, not silence"
    days = account(5, 6, 60)
    options = one('roas', baseline_days=28, current_days=28)
    table = compare(days, ['adset_id'], days['date'].max(), options)
    assert table['p'].notna().all(), table['why'].unique()


@given(SEEDS, st.floats(0, 0.9))
@settings(max_examples=30)
def test_inflation_is_bounded_and_grows(seed, lag):
    "Never below one, never beyond its cap; no scatter needs none"
    rng = np.random.default_rng(seed)
    left = rng.normal(0, 1, (21, 30))
    for day in range(1, 21):
        left[day] += lag * left[day - 1]
    ones = np.ones_like(left)
    got = inflation(left, ones)
    assert 1 <= got <= 4 + 1e-9
    assert inflation(0 * ones, ones) == 1 and inflation(ones * np.nan, ones) == 1
    if lag > 0.6:
        assert got > 1.8


def test_counted_money_is_never_surer_than_luck():
    "Ten baskets of exactly 30 a window cannot know a rate better than ten coin tosses"
    top, bottom = np.full((20, 4), 30.0), np.full((20, 4), 10.0)
    error, _ = errors(Sides(top, bottom, np.ones((20, 4)), bottom, True), Widths(10, 10))
    assert (error >= np.sqrt(2 / 10) - 1e-9).all()


# everything of a run
P = st.lists(st.one_of(st.floats(0, 1), st.just(np.nan)), max_size=30)


@given(P, st.floats(0.01, 0.5))
@settings(max_examples=50)
def test_q_equals_scipy(values, rate):
    "As the textbook's code; missing stays missing and does not count; the bar says the same"
    p = pd.Series(values, index=range(5, 5 + len(values)), dtype='float64')
    q, known = q_values(p), p.dropna()
    assert q.index.equals(p.index) and (q.isna() == p.isna()).all()
    if len(known):
        assert np.allclose(q.dropna(), stats.false_discovery_control(known))
    reported, limit = q <= rate, bar(p, rate)
    assert 0 < limit <= 1 or (reported.any() and limit == 0)
    assert (p[reported] <= limit).all() and (p[~reported & p.notna()] >= limit).all()


def test_q_of_nothing_and_of_nonsense():
    "No hypothesis is no error; a p of 1.7 is one"
    assert q_values(pd.Series([], dtype='float64')).empty
    assert q_values(pd.Series([np.nan, np.nan])).isna().all()
    assert bar(pd.Series([], dtype='float64'), 0.1) == 0.1
    assert bar(pd.Series([0.5, 0.9, np.nan]), 0.1) == 0.05
    assert bar(pd.Series([0.001, 0.02, 0.9]), 0.1) == 0.02
    with pytest.raises(Problem, match=r'1\.7'):
        q_values(pd.Series([0.2, 1.7]))


def test_q_of_repeated_labels():
    "Pages of several runs in one column repeat their labels; each p keeps its own q"
    assert np.allclose(q_values(pd.Series([0.5, 0.01], index=[0, 0])), [0.5, 0.02])


@given(st.floats(0.01, 1), st.floats(3, 100), st.floats(0.0001, 0.2), st.floats(0.5, 0.95))
@settings(max_examples=40)
def test_detectable_is_a_drop_and_monotone(error, freedom, limit, power):
    "Between -1 and 0; larger with more noise, a stricter bar, more power; missing stays missing"
    least = lambda error=error, limit=limit, power=power: detectable(
        pd.Series([error, np.nan]), freedom, limit, power
    )
    here = least()
    assert -1 <= here[0] < 0 and np.isnan(here[1])
    assert least(error=error * 1.5)[0] <= here[0]
    assert least(limit=limit / 2)[0] <= here[0] and least(power=power + 0.04)[0] <= here[0]


def test_detectable_is_detected_that_often():
    "A drop of that size is found about four times in five"
    error, freedom, limit = 0.2, 20.0, 0.01
    true = np.log1p(detectable(pd.Series([error]), freedom, limit)[0])
    noise = stats.t(freedom).rvs(20_000, random_state=1) * error
    p = 2 * stats.t(freedom).sf(np.abs((true + noise) / error))
    assert 0.77 < (p < limit).mean() < 0.83


# the bootstrap and the descriptions
def test_bootstrap_repeats_by_seed():
    "The same seed, the same interval; another seed, nearly the same"
    rng = np.random.default_rng(7)
    bought, clicks = rng.poisson(6.0, (30, 5)) + 1.0, np.full((30, 5), 90.0)
    whole = Sides(bought, clicks, bought, clicks, True)
    first, again, other = (bootstrap(whole, Widths(), seed=seed) for seed in (1, 1, 2))
    pd.testing.assert_frame_equal(first, again)
    assert not first.equals(other) and np.abs(first - other).to_numpy().max() < 0.3
    assert (first['low'] < first['high']).all() and first['p'].between(0.001, 1).all()
    wide = bootstrap(whole, Widths(), width=0.95, seed=1)
    assert (wide['low'] < first['low']).all() and (wide['high'] > first['high']).all()


@given(st.integers(1, 30), st.integers(1, 5))
def test_blocks_hold_neighbours(length, block):
    "Lines of the window only, as many as it has, in runs of neighbours"
    lines = blocks(length, 20, min(block, length), np.random.default_rng(0))
    assert lines.shape == (20, length) and lines.min() >= 0 and lines.max() < length
    step = np.diff(lines, axis=1) % length
    inside = (np.arange(1, length) % min(block, length)) != 0
    assert (step[:, inside] == 1 % length).all()


def test_bootstrap_without_events_is_missing_in_silence():
    "A segment without sales, or without spend, has no interval and no warning"
    top, bottom = np.ones((21, 3)) * [1.0, 0, 0], np.ones((21, 3)) * [2.0, 2, 0]
    top[::4, 0] = 3
    with warnings.catch_warnings():
        warnings.simplefilter('error')
        table = bootstrap(Sides(top, bottom, top, bottom, True), Widths())
    assert table.notna().all(axis='columns').tolist() == [True, False, False]
    assert table.iloc[1:].isna().all().all()


def test_bootstrap_of_no_change_is_not_a_change():
    "Where every draw is the same there is nothing on either side: p = 1"
    flat = np.ones((21, 2))
    assert (bootstrap(Sides(flat, flat, flat, flat, True), Widths())['p'] == 1).all()


NOTHING = pd.Series([], dtype='float64')


@pytest.mark.parametrize(
    'before, after',
    [
        (NOTHING, NOTHING),
        (NOTHING, pd.Series([1.0, 2])),
        (pd.Series([1.0]), pd.Series([2.0])),
        (pd.Series([3.0, 3, 3]), pd.Series([3.0, 3])),
        (pd.Series([np.nan, np.nan]), pd.Series([1.0, 2, 3])),
        (pd.Series([1.0, np.inf, 2]), pd.Series([-np.inf, 2, 3])),
        (pd.Series([1, 2, 3]), pd.Series([4, 5, 6])),
    ],
)
def test_describe_survives(before, after):
    "Every key is there; unknown is missing and called so, and nothing unknown is significant"
    with warnings.catch_warnings():
        warnings.simplefilter('error')
        said = describe(before, after)
    assert set(said) == {'t_test', 'mann_whitney', 'cohens_d', 'cliffs_delta'}
    for name in ('t_test', 'mann_whitney'):
        p = said[name]['p_value']
        assert not math.isinf(p) and (said[name]['significant'] is (p < 0.05))
    for name in ('cohens_d', 'cliffs_delta'):
        size, words = said[name]['effect_size'], said[name]['interpretation']
        assert not math.isinf(size) and math.isnan(size) == (words == 'unknown')


def test_describe_without_scatter_is_quiet():
    "Two constants differ, but no scatter says how surely: no warning, and no p of zero"
    with warnings.catch_warnings():
        warnings.simplefilter('error')
        said = describe(pd.Series([3.0, 3, 3]), pd.Series([2.0, 2]))
    assert said['cliffs_delta']['effect_size'] == -1 and said['t_test']['p_value'] != 0


def test_describe_knows_its_sign_and_leaves_the_missing_out():
    "A fall is negative; blanks and infinities are as if they were not there"
    before, after = pd.Series([5.0, 6, 7, 8, 6]), pd.Series([2.0, 3, 1, 2, 4])
    plain = describe(before, after)
    assert plain['cohens_d']['effect_size'] < -0.8 and plain['cliffs_delta']['effect_size'] == -1
    assert plain['t_test']['significant'] and plain['mann_whitney']['significant']
    dirty = describe(pd.concat([before, pd.Series([np.nan, np.inf])]), after)
    assert dirty == plain
    assert cliffs_delta(after, before) == -cliffs_delta(before, after)


# all together
@pytest.fixture(scope='module')
def days():
    "A quiet account"
    return account(11, 8, 90)


def test_future_is_not_seen(days):
    "Rows after the end, new segments among them, change no bit; nor does history before its limit"
    end = START + pd.Timedelta(days=79)
    later = days[days['date'] > end].assign(revenue=np.inf, spend=-1e9, adset_id='new')
    clean = days[days['date'] <= end]
    poisoned = pd.concat([clean, later, later.assign(clicks=np.nan)], ignore_index=True)
    earlier = clean.assign(date=clean['date'] - pd.Timedelta(days=400), revenue=1e12)
    wanted = compare(clean, ['adset_id'], end, WEEKLY)
    pd.testing.assert_frame_equal(compare(poisoned, ['adset_id'], end, WEEKLY), wanted)
    both = pd.concat([earlier, poisoned], ignore_index=True)
    pd.testing.assert_frame_equal(compare(both, ['adset_id'], end, WEEKLY), wanted)


def test_order_and_grain_of_rows_do_not_matter(days):
    "Shuffled rows, odd labels, a day cut in two: the same table; the frame given stays as it was"
    kept, end = days.copy(deep=True), days['date'].max()
    wanted = compare(days, ['adset_id'], end, WEEKLY)
    pd.testing.assert_frame_equal(days, kept)
    mixed = days.sample(frac=1, random_state=3)
    pd.testing.assert_frame_equal(compare(mixed, ['adset_id'], end, WEEKLY), wanted)
    measures = days.select_dtypes('number').columns
    halves = pd.concat([days.assign(**{m: days[m] / 2 for m in measures})] * 2).sample(
        frac=1, random_state=4
    )
    pd.testing.assert_frame_equal(
        compare(halves, ['adset_id'], end, WEEKLY), wanted, rtol=1e-6, check_exact=False
    )


def test_money_scales_without_a_trace(days):
    "Yen for euros: every rate follows, no p moves"
    yen = days.assign(spend=days['spend'] * 160, revenue=days['revenue'] * 160)
    end = days['date'].max()
    here, there = (compare(frame_, ['adset_id'], end, WEEKLY) for frame_ in (days, yen))
    assert np.allclose(here['p'], there['p'], equal_nan=True)
    assert np.allclose(here['own'], there['own'], equal_nan=True)


def test_account_row_without_by(days):
    "One row a metric, equal to the sums of the rows"
    table = loudly(days, [])
    assert table['metric'].tolist() == ['roas', 'ctr', 'cvr', 'aov', 'cpm']
    assert np.allclose(table['own'], table['estimate']), 'there are no others to take off'
    week = days[days['date'] > days['date'].max() - pd.Timedelta(days=7)]
    after = table.set_index('metric')['after']
    assert math.isclose(after['roas'], week['revenue'].sum() / week['spend'].sum(), rel_tol=1e-9)
    assert math.isclose(
        after['cpm'], 1000 * week['spend'].sum() / week['impressions'].sum(), rel_tol=1e-9
    )
    honest(table)


LEADS = lambda days: days.drop(columns=['revenue', 'purchases']).assign(leads=days['purchases'])
FRAMES = {
    'no purchases': (lambda days: days.drop(columns='purchases'), {'roas', 'ctr', 'cpm'}),
    'no revenue': (lambda days: days.drop(columns='revenue'), {'ctr', 'cvr', 'cpm'}),
    'leads only': (LEADS, {'ctr', 'cpm', 'cpl', 'lead_rate'}),
    'no spend': (lambda days: days.assign(spend=0.0), {'roas', 'ctr', 'cvr', 'aov', 'cpm'}),
    'no purchase': (lambda days: days.assign(purchases=0.0, revenue=0.0), {'roas', 'cvr', 'aov'}),
    'one segment': (lambda days: days[days['adset_id'] == '03'], {'roas', 'ctr'}),
    'two segments': (lambda days: days[days['adset_id'].isin(['03', '04'])], {'roas', 'ctr'}),
    'one day missing': (lambda days: days[days['date'] != START + pd.Timedelta(days=85)], {'roas'}),
    'blank revenue': (lambda days: days.assign(revenue=np.nan), {'roas', 'aov', 'ctr'}),
    'blank purchases': (lambda days: days.assign(purchases=np.nan), {'roas', 'cvr'}),
    'blank spend': (lambda days: days.assign(spend=np.nan), {'roas', 'cpm', 'ctr'}),
    'infinite revenue': (lambda days: days.assign(revenue=np.inf), {'roas', 'ctr'}),
    'segments half blank': (
        lambda days: days.assign(adset_id=days['adset_id'].where(days.index % 2 == 0)),
        {'roas'},
    ),
    'segment gone this week': (
        lambda days: days[(days['adset_id'] != '02') | (days['date'] < '2026-05-20')],
        {'roas'},
    ),
    'spend began this week': (
        lambda days: days.assign(
            **{
                name: days[name].where(days['date'] >= '2026-05-24', 0.0)
                for name in ('spend', 'purchases', 'revenue')
            }
        ),
        {'roas'},
    ),
}


@pytest.mark.parametrize('length', [90, 30])
@pytest.mark.parametrize('name', FRAMES)
def test_poor_frames_get_an_answer(days, name, length):
    "Columns absent, blank or zero: a table without warning, unknown where it is unknown"
    change, wanted = FRAMES[name]
    poor = change(days)
    poor = poor[poor['date'] > poor['date'].max() - pd.Timedelta(days=length)]
    for by in ([], ['adset_id']):
        with warnings.catch_warnings(record=True) as said:
            warnings.simplefilter('always')
            table = compare(poor, by, poor['date'].max(), WEEKLY)
        assert wanted <= set(table['metric'])
        honest(table)
        blank = table[table['metric'].isin(BLANK.get(name, []))]
        assert blank[UNSAID].isna().all().all()
        assert (blank['why'] != '').all()
        assert not said, said[0].message


UNSAID = ['before', 'after', 'relative', 'own', 'estimate', 'low', 'high', 'p']
BLANK = {
    'no spend': ['roas'],
    'no purchase': ['aov'],
    'blank revenue': ['roas', 'aov'],
    'blank purchases': ['cvr', 'aov'],
    'blank spend': ['roas', 'cpm'],
    'infinite revenue': ['roas', 'aov'],
}


def test_purchases_gone_everywhere_have_an_estimate(days):
    "Not one purchase for a week: the loss is all there is to say, and it is said for each ad set"
    gone = days['date'] > days['date'].max() - pd.Timedelta(days=7)
    broken = days.assign(
        purchases=days['purchases'].where(~gone, 0.0), revenue=days['revenue'].where(~gone, 0.0)
    )
    whole = loudly(broken, [], one('roas', 'cvr'))
    assert (whole['after'] == 0).all() and (whole['own'] < -0.9).all() and (whole['p'] < 0.01).all()
    each = loudly(broken, ['adset_id'], one('roas', 'cvr'))
    assert (each['relative'] == -1).all() and (each['own'] < -0.5).all()
    honest(each)


def test_problems_have_words(days):
    "What cannot be compared is refused with a sentence, never a traceback"
    end = days['date'].max()
    with pytest.raises(Problem, match='days cannot hold'):
        compare(days[days['date'] > end - pd.Timedelta(days=12)], [], end, WEEKLY)
    with pytest.raises(Problem, match='no day'):
        compare(days[:0], [], end, WEEKLY)
    with pytest.raises(Problem, match='no day'):
        compare(days, [], START - pd.Timedelta(days=5), WEEKLY)
    with pytest.raises(Problem, match='country'):
        compare(days, ['country'], end, WEEKLY)
    assert compare(days[['date', 'adset_id']], ['adset_id'], end, WEEKLY).empty


def test_table_without_date_is_a_problem(days):
    "The column is named"
    with pytest.raises(Problem, match='date'):
        compare(days.drop(columns='date'), [], days['date'].max(), WEEKLY)


def test_unknown_metric_is_a_problem(days):
    "A misspelt metric is named, when the settings are read or when they are used"
    with pytest.raises((Problem, ValueError), match='roaz'):
        compare(days, [], days['date'].max(), one('roaz'))


def test_silence_at_the_end_is_no_drop(days):
    "Days without any row are days without spend: rates stay, and no rate is zero"
    end = days['date'].max()
    table = compare(days, [], end + pd.Timedelta(days=3), one('ctr', 'cpm'))
    assert (table['relative'].abs() < 0.1).all()
    later = compare(days, [], end + pd.Timedelta(days=7), WEEKLY)
    assert later['after'].isna().all() and later['p'].isna().all()
    honest(later)


def test_steadied_roas_is_surer_when_baskets_are_heavy():
    "Order values never moved: the error without their luck is smaller, and nothing else is claimed"
    for seed in range(4):
        heavy = account(seed + 70, wander=0.1, basket=1.3)
        whole = sides(daily(heavy, ['adset_id']), METRICS['roas'])
        ends = window_ends(len(whole.top), Widths())
        plain, calm = (moved(whole, ends, WEEKLY) for moved in (move, steadied))
        errors_ = [judge(m.relative, m.found, Widths()).error for m in (plain, calm)]
        assert np.median(errors_[1] / errors_[0]) < 0.85
        assert np.array_equal(plain.found.before, calm.found.before, equal_nan=True)


def test_fall_of_order_values_is_found_by_its_own_metric():
    "As many buy, baskets shrink to 40 %: aov says so"
    ranks = []
    for seed in range(4):
        steady_ = account(seed + 90, 12, size=150.0, basket=0.6)
        end = steady_['date'].max()
        hit = (steady_['adset_id'] == '04') & (steady_['date'] > end - pd.Timedelta(days=7))
        fallen = steady_.assign(revenue=steady_['revenue'].where(~hit, steady_['revenue'] * 0.4))
        table = compare(fallen, ['adset_id'], end, one('aov', 'cvr')).set_index('adset_id')
        value = table[table['metric'] == 'aov']
        ranks.append(value['p'].rank()['04'])
        assert value.loc['04', 'p'] < 0.01 and value.loc['04', 'own'] < -0.4
        assert table.loc[table['metric'] == 'cvr', 'p']['04'] > 0.001, 'nothing happened to buyers'
    assert ranks == [1] * 4
