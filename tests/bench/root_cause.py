"""Exact-set F1 of the root-cause search on labelled cases, beside Adtributor and wise-pizza.

The labelled cases are those of RobustSpot (RS: rows of min, attributes, value, cnt, where value counts
failures), and one sample of Squeeze. Our settings are the defaults, but for `against: before`: a service
is compared with itself. They were chosen on the generated cases below (`--choose` prints the grid) and
by the reasoning in the chapter, never on labels; the peers' settings likewise: Adtributor has those of
its paper, wise-pizza the best of a few on generated cases.
"""

import argparse
import contextlib
import io
import json
import sys
import time
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd

REPO = Path(__file__).resolve().parents[2]
COUNTED = ('min', 'value', 'cnt')  # the columns that are no attributes


class Case(NamedTuple):
    "Rows before and rows of the moment that is explained; what is divided; the true causes"

    name: str
    before: pd.DataFrame
    now: pd.DataFrame
    attributes: list[str]
    top: str
    bottom: str
    against: str
    truth: list[dict[str, str]]


# ---- generated cases: a monitored service and an ad account -------------------------------------


def members(leaves: pd.DataFrame, values: dict[str, str]) -> np.ndarray:
    inside = np.ones(len(leaves), bool)
    for a, v in values.items():
        inside &= (leaves[a] == v).to_numpy()
    return inside


def simplest(leaves: pd.DataFrame, values: dict[str, str]) -> dict[str, str]:
    "The same leaves with as few attributes as will do"
    for a in list(values):
        less = {k: v for k, v in values.items() if k != a}
        if less and (members(leaves, less) == members(leaves, values)).all():
            values = less
    return values


def plant(rng, leaves: pd.DataFrame, size: np.ndarray) -> list[dict[str, str]]:
    "One cause, at times two: 1, 2 or 3 attributes, of 3 to 50 % of the volume, apart from each other"
    attributes, found, used = list(leaves), [], np.zeros(len(leaves), bool)
    number = 1 + (rng.random() < 0.12)
    for _ in range(200):
        count = min(rng.choice([1, 2, 3], p=[0.5, 0.35, 0.15]), len(attributes))
        row = leaves.iloc[rng.choice(len(leaves), p=size / size.sum())]
        chosen = rng.choice(attributes, count, replace=False)
        values = simplest(leaves, {str(a): row[a] for a in chosen})
        inside = members(leaves, values)
        share, apart = size[inside].sum() / size.sum(), not (inside & used).any()
        if inside.sum() >= 2 and 0.03 <= share <= 0.5 and apart:
            found.append(values)
            used |= inside
        if len(found) == number:
            break
    return found


def grid_of(rng, cards: list[int], alpha: float, sigma: float, kept: float):
    "Leaves as numbers of values, and their sizes: uneven, not all of them there"
    grid = np.array(np.meshgrid(*map(np.arange, cards), indexing='ij')).reshape(len(cards), -1).T
    shares = [rng.dirichlet(np.full(c, alpha)) for c in cards]
    size = np.prod([s[grid[:, i]] for i, s in enumerate(shares)], axis=0)
    size = size * rng.lognormal(0, sigma, len(grid))
    there = rng.random(len(grid)) < kept
    return grid[there], size[there] / size[there].sum()


def service(seed: int) -> Case:
    "Requests that fail at a rate of some percent, restless by value and by leaf; a fault adds failures"
    rng = np.random.default_rng([seed, 1])
    cards = list(rng.integers(2, 10, rng.integers(3, 6)))
    grid, size = grid_of(rng, cards, 0.7, 1.0, 0.7)
    size, minutes = size * 10 ** rng.uniform(3.5, 5.5), int(rng.choice([5, 10]))
    grid, size = grid[size > 0.5], size[size > 0.5]
    leaves = pd.DataFrame(
        {f'a{i}': np.char.add('v', grid[:, i].astype(str)) for i in range(len(cards))}
    )
    causes = plant(rng, leaves, size) if len(leaves) >= 10 else []
    if not causes:
        return service(seed + 1_000_000)
    logit = -4 + rng.normal(0, 0.6, len(size))
    logit += sum(rng.normal(0, 0.4, c)[grid[:, i]] for i, c in enumerate(cards))
    pages = []
    for minute in range(minutes + 1):
        noise = rng.normal(0, 0.15, len(size))
        noise += sum(rng.normal(0, 0.08, c)[grid[:, i]] for i, c in enumerate(cards))
        failing = 1 / (1 + np.exp(-(logit + noise)))
        cnt = rng.poisson(size * rng.lognormal(0, 0.15, len(size)))
        for values in causes if minute == minutes else []:
            fault = np.exp(rng.uniform(np.log(0.03), np.log(0.5)))
            fault = np.clip(fault * rng.lognormal(0, 0.5, len(size)), 0, 1)
            failing = np.where(members(leaves, values), 1 - (1 - failing) * (1 - fault), failing)
        value = rng.binomial(cnt, failing)
        page = leaves.assign(min=minute, cnt=cnt, value=value, ok=cnt - value)
        pages.append(page[page['cnt'] > 0])
    rows = pd.concat(pages, ignore_index=True)
    before, now = rows[rows['min'] < minutes], rows[rows['min'] == minutes]
    return Case(f'service {seed}', before, now, list(leaves), 'ok', 'cnt', 'before', causes)


