"""How well the click rate of single ads is told from half of their clicks, on real Facebook ads.

The file (1,143 ads with impressions and clicks) is thinned: each click goes to one half or the other
with probability one half, impressions are halved, so both halves have the same true rates. Each
method is fitted on one half; its squared error on the other is weighted by impressions. The mean is
over `--thinnings` draws. Ours is what `targeting.scores` ranks segments by: the fitted prior of
part stats (`stats.confidence.rates`), with its defaults.
"""

import argparse
import json
import sys
from pathlib import Path

import numpy as np
import pandas as pd

from adsbench.stats.confidence import rates, smooth
from adsbench.targeting.scores import SegmentSettings

REPO = Path(__file__).resolve().parents[2]
DATA = REPO.parent / 'shared' / 'data' / 'kag'
SETTINGS = SegmentSettings()


def raw(ads: pd.DataFrame) -> np.ndarray:
    "Clicks of impressions as they are"
    return (ads.clicks / ads.impressions).to_numpy()


def pooled(ads: pd.DataFrame) -> np.ndarray:
    "One rate for all ads"
    return np.full(len(ads), ads.clicks.sum() / ads.impressions.sum())


def seed(ads: pd.DataFrame) -> np.ndarray:
    "The seed's formula: 1.5 % worth a hundred impressions"
    prior = SETTINGS.seed
    return smooth(raw(ads), ads.impressions, prior.ctr, prior.strength)


def ours(ads: pd.DataFrame) -> np.ndarray:
    "Shrunk toward a prior that the ads themselves fit"
    return rates(ads, 'ctr', SETTINGS.shrinking)['mean'].to_numpy()


METHODS = {'raw': raw, 'pooled': pooled, 'seed': seed, 'ours': ours}


def read(folder: Path) -> pd.DataFrame:
    "Impressions and clicks of every ad that was shown"
    path = folder if folder.is_file() else folder / 'KAG_conversion_data.csv'
    table = pd.read_csv(path).rename(columns={'Impressions': 'impressions', 'Clicks': 'clicks'})
    return table.loc[table.impressions > 0, ['impressions', 'clicks']].reset_index(drop=True)


def errors(ads: pd.DataFrame, thinnings: int, seed: int) -> dict[str, float]:
    "Mean squared error of each method on the half it has not seen, weighted by impressions"
    rng, found = np.random.default_rng(seed), []
    for _ in range(thinnings):
        first = rng.binomial(ads.clicks, 0.5)
        half = ads.assign(impressions=ads.impressions / 2, clicks=first.astype(float))
        other = (ads.clicks - first) / half.impressions
        weight = half.impressions / half.impressions.sum()
        found.append([(weight * (rule(half) - other) ** 2).sum() for rule in METHODS.values()])
    return dict(zip(METHODS, np.mean(found, axis=0).tolist()))


def main(arguments: list[str] | None = None) -> int:
    "Print the table, or one JSON object"
    ask = argparse.ArgumentParser(description=__doc__)
    ask.add_argument('--seed', type=int, default=6)
    ask.add_argument('--quick', action='store_true', help='20 thinnings')
    ask.add_argument('--thinnings', type=int, default=200)
    ask.add_argument('--json', action='store_true')
    ask.add_argument('--data', type=Path, default=DATA)
    asked = ask.parse_args(arguments)
    if not asked.data.exists():
        print(f'error: {asked.data} is not there; give --data', file=sys.stderr)
        return 1
    ads = read(asked.data)
    count = 20 if asked.quick else asked.thinnings
    told = {'ads': len(ads), 'thinnings': count, 'error': errors(ads, count, asked.seed)}
    if asked.json:
        print(json.dumps(told))
        return 0
    print(f'{len(ads)} ads, {count} thinnings: squared error of the click rate on the other half')
    for name, value in told['error'].items():
        print(f'{name:8} {value:.3e}')
    return 0


if __name__ == '__main__':
    sys.exit(main())
