"""What budgets earn: ours by rules, by response and by both beside eight peers, in the simulator's market.

python tests/bench/allocation.py [--seed N] [--quick] [--json] [--jobs N] [--ablate] [--aa] [--speed]

Each run is an account of 24 ad sets: 28 days at the first budgets, then 56 days of play, every budget
within +-20 % of yesterday's and their sum fixed. What counts is the expected revenue of a day (the
true mean, no luck of the draw) as a share of an oracle's, which knows the truth and takes the same
steps. Policies see reports only: young days are short of purchases, and ours learn by how much from
the account's own exports of the first 28 days, one a day, with the package's chain ladder.

Ours is the package's own path of arrays and feature tables: `response` = curves and steer;
`rules` = features, the rulebook with its defaults, steer with every wish; `both` = the wishes of the
units for which rules decide (budgets.wishes.deciding), curves for the others; `response_weights` =
response with `objective: weights`, the aims of objectives.yaml beside revenue, so that their price
shows. Guardrails other than the step are off, but for the wait between edits (CADENCE).

The families are the six of the issue and one our curves cannot fit (`delayed`: S-shaped, most of the
effect on later days). Of the peers `fit_hold` plans a week with our own curves, the strongest plan we
know, and `shrunk_squared_sized` starts from the first budgets, which here fit the ad sets. Shares come with
p10 over accounts; gap_closed is the part of what lies between hold and oracle; turnover the share of money that changes place a day; resets and edits are a week and
ad set (within +-20 % an edit restarts learning at no policy: resets must be 0); `against` has paired
differences to each peer with 95 % intervals. --data is not taken: no public set says what other
budgets would have earned.

--ablate switches rules off one at a time; --aa counts decreases among 200 identical ad sets; --speed
takes the time of 10,000 ad sets x 90 days. They use seeds of their own.
"""

import os

for name in ('OMP_NUM_THREADS', 'OPENBLAS_NUM_THREADS'):
    os.environ.setdefault(name, '1')

import argparse
import datetime as dt
import json
import sys
import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from functools import cache
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd

REPO = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(REPO), str(REPO / 'tests/bench')]

from customers import FAMILIES as PLAIN

from adsbench.budgets.allocate import allocate
from adsbench.budgets.curves import Curves, History, fit, marginal, revenue
from adsbench.budgets.files import files
from adsbench.budgets.objectives import ObjectiveSettings
from adsbench.budgets.optimum import NONE, Aims, Box, best
from adsbench.budgets.projection import fill
from adsbench.budgets.state import BudgetSettings, Case, House
from adsbench.budgets.steer import steer
from adsbench.budgets.units import unit_days, units
from adsbench.budgets.wishes import aims, ruled
from adsbench.data.layers import read_layers
from adsbench.data.market import Outcome, State, edited, expected, market, play, seen
from adsbench.data.settings import find_root, section
from adsbench.data.world import World
from adsbench.features.maturity import MaturitySettings, reporting_curve
from adsbench.features.table import Facts, FeatureSettings, features
from adsbench.rules.guardrails import Now
from adsbench.rules.policy import Policy, policy

WARM, DAYS, STEP = 28, 56, 0.2
EDGE = 1e-9  # keeps a step of 20 % from being one of 20.0000001 %, which restarts learning
CADENCE = 3  # days: guardrails wait 48 to 72 hours after an executed edit
LOOK = 35  # days of rows behind the features: the longest window looks back so far
GROUP = 4  # ad sets of a campaign
CHUNK = 20  # accounts that are played at once; --quick plays one such chunk
FAMILIES = PLAIN | {'delayed': World(carryover=0.6, power=(1.5, 2.2), log_share=0.0)}
ALIEN = 'delayed'  # the family that the model of ours does not match
OURS = ('rules', 'response', 'both', 'response_weights')
METHODS = OURS[:3]


@cache
def house() -> House:
    "The settings that ship"
    layers = read_layers(find_root(), environ={})
    budgets = BudgetSettings()
    if 'budgets' in layers.values:
        budgets = section(layers, 'budgets', BudgetSettings)
    return House(policy(layers), budgets, section(layers, 'objectives', ObjectiveSettings))


# ---- what a policy may know ---------------------------------------------------------------------


