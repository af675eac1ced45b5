"""Every planted break is found and named, quiet accounts are left in peace, and bad input gives a message."""

import numpy as np
import pandas as pd
import pytest

from adsbench.data.demo import END, PLAN, demo_world
from adsbench.data.names import MissingColumns, Problem
from adsbench.data.simulate import simulate
from adsbench.data.snapshots import reported
from adsbench.data.store import newest
from adsbench.diagnose.breaks import CHECKS, Evidence, breaks, drifted, exports
from adsbench.diagnose.calendar import apart, copied, doubled, missing
from adsbench.diagnose.illusion import illusion
from adsbench.diagnose.terms import changed, restated
from adsbench.diagnose.tracking import FINDING, NO_CURVE, BreakSettings, stopped
from adsbench.features.maturity import MaturitySettings, reporting_curve
from adsbench.stats.spikes import SpikeSettings

SETTINGS = BreakSettings()
EVENINGS = [END - pd.Timedelta(days=back) for back in (14, 7, 0)]
WINDOW = pd.Timedelta(days=7)


def play(seed: int) -> Evidence:
    "A simulated account without incidents, seen through three exports"
    history = simulate(demo_world(56), 56, seed, (PLAN, ()))
    pages = [
        reported(history, e, 'adset').assign(
            snapshot_at=(e + pd.Timedelta(days=1)).tz_localize('UTC')
        )
        for e in EVENINGS
    ]
    parts = pd.concat(pages, ignore_index=True).assign(account_id='1', currency='EUR')
    days = newest(parts, ['date', 'adset_id'])
    tables = {
        'days_adset': days,
        'days_campaign': reported(history, END, 'campaign').assign(account_id='1'),
    }
    last = END - WINDOW
    current = days[(days.date > last - WINDOW) & (days.date <= last)]
    baseline = days[(days.date > last - 3 * WINDOW) & (days.date <= last - WINDOW)]
    return Evidence(
        days, parts, tables, (baseline, current), reporting_curve(parts, MaturitySettings()), END
    )


@pytest.fixture(scope='module')
def whole() -> Evidence:
    "One quiet account with everything there is"
    return play(100)


def lost(days: pd.DataFrame, rows: pd.Series, value: float = 0.0) -> pd.DataFrame:
    "Days without conversions in some rows"
    names = ('purchases', 'revenue', 'leads')
    return days.assign(**{m: days[m].mask(rows & days[m].notna(), value) for m in names})


@pytest.mark.parametrize('seed', [101, 102])
def test_quiet_accounts_stay_silent(seed):
    evidence = play(seed)
    for curve in (evidence.curve, NO_CURVE):
        told = breaks(evidence._replace(curve=curve))
        assert told.found.empty, told.found.to_string()
        assert set(told.skipped.check) == (set() if len(curve) else {'reporting lag'})


@pytest.mark.parametrize('value', [0.0, np.nan])
def test_a_lost_pixel_is_one_finding_of_the_account(whole, value):
    late = whole.days.date > END - pd.Timedelta(days=3)
    found = stopped(lost(whole.days, late, value), END, SETTINGS, whole.curve)
    purchases = found[found.measure == 'purchases']
    assert purchases.entity.tolist() == ['account'] and purchases.p.iloc[0] < SETTINGS.stop_p
    assert (purchases.since.iloc[0], purchases.until.iloc[0]) == (END - pd.Timedelta(days=2), END)
    assert purchases.detail.str.contains('blank').all() == np.isnan(value)


def test_a_lost_campaign_is_named_and_its_adsets_are_not(whole):
    selling = whole.days.loc[whole.days.purchases.notna(), 'campaign_id'].iloc[0]
    rows = (whole.days.date > END - pd.Timedelta(days=7)) & (whole.days.campaign_id == selling)
    found = stopped(lost(whole.days, rows), END, SETTINGS, whole.curve)
    assert found.entity.tolist() == [f'campaign {selling}']


def test_a_stop_that_is_over_is_still_found_and_an_old_one_is_not(whole):
    rows = whole.days.date.between('2026-06-10', '2026-06-12')
    found = stopped(lost(whole.days, rows), END, SETTINGS, whole.curve)
    assert {'account'} == set(found.entity) and found.until.max() == pd.Timestamp('2026-06-12')
    short = SETTINGS.model_copy(update={'look_back_days': 7})
    assert stopped(lost(whole.days, rows), END, short, whole.curve).empty


def test_no_delivery_is_no_stop(whole):
    late = whole.days.date > END - pd.Timedelta(days=4)
    idle = lost(whole.days, late)
    idle = idle.assign(clicks=idle.clicks.mask(late, idle.clicks * 0.1))
    assert stopped(idle, END, SETTINGS).empty
    assert stopped(idle[~late], END, SETTINGS).empty


