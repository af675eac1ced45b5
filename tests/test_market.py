"""What was planted in the simulated customer is found in what it shows, and nothing else is there."""

import io

import numpy as np
import pandas as pd
import pytest

from adsbench.data import demo as demos
from adsbench.data.delivery import Incident, incident_cells
from adsbench.data.inventory import COUNTRIES, TRAITS, Plan, inventory
from adsbench.data.market import edited, expected, learning, market, play, refresh, seen, wear
from adsbench.data.reconcile import OrderSettings, agreement, reconcile, reconcile_campaigns
from adsbench.data.settings import Problem
from adsbench.data.shop import DELAY, claim_factors, open_shop
from adsbench.data.simulate import PLAN, simulate
from adsbench.data.snapshots import reported
from adsbench.data.store import place, read_table
from adsbench.data.world import KINDS, World, draw, saturate, season

STILL = {'drift': 0, 'season': 0, 'season_cpm': 0, 'weekday': (1,) * 7, 'cpm_rise': 0, 'fatigue': 0}


@pytest.fixture(scope='module')
def history():
    "Ninety days of the default account"
    return simulate(World(), 90, seed=11)


@pytest.fixture(scope='module')
def customer():
    "The demo customer"
    return demos.demo(seed=0)


def labelled(simulation, name):
    frames = simulation.frames
    return frames[name].merge(frames['labels'], left_on='cell', right_index=True)


# the market ---------------------------------------------------------------------------------


def curve_of(state, factors, runs):
    "Purchases a run at factors of the first budget, drawn and averaged"
    sold = []
    for factor in factors:
        mean = expected(edited(state, state.budget), factor * state.budget).purchases
        sold.append(np.random.default_rng(int(100 * factor)).poisson(mean).sum(0) / runs)
    return np.array(sold)


@pytest.mark.parametrize('logs', [0, 1])
def test_half_saturation_is_recovered_from_drawn_purchases(logs):
    world = World(adsets=4, kinds=('Broad',), spread=0, log_share=logs, **STILL)
    runs = 3000
    state = market(world, 1, runs=1)
    state = state._replace(truth=type(state.truth)(*(np.repeat(x, runs, 0) for x in state.truth)))
    state = state._replace(
        **{
            name: np.repeat(getattr(state, name), runs, 0)
            for name in ('efficiency', 'spent', 'memory', 'stock', 'budget', 'calm', 'results')
        }
    )
    factors = np.array([0.25, 0.5, 1, 2, 4, 8])
    sold = curve_of(state, factors, runs)
    truth = state.truth
    grid = np.geomspace(0.1, 30, 400)
    for n in range(4):
        half, power = truth.half[0, n], truth.power[0, n]
        spend = factors * truth.budget[0, n]
        shapes = saturate(spend[:, None], grid * truth.budget[0, n], power, bool(logs))
        scale = (shapes * sold[:, n, None]).sum(0) / (shapes**2).sum(0)
        error = ((shapes * scale - sold[:, n, None]) ** 2).sum(0)
        found = grid[error.argmin()] * truth.budget[0, n]
        assert abs(np.log(found / half)) < 0.25, (found, half)


def test_marginal_purchases_fall_with_spend():
    state = market(World(adsets=12), 2, runs=20)
    spend = [expected(state, f * state.budget).purchases for f in (0.5, 1.0, 1.5, 2.0)]
    gains = np.diff(np.stack(spend), axis=0)
    assert (gains > 0).all() and (np.diff(gains, axis=0) < 1e-9).mean() > 0.95


def test_cpm_rises_with_frequency_by_the_planted_amount():
    world = World(kinds=('Broad',), **{**STILL, 'cpm_rise': 0.1})
    state = market(world, 3, runs=30)
    day = expected(state, state.budget)
    wanted = state.memory.sum(-1) + 1000 * day.spend / state.truth.cpm
    often = wanted / (-state.truth.pool * np.expm1(-wanted / state.truth.pool))
    paid = 1000 * day.spend / day.impressions / state.truth.cpm - 1
    slope = np.polyfit(often.ravel(), paid.ravel(), 1)[0]
    assert abs(slope - 0.1) < 1e-6


