"""Simulated customers: what the package may know of them, and what any budgets would truly have earned.

`customer(seed, world, days)` plays an account whose budgets wander as people move them (half of the ad
sets once a week, by taste and after last week's luck), and gives its facts as they stand on the
evening of the last day: campaigns of four ad sets, the days so far reported, every budget edit.

`truth(history, steps, budgets, hold)` is the expected revenue a day, nothing drawn, of each step had
its budgets been set on the morning after the step's date and held for `hold` days; the state is the
observed one of that morning and what happens to efficiency afterwards is what happened. Edits above
20 % restart learning, creatives wear with the money spent, frequency follows: market.expected, day
after day, for all steps (and all policies) at once.
"""

import datetime as dt
import sys
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd

REPO = Path(__file__).resolve().parents[2]
if str(REPO) not in sys.path:
    sys.path.insert(0, str(REPO))

from adsbench.data.market import Lift, State, edited, expected, market, play, seen
from adsbench.data.world import World, season
from adsbench.features.table import Facts

GROUP = 4  # ad sets of a campaign
WEEK = 7
EDITED = 0.5  # share of ad sets that are moved in a week
TASTE, LUCK, BACK = (
    0.15,
    0.25,
    0.05,
)  # of an edit: by hand, after last week's roas, to the first budget
MOST = 0.3  # log; the largest edit a person makes at once
FAMILIES = {
    'base': World(),
    'weak': World(saturation=4.0),
    'strong': World(saturation=0.6),
    'low_fatigue': World(fatigue=0.03),
    'small': World(cvr=0.008),
    'no_drift': World(drift=0.0),
}


class History(NamedTuple):
    "A customer and its truth"

    facts: Facts
    world: World
    last: pd.Timestamp  # the last complete day
    ids: pd.Index  # of ad sets, in the order of the states
    states: State  # of every morning: arrays of shape days x ad sets
    efficiency: np.ndarray  # log, as it was on each day
    demand: np.ndarray  # of each day
    price: np.ndarray
    seed: int


def moved(
    now: np.ndarray, first: np.ndarray, roas: np.ndarray, luck: float, rng: np.random.Generator
) -> np.ndarray:
    "Budgets after a person's weekly edits"
    usual = np.nanmean(roas)
    follow = luck * np.log(np.clip(roas / usual, 0.25, 4))
    step = TASTE * rng.standard_normal(now.shape) + follow - BACK * np.log(now / first)
    step = np.where(rng.random(now.shape) < EDITED, np.clip(step, -MOST, MOST), 0)
    return (now * np.exp(step)).round(2)


def table(report, budgets: np.ndarray, reach: np.ndarray, world: World, seed: int) -> Facts:
    "The facts as an account's exports have them"
    days, adsets = report.spend.shape
    dates = pd.date_range(pd.Timestamp(world.start), periods=days)
    ids = [f's{seed}a{k:03d}' for k in range(adsets)]
    names = pd.DataFrame(
        {
            'account_id': f's{seed}',
            'campaign_id': [f's{seed}c{k // GROUP:02d}' for k in range(adsets)],
            'adset_id': ids,
        }
    ).astype('str')
    rows = names.iloc[np.repeat(np.arange(adsets), days)].reset_index(drop=True)
    rows['date'] = np.tile(dates, adsets)
    for name, part in report._asdict().items():
        rows[name] = part.T.reshape(-1).astype('float64')
    rows['spend'] = rows['spend'].round(2)
    rows['reach_at_least'] = reach.T.reshape(-1).astype('float64')
    edits = np.vstack([np.ones((1, adsets), bool), np.diff(budgets, axis=0) != 0])
    day, unit = np.nonzero(edits)
    held = names.iloc[unit].reset_index(drop=True)
    held['budget'] = budgets[day, unit]
    held['budget_level'], held['status'] = 'adset', 'ACTIVE'
    morning = dates[day] + pd.Timedelta(days=1, hours=5)  # the export of the morning after
    held['snapshot_at'] = morning.tz_localize('UTC')
    return Facts({'account': rows, 'campaign': rows, 'adset': rows}, held)


def customer(
    seed: int,
    world: World,
    days: int,
    shaped: Callable = lambda state, seed: state,
    luck: float = LUCK,
) -> History:
    "An account played for so many days; `shaped` changes its first morning, `luck` moves its budgets"
    state = shaped(market(world, seed), seed)
    first = now = state.truth.budget.round(2)
    mornings, outcomes, budgets, skill = [], [], [], []
    for day in range(days):
        if day and day % WEEK == 0:
            told = seen(outcomes[-WEEK:])
            roas = told.revenue.sum(0) / np.maximum(told.spend.sum(0), 1e-9)
            now = moved(now, first, roas, luck, np.random.default_rng([seed, 3, day]))
        mornings.append(state)
        state, outcome = play(state, now, np.random.default_rng([seed, 7, day]))
        outcomes.append(outcome)
        budgets.append(now[0])
        skill.append(state.efficiency[0])
    report = type(seen(outcomes[:1]))(*(part[:, 0] for part in seen(outcomes)))
    reach = np.stack([outcome.reach[0] for outcome in outcomes])
    facts = table(report, np.stack(budgets), reach, world, seed)
    stacked = {
        name: np.stack([np.asarray(getattr(m, name))[0] for m in mornings])
        for name in ('efficiency', 'spent', 'memory', 'stock', 'budget', 'calm', 'results')
    }
    demand, price = np.array([season(world, day) for day in range(days)]).T
    return History(
        facts,
        world,
        pd.Timestamp(world.start) + pd.Timedelta(days=days - 1),
        pd.Index([f's{seed}a{k:03d}' for k in range(world.adsets)]),
        mornings[0]._replace(**stacked),
        np.stack(skill),
        demand,
        price,
        seed,
    )


