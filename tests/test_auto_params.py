"""Thresholds from the customer's own distribution, and numbers that enter a file without hurting it."""

import os
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from adsbench.data.layers import read_layers, read_yaml
from adsbench.data.settings import Problem
from adsbench.rules.policy import policy
from adsbench.rules.rulebook import ORDERED, space
from adsbench.tuning import adopt
from adsbench.tuning.adopt import adopted, adoptions
from adsbench.tuning.levels import LevelSettings, apart, difference, levels

RULES = policy(read_layers(Path('nowhere')))
BOUNDS = space(RULES).set_index('parameter')


def weeks(values, adsets: int = 10) -> pd.DataFrame:
    "One row an ad set and week with these roas, in order"
    place = np.arange(len(values))
    return pd.DataFrame(
        {
            'date': pd.Timestamp('2026-06-28') - pd.to_timedelta(7 * (place // adsets), 'D'),
            'adset_id': [f's{p % adsets}' for p in place],
            'roas_7d': values,
        }
    )


def proposed(values, **asked) -> pd.Series:
    "Parameter -> proposal"
    found = levels(weeks(values), RULES, LevelSettings(**asked))
    return found.set_index('parameter')['proposed']


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.floats(0, 50) | st.just(0.0) | st.just(float('nan')), max_size=200),
    st.floats(0.1, 1000),
)
def test_proposals_rise_and_stay_within_bounds(values, prior):
    found = proposed(np.array(values, 'float64'), prior=prior, least=2)
    told = found[list(ORDERED)].tolist()
    assert told == sorted(set(told))
    near = BOUNDS.loc[found.index]
    assert ((found >= near['low']) & (found <= near['high'])).all()
    policy_with = RULES.model_dump()
    for name, value in found.items():
        policy_with['parameters'][name]['value'] = value
    type(RULES).model_validate(policy_with)


def test_rows_without_revenue_count():
    rng = np.random.default_rng(1)
    sold = rng.lognormal(0.8, 0.3, 200)
    nothing = np.where(rng.random(200) < 0.4, 0.0, sold)
    unknown = np.where(nothing == 0, np.nan, sold)
    assert proposed(nothing)['med_roas'] < proposed(sold)['med_roas']
    table = levels(weeks(unknown), RULES).set_index('parameter')
    assert table.loc['med_roas', 'n'] == np.isfinite(unknown).sum() < 200


def test_more_evidence_moves_further():
    rng = np.random.default_rng(2)
    values = rng.lognormal(0, 0.2, 800)  # around 1, far below the defaults
    far = [3 - proposed(values[:n])['high_roas'] for n in (40, 150, 800)]
    assert 0 < far[0] < far[1] <= far[2] == 1, 'down to the bound'
    assert proposed(values[:20])['high_roas'] == 3, 'too few'


def test_days_of_one_week_are_one_witness():
    daily = pd.concat([weeks(np.full(60, 1.0)).assign(date=lambda t, k=k: t['date'] - pd.Timedelta(days=k)) for k in range(7)])  # fmt: skip
    assert len(apart(daily, 7)) == 60
    once, often = levels(weeks(np.full(60, 1.0)), RULES), levels(daily, RULES)
    assert once['weight'].equals(often['weight'])


def test_numbers_in_force_are_not_proposed_again():
    found = levels(weeks(np.random.default_rng(3).lognormal(0.3, 0.4, 300)), RULES)
    changes = difference(found, RULES)
    told = RULES.model_dump()
    for row in changes.itertuples():
        told['parameters'][row.parameter]['value'] = row.proposed
    after = type(RULES).model_validate(told)
    assert len(changes) and difference(found, after).empty
    assert difference(levels(weeks(np.array([])), RULES), RULES).empty


# --- adoption


@pytest.fixture
def file(tmp_path: Path) -> Path:
    "rules.yaml of a customer, not there yet"
    at = tmp_path / 'config' / 'shop' / 'meta' / 'rules.yaml'
    at.parent.mkdir(parents=True)
    return at


FILES = {
    'block': '# ours\nparameters:\n  # margins\n  low_roas:   # agreed\n    value: 1.2\n    bounds: [1, 2]\n\n# rest\nguardrails:\n  cooldown_hours: 72  # three days\n',
    'braces': "{parameters: {low_roas: {value: 1.2}}, provenance: {'*': customer}}\n",
    'told': "parameters:\n  low_roas: {value: 1.2}\nprovenance:\n  '*': house_default\n  parameters.low_roas.value: seed_default  # long ago\n\n# rest\nguardrails: {cooldown_hours: 72}\n",
    'rules': 'rules:\n  weekend:\n    on: true\n    because: "It is {roas}: the weekend."\n# end\n',
    'comments': '# nothing yet\n',
    'empty': '',
    'nothing': 'parameters:\nprovenance:\n',
    'windows': 'parameters:\r\n  low_roas: {value: 1.2}  # agreed\r\nthreshold_unit: absolute\r\n',
    'mark': '\ufeffparameters:\n  low_roas: {value: 1.2}\n',
    'sign': 'tiers: [excellent, high, efficiency, volume, ads, declining, time, lifecycle, otherwise]\nparameters: {gentle_down: {value: 0.03}}\n',
}


