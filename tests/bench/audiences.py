"""How often identical audiences are paused or scaled by luck, and how many real winners and losers are found.

Accounts of 200 audiences over 14 days at 2, 10, 50 and 200 purchases a day and audience, Poisson
counts, lognormal order values (log deviation .8), ten campaigns. In the quiet accounts all
audiences are the same, so every SCALE and PAUSE is false. In the planted ones 20 earn 1.5 times
and 20 earn .6 times the roas of the others, by their conversion rate (`volumes`) or by their order
value (`by_value`). The whole call that a customer makes runs: noise filter, posterior, trends,
matrix, guardrails. All audiences are of type Interest, the least patient row of the table.

The peer is the seed's point rule on the same rows: a winner from 1.2 times the account's roas, a
loser below .9. Its pauses and scales on quiet accounts are those of these two lines. Its power is
taken at equal false-action rate: both lines are moved, for each volume, to where it scales and
pauses exactly as many of the 160 ordinary audiences of the planted accounts as ours does.

--data takes a folder of CSV files (one quiet account each: date, adset_id, spend, purchases,
revenue; clicks optional) and adds the false rates on them under `data`.
"""

import argparse
import json
import time
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd

from adsbench.audiences.decide import DecisionSettings, decide, look
from adsbench.audiences.steps import Guard
from adsbench.rules.guardrails import Now

VOLUMES, AUDIENCES, PLANTED, DAYS = (2, 10, 50, 200), 200, 20, 14
END = pd.Timestamp('2026-06-14')
MORNING = pd.Timestamp('2026-06-15 06:00', tz='UTC')
SETTINGS = DecisionSettings()


class Job(NamedTuple):
    "One account"

    volume: int
    plant: str  # none, rate or value
    seed: int
    sigma: float


def account(job: Job) -> pd.DataFrame:
    "Days of an account; winners come first, then losers, in mixed campaigns"
    rng = np.random.default_rng([job.seed, job.volume, len(job.plant)])
    factor = np.ones((AUDIENCES, 1))
    if job.plant != 'none':
        factor[:PLANTED], factor[PLANTED : 2 * PLANTED] = 1.5, 0.6
    rate = factor if job.plant == 'rate' else np.ones_like(factor)
    bought = rng.poisson(job.volume * rate * np.ones((AUDIENCES, DAYS)))
    orders = rng.lognormal(np.log(60) - job.sigma**2 / 2, job.sigma, bought.sum())
    sums, last = np.r_[0.0, np.cumsum(orders)], np.cumsum(bought.ravel())
    revenue = (sums[last] - sums[last - bought.ravel()]).reshape(bought.shape)
    value = factor if job.plant == 'value' else np.ones_like(factor)
    return pd.DataFrame(
        {
            'adset_id': np.repeat([f'{n:03d}' for n in range(AUDIENCES)], DAYS),
            'campaign_id': np.repeat([f'c{n % 10}' for n in range(AUDIENCES)], DAYS),
            'date': np.tile(pd.date_range(end=END, periods=DAYS), AUDIENCES),
            'spend': 20.0 * job.volume,
            'clicks': 40.0 * job.volume,
            'purchases': bought.ravel().astype(float),
            'revenue': (revenue * value).ravel(),
        }
    )


def decided(days: pd.DataFrame) -> pd.DataFrame:
    "What is decided on an account that nobody edited for weeks, each audience with its own spend as budget"
    as_of = days['date'].max()
    budget = days.groupby('adset_id')['spend'].mean()
    adsets = pd.DataFrame(
        {
            'adset_id': budget.index,
            'adset_name': 'audience ' + budget.index.astype('str'),
            'audience_type': 'Interest',
            'budget': budget.to_numpy().round(2),
            'budget_level': 'adset',
            'status': 'ACTIVE',
            'learning_status': 'STEADY',
            'launched': as_of - pd.Timedelta(days=200),
            'last_edit_at': (as_of - pd.Timedelta(days=45)).tz_localize('UTC'),
        }
    )
    seen = look(days, adsets, as_of, SETTINGS)
    moment = (as_of + pd.Timedelta(hours=30)).tz_localize('UTC')
    now = Now(moment, 'EUR', 'meta', int(100 * budget.sum()))
    return decide(seen, Guard(now), SETTINGS)


class Run(NamedTuple):
    "One account: actions, and the roas beside the account's as it was seen"

    job: Job
    scaled: np.ndarray
    paused: np.ndarray
    seen: np.ndarray
    seconds: float  # of processor time


def one(job: Job) -> Run:
    "Decide on one account"
    days, began = account(job), time.process_time()
    made = decided(days)
    took = time.process_time() - began
    flag = lambda action: made['action'].eq(action).to_numpy()
    return Run(job, flag('SCALE'), flag('PAUSE'), made['normalised_roas'].to_numpy(), took)


def mean_interval(values: np.ndarray, rng: np.random.Generator) -> list[float]:
    "90 % interval of a mean over seeds"
    again = rng.choice(values, (2000, len(values))).mean(axis=1)
    return [float(q) for q in np.quantile(again, [0.05, 0.95])]


def matched(null: np.ndarray, real: np.ndarray, false: int) -> float:
    "Share of real ones beyond the line that exactly so many null ones pass; larger is further"
    line = np.sort(null)[::-1][false]  # the first null one that must stay behind
    return float((real > line).mean())


