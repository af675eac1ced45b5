"""Projection: the sum to the minor unit, every limit at once, and a certificate where that cannot be."""

import json

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import linprog

from adsbench.budgets.certificate import certificate, holding, shadow, stretched, tightest
from adsbench.budgets.projection import Infeasible, _closed, close, fill, project
from adsbench.data.money import from_minor, offset
from adsbench.data.names import Problem
from adsbench.data.settings import CURRENCIES
from adsbench.rules.guardrails import Bounds

HOLDS = ('step', 'by_size', 'share', 'ceiling')
LOWS, HIGHS = np.array([0, 0.8, 0.95, 1]), np.array([1, 1.1, 1.5])
FEW = settings(max_examples=100, deadline=None)


def sides(rng: np.random.Generator, units: int, scale: float) -> tuple:
    "Wishes and whole limits of a random account, some without a wish, a high or any room, and a total"
    now = np.ceil(rng.standard_gamma(0.7, units) * scale)
    wanted = now * np.exp(rng.standard_normal(units) / 2) * (rng.random(units) > 0.1)
    low = np.ceil(now * LOWS[rng.integers(0, 4, units)])
    high = np.floor(now * HIGHS[rng.integers(0, 3, units)])
    high[rng.random(units) < 0.1] = np.inf
    most = np.where(np.isinf(high), now * 3, high)
    return wanted, low, high, int(rng.integers(int(low.sum()), int(most.sum()) + 1))


def account(rng: np.random.Generator, units: int, scale: float = 3000) -> tuple:
    "The same, by id and in any order"
    *columns, total = sides(rng, units, scale)
    ids = rng.permutation([f'{n:04d}' for n in range(units)])
    return *(pd.Series(column, ids) for column in columns), total


@st.composite
def accounts(draw) -> tuple:
    seed = draw(st.integers(0, 2**32 - 1))
    return account(np.random.default_rng(seed), draw(st.integers(1, 12)), draw(st.floats(2, 1e7)))


def test_ten_thousand_accounts_in_every_currency_sum_to_the_minor_unit():
    "The two steps of `project` on 10,000 accounts; every tenth through `project` itself"
    rng = np.random.default_rng(7)
    currencies = sorted(CURRENCIES)
    seen = set()
    for n in range(10_000):
        currency = currencies[n % len(currencies)]
        scale = 30 * offset(currency) * rng.choice([0.1, 1, 1000])
        wanted, low, high, total = sides(rng, int(rng.integers(1, 25)), scale)
        budgets = _closed(fill(wanted, low, high, total), low, high, total)
        assert budgets.dtype == 'int64' and budgets.sum() == total, (currency, n)
        assert (budgets >= low).all() and (budgets <= high).all(), n
        if n % 10 == 0:
            ids = [f'{k:02d}' for k in range(len(low))]
            made = project(*(pd.Series(side, ids)[::-1] for side in (wanted, low, high)), total)
            assert made.sum() == total and made[::-1].tolist() == budgets.tolist(), n
        seen.add(currency)
    assert seen == CURRENCIES


@FEW
@given(accounts())
def test_one_multiplier_explains_every_budget(case):
    "The conditions of optimality: inside its limits a unit has the account's multiplier"
    wanted, low, high, total = (np.asarray(side, float) for side in case)
    budgets = fill(wanted, low, high, total)
    assert np.isclose(budgets.sum(), total, rtol=1e-9, atol=1e-6)
    wish = wanted > 0
    ratio = budgets[wish] / wanted[wish]
    loose = 1e-6 * np.maximum(1, budgets[wish])
    may_rise = ratio[budgets[wish] < high[wish] - loose]
    may_fall = ratio[budgets[wish] > low[wish] + loose]
    if len(may_rise) and len(may_fall):
        assert may_fall.max() <= may_rise.min() * (1 + 1e-6) + 1e-12
    idle = ~wish & (budgets > low + 1e-6)
    assert not idle.any() or np.allclose(budgets[wish], high[wish]), (
        'only what nobody else can hold'
    )


@FEW
@given(accounts(), st.randoms(use_true_random=False))
def test_order_of_rows_does_not_matter_and_twice_is_once(case, shuffled):
    wanted, low, high, total = case
    budgets = project(wanted, low, high, total)
    ids = list(wanted.index)
    shuffled.shuffle(ids)
    again = project(wanted[ids], low, high.sample(frac=1, random_state=1), total)
    assert again.index.tolist() == ids and again.reindex(wanted.index).equals(budgets)
    assert project(budgets.astype(float), low, high, total).equals(budgets)
    assert (
        budgets - fill(*(s.to_numpy() for s in (wanted, low, high)), total)
    ).abs().max() <= 1.001


