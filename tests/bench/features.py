"""The 59 windowed features of a million ad-days: ours, pandas, polars and duckdb in one run.

python tests/bench/features.py [--seed N] [--quick] [--json] [--data PATH]

All four compute the same table (equal to 1e-6, checked first on 20,000 rows with gaps, days given
twice, missing values and no order) from a frame in memory to a frame in memory. Every figure comes
from a process of its own, so that nobody inherits another's memory: time is the best of
three rounds of three repetitions, the peak is that of a process that read the file and ran once.
PATH is a Parquet or CSV file, or a folder of them, with date, an entity column (adset_id, ad_id ...),
spend, revenue, impressions, clicks and purchases; money is rounded to cents as accounts keep it.
"""

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

MEASURES = ('spend', 'revenue', 'impressions', 'clicks', 'purchases')
WINDOWS = (1, 3, 7, 14, 30)
RATIOS = {
    'roas': ('revenue', 'spend'),
    'ctr': ('clicks', 'impressions'),
    'cvr': ('purchases', 'clicks'),
    'cpc': ('spend', 'clicks'),
}
CHANGES = ('spend', 'revenue', 'clicks')
SLOPES = {'spend': (7, 14, 30), 'revenue': (7, 14, 30)}
ENTITIES = ('adset_id', 'ad_id', 'campaign_id', 'account_id')
ROUNDS = 3
EQUAL = 1e-6  # the largest difference that still counts as the same table
NAMES = [
    *(f'{m}_{w}d' for m in MEASURES for w in WINDOWS),
    *(f'{r}_{w}d' for r in RATIOS for w in WINDOWS),
    *(f'{m}_7d_lag7' for m in MEASURES),
    *(f'{m}_dod' for m in CHANGES),
    *(f'{m}_slope_{w}d' for m, widths in SLOPES.items() for w in widths),
]


