"""From exports to numbers in force: two customers pooled, a killed search resumed, an ADOPT that is adopted."""

import json
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from typer.testing import CliRunner

from adsbench.data.disk import Place, place
from adsbench.data.layers import read_layers
from adsbench.reports import cli, tuning, tuning_runs
from adsbench.rules.policy import policy

sys.path.insert(0, str(Path(__file__).resolve().parent / 'bench'))

from customers import customer
from verdicts import APART, FORCED, halves, planted

DAYS, ADSETS, MANY = 260, 8, '10'
NAMES = ('acme', 'bolt')


def asked(root: Path, *words: str, code: int = 0) -> dict:
    found = CliRunner().invoke(cli.app, ['--root', str(root), *words, '--json'])
    assert found.exit_code == code, (words, found.output, found.exception)
    return json.loads(found.stdout)


def settings(home: Place) -> None:
    "Two rules whose numbers in force never fire, and rules that act without odds"
    own, rules = planted().policy, {}
    for name, row in own.rules.items():
        new = row.on and name not in policy(read_layers(home.root)).rules
        kept = {'number', 'tier', 'when', 'change', 'because'}
        rules[name] = row.model_dump(include=kept) if new else {'on': False}
    told = {'rules': rules, 'parameters': {n: {'value': v} for n, v in FORCED.items()}}
    home.config.mkdir(parents=True, exist_ok=True)
    (home.config / 'rules.yaml').write_text(json.dumps(told))
    search = {'replay': {'evidence': False}, 'processes': 1, 'wakers': 4, 'folds': 4}
    (home.config / 'tuning.yaml').write_text(json.dumps(search))


@pytest.fixture(scope='module')
def root(tmp_path_factory) -> Path:
    "Two accounts of which a half of the ad sets is weak"
    root = tmp_path_factory.mktemp('root')
    (root / 'config').mkdir()
    for seed, name in enumerate(NAMES, 5):
        world = APART.model_copy(update={'adsets': ADSETS})
        rows = customer(seed, world, DAYS, shaped=halves, luck=0.0).facts.days['adset']
        page = pd.DataFrame(
            {
                'Day': rows['date'].dt.strftime('%Y-%m-%d'),
                'Campaign name': 'campaign ' + rows['campaign_id'],
                'Ad set name': 'ad set ' + rows['adset_id'],
                'Amount spent (EUR)': rows['spend'],
                'Impressions': rows['impressions'].round(),
                'Link clicks': rows['clicks'].round(),
                'Purchases': rows['purchases'].round(),
                'Purchases conversion value': rows['revenue'].round(2),
            }
        )
        page.to_csv(root / f'{name}.csv', index=False)
        words = ('ingest', str(root / f'{name}.csv'), '-c', name, '--timezone', 'Europe/Berlin')
        asked(root, *words, '--currency', 'EUR')
        settings(place(root, name, 'meta'))
    return root


def test_pooled_numbers_are_found_proven_and_adopted(root):
    home = place(root, 'acme', 'meta')
    before = (home.config / 'rules.yaml').read_text()
    told = asked(root, 'tune', '-c', 'acme', '--pool', '--iterations', MANY, '--adopt')
    assert told['verdict'] == 'ADOPT' and told['adopted'] and told['interval'][0] > 0, told['why']
    assert sorted(told['about']['pooled']) == sorted(NAMES)
    rules = policy(read_layers(root, 'acme')).parameters
    assert told['chosen'] and {n: rules[n].now for n in told['chosen']} == told['chosen']
    assert {run for run, _ in tuning_runs.in_force(home)} == {told['run']}
    assert Path(told['old']).read_text() == before, 'the old file is kept'
    other = policy(read_layers(root, 'bolt')).parameters
    assert other['low_roas'].now == FORCED['low_roas'], 'nobody else is touched'
    (home.config / 'rules.yaml').write_text(before)


def test_a_killed_tuning_is_resumed_to_the_same_end(root):
    home, many = place(root, 'bolt', 'meta'), int(MANY)
    whole = asked(root, 'tune', '-c', 'bolt', '--iterations', MANY)
    calls = []

    def killed(used: float, ahead: float, elapsed: float) -> None:
        "As if the machine stopped in the middle"
        calls.append(used)
        if used > many / 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        tuning.tuned(home, tuning.Wanted(iterations=many), killed)
    kept = len(list(tuning.journal(home).glob('all/*.parquet')))
    assert calls and kept
    again = asked(root, 'tune', '-c', 'bolt', '--iterations', MANY, '--resume')
    assert again['chosen'] == whole['chosen'] and again['verdict'] == whole['verdict']
    np.testing.assert_allclose(again['gain'], whole['gain'])
    assert again['trials'] == whole['trials'] and not tuning.journal(home).exists()
