"""Replaying the past: what a decision may know, what judges it, and that the fast path is production's."""

from functools import cache

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from adsbench.budgets.objectives import (
    Adset,
    AdsetSettings,
    Constraints,
    ObjectiveSettings,
    Weights,
    score,
)
from adsbench.budgets.optimum import NONE, Box
from adsbench.budgets.state import House
from adsbench.budgets.steer import steer
from adsbench.budgets.wishes import ruled
from adsbench.data.layers import read_layers
from adsbench.data.settings import Problem, find_root
from adsbench.data.world import World
from adsbench.features.table import Facts
from adsbench.rules.expressions import evaluate, parse
from adsbench.rules.policy import policy
from adsbench.rules.rulebook import space
from adsbench.tuning.conditions import Rows, holds, sure
from adsbench.tuning.grid import curves_at, gridded, holders, simulated
from adsbench.tuning.policies import BASELINES, closed, ruler, wisher
from adsbench.tuning.replay import blocks, by_fold, gained, replay, scored, sides
from adsbench.tuning.steps import About, ReplaySettings, Steps, steps
from adsbench.tuning.worth import by_unit, drawn, linear, value

EASY = ReplaySettings()
DAYS = 100


@cache
def house(threshold: str = 'absolute', volume: str = 'absolute') -> House:
    read = policy(read_layers(find_root(), environ={}))
    return House(read.model_copy(update={'threshold_unit': threshold, 'volume_unit': volume}))


@cache
def facts(seed: int = 0) -> Facts:
    "An account with pauses, an ad set that starts late, and days without a row"
    days = simulated(World(adsets=8), DAYS, seed).days['adset']
    number, day = days['adset_id'].str[1:].astype(int), (days['date'] - days['date'].min()).dt.days
    gone = (
        ((number == 1) & day.between(40, 62))
        | ((number == 2) & (day < 50))
        | ((number == 3) & (day > 70))
    )
    kept = days[~gone].reset_index(drop=True)
    return Facts(dict.fromkeys(('account', 'campaign', 'adset'), kept))


def last() -> pd.Timestamp:
    return facts().days['adset']['date'].max()


@cache
def past(seed: int = 0) -> Steps:
    return steps(facts(seed), house(), EASY, last())


@cache
def tried(count: int = 12) -> tuple[dict, ...]:
    "Values of all parameters, drawn between their bounds"
    table, rng = space(house().policy), np.random.default_rng(5)
    return tuple(
        dict(zip(table['parameter'], rng.uniform(table['low'], table['high'])))
        for _ in range(count)
    )


def poisoned(rows: pd.Series) -> Facts:
    "Other numbers on these rows, some of them absent"
    days, rng = facts().days['adset'], np.random.default_rng(1)
    bad = days.copy()
    for name in ('spend', 'impressions', 'clicks', 'purchases', 'revenue'):
        luck = rng.lognormal(1, 1, len(days))
        bad[name] = days[name].mask(rows, (days[name] + 3) * luck).mask(rows & (luck > 9))
    return Facts(dict.fromkeys(facts().days, bad))


# ---- what a decision may know -------------------------------------------------------------------


@pytest.mark.parametrize('number', (0, 3, 6))
def test_a_poisoned_future_changes_nothing_that_was_known(number: int):
    evening = past().dates[number]
    other = steps(poisoned(facts().days['adset']['date'] > evening), house(), EASY, last())
    upto = number + 1
    for name in ('now', 'low', 'high', 'odds', 'poor', 'used'):
        before, after = getattr(past(), name)[:upto], getattr(other, name)[:upto]
        assert np.array_equal(before, after, equal_nan=True), name
    for name, values in past().past.items():
        assert np.array_equal(values[:upto], other.past[name][:upto]), name
    pd.testing.assert_frame_equal(
        other.inputs.loc[:evening], past().inputs.loc[:evening], check_exact=True
    )
    assert not np.array_equal(other.worth.rate[number], past().worth.rate[number]), 'it was poison'