class View(NamedTuple):
    "The morning of a day of play; arrays of shape runs x ad sets"

    day: int
    seed: int
    world: World
    past: list[Outcome]  # read through `reports` only; the oracle never reads it
    budgets: np.ndarray
    low: np.ndarray
    high: np.ndarray
    total: np.ndarray  # runs x 1
    first: np.ndarray
    reported: np.ndarray  # runs x ages: share of purchases reported by age of a day, learnt
    memory: dict  # of the policy
    state: State  # the truth; for the oracle


class Reports(NamedTuple):
    "What the reports say of the last days, runs x ad sets x days"

    spend: np.ndarray
    impressions: np.ndarray
    clicks: np.ndarray
    purchases: np.ndarray
    revenue: np.ndarray


def reports(view: View, days: int) -> Reports:
    "The reports of the last so many days, as they stand this morning"
    return Reports(*(np.moveaxis(part, 0, -1) for part in seen(view.past[-days:])))


def history(view: View, days: int) -> History:
    "The reports as the curves want them"
    told = reports(view, days)
    count = told.spend.shape[-1]
    age = np.minimum(np.arange(count)[::-1], view.reported.shape[-1] - 1)
    begin = view.world.start + dt.timedelta(days=len(view.past) - count)
    weekday = (begin.weekday() + np.arange(count)) % 7
    return History(
        told.spend, told.purchases.astype(float), told.revenue, view.reported[:, None, age], weekday
    )


def lag(past: list[Outcome], settings: MaturitySettings) -> np.ndarray:
    "Share of purchases reported by age of a day, from one export on each day so far, by account"
    count = len(past)
    bought = np.stack([day.orders.sum(1).cumsum(-1) for day in past], 1)  # runs x days x ages
    day, age = np.meshgrid(np.arange(count), np.arange(count), indexing='ij')
    told = (day + age < count).ravel()
    start = pd.Timestamp('2026-01-01')
    date = start + pd.to_timedelta(day.ravel()[told], unit='D')
    taken = start + pd.to_timedelta((day + age).ravel()[told], unit='D')
    found = []
    for run in bought:
        known = run[day, np.minimum(age, run.shape[-1] - 1)].ravel()[told]
        exports = pd.DataFrame({'date': date, 'snapshot_at': taken, 'purchases': known})
        curve = reporting_curve(exports, settings)
        found.append(np.append(curve.sort_values('age')['reported'].to_numpy(), 1.0))
    return np.stack(found)


# ---- ours ---------------------------------------------------------------------------------------


def week(view: View) -> pd.DataFrame:
    "The columns of the feature table that the aims read, by run and ad set"
    told, now = reports(view, 7), view.budgets.ravel()
    spent = told.spend.sum(-1).ravel()
    return pd.DataFrame(
        {
            'current': now,
            'clicks_7d': told.clicks.sum(-1).ravel(),
            'spend_7d': spent,
            'utilisation': spent / (7 * now),
        }
    )


def whole(view: View) -> pd.DataFrame:
    "The feature table of all ad sets in the order of `view.budgets.ravel()`, with `current`"
    told = reports(view, LOOK)
    runs, adsets, days = told.spend.shape
    last = pd.Timestamp(view.world.start) + pd.Timedelta(days=len(view.past) - 1)
    dates = pd.date_range(end=last, periods=days)
    names = {
        'account_id': np.repeat([f'r{i:04d}' for i in range(runs)], adsets),
        'campaign_id': [f'r{i:04d}c{k // GROUP:05d}' for i in range(runs) for k in range(adsets)],
        'adset_id': [f'r{i:04d}a{k:05d}' for i in range(runs) for k in range(adsets)],
    }
    ids = pd.DataFrame({n: pd.array(np.asarray(v), dtype='str') for n, v in names.items()})
    rows = ids.iloc[np.repeat(np.arange(runs * adsets), days)].reset_index(drop=True)
    rows['date'] = np.tile(dates, runs * adsets)
    for name, part in told._asdict().items():
        rows[name] = part.reshape(-1).astype('float64')
    reach = np.stack([day.reach for day in view.past[-days:]], -1)
    rows['reach_at_least'] = reach.reshape(-1).astype('float64')
    level = {'account': rows, 'campaign': rows, 'adset': rows}
    held = ids[['adset_id']].assign(budget=view.budgets.ravel(), budget_level='adset')
    table = features(Facts(level, held), last, FeatureSettings())['adset']
    assert (table['adset_id'].to_numpy() == ids['adset_id'].to_numpy()).all()
    return table.assign(current=view.budgets.ravel())