def advertiser(seed: int) -> Case:
    "Roas of ad sets within campaigns and two to four breakdowns; the whole account drifts as well"
    rng = np.random.default_rng([seed, 2])
    sets = rng.integers(1, 7, rng.integers(2, 8))
    campaign = np.repeat(np.arange(len(sets)), sets)
    known = {'creative_type': 3, 'platform': 3, 'age': 6, 'gender': 2}
    known['country'] = int(rng.integers(1, 8))
    names = list(map(str, rng.choice(list(known), rng.integers(2, 5), replace=False)))
    cards = [len(campaign), *(known[n] for n in names)]
    grid, size = grid_of(rng, cards, 1.0, 0.5, 0.8)
    text = lambda prefix, numbers: np.char.add(prefix, numbers.astype(str))
    leaves = pd.DataFrame(
        {'campaign_id': text('c', campaign[grid[:, 0]]), 'adset_id': text('s', grid[:, 0])}
        | {n: text('v', grid[:, i + 1]) for i, n in enumerate(names)}
    )
    causes = plant(rng, leaves, size) if len(leaves) >= 10 else []
    if not causes:
        return advertiser(seed + 1_000_000)
    size = size * 10 ** rng.uniform(3, 4.5)  # spend a day
    level = np.log(2.5) + rng.normal(0, 0.2, len(size))
    level += sum(rng.normal(0, 0.25, c)[grid[:, i]] for i, c in enumerate(cards))

    def window(first: int, days: int, broken: bool) -> pd.DataFrame:
        moved = level + rng.normal(0, 0.08, len(size))
        moved += sum(rng.normal(0, 0.04, c)[grid[:, i]] for i, c in enumerate(cards))
        if broken:
            moved += rng.normal(0, 0.08)
            for values in causes:
                fall, rise = np.log(1 - rng.uniform(0.25, 0.7)), np.log(1 + rng.uniform(0.4, 1.2))
                effect = fall if rng.random() < 0.75 else rise
                own = effect + rng.normal(0, 0.25 * abs(effect), len(size))
                moved += np.where(members(leaves, values), own, 0)
        pages = []
        for day in range(first, first + days):
            spend = (size * rng.lognormal(0, 0.3, len(size))).round(2)
            buys = rng.poisson(spend * np.exp(moved) / 60)
            revenue = np.where(buys > 0, rng.gamma(np.maximum(buys, 1) * 2.0, 30), 0).round(2)
            pages.append(leaves.assign(date=day, spend=spend, purchases=buys, revenue=revenue))
        return pd.concat(pages, ignore_index=True)

    before, now = window(0, 14, False), window(14, 7, True)
    return Case(f'account {seed}', before, now, list(leaves), 'revenue', 'spend', 'rest', causes)


# ---- labelled cases -----------------------------------------------------------------------------


def labelled(folder: Path) -> Iterator[Case]:
    "The cases of RS/anomaly.yaml: the labelled minute against the minutes before it"
    from ruamel.yaml import YAML

    file = folder / 'RS' / 'anomaly.yaml'
    if not file.is_file():
        sys.exit(f'error: {file} is not there; give the folder that holds RS/ with --data')
    for label in YAML(typ='safe').load(file.read_text('utf-8')):
        rows = pd.read_csv(folder / 'RS' / f'{label["data"]}.csv')
        attributes = [c for c in rows if c not in COUNTED]
        rows = rows.astype(dict.fromkeys(attributes, 'str')).assign(ok=rows['cnt'] - rows['value'])
        given = label['cause'] if isinstance(label['cause'], list) else [label['cause']]
        truth = [{str(a): str(v) for a, v in values.items()} for values in given]
        at = label['timestamp']
        before, now = rows[rows['min'] < at], rows[rows['min'] == at]
        yield Case(label['data'], before, now, attributes, 'ok', 'cnt', 'before', truth)