def test_weekday_and_year_come_back_from_sales():
    world = World(adsets=20, **{**STILL, 'weekday': World().weekday})
    state, rng, sold = market(world, 4, runs=60), np.random.default_rng(4), []
    for _ in range(28):
        state, day = play(state, state.budget, rng)
        sold.append(day.purchases.sum())
    dates = pd.date_range(world.start, periods=28)
    share = pd.Series(sold, dates).groupby(dates.dayofweek).mean()
    planted = np.array(world.weekday) / np.mean(world.weekday)
    assert np.abs(share / share.mean() - planted).max() < 0.02
    swing = season(World(season=0.3), 280)[0] / season(World(season=0.3), 98)[0]
    assert 1.6 < swing < 1.9  # six months apart: exp(2 * 0.3) = 1.82, weekdays aside


def test_efficiency_is_a_random_walk_of_the_planted_step():
    world = World(adsets=10, **{**STILL, 'drift': 0.03})
    state, rng = market(world, 5, runs=200), np.random.default_rng(5)
    for _ in range(25):
        state, _day = play(state, state.budget, rng)
    assert abs(state.efficiency.std() - 0.03 * 5) < 0.01 and abs(state.efficiency.mean()) < 0.01


def test_clicks_wear_out_with_the_money_spent_and_come_back_with_new_creatives():
    world = World(kinds=('Broad',), **{**STILL, 'fatigue': 0.5})
    state, rng, rates = market(world, 6, runs=40), np.random.default_rng(6), []
    for _ in range(30):
        state, day = play(state, state.budget, rng)
        rates.append(day.clicks.sum() / day.impressions.sum())
    kept = 0.4 + 0.6 * np.exp(-0.5)
    assert abs(np.mean(rates[-3:]) / np.mean(rates[:3]) - kept) < 0.04
    fresh = refresh(state, np.ones_like(state.budget, dtype=bool))
    assert (wear(fresh) == 1).all() and np.allclose(learning(fresh), 1 - world.learning_loss)


def test_a_large_edit_costs_what_was_planted_and_a_week_heals_it():
    world = World(learning_loss=0.3, large_edit=0.2, **STILL)
    state = market(world, 7)
    ratio = lambda s: (expected(s, state.budget).purchases / expected(state, state.budget).purchases).mean()  # fmt: skip
    assert ratio(edited(state, state.budget * 1.19)) == 1
    assert abs(ratio(edited(state, state.budget * 1.3)) - 0.7) < 1e-9
    healed = edited(state, state.budget * 1.3)._replace(calm=np.full_like(state.calm, 7))
    assert ratio(healed) == 1


def test_audience_types_differ_as_planted():
    world = World(adsets=60, spread=0, **STILL)
    state = market(world, 8, runs=50)
    day = expected(state, state.budget)
    kinds = np.array(world.kinds)[state.truth.kind[0]]
    rate = pd.Series((day.purchases.sum(0) / day.clicks.sum(0)), kinds).groupby(level=0).mean()
    for name, kind in KINDS.items():
        assert abs(rate[name] / rate['Interest'] - kind.cvr / KINDS['Interest'].cvr) < 0.01


def test_reports_restate_as_the_lag_says():
    state, rng, past = market(World(), 9, runs=30), np.random.default_rng(9), []
    for _ in range(20):
        state, day = play(state, state.budget, rng)
        past.append(day)
    truth = np.stack([d.purchases for d in past]).sum((1, 2))
    share = seen(past).purchases.sum((1, 2)) / truth
    assert np.abs(share[::-1][:8] - World().lag).max() < 0.02 and (share[:-8] == 1).all()
    assert (seen(past[:10]).purchases <= seen(past).purchases[:10]).all()
    with pytest.raises(Problem, match='at least one'):
        seen([])