@cache
def weighing() -> House:
    "The settings that ship, with the weights of objectives.yaml switched on"
    budgets = house().budgets
    allocation = budgets.allocation.model_copy(update={'objective': 'weights'})
    return house()._replace(budgets=budgets.model_copy(update={'allocation': allocation}))


def wanted_beside(told: pd.DataFrame, curves: Curves, view: View) -> Aims:
    "The aims of each account, as budgets.wishes has them, on runs x ad sets"
    runs, adsets = view.budgets.shape
    worth = revenue(curves, view.budgets).sum(-1)
    parts = [
        aims(told.iloc[i * adsets : (i + 1) * adsets], float(worth[i]), weighing())
        for i in range(runs)
    ]
    return Aims(*(np.stack([np.broadcast_to(p[k], adsets) for p in parts]) for k in range(3)))


def known_there(curves: Curves, budgets: np.ndarray) -> np.ndarray:
    "Where a curve may be read, as budgets.response.within has it"
    low, high = house().budgets.response.within
    return (budgets >= low * curves.mean) & (budgets <= high * curves.mean) & (curves.mean > 0)


def ours(method: str, rulebook: Policy | None = None) -> Callable[[View], np.ndarray]:
    "A policy that decides every CADENCE days as the package does"
    settings, weighed = house().budgets, method == 'response_weights'
    made = house() if rulebook is None else house()._replace(policy=rulebook)

    def decide(view: View) -> np.ndarray:
        if view.day % CADENCE:
            return view.budgets
        now = view.budgets
        curves = fit(history(view, settings.response.history_days), settings.response)
        by_rules = method in ('rules', 'both')
        told = whole(view) if by_rules else week(view)
        asked = None
        if by_rules:
            there = known_there(curves, now)
            share = marginal(curves, now) / np.maximum(revenue(curves, now) / now, 1e-9)
            told = told.assign(marginal_ratio=np.where(there, share, np.nan).ravel())
            wishes = ruled(told, None, made)
            decides = ~there | (method == 'rules')
            names = wishes.table['rule'].to_numpy().reshape(now.shape)
            decides |= np.isin(names, settings.allocation.overriding)
            asked = np.where(decides, wishes.table['ruled'].to_numpy().reshape(now.shape), np.nan)
            fired = view.memory.setdefault('fired', Counter())
            fired.update(names.ravel().tolist())
            view.memory['wished'] = asked
        box = Box(now, view.low, view.high, view.total[:, 0])
        beside = wanted_beside(told, curves, view) if weighed else NONE
        return steer(curves, box, settings.allocation.steer, (asked, beside)).budgets

    return decide


# ---- peers --------------------------------------------------------------------------------------


def hold(view: View) -> np.ndarray:
    "The first budgets for ever"
    return view.first


def toward(view: View, wanted: np.ndarray) -> np.ndarray:
    "As near to the wanted budgets as a day's step and the total allow"
    return fill(np.maximum(wanted, 1e-6), view.low, view.high, view.total[:, 0])


def equal(view: View) -> np.ndarray:
    "The same budget for all"
    return toward(view, np.ones_like(view.first))


def shrunk(view: View, days: int, money: float) -> np.ndarray:
    "Roas of the last days with so much money of the account's usual one added"
    told = reports(view, days)
    earned, spent = told.revenue.sum(-1), told.spend.sum(-1)
    usual = earned.sum(-1, keepdims=True) / spent.sum(-1, keepdims=True)
    return (earned + usual * money) / np.maximum(spent + money, 1e-9)


def proportional(view: View) -> np.ndarray:
    "In proportion to roas of 7 days"
    return toward(view, shrunk(view, 7, 0))


SHRINK = 300.0  # money; of a usual ad set's week


def shrunk_squared(view: View) -> np.ndarray:
    "In proportion to the square of roas of 28 days, shrunk toward the account's"
    return toward(view, shrunk(view, 28, SHRINK) ** 2)


