"""Whether the replay of a past ranks policies as the truth does, and promises no more than they earn.

python tests/bench/replay.py [--seed N] [--quick] [--json] [--jobs N] [--vary]

24 simulated customers (six market families, 12 to 24 ad sets, 170 days; budgets that people moved)
and 40 policies: five baselines, the default rulebook and random rulebooks within the bounds of
rules.rulebook.space. Every policy decides every step of every past from the observed state; the
package says what it would have gained over hold, customer by customer and for all together
(tuning.replay.replay), and customers.truth says what it would truly have earned in the days until
the next step. All policies keep to one step of the guardrails, so gains are small: the best there is
(an oracle within the same limits) is printed beside, and `share` is the bias as a share of it.

rho_pooled: rank correlation of gains over all customers together; rho_customer: mean of the rank
correlations customer by customer; bias: promised less true gain of the policy that the replay puts
first, share of revenue (bias_customer: the mean of each customer's own winner; bias_all: mean over all
policies); coverage: share of customers and policies whose true gain lies in the 80 % interval
(coverage_pooled: of the policies, all customers together). `linear` is the replay that multiplies
each budget by its roas, on the same days; its interval is a bootstrap of steps.

--vary shows other embargoes and horizons, on other seeds than those of the benchmark. --data is not
taken: no public set says what other budgets would have earned.
"""

import os

for name in ('OMP_NUM_THREADS', 'OPENBLAS_NUM_THREADS'):
    os.environ.setdefault(name, '1')

import argparse
import json
import sys
import time
from concurrent.futures import ProcessPoolExecutor
from functools import cache
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd

REPO = Path(__file__).resolve().parents[2]
for folder in (REPO, REPO / 'tests/bench'):
    if str(folder) not in sys.path:
        sys.path.insert(0, str(folder))

from customers import customers, future, oracle, worth

from adsbench.budgets.objectives import ObjectiveSettings
from adsbench.budgets.state import BudgetSettings, House
from adsbench.data.layers import read_layers
from adsbench.data.settings import find_root, section
from adsbench.rules.policy import policy
from adsbench.tuning.policies import BASELINES, closed, ruler
from adsbench.tuning.replay import replay
from adsbench.tuning.space import from_cube, space_of
from adsbench.tuning.steps import About, ReplaySettings, Steps, steps

CUSTOMERS, POLICIES, DAYS = 24, 40, 170
QUICK = 6  # customers of --quick
LAG = 7  # days until purchases are all reported; later days judge nothing
BOOT = 200
VARIED = tuple((e, h) for e in (0, 7, 14) for h in (7, 14, 21, 28))
OTHER = 7_000  # seeds of --vary


@cache
def house() -> House:
    "The settings that ship"
    layers = read_layers(find_root(), environ={})
    told = {'budgets': BudgetSettings, 'objectives': ObjectiveSettings}
    return House(policy(layers), *(section(layers, n, c) for n, c in told.items()))


def rulebooks(seed: int, count: int) -> list[dict[str, float]]:
    "Random values of every parameter within its bounds, thresholds of roas in their order"
    space, rng = space_of(house().policy), np.random.default_rng([seed, 5])
    return [from_cube(space, rng.random(len(space.table))) for _ in range(count)]


def budgets(past: Steps, books: list[dict[str, float]], seed: int) -> dict[str, np.ndarray]:
    "What every policy does at every step"
    found = {name: closed(past, wish(past, seed)) for name, wish in BASELINES.items()}
    ruled = ruler(past, house())
    found['defaults'] = ruled({})
    return found | {f'rules_{k:02d}': ruled(values) for k, values in enumerate(books)}


class Judged(NamedTuple):
    "A customer: its steps, and revenue of each policy"

    family: str
    past: Steps
    budgets: dict[str, np.ndarray]
    true: pd.Series  # revenue a day of each policy, summed over steps
    best: float  # of the oracle
    told: pd.DataFrame  # of replay, by policy
    linear: pd.DataFrame  # the same of the linear replay