def squeeze(folder: Path) -> list[dict]:
    "Each Squeeze sample of the folder: the injected cause and the one found"
    from adsbench.diagnose.causes import causes
    from adsbench.diagnose.scan import CauseSettings

    told = []
    info = folder / 'squeeze_sample' / 'injection_info.csv'
    for row in pd.read_csv(info).to_dict('records') if info.is_file() else []:
        cells = pd.read_csv(info.parent / f'{row["timestamp"]}.csv', keep_default_na=False)
        attributes = [c for c in cells if c not in ('real', 'predict')]
        leaves = cells.rename(columns={'real': 'actual', 'predict': 'expected'})
        leaves = leaves.astype(dict.fromkeys(attributes, 'str'))
        start = time.perf_counter()
        found = causes(leaves, attributes, CauseSettings(against='before'), seed=0)
        spent = time.perf_counter() - start
        # several causes are separated by ;, the attributes of one by &
        true = {frozenset(part.split('&')) for part in str(row['set']).split(';')}
        mine = {frozenset(f'{a}={v}' for a, v in f.items()) for f in found['values']}
        told.append(
            {
                'timestamp': row['timestamp'],
                'truth': row['set'],
                'found': found['segment'].tolist(),
                'p': found['p'].tolist(),
                'exact': true == mine,
                'seconds': round(spent, 3),
            }
        )
    return told


# ---- ours and the peers: a case in, a list of causes out ----------------------------------------


def ours(case: Case, **changed) -> list[dict[str, str]]:
    from adsbench.diagnose.causes import causes
    from adsbench.diagnose.leaves import leaves_of
    from adsbench.diagnose.scan import CauseSettings
    from adsbench.features.ratios import Ratio

    settings = CauseSettings(against=case.against, permutations=0, **changed)
    rate = Ratio('rate', case.top, case.bottom, 1, '', '')
    leaves = leaves_of(case.before, case.now, case.attributes, rate)
    return causes(leaves, case.attributes, settings, seed=0)['values'].tolist()


def adtributor(case: Case) -> list[dict[str, str]]:
    """Bhagwan et al., NSDI 2014, for a derived measure, as we read it.

    In each dimension elements are taken by surprise (Jensen-Shannon term of expected and actual share,
    summed over the two measures; 2.2 and 3.3 there) if each explains 10 % of the change (explanatory
    power: the finite-difference derivative of the ratio, normalised to sum to 1) until 67 % are
    explained; of the dimensions that get there, the most surprising set is the answer (succinctness:
    one dimension, few elements). The measure that counts failures is used where there is one.
    """
    top = 'value' if 'value' in case.now else case.top
    span = case.now[case.bottom].sum() / case.before[case.bottom].sum()
    best, most = [], -1.0
    for a in case.attributes:
        sums = [rows.groupby(a)[[top, case.bottom]].sum() for rows in (case.before, case.now)]
        then, now = sums[0].align(sums[1], fill_value=0.0)
        f1, f2 = (then[c].to_numpy() * span for c in (top, case.bottom))
        a1, a2 = (now[c].to_numpy() * 1.0 for c in (top, case.bottom))
        power = ((a1 - f1) * f2.sum() - (a2 - f2) * f1.sum()) / (f2.sum() * (f2.sum() + a2 - f2))
        power = power / power.sum() if power.sum() else power
        surprise = np.zeros(len(power))
        for was, is_ in ((f1, a1), (f2, a2)):
            p, q = was / max(was.sum(), 1e-12), is_ / max(is_.sum(), 1e-12)
            with np.errstate(all='ignore'):
                part = p * np.log(2 * p / (p + q)), q * np.log(2 * q / (p + q))
            surprise += 0.5 * np.nan_to_num(part[0]) + 0.5 * np.nan_to_num(part[1])
        taken, explained = [], 0.0
        for i in np.argsort(-surprise, kind='stable'):
            if power[i] > 0.1:
                taken.append(i)
                explained += power[i]
            if explained > 0.67:
                break
        if explained > 0.67 and surprise[taken].sum() > most:
            most = float(surprise[taken].sum())
            best = [{a: str(then.index[i])} for i in taken]
    return best


def wise_pizza_(case: Case, segments: int = 1, solver: str = 'lasso') -> list[dict[str, str]]:
    "Wise's explain_changes_in_average, up to three attributes, with a number of segments"
    import logging

    logging.disable(logging.WARNING)
    from wise_pizza import explain_changes_in_average

    with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
        warnings.simplefilter('ignore')
        try:
            told = explain_changes_in_average(
                case.before.groupby(case.attributes, as_index=False)[[case.top, case.bottom]].sum(),
                case.now.groupby(case.attributes, as_index=False)[[case.top, case.bottom]].sum(),
                case.attributes,
                case.top,
                case.bottom,
                min_segments=segments,
                max_segments=segments,
                max_depth=3,
                solver=solver,
            )
        except ValueError:  # its lasso was left without a single segment
            return []
    found = [{str(a): str(v) for a, v in s['segment'].items()} for s in told.segments]
    return [f for i, f in enumerate(found) if f and f not in found[:i]]


def has_wise_pizza() -> bool:
    from importlib.util import find_spec

    return find_spec('wise_pizza') is not None


