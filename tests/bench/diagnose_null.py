"""How often a weekly diagnosis is wrong when nothing happened, and what it finds when something did.

Simulated accounts of 60 ad sets over 16 weeks: click and conversion rates wander (autocorrelated,
of each ad set and of the whole account), weeks have a season, orders are heavy-tailed (lognormal),
ad sets differ in size. In the planted runs the conversion rate of six ad sets falls by 30 or 50 %
in the last seven days. The call that a customer makes runs whole: checks of the data, hypotheses
with shifts of the mix, false discovery rate, sizes, confidence, overlaps; every validated insight
counts, also one about the account. The peer is what earlier tools did on the same rows: a
threshold on the change and Welch's t-test on daily ratios below .05, for roas and click rate.

False discovery rates are means over runs of (false / reported), with a 90 % interval from drawing
the runs again. An insight is true when it names a planted ad set as fallen.

--data takes a folder of CSV files (one account each: date, adset_id, spend, impressions, clicks,
purchases, revenue) in which nothing happened, instead of the simulated quiet accounts.
"""

import argparse
import json
import time
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd

from adsbench.diagnose.breaks import Evidence, breaks
from adsbench.diagnose.insights import diagnose
from adsbench.diagnose.questions import Case
from adsbench.diagnose.thresholds import DiagnoseSettings
from adsbench.diagnose.views import inside, window
from adsbench.stats.compare import CompareSettings

DAYS, SEGMENTS, HIT = 112, 60, 6
SETTINGS = DiagnoseSettings()
YARD = SETTINGS.compared(CompareSettings())


def wander(rng: np.random.Generator, segments: int, sd: float, memory: float = 0.6) -> np.ndarray:
    "Autocorrelated noise, days x segments"
    steps = rng.normal(0, sd * np.sqrt(1 - memory**2), (DAYS, segments))
    for day in range(1, DAYS):
        steps[day] += memory * steps[day - 1]
    return steps


def account(seed: int, drop: float) -> tuple[pd.DataFrame, set[str]]:
    "Rows of an account, and the ad sets whose conversion rate fell in the last seven days"
    rng = np.random.default_rng(seed)
    week = 1 + 0.15 * np.sin(2 * np.pi * (np.arange(DAYS) % 7) / 7)[:, None]
    size = 450 * np.exp(rng.normal(0, 0.9, SEGMENTS))
    spend = size * week * np.exp(wander(rng, SEGMENTS, 0.15, 0.8))
    both = lambda own, whole: wander(rng, SEGMENTS, own) + wander(rng, 1, whole)
    impressions = rng.poisson(
        100 * spend / np.exp(rng.normal(0, 0.25, SEGMENTS) + both(0.04, 0.03))
    )
    ctr = 0.012 * np.exp(rng.normal(0, 0.3, SEGMENTS) + both(0.05, 0.03))
    cvr = 0.03 * week * np.exp(rng.normal(0, 0.3, SEGMENTS) + both(0.08, 0.05))
    hit = rng.choice(SEGMENTS, HIT, replace=False) if drop else np.array([], dtype=int)
    cvr[-7:, hit] *= 1 - drop
    clicks = rng.binomial(impressions, np.minimum(ctr, 1))
    bought = rng.binomial(clicks, np.minimum(cvr, 1))
    orders = np.cumsum(np.r_[0.0, rng.lognormal(3.8, 0.8, bought.sum())])
    last = np.cumsum(bought.ravel())
    names = [f'{i:02d}' for i in range(SEGMENTS)]
    rows = pd.DataFrame(
        {
            'date': np.repeat(pd.date_range('2026-03-01', periods=DAYS), SEGMENTS),
            'adset_id': pd.array(names * DAYS, dtype='str'),
            'spend': spend.ravel(),
            'impressions': impressions.ravel().astype(float),
            'clicks': clicks.ravel().astype(float),
            'purchases': bought.ravel().astype(float),
            'revenue': orders[last] - orders[last - bought.ravel()],
        }
    )
    return rows, {names[i] for i in hit}


def ours(rows: pd.DataFrame) -> list[tuple[str, bool, float]]:
    "Validated insights: the ad set (or the account), whether it fell, its confidence"
    days = window(rows['date'].max(), YARD.baseline_days, YARD.current_days)
    tables, halves = {'days_adset': rows}, (inside(rows, days.baseline), inside(rows, days.current))
    seen = breaks(Evidence(rows, None, tables, halves, as_of=days.current[1]), SETTINGS.breaks)
    asked = Case(tables, days, SETTINGS, YARD, SETTINGS.causes, seen, {'currency': 'EUR'})
    return [
        (
            one.segment.get('ad set', 'account'),
            one.worse and one.direction == 'down',
            one.confidence,
        )
        for one in diagnose(asked).validated
    ]


def naive(rows: pd.DataFrame) -> list[tuple[str, bool, float]]:
    "Threshold on the change and Welch's t-test on daily ratios, for roas and click rate"
    from scipy.stats import ttest_ind

    found = []
    for top, bottom, least in (('revenue', 'spend', 0.15), ('clicks', 'impressions', 0.10)):
        tops, bottoms = (
            rows.pivot(index='date', columns='adset_id', values=c) for c in (top, bottom)
        )
        with np.errstate(all='ignore'):
            daily = (tops / bottoms).to_numpy()
            after = tops.iloc[-7:].sum() / bottoms.iloc[-7:].sum()
            change = after / (tops.iloc[-21:-7].sum() / bottoms.iloc[-21:-7].sum()) - 1
            p = ttest_ind(daily[-7:], daily[-21:-7], equal_var=False, nan_policy='omit').pvalue
        alarm = (change.abs() >= least) & (p < 0.05)
        found += [
            (name, change[name] < 0 and top == 'revenue', np.nan) for name in change.index[alarm]
        ]
    return found


