"""The built wheel works in an empty environment and an empty folder, without a checkout."""

import json
import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

REPO = Path(__file__).resolve().parents[1]
BIN = Path(sys.executable).parent
# nothing of the checkout or of the test run may reach the new environment
CLEAN = {
    k: v
    for k, v in os.environ.items()
    if not k.startswith(('ADSBENCH_', 'PYTHON', 'COV_', 'VIRTUAL_ENV'))
}


def run(*words: str | Path, cwd: Path, **more: str) -> subprocess.CompletedProcess:
    "A program in a folder, with its words on failure"
    done = subprocess.run(
        [str(w) for w in words], cwd=cwd, env=CLEAN | more, capture_output=True, text=True
    )
    assert done.returncode == 0, f'{words}\n{done.stdout[-3000:]}\n{done.stderr[-3000:]}'
    return done


@pytest.fixture(scope='session')
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    "The wheel, built from the checkout"
    out = tmp_path_factory.mktemp('dist')
    build = tmp_path_factory.mktemp('build')
    listed = run(
        'git', 'ls-files', '--cached', '--others', '--exclude-standard', cwd=REPO
    ).stdout.splitlines()
    for name in listed:  # a copy, so that no build folder appears in the checkout
        if (REPO / name).is_file():
            (build / name).parent.mkdir(parents=True, exist_ok=True)
            (build / name).write_bytes((REPO / name).read_bytes())
    run(
        BIN / 'uv',
        'build',
        '--wheel',
        '--no-build-isolation',
        '--python',
        sys.executable,
        '-o',
        out,
        build,
        cwd=build,
        VIRTUAL_ENV=str(BIN.parent),
    )
    return next(out.glob('*.whl'))


def test_wheel_holds_defaults_and_templates_and_no_customer(wheel: Path):
    names = zipfile.ZipFile(wheel).namelist()
    assert 'adsbench/share/config/default/account.yaml' in names
    assert 'adsbench/share/config/columns/en.yaml' in names
    assert 'adsbench/share/reports/weekly.ipynb' in names
    assert any(n.endswith('.j2') for n in names)
    allowed = (
        'adsbench/share/config/default/',
        'adsbench/share/config/columns/',
        'adsbench/share/reports/',
    )
    for name in names:
        if '/share/' in name:
            assert name.startswith(allowed), f'{name} is no default'
            assert name.startswith('adsbench/share/config') or name.count('/') == 3, (
                f'{name} looks like a run'
            )
    assert not [n for n in names if n.startswith(('tests', 'nbs', 'datasets', 'config', 'reports'))]


@pytest.mark.timeout(600)
def test_wheel_reports_the_demo_in_an_empty_environment(wheel: Path, tmp_path: Path):
    lock = tmp_path / 'constraints.txt'
    pins = [
        line.split(' \\')[0]
        for line in (REPO / 'requirements.lock').read_text().splitlines()
        if '==' in line
    ]
    lock.write_text('\n'.join(pins))
    run(BIN / 'uv', 'venv', '--python', sys.executable, 'env', cwd=tmp_path)
    installed = subprocess.run(
        [
            str(BIN / 'uv'),
            'pip',
            'install',
            '--python',
            'env/bin/python',
            '-c',
            str(lock),
            str(wheel),
        ],
        cwd=tmp_path,
        env=CLEAN,
        capture_output=True,
        text=True,
    )
    if installed.returncode and 'CI' not in os.environ:
        pytest.skip(f'no package index: {installed.stderr[-300:]}')
    assert installed.returncode == 0, installed.stderr
    folder = tmp_path / 'empty'
    folder.mkdir()
    adsbench = tmp_path / 'env/bin/adsbench'
    made = json.loads(run(adsbench, 'demo', '--json', cwd=folder).stdout)
    assert made['customer'] == 'demo' and made['tables']
    told = json.loads(run(adsbench, 'report', 'weekly', '-c', 'demo', '--json', cwd=folder).stdout)
    page = Path(told['html'])
    assert told['status'] == 'ok' and page.is_file() and folder in page.parents
