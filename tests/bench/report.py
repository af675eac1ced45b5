"""How long a weekly report takes, against papermill running an empty notebook.

Every time is that of a fresh process, as a person or a scheduler starts it, medians of several
runs taken in turn. Printing a PDF is left out: it depends on whether a browser is installed.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import nbformat

REPORT = """
import sys
from pathlib import Path
from adsbench.data.disk import place
from adsbench.reports.render import report
outcome = report(place(Path(sys.argv[1]), sys.argv[2]), 'weekly')
print(outcome.message or outcome.status, file=sys.stderr)
sys.exit(outcome.status != 'ok')
"""
HELP = (
    "import sys; sys.argv = ['adsbench', '--help']; from adsbench.reports.cli import main; main()"
)
DEMO = 'import sys; from pathlib import Path; from adsbench.data.demo import write_demo; write_demo(Path(sys.argv[1]), int(sys.argv[2]))'


def timed(*command: str) -> float:
    "Seconds of a process that must succeed"
    began = time.perf_counter()
    done = subprocess.run(
        command, capture_output=True, text=True, env=os.environ | {'OMP_NUM_THREADS': '1'}
    )
    if done.returncode:
        raise SystemExit(f'{" ".join(command)[:200]}\n{done.stdout[-2000:]}{done.stderr[-2000:]}')
    return time.perf_counter() - began


def prepared(root: Path, options: argparse.Namespace) -> str:
    "A root with a customer and no PDF; returns the customer's name"
    (root / 'config' / 'default').mkdir(parents=True)
    (root / 'config' / 'default' / 'reports.yaml').write_text('pdf: never\n')
    if options.data is None:
        timed(sys.executable, '-c', DEMO, str(root), str(options.seed))
        return 'demo'
    files = sorted(p for p in [options.data, *options.data.rglob('*')] if p.is_file())
    from adsbench.data.disk import place
    from adsbench.data.ingest import Request, ingest

    ingest(place(root, 'data'), files, Request(currency='USD', timezone='UTC'))
    return 'data'


def measured(options: argparse.Namespace) -> dict[str, float]:
    "Median seconds of ours, of an empty notebook, of the help and of the import"
    python, runs = sys.executable, 2 if options.quick else 5
    with tempfile.TemporaryDirectory(prefix='bench') as folder:
        root = Path(folder)
        customer = prepared(root, options)
        spec = {'name': 'python3', 'display_name': 'python3', 'language': 'python'}
        empty = nbformat.v4.new_notebook(metadata={'kernelspec': spec})
        empty.cells = [nbformat.v4.new_code_cell('x = 1', metadata={'tags': ['parameters']})]
        nbformat.write(empty, root / 'empty.ipynb')
        papermill = [
            python,
            '-m',
            'papermill',
            str(root / 'empty.ipynb'),
            str(root / 'out.ipynb'),
            '-p',
            'x',
            '2',
        ]
        peers = {
            'ours_s': [python, '-c', REPORT, str(root), customer],
            'empty_s': [*papermill, '--no-progress-bar'],
            'help_s': [python, '-c', HELP],
            'import_s': [python, '-c', 'import adsbench'],
        }
        for command in peers.values():
            timed(*command)
        times: dict[str, list[float]] = {name: [] for name in peers}
        for _ in range(runs):
            for name, command in peers.items():
                times[name].append(timed(*command))
    return {name: round(statistics.median(taken), 3) for name, taken in times.items()}


def main() -> None:
    "Measure and print"
    options = argparse.ArgumentParser(description=__doc__.split('\n')[0])
    options.add_argument('--seed', type=int, default=0, help='of the demo customer')
    options.add_argument('--quick', action='store_true', help='two runs instead of five')
    options.add_argument('--json', action='store_true', help='one object on stdout')
    options.add_argument('--data', type=Path, help='exports to report on instead of the demo')
    chosen = options.parse_args()
    found = measured(chosen)
    if chosen.json:
        print(json.dumps(found))
        return
    rows = [('weekly report', 'ours_s', 4 * found['empty_s']), ('papermill, empty notebook', 'empty_s', None), ('adsbench --help', 'help_s', 1.0), ('import adsbench', 'import_s', 0.3)]  # fmt: skip
    print(f'{"":28}{"seconds":>9}{"at most":>9}')
    for words, key, most in rows:
        print(f'{words:28}{found[key]:9.2f}{"" if most is None else f"{most:9.2f}"}')
    print(f'\nreport / empty notebook: {found["ours_s"] / found["empty_s"]:.2f} (at most 4)')


if __name__ == '__main__':
    main()