def compared(quiet: list[Run], planted: list[Run], rng: np.random.Generator) -> tuple[dict, dict]:
    "The keys of ours and of the seed's rule at one volume"
    rest, win, lose = slice(2 * PLANTED, None), slice(0, PLANTED), slice(PLANTED, 2 * PLANTED)
    rate = lambda runs, name, part: np.array([getattr(run, name)[part].mean() for run in runs])
    every = slice(None)
    ours = {
        'pause': float(rate(quiet, 'paused', every).mean()),
        'pause_interval': mean_interval(rate(quiet, 'paused', every), rng),
        'scale': float(rate(quiet, 'scaled', every).mean()),
        'scale_interval': mean_interval(rate(quiet, 'scaled', every), rng),
        'power_winner': float(rate(planted, 'scaled', win).mean()),
        'power_winner_interval': mean_interval(rate(planted, 'scaled', win), rng),
        'power_loser': float(rate(planted, 'paused', lose).mean()),
        'power_loser_interval': mean_interval(rate(planted, 'paused', lose), rng),
        'false_scale': float(rate(planted, 'scaled', rest).mean()),
        'false_pause': float(rate(planted, 'paused', rest).mean()),
    }
    seen = lambda runs, part: np.concatenate([run.seen[part] for run in runs])
    count = lambda name: int(sum(getattr(run, name)[rest].sum() for run in planted))
    null, calm = seen(planted, rest), seen(quiet, every)
    seed = {
        'pause': float((calm < 0.9).mean()),
        'scale': float((calm >= 1.2).mean()),
        'power_winner': matched(null, seen(planted, win), count('scaled')),
        'power_loser': matched(-null, -seen(planted, lose), count('paused')),
        'false_scale': ours['false_scale'],
        'false_pause': ours['false_pause'],
        'unmatched': {
            'power_winner': float((seen(planted, win) >= 1.2).mean()),
            'power_loser': float((seen(planted, lose) < 0.9).mean()),
            'false_scale': float((null >= 1.2).mean()),
            'false_pause': float((null < 0.9).mean()),
        },
    }
    return ours, seed


def given(path: Path) -> dict[str, float]:
    "False rates on a quiet account of a file"
    days = pd.read_csv(path, parse_dates=['date'], dtype={'adset_id': 'str'})
    made = decided(days)
    share = lambda action: float(made['action'].eq(action).mean())
    return {'audiences': len(made), 'pause': share('PAUSE'), 'scale': share('SCALE')}


def main() -> None:
    "Measure and print"
    options = argparse.ArgumentParser(description=__doc__.split('\n')[0])
    options.add_argument('--seed', type=int, default=0, help='of the simulated accounts')
    options.add_argument('--quick', action='store_true', help='6 accounts a cell, not 24')
    options.add_argument('--sigma', type=float, default=0.8, help='log deviation of an order value')
    options.add_argument('--json', action='store_true', help='one object on stdout')
    options.add_argument('--data', type=Path, help='folder of quiet accounts as CSV files')
    chosen = options.parse_args()
    began, number = time.perf_counter(), 6 if chosen.quick else 24
    jobs = [
        Job(volume, plant, 1000 + chosen.seed * 7919 + i, chosen.sigma)
        for volume in VOLUMES
        for plant in ('none', 'rate', 'value')
        for i in range(number)
    ]
    with ProcessPoolExecutor(2) as pool:
        runs = list(pool.map(one, jobs, chunksize=2))
    rng = np.random.default_rng(chosen.seed)
    found: dict = {'volumes': {}, 'seed_rule': {}, 'by_value': {}, 'seed_rule_by_value': {}}
    for volume in VOLUMES:
        of = lambda plant, v=volume: [r for r in runs if r.job.volume == v and r.job.plant == plant]
        name = str(volume)
        found['volumes'][name], found['seed_rule'][name] = compared(of('none'), of('rate'), rng)
        ours, seed = compared(of('none'), of('value'), rng)
        found['by_value'][name], found['seed_rule_by_value'][name] = ours, seed
    found['accounts'] = number
    found['decide_s'] = float(np.median([run.seconds for run in runs]))
    found['seconds'] = round(time.perf_counter() - began, 1)
    if chosen.data:
        found['data'] = {p.stem: given(p) for p in sorted(chosen.data.glob('*.csv'))}
    if chosen.json:
        print(json.dumps(found))
        return
    print(f'{number} accounts a cell, {AUDIENCES} audiences, {DAYS} days, {found["seconds"]} s; ')
    print(f'200 audiences decided in {found["decide_s"]:.2f} s of processor time (median)\n')
    head = ('pause', 'scale', 'power_winner', 'power_loser', 'false_scale', 'false_pause')
    print(f'{"":34}' + ''.join(f'{h:>14}' for h in head))
    for title, ours, seed in (
        ('by conversion rate', 'volumes', 'seed_rule'),
        ('by order value', 'by_value', 'seed_rule_by_value'),
    ):
        for volume in found[ours]:
            for who, key in (('ours', ours), ("seed's rule", seed)):
                row = ''.join(f'{found[key][volume][h]:14.4f}' for h in head)
                print(f'{title:20}{volume:>4} {who:>9}{row}')
    print("\npower of the seed's rule: its lines moved to our false-action rate")
    for name, row in found.get('data', {}).items():
        print(
            f'{name}: {row["audiences"]} audiences, paused {row["pause"]:.2%}, scaled {row["scale"]:.2%}'
        )


if __name__ == '__main__':
    main()