def shrunk_squared_sized(view: View) -> np.ndarray:
    "The same, times the first budgets: who was planned large stays large"
    return toward(view, view.first * shrunk(view, 28, SHRINK) ** 2)


def thresholds(wait: int) -> Callable[[View], np.ndarray]:
    "20 % more above 1.2 times the account's roas of 7 days, 20 % less below 0.9, every `wait` days"

    def decide(view: View) -> np.ndarray:
        told, now = reports(view, 7), view.budgets
        usual = told.revenue.sum((-1, -2)) / told.spend.sum((-1, -2))
        ratio = shrunk(view, 7, 0) / usual[:, None]
        since = view.memory.setdefault('since', np.full(now.shape, wait))
        move = np.where(ratio > 1.2, 1 + STEP, np.where(ratio < 0.9, 1 - STEP, 1.0))
        move = np.where(since >= wait, move, 1.0)
        view.memory['since'] = np.where(move != 1, 0, since) + 1
        return toward(view, now * move)

    return decide


def thompson(view: View) -> np.ndarray:
    "In proportion to a draw of each roas: purchases of 14 days, gamma, the usual order value"
    told = reports(view, 14)
    bought, spent = told.purchases.sum(-1), told.spend.sum(-1)
    value = told.revenue.sum((-1, -2)) / np.maximum(told.purchases.sum((-1, -2)), 1)
    usual = bought.sum(-1, keepdims=True) / spent.sum(-1, keepdims=True)
    rng = np.random.default_rng([view.seed, 11, view.day])
    drawn = rng.gamma(bought + 1, 1 / (spent + 1 / np.maximum(usual, 1e-9)))
    return toward(view, drawn * value[:, None])


REACH = (0.5, 1.5)  # of today's budgets: how far a plan of a week may lie


def fit_hold(view: View) -> np.ndarray:
    "Once a week the best budgets of fitted curves (ours), gone to in daily steps, then held"
    if view.day % 7 == 0:
        settings = house().budgets.response
        curves = fit(history(view, settings.history_days), settings)
        now = view.budgets
        view.memory['plan'] = best(
            curves, Box(now, REACH[0] * now, REACH[1] * now, view.total[:, 0])
        )[0]
    return toward(view, view.memory['plan'])


PARTS = 21


def oracle(view: View) -> np.ndarray:
    "The day's best budgets under the truth; effects that arrive later are counted at once"
    state, (low, high) = view.state, (view.low, view.high)
    state = state._replace(world=state.world.model_copy(update={'carryover': 0.0}))
    steps = np.linspace(0, 1, PARTS)
    at = [low + (high - low) * part for part in steps]
    value = np.stack([expected(state, budgets).revenue for budgets in at], -1)
    width = ((high - low) / (PARTS - 1))[..., None]
    slope = np.minimum.accumulate(np.diff(value, axis=-1) / width, -1)
    least, most = np.zeros((*low.shape[:-1], 1, 1)), slope.max((-1, -2), keepdims=True) * 1.01
    for _ in range(40):
        price = (least + most) / 2
        short = (low + ((slope > price) * width).sum(-1)).sum(-1, keepdims=True) < view.total
        most = np.where(short[..., None], price, most)
        least = np.where(short[..., None], least, price)
    return toward(view, low + ((slope > (least + most) / 2) * width).sum(-1))


POLICIES: dict[str, Callable[[], Callable[[View], np.ndarray]]] = {
    'hold': lambda: hold,
    'equal': lambda: equal,
    'thresholds': lambda: thresholds(0),
    'thresholds_cooldown': lambda: thresholds(CADENCE),
    'thompson': lambda: thompson,
    'proportional': lambda: proportional,
    'shrunk_squared': lambda: shrunk_squared,
    'shrunk_squared_sized': lambda: shrunk_squared_sized,
    'fit_hold': lambda: fit_hold,
    'rules': lambda: ours('rules'),
    'response': lambda: ours('response'),
    'both': lambda: ours('both'),
    'response_weights': lambda: ours('response_weights'),
}
PEERS = tuple(name for name in POLICIES if name not in OURS)


# ---- play ---------------------------------------------------------------------------------------