def boot(customers: list[np.ndarray], seed: int) -> pd.DataFrame:
    "Gains over the first policy, steps drawn again for an interval; values policies x steps"
    rng, many, gain = np.random.default_rng([seed, 9]), [], []
    for values in customers:
        drawn = rng.integers(0, values.shape[1], (BOOT, values.shape[1]))
        again, whole = values[:, drawn].sum(-1), values.sum(-1)
        many.append(again / again[0] - 1)
        gain.append(whole / whole[0] - 1)
    low, high = np.quantile(np.mean(many, axis=0), [0.1, 0.9], axis=-1)
    return pd.DataFrame({'gain': np.mean(gain, axis=0), 'low': low, 'high': high})


def by_roas(past: Steps, plan: dict[str, np.ndarray]) -> np.ndarray:
    "Revenue a day of each policy and step if roas stayed what it was"
    return np.stack([np.nansum(b * past.roas, -1) for b in plan.values()])


def judge(job: tuple) -> Judged:
    "One customer, all policies"
    family, history, settings, seed = job
    past = steps(
        history.facts, house(), settings, About(history.last - pd.Timedelta(days=LAG), family)
    )
    plan = budgets(past, rulebooks(seed, POLICIES - len(BASELINES) - 1), seed)
    ahead = future(history, past, settings.step_days)
    true = worth(ahead, np.stack(list(plan.values()))).sum(-1)
    most = worth(ahead, oracle(ahead, past.low, past.high, past.now.sum(-1))).sum()
    told = replay([past], {n: [b] for n, b in plan.items()}, settings, seed).set_index('policy')
    linear = boot([by_roas(past, plan)], seed).set_index(pd.Index(plan))
    return Judged(
        family, past, plan, pd.Series(true, plan), float(most), told.loc[list(plan)], linear
    )


def rank(left: pd.Series, right: pd.Series) -> float:
    "Spearman's rank correlation, by name"
    return float(np.corrcoef(left.rank(), right[left.index].rank())[0, 1])


def averaged(pages: list['Judged']) -> pd.Series:
    "True gain of each policy, mean of the customers"
    return sum(gains(page.true) for page in pages) / len(pages)


def gains(true: pd.Series) -> pd.Series:
    "Over hold"
    return true / true['hold'] - 1


def inside(told: pd.DataFrame, true: pd.Series) -> float:
    "Share of policies whose truth is in the interval; of hold everything is known"
    rows = told.drop(index='hold')
    return float(((rows['low'] <= true[rows.index]) & (true[rows.index] <= rows['high'])).mean())


def figures(pages: list[Judged], pooled: pd.DataFrame, which: str) -> dict[str, float]:
    "The figures of one way to replay"
    own = [getattr(page, which) for page in pages]
    each = [gains(page.true) for page in pages]
    whole = averaged(pages)
    first, firsts = pooled['gain'].idxmax(), [told['gain'].idxmax() for told in own]
    mean = lambda values: float(np.mean(list(values)))
    most = mean(page.best / page.true['hold'] - 1 for page in pages)
    bias = float(pooled['gain'][first] - whole[first])
    found = {
        'rho_pooled': rank(pooled['gain'], whole),
        'rho_customer': mean(rank(t['gain'], e) for t, e in zip(own, each)),
        'bias': bias,
        'coverage': mean(inside(t, e) for t, e in zip(own, each)),
        'bias_customer': mean(t['gain'][f] - e[f] for t, e, f in zip(own, each, firsts)),
        'bias_all': mean((t['gain'] - e).mean() for t, e in zip(own, each)),
        'share': bias / most,
        'coverage_pooled': inside(pooled, whole),
        'width': mean((t['high'] - t['low']).drop('hold').mean() for t in own),
        'error': mean(np.sqrt(((t['gain'] - e) ** 2).mean()) for t, e in zip(own, each)),
        'regret': float(whole.max() - whole[first]),
        'winner_true': float(whole[first]),
    }
    return {name: round(float(value), 4) for name, value in found.items()}


def fan(job, jobs: list, workers: int) -> list:
    "Jobs in their order, in this process or in several"
    if workers <= 1:
        return [job(one) for one in jobs]
    with ProcessPoolExecutor(workers) as pool:
        return list(pool.map(job, jobs))