def test_the_weather_does_not_depend_on_the_policy():
    states = []
    for factor in (0.3, 1.0, 2.0):
        state, rng = market(World(), 10, runs=4), np.random.default_rng(10)
        for _ in range(10):
            state, _day = play(state, factor * state.budget, rng)
        states.append(state.efficiency)
    assert (states[0] == states[1]).all() and (states[1] == states[2]).all()


def test_spend_stays_within_the_platform_and_counts_are_consistent():
    state = market(World(), 12, runs=200)
    _, day = play(state, state.budget, np.random.default_rng(0))
    assert (day.spend <= 1.25 * state.budget).all()
    assert (day.purchases <= day.clicks).all() and (day.clicks <= day.impressions).all()
    assert (day.reach <= day.impressions).all() and np.allclose(day.value.sum(-1), day.revenue)
    nothing = play(state, 0 * state.budget, np.random.default_rng(0))[1]
    assert nothing.spend.sum() == 0 and nothing.purchases.sum() == 0 == nothing.impressions.sum()


@pytest.mark.parametrize('bad', [-1.0, np.nan, np.inf])
def test_impossible_budgets_are_refused(bad):
    state = market(World(), 0)
    with pytest.raises(Problem, match='budgets'):
        play(state, np.where(np.arange(24) == 3, bad, 10.0), np.random.default_rng(0))


@pytest.mark.parametrize(
    'family',
    [
        {},
        {'saturation': 8.0},
        {'saturation': 0.5},
        {'fatigue': 0.01},
        {'budget': 8.0},
        {'drift': 0.0},
        {'carryover': 0.6},
    ],
)
def test_families_of_markets_can_be_played(family):
    state = market(World(**family), 0, runs=10)
    later, day = play(state, state.budget, np.random.default_rng(0))
    assert np.isfinite(day.revenue).all() and later.day == 1 and day.spend.sum() > 0


def test_an_account_of_equals_is_one():
    truth = draw(
        World(kinds=('Broad',), spread=0, saturation_spread=0, power=(1, 1), log_share=0), 0, runs=5
    )
    for name, values in truth._asdict().items():
        assert np.ptp(values.astype(float)) < 1e-9, name
    with pytest.raises(Problem, match='Friends'):
        draw(World(kinds=('Friends',)), 0)


# the history --------------------------------------------------------------------------------


def test_countries_and_placements_show_their_prices(history):
    cells = labelled(history, 'cells')
    sums = cells.groupby(['adset_id', 'country'])[['spend', 'impressions']].sum()
    price = (sums.spend / sums.impressions).unstack().dropna()
    planted = COUNTRIES['CH'].cpm / COUNTRIES['DE'].cpm
    assert len(price) > 3 and abs((price['CH'] / price['DE']).mean() / planted - 1) < 0.03
    place = cells.groupby('placement')[['spend', 'impressions']].sum()
    assert (place.spend / place.impressions).idxmin() == 'Audience Network'


def test_trait_effects_come_back_from_reported_clicks():
    world = World(adsets=60, fatigue=0, **{k: v for k, v in STILL.items() if k != 'fatigue'})
    run = simulate(world, 40, 13, (Plan(ads=4, creatives=60), ()))
    ads = reported(run, pd.Timestamp('2026-04-30')).groupby(['adset_id', 'ad_id'])[['link_clicks', 'impressions']].sum()  # fmt: skip
    ads = ads[ads.impressions > 3000].reset_index().merge(run.frames['ads'][['ad_id', 'creative_id']])  # fmt: skip
    has = run.truth['creative_effects'].set_index('creative_id')[list(TRAITS)].astype(float)
    log = np.log(ads.link_clicks / ads.impressions)
    within = log - log.groupby(ads.adset_id).transform('mean')
    design = has.loc[ads.creative_id].reset_index(drop=True)
    design = design - design.groupby(ads.adset_id).transform('mean')
    found = pd.Series(np.linalg.lstsq(design, within, rcond=None)[0], list(TRAITS))
    for name, trait in TRAITS.items():
        assert abs(found[name] - trait.ctr) < 0.09, (name, found[name])
    assert found['person'] > 0.08 and found['question'] < -0.04