def test_a_stack_is_filled_like_each_account_alone():
    rng = np.random.default_rng(3)
    cases = [account(rng, 24) for _ in range(50)]
    stacked = [np.stack([case[n] for case in cases]) for n in range(3)]
    totals = np.array([case[3] for case in cases])
    deep = [side.reshape(5, 10, 24) for side in stacked]
    alone = np.stack([fill(*case) for case in cases])
    assert np.array_equal(fill(*stacked, totals), alone)
    assert np.array_equal(fill(*deep, totals.reshape(5, 10)).reshape(50, 24), alone)


@FEW
@given(accounts(), st.integers(-3, 3))
def test_infeasible_is_what_linprog_calls_infeasible(case, side):
    wanted, low, high, total = case
    total = max(int(total * (1 + side)), 0)
    solved = linprog(
        np.ones(len(low)),
        A_eq=np.ones((1, len(low))),
        b_eq=[total],
        bounds=[(a, None if np.isinf(b) else b) for a, b in zip(low, high)],
    )
    if solved.status == 0:
        assert project(wanted, low, high, total).sum() == total
    else:
        with pytest.raises(Infeasible) as told:
            project(wanted, low, high, total)
        proof = told.value.certificate
        assert proof.shortfall == total - min(max(total, proof.least), proof.most) != 0


@pytest.mark.parametrize(
    'wrong, words',
    [
        ({'wanted': [1.0, np.nan]}, 'no proposal'),
        ({'wanted': [1.0, -2]}, 'no proposal'),
        ({'wanted': [1.0, np.inf]}, 'no proposal'),
        ({'low': [1.0, -2]}, 'below 0'),
        ({'low': [1.0, np.nan]}, 'low limit'),
        ({'high': [1.0, 0.0]}, 'below its low'),
        ({'high': [9.0, 8.5]}, 'between two minor units'),
        ({'low': [1.0, 1.5]}, 'between two minor units'),
    ],
)
def test_what_has_no_meaning_is_refused_by_name(wrong, words):
    sides = {'wanted': [5.0, 5], 'low': [1.0, 1], 'high': [9.0, 9]} | wrong
    with pytest.raises(Problem, match=words) as told:
        project(*(pd.Series(side, ['a', 'b']) for side in sides.values()), 10)
    assert "'b'" in str(told.value)


def test_an_id_twice_and_an_id_without_limits_are_refused():
    one, two = pd.Series([5.0, 5], ['a', 'b']), pd.Series([9.0, 9], ['a', 'a'])
    with pytest.raises(Problem, match='twice in high'):
        project(one, one * 0, two, 10)
    with pytest.raises(Problem, match='high limit'):
        project(one, one * 0, two.iloc[:1], 10)


def test_extremes():
    empty = pd.Series(dtype=float)
    assert project(empty, empty, empty, 0).empty
    one = pd.Series([0.0], ['a'])
    assert project(one, one, one + np.inf, 7).tolist() == [7], 'no wish, but the sum is promised'
    big = pd.Series([1e15, 1.0, 3e-9], list('abc'))
    made = project(big, big * 0, big * 0 + np.inf, 10**15)
    assert made.sum() == 10**15 and made['b'] == 1 and made['c'] == 0
    with pytest.raises(Problem):
        project(big, big * 0, big * 0 + np.inf, 10**17)
    thirds = pd.Series([10 / 3] * 3, list('zxy'))
    assert close(thirds, thirds * 0, thirds * 0 + 4, 10).to_dict() == {'z': 3, 'x': 4, 'y': 3}


def holds(rng: np.random.Generator, units: int) -> Bounds:
    "Random holds that each contain today's budget"
    now = np.ceil(rng.gamma(1, 3000, units))
    ids = [f'{n:03d}' for n in range(units)]
    lows = {h: np.ceil(now * rng.choice([0, 0.5, 0.8, 0.95, 1], units)) for h in HOLDS[:3]}
    highs = {h: np.floor(now * rng.choice([1, 1.1, 1.2, 2, 9], units)) for h in HOLDS}
    highs['ceiling'] = np.where(rng.random(units) < 0.6, np.inf, highs['ceiling'])
    return Bounds(pd.DataFrame(lows, ids), pd.DataFrame(highs, ids), pd.DataFrame(index=ids))


def elastic(bounds: Bounds, total: int) -> float:
    "The shortfall as a linear program sees it: the least slack on the sum"
    low, high = bounds.low.max(axis='columns'), bounds.high.min(axis='columns')
    cost = np.r_[np.zeros(len(low)), 1, 1]
    row = np.r_[np.ones(len(low)), 1, -1][None]
    box = [*zip(low, high), (0, None), (0, None)]
    return linprog(cost, A_eq=row, b_eq=[total], bounds=box).fun


