"""Shares by country: exact money, floors that hold, no better country ever gets less."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from adsbench.data.settings import Problem
from adsbench.targeting.countries import COUNTRIES, GROUPS, listed
from adsbench.targeting.geo import Ask, geo
from adsbench.targeting.groups import Engagement, GeoSettings, engagement
from adsbench.targeting.scores import SegmentSettings
from adsbench.targeting.shares import Infeasible, Walls, certificate, divided, minor_of, shares

NONE = pd.DataFrame({'floor': [], 'ceiling': []}, index=pd.Index([], dtype='str'))
LAST = pd.Timestamp('2026-05-30')


def problem(rng: np.random.Generator) -> tuple[np.ndarray, Walls, int]:
    "Weights, limits of countries and of up to three groups, and a total"
    count, total = int(rng.integers(1, 13)), int(rng.choice([7, 1000, 99_999, 10_000_001]))
    floor = rng.integers(0, 1300 // count + 1, count).clip(max=1000) * (rng.random(count) < 0.4)
    tight = np.maximum(floor, rng.integers(0, 2500 // count + 1, count)).clip(max=1000)
    ceiling = np.where(rng.random(count) < 0.6, 1000, tight)
    group = np.unique(rng.integers(0, 3, count), return_inverse=True)[1]
    size = group.max() + 1
    least, most = rng.choice([0, 100, 300], size), rng.choice([400, 800, 1000], size)
    up, down = lambda part: -(-part * total // 1000), lambda part: part * total // 1000
    low, bottom = up(floor), up(least)
    high, top = np.maximum(down(ceiling), low), np.maximum(down(most), bottom)
    walls = Walls(low, high, group, bottom, top, ['g'] * size)
    weight = np.where(rng.random(count) < 0.1, 0, rng.lognormal(0, 1.5, count))
    return weight, walls, total


def possible(walls: Walls, total: int) -> bool:
    "Whether any amounts keep the limits, told without the code under test"
    low = [int(walls.low[walls.group == g].sum()) for g in range(len(walls.least))]
    high = [int(walls.high[walls.group == g].sum()) for g in range(len(walls.least))]
    ends = list(zip(low, high, walls.least, walls.most))
    inside = all(a <= top and b >= bottom for a, b, bottom, top in ends)
    least, most = sum(max(a, c) for a, _, c, _ in ends), sum(min(b, d) for _, b, _, d in ends)
    return inside and least <= total <= most


def test_ten_thousand_random_problems_are_exact_or_refused_with_a_proof():
    rng, solved = np.random.default_rng(6), 0
    for number in range(10_000):
        weight, walls, total = problem(rng)
        index = pd.RangeIndex(len(weight))
        proof = certificate(index, walls, total)
        assert bool(proof) != possible(walls, total)
        if proof:
            assert all(one['shortfall'] == abs(one['have'] - one['against']) > 0 for one in proof)
            continue
        solved += 1
        parts = divided(weight, walls, total)
        assert parts.dtype == np.int64 and parts.sum() == total, 'money is exact'
        assert (parts >= walls.low).all() and (parts <= walls.high).all(), 'a floor is a floor'
        held = np.bincount(walls.group, parts, len(walls.least))
        assert (held >= walls.least).all() and (held <= walls.most).all()
        if number % 5 == 0:
            lucky = rng.integers(len(weight))
            better = weight.copy()
            better[lucky] = better[lucky] * rng.choice([1.01, 1.5, 20]) + 1e-6
            assert divided(better, walls, total)[lucky] >= parts[lucky], 'better never gets less'
    assert solved > 3000


@given(
    st.lists(st.floats(0, 1e6), min_size=2, max_size=8),
    st.integers(0, 10**12),
    st.integers(0, 7),
    st.floats(1, 100),
)
@settings(max_examples=60, deadline=None)
def test_without_limits_amounts_are_the_weights_rounded(weights, total, which, times):
    codes = [f'c{n}' for n in range(len(weights))]
    table = pd.DataFrame({'weight': weights, 'floor': 0.0, 'ceiling': 1.0, 'group': None}, codes)
    parts = shares(table, NONE, total)
    assert parts.sum() == total and (parts >= 0).all()
    if min(weights) > 0:
        assert ((parts - total * table.weight / table.weight.sum()).abs() <= len(codes)).all()
    code = codes[which % len(codes)]
    better = table.assign(weight=table.weight.where(table.index != code, table.weight * times))
    assert shares(better, NONE, total)[code] >= parts[code]
    shuffled = shares(table.iloc[::-1], NONE, total)
    pd.testing.assert_series_equal(shuffled.sort_index(), parts.sort_index())


def test_a_share_is_read_as_it_is_written():
    assert minor_of(0.35, 100_000, True) == 35_000, 'the decimal, not the float above it'
    assert minor_of(0.1 + 0.2, 10, True) == 4, 'a sum of floats is what it is'
    table = pd.DataFrame({'weight': [1.0, 9], 'floor': [0.35, 0], 'ceiling': 1.0, 'group': None}, ['ES', 'MX'])  # fmt: skip
    assert shares(table, NONE, 101).to_dict() == {'ES': 36, 'MX': 65}


def test_an_infeasible_set_is_proved_and_never_scaled():
    table = pd.DataFrame({'weight': 1.0, 'floor': [0.7, 0.4], 'ceiling': 1.0, 'group': ['A', 'A']}, ['ES', 'MX'])  # fmt: skip
    with pytest.raises(Infeasible, match=r'110.00%, 10.00% more than the total'):
        shares(table, NONE, 100_000)
    both = pd.DataFrame({'floor': [0.0], 'ceiling': [0.5]}, ['A'])
    with pytest.raises(Infeasible, match=r'A: the floors of ES, MX come to 60\.00%') as error:
        shares(table.assign(floor=[0.3, 0.3]), both, 100_000)
    assert error.value.certificate[0]['shortfall'] == 10_000
    with pytest.raises(Infeasible, match=r'all ceilings together come to 60\.00%'):
        shares(table.assign(floor=0.0, ceiling=0.3), NONE, 100_000)
    with pytest.raises(Problem, match='cannot be given a share'):
        shares(table.assign(weight=[np.inf, 1]), NONE, 100)


def shop(seed: int, rates: dict[str, tuple[int, float, float]], days: int = 30) -> pd.DataFrame:
    "Days by country: impressions a day, purchases a day, order value"
    rng, pages = np.random.default_rng(seed), []
    for code, (shown, bought, worth) in rates.items():
        count = rng.poisson(bought, days).astype(float)
        clicks = rng.binomial(shown, 0.015, days) + count
        rows = pd.DataFrame({'date': pd.date_range('2026-05-01', periods=days), 'country': code})
        pages.append(rows.assign(impressions=float(shown), clicks=clicks, spend=shown * 0.008, purchases=count, revenue=count * worth))  # fmt: skip
    return pd.concat(pages, ignore_index=True)


DAYS = shop(1, {'ES': (9000, 4, 40), 'MX': (6000, 3, 40), 'AR': (4000, 1, 40), 'DE': (5000, 3, 45)})
ASK = Ask(1000.0, 'EUR', LAST)


def told(settings: GeoSettings, days: pd.DataFrame = DAYS, ask: Ask = ASK) -> pd.DataFrame:
    return geo(days, ask, settings, SegmentSettings()).set_index('country_code')


@pytest.mark.parametrize('method', ['value', 'seed'])
@pytest.mark.parametrize('currency', ['EUR', 'JPY'])
def test_money_is_conserved_in_every_branch(method, currency):
    groups = [
        {'name': 'LATAM', 'countries': ['LATAM'], 'ceiling': 0.3, 'basis': 'engagement'},
        {'name': 'EU', 'countries': ['DE'], 'floor': 0.1, 'basis': 'performance'},
    ]
    for limits in ({}, {'spain_min_pct': 35}, {'groups': groups}, {'spain_min_pct': 35, 'groups': groups}):  # fmt: skip
        table = told(GeoSettings(method=method, **limits), ask=Ask(1234, currency, LAST, ('CL',)))
        units = 1 if currency == 'JPY' else 100
        assert table.budget_minor.sum() == 1234 * units
        assert np.isclose(table.budget_pct.sum(), 100)
        if limits.get('spain_min_pct'):
            assert table.budget_minor['ES'] >= 0.35 * 1234 * units
        if limits.get('groups'):
            assert table.budget_minor[['MX', 'AR', 'CL']].sum() <= 0.3 * 1234 * units
            assert table.budget_minor['DE'] >= 0.1 * 1234 * units


def test_nobody_has_a_floor_unless_it_is_set():
    assert (told(GeoSettings()).floor == 0).all()
    poor = shop(2, {'ES': (9000, 0.4, 40), 'MX': (6000, 6, 40), 'DE': (5000, 5, 45)})
    assert told(GeoSettings(), poor).budget_pct['ES'] < 35
    held = told(GeoSettings(spain_min_pct=35), poor)
    assert held.budget_amount['ES'] == 350 and held.bound['ES'] == 'floor'
    rich = shop(2, {'ES': (9000, 9, 40), 'MX': (6000, 1, 40), 'DE': (5000, 1, 45)})
    assert told(GeoSettings(spain_min_pct=35), rich).budget_pct['ES'] > 40, 'a floor is no ceiling'


@pytest.mark.parametrize('basis', ['value', 'engagement', 'performance'])
def test_a_higher_posterior_never_lowers_a_share(basis):
    groups = [{'name': 'LATAM', 'countries': ['LATAM'], 'ceiling': 0.5, 'basis': basis}]
    settings = GeoSettings(spain_min_pct=35, groups=groups)
    before = told(settings)
    for code in ('ES', 'MX', 'DE'):
        last = None
        for times in (1.3, 2.5):
            more = DAYS.assign(
                revenue=DAYS.revenue.where(DAYS.country != code, DAYS.revenue * times)
            )
            after = told(settings, more)
            assert after.value[code] > before.value[code]
            assert after.budget_minor[code] >= (last or before.budget_minor[code])
            last = after.budget_minor[code]


def test_a_small_lucky_country_does_not_take_the_budget():
    days = shop(3, {'ES': (9000, 4, 40), 'DE': (9000, 4, 40), 'LI': (60, 0.001, 40)})
    place = days.index[(days.country == 'LI')][3]
    days.loc[place, ['clicks', 'purchases', 'revenue']] = [3.0, 3.0, 120.0]
    table = told(GeoSettings(), days)
    assert table.avg_roas['LI'] > 2 * table.value['LI'] > 0
    assert table.budget_pct['LI'] < 2
    assert table.low['LI'] < table.value['LI'] < table.high['LI']


def test_a_country_that_never_delivered_starts_small_and_says_so():
    table = told(GeoSettings(), ask=Ask(1000, 'EUR', LAST, ('CL',)))
    assert 0 < table.budget_pct['CL'] < 5 and np.isnan(table.avg_roas['CL'])
    assert table.reason['CL'].startswith('never delivered')
    width = table.high - table.low
    assert width['CL'] > width['ES']


def test_nothing_later_is_read():
    later = shop(9, {'ES': (9000, 50, 90)}).assign(
        date=lambda rows: rows.date + pd.Timedelta(days=30)
    )
    pd.testing.assert_frame_equal(
        told(GeoSettings()), told(GeoSettings(), pd.concat([DAYS, later]))
    )


def test_the_engagement_score_is_the_seeds():
    table = pd.DataFrame({'ctr': [0.022, 0.03, 0.01], 'cvr': [0.025, 0.05, 0.01], 'roas': [3.2, 5, 1.5], 'cpc': [0.45, 0.3, 1.0]})  # fmt: skip
    assert np.allclose(engagement(table, Engagement()), [0.4743, 0.85, 0.135], atol=1e-4)
    raw = pd.DataFrame({'ctr': DAYS.groupby('country').clicks.sum() / DAYS.groupby('country').impressions.sum()})  # fmt: skip
    assert np.isclose(told(GeoSettings(method='seed')).avg_ctr['ES'], raw.ctr['ES'])


def test_codes_are_iso_and_uk_is_gb():
    assert len(COUNTRIES) == 249 and set(GROUPS['EU']) < set(COUNTRIES)
    with pytest.raises(Problem, match=r"'UK' is no country of ISO 3166 \(did you mean GB\?\)"):
        listed(['UK'])
    with pytest.raises(ValueError, match='above ceiling'):
        GeoSettings(countries={'ES': {'floor': 0.5, 'ceiling': 0.3}})
    with pytest.raises(ValueError, match='did you mean GB'):
        GeoSettings(countries={'UK': {'floor': 0.1}})
    with pytest.raises(Problem, match='MX is in America and north'):
        told(GeoSettings(groups=[{'name': 'America', 'countries': ['LATAM']}, {'name': 'north', 'countries': ['MX', 'US']}]))  # fmt: skip


def test_an_account_without_sales_is_divided_by_what_was_spent():
    table = told(GeoSettings(spain_min_pct=35), DAYS.assign(purchases=0.0, revenue=0.0))
    assert table.budget_minor.sum() == 100_000 and table.value.isna().all()
    assert np.isclose(table.budget_pct['AR'] / table.budget_pct['DE'], 4 / 5, atol=0.01)