# ---- the run ------------------------------------------------------------------------------------


def exact_f1(found: list[list[dict]], cases: list[Case]) -> float:
    "2 hits over all that were named and all that are true; a hit is the same set of attribute values"
    hits = sum(f in case.truth for told, case in zip(found, cases) for f in told)
    return 2 * hits / max(sum(map(len, found)) + sum(len(c.truth) for c in cases), 1)


def timed(method, cases: list[Case]) -> tuple[float, float]:
    "Exact-set F1 and median milliseconds a case"
    method(cases[0])  # imports
    found, spent = [], []
    for case in cases:
        start = time.perf_counter()
        found.append(method(case))
        spent.append(1e3 * (time.perf_counter() - start))
    return exact_f1(found, cases), float(np.median(spent))


def choose(seed: int, number: int) -> None:
    "How much the settings matter, on generated cases only"
    made = {
        'service': [service(seed + i) for i in range(number)],
        'account': [advertiser(seed + i) for i in range(number)],
    }
    grid = [{}]
    grid += [{'penalty': p} for p in (4, 8, 16, 24)] + [{'prior': p} for p in (0, 3, 30, 100)]
    grid += [{'tau': t} for t in (0, 0.001, 0.01)] + [{'further': f} for f in (0.1, 0.3, 1)]
    print(f'{"settings":24}' + ''.join(f'{name:>10}' for name in made) + f'{"mean":>10}')
    for changed in grid:
        f1 = [exact_f1([ours(c, **changed) for c in cases], cases) for cases in made.values()]
        words = ', '.join(f'{k} {v}' for k, v in changed.items()) or 'as they are'
        print(f'{words:24}' + ''.join(f'{x:10.3f}' for x in [*f1, np.mean(f1)]), flush=True)
    if has_wise_pizza():
        few = {name: cases[: number // 5] for name, cases in made.items()}
        # the tree divides the whole into parts, so it has no answer of one
        for solver, most in (('lasso', (1, 2, 3)), ('tree', (2, 3))):
            for segments in most:
                f1 = [
                    exact_f1([wise_pizza_(c, segments, solver) for c in cases], cases)
                    for cases in few.values()
                ]
                words = f'wise-pizza {solver} {segments}'
                print(f'{words:24}' + ''.join(f'{x:10.3f}' for x in [*f1, np.mean(f1)]), flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('--seed', type=int, default=0)
    parser.add_argument('--quick', action='store_true', help='fewer generated cases')
    parser.add_argument('--json', action='store_true')
    parser.add_argument('--data', type=Path, default=REPO.parent / 'shared' / 'data' / 'root_cause')
    parser.add_argument(
        '--choose', action='store_true', help='settings on generated cases; no labels'
    )
    args = parser.parse_args()
    if args.choose:
        choose(1000 + args.seed, 30 if args.quick else 150)
        return
    cases = list(labelled(args.data))
    number = 20 if args.quick else 60
    sets = {
        'labelled': cases,
        'service': [service(args.seed + i) for i in range(number)],
        'account': [advertiser(args.seed + i) for i in range(number)],
    }
    methods = {'ours': ours, 'adtributor': adtributor}
    if has_wise_pizza():
        methods['wise_pizza'] = wise_pizza_
    told = {m: {s: timed(f, c) for s, c in sets.items()} for m, f in methods.items()}
    samples = squeeze(args.data)
    peers = {
        m: round(told[m]['labelled'][0], 4) if m in told else None
        for m in ('wise_pizza', 'adtributor')
    }
    summary = {
        'cases': len(cases),
        'f1': round(told['ours']['labelled'][0], 4),
        'median_ms': round(told['ours']['labelled'][1], 2),
        'peers': peers,
        'peers_ms': {m: round(t['labelled'][1], 2) for m, t in told.items() if m != 'ours'},
        'generated': {
            s: {m: round(t[s][0], 4) for m, t in told.items()} for s in ('service', 'account')
        },
        'squeeze': samples,
    }
    if args.json:
        print(json.dumps(summary))
        return
    print(f'exact-set F1; {len(cases)} labelled cases, {number} generated ones of each shape')
    print(f'{"":12}{"labelled":>10}{"ms a case":>11}{"service":>10}{"account":>10}')
    for m, t in told.items():
        row = [t['labelled'][0], t['labelled'][1], t['service'][0], t['account'][0]]
        print(f'{m:12}{row[0]:10.3f}{row[1]:11.2f}{row[2]:10.3f}{row[3]:10.3f}')
    if not has_wise_pizza():
        print('wise_pizza is not installed here: pip install wise-pizza beside the package')
    for s in samples:
        print(
            f'squeeze {s["timestamp"]}: {s["truth"]}; found {", ".join(s["found"])} in {s["seconds"]} s'
        )


if __name__ == '__main__':
    main()
