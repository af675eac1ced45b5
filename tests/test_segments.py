"""Segments, interests and fatigue: the seed's figures, ours on planted truth, refusals."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from bench import kag

from adsbench.data.layers import read_yaml
from adsbench.data.settings import Problem, read_layers
from adsbench.targeting.effects import log_rates
from adsbench.targeting.fatigue import FatigueSettings, fatigue
from adsbench.targeting.groups import GeoSettings
from adsbench.targeting.interests import InterestSettings, interests
from adsbench.targeting.scores import METRICS, SegmentSettings, scored, seed_rates
from adsbench.targeting.segments import COLUMNS, from_shop, read, refuse, segments
from adsbench.targeting.specs import from_targeting, merged, own_share, specs

START = pd.Timestamp('2026-05-01')
SECTIONS = {
    'segments': SegmentSettings,
    'fatigue': FatigueSettings,
    'interests': InterestSettings,
    'geo': GeoSettings,
}


def cut(
    column: str, rates: dict, days: int = 35, seed: int = 1, campaigns: int = 2
) -> pd.DataFrame:
    "Days by campaign and one breakdown; rates: value -> impressions a day, ctr, cvr"
    rng = np.random.default_rng(seed)
    dates = pd.date_range(START, periods=days)
    ids = [f'c{n}' for n in range(campaigns)]
    index = pd.MultiIndex.from_product(
        [dates, ids, list(rates)], names=['date', 'campaign_id', column]
    )
    rows = index.to_frame(index=False)
    shown, ctr, cvr = (rows[column].map({k: v[n] for k, v in rates.items()}) for n in range(3))
    clicks = rng.binomial(shown, ctr)
    bought = rng.binomial(clicks, cvr)
    value = bought * rng.lognormal(4, 0.3, len(rows))
    return rows.assign(account_id='1', impressions=shown * 1.0, clicks=clicks * 1.0, purchases=bought * 1.0, spend=shown * 0.009, revenue=value)  # fmt: skip


COUNTRIES = {'DE': (3000, 0.012, 0.04), 'AT': (900, 0.016, 0.05), 'CH': (600, 0.004, 0.03)}
LAST = START + pd.Timedelta(days=34)


# --- the seed's figures


def test_the_seeds_segment_comes_out_to_the_digit():
    sums = pd.DataFrame({'impressions': [2000.0], 'clicks': [60.0], 'purchases': [10.02], 'spend': [10.0], 'revenue': [35.0]})  # fmt: skip
    told = seed_rates(sums, SegmentSettings(method='seed')).iloc[0]
    assert np.isclose(told.ctr, 0.029286, atol=5e-7)
    assert np.isclose(told.cvr, 0.075125, atol=5e-7), 'the 16.7 % of its example'
    exact = seed_rates(sums.assign(purchases=10.0), SegmentSettings(method='seed')).iloc[0]
    assert np.isclose(exact.roas, 2.5909, atol=5e-5), 'n is conversions'
    assert np.isclose(exact.composite, 0.66966, atol=5e-6) and exact.confidence == 0.9


def test_fixed_priors_move_only_the_seeds_method():
    days, low = cut('country', COUNTRIES), {'ctr': 0.001, 'cvr': 0.001, 'roas': 0.1}
    for method, same in (('fitted', True), ('seed', False)):
        both = [scored(days, ['country'], SegmentSettings(method=method, seed=seed)) for seed in ({}, low)]  # fmt: skip
        assert both[0].composite.equals(both[1].composite) == same


def test_kag_half_of_the_clicks(shared):
    if not (shared / 'kag').is_dir():
        pytest.skip('the KAG file is absent')
    error = kag.errors(kag.read(shared / 'kag'), 25, seed=1)
    assert error['ours'] <= 2.5e-9 < error['raw'] < error['pooled'] < error['seed']
    assert 3.2e-9 < error['raw'] < 4e-9 and 9e-9 < error['seed'] < 12e-9


# --- segments


def test_segments_have_every_column_and_sums_of_the_last_days():
    table = segments({'country': cut('country', COUNTRIES)}, LAST, SegmentSettings(), FatigueSettings())  # fmt: skip
    assert list(table) == COLUMNS and table.segment_id.is_unique
    told = table.set_index('segment_id')
    recent = cut('country', COUNTRIES).query('country == "DE"').tail(60)
    assert told.total_conversions['country_DE'] == recent.purchases.sum()
    assert np.isclose(told.avg_roas['country_DE'], recent.revenue.sum() / recent.spend.sum())
    assert told.segment_name['country_DE'] == 'Germany' and (told.campaigns_count == 2).all()
    for name in METRICS:
        assert table[name].between(table[f'{name}_low'], table[f'{name}_high']).all()
    assert table.composite.is_monotonic_decreasing and table.composite.between(0, 1).all()
    assert (table.last_used == LAST).all()


def test_intervals_of_rates_hold_the_truth():
    inside, rng = [], np.random.default_rng(3)
    for seed in range(12):
        rates = {f'X{n:02d}': (2000, c, v) for n, (c, v) in enumerate(zip(rng.lognormal(-4.3, 0.3, 12), rng.lognormal(-3.2, 0.3, 12)))}  # fmt: skip
        table = scored(cut('age', rates, 10, seed), ['age'], SegmentSettings()).set_index('age')
        truth = pd.DataFrame(rates, index=['shown', 'ctr', 'cvr']).T.loc[table.index]
        inside += [
            truth[m].between(table[f'{m}_low'], table[f'{m}_high']).mean() for m in ('ctr', 'cvr')
        ]
    assert 0.72 <= np.mean(inside) <= 0.9


def test_unknown_revenue_leaves_the_composite_unknown_and_last():
    days = cut('country', COUNTRIES)
    table = scored(days.assign(revenue=days.revenue.where(days.country != 'AT')), ['country'], SegmentSettings())  # fmt: skip
    assert table.country.iloc[-1] == 'AT' and np.isnan(table.composite.iloc[-1])
    assert table.ctr.notna().all(), 'what is known stays known'
    none = scored(days.drop(columns='revenue'), ['country'], SegmentSettings())
    assert none.composite.isna().all() and none.cvr.notna().all()


def test_nobody_bought_and_nobody_clicked():
    days = cut('country', COUNTRIES)
    table = scored(days.assign(purchases=0.0, revenue=0.0), ['country'], SegmentSettings())
    assert table.roas.isna().all() and (table.cvr < 0.01).all()
    dark = days.assign(clicks=0.0, purchases=0.0, revenue=0.0)
    assert not np.isinf(scored(dark, ['country'], SegmentSettings()).select_dtypes('number')).any(axis=None)  # fmt: skip


@pytest.mark.parametrize('kind', ['region', 'dma', 'hour'])
def test_cuts_without_off_meta_conversions_are_refused(kind):
    days = cut(kind, {'a': (500, 0.01, 0.05), 'b': (500, 0.01, 0.05)})
    with pytest.raises(Problem, match="the shop's orders"):
        segments({kind: days}, LAST, SegmentSettings(), FatigueSettings())
    plain = days.drop(columns=['purchases', 'revenue'])
    table = segments({kind: plain}, LAST, SegmentSettings(), FatigueSettings())
    assert table.ctr.notna().all() and table[['cvr', 'roas', 'composite']].isna().all(axis=None)


def test_regions_are_worth_what_the_shop_sold_there():
    days = cut('region', {'Bayern': (2000, 0.01, 0.05), 'Wien': (2000, 0.01, 0.05)})
    sold = days.groupby(['date', 'region'])[['purchases', 'revenue']].sum().reset_index()
    sold.loc[sold.region == 'Wien', 'revenue'] *= 2
    joined = from_shop(days, sold)
    refuse('region', joined)
    table = segments({'region': joined}, LAST, SegmentSettings(), FatigueSettings())
    assert table.segment_name.iloc[0] == 'Wien' and table.total_conversions.sum() > 0


def test_cuts_are_read_from_stored_tables_and_of_one_campaign():
    tables = {
        'days_campaign_by_country': cut('country', COUNTRIES),
        'days_campaign_by_platform_and_placement': cut(
            'placement', {'Feed': (900, 0.01, 0.04)}
        ).assign(platform='facebook'),  # fmt: skip
        'days_adset': cut('adset_id', {'a1': (900, 0.01, 0.04), 'a2': (900, 0.02, 0.04)}),
        'adsets': pd.DataFrame(
            {
                'adset_id': ['a1', 'a2'],
                'audience_type': ['Broad', 'Lookalike'],
                'lookalike_ratio': [np.nan, 0.03],
            }
        ),  # fmt: skip
    }
    cuts = read(tables, LAST)
    assert list(cuts) == ['country', 'placement', 'audience', 'lookalike']
    table = segments(read(tables, LAST, 'c1'), LAST, SegmentSettings(), FatigueSettings())
    ids = set(table.segment_id)
    assert {'placement_facebook_Feed', 'audience_Broad', 'lookalike_3_%'} < ids
    assert (table.campaigns_count == 1).all()
    with pytest.raises(Problem, match='no breakdown'):
        segments({}, LAST, SegmentSettings(), FatigueSettings())


def test_nothing_later_is_read():
    days = cut('country', COUNTRIES)
    later = days.assign(date=days.date + pd.Timedelta(days=35), clicks=0.0, purchases=0.0)
    runs = [segments({'country': d}, LAST, SegmentSettings(), FatigueSettings()) for d in (days, pd.concat([days, later]))]  # fmt: skip
    pd.testing.assert_frame_equal(*runs)


# --- fatigue


def history(days: int, seed: int, halved: int | None, ctr: float = 0.005) -> pd.DataFrame:
    "Eight segments of 2,000 impressions a day, the first low; one may halve in the last week"
    rng = np.random.default_rng(seed)
    rate = np.r_[ctr, np.linspace(0.01, 0.03, 7)] * np.exp(0.05 * rng.standard_normal((days, 8)))
    if halved is not None:
        rate[-7:, halved] /= 2
    shown = rng.poisson(2000, (days, 8))
    return pd.DataFrame({
        'date': np.repeat(pd.date_range(START, periods=days), 8),
        'segment': np.tile([f's{n}' for n in range(8)], days),
        'impressions': shown.ravel(),
        'clicks': rng.binomial(shown, rate).ravel(),
    })  # fmt: skip


def tired(days: int, seed: int, halved: int | None, ctr: float = 0.005) -> np.ndarray:
    rows = history(days, seed, halved, ctr)
    return fatigue(rows, ['segment'], rows.date.max(), FatigueSettings()).is_fatigued.to_numpy()


@pytest.mark.parametrize('days', [30, 90])
def test_a_halving_is_found_and_a_stable_low_segment_is_not(days):
    stable = np.array([tired(days, seed, None) for seed in range(30)])
    assert not stable[:, 0].any(), 'a stable low-ctr segment is never tired'
    assert stable.any(1).mean() <= 0.1, 'runs with any false alarm'
    for place, ctr in ((0, 0.005), (3, 0.005)):
        found = np.array([tired(days, 500 + seed, place, ctr) for seed in range(20)])
        assert found[:, place].mean() >= 0.8
        assert np.delete(found, place, axis=1).mean() <= 0.02


def test_one_segment_alone_is_held_against_its_own_past():
    rows = history(30, 1, 0, 0.015).query('segment == "s0"')
    told = fatigue(rows, ['segment'], rows.date.max(), FatigueSettings()).iloc[0]
    assert told.is_fatigued and '-' in told.fatigue_reason and told.change_high < -0.15


def test_a_fall_of_everybody_is_nobodys_fatigue():
    rows = history(30, 2, None)
    week = rows.date > rows.date.max() - pd.Timedelta(days=7)
    rows['clicks'] = np.where(week, rows.clicks // 2, rows.clicks)
    assert not fatigue(rows, ['segment'], rows.date.max(), FatigueSettings()).is_fatigued.any()


# --- interests


def account(seed: int, daily: float, days: int = 30, spread: float = 0.3) -> tuple:
    "60 ad sets with three to six of 20 interests; the last two always together; and the truth"
    rng = np.random.default_rng(seed)
    hot = np.zeros((60, 20))
    for row in hot:
        row[rng.choice(20, rng.integers(3, 7), replace=False)] = 1
    hot[:, 19] = hot[:, 18]
    truth = rng.normal(0, spread, 20)
    rate = np.exp(hot @ truth + 0.1 * rng.standard_normal(60))
    bought = rng.poisson(daily * rate / rate.mean(), (days, 60))
    ids = [f'a{n:02d}' for n in range(60)]
    words = [', '.join(f'Topic {n:02d}' for n in np.flatnonzero(row)) for row in hot]
    adsets = pd.DataFrame({'adset_id': ids, 'campaign_id': [f'c{n % 5}' for n in range(60)], 'interests': words})  # fmt: skip
    rows = pd.DataFrame({'date': np.repeat(pd.date_range(START, periods=days), 60), 'adset_id': np.tile(ids, days), 'campaign_id': np.tile(adsets.campaign_id, days)})  # fmt: skip
    clicks = bought + rng.poisson(60, (days, 60))
    rows = rows.assign(impressions=5000.0, clicks=clicks.ravel() * 1.0, purchases=bought.ravel() * 1.0, spend=50.0, revenue=bought.ravel() * 45.0)  # fmt: skip
    return rows, adsets, pd.Series(truth, [f'int_topic_{n:02d}' for n in range(20)])


BOTH = (InterestSettings(), SegmentSettings())


@pytest.mark.parametrize('daily', [10, 10 / 60], ids=['an ad set', 'the account'])
def test_planted_effects_are_ranked_where_they_can_be_told(daily):
    ranks, shares = [], []
    for seed in range(4):
        days, adsets, truth = account(seed, daily)
        table = interests(days, adsets, days.date.max(), BOTH).set_index('segment_id')
        assert 'int_topic_18 + int_topic_19' in table.index, 'always paired: one row'
        assert 'int_topic_18' not in table.index and len(table) == 19
        clear = table[(table.verdict == 'identified') & table.index.isin(truth.index)]
        ranks.append(clear.effect.rank().corr(truth[clear.index].rank()))
        shares.append(len(clear) / 18)
        real = np.expm1(truth[clear.index])
        assert real.between(clear.effect_low, clear.effect_high).mean() >= 0.5
    assert np.mean(ranks) >= 0.6 and np.mean(shares) >= 0.5


def test_where_nothing_acts_nothing_is_found():
    days, adsets, _ = account(5, 3, spread=0.0)
    table = interests(days, adsets, days.date.max(), BOTH)
    assert ((table.odds > 0.975) | (table.odds < 0.025)).mean() <= 0.1
    assert table.effect.abs().max() < 0.15


def test_what_every_ad_set_has_or_hardly_any_is_not_identified():
    days, adsets, _ = account(6, 5)
    more = adsets.assign(behaviors='Engaged shoppers', interests=adsets.interests + ', Linen')
    more.loc[0, 'interests'] += ', Rare'
    told = interests(days, more, days.date.max(), BOTH).set_index('segment_name').verdict
    assert told['Rare'].startswith('not identified: fewer than 3')
    alone = [name for name in told.index if 'Linen' in name]
    assert told[alone[0]].startswith('not identified: every ad set')
    assert told.iloc[0] == 'identified', 'those that can be told come first'


def test_the_design_table():
    adsets = pd.DataFrame({'adset_id': ['a', 'b', 'b', 'c'], 'interests': ['Tea, Yoga', 'old', 'Tea', ''], 'behaviors': ['', '', '', None]})  # fmt: skip
    hot = specs(adsets).hot
    assert list(hot) == ['int_tea', 'int_yoga'] and hot.loc['b'].tolist() == [1, 0], 'the last snapshot'  # fmt: skip
    assert merged(specs(adsets)).hot.shape == (3, 2)
    long = pd.DataFrame({'adset_id': ['a', 'a'], 'kind': ['interest', 'behavior'], 'value': ['1', '2'], 'name': ['Tea', 'Shoppers']})  # fmt: skip
    assert list(specs(from_targeting(long)).hot) == ['beh_shoppers', 'int_tea']
    tied = pd.DataFrame(np.eye(4)[:, :3]).assign(sum=[1.0, 1, 0, 0])
    assert own_share(tied)[[0, 1, 'sum']].max() < 1e-4
    with pytest.raises(Problem, match='no ad set names an interest'):
        specs(adsets.assign(interests=''))


def test_many_columns_and_few_ad_sets_are_told_from_the_prior_only():
    rng = np.random.default_rng(1)
    hot = (rng.random((10, 30)) < 0.3).astype(float)
    found = log_rates(
        rng.poisson(20, 10).astype(float), np.full(10, 20.0), hot, (np.zeros((10, 0)), 1.0)
    )
    assert np.isfinite(found.mean).all() and found.learned.max() < 0.9


# --- settings and speed


def test_the_files_defaults_are_the_models(repo: Path):
    page = read_yaml(repo / 'config/default/targeting.yaml')
    for key, model in SECTIONS.items():
        assert model.model_validate(page[key]) == model(), key
        assert set(page[key]) == set(model.model_fields), f'{key}: every key is in the file'


def test_the_seeds_environment_names_work(tmp_root: Path):
    names = {'TARGETING_PRIOR_CTR': '0.02', 'TARGETING_PRIOR_ROAS': '3', 'TARGETING_SPAIN_MIN_PCT': '35.0', 'META_TARGETING_ENABLED': 'false'}  # fmt: skip
    page = read_layers(tmp_root, environ=names).values['targeting']
    scoring = SegmentSettings.model_validate(page['segments'])
    assert (scoring.seed.ctr, scoring.seed.cvr, scoring.seed.roas) == (0.02, 0.02, 3)
    assert GeoSettings.model_validate(page['geo']).spain_min_pct == 35
    assert page['enabled'] == 'false'


def test_weights_must_be_shares():
    with pytest.raises(ValueError, match=r'sum to 1\.1'):
        SegmentSettings(weights={'ctr': 0.25, 'cvr': 0.5, 'roas': 0.35})