@pytest.mark.parametrize('text', FILES.values(), ids=FILES.keys())
def test_everything_else_survives(file: Path, text: str):
    file.write_bytes(text.encode())
    before = read_yaml(file)
    old = adopted(file, {'low_roas': 1.35, 'high_roas': 2.75}, 'tuned', '2026-06-28/4')
    assert old.read_bytes() == text.encode() and old.name == 'rules.1.yaml.old'
    after = read_yaml(file)
    layers = read_layers(file.parents[3], 'shop', 'meta')
    found = policy(layers).parameters
    assert (found['low_roas'].now, found['high_roas'].now) == (1.35, 2.75)
    for name in ('low_roas', 'high_roas'):
        assert layers.origins[f'rules.parameters.{name}.value'].provenance == 'tuned'
    for key in set(before) - {'parameters', 'provenance'}:
        assert after[key] == before[key]
    fresh, words = file.read_text(), ('ours', 'margins', 'agreed', 'rest', 'three days', 'end')
    for word in (*words, 'nothing yet'):
        assert (f'# {word}' in fresh) == (f'# {word}' in text), fresh
    told = adoptions(file).set_index('parameter')
    assert told.loc['high_roas', ['value', 'origin', 'run']].tolist() == [
        2.75,
        'tuned',
        '2026-06-28/4',
    ]


def test_old_files_are_never_overwritten(file: Path):
    assert adopted(file, {'low_roas': 1.1}, 'tuned', 'a/1') is None, 'there was none'
    kept = [adopted(file, {'low_roas': 1.1 + k / 10}, 'customer', f'a/{k}') for k in range(1, 4)]
    assert [k.name for k in kept] == [f'rules.{n}.yaml.old' for n in (1, 2, 3)]
    kept[1].unlink()
    held = kept[2].read_bytes()
    assert adopted(file, {'low_roas': 1.7}, 'tuned', 'b/1').name == 'rules.2.yaml.old'
    assert kept[2].read_bytes() == held
    assert adoptions(file)['run'].tolist() == ['b/1']
    assert adopted(file, {}, 'tuned', 'b/2') is None


@pytest.mark.parametrize(
    'values',
    [
        {'low_roas': 2.5},
        {'top_share': 1.2},
        {'low_roas': -1},
        {'lowroas': 1},
        {'low_roas': float('inf')},
    ],
    ids=str,
)
def test_what_cannot_be_read_changes_nothing(file: Path, values):
    file.write_text(FILES['block'])
    with pytest.raises(Problem):
        adopted(file, values, 'tuned', 'a/1')
    assert file.read_text() == FILES['block'] and len(list(file.parent.iterdir())) == 1


def test_a_broken_file_is_left_alone(file: Path):
    for text in ('parameters: [', 'guardrails: {cooldown_hours: 1}', 'a: 1\na: 2\n', '- 1\n'):
        file.write_text(text)
        with pytest.raises(Problem):
            adopted(file, {'low_roas': 1.2}, 'tuned', 'a/1')
        assert file.read_text() == text and len(list(file.parent.iterdir())) == 1


def test_an_alias_is_not_changed_behind_ones_back(file: Path):
    text = 'parameters:\n  low_roas: &both {value: 1.2, group: x}\n  rich_factor: *both\n'
    file.write_text(text)
    with pytest.raises(Problem, match='rich_factor'):
        adopted(file, {'low_roas': 1.3}, 'tuned', 'a/1')
    assert file.read_text() == text


def test_a_file_saved_meanwhile_is_left_alone(file: Path, monkeypatch):
    file.write_text('# first\n')
    checked = adopt.checked

    def slow(*given):
        file.write_text('# second\n')
        return checked(*given)

    monkeypatch.setattr(adopt, 'checked', slow)
    with pytest.raises(Problem, match='meanwhile'):
        adopted(file, {'low_roas': 1.3}, 'tuned', 'a/1')
    assert file.read_text() == '# second\n' and len(list(file.parent.iterdir())) == 1


def test_a_crash_leaves_the_old_file(file: Path, monkeypatch):
    file.write_text('# first\n')

    def broken(*_):
        raise OSError('disk full')

    monkeypatch.setattr(os, 'replace', broken)
    with pytest.raises(OSError, match='disk full'):
        adopted(file, {'low_roas': 1.3}, 'tuned', 'a/1')
    assert file.read_text() == '# first\n'


@pytest.mark.skipif(os.name != 'posix', reason='links need rights elsewhere')
def test_no_link_is_followed(file: Path, tmp_path: Path):
    (tmp_path / 'other.yaml').write_text('# other\n')
    file.symlink_to(tmp_path / 'other.yaml')
    with pytest.raises(Problem, match='link'):
        adopted(file, {'low_roas': 1.3}, 'tuned', 'a/1')
