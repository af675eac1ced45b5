"""What a search makes of a rulebook within so many evaluations: ours beside six peers, in truth.

python tests/bench/tuning.py [--seed N] [--quick] [--json] [--jobs N] [--methods a,b] [--weights]

An instance is a simulated customer (16 large ad sets, 220 days, six market families in turn) and the
rulebook that ships. Every method searches all parameters with bounds for the best mean replay score
of the steps of the first part of the past, and begins with the defaults. What counts is the truth that
only the simulator knows: loss is the revenue that an oracle within the same limits would earn more
than the policy; the figure is the cut of the default rulebook's loss in per cent, on the steps that
were searched on (`later`: on the eight steps after them, which nobody searched on; `replayed`:
what the search itself believes). All methods are read by the same rule, their best score so far;
`ours_chosen` is what the package would write: the one-standard-error rule toward the defaults.

Rules act without the odds of allocation.steer, which leave their numbers little to decide. The score
is the replay's revenue over hold's, less violations (weights of roas alone, so that what is
searched is what is measured; --weights takes the weights of objectives.yaml). Ours screens out
parameters of rules that never fire, as it does in production; the peers get the whole space
(--screened gives them ours). Ours and NGOpt know their budget and run once for each; the others are
read on the way. GP peers stop at 100 evaluations. `seconds` is time of the processor an evaluation beside the
objective; `at_seconds` is what each has found when ours has used its 100 and 200 evaluations (not in --quick).
Peers that are not installed are named and left out (pip install adsbench[bench]; optuna's GP wants torch
as well). --data is not taken: no public set says what other budgets would have earned.
"""

import os

for name in ('OMP_NUM_THREADS', 'OPENBLAS_NUM_THREADS', 'MKL_NUM_THREADS'):
    os.environ.setdefault(name, '1')

import argparse
import importlib.util
import json
import sys
import time
import warnings
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd

REPO = Path(__file__).resolve().parents[2]
for folder in (REPO, REPO / 'tests/bench'):
    if str(folder) not in sys.path:
        sys.path.insert(0, str(folder))

from customers import FAMILIES, Future, customer, future, oracle, worth
from replay import LAG, house

from adsbench.budgets.objectives import ObjectiveSettings, Weights
from adsbench.tuning.parts import reached
from adsbench.tuning.policies import ruler
from adsbench.tuning.replay import scored
from adsbench.tuning.search import SearchSettings, search
from adsbench.tuning.space import Space, from_cube, space_of, to_cube
from adsbench.tuning.steps import About, ReplaySettings, Steps, steps
from adsbench.tuning.trials import Task
from adsbench.tuning.tune import TuningSettings

INSTANCES, QUICK = 20, 6
ADSETS, DAYS, LATER = 16, 220, 8  # steps kept from the search
LARGE = 4  # times the usual budget and audience: what limits a search is then not luck alone
FOLDS = 4
EVIDENCE = False  # the rulebook alone decides, so that its numbers matter as much as they can
CHECKS = (100, 200, 500)
GP = 100  # evaluations of peers whose cost grows with the cube of them
CAP = 4000  # evaluations that a cheap peer may use of ours' seconds


class Instance(NamedTuple):
    "A customer whose rulebook is searched"

    past: Steps
    ahead: Future  # of the steps that are searched on
    rule: Callable[[Mapping[str, float]], np.ndarray]
    later: tuple  # the steps after them: Future, rulebook, which steps
    most: tuple[float, float]  # revenue of the oracle, on both
    objectives: ObjectiveSettings


def parts(history, last: pd.Timestamp, settings: ReplaySettings) -> tuple:
    "Steps up to a day, what comes after each, the rulebook as a function"
    past = steps(history.facts, house(), settings, About(last, 'bench'))
    return past, future(history, past, settings.step_days), ruler(past, house())