@pytest.mark.parametrize('rate', [5.0, 50.0, 500.0])
def test_a_shop_that_rests_on_sundays_is_no_stop(rate):
    date = pd.date_range('2026-05-01', END)
    rng = np.random.default_rng(3)
    purchases = np.where(date.dayofweek == 6, 0, rng.poisson(rate, len(date))).astype(float)
    days = pd.DataFrame({'date': date, 'clicks': 1000.0, 'purchases': purchases})
    assert stopped(days, END, SETTINGS).empty


def test_sparse_accounts_are_never_accused():
    for seed in range(8):
        rng = np.random.default_rng(seed)
        date = np.repeat(pd.date_range('2026-04-20', END), 10)
        days = pd.DataFrame(
            {'date': date, 'adset_id': [f'a{i}' for i in range(10)] * (len(date) // 10)}
        )
        days = days.assign(clicks=rng.poisson(40, len(days)).astype(float))
        days = days.assign(purchases=rng.poisson(0.1 * rng.gamma(1, 1, len(days))).astype(float))
        assert stopped(days, END, SETTINGS).empty


def test_a_changed_setting_is_found_once_and_named(whole):
    one = whole.days.campaign_id == whole.days.campaign_id.iloc[0]
    later = whole.days.date >= '2026-06-15'
    for column, new in (('attribution', '1-day click'), ('currency', 'USD')):
        days = whole.days.assign(**{column: whole.days[column].mask(later, new)})
        found = changed(days, END, SETTINGS)
        assert found['check'].tolist() == [f'{column}_changed'] and found.since[0] == pd.Timestamp(
            '2026-06-15'
        )
        partial = whole.days.assign(**{column: whole.days[column].mask(later & one, new)})
        assert changed(partial, END, SETTINGS).entity.str.startswith('campaign').all()
        beside = whole.days.assign(**{column: whole.days[column].mask(one, new)})
        assert changed(beside, END, SETTINGS)['check'].tolist() == [f'{column}_mixed']
        blank = whole.days.assign(**{column: whole.days[column].mask(later)})
        assert changed(blank, END, SETTINGS).empty


def test_another_currency_or_zone_in_the_newer_export(whole):
    new = whole.parts.snapshot_at == whole.parts.snapshot_at.max()
    dollars = whole.parts.assign(
        spend=whole.parts.spend.mask(new, (whole.parts.spend * 1.09).round(2))
    )
    assert restated(dollars, SETTINGS)['check'].tolist() == ['currency_changed']
    page = whole.parts[new].sort_values(['adset_id', 'date'])
    part = page.adset_id.map(lambda _: 0.25) + 0.1 * np.sin(page.date.dt.day.to_numpy())
    shifted = {
        m: page[m] * (1 - part)
        + (page[m] * part).groupby(page.adset_id).shift().fillna(page[m] * part)
        for m in ('spend', 'impressions')
    }
    moved = pd.concat([whole.parts[~new], page.assign(**shifted)])
    assert set(restated(moved, SETTINGS)['check']) <= {'timezone_changed', 'days_restated'}
    assert len(restated(moved, SETTINGS))
    assert restated(whole.parts, SETTINGS).empty


def test_days_twice_copied_and_missing(whole):
    day = pd.Timestamp('2026-06-10')
    that, before = whole.days[whole.days.date == day], whole.days[whole.days.date < day]
    assert doubled(pd.concat([whole.days, that])).rows.tolist() == [len(that)]
    differing = pd.concat([whole.days, that.assign(spend=1.0)])
    assert 'differ' in doubled(differing).advice[0]
    repeated = pd.concat(
        [
            whole.days[whole.days.date != day + pd.Timedelta(days=1)],
            that.assign(date=day + pd.Timedelta(days=1)),
        ]
    )
    assert copied(repeated, SETTINGS).since.tolist() == [day + pd.Timedelta(days=1)]
    holes = missing(whole.days[whole.days.date != day], END, SETTINGS)
    assert holes.since.tolist() == [day] and len(before)
    assert missing(whole.days[whole.days.date < END], END, SETTINGS).until.tolist() == [END]


def test_totals_apart(whole):
    some = whole.days.adset_id == whole.days.adset_id.iloc[0]
    short = whole.days[~(some & (whole.days.date > END - WINDOW))]
    found = apart({**whole.tables, 'days_adset': short}, END, SETTINGS)
    assert found.entity.tolist() == ['days_adset'] and found.after[0] < found.before[0]
    nearly = whole.days.assign(spend=whole.days.spend * 0.999)
    assert apart({**whole.tables, 'days_adset': nearly}, END, SETTINGS).empty


def test_a_lag_is_an_illusion_and_a_fall_is_not(whole):
    ages = np.minimum((END - whole.days.date).dt.days, 8)
    share = pd.Series([0.3, 0.5, 0.62, 0.72, 0.8, 0.87, 0.93, 0.97, 1.0])
    steps = pd.DataFrame(
        {
            'measure': 'purchases',
            'age': range(9),
            'reported': [0.3, *share[:8]],
            'error': 0.0,
            'dispersion': 1.0,
            'pairs': 9,
        }
    )
    curve = pd.concat(
        [steps, steps.assign(measure='revenue'), steps.assign(measure='spend', reported=1.0)]
    )
    settled = whole.days.assign(purchases=20.0, revenue=900.0, spend=100.0, leads=np.nan)
    late = settled.assign(**{m: settled[m] * ages.map(share) for m in ('purchases', 'revenue')})
    for days, wanted in (
        (late, {'purchases', 'revenue', 'roas'}),
        (settled.assign(purchases=20.0 * (ages > 6)), set()),
    ):
        current = days[days.date > END - WINDOW]
        baseline = days[(days.date <= END - WINDOW) & (days.date > END - 3 * WINDOW)]
        assert set(illusion(baseline, current, curve, SETTINGS).measure) == wanted
    with pytest.raises(Problem, match='second export'):
        illusion(late, late, NO_CURVE, SETTINGS)
    with pytest.raises(Problem, match='no rows'):
        illusion(late[:0], late, curve, SETTINGS)


def test_schema_drift():
    old = pd.DataFrame(
        {
            'date': pd.date_range('2026-06-01', periods=2),
            'spend': [1.0, 2.0],
            'clicks': [1, 2],
            'name': ['a', 'b'],
        }
    )
    new = old.drop(columns='clicks').assign(spend=['1.000,5', 'x'], reach=[3, 4])
    found = drifted(old, new).set_index('measure')['check'].to_dict()
    assert found == {'clicks': 'column_gone', 'reach': 'column_new', 'spend': 'column_type'}
    assert drifted(old, old.astype(str).assign(date=old.date)).empty
    assert drifted(old, old[:0])['check'].eq('column_gone').all()
    with pytest.raises(Problem, match='one export'):
        exports(old.assign(snapshot_at=pd.Timestamp('2026-06-03')))


@pytest.mark.parametrize(
    'spoil',
    [
        lambda d: d[:0],
        lambda d: d.drop(columns='date'),
        lambda d: d[['date']],
        lambda d: d.drop(columns=['clicks', 'spend', 'impressions']),
        lambda d: d.drop(columns=['purchases', 'leads']),
        lambda d: d.assign(clicks=np.nan, spend=np.nan, impressions=np.nan),
        lambda d: d.assign(spend=np.inf, purchases=np.inf),
        lambda d: d.assign(purchases=0.0, leads=0.0, revenue=0.0, clicks=0.0),
        lambda d: d[d.adset_id == d.adset_id.iloc[0]][:1],
        lambda d: d.assign(date=pd.NaT),
        lambda d: d.assign(campaign_id=None, adset_id=None),
        lambda d: d.rename(columns={'adset_id': 'x', 'campaign_id': 'y'}),
    ],
)
def test_bad_input_gives_messages(whole, spoil):
    days = spoil(whole.days)
    told = breaks(Evidence(days, days, {'days_adset': days}, (days, days), whole.curve, END))
    assert list(told.found.columns) == list(FINDING)
    assert set(told.skipped.check) <= set(CHECKS) and told.skipped.why.str.len().gt(10).all()


def test_messages_name_what_is_missing(whole):
    with pytest.raises(MissingColumns, match='clicks'):
        stopped(whole.days.drop(columns='clicks'), END, SETTINGS)
    with pytest.raises(Problem, match='purchases or leads'):
        stopped(whole.days.drop(columns=['purchases', 'leads']), END, SETTINGS)
    with pytest.raises(Problem, match='one export'):
        restated(whole.days.assign(snapshot_at=END.tz_localize('UTC')), SETTINGS)


def test_nothing_is_changed_in_place(whole):
    before = whole.days.copy(), whole.parts.copy()
    breaks(whole)
    pd.testing.assert_frame_equal(whole.days, before[0])
    pd.testing.assert_frame_equal(whole.parts, before[1])


def test_a_day_is_unusual_by_the_customers_own_settings(whole):
    days = whole.days.assign(
        spend=whole.days.spend.mask(whole.days.date == END, 4.0 * whole.days.spend)
    )
    spoken = lambda spikes: (
        'day_unusual' in set(breaks(whole._replace(days=days, spikes=spikes)).found['check'])
    )
    house = SpikeSettings()
    assert spoken(house) and not spoken(house.model_copy(update={'threshold': 1e6}))