@pytest.mark.parametrize(('rate', 'top', 'bottom'), [('cvr', 'sales', 'link_clicks'), ('ctr', 'link_clicks', 'impressions'), ('cpm', 'spend', 'impressions')])  # fmt: skip
def test_an_incident_is_found_where_it_was_planted_and_nowhere_else(rate, top, bottom):
    where = {'campaign_name': 'Sales | Broad | 01', 'country': 'DE'}
    hit = Incident('x', rate, where, start=45, factor=0.5)
    run = simulate(World(budget=200), 90, 14, (PLAN, (hit,)))
    cells = labelled(run, 'cells').assign(sales=0.0)
    sales = labelled(run, 'sales').groupby(['date', 'cell']).size().rename('sales')
    cells = cells.drop(columns='sales').join(sales, on=['date', 'cell']).fillna({'sales': 0})
    cells['late'] = cells.date >= pd.Timestamp(run.world.start) + pd.Timedelta(days=45)
    cells['hit'] = (cells.campaign_name == where['campaign_name']) & (cells.country == 'DE')
    sums = cells.groupby(['hit', 'late'])[[top, bottom]].sum()
    ratio = sums[top] / sums[bottom]
    inside, outside = ratio[True, True] / ratio[True, False], ratio[False, True] / ratio[False, False]  # fmt: skip
    assert abs(inside / outside - 0.5) < 0.12 and 0.7 < outside < 1.25


def test_order_values_can_fall_too():
    hit = Incident('x', 'aov', {'country': 'DE'}, start=30, factor=0.5)
    sales = labelled(simulate(World(), 60, 15, (PLAN, (hit,))), 'sales').query('value > 0')
    late = sales.date >= pd.Timestamp('2026-03-31')
    mean = sales.groupby([sales.country == 'DE', late]).value.mean()
    assert mean[True, True] / mean[True, False] < 0.65 and mean[False, True] / mean[False, False] > 0.7  # fmt: skip


def test_without_being_asked_nothing_is_planted(history):
    assert history.truth['script'].incidents == ()
    assert demos.demo(days=40, incidents=False).truth['incidents'] == ()


def test_an_incident_that_hits_nothing_is_refused():
    cells = simulate(World(adsets=2), 2, 0).truth['script'].cells
    for wrong in ({'country': 'US'}, {'planet': 'Mars'}):
        with pytest.raises(Problem, match='incident'):
            incident_cells(Incident('x', 'cvr', wrong, 0, 0.5), cells)
    with pytest.raises(Problem, match='rates are'):
        incident_cells(Incident('x', 'roas', {'country': 'DE'}, 0, 0.5), cells)


def test_snapshots_differ_only_in_what_was_not_yet_known(history):
    early, late = (pd.Timestamp('2026-05-10'), pd.Timestamp('2026-05-29'))
    before, after = reported(history, early), reported(history, late)
    both = before.merge(after, on=['date', 'ad_id'], suffixes=('', '_later'))
    assert len(both) == len(before) and (both.spend == both.spend_later).all()
    assert (both.impressions == both.impressions_later).all()
    assert (both.purchases.fillna(0) <= both.purchases_later.fillna(0)).all()
    young = both.date > early - pd.Timedelta(days=2)
    assert both[young].purchases.sum() < 0.9 * both[young].purchases_later.sum()
    old = both.date <= early - pd.Timedelta(days=8)
    assert (both[old].purchases.dropna() == both[old].purchases_later.dropna()).all()