def instance(seed: int, number: int, weights: bool) -> Instance:
    "The customer of a seed"
    settings, family = ReplaySettings(evidence=EVIDENCE), list(FAMILIES)[number % len(FAMILIES)]
    plain = FAMILIES[family]
    size = {'adsets': ADSETS, 'budget': LARGE * plain.budget, 'pool': LARGE * plain.pool}
    world = plain.model_copy(update=size)
    history = customer(100_003 * (seed + 1) + number, world, DAYS)
    end = history.last - pd.Timedelta(days=LAG)
    past, ahead, rule = parts(
        history, end - pd.Timedelta(days=LATER * settings.step_days), settings
    )
    whole, after, rule_after = parts(history, end, settings)
    rest = np.asarray(whole.dates > past.dates[-1])
    best = [
        worth(a, oracle(a, p.low, p.high, p.now.sum(-1)))
        for p, a in ((past, ahead), (whole, after))
    ]
    plain = ObjectiveSettings(weights=Weights(roas=1, ctr=0, stability=0, utilisation=0))
    wanted = house().objectives if weights else plain
    most = float(best[0].sum()), float(best[1][rest].sum())
    return Instance(past, ahead, rule, (after, rule_after, rest), most, wanted)


def folds_of(count: int) -> list[np.ndarray]:
    "Consecutive blocks of steps"
    return np.array_split(np.arange(count), FOLDS)


class Told(Exception):
    "The evaluations or the seconds are used up"


class Objective:
    "Mean replay score of some values, counted and clocked"

    def __init__(self, of: Instance, least: int, seconds: float = np.inf):
        self.of, self.least, self.seconds = of, least, seconds
        self.blocks = folds_of(len(of.past.dates))
        self.log: list[tuple[float, Mapping[str, float], float]] = []
        self.spent, self.begun = 0.0, time.process_time()

    def folds(self, values: Mapping[str, float], which: Sequence[int]) -> np.ndarray:
        "The score of each fold"
        began = time.process_time()
        score = scored(self.of.past, self.of.rule(values), self.of.objectives).score
        self.spent += time.process_time() - began
        return np.array([np.nanmean(score[self.blocks[k]]) for k in which])

    def __call__(self, values: Mapping[str, float]) -> float:
        "What is to be maximised; raises Told when nothing is left"
        if self.over:
            raise Told
        found = float(self.folds(values, range(FOLDS)).mean())
        self.log.append((found, dict(values), time.process_time() - self.begun))
        return found

    @property
    def over(self) -> bool:
        "Whether the evaluations are used up and the seconds too"
        late = time.process_time() - self.begun >= self.seconds
        return len(self.log) >= CAP or (len(self.log) >= self.least and late)

    def best(self, count: float = np.inf, seconds: float = np.inf) -> Mapping[str, float]:
        "The best values among the first ones"
        seen = [row for k, row in enumerate(self.log) if k < count and (row[2] <= seconds or not k)]
        return max(seen, key=lambda row: row[0])[1]


# ---- peers: each asks the objective until it says Told -------------------------------------------


def random(ask: Callable, start: np.ndarray, seed: int, _: int) -> None:
    "Uniform points of the cube"
    rng = np.random.default_rng(seed)
    while True:
        ask(rng.random(len(start)))


def gp_minimize(ask: Callable, start: np.ndarray, seed: int, count: int) -> None:
    "scikit-optimize as it comes"
    from skopt import gp_minimize as peer

    peer(lambda x: -ask(np.array(x)), [(0.0, 1.0)] * len(start), x0=list(start), n_calls=count,
         random_state=seed)  # fmt: skip


def tell(sampler, ask: Callable, start: np.ndarray) -> None:
    "A study of optuna"
    import optuna

    optuna.logging.set_verbosity(optuna.logging.ERROR)
    study = optuna.create_study(direction='maximize', sampler=sampler)
    study.enqueue_trial({f'x{k}': float(x) for k, x in enumerate(start)})
    while True:
        trial = study.ask()
        point = [trial.suggest_float(f'x{k}', 0, 1) for k in range(len(start))]
        study.tell(trial, ask(np.array(point)))


def tpe(ask: Callable, start: np.ndarray, seed: int, _: int) -> None:
    "Optuna's default"
    import optuna

    tell(optuna.samplers.TPESampler(seed=seed), ask, start)


def optuna_gp(ask: Callable, start: np.ndarray, seed: int, _: int) -> None:
    "Optuna's Gaussian process; wants torch"
    import optuna

    tell(optuna.samplers.GPSampler(seed=seed), ask, start)