class Played(NamedTuple):
    "56 days of one policy, by run"

    earned: np.ndarray
    turnover: np.ndarray
    resets: np.ndarray
    edits: np.ndarray
    fired: Counter


class Warm(NamedTuple):
    "Accounts after the warm-up"

    state: State
    past: list[Outcome]
    reported: np.ndarray
    seed: int


def weather(seed: int, day: int) -> np.random.Generator:
    "The luck of a day, the same for every policy"
    return np.random.default_rng([seed, 7, day])


def warmed(world: World, seed: int, runs: int) -> Warm:
    "Accounts played at their first budgets"
    state, past = market(world, seed, runs), []
    for day in range(WARM):
        state, outcome = play(state, state.truth.budget, weather(seed, day))
        past.append(outcome)
    return Warm(state, past, lag(past, MaturitySettings()), seed)


def played(warm: Warm, decide: Callable[[View], np.ndarray]) -> Played:
    "What a policy makes of the accounts"
    state, past, _, seed = warm
    past, memory = list(past), {}
    first = state.truth.budget
    total, now = first.sum(-1, keepdims=True), first
    earned = turnover = resets = edits = np.zeros(len(first))
    for day in range(DAYS):
        low, high = now * (1 - STEP + EDGE), now * (1 + STEP - EDGE)
        view = View(
            day, seed, state.world, past, now, low, high, total, first, warm.reported, memory, state
        )
        then = np.clip(decide(view), low, high)
        assert np.abs(then.sum(-1) / total[:, 0] - 1).max() < 1e-6
        moved = np.abs(then - now)
        turnover = turnover + moved.sum(-1) / total[:, 0] / 2 / DAYS
        resets = resets + (moved > state.world.large_edit * now).mean(-1) * 7 / DAYS
        edits = edits + (moved > 0.001 * now).mean(-1) * 7 / DAYS
        earned = earned + expected(edited(state, then), then).revenue.sum(-1)
        now = then
        state, outcome = play(state, now, weather(seed, WARM + day))
        past.append(outcome)
    return Played(earned, turnover, resets, edits, memory.get('fired', Counter()))


def seed_of(seed: int, family: str, chunk: int) -> int:
    "A seed of its own for each chunk of accounts"
    return 1_000_003 * (seed + 1) + 1009 * list(FAMILIES).index(family) + chunk


def one(job: tuple[int, str, int]) -> tuple[str, dict[str, Played]]:
    "Every policy on one chunk of a family's accounts"
    seed, family, chunk = job
    warm = warmed(FAMILIES[family], seed_of(seed, family, chunk), CHUNK)
    found = {name: played(warm, made()) for name, made in POLICIES.items()}
    return family, found | {'oracle': played(warm, oracle)}


def joined(pages: list[Played]) -> Played:
    "The same policy over all chunks"
    arrays = [np.concatenate([p[i] for p in pages]) for i in range(4)]
    return Played(*arrays, sum((p.fired for p in pages), Counter()))


def spread(values: np.ndarray) -> dict[str, float]:
    "Mean of paired differences with a 95 % interval"
    half = 1.96 * values.std(ddof=1) / np.sqrt(len(values))
    told = {'mean': values.mean(), 'low': values.mean() - half, 'high': values.mean() + half}
    return {name: round(float(x), 5) for name, x in told.items()}


def told(found: dict[str, Played]) -> dict[str, dict]:
    "The figures of a family"
    most = found['oracle'].earned
    share = {name: p.earned / most for name, p in found.items() if name != 'oracle'}
    still = share['hold'].mean()
    table: dict[str, dict] = {}
    for name, mine in share.items():
        table[name] = {
            'mean': mine.mean(),
            'p10': np.quantile(mine, 0.1),
            'gap_closed': (mine.mean() - still) / (1 - still),
            'turnover': found[name].turnover.mean(),
            'resets': found[name].resets.mean(),
            'edits': found[name].edits.mean(),
        }
        table[name] = {k: round(float(x), 5) for k, x in table[name].items()}
        if name in OURS:
            table[name]['against'] = {peer: spread(mine - share[peer]) for peer in PEERS}
    return table