@pytest.mark.parametrize('number', (0, 3, 6))
def test_days_up_to_the_embargo_change_nothing_that_judges(number: int):
    upto = past().dates[number] + pd.Timedelta(days=EASY.embargo_days)
    other = steps(poisoned(facts().days['adset']['date'] <= upto), house(), EASY, last())
    for name in ('half', 'chance', 'shape', 'rate', 'mean'):
        assert np.array_equal(
            getattr(other.worth, name)[number:], getattr(past().worth, name)[number:]
        ), name
    assert np.array_equal(other.worth.worth.mean[number:], past().worth.worth.mean[number:])
    for name in ('clicks', 'roas'):
        assert np.array_equal(
            getattr(other, name)[number:], getattr(past(), name)[number:], equal_nan=True
        )
    ran = (past().worth.mean > 0) & (past().now > 0) & (other.now > 0)
    assert np.array_equal(other.span[number:][ran[number:]], past().span[number:][ran[number:]])


def test_days_after_the_last_are_not_read():
    earlier = last() - pd.Timedelta(days=9)
    days = facts().days['adset']
    short = Facts(dict.fromkeys(facts().days, days[days['date'] <= earlier].reset_index(drop=True)))
    one, two = (steps(f, house(), EASY, earlier) for f in (facts(), short))
    assert np.array_equal(one.odds, two.odds, equal_nan=True) and np.array_equal(
        value(one, one.now), value(two, two.now)
    )


def test_todays_budget_is_no_budget_of_the_past():
    told = pd.DataFrame(
        {'adset_id': past().units, 'campaign_id': 'c', 'budget': 5000.0, 'budget_level': 'adset'}
    )
    plain = steps(facts()._replace(adsets=told), house(), EASY, last())
    assert np.array_equal(plain.now, past().now), 'the table does not say when it was taken'
    middle = past().dates[3] + pd.Timedelta(days=1)
    taken = told.assign(budget=33.0, snapshot_at=middle.tz_localize('UTC'))
    known = steps(facts()._replace(adsets=taken), house(), EASY, last())
    assert np.array_equal(known.now[:3], past().now[:3])
    assert set(np.unique(known.now[3:])) == {0.0, 33.0} and np.isnan(known.used[:3]).all()


def test_campaigns_are_units_where_they_hold_the_budget():
    days = facts().days['adset']
    told = days[['adset_id', 'campaign_id']].drop_duplicates()
    told = told.assign(budget_level=np.where(told['campaign_id'] == 'c000', 'campaign', 'adset'))
    found = steps(facts()._replace(adsets=told), house(), EASY, last())
    assert set(found.units) == {'c000', 'a0004', 'a0005', 'a0006', 'a0007'}
    mine = days[(days['campaign_id'] == 'c000') & (days['date'] <= found.dates[0])]
    week = mine[mine['date'] > found.dates[0] - pd.Timedelta(days=7)]
    assert np.isclose(
        found.past['spend_7d'][0, list(found.units).index('c000')], week['spend'].sum()
    )


def test_silent_units_have_no_budget_and_stay_without():
    silent = past().past['spend_7d'] == 0
    assert silent.any() and (past().now[silent] == 0).all() and (past().now[~silent] > 0).all()
    assert (closed(past(), np.ones_like(past().now))[silent] == 0).all()
    assert (past().span[past().now == 0] == 0).all()


def test_people_keep_what_they_fixed():
    people = {'a0000': Adset(pin=True), 'a0004': Adset(floor=1e6), 'a0005': Adset(ceiling=0.01)}
    fixed = steps(facts(), house()._replace(adsets=AdsetSettings(adsets=people)), EASY, last())
    at = lambda name: list(fixed.units).index(name)
    assert np.array_equal(fixed.low[:, at('a0000')], fixed.high[:, at('a0000')])
    assert np.array_equal(fixed.low[:, at('a0004')], fixed.now[:, at('a0004')])
    assert np.array_equal(fixed.high[:, at('a0005')], fixed.now[:, at('a0005')])


def test_too_short_a_past_says_how_long_it_should_be():
    with pytest.raises(Problem, match='63 needed'):
        steps(facts(), house(), EASY, facts().days['adset']['date'].min() + pd.Timedelta(days=50))
    assert (
        len(
            steps(
                facts(), house(), EASY, facts().days['adset']['date'].min() + pd.Timedelta(days=62)
            ).dates
        )
        == 2
    )