def cma(ask: Callable, start: np.ndarray, seed: int, _: int) -> None:
    "Separable CMA-ES from the defaults"
    from cmaes import SepCMA

    ask(start)
    box = np.column_stack([np.zeros(len(start)), np.ones(len(start))])
    while True:
        peer = SepCMA(mean=start.copy(), sigma=0.25, bounds=box, seed=seed)
        while not peer.should_stop():
            points = [peer.ask() for _ in range(peer.population_size)]
            peer.tell([(point, -ask(point)) for point in points])
        seed += 1


def nevergrad(ask: Callable, start: np.ndarray, seed: int, count: int) -> None:
    "NGOpt, which chooses its method by the budget"
    import nevergrad as ng

    space = ng.p.Array(init=start).set_bounds(0, 1)
    space.random_state.seed(seed)
    peer = ng.optimizers.NGOpt(parametrization=space, budget=count)
    ask(start)
    while True:
        point = peer.ask()
        peer.tell(point, -ask(np.clip(point.value, 0, 1)))


PEERS: dict[str, tuple[Callable, tuple[str, ...]]] = {
    'random': (random, ()),
    'gp_minimize': (gp_minimize, ('skopt',)),
    'tpe': (tpe, ('optuna',)),
    'optuna_gp': (optuna_gp, ('optuna', 'torch')),
    'cma': (cma, ('cmaes',)),
    'nevergrad': (nevergrad, ('nevergrad',)),
}
SLOW = ('gp_minimize', 'optuna_gp')
BUDGETED = ('nevergrad',)


class Ran(NamedTuple):
    "A method on an instance: values by what it had used, and its overhead"

    at: dict[int, Mapping[str, float]]
    at_seconds: dict[int, Mapping[str, float]]
    overhead: float
    used: float


def peer(name: str, of: Instance, space: Space, plan: tuple) -> Ran:
    "One peer, to the last check, and on until ours' seconds are used"
    checks, seconds, seed = plan
    made, at, late, spent, used = PEERS[name][0], {}, {}, 0.0, 0
    checks = [n for n in checks if n <= GP or name not in SLOW]
    values = space.table['value'].to_numpy('float64')
    start = to_cube(space, dict(zip(space.table['parameter'], values.tolist())))
    for budget in checks if name in BUDGETED else checks[-1:]:
        last = budget == checks[-1]
        patience = max(seconds.values(), default=0.0) if last and name not in SLOW else 0.0
        told = Objective(of, budget, patience)
        ask = lambda point, told=told: told(from_cube(space, np.asarray(point)))
        try:
            with warnings.catch_warnings():
                warnings.simplefilter('ignore')
                made(ask, start, seed, budget)
        except Told:
            pass
        at |= {n: told.best(n) for n in (checks if name not in BUDGETED else [budget])}
        late |= {n: told.best(seconds=s) for n, s in seconds.items()} if last else {}
        spent += told.log[-1][2] - told.spent
        used += len(told.log)
    return Ran(at, late, spent / used, used)


def ours(of: Instance, space: Space, plan: tuple) -> tuple[Ran, Ran, dict[int, float]]:
    "Our search once for each budget: its best, what it would choose, and its seconds"
    checks, _, seed = plan
    best, chosen, took, spent, used = {}, {}, {}, 0.0, 0.0
    for budget in checks:
        told, began = Objective(of, budget), time.process_time()
        with warnings.catch_warnings():
            warnings.simplefilter('ignore')
            task = Task(told.folds, FOLDS, space)
            found = search(task, SearchSettings(iterations=budget), seed)
        took[budget] = time.process_time() - began
        best[budget], chosen[budget] = found.best, found.chosen
        spent, used = spent + took[budget] - told.spent, used + found.used
    return Ran(best, best, spent / used, used), Ran(chosen, chosen, spent / used, used), took


# ---- truth ---------------------------------------------------------------------------------------


