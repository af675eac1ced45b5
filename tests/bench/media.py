"""Roas of channels from totals: ranking and coverage on sets with a known truth, beside least squares.

The public sets are labelled and nothing was chosen on them. `hidden` and `trust` of the settings were
chosen on the simulated accounts below (`--choose` prints coverage for a few values), which break the model
on purpose: effects that arrive late, curves between those of the grid, a season with holidays, and budgets
that follow demand nobody measured.
"""

import argparse
import json
import sys
import time
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd

REPO = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(REPO))

from adsbench.budgets.media import Columns, TotalsSettings, least_squares
from adsbench.budgets.totals import totals

SURE = 0.9  # odds from which a ranking of two channels is called a claim


class Case(NamedTuple):
    "Periods, which columns are which, and the true roas where somebody knows it"

    name: str
    periods: pd.DataFrame
    columns: Columns
    truth: pd.Series | None


# ---- simulated accounts -------------------------------------------------------------------------


def lingering(rng, life: float, step: int, size: int) -> np.ndarray:
    "An autoregressive series of unit variance with a half-life in days"
    keep, state, found = 0.5 ** (step / life), rng.normal(), []
    for shock in rng.normal(size=size):
        state = keep * state + np.sqrt(1 - keep**2) * shock
        found.append(state)
    return np.array(found)