def test_any_rhythm_of_steps_gives_the_same_evening():
    daily = steps(facts(), house(), ReplaySettings(step_days=5), About(last(), 'acme'))
    assert daily.customer == 'acme' and daily.dates[-1] == past().dates[-1]
    assert np.allclose(daily.worth.rate[-1], past().worth.rate[-1])
    assert np.allclose(daily.odds[-1], past().odds[-1], equal_nan=True)
    assert daily.inputs.loc[daily.dates[-1]].equals(past().inputs.loc[past().dates[-1]])


# ---- budgets ------------------------------------------------------------------------------------


def kept(budgets: np.ndarray, found: Steps) -> bool:
    inside = (budgets >= found.low - 1e-7).all() and (budgets <= found.high + 1e-7).all()
    return bool(inside and np.allclose(budgets.sum(-1), found.now.sum(-1)))


@pytest.mark.parametrize('name', BASELINES)
def test_baselines_keep_the_sum_and_the_limits(name: str):
    wishes = BASELINES[name](past(), 3)
    assert kept(closed(past(), wishes), past())
    assert np.array_equal(wishes, BASELINES[name](past(), 3), equal_nan=True)


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 10**6), st.floats(0, 3))
def test_any_wish_keeps_the_sum_and_the_limits(seed: int, size: float):
    rng = np.random.default_rng(seed)
    wishes = np.exp(size * rng.standard_normal(past().now.shape))
    wishes[rng.random(wishes.shape) < 0.1], wishes[rng.random(wishes.shape) < 0.1] = np.nan, 0.0
    assert kept(closed(past(), wishes), past())


@pytest.mark.parametrize('units', [('absolute', 'absolute'), ('of_account', 'of_median')])
def test_the_fast_path_is_the_rulebook_of_production(units: tuple[str, str]):
    "Every number of every unit and evening, with defaults and with drawn values"
    home = house(*units)
    found = steps(facts(), home, EASY, last())
    wishes, live = wisher(found, home), found.now > 0
    some = found.inputs.loc[found.dates[::3]]
    for values in ({}, *tried(2)):
        given_ = {
            n: p.model_copy(update={'value': values.get(n, p.value)})
            for n, p in home.policy.parameters.items()
        }
        rose = sorted(given_[n].now for n in ('low_roas', 'med_roas', 'high_roas', 'exc_roas'))
        for name, number in zip(('low_roas', 'med_roas', 'high_roas', 'exc_roas'), rose):
            given_[name] = given_[name].model_copy(update={'value': number})
        values = {n: p.now for n, p in given_.items()}
        own = home._replace(policy=home.policy.model_copy(update={'parameters': given_}))
        slow = pd.concat(
            [ruled(rows, None, own).table for _, rows in some.groupby(level='date', sort=False)]
        )
        fast = wishes(values)
        told = slow['ruled'].to_numpy().reshape(fast[::3].shape)
        assert np.allclose(fast[::3][live[::3]], told[live[::3]])
        assert (fast[~live] == 0).all()


def test_the_rulebook_is_closed_as_production_closes_it():
    held = holders(facts(), last())
    grid = gridded(facts(), held, None, last())
    then = curves_at(grid, grid.dates.get_indexer(past().dates) + 1, 70, house().budgets.response)
    box = Box(past().now, past().low, past().high, past().now.sum(-1))
    rules, wishes = ruler(past(), house()), wisher(past(), house())
    for values in tried():
        there = steer(then, box, house().budgets.allocation.steer, (wishes(values), NONE))
        assert np.allclose(rules(values), there.budgets, rtol=1e-6) and kept(rules(values), past())


def test_nothing_falls_without_evidence_unless_it_is_not_asked():
    odds, fell = house().budgets.allocation.steer.decrease_odds, 0
    blind = steps(facts(), house(), EASY.model_copy(update={'evidence': False}), last())
    assert np.isnan(blind.odds).all() and np.array_equal(blind.now, past().now)
    for values in tried():
        cut = ruler(past(), house())(values) < past().now - 1e-6
        assert (past().odds[cut] >= odds).all()
        free = ruler(blind, house())(values) < past().now - 1e-6
        fell += (past().odds[free] < odds).sum()
    assert fell > 0


