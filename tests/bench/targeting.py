"""How long whom-to-reach takes: a warm run of one campaign, its parts, and 200 audiences decided.

python tests/bench/targeting.py [--seed N] [--quick] [--json]

The customer is the simulated one of stub mode (60 days, 24 ad sets, countries and placements); `run` reads
its tables from memory, plans every ad set of the first campaign and keeps the run in a folder. Audiences:
200 of 14 days at ten purchases a day. Seconds of the processor, the least of several; wall time beside it.
--data is not taken: what is measured is our own code.
"""

import argparse
import json
import os
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

for name in ('OMP_NUM_THREADS', 'OPENBLAS_NUM_THREADS', 'MKL_NUM_THREADS'):
    os.environ.setdefault(name, '1')

REPO = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(REPO), str(REPO / 'tests/bench')]

from audiences import Job, account, decided

from adsbench.targeting.case import Session, TargetingSettings, last_state, scored, stub_tables
from adsbench.targeting.messages import RunRequest
from adsbench.targeting.operations import run

TIMES, QUICK, BAR = 5, 2, 1.0


def least(act: Callable[[], object], times: int) -> dict[str, float]:
    "Least processor and wall seconds of some calls"
    found = []
    for _ in range(times):
        began = time.process_time(), time.perf_counter()
        act()
        found.append((time.process_time() - began[0], time.perf_counter() - began[1]))
    return dict(zip(('cpu_s', 'wall_s'), (round(min(side), 3) for side in zip(*found))))


def main() -> None:
    "Measure and print"
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument('--seed', type=int, default=0)
    options.add_argument('--quick', action='store_true', help=f'{QUICK} times each')
    options.add_argument('--json', action='store_true', help='one object on stdout')
    options.add_argument('--data', type=Path, help='not taken: see above')
    chosen = options.parse_args()
    if chosen.data:
        sys.exit('error: targeting takes no --data; it measures code, not data')
    times, settings = QUICK if chosen.quick else TIMES, TargetingSettings()
    tables, end = stub_tables(chosen.seed)
    campaign = sorted(last_state(tables)['campaign_id'].dropna().unique())[0]
    many = account(Job(10, 'none', chosen.seed, 0.8))
    with tempfile.TemporaryDirectory() as folder:
        here = lambda: Path(tempfile.mkdtemp(dir=folder))  # a run is written once
        session = lambda: Session(here(), end.tz_localize('UTC'), end, {'currency': 'EUR'})
        asked = RunRequest(campaign_id=campaign, mode='stub', force_refresh=True)
        act = lambda: run(asked, tables, session(), settings)
        first = least(act, 1)
        found = {
            'first_run': first,
            'run': least(act, times),
            'segments': least(lambda: scored(tables, end, settings, campaign), times),
            'audiences_200': least(lambda: decided(many), times),
        }
    if chosen.json:
        print(json.dumps(found))
        return
    for name, took in found.items():
        print(f'{name:16}{took["cpu_s"]:8.3f} s processor{took["wall_s"]:8.3f} s wall')
    for name in ('run', 'audiences_200'):
        met = 'met    ' if found[name]['cpu_s'] < BAR else 'NOT MET'
        print(f'{met} {name} under {BAR:g} s')


if __name__ == '__main__':
    main()
