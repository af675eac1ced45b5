"""The tuning page says what the tuning says; what is kept reads back; only an ADOPT is adopted."""

import json
import re
from functools import cache
from pathlib import Path

import nbformat
import numpy as np
import pandas as pd
import pytest
import tunings
from typer.testing import CliRunner

from adsbench.data.demo import write_demo
from adsbench.data.disk import Place, place
from adsbench.data.layers import read_layers
from adsbench.data.names import Problem
from adsbench.reports import cli, since, tuning_page, tuning_runs, tuning_trials
from adsbench.reports import tuning_pictures as pictures
from adsbench.reports.canvas import LIMIT, draw
from adsbench.reports.page import stack
from adsbench.reports.week import load
from adsbench.reports.words import text_of
from adsbench.rules.policy import policy
from adsbench.tuning.adopt import adopted

REPO = Path(__file__).resolve().parents[1]
KINDS = ('adopt', 'keep', 'few', 'hostile')


def template() -> list[str]:
    "The functions of the page in the order of the template"
    cells = nbformat.read(REPO / 'reports' / 'tuning.ipynb', 4).cells
    code = '\n'.join(cell.source for cell in cells if cell.cell_type == 'code')
    return re.findall(r'tuning_(?:page|trials)\.(\w+)\(tuned\)', code)


def part(name: str):
    "A function of the page by its name"
    return getattr(tuning_page, name, None) or getattr(tuning_trials, name)


@cache
def page(kind: str) -> str:
    "The whole page of one of the tunings"
    tuned = getattr(tunings, kind)()
    return stack(*(part(name)(tuned) for name in template()))


@pytest.mark.parametrize('kind', KINDS)
def test_every_tuning_is_a_page_without_nan(kind):
    told = text_of(page(kind))
    assert not re.search(r'\b(nan|None|inf|NaT)\b', told) and len(told) > 300
    assert page(kind).count('<img') == page(kind).count('alt="') and 'alt=""' not in page(kind)
    assert '<script' not in page(kind)


def test_the_verdict_comes_first_with_gain_and_interval():
    assert template()[:2] == ['title', 'verdict']
    first = text_of(tuning_page.verdict(tunings.adopt())).split('\n')[0]
    assert first.startswith('Adopt the tuned rules.') and '+1.2 %' in first
    assert '(interval +0.4 to +2.0 %)' in first
    assert 'Keep the rules as they are.' in page('keep') and 'Nothing was changed.' in page('keep')
    assert 'There is not enough data' in page('few') and '<figure>' not in page('few')


def test_a_verdict_to_keep_does_not_offer_its_parameters():
    told = tunings.adopt()._replace(verdict='KEEP DEFAULTS')
    assert 'not good enough to use' in tuning_page.changes(told)
    assert '--adopt' not in tuning_page.verdict(told) + tuning_page.verdict(tunings.few())


def test_the_pictures_hold_their_numbers_and_their_weight():
    told = tunings.adopt(200)
    made = [
        pictures.convergence(told.convergence),
        pictures.importance(told.importance),
        pictures.folds(tunings.outer(6)),
        pictures.methods(told.methods),
    ]
    svg = [draw(figure, 'svg') for figure in made]
    assert max(map(len, svg)) < LIMIT
    assert b'2.5 \xe2\x86\x92 2.12' in svg[1] and b'+3.4 %' in svg[2]
    assert b'+3.1 % (+1.8 to +4.4 %)' in svg[3] and b'random search' in svg[0]
    assert page('adopt').count('<figure>') == 4


def test_a_racing_search_and_a_constant_score_can_be_drawn():
    course = tunings.adopt().convergence
    part = course.assign(evaluations=course['evaluations'] / 3, best=1.0)
    assert len(draw(pictures.convergence(part), 'svg')) > 1000
    alone = course[course['method'] == 'ours'].head(1)
    assert len(draw(pictures.convergence(alone), 'svg')) > 1000


def test_labels_never_overlap():
    rng = np.random.default_rng(0)
    for _ in range(50):
        heights = dict(zip('abcd', rng.random(4)))
        placed = pictures.apart(heights, 0.1)
        gaps = np.diff(sorted(placed.values()))
        assert (gaps > 0.0999).all() and all(placed[n] <= heights[n] for n in heights)


@pytest.fixture(scope='module')
def demo(tmp_path_factory) -> Place:
    "A demo customer of her own for these tests"
    root = tmp_path_factory.mktemp('root')
    write_demo(root, days=70)
    return place(root, 'demo', 'meta')


@pytest.mark.parametrize('kind', KINDS)
def test_what_is_kept_reads_back(demo, kind):
    told = getattr(tunings, kind)()
    folder = tuning_runs.keep(demo, told)
    again = tuning_runs.held(folder)
    assert {p.name for p in folder.iterdir()} == {
        'tuning.json',
        'trials.csv',
        'verdict.md',
        'manifest.json',
    }
    assert (again.verdict, again.chosen, again.notes) == (told.verdict, told.chosen, told.notes)
    np.testing.assert_equal([again.gain, again.low], [told.gain, told.low])
    for name in ('trials', *tuning_runs.FRAMES):
        assert len(getattr(again, name)) == len(getattr(told, name))
    same = stack(*(part(name)(again) for name in template()))
    assert text_of(same) == text_of(page(kind))
    assert json.loads((folder / 'tuning.json').read_text())['verdict'] == told.verdict


