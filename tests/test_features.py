"Features: windows against a slow oracle, nothing from the future, exact sums, the store of days"

import itertools
import sys

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from adsbench.data.disk import place
from adsbench.data.settings import Problem, section
from adsbench.features.dictionary import dictionary
from adsbench.features.history import fingerprints, folder_of, look_back, read_features, update
from adsbench.features.maturity import (
    MaturitySettings,
    age,
    nowcast,
    provisional,
    provisional_days,
    reporting_curve,
)
from adsbench.features.panel import blocks
from adsbench.features.ratios import RATIOS, ratio, roas, summed
from adsbench.features.relations import budgeted, known_budgets, shop_roas
from adsbench.features.signals import MEASURED, SignalSettings, signals
from adsbench.features.spread import SpreadSettings, gini, spread
from adsbench.features.table import Facts, FeatureSettings, features, gather
from adsbench.features.targets import TargetTransform, smearing
from adsbench.features.windows import WindowSettings, trailing

DEFAULT = FeatureSettings()


def ad_days(rows: int, seed: int = 0, twice: bool = True) -> pd.DataFrame:
    "Ad-days with gaps, in no order, values missing, and (twice) a tenth of the days given twice"
    rng = np.random.default_rng(seed)
    ids = rng.integers(0, max(2, rows // 50), rows)
    days = pd.DataFrame(
        {
            'ad_id': pd.array([f'ad{i}' for i in ids], dtype='str'),
            'date': np.datetime64('2025-12-20', 'us')
            + rng.integers(0, 90, rows).astype('timedelta64[D]'),
            'spend': rng.lognormal(3, 1, rows).round(2),
            'impressions': rng.poisson(2000, rows).astype(float),
            'clicks': rng.poisson(30, rows).astype(float),
            'purchases': rng.poisson(1, rows).astype(float),
            'reach': rng.poisson(1500, rows).astype(float),
        }
    ).assign(revenue=lambda d: (d.purchases * rng.lognormal(3.8, 0.5, rows)).round(2))
    for m in MEASURED:
        days[m] = days[m].mask(rng.random(rows) < 0.08)
    if not twice:
        days = days.drop_duplicates(['ad_id', 'date'])
    return days.sample(frac=1, random_state=seed, ignore_index=True)


def account(seed: int = 0, length: int = 70) -> pd.DataFrame:
    "Days of six ads in three ad sets of two campaigns"
    rng = np.random.default_rng(seed)
    ads = pd.DataFrame(
        {
            'account_id': 'a',
            'campaign_id': ['c1'] * 4 + ['c2'] * 2,
            'adset_id': ['s1', 's1', 's2', 's2', 's3', 's3'],
            'ad_id': [f'ad{i}' for i in range(6)],
        }
    )
    dates = pd.DataFrame({'date': pd.date_range('2026-04-20', periods=length).as_unit('us')})
    days = ads.merge(dates, how='cross')
    days = days[rng.random(len(days)) > 0.1].reset_index(drop=True)
    n = len(days)
    days = days.assign(
        spend=rng.lognormal(3, 0.5, n).round(2),
        impressions=rng.poisson(3000, n).astype(float),
        clicks=rng.poisson(40, n).astype(float),
        purchases=rng.poisson(1.5, n).astype(float),
        reach=rng.poisson(2000, n).astype(float),
    )
    days['revenue'] = (days.purchases * 47.5).mask(rng.random(n) < 0.1)
    return days.astype(dict.fromkeys(ads, 'str'))


def adset_table(length: int = 70) -> pd.DataFrame:
    "Budgets of the three ad sets, exported on two mornings"
    budgets = pd.DataFrame(
        {'adset_id': ['s1', 's2', 's3'], 'budget': [50.0, 60, 70], 'budget_level': 'adset'}
    )
    first, second = (pd.Timestamp(d, tz='UTC') for d in ('2026-05-10 07:00', '2026-06-20 07:00'))
    later = budgets.assign(snapshot_at=second, budget=budgets.budget * 2)
    return pd.concat([budgets.assign(snapshot_at=first), later], ignore_index=True)


# ---- ratios -----------------------------------------------------------------------------------

amounts = st.lists(
    st.one_of(st.none(), st.floats(0, 1e308), st.just(0.0), st.just(5e-324)),
    min_size=1,
    max_size=20,
)


@given(amounts, amounts)
def test_ratio_is_finite_or_missing(top, bottom):
    n = min(len(top), len(bottom))
    top, bottom = (pd.Series(v[:n], dtype='float64') for v in (top, bottom))
    quotient = ratio(top, bottom)
    assert not np.isinf(quotient).any()
    assert quotient[(bottom == 0) | bottom.isna() | top.isna()].isna().all()
    assert np.array_equal(quotient, ratio(top.to_numpy(), bottom.to_numpy()), equal_nan=True)


def test_summed_pairs_what_belongs_together():
    days = ad_days(3000, 1)
    told = summed(days, ['ad_id']).set_index('ad_id')
    for name, group in itertools.islice(days.groupby('ad_id'), 10):
        for r in RATIOS:
            both = group.dropna(subset=[r.top, r.bottom])
            expected = r.per * both[r.top].sum() / both[r.bottom].sum() if len(both) else np.nan
            assert told.loc[name, r.name] == pytest.approx(expected, nan_ok=True)
    assert summed(days).spend[0] == pytest.approx(days.spend.sum())
    assert summed(days.assign(spend=np.nan)).spend.isna().all()


def test_roas_of_the_public_export_is_the_matched_one(shared):
    raw = pd.read_csv(shared / 'undergarments' / 'synthetic_fb_ads_undergarments.csv')
    whole = summed(raw)
    both = raw.dropna(subset=['spend', 'revenue'])
    assert whole.roas[0] == pytest.approx(both.revenue.sum() / both.spend.sum())
    assert abs(whole.roas[0] - roas(raw).mean()) > 3, 'the mean of row ratios is far off'


# ---- windows ----------------------------------------------------------------------------------


def slow(days: pd.DataFrame, name: str, today: pd.Timestamp) -> dict[str, float]:
    "Every window feature of one ad and day, by looking at each day"
    mine = days[days.ad_id == name]
    back = (today - mine.date).dt.days
    found = {}
    add = lambda rows, m: rows[m].sum(min_count=1)
    for w in (1, 3, 7, 14, 30):
        rows = mine[(back >= 0) & (back < w)]
        for m in ('spend', 'revenue', 'impressions', 'clicks', 'purchases'):
            found[f'{m}_{w}d'] = add(rows, m)
        for r in (r for r in RATIOS if r.name in ('roas', 'ctr', 'cvr', 'cpc')):
            both = rows.dropna(subset=[r.top, r.bottom])
            top, bottom = both[r.top].sum(), both[r.bottom].sum()
            found[f'{r.name}_{w}d'] = top / bottom if bottom != 0 else np.nan
    for m in ('spend', 'revenue', 'impressions', 'clicks', 'purchases'):
        found[f'{m}_7d_lag7'] = add(mine[(back >= 7) & (back < 14)], m)
    for m in ('spend', 'revenue', 'clicks'):
        yesterday = add(mine[back == 1], m)
        found[f'{m}_dod'] = add(mine[back == 0], m) / yesterday - 1 if yesterday else np.nan
    for m in ('spend', 'revenue'):
        for w in (7, 14, 30):
            daily = mine[(back >= 0) & (back < w)].groupby('date')[m].sum(min_count=1).dropna()
            x = (daily.index - today).days
            steep = np.polyfit(x, daily, 1)[0] if len(daily) > 1 else np.nan
            found[f'{m}_slope_{w}d'] = steep
    return found


def test_windows_equal_a_slow_oracle_on_20000_rows():
    days = ad_days(20_000)
    table = trailing(days, 'ad_id', WindowSettings())
    assert len(table) == len(days.drop_duplicates(['ad_id', 'date']))
    assert table.shape[1] == 2 + 59
    for at in table.sample(120, random_state=1).itertuples():
        for name, expected in slow(days, at.ad_id, at.date).items():
            got = getattr(at, name)
            assert got == pytest.approx(expected, rel=1e-9, abs=1e-6, nan_ok=True), (at, name)


def test_windows_do_not_care_about_order_or_other_entities():
    days = ad_days(2000, 3)
    table = trailing(days, 'ad_id', WindowSettings())
    mixed = trailing(days.sample(frac=1, random_state=9), 'ad_id', WindowSettings())
    pd.testing.assert_frame_equal(table, mixed)
    one = trailing(days[days.ad_id == 'ad7'], 'ad_id', WindowSettings())
    same = table[table.ad_id == 'ad7'].reset_index(drop=True)
    pd.testing.assert_frame_equal(one, same, check_exact=True)


def test_windows_read_nothing_later_than_the_day():
    days = ad_days(4000, 4)
    cut = pd.Timestamp('2026-02-01')
    poisoned = days.assign(**{m: days[m].mask(days.date > cut, 8e9) for m in MEASURED})
    before, after = (trailing(d, 'ad_id', WindowSettings()) for d in (days, poisoned))
    pd.testing.assert_frame_equal(
        before[before.date <= cut], after[after.date <= cut], check_exact=True
    )


@settings(max_examples=60, deadline=None)
@given(
    st.lists(
        st.tuples(st.integers(0, 2), st.integers(0, 45), st.integers(0, 10**7)),
        min_size=1,
        max_size=60,
    )
)
def test_window_sums_are_exact_to_the_cent(rows):
    days = pd.DataFrame(rows, columns=['ad', 'day', 'cents'])
    frame = pd.DataFrame(
        {
            'ad_id': days.ad.astype(str).astype('str'),
            'date': pd.Timestamp('2026-01-01').as_unit('us') + pd.to_timedelta(days.day, unit='D'),
            'spend': days.cents / 100,
        }
    )
    table = trailing(frame, 'ad_id', WindowSettings())
    for at in table.itertuples():
        day = (at.date - pd.Timestamp('2026-01-01')).days
        near = days[(days.ad == int(at.ad_id)) & (days.day <= day) & (days.day > day - 7)]
        assert round(at.spend_7d * 100) == near.cents.sum()
        assert at.spend_7d == near.cents.sum() / 100


def test_windows_of_large_accounts_do_not_drift():
    n = 200_000
    days = pd.DataFrame(
        {
            'ad_id': pd.array(np.repeat([f'{i:04d}' for i in range(500)], 400), dtype='str'),
            'date': np.tile(pd.date_range('2025-01-01', periods=400).as_unit('us'), 500),
            'spend': 1e9 + np.arange(n) % 97 / 100,
        }
    )
    last = trailing(days, 'ad_id', WindowSettings()).iloc[-1]
    assert last.spend_1d == days.spend.iloc[-1]
    assert last.spend_slope_7d == pytest.approx(
        np.polyfit(range(7), days.spend.tail(7), 1)[0], abs=1e-4
    )


def test_moments_without_a_row_and_unknown_entities():
    days = ad_days(300, 5)
    name = days.ad_id[0]
    at = pd.DataFrame({'ad_id': [name], 'date': [pd.Timestamp('2027-01-01')]})
    quiet = trailing(days, 'ad_id', WindowSettings(), at)
    assert len(quiet) == 1 and quiet.spend_30d.isna().all() and quiet.roas_30d.isna().all()
    with pytest.raises(Problem, match='nobody'):
        trailing(days, 'ad_id', WindowSettings(), at.assign(ad_id='nobody'))
    with pytest.raises(Problem, match='no date'):
        trailing(days.assign(date=pd.NaT), 'ad_id', WindowSettings())
    with pytest.raises(Problem, match='unit'):
        trailing(days.assign(spend=np.inf), 'ad_id', WindowSettings())
    assert trailing(days[:0], 'ad_id', WindowSettings()).empty


def test_window_settings_keep_what_others_read():
    with pytest.raises(ValueError, match='windows lacks 3'):
        WindowSettings(windows=(1, 7))


@settings(max_examples=40, deadline=None)
@given(st.lists(st.integers(1, 6), min_size=1, max_size=12), st.integers(1, 12), st.integers(1, 9))
def test_blocks_keep_entities_whole_and_lose_nothing(lives, rows, step):
    names = [f'{i:03d}' for i, n in enumerate(lives) for _ in range(n)]
    whole = pd.DataFrame({'ad_id': pd.array(names, dtype='str'), 'spend': range(len(names))})
    parts = [whole.iloc[i : i + step] for i in range(0, len(whole), step)]
    pieces = list(blocks(parts, 'ad_id', rows))
    pd.testing.assert_frame_equal(pd.concat(pieces, ignore_index=True), whole)
    seen = [set(piece.ad_id) for piece in pieces]
    assert all(not (a & b) for a, b in itertools.combinations(seen, 2))


def test_blocks_refuse_an_entity_that_comes_back():
    part = lambda *names: pd.DataFrame({'ad_id': names})
    with pytest.raises(Problem, match='comes back'):
        list(blocks([part('a', 'b'), part('c'), part('a', 'd')], 'ad_id', 2))


# ---- maturity ---------------------------------------------------------------------------------

TRUTH = 1 - 0.45 * np.exp(-np.arange(29) / 3)
TRUTH = TRUTH / TRUTH[-1]


def reported(seed: int, basket: bool = False) -> np.ndarray:
    "Days x ad sets x ages of purchases (or revenue) as reported"
    rng = np.random.default_rng(seed)
    size = rng.gamma(6, 2, (60, 25))[..., None]
    counts = rng.poisson(size * np.diff(TRUTH, prepend=0))
    value = rng.gamma(np.maximum(counts, 1e-9) * 3, 15) if basket else counts
    return np.where(counts > 0, value, 0).cumsum(-1)


def export(world: np.ndarray, day: int) -> pd.DataFrame:
    "What an export on that day shows"
    ages = np.minimum(day - np.arange(day), 28)
    value = world[np.arange(day)[:, None], np.arange(25)[None, :], ages[:, None]].ravel()
    start = pd.Timestamp('2026-05-01').as_unit('us')
    return pd.DataFrame(
        {
            'date': start + pd.to_timedelta(np.repeat(np.arange(day), 25), unit='D'),
            'adset_id': pd.array([f's{i}' for i in range(25)] * day, dtype='str'),
            'purchases': value.astype(float),
            'snapshot_at': start.tz_localize('UTC') + pd.Timedelta(days=day, hours=6),
        }
    )


@pytest.mark.parametrize('taken', [(39, 46, 53, 60), (59, 60), tuple(range(33, 61))])
def test_curve_recovers_a_known_lag(taken):
    curves = []
    for seed in range(6):
        world = reported(seed)
        snapshots = pd.concat([export(world, day) for day in taken])
        curve = reporting_curve(snapshots, MaturitySettings(measures=('purchases',)))
        curves.append(curve.set_index('age').reported)
    mean = pd.concat(curves, axis='columns').mean(axis='columns')
    error = (mean - pd.Series(TRUTH)).abs()
    assert error[1:].max() < (0.08 if len(taken) < 4 else 0.03), error


@pytest.mark.parametrize('basket', [False, True])
def test_nowcast_is_unbiased_and_its_interval_covers(basket):
    inside, top, bottom = [], 0.0, 0.0
    told = MaturitySettings(measures=('purchases',))
    for seed in range(12):
        world = reported(seed + 50, basket)
        curve = reporting_curve(pd.concat([export(world, d) for d in (39, 46, 53, 60)]), told)
        now = nowcast(export(world, 60), curve, told)
        now['truth'] = world[:60, :, -1].ravel()
        week = now[now.date > now.date.max() - pd.Timedelta(days=7)]
        inside.append(
            week.truth.between(week.purchases_low - 0.5, week.purchases_high + 0.5).mean()
        )
        top, bottom = top + week.purchases_nowcast.sum(), bottom + week.truth.sum()
        assert (week.purchases_low <= week.purchases_high).all()
        assert (week.purchases_low >= week.purchases).all()
    assert top / bottom == pytest.approx(1, abs=0.03)
    assert 0.72 < np.mean(inside) < 0.95


def test_one_export_claims_nothing():
    now = export(reported(1), 60)
    told = MaturitySettings(measures=('purchases',))
    curve = reporting_curve(now, told)
    assert curve.empty and nowcast(now, curve, told).purchases_nowcast.isna().all()
    assert provisional_days(curve, 7, told) == 7
    marked = now[provisional(now, now.date.max(), 7)]
    assert marked.date.nunique() == 7 and marked.date.max() == now.date.max()
    with pytest.raises(Problem):
        provisional(now, now.date.max(), -1)


def test_settled_values_and_blank_first_reports():
    told = MaturitySettings(measures=('purchases',))
    world = reported(2)
    early, late = export(world, 53), export(world, 60)
    blank = early.assign(purchases=early.purchases.replace(0, np.nan))
    zero, gone = (reporting_curve(pd.concat([e, late]), told) for e in (early, blank))
    pd.testing.assert_frame_equal(zero, gone)
    final = nowcast(late, zero, told)
    old = final[age(final) >= 28]
    assert (old.purchases_nowcast == old.purchases).all() and (
        old.purchases_high == old.purchases
    ).all()


def test_curve_ignores_rows_of_one_export_only():
    told = MaturitySettings(measures=('purchases',))
    world = reported(3)
    early, late = export(world, 53), export(world, 60)
    filtered = early[early.adset_id != 's3']
    curve = reporting_curve(pd.concat([filtered, late]), told)
    without = late[late.adset_id != 's3']
    pd.testing.assert_frame_equal(curve, reporting_curve(pd.concat([filtered, without]), told))


# ---- spread -----------------------------------------------------------------------------------


@given(st.lists(st.floats(0.01, 1e6), min_size=1, max_size=12), st.floats(0.01, 1000))
def test_gini_is_bounded_and_blind_to_the_currency(spends, rate):
    one = pd.Series('s', range(len(spends)), name='adset_id')
    value = gini(pd.Series(spends), [one])['s']
    assert 0 <= value <= 1 - 1 / len(spends) + 1e-9
    assert gini(pd.Series(spends) * rate, [one])['s'] == pytest.approx(value, abs=1e-9)
    x = np.array(spends)
    slow_value = np.abs(x[:, None] - x[None, :]).mean() / (2 * x.mean())
    assert value == pytest.approx(slow_value, abs=1e-9)


def test_spread_of_one_ad_and_of_none():
    ads = pd.DataFrame(
        {'adset_id': ['s', 't'], 'ad_id': ['x', 'y'], 'date': pd.Timestamp('2026-06-01')}
    )
    ads = ads.assign(**{f'{m}_7d': 2.0 for m in ('roas', 'ctr', 'cpc', 'impressions')})
    ads = ads.assign(spend_7d=[10.0, np.nan], spend_3d=[np.nan, np.nan])
    table = spread(ads, ['adset_id', 'date'], SpreadSettings()).set_index('adset_id')
    assert table.loc['s', ['ad_roas_std', 'spend_gini', 'active_ads', 'top_ad_share']].tolist() == [
        0,
        0,
        0,
        1,
    ]
    assert table.loc['t', 'diversity'] == 0 and np.isnan(table.loc['t', 'ad_roas_mean'])


# ---- signals and relations --------------------------------------------------------------------


def test_signals_by_hand():
    dates = pd.date_range('2026-05-01', periods=42).as_unit('us')
    week = np.arange(42) // 7
    days = pd.DataFrame(
        {
            'adset_id': pd.array(['s'] * 42, dtype='str'),
            'date': dates,
            'spend': 10.0 + week,
            'impressions': 1000.0,
            'clicks': np.where(week == 5, 30.0, 20.0),
            'purchases': 2.0,
            'revenue': 40.0,
            'reach': 500.0 + np.arange(42),
        }
    )
    at = pd.DataFrame({'adset_id': pd.array(['s'], dtype='str'), 'date': dates[-1:]})
    told = signals(days, 'adset_id', at, SignalSettings(target_roas=2)).iloc[0]
    expected = {
        'roas_trend': (40 / 15) / (40 / 14) - 1,
        'spend_trend': 15 / 14 - 1,
        'health': (40 / 15) / 3,
        'target_ratio': 40 / 15 / 2,
        'efficiency': 2 / 30,
        'rpi_7d': 0.04,
        'rpc_7d': 40 / 30,
        'expected_clicks': 7 * 20,
        'clicks_vs_expected': 1.5,
        'roas_28d': 4 * 40 / (12 + 13 + 14 + 15),
        'days_active': 42,
        'reach': 541,
        'weekday': 4,
        'week': 24,
    }
    assert {k: told[k] for k in expected} == pytest.approx(expected)
    assert told.stage == 'established' and told.covered and not told.weekend


def test_budgets_are_those_known_the_next_morning():
    at = pd.DataFrame(
        {
            'adset_id': pd.array(['s1'] * 4, dtype='str'),
            'date': pd.to_datetime(
                ['2026-05-08', '2026-05-09', '2026-06-18', '2026-06-19']
            ).as_unit('us'),
        }
    )
    assert known_budgets(adset_table(), at).budget.fillna(-1).tolist() == [-1, 50, 50, 100]
    assert known_budgets(adset_table().drop(columns='snapshot_at'), at).budget.tolist() == [100] * 4


def test_shop_roas_needs_seven_known_days():
    facts = gather(
        {
            'days_ad': account(),
            'orders': pd.DataFrame(
                {
                    'date': pd.to_datetime(['2026-06-01', '2026-06-05']).as_unit('us'),
                    'total': [100.0, 300.0],
                    'currency': 'EUR',
                    'snapshot_at': pd.Timestamp('2026-06-12 08:00', tz='UTC'),
                }
            ),
        }
    )
    assert facts.shop.index.max() == pd.Timestamp('2026-06-11') and facts.shop.sum() == 400
    dates = pd.to_datetime(['2026-06-06', '2026-06-07', '2026-06-11', '2026-06-12'])
    told = features(facts, dates, DEFAULT)['account']
    assert told.shop_roas_7d.isna().tolist() == [True, False, False, True]
    assert told.shop_roas_7d[1] == pytest.approx(400 / told.spend_7d[1])
    assert shop_roas({'adset': told}, facts.shop)['adset'].equals(told), 'no account, no answer'


def test_campaign_budgets_count_once():
    tables = features(gather({'days_ad': account()}), pd.Timestamp('2026-06-25'), DEFAULT)
    adsets = adset_table().assign(budget_level=['campaign', 'campaign', 'adset'] * 2)
    money = budgeted(tables, adsets.assign(budget=[80.0, 80, 70] * 2))
    assert money['campaign'].budget.tolist() == [80, 70] and money['account'].budget.tolist() == [
        150
    ]
    assert money['adset'].budget.isna().tolist() == [True, True, False]
    assert budgeted(tables, adsets.drop(columns='budget')) is tables


# ---- the table --------------------------------------------------------------------------------


def poison(days: pd.DataFrame, cut: pd.Timestamp) -> pd.DataFrame:
    "The same days up to the cut, nonsense and newcomers later"
    late = days.date > cut
    wrong = days.assign(**{m: days[m].mask(late, 654_321.0) for m in [*MEASURED, 'reach']})
    return pd.concat([wrong, wrong[late].head(20).assign(ad_id='new', adset_id='s9')])


@pytest.mark.parametrize('cut', ['2026-05-05', '2026-06-10', '2026-06-20'])
def test_poisoned_future_changes_no_feature_of_any_level(cut):
    cut = pd.Timestamp(cut)
    orders = pd.DataFrame(
        {
            'date': pd.date_range('2026-04-01', '2026-07-01').as_unit('us'),
            'total': 500.0,
            'currency': 'EUR',
        }
    )
    later = orders.assign(total=orders.total.mask(orders.date > cut, 9e6))
    budgets = adset_table()
    wild = budgets.assign(
        budget=budgets.budget.mask(
            budgets.snapshot_at.dt.tz_localize(None) > cut + pd.Timedelta(days=2), 7
        )
    )
    clean = gather({'days_ad': account(), 'orders': orders, 'adsets': budgets})
    bad = gather({'days_ad': poison(account(), cut), 'orders': later, 'adsets': wild})
    dates = pd.date_range(cut - pd.Timedelta(days=20), cut)
    before, after = (features(facts, dates, DEFAULT) for facts in (clean, bad))
    assert set(before) == {'account', 'campaign', 'adset', 'ad'}
    for level, table in before.items():
        pd.testing.assert_frame_equal(table, after[level], check_exact=True)


def test_every_column_has_a_line_and_no_value_is_infinite():
    facts = gather({'days_ad': account(), 'adsets': adset_table()})
    tables = features(facts, pd.Timestamp('2026-06-25'), DEFAULT)
    words = set(dictionary(DEFAULT).feature)
    for level, table in tables.items():
        ids = {'date', 'account_id', 'campaign_id', 'adset_id', 'ad_id'}
        assert set(table) - ids <= words, level
        assert not np.isinf(table.select_dtypes('number').to_numpy(float)).any()
    inputs = """roas_7d roas_trend efficiency health vs_adset vs_campaign vs_account rpi_7d rpc_7d
        spend_7d impressions_7d clicks_7d reach expected_clicks spend_trend days_active week weekday
        weekend top_ad_share active_ads ad_roas_range diversity ad_roas_std ad_roas_mean formats
        spend_gini campaign_spend_share utilisation stage""".split()
    assert len(inputs) >= 25 and set(inputs) <= set(tables['adset'])


def test_pairs_stay_together_on_the_way_up(shared, tmp_root):
    from adsbench.data.ingest import Request, ingest

    shop = place(tmp_root, 'shop')
    file = shared / 'undergarments' / 'synthetic_fb_ads_undergarments.csv'
    ingest(shop, [file], Request(currency='USD', timezone='UTC'))
    facts = gather(shop)
    assert set(facts.days) == {'account', 'campaign', 'adset'} and facts.shop is None
    assert summed(facts.days['account']).roas[0] == pytest.approx(5.843, abs=5e-4)
    last = facts.days['adset'].date.max()
    told = features(facts, last, DEFAULT)['account'].iloc[0]
    rows = facts.days['adset'][facts.days['adset'].date > last - pd.Timedelta(days=7)]
    both = rows.dropna(subset=['spend', 'revenue'])
    assert told.roas_7d == pytest.approx(both.revenue.sum() / both.spend.sum())
    assert told.spend_7d == pytest.approx(rows.spend.sum())


def test_reach_comes_from_the_level_asked_for():
    days = account()
    tables = features(gather({'days_ad': days}), pd.Timestamp('2026-06-20'), DEFAULT)
    assert tables['ad'].reach.notna().all() and tables['adset'].reach.isna().all()
    week = days[(days.date > '2026-06-13') & (days.date <= '2026-06-20')]
    expected = week.groupby('adset_id').reach.max()
    assert (
        tables['adset']
        .set_index('adset_id')
        .reach_at_least.equals(expected.rename('reach_at_least'))
    )
    coarse = days.groupby(['date', 'account_id', 'campaign_id', 'adset_id'], as_index=False)
    coarse = coarse[['spend', 'revenue', 'impressions', 'clicks', 'purchases']].sum(min_count=1)
    both = {'days_ad': days, 'days_adset': coarse.assign(reach=9000.0)}
    told = features(gather(both), pd.Timestamp('2026-06-20'), DEFAULT)
    assert told['adset'].reach.eq(9000).all()
    assert told['adset'].spend_7d.sum() == pytest.approx(week.spend.sum()), 'two tables, one sum'


def test_creative_types_reach_the_ad_set_by_either_table():
    days = account()
    kinds = pd.DataFrame(
        {'creative_id': [f'k{i}' for i in range(6)], 'creative_type': ['video', 'image'] * 3}
    )
    ads = pd.DataFrame({'ad_id': [f'ad{i}' for i in range(6)], 'creative_id': kinds.creative_id})
    through = gather({'days_ad': days, 'creatives': kinds, 'ads': ads})
    direct = gather({'days_ad': days, 'creatives': kinds.assign(ad_id=ads.ad_id)})
    when = pd.Timestamp('2026-06-20')
    one, two = (features(f, when, DEFAULT)['adset'] for f in (through, direct))
    pd.testing.assert_frame_equal(one, two)
    assert one.formats.tolist() == [2, 2, 2] and one.video_share.between(0.1, 0.9).all()
    assert gather({'days_ad': days, 'creatives': kinds}).creatives is None
    assert (
        gather({'days_ad': days, 'creatives': kinds.drop(columns='creative_type')}).creatives
        is None
    )


def test_rising_is_isotonic_regression():
    from adsbench.features.maturity import rising

    optimize = pytest.importorskip('scipy.optimize')
    rng = np.random.default_rng(0)
    for _ in range(50):
        values, weights = rng.normal(size=20).cumsum(), rng.uniform(0.1, 5, 20)
        expected = optimize.isotonic_regression(values, weights=weights).x
        assert np.allclose(rising(values, weights), expected)


def test_sums_agree_between_levels():
    facts = gather({'days_ad': account()})
    tables = features(facts, pd.date_range('2026-06-01', '2026-06-20'), DEFAULT)
    for column in (
        'spend_7d',
        'revenue_14d',
        'clicks_30d',
    ):
        totals = [t.groupby('date')[column].sum() for t in tables.values()]
        assert all(np.allclose(totals[0], t) for t in totals[1:]), column
    assert np.allclose(tables['adset'].groupby('date').account_spend_share.sum(), 1)


def test_coarse_exports_give_coarse_tables():
    days = (
        account()
        .groupby(['date', 'account_id', 'campaign_id'], as_index=False)[['spend', 'clicks']]
        .sum()
    )
    tables = features(gather({'days_campaign': days}), pd.Timestamp('2026-06-20'), DEFAULT)
    assert set(tables) == {'account', 'campaign'}
    assert tables['campaign'].roas_7d.isna().all() and tables['campaign'].spend_7d.notna().all()
    with pytest.raises(Problem, match='Day column'):
        gather({})


def test_paused_entities_stay_for_a_month_and_newcomers_are_not_there_yet():
    days = account()
    gone = (days.ad_id == 'ad1') & (days.date > '2026-05-20')
    facts = gather({'days_ad': days[~gone]})
    seen = lambda date: set(features(facts, pd.Timestamp(date), DEFAULT)['ad'].ad_id)
    assert 'ad1' in seen('2026-06-18') and 'ad1' not in seen('2026-06-20')
    assert features(facts, pd.Timestamp('2026-01-01'), DEFAULT)['ad'].empty


# ---- the store of features --------------------------------------------------------------------

SHORT = FeatureSettings(signals={'half_lives': [5]}, alive_days=20)


def restate(days: pd.DataFrame, date: str, **change) -> pd.DataFrame:
    "The days with one ad's row of a date changed"
    row = days.index[(days.date == date)][0]
    changed = days.copy()
    for column, value in change.items():
        changed.loc[row, column] = value
    return changed


def test_a_restated_day_is_seen_exactly_by_the_days_that_look_back_to_it(tmp_root):
    shop, days = place(tmp_root, 'shop'), account(length=80)
    reach = look_back(SHORT)
    assert reach == 35
    first = update(shop, gather({'days_ad': days}), SHORT)
    assert len(first['computed']) == 80 and not first['kept']
    assert update(shop, gather({'days_ad': days.sample(frac=1)}), SHORT)['computed'] == []
    facts = gather({'days_ad': restate(days, '2026-05-10', revenue=777.0)})
    second = update(shop, facts, SHORT)
    expected = pd.date_range('2026-05-10', periods=reach).strftime('%Y-%m-%d').tolist()
    assert second['computed'] == expected and len(second['kept']) == 80 - reach
    again = place(tmp_root, 'fresh')
    update(again, facts, SHORT)
    pd.testing.assert_frame_equal(read_features(shop), read_features(again), check_exact=True)


def test_a_day_that_ceases_to_be_paid_is_remembered_longer():
    days = account(length=80)
    every = pd.date_range('2026-04-20', periods=80)
    before = fingerprints(gather({'days_ad': days}), every, SHORT)
    after = fingerprints(gather({'days_ad': restate(days, '2026-04-25', spend=0.0)}), every, SHORT)
    changed = every[(before != after).to_numpy()]
    assert changed.equals(every[every >= '2026-04-25']), 'days_active counts it for ever'


def test_settings_budgets_and_lost_days_are_noticed(tmp_root):
    shop, days = place(tmp_root, 'shop'), account(length=60)
    facts = gather({'days_ad': days, 'adsets': adset_table()})
    update(shop, facts, SHORT)
    wider = facts._replace(
        adsets=facts.adsets.assign(budget=lambda a: a.budget + (a.snapshot_at > '2026-06-01'))
    )
    computed = update(shop, wider, SHORT)['computed']
    assert computed == [
        f'{d:%Y-%m-%d}'
        for d in pd.date_range('2026-04-20', periods=60)
        if d >= pd.Timestamp('2026-06-19')
    ]
    assert len(update(shop, wider, FeatureSettings(alive_days=25))['computed']) == 60
    fewer = gather({'days_ad': days[days.date < '2026-06-10'], 'adsets': adset_table()})
    assert len(update(shop, fewer, SHORT)['removed']) == 9
    assert read_features(shop).date.max() == pd.Timestamp('2026-06-09')


def test_reading_the_store(tmp_root):
    shop = place(tmp_root, 'shop')
    with pytest.raises(Problem, match='adsbench features -c shop'):
        read_features(shop)
    update(shop, gather({'days_ad': account(length=10)}), SHORT)
    part = read_features(shop, 'campaign', '2026-04-22', '2026-04-24')
    assert part.date.nunique() == 3 and set(part.level) == {'campaign'}
    with pytest.raises(Problem, match='level'):
        read_features(shop, 'creative')
    (folder_of(shop) / '2026-04-22.parquet').write_bytes(b'x')
    assert update(shop, gather({'days_ad': account(length=10)}), SHORT)['computed'] == [
        '2026-04-22'
    ]


def test_the_store_equals_the_table(tmp_root):
    shop = place(tmp_root, 'shop')
    facts: Facts = gather({'days_ad': account(length=45)})
    update(shop, facts, SHORT)
    for level, table in features(facts, pd.Timestamp('2026-05-25'), SHORT).items():
        stored = read_features(shop, level, '2026-05-25', '2026-05-25')
        pd.testing.assert_frame_equal(stored[table.columns], table, check_dtype=False)


# ---- targets and settings ---------------------------------------------------------------------


@given(
    st.sampled_from(['log1p', 'asinh', 'winsorise', 'none']),
    st.lists(st.floats(0, 1e9), min_size=2, max_size=30),
    st.lists(st.floats(0, 1e9), min_size=1, max_size=10),
)
def test_targets_come_back(kind, train, test):
    fitted = TargetTransform(kind).fit(train)
    back = fitted.inverse_transform(fitted.transform(test))
    kept = np.clip(test, fitted.learnt_.low, fitted.learnt_.high) if kind == 'winsorise' else test
    assert np.allclose(back, kept, rtol=1e-6, atol=1e-6 * max(train))


def test_targets_learn_from_training_only_and_refuse_nonsense():
    base = pytest.importorskip('sklearn.base')
    assert base.clone(TargetTransform('asinh', high=0.9)).get_params()['high'] == 0.9
    assert TargetTransform().fit([1, 2, np.nan]).learnt_ == TargetTransform().fit([1, 2]).learnt_
    assert (
        smearing(np.zeros(2), np.zeros(2)) == 1
        and smearing(np.array([2.0, 4]), np.array([1.0, 1])) == 3
    )
    for mistake in (
        lambda: TargetTransform('log1p').fit([-1]),
        lambda: TargetTransform('winsorise', 0.9, 0.1).fit([1]),
        lambda: TargetTransform('other').fit([1]),
        lambda: TargetTransform().set_params(base=2),
        lambda: TargetTransform().inverse_transform([1]),
        lambda: TargetTransform().fit([]),
    ):
        with pytest.raises(Problem):
            mistake()


def test_the_file_of_settings_says_what_the_models_say(repo):
    from adsbench.data.layers import read_layers

    layers = read_layers(repo, environ={})
    assert section(layers, 'features', FeatureSettings) == FeatureSettings()


def test_importing_features_stays_light():
    import subprocess

    code = (
        'import sys, adsbench.features.history, adsbench.features.targets;'
        "print([m for m in ('sklearn', 'scipy', 'statsmodels', 'matplotlib', 'pandera') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, '-c', code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == '[]'