def budget(rng, season: np.ndarray, follows: np.ndarray, step: int) -> np.ndarray:
    "Spend of a channel with mean 1: always on, in flights, or with the season"
    size, kind = len(season), rng.choice(['on', 'flight', 'season'])
    x = np.exp(rng.uniform(0.2, 0.7) * lingering(rng, rng.choice([2.0, 10, 40]), step, size))
    x *= np.exp(follows * (rng.random() < 0.7))
    if kind == 'flight':
        x *= lingering(rng, 20.0, step, size) > rng.normal(0, 0.5)
    if kind == 'season':
        x *= np.exp(4 * season)
    return x / x.mean() if x[size // 2 :].any() else np.exp(lingering(rng, 10.0, step, size))


def effect(rng, x: np.ndarray, step: int) -> np.ndarray:
    "What a spend does over time; one in five a week late, which no curve of ours can be"
    keep, state, late = 0.5 ** (step / rng.uniform(0.5, 25)), 1.0, []
    for paid in x:
        state = keep * state + (1 - keep) * paid
        late.append(state)
    late, wait = np.array(late), 7 // step
    if rng.random() < 0.2:
        late = np.r_[np.full(wait, late[0]), late[:-wait]]
    slope, half = rng.uniform(1, 2), np.exp(rng.normal(0.5, 0.8))
    return late**slope / (late**slope + half**slope)


def account(seed: int) -> Case:
    "A shop of two to five channels; half of them have budgets that follow demand nobody measured"
    rng = np.random.default_rng([seed, 3])
    step = 1 if rng.random() < 0.1 else 7
    size = int(rng.choice([104, 130, 156, 208]) if step > 1 else 365)
    before = 84 // step
    count, day = int(rng.integers(2, 6)), np.arange(size + before) * step
    waves = [
        rng.normal() / k * np.sin(2 * np.pi * k * day / 365.25 + rng.uniform(0, 6.3))
        for k in range(1, 6)
    ]
    season = sum(waves) * rng.uniform(0.02, 0.2)
    demand = lingering(rng, rng.choice([5.0, 20, 60]), step, len(day))
    follows = 0.4 * demand * rng.uniform(0, 1) * (rng.random() < 0.5)
    shares = rng.dirichlet(np.ones(count)) * rng.uniform(0.05, 0.6)
    promo = (rng.random(len(day)) < 0.08) * 1.0
    other = 1 + rng.normal(0, 0.15) * day / day[-1] + season + rng.uniform(0, 0.12) * demand
    other = other + rng.uniform(0.02, 0.12) * rng.normal(size=len(day)) + 0.1 * promo
    if step == 1:
        other = other + np.array([0, 0.05, 0.02, 0, -0.03, -0.1, -0.08])[day % 7]
    sales, spends, truth = other * (1 - shares.sum()), {}, {}
    for i, share in enumerate(shares):
        x = budget(rng, season, follows, step)
        done = effect(rng, x, step)
        done = done / done[before:].mean() * share
        sales, name = sales + done, f'channel {i}'
        spends[name] = x[before:] * rng.lognormal(0, 1) * 3000
        truth[name] = 1e5 * done[before:].sum() / spends[name].sum()
    dates = pd.Timestamp('2022-01-03') + pd.to_timedelta(day[before:], unit='D')
    periods = pd.DataFrame({'date': dates, 'sales': 1e5 * sales[before:], **spends})
    periods['promo'] = promo[before:]
    return Case(
        f'account {seed}', periods, Columns('sales', tuple(spends), ('promo',)), pd.Series(truth)
    )


# ---- public sets --------------------------------------------------------------------------------


def fiaschi(folder: Path) -> Case:
    "104 weeks, four channels; the controls are given, their effects are truth and stay unseen"
    periods = pd.read_csv(
        folder / 'fiaschi_mmm_truth' / 'mmm-simple_mmm_data.csv', parse_dates=['date']
    )
    told = json.loads(
        (folder / 'fiaschi_mmm_truth' / 'mmm-simple_ground_truth_parameters.json').read_text()
    )
    spends = tuple(c for c in periods if c.startswith('x'))
    known = told['roas_values']['Local']
    truth = pd.Series({c: known[c.split('_', 1)[1]] for c in spends})
    return Case('fiaschi_mmm_truth', periods, Columns('y', spends, ('c1', 'c2')), truth)


def pymc(folder: Path) -> Case:
    "Two channels and a confounder that stays unseen; true roas is what sales lack without the channel"
    periods = pd.read_csv(
        folder / 'pymc_marketing_data' / 'mmm_roas_data.csv', parse_dates=['date']
    )
    lost = {
        x: (periods.y - periods[y]).sum() / periods[x].sum()
        for x, y in (('x1', 'y01'), ('x2', 'y02'))
    }
    return Case('pymc_roas', periods, Columns('y', ('x1', 'x2')), pd.Series(lost))


def robyn(folder: Path) -> Case:
    "208 weeks, five paid channels; nobody knows the truth"
    periods = pd.read_csv(folder / 'robyn' / 'dt_simulated_weekly.csv', keep_default_na=False)
    events = sorted(set(periods.events) - {'na', ''})
    periods = periods.assign(
        date=pd.to_datetime(periods.DATE), **{e: (periods.events == e) * 1.0 for e in events}
    )
    spends = tuple(c for c in periods if c.endswith('_S'))
    return Case(
        'robyn',
        periods,
        Columns('revenue', spends, ('competitor_sales_B', 'newsletter', *events)),
        None,
    )


PUBLIC = {'fiaschi_mmm_truth': fiaschi, 'pymc_roas': pymc, 'robyn': robyn}


# ---- the run ------------------------------------------------------------------------------------


def rank(mine: pd.Series, truth: pd.Series) -> float:
    "Spearman's rank correlation"
    return float(mine.rank().corr(truth.rank()))


def measured(case: Case, settings: TotalsSettings, seed: int) -> dict:
    "What ours and least squares said, against the truth where there is one"
    start = time.perf_counter()
    told = totals(case.periods, case.columns, settings, seed)
    spent = time.perf_counter() - start
    mine, usual = told.channels, least_squares(case.periods, case.columns, settings)
    found = {
        'identified': mine['identified'].to_dict(),
        'weak': bool(told.weak),
        'words': [told.words, *mine['words']],
        'seconds': round(spent, 2),
        'roas': {
            n: [round(float(v), 3) for v in r]
            for n, r in zip(mine.index, mine[['roas', 'low', 'high']].to_numpy())
        },
        'ols': {n: [round(float(v), 3) for v in r] for n, r in zip(usual.index, usual.to_numpy())},
    }
    nothing = dict.fromkeys(('rank_ours', 'rank_ols', 'coverage_ours', 'coverage_ols'))
    if case.truth is None:
        return nothing | found
    truth = case.truth
    above = np.greater.outer(truth.to_numpy(), truth.to_numpy())
    sure = told.odds.to_numpy() >= SURE
    inside = {m: truth.between(t['low'], t['high']) for m, t in (('ours', mine), ('ols', usual))}
    return found | {
        'truth': truth.round(3).to_dict(),
        'rank_ours': round(rank(mine['roas'], truth), 3),
        'rank_ols': round(rank(usual['roas'], truth), 3),
        'coverage_ours': float(inside['ours'].mean()),
        'coverage_ols': float(inside['ols'].mean()),
        'covered_identified': [bool(v) for v in inside['ours'][mine['identified']]],
        'claims': int(sure.sum()),
        'claims_wrong': int((sure & ~above).sum()),
    }


def pooled(rows: list[dict]) -> dict:
    "Means over simulated accounts; coverage over channels"
    channels = np.array([len(r['truth']) for r in rows])
    over = lambda key: round(float(np.average([r[key] for r in rows], weights=channels)), 3)
    mean = lambda key: round(float(np.mean([r[key] for r in rows])), 3)
    sure = [v for r in rows for v in r['covered_identified']]
    return {
        'accounts': len(rows),
        'channels': int(channels.sum()),
        'rank_ours': mean('rank_ours'),
        'rank_ols': mean('rank_ols'),
        'coverage_ours': over('coverage_ours'),
        'coverage_ols': over('coverage_ols'),
        'identified': round(len(sure) / int(channels.sum()), 3),
        'coverage_identified': round(float(np.mean(sure)), 3) if sure else None,
        'weak': mean('weak'),
        'claims': sum(r['claims'] for r in rows),
        'claims_wrong': sum(r['claims_wrong'] for r in rows),
    }


def choose(first: int, number: int) -> None:
    "Coverage of the 80 % interval for a few settings, on simulated accounts only"
    for hidden, trust in ((0.0, 1.0), (0.15, 1.0), (0.15, 0.5), (0.3, 0.5)):
        settings = TotalsSettings(hidden=hidden, trust=trust)
        rows = [measured(account(first + i), settings, i) for i in range(number)]
        print(f'hidden {hidden}, trust {trust}: {pooled(rows)}', flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('--seed', type=int, default=0)
    parser.add_argument('--quick', action='store_true', help='fewer simulated accounts')
    parser.add_argument('--json', action='store_true')
    parser.add_argument('--data', type=Path, default=REPO.parent / 'shared' / 'data')
    parser.add_argument('--choose', action='store_true', help='settings on simulated accounts only')
    args = parser.parse_args()
    number = 6 if args.quick else 60
    if args.choose:
        choose(10_000 + args.seed, number)
        return
    if not (args.data / 'robyn').is_dir():
        sys.exit(
            f'error: no public data in {args.data}; give the folder that holds robyn/ with --data'
        )
    settings = TotalsSettings()
    sets = {name: measured(load(args.data), settings, args.seed) for name, load in PUBLIC.items()}
    rows = [measured(account(args.seed + i), settings, i) for i in range(number)]
    sets['simulated'] = pooled(rows)
    if args.json:
        print(json.dumps({'sets': sets}))
        return
    print(f'{"":20}{"rank":>8}{"least sq":>10}{"covered":>10}{"least sq":>10}')
    keys = ('rank_ours', 'rank_ols', 'coverage_ours', 'coverage_ols')
    for name, told in sets.items():
        print(
            f'{name:20}'
            + ''.join(f'{"-" if told[k] is None else round(told[k], 2):>10}' for k in keys)
        )
        for line in told.get('words', ()):
            print(f'    {line}')
    print(json.dumps(sets['simulated']))


if __name__ == '__main__':
    main()