def chosen_of(home: Place) -> dict[str, float]:
    "Two parameters a little off the values in force"
    parameters = policy(read_layers(home.root, home.customer)).parameters
    return {name: round(1.03 * parameters[name].now, 4) for name in ('med_roas', 'exc_roas')}


def test_only_what_the_verdict_allows_is_adopted_and_the_page_knows(demo):
    kept = '/'.join(tuning_runs.keep(demo, tunings.keep()).parts[-2:])
    with pytest.raises(Problem, match='KEEP DEFAULTS'):
        tuning_runs.adopt(demo, kept)
    assert not (demo.config / 'rules.yaml').exists() and tuning_runs.in_force(demo) == []
    assert since.since(load(demo)) == ''
    values = chosen_of(demo)
    run = '/'.join(tuning_runs.keep(demo, tunings.adopt()._replace(chosen=values)).parts[-2:])
    assert tuning_runs.adopt(demo, run) is None
    rules = policy(read_layers(demo.root, 'demo')).parameters
    assert {name: rules[name].now for name in values} == values
    assert {which for which, _ in tuning_runs.in_force(demo)} == {run}
    shown = tuning_runs.begin(str(demo.root), ('demo', 'meta'))
    assert shown.about['run'] == run and 'in force since' in tuning_page.verdict(shown)
    told = text_of(since.since(load(demo)))
    assert '2 rule parameters tuned on' in told and '+1.2 % of revenue' in told
    again = values | {'med_roas': values['med_roas'] + 0.01}
    other = '/'.join(tuning_runs.keep(demo, tunings.adopt()._replace(chosen=again)).parts[-2:])
    old = tuning_runs.adopt(demo, other)
    assert old is not None and run in old.read_text()
    (demo.config / 'rules.yaml').unlink()


def test_a_run_is_found_by_name_or_by_day(demo):
    folder = tuning_runs.keep(demo, tunings.adopt())
    run = '/'.join(folder.parts[-2:])
    assert (
        tuning_runs.find(demo, run) == run and tuning_runs.find(demo) == tuning_runs.runs(demo)[-1]
    )
    assert tuning_runs.find(demo, as_of='2026-06-28') == tuning_runs.runs(demo)[-1]
    for wrong in ({'run': 'x'}, {'as_of': '2020-01-01'}):
        with pytest.raises(Problem):
            tuning_runs.find(demo, **wrong)
    with pytest.raises(Problem, match='adsbench tune -c other'):
        tuning_runs.find(demo._replace(customer='other'))


def test_since_compares_whole_settled_weeks_and_claims_nothing(demo):
    week = load(demo)
    day = week.settled - pd.Timedelta(days=16)
    name, value = next(iter(chosen_of(demo).items()))
    stamp = f'2026-01-01/000000-tune{tuning_runs.BETWEEN}{day:%Y-%m-%d}'
    adopted(demo.config / 'rules.yaml', {name: value}, 'tuned', stamp)
    told = text_of(since.since(load(demo)))
    assert 'in the 14 days before' in told and 'proves nothing' in told and 'not kept' in told
    found = since.compared(week, day)
    before, after = since.sides(week, found)
    assert found.days == 14 and after['date'].max() <= week.settled
    assert before['date'].nunique() == after['date'].nunique() == 14
    poisoned = week._replace(
        days=week.days.assign(
            revenue=week.days['revenue'].where(
                week.days['date'] <= day + pd.Timedelta(days=14), 1e9
            )
        )
    )
    one, other = (since.happened(w, found, 0.01) for w in (week, poisoned))
    assert one == other, 'days that may still change do not count'
    (demo.config / 'rules.yaml').unlink()


def test_a_kept_run_is_adopted_from_the_command_line(demo):
    values = chosen_of(demo)
    run = '/'.join(tuning_runs.keep(demo, tunings.adopt()._replace(chosen=values)).parts[-2:])
    words = ['--root', str(demo.root), 'tune', '-c', 'demo', '--run', run]
    refused = CliRunner().invoke(cli.app, words)
    assert isinstance(refused.exception, Problem) and tuning_runs.in_force(demo) == []
    told = json.loads(CliRunner().invoke(cli.app, [*words, '--adopt', '--json']).stdout)
    assert {'verdict', 'gain', 'interval', 'trials'} <= set(told)
    assert told['adopted'] and told['interval'] == [0.004, 0.02] and told['trials'] == 60
    assert {which for which, _ in tuning_runs.in_force(demo)} == {run}
    (demo.config / 'rules.yaml').unlink()
    kept = '/'.join(tuning_runs.keep(demo, tunings.keep()).parts[-2:])
    words[-1] = kept
    told = json.loads(CliRunner().invoke(cli.app, [*words, '--adopt', '--json']).stdout)
    assert not told['adopted'] and not (demo.config / 'rules.yaml').exists()
