"""The command line: one JSON object, words on standard error, exit codes that mean something."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest
from typer.testing import CliRunner

from adsbench.data.settings import Problem
from adsbench.reports import cli, options

REPO = Path(__file__).resolve().parents[1]
EXPORT = """Day,Campaign name,Ad set name,Amount spent (EUR),Impressions,Link clicks,Purchases,Purchases conversion value
2026-03-01,Spring,Broad,10.00,1000,20,2,50.00
2026-03-02,Spring,Broad,12.50,1100,22,1,25.50
2026-03-01,Spring,Lookalike,20.00,1500,30,3,99.99
2026-03-02,Spring,Lookalike,19.99,1600,33,0,0
"""


def adsbench(*words: str, cwd: Path, **environ: str) -> subprocess.CompletedProcess:
    "The command in a process of its own, as a shell would"
    env = {k: v for k, v in os.environ.items() if not k.startswith('ADSBENCH_')} | environ
    command = [Path(sys.executable).parent / 'adsbench', *words]
    return subprocess.run(command, cwd=cwd, env=env, capture_output=True, text=True, timeout=240)


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture):
    "The command inside this process, through main(): exit code, standard output, standard error"

    def call(*words: str) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, 'argv', ['adsbench', *map(str, words)])
        capsys.readouterr()
        try:
            cli.main()
            code = 0
        except SystemExit as end:
            code = int(end.code or 0)
        out, err = capsys.readouterr()
        return code, out, err

    return call


@pytest.fixture
def export(tmp_root: Path) -> Path:
    "A small Ads Manager export, grown to four weeks so that a report has something to say"
    days = pd.date_range('2026-02-02', '2026-03-08').strftime('%Y-%m-%d')
    rows = EXPORT.splitlines()
    lines = [rows[0]] + [r.replace('2026-03-01', d) for d in days for r in (rows[1], rows[3])]
    path = tmp_root / 'export.csv'
    path.write_text('\n'.join(lines) + '\n')
    return path


def take(run, root: Path, export: Path) -> dict:
    "Ingest the export for customer acme"
    code, out, err = run(
        '--root',
        root,
        'ingest',
        export,
        '-c',
        'acme',
        '--currency',
        'EUR',
        '--timezone',
        'Europe/Berlin',
        '--json',
    )
    assert code == 0, err
    return json.loads(out)


def test_ingest_tells_what_it_found(run, tmp_root: Path, export: Path):
    told = take(run, tmp_root, export)
    assert told['customer'] == 'acme' and told['platform'] == 'meta'
    assert told['totals']['spend'] == pytest.approx(35 * 30.00)
    assert told['totals']['leads'] is None, 'what the file does not have is null'
    assert told['entities'] == {'campaigns': 1, 'adsets': 2, 'ads': 0}
    assert take(run, tmp_root, export) == told, 'the same file again changes nothing'
    for key in ('tables', 'dropped', 'recovered', 'missing', 'merged_names', 'flags'):
        assert key in told


def test_json_is_one_object_and_nothing_else(run, tmp_root: Path, export: Path):
    take(run, tmp_root, export)
    for words in (
        ('validate', '-c', 'acme'),
        ('config', 'show', '-c', 'acme'),
        ('config', 'check'),
        ('doctor',),
        ('features', '-c', 'acme'),
    ):
        code, out, err = run('--root', tmp_root, *words, '--json')
        assert code == 0, (words, out, err)
        assert out.count('\n') == 1 and isinstance(json.loads(out), dict)


def test_words_for_people(run, tmp_root: Path, export: Path):
    take(run, tmp_root, export)
    assert 'days_adset' in run('--root', tmp_root, 'ingest', export, '-c', 'acme')[1]
    assert 'keep their contract' in run('--root', tmp_root, 'validate', '-c', 'acme')[1]
    assert 'account.currency' in run('--root', tmp_root, 'config', 'show', '-c', 'acme')[1]
    assert 'pandas' in run('--root', tmp_root, 'doctor')[1]


def test_report_of_an_own_export(run, tmp_root: Path, export: Path):
    take(run, tmp_root, export)
    code, out, err = run('--root', tmp_root, 'report', 'weekly', '-c', 'acme', '--json')
    assert code == 0, err
    told = json.loads(out)
    assert told['status'] == 'ok'
    page = Path(told['html'])
    assert tmp_root in page.parents and 'Lookalike' in page.read_text()
    assert Path(told['notebook']).is_file() and Path(told['manifest']).is_file()


def test_problems_are_one_line_exit_1_and_write_nothing(run, tmp_root: Path):
    missing = run(
        '--root',
        tmp_root,
        'ingest',
        tmp_root / 'absent.csv',
        '-c',
        'acme',
        '--currency',
        'EUR',
        '--timezone',
        'UTC',
    )
    assert missing[0] == 1 and missing[2].startswith('error: ') and 'absent.csv' in missing[2]
    assert missing[1] == ''
    assert not (tmp_root / 'datasets').exists() and not (tmp_root / 'config').exists()
    bad = run('--root', tmp_root, 'report', 'weekly', '-c', 'Not A Slug')
    assert bad[0] == 1 and 'not-a-slug' in bad[2]
    day = run('--root', tmp_root, 'report', 'weekly', '-c', 'acme', '--as-of', 'yesterday')
    assert day[0] == 1 and 'yesterday' in day[2]


def test_usage_is_exit_2(run, tmp_root: Path):
    assert run('--root', tmp_root, 'reprot')[0] == 2
    assert run('--root', tmp_root, 'ingest', 'export.csv')[0] == 2, 'whose data it is must be said'
    assert run('--root', tmp_root, 'ingest', '--colums', 'x')[0] == 2


def test_a_mistake_of_ours_keeps_its_traceback(monkeypatch: pytest.MonkeyPatch):
    def broken() -> None:
        raise ValueError('ours')

    monkeypatch.setattr(cli, 'app', broken)
    with pytest.raises(ValueError, match='ours'):
        cli.main()


def test_interrupt_ends_quietly(monkeypatch: pytest.MonkeyPatch):
    def stopped() -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(cli, 'app', stopped)
    with pytest.raises(SystemExit) as end:
        cli.main()
    assert end.value.code == 130


def test_commands_of_other_parts_are_absent_not_stubbed():
    names = {c.name or c.callback.__name__ for c in cli.app.registered_commands}
    assert names == {
        'demo',
        'doctor',
        'ingest',
        'validate',
        'features',
        'allocate',
        'audiences',
        'auto-params',
        'diagnose',
        'discover',
        'log',
        'report',
        'tune',
    }
    assert {group.name for group in cli.app.registered_groups} == {'config', 'rules', 'target'}


def test_config_check_reports_every_customer(run, tmp_root: Path):
    for name, text in {
        'acme': 'currency: EUR\ntimezone: UTC\n',
        'typo': 'currency: EUR\ntimezon: UTC\n',
    }.items():
        folder = tmp_root / 'config' / name / 'meta'
        folder.mkdir(parents=True)
        (folder / 'account.yaml').write_text(text)
    code, out, _ = run('--root', tmp_root, 'config', 'check', '--json')
    checks = json.loads(out)['checks']
    assert code == 1
    assert [c for c in checks if not c['ok'] and 'timezone' in c['advice']]
    assert [c for c in checks if c['ok'] and c['name'] == 'config acme']


def test_doctor_never_shows_a_key(tmp_root: Path):
    done = adsbench('--root', str(tmp_root), 'doctor', cwd=tmp_root, OPENAI_API_KEY='sk-canary-99')
    assert 'OPENAI_API_KEY' in done.stdout and 'sk-canary' not in done.stdout + done.stderr


def test_root_is_found_upward_and_by_name(tmp_root: Path):
    inside = tmp_root / 'a/b'
    inside.mkdir(parents=True)
    (tmp_root / 'config').mkdir()
    told = json.loads(adsbench('doctor', '--json', cwd=inside).stdout)
    assert {'name': 'root', 'ok': True, 'advice': str(tmp_root)} in told['checks']
    other = json.loads(adsbench('doctor', '--json', cwd=REPO, ADSBENCH_ROOT=str(tmp_root)).stdout)
    assert {'name': 'root', 'ok': True, 'advice': str(tmp_root)} in other['checks']


def test_help_needs_no_heavy_library(tmp_root: Path):
    code = 'import sys; from typer.testing import CliRunner; from adsbench.reports.cli import app; r = CliRunner().invoke(app, ["--help"]); assert r.exit_code == 0; print([m for m in ("pandas", "numpy", "matplotlib", "pandera", "papermill", "scipy") if m in sys.modules])'
    done = subprocess.run([sys.executable, '-c', code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == '[]'


def test_values_that_json_does_not_know():
    assert options.plain(
        {'a': float('nan'), 'b': pd.Timestamp('2026-01-01'), 'c': [Path('x'), pd.NA]}
    ) == {'a': None, 'b': '2026-01-01T00:00:00', 'c': ['x', None]}
    assert CliRunner().invoke(cli.app, ['--help']).exit_code == 0
    with pytest.raises(Problem, match='2026-06-28'):
        options.day('soon')


def seeded(root: Path) -> Path:
    "Five weeks in the layout of a shop's export; one ad set sells next to nothing in the last week"
    days = pd.date_range('2026-02-02', '2026-03-08')
    rows = [
        (
            'Spring',
            f'Adset-{i} {audience}',
            f'{day:%Y-%m-%d}',
            100.0 + day.day % 3,
            10000 + 10 * i,
            200 + (day.day + i) % 5,
            0.02,
            sold := 1 if i == 2 and day > days[-8] else 10 + (day.day * 7 + i) % 3,
            30.0 * sold,
            0.3 * sold,
            ('Image', 'Video')[i % 2],
            f'Message {i}',
            audience,
            'Facebook',
            ('US', 'GB')[i // 3],
        )
        for day in days
        for i, audience in enumerate(('Broad', 'Lookalike', 'Retarget') * 2)
    ]
    names = 'campaign_name,adset_name,date,spend,impressions,clicks,ctr,purchases,revenue,roas,creative_type,creative_message,audience_type,platform,country'
    path = root / 'shop.csv'
    pd.DataFrame(rows, columns=names.split(',')).to_csv(path, index=False)
    return path


KEPT = {'insights.json', 'recommendations.json', 'report.md', 'log.jsonl', 'manifest.json'}


def test_diagnose_of_an_own_export(run, tmp_root: Path, export: Path):
    take(run, tmp_root, export)
    code, out, err = run('--root', tmp_root, 'diagnose', '-c', 'acme', '--json')
    assert code == 0, err
    assert out.count('\n') == 1, 'one object and nothing else'
    told = json.loads(out)
    assert told['hypotheses'] > 0 and told['validated'] == 0 and told['insights'] == []
    assert told['about']['customer'] == 'acme'
    folder = Path(told['folder'])
    assert tmp_root in folder.parents and {path.name for path in folder.iterdir()} >= KEPT
    odd = run('--root', tmp_root, 'diagnose', '-c', 'acme', '--baseline-days', '10', '--json')
    notes = json.loads(odd[1])['notes']
    assert [note for note in notes if '--baseline-days' in note and 'multiples of 7' in note]


def test_diagnose_of_a_file_without_a_customer(run, tmp_root: Path):
    file, own = seeded(tmp_root), tmp_root / 'own.yaml'
    own.write_text(
        'analysis: {baseline_days: 7, provisional_days: 0}\nsystem: {log_level: DEBUG}\n'
    )
    words = ('--root', tmp_root, 'diagnose', '--csv', file)
    code, out, err = run(*words, '--config', own, '--json')
    assert code == 0, err
    told = json.loads(out)
    assert told['about']['baseline_start'] == '2026-02-23', 'seven days, as the file says'
    assert told['about']['current_end'] == '2026-03-08' and told['about']['currency'] == 'USD'
    assert any('--currency' in note for note in told['notes'])
    first = told['insights'][0]
    assert first['validation']['validated'] and first['direction'] == 'down'
    assert 'Retarget' in json.dumps(first['affected_segments']) and told['validated'] >= 1
    page = json.loads(Path(told['folder'], 'insights.json').read_text())
    assert [one['id'] for one in page['insights']] == [one['id'] for one in told['insights']]
    assert not (tmp_root / 'datasets').exists(), 'no customer was made'
    code, out, err = run(*words, '--provisional-days', '0')
    folder = Path(out.strip())
    assert code == 0 and {path.name for path in folder.iterdir()} >= KEPT
    assert 'Retarget' in err and str(folder) not in err, 'words for people, the path for a shell'
    both = run(*words, '-c', 'acme')
    assert both[0] == 1 and 'not both' in both[2]
    gone = run('--root', tmp_root, 'diagnose', '--csv', tmp_root / 'absent.csv')
    assert gone[0] == 1 and 'absent.csv' in gone[2] and gone[1] == ''


def test_log_of_a_run(run, tmp_root: Path, export: Path):
    take(run, tmp_root, export)
    folder = Path(run('--root', tmp_root, 'diagnose', '-c', 'acme')[1].strip())
    code, out, err = run('--root', tmp_root, 'log', folder.name, '--level', 'INFO')
    assert code == 0, err
    assert 'diagnose.views' in out and 'hypotheses tested' in out
    shown = json.loads(run('--root', tmp_root, 'log', folder, '--json')[1])['lines']
    assert len(shown) == len((folder / 'log.jsonl').read_text().splitlines())
    mine = ('--chapter', 'diagnose.views', '--json')
    narrow = json.loads(run('--root', tmp_root, 'log', folder.name, *mine)[1])['lines']
    assert narrow and {line['chapter'] for line in narrow} == {'diagnose.views'}
    code, out, err = run('--root', tmp_root, 'log', 'yesterday')
    assert code == 1 and out == '' and err.startswith("error: no run 'yesterday'")
    assert f'the newest are: {folder.parent.name}/{folder.name}' in err, 'what to ask for instead'
