"""Grains: each day from one table, money never added to itself, reach never summed."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from adsbench.data.grains import (
    Grain,
    answers,
    compare_grains,
    completeness,
    days,
    grain_of,
    last_complete_day,
    stored,
    summed,
)
from adsbench.data.names import MissingColumns, Problem
from adsbench.data.schemas import LEVELS
from adsbench.data.store import place, write_table

SUMS = ['spend', 'impressions', 'purchases']


def account(seed: int, length: int = 5) -> pd.DataFrame:
    "Ads by day, country and age, with amounts in whole cents and some cells missing"
    rng = np.random.default_rng(seed)
    cells = [
        (day, campaign, f'{campaign}{adset}', f'{campaign}{adset}{ad}', country, age)
        for day in pd.date_range('2026-06-01', periods=length)
        for campaign in 'xy'
        for adset in 'ab'
        for ad in 'mn'
        for country in ('DE', 'NO')
        for age in ('18-24', '25-34')
        if rng.random() < 0.8
    ]
    ids = ['date', 'campaign_id', 'adset_id', 'ad_id', 'country', 'age']
    rows = pd.DataFrame(cells, columns=ids).assign(account_id='account')
    rows['spend'] = rng.integers(0, 5000, len(rows)) / 100
    rows['impressions'] = rng.integers(1, 900, len(rows)).astype(float)
    rows['purchases'] = np.where(rng.random(len(rows)) < 0.1, np.nan, rng.poisson(1, len(rows)))
    return rows


def stored_as(rows: pd.DataFrame, name: str) -> pd.DataFrame:
    "What an export at the grain of a table's name holds; the platform counts reach itself"
    grain = grain_of(name)
    found = summed(rows, grain.level, grain.by)
    return found.assign(reach=np.arange(len(found)) + 1.0)


NAMES = [
    'days_account',
    'days_campaign',
    'days_adset',
    'days_ad',
    'days_ad_by_country',
    'days_ad_by_country_and_age',
    'days_campaign_by_age',
    'days_account_by_country',
]
many = st.lists(st.sampled_from(NAMES), unique=True, max_size=len(NAMES))


def same(left: pd.DataFrame, right: pd.DataFrame) -> bool:
    "Whether the measures of two frames with the same rows agree to a hundredth of a cent"
    both = [np.allclose(left[name], right[name], atol=1e-6, equal_nan=True) for name in SUMS]
    return len(left) == len(right) and all(both)


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 20), many, st.randoms(use_true_random=False))
def test_more_tables_in_any_order_change_no_sum(seed, names, random):
    rows = account(seed)
    random.shuffle(names)
    tables = {name: stored_as(rows, name) for name in [*names, 'days_ad']}
    for level in LEVELS:
        alone = days({'days_ad': tables['days_ad']}, level)
        assert same(days(tables, level), alone), level
        assert not alone.duplicated(['date', LEVELS[level]]).any()
    assert np.isclose(days(tables, 'account').spend.sum(), rows.spend.sum())


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 20), many, st.data())
def test_exports_of_parts_of_the_account_never_raise_or_lower_the_total(seed, names, data):
    "Some exports lack a campaign, some lack days; one has everything"
    rows = account(seed)
    tables = {}
    for name in names:
        first = data.draw(st.integers(1, 5))
        seen = rows[rows.date.dt.day >= first]
        seen = seen[seen.campaign_id == 'x'] if data.draw(st.booleans()) else seen
        if len(seen):
            tables[name] = stored_as(seen, name)
    tables['days_ad_by_age'] = stored_as(rows, 'days_ad_by_age')
    by_day = days(tables, 'account').set_index('date').spend
    truth = rows.groupby('date').spend.sum()
    assert (abs(by_day - truth) <= 0.0051 * truth).all()
    assert days(tables, 'campaign', ('age',)).spend.sum() == pytest.approx(
        rows.spend.sum(), rel=0.0051
    )


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 20), many)
def test_reach_is_the_platforms_own_or_missing(seed, names):
    rows = account(seed)
    tables = {name: stored_as(rows, name) for name in [*names, 'days_ad']}
    for level in LEVELS:
        found = days(tables, level)
        own = tables.get(f'days_{level}')
        if own is None:
            assert 'reach' not in found or found.reach.isna().all()
        else:
            assert sorted(found.reach) == sorted(own.reach)


def test_a_grain_that_no_table_can_answer_says_what_to_export():
    tables = {'days_campaign': stored_as(account(1), 'days_campaign')}
    with pytest.raises(MissingColumns, match=r'days_campaign.*broken down by Day'):
        days(tables, 'ad')
    with pytest.raises(MissingColumns, match='Day, country'):
        days(tables, 'campaign', ('country',))
    with pytest.raises(Problem):
        days({}, 'ad')
    for grain, by in (('adgroup', ()), ('ad', ('weather',))):
        with pytest.raises(Problem, match='unknown'):
            days(tables, grain, by)


def test_the_exact_grain_answers_when_complete_else_the_finest_complete():
    rows = account(3)
    short = rows[rows.date < '2026-06-04']
    tables = {
        'days_campaign': stored_as(short, 'days_campaign'),
        'days_ad': stored_as(rows, 'days_ad'),
        'days_adset': stored_as(rows, 'days_adset'),
    }
    told = answers(tables, 'campaign')
    assert told.table.tolist() == ['days_campaign'] * 3 + ['days_ad'] * 2
    assert told.exact.tolist() == [True] * 3 + [False] * 2 and told.complete.all()


def test_the_later_export_answers_because_it_saw_the_late_purchases():
    rows = account(4)
    early = rows.assign(purchases=rows.purchases * (rows.date < '2026-06-05'))
    tables = {'days_adset': stored_as(early, 'days_adset'), 'days_ad': stored_as(rows, 'days_ad')}
    assert answers(tables, 'adset').table.tolist() == ['days_adset'] * 4 + ['days_ad']
    assert days(tables, 'adset').purchases.sum() == rows.purchases.sum()


def test_whole_spend_beats_more_measures():
    rows = account(5)
    wide = rows[rows.campaign_id == 'x'].assign(clicks=1.0, link_clicks=1.0, revenue=2.0)
    tables = {'days_ad': stored_as(wide, 'days_ad'), 'days_adset': stored_as(rows, 'days_adset')}
    assert set(answers(tables, 'account').table) == {'days_adset'}
    assert not answers(tables, 'account').complete.any()
    assert np.isclose(days(tables, 'account').spend.sum(), rows.spend.sum())


def test_a_partial_day_is_better_than_none_and_says_so():
    rows = account(6)
    tables = {
        'days_account': stored_as(rows, 'days_account'),
        'days_ad_by_country': stored_as(rows[rows.campaign_id == 'x'], 'days_ad_by_country'),
    }
    found = days(tables, 'campaign', ('country',))
    assert set(found.campaign_id) == {'x'} and not answers(tables, 'campaign').complete.any()
    compared = compare_grains(tables)
    assert (compared[compared.table == 'days_ad_by_country'].difference < 0).all()
    assert (compared[compared.table == 'days_account'].difference == 0).all()


def test_missing_is_missing_only_when_all_is():
    rows = account(7, 1).assign(
        purchases=np.nan, revenue=[5.0, *[np.nan] * (len(account(7, 1)) - 1)]
    )
    found = days({'days_ad_by_country_and_age': rows}, 'account')
    assert found.purchases.isna().all() and found.revenue.tolist() == [5.0]


def test_a_day_without_any_known_measure_is_still_a_day():
    rows = account(7, 2)[['date', 'ad_id', 'spend']]
    rows = rows.assign(conversions=2.0, spend=rows.spend.where(rows.date < '2026-06-02'))
    found = days({'days_ad': rows}, 'account')
    assert len(found) == 2 and found.conversions.sum() == 2 * len(rows)
    assert found.spend.isna().tolist() == [False, True]
    assert len(days({'days_ad': rows[['date', 'ad_id', 'conversions']]}, 'account')) == 2


def test_what_does_not_add_is_not_added():
    rows = pd.DataFrame(
        {
            'date': pd.to_datetime(['2026-06-01'] * 3),
            'campaign_id': ['x', 'x', 'y'],
            'campaign_name': ['X', 'X', 'Y'],
            'adset_id': ['x', 'x', 'y'],
            'ad_id': list('abc'),
            'spend': [1.0, 2, 3],
            'results': [1.0, 2, 3],
            'result_type': ['lead', 'purchase', 'lead'],
            'attribution': ['7d', '7d', '7d'],
            'recovered': ['', 'spend,clicks', 'spend'],
            'frequency': [1.1, 1.2, 1.3],
            'snapshot_at': pd.to_datetime(['2026-06-03', '2026-06-02', '2026-06-04'], utc=True),
        }
    )
    found = days({'days_ad': rows}, 'campaign').set_index('campaign_id')
    assert found.results.isna().tolist() == [True, False] and found.result_type['x'] == 'mixed'
    assert found.campaign_name.to_dict() == {'x': 'X', 'y': 'Y'} and 'frequency' not in found
    assert found.recovered['x'] == 'clicks,spend' and found.attribution.tolist() == ['7d', '7d']
    assert found.snapshot_at['x'] == pd.Timestamp('2026-06-02', tz='UTC')
    for level in LEVELS:
        with pytest.raises(Problem, match='EUR, USD'):
            days({'days_ad': rows.assign(currency=['EUR', 'EUR', 'USD'])}, level)


def test_as_of_cuts_the_future_and_arguments_are_left_alone():
    rows = account(8)
    before = rows.copy(deep=True)
    tables = {'days_ad_by_country_and_age': rows}
    cut = days(tables, 'ad', as_of='2026-06-03')
    assert cut.date.max() == pd.Timestamp('2026-06-03')
    poisoned = rows.assign(spend=rows.spend.where(rows.date <= '2026-06-03', 1e9))
    pd.testing.assert_frame_equal(
        days({'days_ad_by_country_and_age': poisoned}, 'ad', as_of='2026-06-03'), cut
    )
    pd.testing.assert_frame_equal(rows, before)


def test_days_from_the_store_leave_other_tables_alone(tmp_root):
    at = place(tmp_root, 'acme')
    rows = account(9)
    for name in ('days_ad', 'days_campaign'):
        write_table(at, name, stored_as(rows, name))
    write_table(at, 'period_ad', pd.DataFrame({'ad_id': ['a'], 'spend': [99.0]}))
    write_table(at, 'orders', pd.DataFrame({'order_id': ['1']}))
    assert set(stored(at)) == {'days_ad', 'days_campaign'}
    pd.testing.assert_frame_equal(days(at, 'campaign'), days(stored(at), 'campaign'))
    assert set(completeness(stored(at)).table) == {'days_ad', 'days_campaign'}


def test_only_periods_are_no_days(tmp_root):
    at = place(tmp_root, 'acme')
    write_table(at, 'period_ad', pd.DataFrame({'ad_id': ['a'], 'spend': [99.0]}))
    with pytest.raises(Problem, match='Day'):
        days(at, 'ad')
    empty = stored_as(account(1), 'days_ad').iloc[:0]
    with pytest.raises(Problem, match='Day'):
        days({'days_ad': empty}, 'ad')


def test_a_table_name_says_its_grain():
    assert grain_of('days_ad_by_creative_type_and_age') == Grain('ad', ('creative_type', 'age'))
    assert [grain_of(name) for name in ('days', 'period_ad', 'orders', 'days_week')] == [None] * 4


@pytest.mark.parametrize(
    ('moment', 'zone', 'last'),
    [
        ('2026-06-05T03:59:00Z', 'America/New_York', 3),
        ('2026-06-05T04:01:00Z', 'America/New_York', 4),
        ('2026-06-06T04:01:00Z', 'America/New_York', 5),
        ('2026-06-05T22:01:00Z', 'Europe/Berlin', 5),
        ('2026-06-05T21:59:00Z', 'Europe/Berlin', 4),
        ('2026-06-01T00:00:00Z', 'UTC', 5),
    ],
)
def test_a_day_is_over_at_midnight_in_the_accounts_zone(moment, zone, last):
    rows = account(10).assign(snapshot_at=pd.Timestamp(moment))
    assert last_complete_day(rows, zone) == pd.Timestamp(f'2026-06-{last:02}')
    assert last_complete_day(rows.drop(columns='snapshot_at'), zone).day == 5
    with pytest.raises(Problem):
        last_complete_day(rows.iloc[:0], zone)


def test_midnight_that_does_not_exist_is_no_error():
    rows = account(11, 1).assign(
        date=pd.Timestamp('2018-11-03'), snapshot_at=pd.Timestamp('2018-11-05', tz='UTC')
    )
    assert last_complete_day(rows, 'America/Sao_Paulo') == pd.Timestamp('2018-11-03')
