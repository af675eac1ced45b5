"""Totals tell little about channels, and say so."""

import importlib.util
import sys

import numpy as np
import pandas as pd
import pytest

from adsbench.budgets.media import (
    Columns,
    TotalsSettings,
    baseline,
    checked,
    diagnosis,
    least_squares,
    shaped,
)
from adsbench.budgets.totals import Totals, evidence, prior, totals
from adsbench.data.settings import Problem

# smaller grids and fewer steps than the defaults: the same code, in a fifth of the time
BRIEF = TotalsSettings(
    half_lives=(0, 7), halves=(0.5, 2), slopes=(1,), drift_lives=(28,), warm=40, steps=60
)


def shop(seed: int, weeks: int = 120, noise: float = 500) -> tuple[pd.DataFrame, Columns]:
    "Two channels at random, straight effects of 5 and 1 a unit of spend"
    rng = np.random.default_rng(seed)
    dates = pd.Timestamp('2023-01-02') + pd.to_timedelta(7 * np.arange(weeks), unit='D')
    a, b = rng.gamma(2, 500, weeks), rng.gamma(2, 500, weeks)
    bent = a / (a + 2 * a.mean())
    sales = 20_000 + 5 * bent * a.sum() / bent.sum() + b + rng.normal(0, noise, weeks)
    return pd.DataFrame({'date': dates, 'a': a, 'b': b, 'sales': sales}), Columns(
        'sales', ('a', 'b')
    )


@pytest.fixture(scope='module')
def told() -> Totals:
    periods, columns = shop(0)
    return totals(periods, columns, BRIEF, seed=1)


def test_clear_channels_are_found_and_ranked(told):
    assert (
        told.channels.loc['a', ['low', 'high']].between(3, 8).all()
        and told.channels.identified['a']
    )
    assert told.channels.low['b'] <= 1 <= told.channels.high['b']
    assert told.odds.loc['a', 'b'] > 0.95 and np.isnan(told.odds.loc['a', 'a'])
    assert not told.weak or told.channels.identified.sum() < 2
    assert (told.channels.low <= told.channels.roas).all()
    assert (told.channels.roas <= told.channels.high).all() and (told.channels.low >= 0).all()


def test_same_seed_same_answer_and_nothing_is_mutated(told):
    periods, columns = shop(0)
    copy = periods.copy(deep=True)
    again = totals(periods, columns, BRIEF, seed=1)
    assert np.array_equal(again.draws, told.draws) and again.words == told.words
    pd.testing.assert_frame_equal(periods, copy)


def test_rows_in_any_order(told):
    periods, columns = shop(0)
    shuffled = totals(periods.sample(frac=1, random_state=0), columns, BRIEF, seed=1)
    assert np.array_equal(shuffled.draws, told.draws)


@pytest.mark.parametrize('sales,spend', [(100.0, 1.0), (1.0, 0.01), (1e-3, 130.0)])
def test_currency_does_not_matter(told, sales, spend):
    periods, columns = shop(0)
    periods = periods.assign(sales=periods.sales * sales, a=periods.a * spend, b=periods.b * spend)
    other = totals(periods, columns, BRIEF, seed=1).channels
    assert np.allclose(other.roas * spend / sales, told.channels.roas, rtol=1e-4)
    assert other.identified.tolist() == told.channels.identified.tolist()


def test_noise_is_weakly_identified():
    periods, columns = shop(3)
    rng = np.random.default_rng(9)
    noise = totals(periods.assign(sales=rng.gamma(20, 1000, len(periods))), columns, BRIEF, seed=0)
    assert noise.weak and not noise.channels.identified.any()
    assert 'weakly identified' in noise.words
    assert noise.channels.words.str.contains('weakly identified').all()


def test_channels_that_move_together_cannot_be_told_apart():
    periods, columns = shop(4)
    rng = np.random.default_rng(1)
    twin = periods.assign(b=periods.a * rng.uniform(0.98, 1.02, len(periods)))
    told = totals(twin, columns, BRIEF, seed=0)
    assert not told.channels.identified.any() and told.weak
    assert 0.1 < told.odds.loc['a', 'b'] < 0.9
    assert 'it moves with b' in told.channels.words['a']
    assert told.diagnosis.own.max() < 0.05


def test_spend_that_is_all_season():
    periods, columns = shop(5)
    wave = np.sin(2 * np.pi * (periods.date - periods.date[0]).dt.days / 365.25)
    seasonal = periods.assign(b=1000 + 500 * wave, sales=periods.sales + 3000 * wave)
    told = totals(seasonal, columns, BRIEF, seed=0)
    assert told.diagnosis.season['b'] > 0.99 and not told.channels.identified['b']
    assert 'season' in told.channels.words['b']


def test_hidden_demand_widens_and_does_not_vanish():
    periods, columns = shop(6, weeks=400, noise=300)
    width = {}
    for hidden in (0.0, 0.5):
        found = totals(
            periods, columns, BRIEF.model_copy(update={'hidden': hidden}), seed=0
        ).channels
        width[hidden] = (found.high - found.low)['b']
    assert width[0.5] > 2 * width[0.0]