def generate(rows: int, seed: int, dirty: bool = False, first: int = 0):
    "Ad-days of ad sets that live 30 to 400 days and skip a tenth of them; dirty: twice, missing"
    import pandas as pd

    rng = np.random.default_rng([seed, first])
    lives = rng.integers(30, 400, rows // 60 + 50)
    entity = np.repeat(np.arange(len(lives)), lives)
    day = np.arange(len(entity)) - np.repeat(np.cumsum(lives) - lives, lives)
    day += np.repeat(rng.integers(0, 200, len(lives)), lives)
    kept = np.flatnonzero(rng.random(len(entity)) >= 0.1)[:rows]
    entity, day = entity[kept] + first, day[kept]
    spend = rng.lognormal(3, 1, rows).round(2)
    impressions = rng.poisson(spend * 90).astype(float)
    clicks = rng.binomial(impressions.astype(int), 0.015).astype(float)
    purchases = rng.binomial(clicks.astype(int), 0.03).astype(float)
    revenue = (purchases * rng.lognormal(3.9, 0.5, rows)).round(2)
    days = pd.DataFrame(
        {
            'date': np.datetime64('2025-01-01', 'us') + day.astype('timedelta64[D]'),
            'adset_id': pd.array([f'2384{e:011d}' for e in entity], dtype='str'),
            'spend': spend,
            'revenue': revenue,
            'impressions': impressions,
            'clicks': clicks,
            'purchases': purchases,
        }
    )
    if dirty:
        for m in MEASURES:
            days[m] = days[m].mask(rng.random(rows) < 0.05)
        days = pd.concat([days, days.sample(frac=0.1, random_state=seed)])
    return days.sample(frac=1, random_state=seed, ignore_index=True) if not first else days


# ---- ours -------------------------------------------------------------------------------------


def read_ours(path: str):
    import pandas as pd

    return pd.read_parquet(path)


def ours(days, entity: str):
    from adsbench.features.windows import WindowSettings, trailing

    return trailing(days, entity, WindowSettings())


# ---- pandas: time-based rolling per group ------------------------------------------------------


def read_pandas(path: str):
    days = read_ours(path)
    entity = next(c for c in ENTITIES if c in days)
    return days, days.duplicated([entity, 'date']).any()


def pandas_(read, entity: str):
    import pandas as pd

    days, twice = read
    days = days[[entity, 'date', *MEASURES]].copy()
    sides = dict(RATIOS)
    if days[list(MEASURES)].isna().any().any():
        for r, (top, bottom) in RATIOS.items():
            both = days[top].notna() & days[bottom].notna()
            days[f'{r}:top'], days[f'{r}:bottom'] = days[top].where(both), days[bottom].where(both)
            sides[r] = (f'{r}:top', f'{r}:bottom')
    if twice:
        days = days.groupby([entity, 'date'], as_index=False).sum(min_count=1)
    days = days.sort_values([entity, 'date'], ignore_index=True)
    start = days['date'].min()
    t = (days['date'] - start).dt.days.astype('float64')
    for m in SLOPES:
        known = days[m].notna()
        days[f'{m}:n'], days[f'{m}:t'] = known.astype('float64'), t.where(known, 0.0)
        days[f'{m}:tt'], days[f'{m}:ty'] = t.where(known, 0.0) ** 2, t * days[m]
    columns = [c for c in days if c not in (entity, 'date')]
    rolled = {}
    indexed = days.set_index('date').groupby(entity, sort=False)
    for w in WINDOWS:
        wanted = [
            c for c in columns if ':' not in c or c.split(':')[0] in RATIOS or w in SLOPES['spend']
        ]
        rolled[w] = indexed[wanted].rolling(f'{w}D', min_periods=1).sum().reset_index(drop=True)
    out = {entity: days[entity], 'date': days['date']}
    for m in MEASURES:
        for w in WINDOWS:
            out[f'{m}_{w}d'] = rolled[w][m]
    for r, (top, bottom) in sides.items():
        for w in WINDOWS:
            out[f'{r}_{w}d'] = rolled[w][top] / rolled[w][bottom].where(rolled[w][bottom] != 0)
    counts = {
        w: days[list(MEASURES)]
        .notna()
        .astype('float64')
        .set_index(days['date'])
        .groupby(days[entity].to_numpy(), sort=False)
        .rolling(f'{w}D')
        .sum()
        .reset_index(drop=True)
        for w in (7, 14)
    }
    for m in MEASURES:
        difference = rolled[14][m].fillna(0) - rolled[7][m].fillna(0)
        out[f'{m}_7d_lag7'] = difference.where(counts[14][m] > counts[7][m])
    yesterday = (days['date'].diff().dt.days == 1) & (days[entity] == days[entity].shift())
    for m in CHANGES:
        before = days[m].shift().where(yesterday)
        out[f'{m}_dod'] = days[m] / before.where(before != 0) - 1
    for m, widths in SLOPES.items():
        for w in widths:
            n, t, tt, ty, y = (rolled[w][c] for c in (f'{m}:n', f'{m}:t', f'{m}:tt', f'{m}:ty', m))
            bottom = n * tt - t * t
            out[f'{m}_slope_{w}d'] = (n * ty - t * y) / bottom.where(n > 1)
    return pd.DataFrame(out, copy=False)


# ---- polars: sorted, one rolling group-by a window (twice as fast as rolling_sum_by(...).over) -------------------------------------


def read_polars(path: str):
    import polars as pl

    days = pl.read_parquet(path)
    entity = next(c for c in ENTITIES if c in days.columns)
    return days, days.select(pl.struct(entity, 'date').is_duplicated().any()).item()


def polars_(read, entity: str):
    import polars as pl

    days, twice = read
    col = pl.col
    days = days.select(entity, 'date', *MEASURES).with_columns(
        col(m).fill_nan(None) for m in MEASURES
    )
    sides = dict(RATIOS)
    missing = sum(days.select(MEASURES).null_count().row(0)) > 0
    if missing:
        for r, (top, bottom) in RATIOS.items():
            both = col(top).is_not_null() & col(bottom).is_not_null()
            days = days.with_columns(
                pl.when(both).then(col(top)).alias(f'{r}:top'),
                pl.when(both).then(col(bottom)).alias(f'{r}:bottom'),
            )
            sides[r] = (f'{r}:top', f'{r}:bottom')
    if twice:
        total = pl.exclude(entity, 'date')
        days = days.group_by(entity, 'date').agg(pl.when(total.count() > 0).then(total.sum()))
    measured = [c for c in days.columns if c not in (entity, 'date')]
    t = (col('date') - days['date'].min()).dt.total_days().cast(pl.Float64)
    days = days.sort(entity, 'date')
    timed = []
    for m in SLOPES:
        timed.append((t * col(m)).alias(f'{m}:ty'))
        if missing or m == 'spend':
            known = col(m).is_not_null()
            timed += [
                pl.when(known).then(t).alias(f'{m}:t'),
                pl.when(known).then(t * t).alias(f'{m}:tt'),
            ]
    days = days.with_columns(timed)
    counted = MEASURES if missing else MEASURES[:1]
    parts = [days]
    for w in WINDOWS:
        extra = (
            [c for c in days.columns if ':t' in c and not c.endswith(':top')]
            if w in SLOPES['spend']
            else []
        )

        wanted = []
        for m in [*measured, *extra]:
            total = pl.when(col(m).count() > 0).then(col(m).sum()) if missing else col(m).sum()
            wanted.append(total.alias(f'{m}_{w}d'))
        wanted += [
            col(m).count().cast(pl.Float64).alias(f'{m}:n_{w}d')
            for m in counted
            if w in (7, 14, 30)
        ]
        parts.append(
            days.lazy()
            .rolling('date', period=f'{w}d', group_by=entity)
            .agg(wanted)
            .drop(entity, 'date')
        )
    parts = [parts[0], *pl.collect_all(parts[1:])]
    wide = pl.concat(parts, how='horizontal').lazy()
    before = [col(m).shift().over(entity).alias(f'{m}:before') for m in CHANGES]
    wide = wide.with_columns(*before, col('date').diff().over(entity).alias('gap'))
    second = [col(f'{m}_{w}d') for m in MEASURES for w in WINDOWS]
    for r, (top, bottom) in sides.items():
        for w in WINDOWS:
            under = col(f'{bottom}_{w}d')
            second.append(pl.when(under != 0).then(col(f'{top}_{w}d') / under).alias(f'{r}_{w}d'))
    for m in MEASURES:
        n = m if missing else 'spend'
        more = col(f'{n}:n_14d') > col(f'{n}:n_7d')
        earlier = col(f'{m}_14d').fill_null(0) - col(f'{m}_7d').fill_null(0)
        second.append(pl.when(more).then(earlier).alias(f'{m}_7d_lag7'))
    for m in CHANGES:
        before = col(f'{m}:before')
        follows = (col('gap') == pl.duration(days=1)) & (before != 0)
        second.append(pl.when(follows).then(col(m) / before - 1).alias(f'{m}_dod'))
    for m, widths in SLOPES.items():
        o = m if missing else 'spend'
        for w in widths:
            n, s, ss = col(f'{o}:n_{w}d'), col(f'{o}:t_{w}d'), col(f'{o}:tt_{w}d')
            top = n * col(f'{m}:ty_{w}d') - s * col(f'{m}_{w}d')
            second.append(pl.when(n > 1).then(top / (n * ss - s * s)).alias(f'{m}_slope_{w}d'))
    return wide.select(entity, 'date', *second).collect()


# ---- duckdb: window functions over a range of days ----------------------------------------------


def read_duckdb(path: str):
    import duckdb

    connection = duckdb.connect()
    connection.execute(f"create table days as select * from read_parquet('{path}')")
    names = [row[0] for row in connection.execute('describe days').fetchall()]
    entity = next(c for c in ENTITIES if c in names)
    count = f'select count(*) > count(distinct ({entity}, date)) from days'
    return connection, connection.execute(count).fetchall()[0][0]


def duckdb_(read, entity: str):
    connection, twice = read
    run = connection.execute
    missing = run(
        f'select {" + ".join(f"count(*) - count({m})" for m in MEASURES)} from days'
    ).fetchall()[0][0]
    extra, sides = '', dict(RATIOS)
    if missing:
        for r, (top, bottom) in RATIOS.items():
            extra += f', if({bottom} is null, null, {top}) as "{r}:top", if({top} is null, null, {bottom}) as "{r}:bottom"'
            sides[r] = (f'{r}:top', f'{r}:bottom')
    measured = [*MEASURES, *(s for parts in sides.values() for s in parts if ':' in s)]
    source = f'select {entity}, date, {", ".join(MEASURES)}{extra} from days'
    if twice:
        added = ', '.join(f'sum("{m}") as "{m}"' for m in measured)
        source = f'select {entity}, date, {added} from ({source}) group by all'
    wide = ', '.join(f'sum("{m}") over w{w} as "{m}_{w}d"' for m in measured for w in WINDOWS)
    timed = ', '.join(
        f'count({m}) over w{w} as "{m}:n_{w}d", sum(t) filter ({m} is not null) over w{w} as "{m}:t_{w}d", '
        f'sum(t * t) filter ({m} is not null) over w{w} as "{m}:tt_{w}d", sum(t * {m}) over w{w} as "{m}:ty_{w}d"'
        for m, widths in SLOPES.items()
        for w in widths
    )
    lagged = ', '.join(f'sum({m}) over earlier as "{m}_7d_lag7"' for m in MEASURES)
    before = ', '.join(f'sum({m}) over yesterday as "{m}:before"' for m in CHANGES)
    ordered = f'partition by {entity} order by date range between interval'
    windows = ', '.join(
        f'w{w} as ({ordered} {w - 1} days preceding and current row)' for w in WINDOWS
    )
    windows += f', earlier as ({ordered} 13 days preceding and interval 7 days preceding)'
    windows += f', yesterday as ({ordered} 1 days preceding and interval 1 days preceding)'
    ratios = ', '.join(
        f'"{top}_{w}d" / nullif("{bottom}_{w}d", 0) as {r}_{w}d'
        for r, (top, bottom) in sides.items()
        for w in WINDOWS
    )
    slopes = ', '.join(
        f'if("{m}:n_{w}d" > 1, ("{m}:n_{w}d" * "{m}:ty_{w}d" - "{m}:t_{w}d" * {m}_{w}d)'
        f' / ("{m}:n_{w}d" * "{m}:tt_{w}d" - "{m}:t_{w}d" * "{m}:t_{w}d"), null) as {m}_slope_{w}d'
        for m, widths in SLOPES.items()
        for w in widths
    )
    changes = ', '.join(f'{m} / nullif("{m}:before", 0) - 1 as {m}_dod' for m in CHANGES)
    plain = ', '.join(f'{m}_{w}d' for m in MEASURES for w in WINDOWS)
    query = f"""
        with source as ({source}),
        dated as (select *, date_diff('day', (select min(date) from days), date)::double as t from source),
        rolled as (select {entity}, date, {', '.join(MEASURES)}, {wide}, {timed}, {lagged}, {before}
                   from dated window {windows})
        select {entity}, date, {plain}, {ratios}, {', '.join(f'{m}_7d_lag7' for m in MEASURES)}, {changes}, {slopes}
        from rolled order by {entity}, date"""
    return connection.sql(query).to_arrow_table()


PEERS = {
    'ours': (read_ours, ours),
    'polars': (read_polars, polars_),
    'pandas': (read_pandas, pandas_),
    'duckdb': (read_duckdb, duckdb_),
}


# ---- the run ------------------------------------------------------------------------------------


def peak_mib() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def child(args: list[str]) -> dict:
    "This script again, in a process of its own"
    command = [sys.executable, __file__, '--child', *args]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        told = done.stderr[-3000:]
        sys.exit(told if told.startswith('error') else f'{" ".join(command)}\n{told}')
    return json.loads(done.stdout)


def one(name: str, path: str, entity: str, times: str) -> dict:
    "Seconds of each repetition, and the peak of the process"
    read, compute = PEERS[name]
    days, seconds = read(path), []
    for _ in range(int(times)):
        start = time.perf_counter()
        table = compute(days, entity)
        seconds.append(time.perf_counter() - start)
        del table
    return {'seconds': seconds, 'peak_mib': peak_mib()}


def big(path: str, entity: str, rows: str) -> dict:
    "A file too large for one table, in blocks: features of each made, counted and let go"
    import pyarrow.parquet as pq

    from adsbench.features.panel import blocks
    from adsbench.features.windows import WindowSettings, trailing

    settings, made, checksum = WindowSettings(), 0, 0.0
    start = time.perf_counter()
    batches = pq.ParquetFile(path).iter_batches(batch_size=int(rows) // 2, use_threads=False)
    for block in blocks((b.to_pandas() for b in batches), entity, int(rows)):
        table = trailing(block, entity, settings)
        made += len(table)
        checksum += float(table['spend_1d'].sum())
        del table, block
    return {
        'rows': made,
        'seconds': time.perf_counter() - start,
        'spend': checksum,
        'peak_mib': peak_mib(),
    }


def largest_difference(path: str, entity: str) -> dict[str, float]:
    "Ours against each peer on the same rows; a value missing on one side only counts as infinite"
    import pandas as pd

    found, mine = {}, None
    for name, (read, compute) in PEERS.items():
        table = compute(read(path), entity)
        frame = table if isinstance(table, pd.DataFrame) else table.to_pandas()
        frame = frame.sort_values([entity, 'date'], ignore_index=True)
        values = frame[NAMES].to_numpy(dtype='float64', na_value=np.nan)
        if mine is None:
            mine, keys = values, frame[[entity, 'date']].astype(str)
            continue
        same = keys.equals(frame[[entity, 'date']].astype(str))
        holes = (np.isnan(values) != np.isnan(mine)).any()
        found[name] = np.inf if holes or not same else float(np.nanmax(np.abs(values - mine)))
    return found


def prepare(folder: str, seed: str, rows: str, data: str, large: str) -> dict:
    "The files of the run: the days, a sample to check on, and a large one"
    if data:
        days, entity = load(Path(data))
        ids = days[entity].drop_duplicates()
        few = days[days[entity].isin(ids[: max(1, len(ids) * 20_000 // max(len(days), 1))])]
    else:
        days, entity = generate(int(rows), int(seed)), 'adset_id'
        few = generate(20_000, int(seed) + 1, dirty=True)
    days.to_parquet(f'{folder}/days.parquet')
    few.to_parquet(f'{folder}/sample.parquet')
    write_stream(f'{folder}/stream.parquet', int(large), int(seed))
    return {'rows': len(days), 'entity': entity}


def load(path: Path):
    "A file or folder in the benchmark's layout, money in cents"
    import pandas as pd

    files = (
        sorted(p for p in path.rglob('*') if p.suffix in ('.parquet', '.csv'))
        if path.is_dir()
        else [path]
    )
    text = dict.fromkeys(ENTITIES, 'str')
    frames = [
        pd.read_parquet(f) if f.suffix == '.parquet' else pd.read_csv(f, dtype=text) for f in files
    ]
    if not frames:
        sys.exit(f'error: {path} holds no .parquet and no .csv file')
    days = pd.concat(frames, ignore_index=True)
    entity = next((c for c in ENTITIES if c in days), None)
    if entity is None or not {'date', *MEASURES} <= set(days):
        sys.exit(
            f'error: {path} has no date, {", ".join(MEASURES)} and one of {", ".join(ENTITIES)}'
        )
    days = days[['date', entity, *MEASURES]].astype(
        dict.fromkeys(MEASURES, 'float64') | {entity: 'str'}
    )
    days['date'] = pd.to_datetime(days['date']).dt.as_unit('us').dt.normalize()
    return days.round({'spend': 2, 'revenue': 2}), entity


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('--seed', type=int, default=0)
    parser.add_argument(
        '--quick', action='store_true', help='one round instead of three, and 1 million by blocks'
    )
    parser.add_argument('--json', action='store_true')
    parser.add_argument('--data', type=Path)
    parser.add_argument('--child', nargs='+', help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.child:
        print(json.dumps(CHILDREN[args.child[0]](*args.child[1:])))
        return
    rows, large, rounds = 1_000_000, *((1_000_000, 1) if args.quick else (10_000_000, ROUNDS))
    with tempfile.TemporaryDirectory() as folder:
        # this process stays small: a child is born with the peak of its parent
        made = child(
            ['prepare', folder, str(args.seed), str(rows), str(args.data or ''), str(large)]
        )
        whole, entity, rows = f'{folder}/days.parquet', made['entity'], made['rows']
        difference = child(['check', f'{folder}/sample.parquet', entity])
        if unequal := {n: d for n, d in difference.items() if not d < EQUAL}:
            sys.exit(f'error: the tables differ: {unequal}')
        best, peak = dict.fromkeys(PEERS, np.inf), {}
        for _ in range(rounds):  # in turns, so that a busy minute hits all of them
            for name in PEERS:
                best[name] = min(best[name], *child(['one', name, whole, entity, '3'])['seconds'])
        for name in PEERS:
            peak[name] = child(['one', name, whole, entity, '1'])['peak_mib']
        huge = child(['big', f'{folder}/stream.parquet', 'adset_id', '1000000'])
    summary = {
        'rows': rows,
        **{f'{n}_s': round(best[n], 3) for n in ('ours', 'polars', 'pandas', 'duckdb')},
        'max_abs_diff': max(difference.values()),
        **{f'{n}_peak_mib': round(peak[n], 1) for n in ('ours', 'polars', 'pandas', 'duckdb')},
        'features': len(NAMES),
        'big': {
            'rows': huge['rows'],
            'ours_s': round(huge['seconds'], 2),
            'ours_peak_mib': round(huge['peak_mib'], 1),
        },
    }
    if args.json:
        print(json.dumps(summary))
        return
    print(
        f'{len(NAMES)} windowed features of {rows:,} ad-days; largest difference {summary["max_abs_diff"]:.1e}'
    )
    for name in PEERS:
        print(
            f'  {name:8}{best[name]:8.2f} s  x{best[name] / best["ours"]:.1f}{peak[name]:10,.0f} MiB'
        )
    print(
        f'{huge["rows"]:,} ad-days by blocks: {huge["seconds"]:.1f} s, {huge["peak_mib"]:,.0f} MiB'
    )


def write_stream(path: str, rows: int, seed: int, piece: int = 500_000) -> None:
    "A large file, the days of an ad set next to each other, written piece by piece"
    import pyarrow as pa
    import pyarrow.parquet as pq

    writer = None
    for number in range(rows // piece):
        days = generate(piece, seed, first=1 + number * piece)
        table = pa.Table.from_pandas(days, preserve_index=False)
        writer = writer or pq.ParquetWriter(path, table.schema)
        writer.write_table(table)
    writer.close()


CHILDREN = {'one': one, 'big': big, 'check': largest_difference, 'prepare': prepare}

if __name__ == '__main__':
    main()