def measured(held: list, settings: ReplaySettings, seed: int, workers: int) -> tuple[dict, dict]:
    "All figures, and by policy the pooled gains"
    pages = fan(judge, [(f, h, settings, seed) for f, h in held], workers)
    names = list(pages[0].budgets)
    pooled = replay(
        [p.past for p in pages], {n: [p.budgets[n] for p in pages] for n in names}, settings, seed
    ).set_index('policy')
    linear = boot([by_roas(p.past, p.budgets) for p in pages], seed).set_index(pd.Index(names))
    true = averaged(pages)
    most = np.mean([p.best / p.true['hold'] - 1 for p in pages])
    found = figures(pages, pooled, 'told') | {'linear': figures(pages, linear, 'linear')}
    found |= {
        'customers': len(pages),
        'policies': len(names),
        'steps': int(np.mean([len(p.past.dates) for p in pages])),
        'oracle': round(float(most), 4),
        'best_true': round(float(true.max()), 4),
        'worst_true': round(float(true.min()), 4),
        'defaults_true': round(float(true['defaults']), 4),
        'covered': round(float(pooled['covered'].drop('hold').mean()), 4),
    }
    table = pooled[['gain', 'low', 'high', 'covered']].assign(true=true, linear=linear['gain'])
    return found, {n: {k: round(float(v), 4) for k, v in r.items()} for n, r in table.T.items()}


BARS = {
    'rho_pooled': (0.80, 1),
    'bias': (-0.08, 0.08),
    'coverage': (0.70, 0.90),
}


def main() -> None:
    "Measure and print"
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument('--seed', type=int, default=0)
    options.add_argument('--quick', action='store_true', help=f'{QUICK} customers, not {CUSTOMERS}')
    options.add_argument('--json', action='store_true', help='one object on stdout')
    options.add_argument('--data', type=Path, help='not taken: see above')
    options.add_argument('--jobs', type=int, default=os.cpu_count() or 1, help='processes')
    options.add_argument('--vary', action='store_true', help='other embargoes and horizons')
    args = options.parse_args()
    if args.data:
        sys.exit(
            'error: replay takes no --data; no data set says what other budgets would have earned'
        )
    begun, count = time.perf_counter(), QUICK if args.quick else CUSTOMERS
    seed = args.seed + OTHER * args.vary
    held, usual = customers(seed, count, DAYS), ReplaySettings()
    if args.vary:
        rows = {}
        for embargo, horizon in VARIED:
            changed = usual.model_copy(update={'embargo_days': embargo, 'horizon_days': horizon})
            rows[f'{embargo} {horizon}'] = measured(held, changed, seed, args.jobs)[0]
            print(f'embargo {embargo:2} horizon {horizon:2}', {k: v for k, v in rows[f'{embargo} {horizon}'].items() if k != 'linear'}, file=sys.stderr)  # fmt: skip
        print(json.dumps(rows))
        return
    found, table = measured(held, usual, seed, args.jobs)
    found['seconds'] = round(time.perf_counter() - begun, 1)
    if args.json:
        print(json.dumps(found | {'table': table}))
        return
    print(
        f'{found["customers"]} customers, {found["policies"]} policies, {found["steps"]} steps a customer; gains over hold'
    )
    print(f'{"":16}{"replayed":>10}{"80 %":>20}{"true":>9}{"linear":>9}{"covered":>9}')
    for name, row in sorted(table.items(), key=lambda item: -item[1]['gain']):
        print(f'{name:16}{row["gain"]:+10.4f}{row["low"]:+11.4f}{row["high"]:+9.4f}{row["true"]:+9.4f}'
              f'{row["linear"]:+9.4f}{row["covered"]:9.2f}')  # fmt: skip
    print(f'{"oracle":16}{"":30}{found["oracle"]:+9.4f}\n')
    print(f'{"":18}{"replay":>10}{"linear":>10}')
    for name, value in found['linear'].items():
        print(f'{name:18}{found[name]:10.4f}{value:10.4f}')
    for name, (least, most) in BARS.items():
        met = least <= found[name] <= most
        print(
            f'{"met    " if met else "NOT MET"}  {name} {found[name]:.4f} within {least} and {most}'
        )
    print(f'{found["seconds"]} s')


if __name__ == '__main__':
    main()