def test_trust_widens():
    periods, columns = shop(7)
    spread = [
        totals(periods, columns, BRIEF.model_copy(update={'trust': t}), seed=0).draws[:, 1].std()
        for t in (1.0, 0.3)
    ]
    assert spread[1] > 1.2 * spread[0]


def test_coverage_on_data_of_its_own_prior():
    "Truth drawn from prior and grids: the 80 % interval holds about 80 % of them"
    settings = BRIEF.model_copy(
        update={'trust': 1.0, 'hidden': 0.0, 'warm': 30, 'steps': 40, 'chains': 32}
    )
    inside = []
    for seed in range(40):
        rng = np.random.default_rng([seed, 1])
        periods, columns = shop(seed, weeks=80)
        spends = periods[['a', 'b']].to_numpy()
        unit = 10.0  # total over spend
        true = np.array([9.0, 9.0])
        while (true * spends.sum(axis=0)).sum() / spends.sum() > 0.8:
            true = prior(settings, 2 * 4000, seed=int(rng.integers(1e6)))[:2]
        effects = [shaped(x, 7, settings) for x in spends.T]
        media = sum(unit * t * e[rng.integers(len(e))] for t, e in zip(true, effects))
        level = unit * spends.sum() / len(periods)
        sales = level + media - media.mean() + rng.normal(0, 0.1 * level, len(periods))
        found = totals(periods.assign(sales=sales), columns, settings, seed=seed).channels
        inside += list((found.low <= unit * true) & (unit * true <= found.high))
    assert 0.68 <= np.mean(inside) <= 0.93  # 80 draws: 0.8 give or take three deviations


def test_a_missing_total_leaves_its_spend():
    periods, columns = shop(8)
    holes = periods.assign(sales=periods.sales.mask(periods.index.isin([10, 11, 60])))
    held = evidence(checked(holes, columns, BRIEF), columns, BRIEF)
    full = evidence(checked(periods, columns, BRIEF), columns, BRIEF)
    assert held.free == full.free - 3
    found = totals(holes, columns, BRIEF, seed=0)
    assert found.channels.low['a'] <= 5 <= found.channels.high['a']
    assert np.isfinite(least_squares(holes, columns, BRIEF).to_numpy()).all()


def test_least_squares_is_least_squares():
    periods, columns = shop(9)
    table = np.column_stack([baseline(periods, columns, BRIEF), periods[['a', 'b']]])
    fitted = np.linalg.lstsq(table, periods.sales.to_numpy(), rcond=None)[0]
    found = least_squares(periods, columns, BRIEF)
    assert np.allclose(found.roas, fitted[-2:])
    assert (found.low < found.roas).all() and (found.roas < found.high).all()


def test_short_and_single():
    periods, _ = shop(10)
    told = totals(periods.head(8), Columns('sales', ('a',)), BRIEF, seed=0)
    assert told.weak and told.odds.shape == (1, 1)
    assert np.isfinite(told.channels[['roas', 'low', 'high']].to_numpy(float)).all()


@pytest.mark.parametrize(
    'change,says',
    [
        (lambda p: p.drop(columns='a'), 'a'),
        (lambda p: p.drop(index=5), 'days apart'),
        (lambda p: pd.concat([p, p.tail(1)]), 'none twice'),
        (lambda p: p.assign(a=p.a.where(p.index != 3)), 'missing values'),
        (lambda p: p.assign(b=-1.0), 'negative'),
        (lambda p: p.assign(sales=0.0), 'adds up to nothing'),
        (lambda p: p.head(2), '2 rows'),
    ],
)
def test_what_cannot_be_used_is_refused(change, says):
    periods, columns = shop(11)
    for answer in (lambda p: totals(p, columns, BRIEF, 0), lambda p: diagnosis(p, columns, BRIEF)):
        with pytest.raises(Problem, match=says):
            answer(change(periods))


@pytest.fixture(scope='module')
def media(repo):
    spec = importlib.util.spec_from_file_location('media_bench', repo / 'tests/bench/media.py')
    module = importlib.util.module_from_spec(spec)
    sys.modules['media_bench'] = module
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize('name', ['fiaschi_mmm_truth', 'pymc_roas'])
def test_ranking_is_recovered_or_said_to_be_unknown(shared, media, name):
    found = media.measured(media.PUBLIC[name](shared), TotalsSettings(), 0)
    assert found['claims_wrong'] == 0
    assert found['rank_ours'] >= found['rank_ols'] and found['coverage_ours'] >= 0.75
    assert found['coverage_ols'] < found['coverage_ours']


def test_robyn_is_weakly_identified(shared, media):
    found = media.measured(media.robyn(shared), TotalsSettings(), 0)
    assert found['weak'] and not any(found['identified'].values())
    assert found['words'][0].startswith('Media is weakly identified')
