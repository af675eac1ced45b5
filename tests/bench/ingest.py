"""Ingest: one million rows of an Ads Manager CSV, against pandas.read_csv alone; and mutated exports.

python tests/bench/ingest.py [--quick] [--seed N] [--json] [--data FILE] [--fuzz FILES]
"""

import argparse
import gc
import json
import os
import sys
import tempfile
import time
from pathlib import Path

# pandas.read_csv counts processors itself; Arrow listens to this variable, and both shall have the same
os.environ.pop('OMP_NUM_THREADS', None)

import numpy as np
import pandas as pd

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))


def export(rows: int, seed: int) -> pd.DataFrame:
    "An Ads Manager export by ad and day, with the columns of the default view"
    rng = np.random.default_rng(seed)
    days = 365 if rows > 365 else 1
    ads = rows // days
    ad = np.tile(np.arange(ads), days)
    adset, n = ad // 6, ads * days
    campaign = adset // 10
    impressions = rng.integers(200, 99_999, n)
    clicks = rng.binomial(impressions, 0.01)
    purchases = rng.binomial(clicks, 0.03)
    spend = (impressions * rng.lognormal(-4.6, 0.3, n)).round(2)
    revenue = (purchases * rng.lognormal(3.6, 0.3, n)).round(2)
    first = pd.Timestamp('2025-01-01')
    return pd.DataFrame(
        {
            'Day': np.repeat(pd.date_range(first, periods=days).strftime('%Y-%m-%d'), ads),
            'Campaign name': np.char.add('Campaign ', campaign.astype(str)),
            'Ad set name': np.char.add('Ad set ', adset.astype(str)),
            'Ad name': np.char.add('Ad ', ad.astype(str)),
            'Ad ID': (120_200_000_000_000_000 + ad).astype(str),
            'Reach': (impressions / 1.3).astype(int),
            'Impressions': impressions,
            'Frequency': (impressions / (impressions / 1.3).astype(int)).round(6),
            'Currency': 'USD',
            'Amount spent (USD)': spend,
            'Link clicks': clicks,
            'Purchases': purchases,
            'Purchases conversion value': revenue,
            'Attribution setting': '7-day click or 1-day view',
        }
    )


def fastest(works: dict, times: int) -> dict[str, float]:
    "The shortest time of each of several works, run in turn so that a busy minute hits all"
    took: dict[str, list[float]] = {name: [] for name in works}
    for _ in range(times):
        for name, work in works.items():
            gc.collect()
            start = time.perf_counter()
            work()
            took[name].append(time.perf_counter() - start)
    return {name: min(seconds) for name, seconds in took.items()}


def speed(options: argparse.Namespace) -> dict:
    "Seconds from a file to canonical frames, and of pandas.read_csv alone"
    from adsbench.data.columns import ColumnMap, layouts
    from adsbench.data.measures import Rules
    from adsbench.data.names import find_root
    from adsbench.data.parse import parse
    from adsbench.data.settings import Account
    from adsbench.data.settle import settle

    folder = Path(tempfile.mkdtemp())
    path = options.data or folder / 'export.csv'
    if options.data is None:
        export(100_000 if options.quick else 1_000_000, options.seed).to_csv(path, index=False)
    rules = Rules(
        ColumnMap(), Account(currency=options.currency, timezone='UTC'), layouts(find_root())
    )
    stamp = pd.Timestamp('2026-01-05', tz='UTC')

    def ours() -> dict[str, pd.DataFrame]:
        return settle(parse(path, rules, stamp).tables, rules.options, {}).tables

    took = fastest({'read_csv': lambda: pd.read_csv(path), 'ours': ours}, 5 if options.quick else 7)
    ours_s, read_csv_s = took['ours'], took['read_csv']
    name, table = max(ours().items(), key=lambda item: len(item[1]))
    write_s = fastest({'write': lambda: table.to_parquet(folder / 'table.parquet')}, 1)['write']
    return {
        'rows': len(table),
        'table': name,
        'ours_s': round(ours_s, 4),
        'read_csv_s': round(read_csv_s, 4),
        'ratio': round(ours_s / read_csv_s, 2),
        'parquet_write_s': round(write_s, 4),
    }


def main() -> None:
    "Print the measurements"
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('--seed', type=int, default=0)
    parser.add_argument('--quick', action='store_true')
    parser.add_argument('--json', action='store_true')
    parser.add_argument('--data', type=Path, help='an ads export to read in place of ours')
    parser.add_argument('--currency', default='USD')
    parser.add_argument('--fuzz', type=int, help='mutated exports to try')
    options = parser.parse_args()
    if options.fuzz:
        from fuzz import run

        found = run(options.fuzz, options.seed)
    else:
        found = speed(options)
    if options.json:
        print(json.dumps(found))
        return
    width = max(map(len, found))
    for name, value in found.items():
        print(f'{name:<{width}}  {value}')


if __name__ == '__main__':
    main()