def least_factor(bounds: Bounds, names: tuple[str, ...], total: int) -> float | None:
    "The least factor on the highs of some holds with which a linear program finds budgets"
    own = bounds.high[list(names)].min(axis='columns')
    other = bounds.high.drop(columns=list(names)).min(axis='columns')
    low = bounds.low.max(axis='columns')
    count, held = len(low), np.flatnonzero(np.isfinite(own))
    cap = np.zeros((len(held), count + 1))
    cap[np.arange(len(held)), held], cap[:, -1] = 1, -own.iloc[held]
    box = [*((a, None if np.isinf(b) else b) for a, b in zip(low, other)), (1, None)]
    solved = linprog(
        np.r_[np.zeros(count), 1],
        A_ub=cap,
        b_ub=np.zeros(len(held)),
        A_eq=np.r_[np.ones(count), 0][None],
        b_eq=[total],
        bounds=box,
    )
    return solved.fun if solved.status == 0 else None


@pytest.mark.parametrize('seed', range(25))
def test_certificates_agree_with_linear_programs(seed):
    rng = np.random.default_rng(seed)
    bounds = holds(rng, int(rng.integers(2, 9)))
    low, high = bounds.low.max(axis='columns').sum(), bounds.high.min(axis='columns').sum()
    assert certificate(bounds, int(rng.integers(low, high + 1)), 'EUR') is None
    above = int(high * rng.uniform(1.01, 1.4)) + 1
    claim = certificate(bounds, above, 'EUR')
    assert np.isclose(claim['shortfall'] * 100, elastic(bounds, above))
    offers = {offer['limit']: offer for offer in claim['relaxation']}
    for names in set(holding(bounds.high, 'high')) - {()}:
        factor = least_factor(bounds, names, above)
        offer = offers.get(' and '.join(names))
        assert (factor is None) == (offer is None), names
        if factor:
            assert np.isclose(offer['stretch'], factor - 1, rtol=1e-5), names
    below = int(low * 0.7)
    if below < low:
        claim = certificate(bounds, below, 'EUR')
        assert np.isclose(-claim['shortfall'] * 100, elastic(bounds, below))
    assert json.loads(json.dumps(claim)) == claim, 'plain numbers'


@pytest.mark.parametrize('side, factor', [('high', 1.03), ('low', 0.97)])
def test_giving_way_as_offered_is_enough_and_less_is_not(side, factor):
    bounds = holds(np.random.default_rng(11), 8)
    frame = getattr(bounds, side)
    total = int(tightest(frame, side).sum() * factor)
    claim = certificate(bounds, total, 'JPY')
    checked = 0
    for offer in claim['relaxation']:
        if offer['limit'] == 'total' or offer['stretch'] is None:
            continue
        names = offer['limit'].split(' and ')
        sign = 1 if side == 'high' else -1
        for share, enough in ((1, True), (0.98, False)):
            moved = frame.assign(
                **{n: frame[n] * (1 + sign * share * offer['stretch']) for n in names}
            )
            reached = tightest(moved, side).sum() * sign
            assert (reached >= total * sign - 1e-6) == enough
        assert np.isclose(stretched(frame, side, tuple(names), total).sum(), total)
        checked += 1
    assert checked and claim['relaxation'][-1]


def test_one_hold_lifted_shows_in_the_certificate_what_it_freed():
    bounds = holds(np.random.default_rng(4), 6)
    total = int(tightest(bounds.high, 'high').sum() * 1.3)
    for one in certificate(bounds, total, 'EUR')['binding']:
        less = bounds._replace(high=bounds.high.drop(columns=one['limit'].split(' and ')))
        freed = tightest(less.high, 'high').sum() - tightest(bounds.high, 'high').sum()
        short = total - tightest(bounds.high, 'high').sum()
        assert np.isclose(one['amount'], from_minor(int(min(freed, short)), 'EUR'))


@pytest.mark.parametrize('seed', range(10))
def test_shadow_prices_are_the_duals_of_the_linear_program(seed):
    rng = np.random.default_rng(seed)
    bounds = holds(rng, 8)
    low, high = bounds.low.max(axis='columns'), bounds.high.min(axis='columns')
    marginal = pd.Series(rng.gamma(5, 0.5, 8), low.index)
    total = int(low.sum() + 0.4371 * (high.sum() - low.sum()))
    box = list(zip(low, high))
    solved = linprog(-marginal, A_eq=np.ones((1, 8)), b_eq=[total], bounds=box, method='highs')
    price = -solved.eqlin.marginals[0]
    prices = shadow(marginal, pd.Series(solved.x, low.index).round(), bounds, price)
    assert prices.shadow.is_monotonic_decreasing and (prices.shadow > 0).all()
    best = {'high': -solved.upper.marginals, 'low': solved.lower.marginals}
    for row in prices.itertuples():
        duals = pd.Series(best[row.side], low.index)
        assert np.isclose(row.shadow, duals[list(row.units)].max())
        assert row.units[0] in row.words


def test_shadow_with_nothing_at_a_limit_is_an_empty_frame():
    sides = ({'floor': [0.0]}, {'top': [9.0]}, {})
    bounds = Bounds(*(pd.DataFrame(side, ['a']) for side in sides))
    prices = shadow(pd.Series([2.0], ['a']), pd.Series([5], ['a']), bounds, 1.0)
    assert prices.empty and list(prices) == ['limit', 'side', 'units', 'shadow', 'words']