def fan(job: Callable, jobs: list, workers: int) -> list:
    "Jobs in their order, in this process or in several"
    if workers <= 1:
        return [job(one_) for one_ in jobs]
    with ProcessPoolExecutor(workers) as pool:
        return list(pool.map(job, jobs))


def bars(families: dict[str, dict]) -> list[tuple[str, bool, str]]:
    "Each bar of the issue: words, whether it is met, and the worst case"
    matched = [f for f in families if f != ALIEN]
    mean = lambda family, name: families[family][name]['mean']
    peer = lambda family: max(PEERS, key=lambda name: mean(family, name))
    matched = matched or list(families)
    least = min(matched, key=lambda f: mean(f, 'response'))
    behind = {f: mean(f, peer(f)) - mean(f, 'response') for f in families}
    worst = max(behind, key=behind.__getitem__)
    both = {f: mean(f, 'response') - mean(f, 'both') for f in families}
    poor = max(both, key=both.__getitem__)
    rules = {f: mean(f, 'thresholds_cooldown') - mean(f, 'rules') for f in families}
    weak = max(rules, key=rules.__getitem__)
    six = np.mean([-rules[f] for f in matched])
    return [
        ('response >= .95 in each of the six', mean(least, 'response') >= 0.95,
         f'{least} {mean(least, "response"):.4f}'),
        ('response at most .005 behind the best peer in all seven', behind[worst] <= 0.005,
         ', '.join(f'{f} {-b:+.4f} to {peer(f)}' for f, b in behind.items() if b > 0.005) or f'{worst} {-behind[worst]:+.4f} to {peer(worst)}'),
        ('both >= response - .005 in all seven', both[poor] <= 0.005,
         f'{poor} {-both[poor]:+.4f}'),
        ('rules >= thresholds with cooldown, mean of the six', six >= 0, f'{six:+.4f}'),
        ('rules >= thresholds with cooldown in all seven', rules[weak] <= 0,
         f'{weak} {-rules[weak]:+.4f}'),
    ]  # fmt: skip


def shown(families: dict[str, dict], runs: int) -> None:
    "A table a family, and a line a bar"
    for family, table in families.items():
        print(f'\n{family}: {runs} accounts, share of the capped oracle')
        head = f'{"":22}{"mean":>8}{"p10":>8}{"gap":>7}{"turnover":>10}{"edits":>7}{"resets":>8}'
        print(head + f'{"response - it, 95 %":>26}')
        for name, row in sorted(table.items(), key=lambda item: -item[1]['mean']):
            line = f'{name:22}{row["mean"]:8.4f}{row["p10"]:8.4f}{row["gap_closed"]:7.2f}'
            line += f'{row["turnover"]:10.4f}{row["edits"]:7.2f}{row["resets"]:8.3f}'
            if pair := table['response']['against'].get(name):
                line += f'{pair["mean"]:+10.4f} ({pair["low"]:+.4f} {pair["high"]:+.4f})'
            print(line)
    print()
    for words, met, worst in bars(families):
        print(f'{"met    " if met else "NOT MET"}  {words}: {worst}')


# ---- rules one at a time ------------------------------------------------------------------------

WITHOUT = ('base', 'small', 'weak')
COSTS = 0.005


def without(job: tuple[int, str, str]) -> tuple[str, str, Played, np.ndarray]:
    "A family's accounts under the rulebook without one rule ('' leaves it whole)"
    seed, family, rule = job
    book = house().policy
    if rule:
        off = book.rules[rule].model_copy(update={'on': False})
        book = book.model_copy(update={'rules': book.rules | {rule: off}})
    warm = warmed(FAMILIES[family], seed_of(seed, family, 0), CHUNK)
    most = played(warm, oracle).earned
    return family, rule, played(warm, ours('rules', book)), most