def test_a_ruler_remembers_nothing_that_matters():
    rules, values = ruler(past(), house()), tried()
    first = [rules(v) for v in values]
    again = [rules(v) for v in reversed(values)][::-1]
    assert all(np.array_equal(a, b) for a, b in zip(first, again))
    assert all(np.array_equal(a, ruler(past(), house())(v)) for a, v in zip(first[:3], values))
    with pytest.raises(Problem, match='low_roas'):
        rules({'low_roes': 1.0})


NUMBER = st.sampled_from(['x', 'y', 'z', '0.5', 'x + y', '-z', 'known(x, 1)', 'x if y else z'])
LINK = st.tuples(NUMBER, st.sampled_from(['<', '<=', '>', '>=', '==', '!=']), NUMBER).map(' '.join)
CONDITION = st.recursive(
    LINK | NUMBER,
    lambda inner: st.one_of(
        st.tuples(inner, st.sampled_from(['and', 'or']), inner).map(
            lambda t: f'({t[0]}) {t[1]} ({t[2]})'
        ),
        inner.map('not ({})'.format),
        inner.map('0 < ({}) <= 1'.format),
    ),
    max_leaves=8,
)


@settings(max_examples=150, deadline=None)
@given(CONDITION)
def test_conditions_mean_what_expressions_mean(text: str):
    grid = np.array(np.meshgrid(*[[np.nan, 0.0, 0.5, 1.0]] * 3)).reshape(3, -1)
    columns = dict(zip('xyz', grid))
    functions = {'known': lambda x, otherwise: np.where(np.isnan(x), otherwise, x)}
    read, rows = parse(text, columns, functions), Rows(columns, functions, {}, {})
    whole = np.broadcast_to(evaluate(read, columns, functions), 64)
    assert np.array_equal(np.broadcast_to(holds(read.tree, rows), 64), whole == 1)
    if not text.startswith(('x', 'y', 'z', '-', '0.5', 'known')):
        assert np.array_equal(np.broadcast_to(sure(read.tree, False, rows), 64), whole == 0)


# ---- worth --------------------------------------------------------------------------------------


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 10**6), st.floats(1.01, 5))
def test_no_credit_outside_the_span(seed: int, times: float):
    rng = np.random.default_rng(seed)
    start = past().now * np.exp(rng.standard_normal(past().now.shape))
    above = np.maximum(np.maximum(start, past().span[..., 1]), past().now)
    assert np.allclose(by_unit(past(), times * above), by_unit(past(), above), rtol=1e-9)
    below = np.minimum(np.minimum(start, past().span[..., 0]), past().now)
    assert (by_unit(past(), below / times) <= by_unit(past(), below) + 1e-9).all()


def test_value_of_holding_is_what_the_curves_say_and_draws_agree():
    many = drawn(past(), past().now, 2000, 1)
    assert np.allclose(many.mean(0), value(past(), past().now), rtol=0.02)
    assert np.array_equal(drawn(past(), past().now, 30, 1), drawn(past(), past().now, 30, 1))
    whole = steps(simulated(World(adsets=8), DAYS, 0), house(), EASY, last())
    assert np.allclose(linear(whole, 1.1 * whole.now), 1.1 * linear(whole, whole.now))
    assert (value(whole, 1.1 * whole.now) < 1.1 * value(whole, whole.now)).all(), 'curves bend'


# ---- scores -------------------------------------------------------------------------------------


def strict() -> ObjectiveSettings:
    limits = Constraints(
        change_rate=(0.02, 0.1), utilisation=(0.9, 1.05), max_share=0.3, min_roas=2.5
    )
    return ObjectiveSettings(
        weights=Weights(roas=0.4, ctr=0.3, stability=0.2, utilisation=0.1), constraints=limits
    )