PLAIN = {'season': 0.0, 'season_cpm': 0.0, 'weekday': (1.0,) * WEEK}


def at(history: History, days: np.ndarray, units: np.ndarray) -> State:
    "The observed mornings of these days as a state of shape days x units, whose season is all 1"
    whole = history.states
    parts = {
        name: getattr(whole, name)[days][:, units]
        for name in ('efficiency', 'spent', 'memory', 'stock', 'budget', 'calm', 'results')
    }
    own = whole.truth._replace(**{k: v[:, units] for k, v in whole.truth._asdict().items()})
    return whole._replace(world=history.world.model_copy(update=PLAIN), truth=own, day=0, **parts)


class Future(NamedTuple):
    "What happens in the days after some steps; made once, read by every valuing"

    start: State
    efficiency: np.ndarray  # hold x D x U
    demand: np.ndarray  # hold x D x 1
    price: np.ndarray


def future(history: History, steps, hold: int) -> Future:
    "The mornings after the steps' dates and what comes"
    first = (steps.dates - pd.Timestamp(history.world.start)).days.to_numpy() + 1
    units = history.ids.get_indexer(steps.units)
    if (units < 0).any() or first.max() + hold > len(history.demand):
        raise ValueError('the steps are of another customer, or end after its last day')
    days = first + np.arange(hold)[:, None]
    return Future(
        at(history, first, units),
        history.efficiency[days][..., units],
        history.demand[days][..., None],
        history.price[days][..., None],
    )


def worth(ahead: Future, budgets: np.ndarray) -> np.ndarray:
    "Expected revenue a day of each step at budgets of shape ... x D x U"
    budgets = np.asarray(budgets, float)
    base = ahead.start
    state = base._replace(
        **{k: np.broadcast_to(getattr(base, k), budgets.shape) for k in ('stock', 'spent', 'budget', 'calm', 'results')},
        memory=np.broadcast_to(base.memory, (*budgets.shape, WEEK - 1)),
    )  # fmt: skip
    state, earned = edited(state, budgets), 0.0
    for skill, demand, price in zip(ahead.efficiency, ahead.demand, ahead.price):
        today = state._replace(
            efficiency=np.broadcast_to(skill, budgets.shape), lift=Lift(cpm=price, cvr=demand)
        )
        day = expected(today, budgets)
        earned = earned + day.revenue.sum(-1)
        state = state._replace(
            spent=state.spent + budgets,
            memory=np.concatenate([state.memory[..., 1:], day.impressions[..., None]], -1),
            stock=day.stock,
            calm=state.calm + 1,
            results=state.results + day.purchases,
        )
    return earned / len(ahead.efficiency)


def truth(history: History, steps, budgets: np.ndarray, hold: int) -> np.ndarray:
    "Expected revenue a day of each step, held for so many days"
    return worth(future(history, steps, hold), budgets)


PARTS, TRIES = 21, 40


def oracle(ahead: Future, low: np.ndarray, high: np.ndarray, total: np.ndarray) -> np.ndarray:
    "The budgets D x U that truly earn most within the limits and sum to the total of each step"
    from adsbench.budgets.projection import fill

    at_ = low + (high - low) * np.linspace(0, 1, PARTS)[:, None, None]
    value = np.stack([by_unit(ahead, budgets) for budgets in at_], -1)
    width = ((high - low) / (PARTS - 1))[..., None]
    rise = np.divide(
        np.diff(value, axis=-1), width, where=width > 0, out=np.zeros(value[..., 1:].shape)
    )
    slope = np.minimum.accumulate(rise, -1)
    least, most = np.zeros((len(low), 1)), slope.max((-1, -2))[:, None] * 1.01
    for _ in range(TRIES):
        middle = (least + most) / 2
        short = (low + ((slope > middle[..., None]) * width).sum(-1)).sum(-1)[:, None] < total[
            :, None
        ]
        most, least = np.where(short, middle, most), np.where(short, least, middle)
    wanted = low + ((slope > most[..., None]) * width).sum(-1)
    return fill(np.maximum(wanted, 1e-9) * (high > 0), low, high, total)


def by_unit(ahead: Future, budgets: np.ndarray) -> np.ndarray:
    "Expected revenue a day of each unit: nobody's budget touches another's revenue"
    cells = len(budgets), budgets.shape[1]
    start = ahead.start
    flat = Future(
        start._replace(
            truth=start.truth._replace(
                **{k: np.broadcast_to(v, cells).reshape(-1, 1) for k, v in start.truth._asdict().items()}
            ),
            **{k: getattr(start, k).reshape(-1, 1) for k in ('efficiency', 'stock', 'spent', 'budget', 'calm', 'results')},
            memory=start.memory.reshape(-1, 1, WEEK - 1),
        ),
        ahead.efficiency.reshape(len(ahead.efficiency), -1, 1),
        *(np.broadcast_to(x, (len(x), *cells)).reshape(len(x), -1, 1) for x in (ahead.demand, ahead.price)),
    )  # fmt: skip
    return worth(flat, budgets.reshape(-1, 1)).reshape(cells)


def customers(seed: int, count: int, days: int) -> list[tuple[str, History]]:
    "So many customers of all families, of 12 to 24 ad sets, by the name of their family"
    found = []
    for k in range(count):
        family = list(FAMILIES)[k % len(FAMILIES)]
        start = dt.date(2025, 9, 1) + dt.timedelta(days=29 * (k % 12))
        size = 12 + GROUP * ((k // len(FAMILIES)) % 4)
        world = FAMILIES[family].model_copy(update={'adsets': size, 'start': start})
        found.append((family, customer(100_003 * (seed + 1) + k, world, days)))
    return found