def test_names_and_ids_are_distinct_and_edits_are_listed():
    shop = inventory(World(adsets=30), 3)
    assert shop.adsets.adset_id.is_unique and shop.ads.ad_id.is_unique
    assert not shop.adsets.duplicated(['campaign_name', 'adset_name']).any()
    run = simulate(World(adsets=6), 60, 3)
    path, changes = run.truth['script'].path, run.frames['changes']
    assert (changes.field == 'daily_budget').sum() == (np.diff(path, axis=0) != 0).sum()


# the shop -----------------------------------------------------------------------------------


def test_the_shop_disagrees_with_meta_as_planted(history):
    shop = open_shop(history, seed=1)
    truth = shop.truth['orders']
    claimed, caused = truth.claimed.mean(), truth.caused.mean()
    assert 0.4 < claimed < 0.65 and caused != claimed
    factors = claim_factors(history)
    sales = labelled(history, 'sales').query('value > 0')
    planned = (1 / sales.adset_id.map(factors).astype(float)).clip(upper=1).mean()
    assert abs(truth[truth.claimed].caused.mean() - planned) < 0.03


def test_reconciliation_finds_the_share_that_meta_claims(history):
    shop = open_shop(history, seed=1)
    end = pd.Timestamp('2026-05-29')
    days = reported(history, end, 'ad').assign(currency='EUR')
    orders = shop.orders.assign(date=shop.orders.local.dt.normalize().astype('datetime64[us]'), total=shop.orders.value, currency='EUR')  # fmt: skip
    settings = OrderSettings()
    whole = agreement(reconcile(days, orders, settings), settings)
    value = shop.orders.merge(shop.truth['orders'], on='order_id')
    share = value[value.claimed].value.sum() / value.value.sum()
    assert abs(whole['ratio'] / (share / 0.97) - 1) < 0.03  # 3 % of the claims have no order
    named = orders.assign(source=orders.source.replace('', None), campaign=orders.campaign.replace('', None))  # fmt: skip
    campaigns = reconcile_campaigns(days, named, settings).set_index('campaign_name')
    sold = campaigns[campaigns.orders > 100]
    assert sold.ratio.between(1.15, 1.8).all()  # seven of ten claims came through a link


def test_leads_have_quality_by_ad_and_take_time(history):
    shop = open_shop(history, seed=2)
    hidden = shop.truth['leads'].merge(shop.leads[['lead_id', 'ad_id']])
    rate = hidden.groupby('ad_id').agg(chance=('chance', 'mean'), won=('qualifies', 'mean'), n=('won' if 'won' in hidden else 'qualifies', 'size'))  # fmt: skip
    rate = rate[rate.n > 40]
    assert np.corrcoef(rate.chance, rate.won)[0, 1] > 0.6
    known = shop.outcomes.qualified.notna()
    assert known.sum() < hidden.qualifies.sum()
    told = shop.leads.merge(shop.outcomes[known], on='lead_id')
    assert ((told.qualified - told.local).dt.total_seconds() >= -1).all()
    assert abs(hidden.delay_days.median() - DELAY) < 0.5


# the demo -----------------------------------------------------------------------------------


def test_the_demo_is_the_same_every_time_and_tells_no_truth():
    one, two = demos.demo(seed=3, days=40), demos.demo(seed=3, days=40)
    assert one.files == two.files and one.files != demos.demo(seed=4, days=40).files
    secret = ('claim', 'caused', 'chance', 'delay', 'efficiency', 'trait_', 'lead_odds', 'truth')
    for name, text in one.files.items():
        head = text.split('\n', 1)[0].casefold()
        assert not [word for word in secret if word in head], name
        frame = pd.read_csv(io.StringIO(text), dtype=str)
        hidden = one.truth['ad_effects'].ctr.map(repr).tolist()
        assert not frame.isin(hidden).any().any(), name