class Cut:
    "Cut of the default rulebook's loss in per cent"

    def __init__(self, of: Instance):
        self.of, self.known = of, {}
        self.base = self.earned({})
        self.first = float(Objective(of, 1)({}))

    def earned(self, values: Mapping[str, float]) -> tuple[float, float]:
        "True revenue on the steps searched on, and on the later ones"
        key = json.dumps(values, sort_keys=True)
        if key not in self.known:
            after, rule, rest = self.of.later
            here = worth(self.of.ahead, self.of.rule(values)).sum()
            self.known[key] = float(here), float(worth(after, rule(values))[rest].sum())
        return self.known[key]

    def __call__(self, values: Mapping[str, float]) -> dict[str, float]:
        "The figures of some values"
        parts = zip(self.earned(values), self.base, self.of.most)
        here, later = (100 * (mine - base) / (most - base) for mine, base, most in parts)
        score = float(Objective(self.of, 1)(values))
        return {'cut': here, 'later': later, 'replayed': 100 * (score - self.first)}


def one(job: tuple) -> dict:
    "Every method on one instance"
    seed, number, names, checks, flags = job
    of = instance(seed, number, flags['weights'])
    whole = space_of(house().policy, None)
    screened = reached([of.past], house(), TuningSettings().wakers, 0)
    cut, plan = Cut(of), (checks, {}, 1_009 * (seed + 1) + number)
    rows, took = {}, {}
    if 'ours' in names:
        best, chosen, took = ours(of, screened, plan)
        rows = {'ours': best, 'ours_chosen': chosen}
    seconds = {n: s for n, s in took.items() if n in checks[:2] and flags['equal']}
    for name in names:
        if name != 'ours':
            given = screened if flags['screened'] else whole
            rows[name] = peer(name, of, given, (checks, seconds, plan[2]))
    hold, best = worth(of.ahead, of.past.now).sum(), of.most[0]
    return {
        'number': number,
        'parameters': (len(whole.table), len(screened.table)),
        'hold': round(hold / best, 5),
        'defaults': round(cut.base[0] / best, 5),
        'took': took,
        'cuts': {m: {n: cut(v) for n, v in r.at.items()} for m, r in rows.items()},
        'late': {m: {n: cut(v) for n, v in r.at_seconds.items() if n in seconds} for m, r in rows.items()},
        'overhead': {m: r.overhead for m, r in rows.items()},
        'used': {m: r.used for m, r in rows.items()},
    }  # fmt: skip


# ---- the run -------------------------------------------------------------------------------------


def paired(values: np.ndarray) -> dict[str, float]:
    "Mean of paired differences with a 95 % interval of Student's t"
    from scipy.special import stdtrit

    count = len(values)
    half = stdtrit(count - 1, 0.975) * values.std(ddof=1) / np.sqrt(count) if count > 1 else np.nan
    told = {'mean': values.mean(), 'low': values.mean() - half, 'high': values.mean() + half}
    return {name: round(float(x), 2) for name, x in told.items()}


def summary(pages: list[dict], checks: Sequence[int]) -> dict:
    "Means over instances, and paired differences to ours"
    methods = list(pages[0]['cuts'])
    pick = lambda where, m, n, what: np.array([p[where][m][n][what] for p in pages])
    have = lambda where, m, n: all(n in p[where][m] for p in pages)
    table = lambda where, what: {
        str(n): {m: round(float(pick(where, m, n, what).mean()), 2) for m in methods if have(where, m, n)}
        for n in checks if any(have(where, m, n) for m in methods)
    }  # fmt: skip
    against = {
        str(n): {
            m: paired(pick('cuts', 'ours', n, 'cut') - pick('cuts', m, n, 'cut'))
            for m in methods if m != 'ours' and have('cuts', m, n)
        } for n in checks if 'ours' in methods
    }  # fmt: skip
    mean = lambda what: round(float(np.mean([p[what] for p in pages])), 5)
    return {
        'instances': len(pages),
        'parameters': [int(x) for x in np.mean([p['parameters'] for p in pages], axis=0)],
        'evaluations': table('cuts', 'cut'),
        'later': table('cuts', 'later'),
        'replayed': table('cuts', 'replayed'),
        'at_seconds': table('late', 'cut'),
        'seconds': {m: round(float(np.mean([p['overhead'][m] for p in pages])), 4) for m in methods},
        'used': {m: round(float(np.mean([p['used'][m] for p in pages]))) for m in methods},
        'took': {str(n): round(float(np.mean([p['took'][n] for p in pages])), 1) for n in checks if 'ours' in methods},
        'against': against,
        'hold': mean('hold'),
        'defaults': mean('defaults'),
    }  # fmt: skip