def ablate(seed: int, workers: int) -> dict:
    "What each rule that fires brings to `rules`: mean share with it, less without it"
    bare = fan(without, [(seed, family, '') for family in WITHOUT], workers)
    fired = sum((p.fired for _, _, p, _ in bare), Counter())
    names = [n for n, _ in fired.most_common() if n]
    share = {(f, ''): p.earned / m for f, _, p, m in bare}
    jobs = [(seed, family, rule) for rule in names for family in WITHOUT]
    share |= {(f, r): p.earned / m for f, r, p, m in fan(without, jobs, workers)}
    rows = {}
    for rule in names:
        brings = {f: share[f, ''] - share[f, rule] for f in WITHOUT}
        rows[rule] = {
            'fired': round(fired[rule] / sum(fired.values()), 4),
            **spread(np.mean(list(brings.values()), axis=0)),
            **{f: round(float(b.mean()), 5) for f, b in brings.items()},
        }
    return {'share': {f: round(float(share[f, ''].mean()), 5) for f in WITHOUT}, 'rules': rows}


# ---- nothing to find ----------------------------------------------------------------------------

IDENTICAL, BOUGHT, A_DAYS = 200, (2, 10, 50, 200), 14


def same(purchases: float) -> World:
    "Ad sets that are all alike and sell so much a day; budgets large enough for it"
    plain = World(
        adsets=IDENTICAL, kinds=('Broad',), spread=0.0, saturation_spread=0.0, log_share=0.0,
        power=(1.0, 1.0), drift=0.0,
    )  # fmt: skip
    sells = expected(market(plain, 0), market(plain, 0).budget).purchases.mean()
    size = purchases / float(sells)
    return plain.model_copy(update={'budget': plain.budget * size, 'pool': plain.pool * size})


def nothing(job: tuple[int, float, int]) -> dict[str, float]:
    "Share of identical ad sets whose budget falls after 14 days, by method"
    seed, purchases, runs = job
    world = same(purchases)
    chosen = 1_000_003 * (seed + 1) + int(purchases)
    state, past = market(world, chosen, runs), []
    for day in range(A_DAYS):
        state, outcome = play(state, state.truth.budget, weather(chosen, day))
        past.append(outcome)
    now = state.truth.budget
    sides = now * (1 - STEP), now * (1 + STEP), now.sum(-1, keepdims=True), now
    found: dict[str, float] = {'purchases': purchases}
    for method in METHODS:
        memory: dict = {}
        view = View(
            0, chosen, world, past, now, *sides, lag(past, MaturitySettings()), memory, state
        )
        then = ours(method)(view)
        found[method] = float((then < now * (1 - 1e-4)).mean())
        if method == 'rules':
            found['wished'] = float((memory['wished'] < now * (1 - 1e-4)).mean())
            found['fired'] = dict(memory['fired'].most_common(6))
    return found


# ---- how long it takes --------------------------------------------------------------------------


MANY, LONG = 10_000, 90


def large(seed: int) -> tuple[pd.DataFrame, pd.DataFrame]:
    "Days and the table of ad sets of one account of 10,000 ad sets x 90 days"
    rng, calendar = np.random.default_rng(seed), pd.date_range(end='2026-06-28', periods=LONG)
    names = pd.Series([f'a{number:05}' for number in range(MANY)], dtype='str')
    campaigns = pd.Series([f'c{number // 20:04}' for number in range(MANY)], dtype='str')
    budget = rng.lognormal(3.5, 0.8, MANY).round(2)
    spend = (budget[:, None] * rng.uniform(0.8, 1.1, (MANY, LONG))).round(2).ravel()
    bought = rng.poisson(spend * np.repeat(rng.lognormal(-3.3, 0.4, MANY), LONG)).astype('float64')
    days = pd.DataFrame(
        {
            'date': np.tile(calendar, MANY),
            'adset_id': names.repeat(LONG).array,
            'campaign_id': campaigns.repeat(LONG).array,
            'spend': spend,
            'impressions': (100 * spend).round(),
            'clicks': rng.poisson(1.5 * spend).astype('float64'),
            'purchases': bought,
            'revenue': (50 * bought).round(2),
        }
    )
    said = {'budget': budget, 'budget_level': 'adset', 'learning_status': 'STEADY'}
    said |= {'status': 'ACTIVE', 'snapshot_at': pd.Timestamp('2026-06-29', tz='UTC')}
    return days, pd.DataFrame({'adset_id': names, 'campaign_id': campaigns, **said})