class Run(NamedTuple):
    "What one method reported on one account"

    true: int
    false: int
    reached: float  # share of the planted ad sets that were named
    sure: list[tuple[float, bool]]  # confidence and truth of each insight


def counted(found: list[tuple[str, bool, float]], planted: set[str]) -> Run:
    "Reports held against the truth"
    right = [fell and name in planted for name, fell, _ in found]
    named = {name for (name, *_), ok in zip(found, right) if ok}
    share = len(named) / len(planted) if planted else 0.0
    return Run(
        sum(right), len(right) - sum(right), share, [(c, ok) for (*_, c), ok in zip(found, right)]
    )


def one(job: tuple[int, float]) -> tuple[float, Run, Run]:
    "Both methods on one account"
    seed, drop = job
    rows, planted = account(seed, drop)
    return drop, counted(ours(rows), planted), counted(naive(rows), planted)


def given(path: Path) -> tuple[float, Run, Run]:
    "Both methods on a quiet account of a file"
    rows = pd.read_csv(path, parse_dates=['date'], dtype={'adset_id': 'str'})
    return 0.0, counted(ours(rows), set()), counted(naive(rows), set())


def rates(runs: dict[float, list[Run]], seed: int) -> dict[str, object]:
    "The keys of one method"
    p_any = float(np.mean([run.false > 0 for run in runs[0.0]]))
    found: dict[str, object] = {
        'p_any': p_any,
        'false_per_run': float(np.mean([r.false for r in runs[0.0]])),
    }
    rng = np.random.default_rng(seed)
    for drop in (0.3, 0.5):
        share = np.array([r.false / max(r.true + r.false, 1) for r in runs[drop]])
        again = rng.choice(share, (2000, len(share))).mean(axis=1)
        found[f'fdr_{drop:.0%}'.rstrip('%')] = float(share.mean())
        found[f'fdr_{drop:.0%}_interval'.replace('%', '')] = [
            float(q) for q in np.quantile(again, [0.05, 0.95])
        ]
        found[f'power_{drop:.0%}'.rstrip('%')] = float(np.mean([r.reached for r in runs[drop]]))
    return found


def calibration(runs: dict[float, list[Run]]) -> list[dict[str, float]]:
    "Insights of all runs by confidence: how many, their mean confidence, the share that is true"
    said = [pair for group in runs.values() for run in group for pair in run.sure]
    table = pd.DataFrame(said, columns=['confidence', 'true'])
    bins = pd.cut(table['confidence'], [0, 0.7, 0.85, 0.95, 0.99, 1.0])
    kept = table.groupby(bins, observed=True).agg(
        n=('true', 'size'), said=('confidence', 'mean'), true=('true', 'mean')
    )
    return kept.round(3).reset_index(drop=True).to_dict('records')


def main() -> None:
    "Measure and print"
    options = argparse.ArgumentParser(description=__doc__.split('\n')[0])
    options.add_argument('--seed', type=int, default=0, help='of the simulated accounts')
    options.add_argument('--quick', action='store_true', help='60 accounts of each kind, not 200')
    options.add_argument('--json', action='store_true', help='one object on stdout')
    options.add_argument('--data', type=Path, help='quiet accounts as CSV files')
    chosen = options.parse_args()
    began, number = time.perf_counter(), 60 if chosen.quick else 200
    drops = (0.3, 0.5) if chosen.data else (0.0, 0.3, 0.5)
    jobs = [
        (chosen.seed * 1_000_003 + i * 3 + k, d) for k, d in enumerate(drops) for i in range(number)
    ]
    with ProcessPoolExecutor() as pool:
        every = list(pool.map(one, jobs, chunksize=4))
        if chosen.data:
            every += pool.map(given, sorted(chosen.data.glob('*.csv')))
    split = lambda place: {d: [row[place] for row in every if row[0] == d] for d in (0.0, 0.3, 0.5)}
    found = rates(split(1), chosen.seed) | {'naive': rates(split(2), chosen.seed)}
    found |= {
        'calibration': calibration(split(1)),
        'accounts': number,
        'seconds': round(time.perf_counter() - began, 1),
    }
    if chosen.json:
        print(json.dumps(found))
        return
    print(
        f'{number} accounts of each kind, {SEGMENTS} ad sets, {DAYS} days, {found["seconds"]} s\n'
    )
    print(f'{"":28}{"ours":>18}{"threshold + t-test":>20}{"wanted":>14}')
    lines = (
        ('any false insight, quiet', 'p_any', '<= .15'),
        ('false insights, quiet', 'false_per_run', ''),
        ('false share at -30 %', 'fdr_30', '<= .12'),
        ('false share at -50 %', 'fdr_50', '<= .12'),
        ('found at -30 %', 'power_30', ''),
        ('found at -50 %', 'power_50', '>= peer - .05'),
    )
    for words, key, wanted in lines:
        ends = found.get(f'{key}_interval')
        shown = f'{found[key]:.3f}' + (f' ({ends[0]:.2f}-{ends[1]:.2f})' if ends else '')
        print(f'{words:28}{shown:>18}{found["naive"][key]:20.3f}{wanted:>14}')
    print('\nconfidence said -> share true (insights)')
    for row in found['calibration']:
        print(f'  {row["said"]:.2f} -> {row["true"]:.2f} ({row["n"]:.0f})')


if __name__ == '__main__':
    main()