def shown(found: dict, missing: list[str]) -> None:
    "A table for each number of evaluations"
    print(f'{found["instances"]} instances, {found["parameters"][0]} parameters ({found["parameters"][1]} of rules that fire); '
          f'of the oracle hold earns {found["hold"]:.2%}, the default rulebook {found["defaults"]:.2%}')  # fmt: skip
    for n, row in found['evaluations'].items():
        print(
            f'\n{n} evaluations (ours took {found["took"].get(n, np.nan)} s){"":6}cut %{"":7}ours - it, 95 %{"":6}later  replayed  at equal seconds'
        )
        for method, value in sorted(row.items(), key=lambda item: -item[1]):
            line = f'{method:40}{value:8.2f}'
            pair = found['against'].get(n, {}).get(method)
            line += (
                f'{pair["mean"]:+9.2f} ({pair["low"]:+.2f} {pair["high"]:+.2f})'
                if pair
                else ' ' * 25
            )
            late = found['at_seconds'].get(n, {}).get(method, np.nan)
            print(
                f'{line:72}{found["later"][n][method]:8.2f}{found["replayed"][n][method]:9.3f}{late:9.2f}'
            )
    print('\nseconds an evaluation beside the objective, and evaluations used')
    for method, value in found['seconds'].items():
        print(f'{method:20}{value:8.4f}{found["used"][method]:8}')
    if missing:
        print('left out, not installed:', ', '.join(missing))
    if 'ours' not in found['seconds']:
        return
    for n in ('100', '200'):
        if row := {m: v for m, v in found['evaluations'].get(n, {}).items() if m != 'ours_chosen'}:
            first = max(row, key=row.__getitem__)
            print(
                f'{"met    " if first == "ours" else "NOT MET"}  ours best mean at {n}: {first} {row[first]:.2f}, ours {row["ours"]:.2f}'
            )


def main() -> None:
    "Measure and print"
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument('--seed', type=int, default=0)
    options.add_argument('--quick', action='store_true', help=f'{QUICK} instances, 100 evaluations')
    options.add_argument('--json', action='store_true', help='one object on stdout')
    options.add_argument('--data', type=Path, help='not taken: see above')
    options.add_argument('--jobs', type=int, default=os.cpu_count() or 1, help='processes')
    options.add_argument('--instances', type=int, default=0)
    options.add_argument('--evaluations', default='', help='such as 100,200')
    options.add_argument('--methods', default='', help='some of ours, ' + ', '.join(PEERS))
    options.add_argument('--weights', action='store_true', help='the weights of objectives.yaml')
    options.add_argument('--screened', action='store_true', help='peers search what ours searches')
    args = options.parse_args()
    if args.data:
        sys.exit(
            'error: tuning takes no --data; no data set says what other budgets would have earned'
        )
    begun = time.perf_counter()
    count = args.instances or (QUICK if args.quick else INSTANCES)
    checks = [int(n) for n in args.evaluations.split(',') if n] or list(
        CHECKS[: 1 if args.quick else None]
    )
    names = args.methods.split(',') if args.methods else ['ours', *PEERS]
    have = lambda name: all(importlib.util.find_spec(m) for m in PEERS[name][1])
    missing = [n for n in names if n != 'ours' and not have(n)]
    names = [n for n in names if n not in missing]
    flags = {'weights': args.weights, 'screened': args.screened, 'equal': not args.quick}
    jobs = [(args.seed, k, names, checks, flags) for k in range(count)]
    pages = []

    def kept(page: dict) -> None:
        "Keep a page and say how far it is"
        pages.append(page)
        now = time.perf_counter() - begun
        print(f'{len(pages)} of {count} instances, {now:.0f} s', file=sys.stderr)

    if args.jobs <= 1:
        for job in jobs:
            kept(one(job))
    else:
        with ProcessPoolExecutor(args.jobs) as pool:
            for done in as_completed([pool.submit(one, job) for job in jobs]):
                kept(done.result())
    pages.sort(key=lambda page: page['number'])
    found = summary(pages, checks) | {'missing': missing}
    found['total_s'] = round(time.perf_counter() - begun, 1)
    if args.json:
        print(json.dumps(found))
        return
    shown(found, missing)
    print(f'\n{found["total_s"]} s')


if __name__ == '__main__':
    main()