def test_the_demo_looks_like_an_account(customer):
    name = '2026-06-29/ads_manager_countries.csv'
    page = pd.read_csv(io.StringIO(customer.files[name]))
    total, rows = page.iloc[0], page.iloc[1:]
    assert pd.isna(total['Campaign name']) and abs(total['Amount spent (EUR)'] - rows['Amount spent (EUR)'].sum()) < 1  # fmt: skip
    spend, shown = rows['Amount spent (EUR)'].sum(), rows.Impressions.sum()
    sold = rows[rows.Purchases.notna()]
    assert 700 < spend / 120 < 1500 and 6 < 1000 * spend / shown < 14
    assert 0.8 < 100 * rows['Link clicks'].sum() / shown < 2
    assert 1.5 < 100 * sold.Purchases.sum() / sold['Link clicks'].sum() < 4
    assert 50 < sold['Purchases conversion value'].sum() / sold.Purchases.sum() < 75
    assert 1.9 < sold['Purchases conversion value'].sum() / sold['Amount spent (EUR)'].sum() < 3.2
    assert rows['Campaign name'].nunique() == 6 and rows['Campaign ID'].nunique() == 6


def test_the_demo_has_three_snapshots_that_restate_each_other(customer):
    days = sorted({name.split('/')[0] for name in customer.files})
    assert days == ['2026-06-15', '2026-06-22', '2026-06-29']
    pages = [pd.read_csv(io.StringIO(customer.files[f'{d}/ads_manager_ads.csv'])).dropna(subset='Ad ID') for d in days]  # fmt: skip
    both = pages[0].merge(pages[1], on=['Day', 'Ad ID'])
    assert both.Day.nunique() > 28
    assert (both['Amount spent (EUR)_x'] == both['Amount spent (EUR)_y']).all()
    assert both.Purchases_x.sum() < both.Purchases_y.sum()


def test_the_planted_checkout_shows_in_the_last_export(customer):
    page = pd.read_csv(io.StringIO(customer.files['2026-06-29/ads_manager_countries.csv'])).dropna(subset='Campaign name')  # fmt: skip
    page = page[page['Campaign name'].str.startswith('Sales')]
    late = page.Day.between('2026-06-08', '2026-06-21')
    early = page.Day.between('2026-05-11', '2026-06-07')
    rate = lambda rows: rows.groupby(['Campaign name', 'Country'])[['Purchases', 'Link clicks']].sum().pipe(lambda t: t.Purchases / t['Link clicks'])  # fmt: skip
    change = (rate(page[late]) / rate(page[early])).xs('DE', level='Country')
    assert change.idxmin() == 'Sales | Advantage | 01' and change.min() < 0.65


def test_the_demo_goes_through_the_front_door(tmp_root):
    told = demos.write_demo(tmp_root, seed=1, days=45)
    assert told['customer'] == 'demo' and demos.write_demo(tmp_root, seed=1, days=45) == told
    home = place(tmp_root, 'demo')
    made = demos.demo(seed=1, days=45)
    newest = pd.read_csv(io.StringIO(made.files['2026-06-29/ads_manager_countries.csv']))
    days = read_table(home, 'days_ad')
    assert abs(days.spend.sum() - newest['Amount spent (EUR)'][0]) < 0.05
    assert days.purchases.sum() == newest.Purchases[0]  # the newest word on every day
    assert not days.duplicated(['date', 'ad_id']).any()
    orders = read_table(home, 'orders')
    assert orders.customer_key.notna().all() and orders.date.max() == demos.END
    text = ' '.join((home.tables / f'{name}.parquet').read_bytes().decode('latin1') for name in ('orders', 'leads'))  # fmt: skip
    assert 'example.com' not in text and 'Musterweg' not in text
    with pytest.raises(Problem, match='another demo'):
        demos.write_demo(tmp_root, seed=2, days=45)
