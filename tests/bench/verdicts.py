"""Is a verdict of `adsbench tune` right? Markets where nothing can be gained, and markets with a planted better threshold.

python tests/bench/verdicts.py [--seed N] [--quick] [--json] [--jobs N] [--runs N] [--iterations N]

`no_signal`: ad sets that are all alike, on straight lines, without drift: no division of the money earns
more than another, whatever luck says. The rulebook that ships is tuned on 450 days; the verdict must be
KEEP DEFAULTS in at least 95 of 100 runs.

`planted`: one half of the ad sets truly sells less than half of what the other does, sizes differ, nobody
moves budgets after roas, and the rulebook has two rules (lower below `low_roas`, raise from `high_roas`)
whose numbers in force never fire. Numbers between the two halves lie within the bounds.
The verdict must be ADOPT, and the chosen numbers must truly earn more on steps that come after everything
that tuning saw, in at least 80 of 100 runs. `gain` is what the verdict promised, `truth` what the chosen
numbers bring on those later steps, both as shares of the revenue of the numbers in force.

Rules act without the odds of allocation.steer (replay.evidence: false): that is where a search can be
fooled most. --data is not taken: no public set says what other budgets would have earned.
"""

import os

for name in ('OMP_NUM_THREADS', 'OPENBLAS_NUM_THREADS', 'MKL_NUM_THREADS'):
    os.environ.setdefault(name, '1')

import argparse
import json
import sys
import time
import warnings
from concurrent.futures import ProcessPoolExecutor, as_completed
from pathlib import Path

import numpy as np
import pandas as pd

REPO = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(REPO), str(REPO / 'tests/bench')]

from customers import customer, future, worth
from replay import LAG, house

from adsbench.budgets.state import House
from adsbench.data.market import State
from adsbench.data.world import World
from adsbench.rules.rulebook import Rule
from adsbench.tuning.policies import ruler
from adsbench.tuning.search import SearchSettings
from adsbench.tuning.steps import About, ReplaySettings, steps
from adsbench.tuning.tune import TuningSettings, tune

RUNS, QUICK = 40, 4
DAYS, LATER = 450, 16  # days of the past; steps that tuning does not see
ITERATIONS = 40
SIZES, WEAK = 0.7, 0.4  # log spread of the sizes of ad sets; what the weak half sells
USUAL = {
    'adsets': 16,
    'budget': 18.0,
    'cpm': 0.9,
    'aov': 6.2,
    'pool': 280_000.0,
}  # seven sales a day
ALIKE = World(
    kinds=('Broad',), spread=0, drift=0, fatigue=0, saturation=1e6, saturation_spread=0,
    log_share=0, power=(1, 1), cpm_rise=0, **USUAL,
)  # fmt: skip
APART = World(spread=0.2, saturation=6, drift=0.005, fatigue=0, **USUAL)
FORCED = {'low_roas': 0.8, 'high_roas': 4.5, 'exc_roas': 6.0}  # the ends of their bounds
BARS = {'no_signal': 0.95, 'planted': 0.80}


def planted() -> House:
    "The house with two rules only, whose numbers in force never fire"
    own = house()
    rules = {n: r.model_copy(update={'on': False}) for n, r in own.policy.rules.items()}
    row = lambda number, when, change: Rule(
        number=number, tier='declining', when=when, change=change, because='roas is {roas}'
    )
    rules |= {
        'losers': row(900, 'roas < low_roas', '-aggressive_down'),
        'winners': row(901, 'roas >= high_roas', 'aggressive_up'),
    }
    parameters = dict(own.policy.parameters)
    for name, value in FORCED.items():
        parameters[name] = parameters[name].model_copy(update={'value': value})
    told = {'rules': rules, 'parameters': parameters}
    return own._replace(policy=own.policy.model_copy(update=told))


def halves(state: State, seed: int) -> State:
    "Ad sets of different sizes, every other one weak"
    rng, shape = np.random.default_rng([seed, 11]), state.budget.shape
    size = np.exp(SIZES * rng.standard_normal(shape))
    sells = np.where(np.arange(shape[-1]) % 2, WEAK, 1.0)
    own = {name: getattr(state.truth, name) * size for name in ('budget', 'pool', 'half')}
    truth = state.truth._replace(**own, top=state.truth.top * size * sells)
    memory = state.memory * size[..., None]
    first = {'budget': state.budget * size, 'stock': state.stock * size, 'memory': memory}
    return state._replace(truth=truth, **first)