def frame(side: dict[str, np.ndarray], step: int) -> pd.DataFrame:
    return pd.DataFrame({name: values[step] for name, values in side.items()}, past().units)


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 10**6), st.floats(0, 1), st.booleans())
def test_scores_are_those_of_objectives(seed: int, size: float, hard: bool):
    rng, wanted = np.random.default_rng(seed), strict() if hard else ObjectiveSettings()
    found = past()._replace(used=rng.uniform(0.6, 1.1, past().now.shape))
    budgets = found.now * np.exp(size * rng.standard_normal(found.now.shape))
    fast, now, then = scored(found, budgets, wanted), sides(found, found.now), sides(found, budgets)
    slow = [score(frame(now, d), frame(then, d), wanted) for d in range(len(found.dates))]
    assert np.allclose(fast.score, slow, equal_nan=True)


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 10**6), st.floats(0, 2))
def test_a_violation_never_improves_a_score(seed: int, size: float):
    rng = np.random.default_rng(seed)
    budgets = past().now * np.exp(size * rng.standard_normal(past().now.shape))
    found = scored(past(), budgets, strict())
    broken = found.violation > 0
    assert (found.violation >= 0).all() and (found.score[broken] < 1).all()
    assert (found.score <= found.mean + 1e-12).all()
    worse = scored(past(), budgets, strict().model_copy(update={'constraints': Constraints(
        change_rate=(0.02, 0.05), utilisation=(0.95, 1.0), max_share=0.2, min_roas=4)}))  # fmt: skip
    assert (worse.score <= found.score + 1e-9).all(), 'a tighter constraint never pays'


def test_holding_scores_one_everywhere():
    still = scored(past(), past().now, strict())
    assert np.allclose(still.score, 1) and np.allclose(still.mean, 1) and not still.violation.any()


def test_an_account_without_revenue_has_no_score():
    days = facts().days['adset'].assign(revenue=0.0, purchases=0.0)
    poor = steps(Facts(dict.fromkeys(facts().days, days)), house(), EASY, last())
    assert np.isnan(poor.odds).all() and kept(ruler(poor, house())({}), poor)
    found = scored(poor, 1.01 * poor.now, ObjectiveSettings())
    assert np.isnan(found.roas).all()
    table = replay([past(), poor], {'hold': [past().now, poor.now]}, EASY, 0)
    assert table['gain'].tolist() == [0.0]


# ---- the table ----------------------------------------------------------------------------------


def test_hold_gains_nothing_and_the_best_comes_first():
    histories = [past(), past(1)]
    policies = {name: [closed(s, f(s, 1)) for s in histories] for name, f in BASELINES.items()}
    table = replay(histories, policies, EASY, 0).set_index('policy')
    assert (
        table.loc['hold', ['gain', 'low', 'high', 'linear']].eq(0).all()
        and table['gain'].is_monotonic_decreasing
    )
    assert table['covered'].between(0, 1).all() and (table['low'] <= table['high']).all()
    pd.testing.assert_frame_equal(table, replay(histories, policies, EASY, 0).set_index('policy'))
    alone = [
        gained(s, [policies['equal'][i]], EASY.draws, i)['gain'][0] for i, s in enumerate(histories)
    ]
    assert np.isclose(table.loc['equal', 'gain'], np.mean(alone))
    with pytest.raises(Problem, match='each of 2 customers'):
        replay(histories, {'equal': policies['equal'][:1]}, EASY, 0)


def test_folds_are_consecutive_and_learn_only_from_what_was_judged_before():
    folds = blocks(past(), 3)
    tested = np.stack([fold.test(past().dates) for fold in folds])
    assert (tested.sum(0) == 1).all() and (np.diff(tested.argmax(0)) >= 0).all()
    for fold in folds:
        ends = past().dates[fold.train(past().dates)] + pd.Timedelta(days=28)
        assert (ends <= fold.test_first).all()
    means = by_fold(np.array([np.nan, *np.arange(1.0, len(past().dates))]), past().dates, folds)
    assert means[0] == np.arange(1, tested[0].sum()).mean()
    with pytest.raises(Problem, match='folds'):
        blocks(past(), 0)
