"""Drift: chance alarms as often as promised, and gaps, outliers and match rates are exact."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from adsbench.data.names import MissingColumns
from adsbench.data.settings import Problem
from adsbench.stats.drift import (
    DriftSettings,
    binned,
    counts,
    gaps,
    match_rates,
    outliers,
    psi,
    psi_table,
    stability,
)

QUICK = DriftSettings(replicates=99)
FIRST = pd.Timestamp('2026-05-01')


def rate(make, sizes, trials=200) -> float:
    "Share of pairs of unchanged lots that alarm"
    alarms = 0
    for seed in range(trials):
        rng = np.random.default_rng(seed)
        alarms += psi(make(rng, sizes[0]), make(rng, sizes[1]), QUICK, seed).alarm
    return alarms / trials


@pytest.mark.parametrize('sizes', [(50, 50), (30, 400)])
@pytest.mark.parametrize(
    'make',
    [
        lambda rng, n: pd.Series(np.exp(rng.normal(size=n))),
        lambda rng, n: pd.Series(rng.poisson(1.5, n)),
        lambda rng, n: pd.Series(rng.choice(list('aaaabbcde'), n)),
    ],
    ids=['numbers', 'counts', 'categories'],
)
def test_unchanged_lots_alarm_in_five_percent(make, sizes):
    # three standard errors of 200 trials; ties make it rarer, never more frequent
    assert rate(make, sizes) <= 0.05 + 3 * np.sqrt(0.05 * 0.95 / 200)


def test_unchanged_numbers_alarm_near_five_percent():
    assert rate(lambda rng, n: pd.Series(rng.normal(size=n)), (50, 50)) >= 0.02


def test_a_fixed_bar_does_not_hold_on_fifty():
    wrong = 0
    for seed in range(200):
        rng = np.random.default_rng(seed)
        held = counts(pd.Series(rng.normal(size=50)), pd.Series(rng.normal(size=50)), QUICK)
        wrong += stability(held.before[None], held.after[None], binned(50, QUICK))[0] > 0.2
    assert wrong / 200 > 0.2


@pytest.mark.parametrize(
    'changed',
    [
        lambda rng: pd.Series(rng.normal(1.0, 1, 100)),
        lambda rng: pd.Series(rng.normal(0, 3.0, 100)),
        lambda rng: pd.Series(rng.normal(size=100)).mask(rng.random(100) < 0.3),
    ],
    ids=['moved', 'wider', 'missing'],
)
def test_real_changes_are_found(changed):
    rng = np.random.default_rng(0)
    found = [psi(pd.Series(rng.normal(size=300)), changed(rng), QUICK, i).alarm for i in range(20)]
    assert np.mean(found) >= 0.9


def test_psi_by_hand_and_at_any_size():
    before = pd.Series(['a'] * 5000 + ['b'] * 5000)
    after = pd.Series(['a'] * 8000 + ['b'] * 2000)
    exact = 0.3 * np.log(0.8 / 0.5) - 0.3 * np.log(0.2 / 0.5)
    assert psi(before, after, QUICK).value == pytest.approx(exact, abs=1e-3)
    rng = np.random.default_rng(0)
    large = psi(pd.Series(rng.normal(size=300_000)), pd.Series(rng.normal(size=50)), QUICK)
    assert large.before == 300_000 and np.isfinite(large.value)


values = st.lists(
    st.one_of(st.none(), st.integers(-5, 5), st.just(np.inf)), min_size=1, max_size=40
)


@settings(max_examples=40)
@given(one=values, two=values, seed=st.integers(0, 99))
def test_any_lots_give_finite_numbers_in_any_order(one, two, seed):
    before, after = pd.Series(one, dtype='float64'), pd.Series(two, dtype='float64')
    told = psi(before, after, QUICK, seed)
    assert 0 <= told.value < np.inf and 0 < told.p <= 1 and 0 <= told.threshold < np.inf
    mixed = before.sample(frac=1, random_state=seed), after.sample(frac=1, random_state=seed)
    assert psi(*mixed, QUICK, seed) == told, 'order is no matter, and a seed is a seed'


@settings(max_examples=30)
@given(pool=st.lists(st.integers(0, 500), min_size=2, max_size=80), factor=st.floats(0.1, 50))
def test_only_the_order_of_numbers_counts(pool, factor):
    half = len(pool) // 2
    one, two = pd.Series(pool[:half], dtype='float64'), pd.Series(pool[half:], dtype='float64')
    told = psi(one, two, QUICK)
    assert psi(np.exp(one / 100) * factor, np.exp(two / 100) * factor, QUICK) == told


def test_many_categories_share_a_bin_and_new_ones_are_drift():
    rng = np.random.default_rng(0)
    ids = pd.Series(rng.integers(0, 3000, 2000)).astype('str')
    assert len(counts(ids, ids, QUICK).before) == QUICK.most_categories + 2
    before, after = pd.Series(['a', 'b'] * 100), pd.Series(['a', 'b', 'c', 'c'] * 20)
    assert psi(before, after, QUICK).alarm
    assert not psi(pd.Series([True, False] * 50), pd.Series([True, False] * 20), QUICK).alarm


def test_an_empty_side_is_said_and_a_blank_one_is_not():
    with pytest.raises(Problem, match=r'3 rows before and 0 after'):
        psi(pd.Series([1, 2, 3]), pd.Series([], dtype='float64'), QUICK)
    blank = psi(pd.Series([np.nan] * 9), pd.Series([np.nan] * 9), QUICK)
    assert blank.value == 0 and not blank.alarm


def test_a_table_column_does_not_depend_on_its_neighbours():
    rng = np.random.default_rng(0)
    before = pd.DataFrame({'x': rng.normal(size=80), 'y': rng.normal(size=80), 'date': FIRST})
    after = pd.DataFrame({'y': rng.normal(2, 1, 60), 'x': rng.normal(size=60), 'date': FIRST})
    kept = before.copy(), after.copy()
    table = psi_table(before, after, QUICK, 3)
    assert table.column.tolist() == ['y', 'x'] and table.alarm.tolist() == [True, False]
    alone = psi_table(before[['x']], after, QUICK, 3)
    assert alone.value[0] == table.value[1] and alone.p[0] == table.p[1]
    assert psi_table(before[['x']], after[['y']], QUICK).empty
    pd.testing.assert_frame_equal(before, kept[0])
    pd.testing.assert_frame_equal(after, kept[1])


@settings(max_examples=25)
@given(
    here=st.dictionaries(
        st.sampled_from('abc'), st.sets(st.integers(0, 40), min_size=1), min_size=1
    )
)
def test_gaps_are_the_days_between_that_are_not_there(here):
    rows = [(FIRST + pd.Timedelta(days=d), name) for name, days in here.items() for d in days]
    days = pd.DataFrame(rows * 2, columns=['date', 'ad_id']).sample(frac=1, random_state=0)
    found = gaps(days, ['ad_id']).set_index('ad_id')
    assert set(found.index) == set(here)
    for name, present in here.items():
        absent = sorted(set(range(min(present), max(present))) - present)
        assert [(d - FIRST).days for d in found.dates[name]] == absent
        assert found.missing[name] == len(absent)
        assert found['first'][name] == FIRST + pd.Timedelta(days=min(present))
    whole = set().union(*here.values())
    assert gaps(days).missing[0] == max(whole) - min(whole) + 1 - len(whole)


def test_gaps_of_nothing_and_of_other_tables():
    empty = pd.DataFrame({'date': pd.to_datetime([]), 'ad_id': pd.array([], dtype='str')})
    assert gaps(empty, ['ad_id']).empty and gaps(empty).empty
    with pytest.raises(MissingColumns, match='ad_id'):
        gaps(pd.DataFrame({'date': [FIRST]}), ['ad_id'])
    blank = pd.DataFrame({'date': [FIRST, FIRST + pd.Timedelta(days=2)], 'ad_id': [None, None]})
    assert gaps(blank, ['ad_id']).missing.tolist() == [1], 'rows without an id are an entity too'


def table_of(spend, name='a') -> pd.DataFrame:
    "Days of one ad set"
    return pd.DataFrame(
        {'date': pd.date_range(FIRST, periods=len(spend)), 'adset_id': name, 'spend': spend}
    )


def test_outliers_by_entity():
    rng = np.random.default_rng(0)
    small, large = 20 * np.exp(rng.normal(0, 0.2, 30)), 2000 * np.exp(rng.normal(0, 0.2, 30))
    small[7], large[9] = 2000, 20
    days = pd.concat([table_of(small), table_of(large, 'b')])
    found = outliers(days, ['adset_id'], QUICK)
    assert sorted(found.adset_id) == ['a', 'b'] and sorted(found.value) == [20, 2000]
    assert found.set_index('adset_id').score['a'] > 0 > found.set_index('adset_id').score['b']


def test_outliers_among_equal_values_and_states():
    assert outliers(table_of([50.0] * 29 + [500]), ['adset_id'], QUICK).value.tolist() == [500]
    assert outliers(table_of([50.0] * 29 + [50.4]), ['adset_id'], QUICK).empty, 'under 2 %'
    assert outliers(table_of([0.0, np.nan, np.inf] * 10), ['adset_id'], QUICK).empty
    assert outliers(table_of([50.0] * 10 + [5000]), ['adset_id'], QUICK).empty, 'too short'
    assert outliers(table_of([50.0]).drop(columns='spend'), ['adset_id'], QUICK).empty


def test_match_rates():
    left = pd.DataFrame({'ad_id': ['1', '2', '2', '3', None], 'spend': [10.0, 20, 20, 40, 10]})
    right = pd.DataFrame({'ad_id': ['2', '3', None]})
    row = match_rates(left, right, ['ad_id'], 'spend').iloc[0]
    assert (row.n, row.matched, row.blank) == (3, 2, 1)
    assert row['rate'] == pytest.approx(2 / 3) and row['share'] == pytest.approx(0.8)
    assert 'share' not in match_rates(left, right, ['ad_id'])
    nothing = match_rates(left[:0], right, ['ad_id'], 'spend').iloc[0]
    assert nothing.n == 0 and np.isnan(nothing['rate']) and np.isnan(nothing['share'])
    with pytest.raises(Problem, match='ids are text'):
        match_rates(left, pd.DataFrame({'ad_id': [1, 2]}), ['ad_id'])
    with pytest.raises(MissingColumns, match='campaign_id'):
        match_rates(left, right, ['campaign_id'])