def one(job: tuple[str, int, int]) -> dict:
    "The verdict on one account, and the truth"
    warnings.simplefilter('ignore')
    kind, seed, iterations = job
    rules, world = (house(), ALIKE) if kind == 'no_signal' else (planted(), APART)
    shape = {} if kind == 'no_signal' else {'shaped': halves, 'luck': 0.0}
    settings = TuningSettings(
        replay=ReplaySettings(evidence=False),
        search=SearchSettings(iterations=iterations),
        processes=1,
    )
    later = settings.replay.step_days * LATER
    history = customer(seed, world, DAYS + later, **shape)
    end = history.last - pd.Timedelta(days=LAG)
    past = steps(history.facts, rules, settings.replay, About(end - pd.Timedelta(days=later)))
    found = tune([past], rules, settings)
    whole = steps(history.facts, rules, settings.replay, About(end))
    rule, ahead = ruler(whole, rules), future(history, whole, settings.replay.step_days)
    unseen = np.asarray(whole.dates > past.dates[-1])
    mine, base = (worth(ahead, rule(values))[unseen].sum() for values in (found.chosen, {}))
    told = {'kind': kind, 'seed': seed, 'verdict': found.verdict, 'why': found.why}
    return told | {'gain': found.gain, 'low': found.low, 'truth': float(mine / base - 1)}


def summary(rows: list[dict]) -> dict:
    "Shares of verdicts by market"
    page, told = pd.DataFrame(rows), {}
    for kind, mine in page.groupby('kind'):
        words = mine['verdict'].value_counts().to_dict()
        found = {'runs': len(mine), **{w: int(n) for w, n in words.items()}}
        found |= {n: round(float(mine[n].mean()), 5) for n in ('gain', 'truth')}
        adopted = mine['verdict'] == 'ADOPT'
        right = ~adopted & (mine['verdict'] == 'KEEP DEFAULTS')
        if kind == 'planted':
            right = adopted & (mine['truth'] > 0)
        told[str(kind)] = found | {'right': round(float(right.mean()), 4)}
    return told


def main() -> None:
    "Measure and print"
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument('--seed', type=int, default=0)
    options.add_argument('--quick', action='store_true', help=f'{QUICK} runs of each market')
    options.add_argument('--json', action='store_true', help='one object on stdout')
    options.add_argument('--data', type=Path, help='not taken: see above')
    options.add_argument('--jobs', type=int, default=os.cpu_count() or 1, help='processes')
    options.add_argument('--runs', type=int, default=0, help='of each market')
    options.add_argument('--iterations', type=int, default=ITERATIONS, help='of each search')
    args = options.parse_args()
    if args.data:
        sys.exit('error: verdicts takes no --data; no data set says what other budgets would earn')
    begun, count = time.perf_counter(), args.runs or (QUICK if args.quick else RUNS)
    seeds = [200_003 * (args.seed + 1) + k for k in range(count)]
    jobs = [(kind, seed, args.iterations) for seed in seeds for kind in BARS]
    rows = []
    with ProcessPoolExecutor(args.jobs) as pool:
        for done in as_completed([pool.submit(one, job) for job in jobs]):
            rows.append(done.result())
            now = time.perf_counter() - begun
            print(f'{len(rows)} of {len(jobs)}, {now:.0f} s {rows[-1]}', file=sys.stderr)
    found = summary(rows)
    if args.json:
        print(json.dumps(found | {'total_s': round(time.perf_counter() - begun, 1)}))
        return
    for kind, told in found.items():
        met = 'met    ' if told['right'] >= BARS[kind] else 'NOT MET'
        print(f'{met} {kind}: right in {told["right"]:.0%} (bar {BARS[kind]:.0%}); {told}')
    print(f'{time.perf_counter() - begun:.0f} s')


if __name__ == '__main__':
    main()
