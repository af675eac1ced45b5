"""Shrunken rates: closed forms, what must hold whatever the numbers, and intervals that keep their word."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats
from scipy.special import betaln

from adsbench.data.settings import Problem
from adsbench.stats.confidence import (
    ANSWERS,
    ShrinkSettings,
    counts,
    rate_table,
    rates,
    seed_confidence,
    smooth,
)
from adsbench.stats.levels import PER_SPEND, earlier, level_prior, levels, others
from adsbench.stats.returns import (
    OrderValue,
    Returns,
    fit_rate,
    fit_returns,
    fit_value,
    order_value,
    per_spend,
    per_spend_above,
    product,
    roas_above,
    shrunk_roas,
)
from adsbench.stats.shrink import (
    Prior,
    above,
    beta_binomial,
    dispersion,
    evidence,
    fit_prior,
    shrink,
)

SEED = ShrinkSettings(method='seed')
FITTED = ShrinkSettings()
RATE = st.floats(0.005, 0.9)
STRENGTH = st.floats(20, 1e5)  # smaller ones have quantiles below what a float can hold
COUNT = st.integers(0, 10**6)


def shares(seed, rows, mean=0.02, spread=0.4, size=300):
    "Trials, successes and true rates of a simulated account"
    rng = np.random.default_rng(seed)
    wins = 1 / spread**2 if spread else 0
    truth = rng.beta(wins, wins * (1 / mean - 1), rows) if spread else np.full(rows, mean)
    tried = np.maximum(rng.lognormal(np.log(size), 1.3, rows).round(), 1)
    return pd.DataFrame({'n': tried, 'k': rng.binomial(tried.astype(int), truth), 'truth': truth})


def sales(seed, rows, rate=0.4, value=0.2, order=0.5):
    "Spend, purchases, revenue and the true roas of a simulated account"
    rng = np.random.default_rng(seed)
    buying = 0.02 * rng.gamma(1 / rate**2, rate**2, rows)
    worth = 60 * np.exp(value * rng.normal(size=rows))
    spend = rng.lognormal(np.log(800), 1, rows)
    bought = rng.poisson(buying * spend)
    baskets = np.exp(order * rng.normal(size=bought.sum()) - order**2 / 2)
    revenue = worth * np.bincount(np.repeat(np.arange(rows), bought), baskets, rows)
    return pd.DataFrame(
        {
            'spend': spend,
            'purchases': bought.astype(float),
            'revenue': revenue,
            'truth': buying * worth,
        }
    )


# what counts


def test_impossible_evidence_is_missing_and_never_zero():
    won, tried = evidence([1, -1, np.inf, 1, 1], [-1, 10, 10, np.nan, np.inf])
    assert np.isnan(won).all() and np.isnan(tried).all()


def test_more_successes_than_trials_are_a_rate_of_one_and_do_not_break():
    told = shrink(pd.Series([3.0]), pd.Series([2.0]), Prior(0.1, 10))
    assert np.isclose(told['mean'][0], 3 / 12)
    assert fit_prior([5, 3, 2], [4, 3, 2]).mean < 1


def test_arguments_are_not_changed():
    frame = shares(0, 20)
    before = frame.copy()
    shrink(frame.k, frame.n, fit_prior(frame.k, frame.n))
    pd.testing.assert_frame_equal(frame, before)


# closed forms


def test_likelihood_is_the_beta_binomial_of_scipy():
    k, n, m, s = np.array([0, 3, 40]), np.array([7, 30, 900]), 0.07, 60
    theirs = stats.betabinom.logpmf(k, n, m * s, (1 - m) * s)
    coefficient = -np.log(n + 1) - betaln(n - k + 1, k + 1)
    assert np.allclose(beta_binomial(k, n, m, s) + coefficient, theirs)


@given(won=COUNT, lost=COUNT, mean=RATE, strength=STRENGTH)
def test_share_is_the_beta_posterior(won, lost, mean, strength):
    k, n = pd.Series([float(won)]), pd.Series([float(won + lost)])
    told = shrink(k, n, Prior(mean, strength)).iloc[0]
    exact = stats.beta(won + mean * strength, lost + (1 - mean) * strength)
    assert np.isclose(told['mean'], exact.mean()) and np.isclose(told.effective, n[0] + strength)
    assert np.allclose(exact.cdf([told.low, told.high]), [0.1, 0.9], atol=1e-6)
    assert np.isclose(above(k, n, Prior(mean, strength), mean)[0], exact.sf(mean), atol=1e-9)


@given(won=COUNT, spend=st.floats(0.01, 1e6), mean=RATE, strength=STRENGTH)
def test_purchase_rate_is_the_gamma_posterior(won, spend, mean, strength):
    told = per_spend(pd.Series([float(won)]), pd.Series([spend]), Prior(mean, strength)).iloc[0]
    exact = stats.gamma(won + mean * strength, scale=1 / (spend + strength))
    assert np.isclose(told['mean'], exact.mean())
    assert np.allclose(exact.cdf([told.low, told.high]), [0.1, 0.9], atol=1e-6)
    chance = per_spend_above([won], [spend], Prior(mean, strength), mean)[0]
    assert np.isclose(chance, exact.sf(mean), atol=1e-9)


def test_roas_is_a_beta_prime():
    frame = pd.DataFrame({'spend': [100.0], 'purchases': [4.0], 'revenue': [300.0]})
    returns = Returns(Prior(0.02, 250), OrderValue(60, 8, 3))
    scale, up, down = (part[0] for part in product(frame, returns))
    exact = stats.betaprime(up, down, scale=scale)
    told = shrunk_roas(frame, returns).iloc[0]
    assert np.allclose(told[['mean', 'low', 'high']], [exact.mean(), *exact.ppf([0.1, 0.9])])
    assert np.isclose(roas_above(frame, returns, 2)[0], exact.sf(2))


def test_order_value_is_the_weighted_mean():
    told = order_value(pd.Series([400.0, 0]), pd.Series([1.0, 0]), OrderValue(60, 9, 4))
    assert np.allclose(told['mean'], [(400 + 540) / 10, 60])
    assert np.allclose(told.effective, [10, 9])


# what must hold


@given(won=st.integers(0, 500), lost=st.integers(1, 5000), mean=RATE, strength=STRENGTH)
def test_mean_lies_between_and_more_evidence_comes_nearer_the_raw_rate(won, lost, mean, strength):
    n = won + lost
    raw = won / n
    told = [
        shrink(pd.Series([won * m]), pd.Series([n * m]), Prior(mean, strength))['mean'][0]
        for m in (1, 3, 30)
    ]
    assert min(raw, mean) - 1e-12 <= told[0] <= max(raw, mean) + 1e-12
    away = np.abs(np.array(told) - raw)
    assert away[0] >= away[1] - 1e-12 and away[1] >= away[2] - 1e-12


def test_interval_narrows_with_evidence_and_widens_with_width():
    k, n, prior = pd.Series([2.0, 20, 200]), pd.Series([100.0, 1000, 10000]), Prior(0.02, 100)
    width = lambda told: (told.high - told.low).to_numpy()
    assert (np.diff(width(shrink(k, n, prior))) < 0).all()
    assert (width(shrink(k, n, prior, 0.95)) > width(shrink(k, n, prior))).all()
    for wrong in (0, 1, 80, -0.1):
        with pytest.raises(Problem, match='width'):
            shrink(k, n, prior, wrong)
        with pytest.raises(Problem, match='width'):
            per_spend(k, n, prior, wrong)


def test_rows_without_trials_get_the_prior_and_unknown_rows_nothing():
    frame = shares(1, 40).astype(float)
    frame.loc[0, ['k', 'n']] = 0
    frame.loc[1, 'k'], frame.loc[2, 'n'] = np.nan, np.nan
    prior = fit_prior(frame.k, frame.n)
    told = shrink(frame.k, frame.n, prior)
    assert np.allclose(told.loc[0, ['mean', 'effective']], prior)
    assert told.loc[[1, 2]].isna().all(axis=None) and told.drop([1, 2]).notna().all(axis=None)
    assert np.isnan(above(frame.k, frame.n, prior, 0.02)[[1, 2]]).all()
    kept = frame.drop([0, 1, 2])
    assert np.allclose(prior, fit_prior(kept.k, kept.n)), 'they teach the prior nothing'


@pytest.mark.parametrize('fitting', [fit_prior, fit_rate])
def test_an_account_without_trials_is_told_so(fitting):
    for k, n in (([0], [0]), ([np.nan], [np.nan]), ([], [])):
        with pytest.raises(Problem, match='no row has trials'):
            fitting(k, n)


@pytest.mark.parametrize('fitting', [fit_prior, fit_rate])
def test_extreme_accounts_have_a_usable_prior(fitting):
    for k, n in (([0, 0], [10, 20]), ([10, 20], [10, 20]), ([1], [1]), ([3], [1e7])):
        prior = fitting(k, n)
        told = (shrink if fitting is fit_prior else per_spend)(pd.Series(k), pd.Series(n), prior)
        assert prior.mean > 0 and 0 < prior.strength < np.inf
        assert np.isfinite(told).all(axis=None) and (told.low <= told.high).all()


def test_an_account_of_one_kind_is_pulled_together():
    frame = shares(2, 80, spread=0)
    told = shrink(frame.k, frame.n, fit_prior(frame.k, frame.n))
    raw = frame.k / frame.n
    assert told['mean'].std() < raw.std() / 10
    exact = pd.DataFrame({'k': [2.0, 4, 6], 'n': [100.0, 200, 300]})
    assert np.allclose(
        shrink(exact.k, exact.n, fit_prior(exact.k, exact.n))['mean'], 0.02, atol=2e-4
    )


def test_a_giant_counts_as_one_ad_set():
    frame = shares(3, 60, spread=0.3)
    giant = pd.concat([frame, pd.DataFrame({'n': [1e7], 'k': [6e5]})], ignore_index=True)
    assert fit_prior(giant.k, giant.n).mean < 0.03, 'though the sum over all rows is near 6 %'


# intervals that keep their word, and less error


@pytest.mark.parametrize('rows,spread', [(12, 0.4), (40, 0.2), (40, 0.8), (150, 0.4)])
def test_interval_of_a_share_holds_80_percent(rows, spread):
    inside, error = [], []
    for seed in range(max(6, 2400 // rows)):
        frame = shares(1000 + seed, rows, spread=spread)
        told = shrink(frame.k, frame.n, fit_prior(frame.k, frame.n))
        inside.append(frame.truth.between(told.low, told.high).mean())
        missed = ((told['mean'] - frame.truth) ** 2).mean()
        error.append(missed / ((frame.k / frame.n - frame.truth) ** 2).mean())
    assert 0.75 <= np.mean(inside) <= 0.87 and np.mean(error) < 0.8


@pytest.mark.parametrize('rows,order', [(30, 0.5), (60, 1.0), (150, 0.5)])
def test_interval_of_roas_holds_80_percent(rows, order):
    inside, error = [], []
    for seed in range(1200 // rows):
        frame = sales(2000 + seed, rows, order=order)
        told = shrunk_roas(frame, fit_returns(frame))
        inside.append(frame.truth.between(told.low, told.high).mean())
        raw = frame.revenue / frame.spend
        error.append(((told['mean'] - frame.truth) ** 2).mean() / ((raw - frame.truth) ** 2).mean())
    assert 0.75 <= np.mean(inside) <= 0.87 and np.mean(error) < 0.75


def test_fitted_beats_raw_and_fixed_on_real_click_rates(shared):
    ads = pd.read_csv(shared / 'kag' / 'KAG_conversion_data.csv')
    missed = {'raw': 0.0, 'fixed': 0.0, 'fitted': 0.0}
    for seed in range(5):
        rng = np.random.default_rng(seed)
        n = rng.binomial(ads.Impressions, 0.5)
        k = rng.hypergeometric(ads.Clicks, ads.Impressions - ads.Clicks, n)
        target = (ads.Clicks - k) / (ads.Impressions - n)
        for name, rate in {
            'raw': k / n,
            'fixed': shrink(k, n, Prior(0.015, 100))['mean'],
            'fitted': shrink(k, n, fit_prior(k, n))['mean'],
        }.items():
            missed[name] += ((rate - target) ** 2).mean()
    assert missed['fitted'] < 0.7 * missed['raw'] and missed['fitted'] < 0.1 * missed['fixed']


# returns


def test_a_currency_and_a_unit_change_nothing():
    frame = sales(4, 40)
    yen = frame.assign(spend=160 * frame.spend, revenue=160 * frame.revenue)
    told, same = shrunk_roas(frame, fit_returns(frame)), shrunk_roas(yen, fit_returns(yen))
    answers = ['mean', 'low', 'high']
    assert np.allclose(told[answers], same[answers], rtol=1e-3)


def test_roas_needs_all_three_and_names_the_column():
    frame = sales(5, 30)
    returns = fit_returns(frame)
    for column in ('spend', 'purchases', 'revenue'):
        told = shrunk_roas(frame.assign(**{column: np.nan}), returns)
        assert told.isna().all(axis=None)
        with pytest.raises(Problem, match=column):
            shrunk_roas(frame.drop(columns=column), returns)
    with pytest.raises(Problem, match='purchases and revenue'):
        fit_value([0, np.nan], [0, 3])


def test_revenue_without_a_purchase_is_no_order_value():
    told = order_value(pd.Series([500.0]), pd.Series([0.0]), OrderValue(60, 9, 4))
    assert np.isclose(told['mean'][0], 60)


# levels


def nested(seed, between, within, campaigns=8, each=6):
    "An account whose campaigns and ad sets differ by so much"
    rng = np.random.default_rng(seed)
    vary = lambda c, size: rng.gamma(1 / c**2, c**2, size) if c else np.ones(size)
    campaign = np.repeat(np.arange(campaigns), each)
    truth = 0.02 * vary(between, campaigns)[campaign] * vary(within, len(campaign))
    tried = np.maximum(rng.lognormal(np.log(300), 1.2, len(campaign)).round(), 1)
    return pd.DataFrame(
        {
            'campaign_id': campaign.astype(str),
            'adset_id': np.arange(len(campaign)).astype(str),
            'trials': tried,
            'successes': rng.binomial(tried.astype(int), np.minimum(truth, 1)).astype(float),
            'truth': truth,
        }
    )


def test_levels_gain_where_campaigns_differ_and_cost_little_where_not():
    gain, cost, inside = [], [], []
    for seed in range(12):
        for between, kept in ((0.6, gain), (0.0, cost)):
            frame = nested(seed, between, 0.25)
            told = levels(frame)
            prior = fit_prior(frame.successes, frame.trials)
            flat = shrink(frame.successes, frame.trials, prior)['mean']
            kept.append([((rate - frame.truth) ** 2).mean() for rate in (told['mean'], flat)])
            inside.append(frame.truth.between(told.low, told.high).mean())
    better, flat = np.mean(gain, axis=0)
    idle, same = np.mean(cost, axis=0)
    assert better < 0.65 * flat and idle < 1.15 * same
    assert 0.75 <= np.mean(inside) <= 0.87


def test_levels_do_not_depend_on_the_order_of_rows():
    frame = nested(3, 0.5, 0.3)
    mixed = frame.sample(frac=1, random_state=0)
    pd.testing.assert_frame_equal(levels(mixed).sort_index(), levels(frame))


def test_an_ad_set_starts_at_its_siblings_and_not_at_itself():
    frame = nested(4, 0.6, 0.2)
    start = levels(frame).start
    changed = frame.assign(successes=frame.successes.where(frame.index != 0, frame.trials))
    prior = level_prior(frame.successes, frame.trials, frame.campaign_id)
    assert np.allclose(prior.mean, start)
    assert levels(changed).loc[0, 'mean'] > levels(frame).loc[0, 'mean']


def test_levels_cope_with_odd_accounts():
    one = nested(5, 0, 0.3, campaigns=1, each=4)
    single = nested(5, 0.4, 0, campaigns=10, each=1)
    orphans = nested(5, 0.4, 0.2).assign(campaign_id=None)
    empty = nested(5, 0.4, 0.2)
    empty.loc[:5, ['successes', 'trials']] = 0.0
    full = nested(5, 0.4, 0.2)
    full['successes'] = full.trials
    for frame in (one, single, orphans, empty, full, one.iloc[:1]):
        told = levels(frame)
        assert told[['start', 'mean', 'low', 'high']].notna().all(axis=None)
        assert (told.low <= told.high).all() and told['mean'].between(0, 1).all()
    unknown = nested(5, 0.4, 0.2)
    unknown.loc[3, 'successes'] = np.nan
    told = levels(unknown)
    assert told.loc[3, ['start', 'mean', 'low']].isna().all() and told.drop(3)['mean'].notna().all()


def test_levels_of_purchases_per_spend():
    frame = nested(6, 0.6, 0.2)
    told = levels(frame, PER_SPEND)
    share = levels(frame)
    assert np.corrcoef(told['mean'], share['mean'])[0, 1] > 0.99
    assert np.isfinite(told.drop(columns=['campaign_id', 'adset_id'])).all(axis=None)


@given(values=st.lists(st.tuples(st.integers(0, 3), st.integers(0, 99)), min_size=1, max_size=20))
def test_sums_over_siblings(values):
    rows = sorted(values)
    group = np.unique([g for g, _ in rows], return_inverse=True)[1]
    numbers = np.array([v for _, v in rows], float)
    slow = [
        sum(v for j, v in enumerate(numbers) if group[j] == g and j != i)
        for i, g in enumerate(group)
    ]
    before = [
        sum(v for j, v in enumerate(numbers) if group[j] == g and j < i)
        for i, g in enumerate(group)
    ]
    assert np.allclose(others(numbers, group), slow)
    assert np.allclose(earlier(numbers, group), before)


# the seed's numbers, and the one call


def test_the_seed_example():
    assert round(100 * smooth(0.05, 200, 0.015, 100).item(), 4) == 3.8333
    told = rates(pd.DataFrame({'clicks': [10], 'impressions': [200]}), 'ctr', SEED)
    assert round(100 * told['mean'][0], 4) == 3.8333


@pytest.mark.parametrize(
    'impressions,expected',
    [
        (0, 0),
        (50, 0.15),
        (100, 0.30),
        (300, 0.45),
        (500, 0.60),
        (1500, 0.80),
        (2000, 0.90),
        (5000, 0.93),
        (7000, 0.95),
        (10**7, 0.95),
    ],
)
def test_the_seed_curve(impressions, expected):
    assert seed_confidence([impressions], SEED)[0] == pytest.approx(expected, abs=1e-12)


@given(impressions=st.floats(0, 1e5))
def test_the_seed_curve_is_the_seed_code(impressions):
    if impressions < 100:
        theirs = impressions / 100 * 0.3
    elif impressions < 500:
        theirs = 0.3 + (impressions - 100) / 400 * 0.3
    elif impressions < 2000:
        theirs = 0.6 + (impressions - 500) / 1500 * 0.3
    else:
        theirs = min(0.9 + (impressions - 2000) / 5000 * 0.05, 0.95)
    assert seed_confidence([impressions], SEED)[0] == pytest.approx(theirs, abs=1e-12)


def week(seed=0, adsets=12, days=7):
    "Days of a small account"
    rng = np.random.default_rng(seed)
    shown = rng.poisson(2000, adsets * days)
    clicks = rng.binomial(shown, 0.012)
    bought = rng.binomial(clicks, 0.05).astype(float)
    return pd.DataFrame(
        {
            'date': np.repeat(pd.date_range('2026-06-01', periods=days), adsets),
            'campaign_id': np.tile([f'c{i // 4}' for i in range(adsets)], days),
            'adset_id': np.tile([f'a{i:02d}' for i in range(adsets)], days),
            'country': np.tile(['DE', 'AT', None], adsets * days // 3),
            'impressions': shown,
            'clicks': clicks,
            'purchases': bought,
            'spend': shown * 0.006,
            'revenue': bought * 50,
        }
    )


@pytest.mark.parametrize('metric', ['ctr', 'cvr', 'roas', 'purchases_per_spend'])
def test_one_call_answers_every_metric_by_any_segment(metric):
    days = week()
    for by in (['campaign_id', 'adset_id'], ['adset_id'], ['country'], ['campaign_id'], []):
        told = rates(days, metric, FITTED, by)
        assert list(told) == [*by, *ANSWERS]
        assert told[ANSWERS[1:]].notna().all(axis=None)
        assert told.above.between(0, 1).all() and told.confidence.between(0, 1).all()
        assert (told.low < told['mean']).all() and (told['mean'] < told.high).all()
    assert len(rates(days, metric, FITTED, ['country'])) == 3, 'unknown is a segment too'


def test_a_benchmark_moves_above_and_nothing_else():
    days = week()
    goal = ShrinkSettings.model_validate({'benchmarks': {'cvr': 0.10}})
    easy = ShrinkSettings.model_validate({'benchmarks': {'cvr': 0.01}})
    high, low = (rates(days, 'cvr', s, ['adset_id']) for s in (goal, easy))
    assert (high.above < 0.2).all() and (low.above > 0.9).all()
    pd.testing.assert_frame_equal(high.drop(columns='above'), low.drop(columns='above'))


def test_rows_that_lack_a_side_lend_nothing():
    days = week()
    holed = days.assign(purchases=days.purchases.where(days.date > '2026-06-03'))
    kept = days[days.date > '2026-06-03']
    for metric in ('cvr', 'roas'):
        a, b = (rates(d, metric, FITTED, ['adset_id']) for d in (holed, kept))
        pd.testing.assert_frame_equal(a, b)
    gone = days.assign(purchases=days.purchases.where(days.adset_id != 'a03'))
    told = rates(gone, 'cvr', FITTED, ['adset_id']).set_index('adset_id')
    assert told.loc['a03'].isna().all() and told.drop('a03').notna().all(axis=None)


def test_table_holds_what_the_single_calls_say():
    days = week()
    table = rate_table(days, FITTED, ['adset_id'])
    for metric in ('ctr', 'cvr', 'roas'):
        single = rates(days, metric, FITTED, ['adset_id'])
        assert np.allclose(table[f'{metric}_mean'], single['mean'])
    few = rate_table(days[['adset_id', 'clicks', 'impressions']], FITTED, ['adset_id'])
    assert list(few) == ['adset_id', *[f'ctr_{a}' for a in ANSWERS]]
    seeded = rate_table(days, SEED, ['adset_id'])
    assert seeded.ctr_low.notna().all() and seeded.roas_low.isna().all()
    assert not [c for c in seeded if c.startswith('purchases_per_spend')]
    with pytest.raises(Problem, match='method fitted'):
        rates(days, 'purchases_per_spend', SEED)
    with pytest.raises(Problem, match='no rate'):
        rate_table(days[['adset_id']], FITTED)


def test_an_empty_window_is_a_problem_and_not_a_traceback():
    days = week().iloc[:0]
    for settings in (FITTED, SEED):
        table = rate_table(days, settings, ['adset_id'])
        assert len(table) == 0 and 'ctr_mean' in table
    with pytest.raises(Problem, match='no row has trials'):
        rates(days, 'ctr', FITTED, ['adset_id'])


def test_zero_rows_and_strange_cells_of_a_segment():
    days = week()
    days.loc[days.adset_id == 'a00', ['impressions', 'clicks', 'purchases', 'spend', 'revenue']] = 0
    told = rates(days, 'roas', FITTED, ['adset_id']).set_index('adset_id')
    assert np.isnan(told.raw['a00']) and told['mean'].notna().all() and told.confidence['a00'] == 0
    assert not np.isinf(told.select_dtypes('number')).any(axis=None)
    assert (counts(days, 'ctr', ['adset_id']).impressions >= 0).all()


def test_dispersion_of_binomial_days_is_one_and_of_clustered_days_more():
    rng = np.random.default_rng(0)
    n, groups = np.full(2000, 500), pd.Series(np.repeat(np.arange(100), 20))
    assert dispersion(rng.binomial(n, 0.05), n, groups) < 1.1
    assert dispersion(rng.binomial(n, 0.05 * rng.gamma(4, 0.25, 2000)), n, groups) > 3
    assert dispersion([], [], pd.Series([], dtype=float)) == 1
