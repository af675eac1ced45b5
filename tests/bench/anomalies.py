"""Which labelled anomalies of cost per click and per mille `spikes` finds, and how often it is wrong.

The data are the hourly series of an ad exchange in the Numenta Anomaly Benchmark: a folder of CSV
files (timestamp, value) and combined_windows.json with the labelled windows. A window counts as
found when an alarm lies inside it; an alarm outside every window is a false point. The settings of
`spikes` are its defaults, which come from simulated series (nbs/03_stats/11_spikes.ipynb) and not
from these labels. `--seed` draws the random alarms that show what luck finds.
"""

import argparse
import json
import sys
import time
from pathlib import Path

import numpy as np
import pandas as pd

from adsbench.stats.spikes import SpikeSettings, grid, spikes, starts

REPO = Path(__file__).resolve().parents[2]
DATA = REPO.parent / 'shared' / 'data' / 'nab_adexchange'
SIX, WEEK = 6.0, 168  # the usual bar for a robust z, and hours it looks back


def ours(series: pd.Series) -> pd.Series:
    "Alarms of spikes with its defaults: the first point of every event"
    return spikes(series, SpikeSettings()).alarm


def ours_points(series: pd.Series) -> pd.Series:
    "Every point that spikes calls beyond, not only the first of an event"
    return spikes(series, SpikeSettings()).direction != ''


def rolling_z(series: pd.Series) -> pd.Series:
    "Distance from the median of the week before over its median absolute deviation, beyond 6"
    before = lambda values: values.shift(1).rolling(WEEK, min_periods=24).median()
    away = (series - before(series)).abs()
    return away > SIX * 1.4826 * before(away)


def ewma(series: pd.Series) -> pd.Series:
    "Control chart of exponentially weighted means (weight 0.2, limits at 6 deviations of errors)"
    error = series - series.ewm(alpha=0.2).mean().shift(1)
    return error.abs() > SIX * error.ewm(alpha=0.01).std().shift(1)


def stl(series: pd.Series) -> pd.Series:
    "Residual of a robust seasonal decomposition of the whole series, future included, beyond 6"
    from statsmodels.tsa.seasonal import STL

    rest = pd.Series(STL(series.to_numpy(), period=24, robust=True).fit().resid, series.index)
    away = (rest - rest.median()).abs()
    return away > SIX * 1.4826 * away.median()


def events(method):
    "The same method under the rule of spikes: one alarm for an event, none during the day after"

    def first(series: pd.Series) -> pd.Series:
        "First points of events, either direction"
        side = method(series).to_numpy().astype(int)
        return pd.Series(starts(side, grid(series.index), SpikeSettings()), series.index)

    return first


METHODS = {
    'ours': ours,
    'ours_points': ours_points,
    'rolling_z': rolling_z,
    'rolling_z_events': events(rolling_z),
    'ewma': ewma,
    'ewma_events': events(ewma),
    'stl': stl,
    'stl_events': events(stl),
}


def read(folder: Path) -> dict[str, tuple[pd.Series, list[tuple[pd.Timestamp, pd.Timestamp]]]]:
    "Every labelled series of a folder and its windows"
    labels = folder / 'combined_windows.json'
    if not labels.is_file():
        raise SystemExit(f'{labels} is absent; give --data a folder with it and its CSV files')
    named = {key.split('/')[-1]: windows for key, windows in json.loads(labels.read_text()).items()}
    read_in = {}
    for path in sorted(folder.glob('*.csv')):
        if path.name in named:
            rows = pd.read_csv(path, parse_dates=['timestamp'])
            windows = [(pd.Timestamp(a), pd.Timestamp(b)) for a, b in named[path.name]]
            read_in[path.stem] = (rows.set_index('timestamp')['value'], windows)
    if not read_in:
        raise SystemExit(f'{folder}: no CSV file is named in {labels.name}')
    return read_in


def judged(alarm: np.ndarray, times: pd.DatetimeIndex, windows: list) -> tuple[int, int]:
    "Windows found and alarms outside all of them"
    inside = [(times >= a) & (times <= b) for a, b in windows]
    outside = ~np.any(inside, axis=0) if inside else np.ones(len(times), dtype=bool)
    return sum(bool((alarm & one).any()) for one in inside), int((alarm & outside).sum())


def by_luck(stored: dict, points: int, seed: int) -> float:
    "Windows that as many alarms thrown at random find, on average"
    rng = np.random.default_rng(seed)
    sizes = [len(series) for series, _ in stored.values()]
    total, rounds = 0, 200
    for _ in range(rounds):
        thrown = np.zeros(sum(sizes), dtype=bool)
        thrown[rng.choice(sum(sizes), min(points, sum(sizes)), replace=False)] = True
        parts = np.split(thrown, np.cumsum(sizes)[:-1])
        total += sum(
            judged(part, series.index, windows)[0]
            for part, (series, windows) in zip(parts, stored.values())
        )
    return total / rounds


def measured(options: argparse.Namespace) -> dict:
    "Found and false of every method, and of ours by file"
    stored = read(options.data)
    found: dict = {'windows': sum(len(windows) for _, windows in stored.values())}
    peers, files, points = {}, {}, 0
    for name, method in METHODS.items():
        if options.quick and name.startswith('stl'):
            continue
        began, sums = time.perf_counter(), np.zeros(2, dtype=int)
        for file, (series, windows) in stored.items():
            alarm = method(series).to_numpy(dtype=bool)
            one = judged(alarm, series.index, windows)
            sums += one
            if name == 'ours':
                points += int(alarm.sum())
                files[file] = {'windows': len(windows), 'found': one[0], 'false_points': one[1]}
        row = {'found': int(sums[0]), 'false_points': int(sums[1])}
        row |= {'seconds': round(time.perf_counter() - began, 3)}
        peers[name] = row
    first = peers.pop('ours')
    luck = round(by_luck(stored, points, options.seed), 2)
    return found | first | {'by_luck': luck, 'peers': peers, 'files': files}


def main() -> None:
    "Measure and print"
    options = argparse.ArgumentParser(description=__doc__.split('\n')[0])
    options.add_argument('--seed', type=int, default=0, help='of the alarms thrown at random')
    options.add_argument('--quick', action='store_true', help='without the slow decomposition')
    options.add_argument('--json', action='store_true', help='one object on stdout')
    options.add_argument('--data', type=Path, default=DATA, help='folder of series and windows')
    chosen = options.parse_args()
    found = measured(chosen)
    if chosen.json:
        print(json.dumps(found))
        return
    print(f'{"":34}{"found":>7}{"false":>7}{"seconds":>9}')
    for name, row in ({'ours (first of an event)': found} | found['peers']).items():
        print(f'{name:34}{row["found"]:7d}{row["false_points"]:7d}{row["seconds"]:9.2f}')
    print(f'\n{found["windows"]} windows; as many random alarms find {found["by_luck"]}')
    for name, row in found['files'].items():
        print(f'{name:34}{row["found"]:3d} of {row["windows"]}{row["false_points"]:7d} false')


if __name__ == '__main__':
    sys.exit(main())