def speed(seed: int) -> dict[str, float]:
    "Seconds from days to a plan, the second of two runs, whose plans are the same byte for byte"
    days, adsets = large(seed)
    last, texts, found = days['date'].max(), [], {}
    for _ in range(2):
        begun = time.perf_counter()
        facts = Facts({'adset': days}, adsets=adsets)
        table = features(facts, last, FeatureSettings())
        held = units(table, adsets, last)
        rows, between = unit_days(facts.days, held, last), time.perf_counter()
        now = Now(last.tz_localize('UTC') + pd.Timedelta(days=1), 'EUR', 'meta', 0)
        plan = allocate(Case(held, rows, last, now, house()))
        done = time.perf_counter()
        found = {'features': between - begun, 'allocate': done - between, 'all': done - begun}
        texts.append(files(plan))
    assert texts[0] == texts[1]
    return {name: round(seconds, 2) for name, seconds in found.items()}


# ---- the run ------------------------------------------------------------------------------------

OTHER = 7_000  # seeds of the three looks beside the benchmark


def main() -> None:
    "Measure and print"
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument('--seed', type=int, default=0)
    options.add_argument('--quick', action='store_true', help=f'{CHUNK} accounts a family, not 100')
    options.add_argument('--json', action='store_true', help='one object on stdout')
    options.add_argument('--data', type=Path, help='not taken: see above')
    options.add_argument('--jobs', type=int, default=os.cpu_count() or 1, help='processes')
    options.add_argument('--families', default=','.join(FAMILIES), help='some of them')
    options.add_argument('--ablate', action='store_true', help='rules off, one at a time')
    options.add_argument('--aa', action='store_true', help='identical ad sets')
    options.add_argument('--speed', action='store_true', help='10,000 ad sets x 90 days')
    args = options.parse_args()
    begun = time.perf_counter()
    if args.data:
        sys.exit(
            'error: allocation takes no --data; no data set says what other budgets would have earned'
        )
    if args.ablate:
        found = ablate(args.seed + OTHER, args.jobs)
        if args.json:
            print(json.dumps(found))
            return
        print(f'what a rule brings to the share of `rules` ({CHUNK} accounts a family); whole book: '
              + ', '.join(f'{f} {x:.4f}' for f, x in found['share'].items()))  # fmt: skip
        print(f'{"":28}{"fired":>8}{"brings":>9}{"95 %":>20}' + ''.join(f'{f:>9}' for f in WITHOUT))
        for rule, row in sorted(found['rules'].items(), key=lambda item: item[1]['mean']):
            line = f'{rule:28}{row["fired"]:8.2%}{row["mean"]:+9.4f}'
            line += f'{row["low"]:+10.4f}{row["high"]:+10.4f}'
            line += ''.join(f'{row[f]:+9.4f}' for f in WITHOUT)
            print(line + ('  costs more than half a point' if row['mean'] < -COSTS else ''))
    elif args.aa:
        runs = 5 if args.quick else 20
        rows = fan(nothing, [(args.seed + OTHER, n, runs) for n in BOUGHT], args.jobs)
        if args.json:
            print(json.dumps(rows))
            return
        print(
            f'{IDENTICAL} identical ad sets, {A_DAYS} days, {runs} accounts: share that gets a decrease'
        )
        print(
            f'{"purchases a day":18}'
            + ''.join(f'{m:>10}' for m in (*METHODS, 'wished'))
            + '  rules that fired'
        )
        for row in rows:
            print(f'{row["purchases"]:15}   ' + ''.join(f'{row[m]:10.4f}' for m in (*METHODS, 'wished'))
                  + f'  {row["fired"]}')  # fmt: skip
    elif args.speed:
        found = speed(args.seed + OTHER)
        print(json.dumps(found) if args.json else f'seconds for 10,000 ad sets x 90 days: {found}')
        return
    else:
        names, chunks = args.families.split(','), 1 if args.quick else 5
        jobs = [(args.seed, f, chunk) for f in names for chunk in range(chunks)]
        pages = fan(one, jobs, args.jobs)
        families = {
            f: told({p: joined([page[p] for g, page in pages if g == f]) for p in pages[0][1]})
            for f in names
        }
        if args.json:
            print(json.dumps({'seeds': chunks * CHUNK, 'families': families}))
            return
        shown(families, chunks * CHUNK)
    print(f'\n{time.perf_counter() - begun:.0f} s')


if __name__ == '__main__':
    main()
