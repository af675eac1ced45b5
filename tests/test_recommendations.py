"""Recommendations cite what is validated, promise nothing, and no name escapes from where it stands."""

import json
import math
import re
from html import unescape
from typing import get_args

import mistune
import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import settings as tuned
from hypothesis import strategies as st

from adsbench.data.layers import merge, read_layers
from adsbench.data.names import Problem
from adsbench.data.settings import find_root, section
from adsbench.diagnose.effects import Range, expected, needed
from adsbench.diagnose.evidence import Diagnosis, Evidence, Insight, cited
from adsbench.diagnose.markdown import escape, table
from adsbench.diagnose.outputs import files, log_lines, progress, written
from adsbench.diagnose.recommendations import Recommendations, place, recommend
from adsbench.diagnose.templates import PLACES, Kind, Part, Template, fill, honest

LAYERS = read_layers(find_root(), environ={})
HOUSE = section(LAYERS, 'recommendations', Recommendations)
# wider than the check of the templates: also over what the code itself writes
PROMISES = re.compile(
    r'\b(cause[sd]?|causing|because of|due to|owing to|thanks to|leads? to|led to|results? in|will'
    r'|guarantee\w*|ensure[sd]?|proves?|certainly|always|definitely)\b',
    re.IGNORECASE,
)
HOSTILE = (
    'US | Video',
    '](http://x.y)',
    '[free](http://x.y)',
    '![a](b)',
    '<script>alert(1)</script>',
    'a\n\n## b',
    '{0}',
    '%s %(name)d',
    '{segment.__class__}',
    '{money}',
    '{best}',
    '`rm`',
    '**b** _i_ ~~s~~',
    '&lt;b&gt;',
    '\\| x',
    '\u2028\u202e\x85',
    '= 1+1',
    '| --- |',
    'http://x.y www.x.y a@x.y',
    '',
)


def evidence(id: str = 'ev-1', metric: str = 'ctr', **more) -> Evidence:
    "A click rate that fell by a quarter"
    values = {
        'baseline_value': 0.02,
        'current_value': 0.015,
        'absolute_delta': -0.005,
        'relative_delta_pct': -25.0,
        'segment': 'creative_type',
        'segment_value': 'Video',
        'n': 5200.0,
        'rows': 210,
        'estimate_pct': -23.1,
        'low_pct': -28.0,
        'high_pct': -18.0,
        'p': 0.0002,
        'q': 0.01,
        'method': 'placebo',
        'window': '2026-06-15/2026-06-21',
        'baseline': '2026-06-01/2026-06-14',
        'snapshot': '2026-06-29',
        'attribution': '7d_click',
        'provisional': False,
    }
    return Evidence(id=id, metric=metric, **values | more)


def insight(lead: Evidence | None = None, **more) -> Insight:
    "The insight that rests on it"
    lead = lead or evidence()
    values = {
        'id': lead.id,
        'hypothesis': 'The click rate fell while frequency rose',
        'driver': 'Creative fatigue',
        'evidence_type': 'creative_fatigue',
        'segment': {'creative_type': 'Video'},
        'direction': 'down',
        'worse': True,
        'priority': 'high',
        'validated': True,
        'impact': 'high',
        'money': -412.5,
        'confidence': 0.93,
        'severity': 'severe',
        'evidence': (lead,),
        'tests': {'ctr': {'t_test': {'p_value': 0.0023, 'significant': True}}},
        'state': 'validated',
        'reason': 'q .010 <= .08',
    }
    return Insight(**values | more)


def diagnosis(insights: list[Insight], **about) -> Diagnosis:
    "A run with these insights and a hypothesis for each"
    hypotheses = pd.DataFrame(
        {
            'attribute': 'creative_type',
            'segment': [place(one.segment) for one in insights],
            'metric': 'ctr',
            'relative': -0.25,
            'p': [np.nan, *[0.3] * (len(insights) - 1)][: len(insights)],
            'q': 0.5,
            'events': 10,
            'state': ['validated' if one.validated else 'noise' for one in insights],
            'reason': [one.reason for one in insights],
            'id': [one.id for one in insights],
        }
    )
    drivers = pd.DataFrame(
        {
            'driver': ['ctr'],
            'before': [0.02],
            'after': [np.nan],
            'percent': [-25.0],
            'money': [np.inf],
        }
    )
    breaks = pd.DataFrame(
        {'check': ['days_missing'], 'entity': ['a | b'], 'detail': ['<i>'], 'advice': ['export']}
    )
    steps = [
        {'step': 1, 'chapter': 'views', 'words': 'read 4,500 rows', 'read': 'days', 'wrote': 630}
    ]
    known = {'customer': 'demo', 'currency': 'EUR', 'tested': 180, 'bar': math.nan}
    return Diagnosis(
        insights, hypotheses, drivers, breaks, pd.DataFrame(), ['a note'], steps, known | about
    )


def said(rows: list) -> list[str]:
    "Every sentence of recommendations"
    return [
        text
        for one in rows
        for text in (
            *(one.what_to_do, one.what_to_test, one.how_to_tell, one.how_long),
            *(one.expected_effect, one.basis),
        )
    ]


# --- which recommendations


@pytest.mark.parametrize('worse', [True, False])
@pytest.mark.parametrize('kind', get_args(Kind))
def test_every_kind_of_evidence_has_a_next_step(kind: str, worse: bool):
    for metric in ('roas', 'ctr', 'cvr', 'aov', 'cpm', 'frequency'):
        direction = 'down' if worse else 'up'
        one = insight(evidence(metric=metric), evidence_type=kind, worse=worse, direction=direction)
        rows = recommend([one], HOUSE, {'currency': 'EUR'})
        assert 1 <= len(rows) <= HOUSE.most_per_insight
        assert all(len(text) > 10 for row in rows for text in (row.what_to_do, row.how_to_tell))


def test_nothing_without_validation_or_evidence():
    loose = [
        insight(validated=False),
        insight(validated=False, state='covered', covered_by='ev-9'),
        insight(evidence=()),
    ]
    assert recommend(loose[:2], HOUSE, {}) == [] == recommend(loose[2:], HOUSE, {})


def test_each_cites_evidence_that_exists():
    both = (evidence('ev-a'), evidence('ev-b', 'roas'))
    insights = [insight(both[0], evidence=both), insight(evidence('ev-c'), validated=False)]
    for one in recommend(insights, HOUSE, {}):
        assert cited(insights, one.evidence_id).id == one.insight == 'ev-a'
        assert one.evidence_ids == ['ev-a', 'ev-b']


def test_most_money_first_and_the_unknown_last():
    costs = [-10.0, math.nan, 500.0, -90.0]
    insights = [insight(evidence(f'ev-{n}'), money=cost) for n, cost in enumerate(costs)]
    order = list(dict.fromkeys(one.insight for one in recommend(insights, HOUSE, {})))
    assert order == ['ev-2', 'ev-3', 'ev-0', 'ev-1']


def test_a_special_template_speaks_before_a_general_one():
    fell = insight(evidence(metric='aov'), evidence_type='segment_drop')
    assert [one.lever for one in recommend([fell], HOUSE, {})] == ['offer']
    money = insight(evidence(metric='roas'), evidence_type='segment_drop')
    assert [one.lever for one in recommend([money], HOUSE, {})] == ['budget']


def test_fatigue_names_the_creative_that_held():
    tired = insight()
    with_name = recommend([tired], HOUSE, {}, {tired.id: 'Founder story'})
    assert with_name[0].lever == 'creative' and 'Founder story' in with_name[0].what_to_do
    assert not any('{' in text for text in said(recommend([tired], HOUSE, {})))


def test_a_cause_is_likely_at_most_and_only_from_the_change_log():
    assert recommend([insight()], HOUSE, {})[0].likely_cause is None
    edited = recommend([insight(cause='audience edited on 2026-06-14')], HOUSE, {})[0]
    assert edited.likely_cause == 'likely: audience edited on 2026-06-14'
    text = files(diagnosis([insight(cause='audience edited')]), [])['report.md']
    assert 'Likely: audience edited.' in text


# --- sizes


def test_a_quarter_lost_needs_a_third_to_come_back():
    lead = evidence(low_pct=-25.0, high_pct=-25.0, estimate_pct=-25.0)
    back = expected(insight(lead), Part(least=0.5, most=1))
    assert back.high_pct == pytest.approx(100 / 3) and back.money_high == pytest.approx(412.5)
    assert back.low_pct == pytest.approx(100 / 6) and back.money_low == pytest.approx(412.5 / 2)


def test_a_cost_that_rose_comes_down():
    lead = evidence(
        metric='cpm', relative_delta_pct=25.0, estimate_pct=25.0, low_pct=10.0, high_pct=40.0
    )
    back = expected(insight(lead, direction='up'), Part(least=0.5, most=0.5))
    assert back.low_pct == pytest.approx(-100 * 0.05 / 1.1)
    assert back.high_pct == pytest.approx(-100 * 0.2 / 1.4) and 0 < back.money_low < back.money_high


@given(
    ends=st.tuples(st.floats(-99, 300), st.floats(-99, 300)),
    parts=st.tuples(st.floats(0, 1), st.floats(0.01, 1)),
    down=st.booleans(),
    worse=st.booleans(),
)
@tuned(max_examples=150, deadline=None)
def test_the_expected_range_is_ordered_and_on_the_good_side(ends, parts, down, worse):
    part = Part(least=min(parts), most=max(parts))
    middle = sum(ends) / 2 or 1.0
    lead = evidence(
        low_pct=min(ends), high_pct=max(ends), relative_delta_pct=middle, estimate_pct=middle
    )
    back = expected(insight(lead, direction='down' if down else 'up', worse=worse), part)
    assert abs(back.low_pct) <= abs(back.high_pct) + 1e-9
    assert 0 <= back.money_low <= back.money_high + 1e-9
    good = (1 if down else -1) * (1 if worse else -1)
    assert good * back.low_pct >= 0 and good * back.high_pct >= 0


def test_a_longer_test_for_a_smaller_effect_and_a_noisier_segment():
    calm, noisy = evidence(), evidence(low_pct=-50.0, high_pct=10.0)
    days = lambda lead, pct: needed(lead, Range(pct, pct, 0, 0), HOUSE).days
    assert days(calm, 20) <= days(calm, 10) < days(calm, 5) and days(calm, 10) < days(noisy, 10)
    assert days(calm, 20) % HOUSE.whole_days == 0
    for unknown in (evidence(low_pct=math.nan), evidence(low_pct=-100.0), evidence(low_pct=-18.0)):
        assert needed(unknown, Range(10, 10, 0, 0), HOUSE) is None


def test_a_test_of_that_length_finds_the_effect_as_often_as_asked():
    rng = np.random.default_rng(1)
    daily, effect = 0.30, 0.10  # of the logarithm of a day; planted
    error = daily * math.sqrt(1 / 14 + 1 / 7)
    ends = [100 * math.expm1(side * 1.2815515655 * error) for side in (-1, 1)]
    plan = needed(
        evidence(low_pct=ends[0], high_pct=ends[1]),
        Range(100 * effect, 100 * effect, 0, 0),
        HOUSE.model_copy(update={'whole_days': 1}),
    )
    halves = rng.normal(0, daily * math.sqrt(2), (4000, 2, plan.days)).mean(axis=2)
    found = math.log1p(effect) + halves[:, 1] - halves[:, 0]
    spread = daily * 2 / math.sqrt(plan.days)
    assert (found / spread > 1.96).mean() == pytest.approx(0.8, abs=0.03)


# --- promises


def test_no_template_of_the_house_promises():
    for name, template in HOUSE.templates.items():
        for text in (template.do, template.test, template.tell, template.best):
            assert not PROMISES.search(text), f'{name}: {text}'


numbers = st.one_of(
    st.floats(-1e6, 1e6), st.sampled_from([math.nan, math.inf, -math.inf, 0.0, -100.0])
)


@given(
    kind=st.sampled_from(get_args(Kind)),
    metric=st.sampled_from(['roas', 'ctr', 'cvr', 'aov', 'cpm', 'cpl', 'frequency']),
    values=st.lists(numbers, min_size=8, max_size=8),
    money=numbers,
    down=st.booleans(),
    flags=st.tuples(st.booleans(), st.booleans()),
)
@tuned(max_examples=200, deadline=None)
def test_no_insight_brings_a_promise_or_breaks_a_file(kind, metric, values, money, down, flags):
    names = 'baseline_value current_value absolute_delta relative_delta_pct n estimate_pct low_pct high_pct'
    lead = evidence(metric=metric, provisional=flags[1], **dict(zip(names.split(), values)))
    direction = 'down' if down else 'up'
    one = insight(lead, evidence_type=kind, money=money, direction=direction, worse=flags[0])
    rows = recommend([one], HOUSE, {'currency': 'EUR'}, {one.id: 'Founder story'})
    assert rows
    for text in said(rows):
        assert not PROMISES.search(text), text
        assert 'nan' not in text.split() and not re.search(r'\binf\b', text), text
    made = files(diagnosis([one]), rows)
    for name in ('insights.json', 'recommendations.json'):
        json.loads(made[name], parse_constant=pytest.fail)
    assert not PROMISES.search(made['report.md'].replace('a note', ''))


# --- settings


def refused(change: dict) -> str:
    "The message about a file that adds this to the house's"
    values = merge(LAYERS.values, {'recommendations': change})
    with pytest.raises(Problem) as caught:
        section(LAYERS._replace(values=values), 'recommendations', Recommendations)
    return str(caught.value)


@pytest.mark.parametrize(
    'words',
    [
        'this will help',
        'It fell because of {segment}',
        'costs rose due to bids',
        'the edit caused it',
        'which causes churn',
        'Guaranteed clicks',
        'leads to sales',
        'THANKS TO us',
    ],
)
def test_promises_are_refused_with_advice(words):
    message = refused({'templates': {'segment_up': {'do': words}}})
    assert 'segment_up.do' in message and 'coincides with' in message


@pytest.mark.parametrize(
    'words', ['{segmnt}', '{}', '{0}', '{segment.__class__}', '{segment!r}', '{best}']
)
def test_unknown_placeholders_are_refused_with_those_known(words):
    message = refused({'templates': {'segment_up': {'tell': words}}})
    assert 'segment_up.tell' in message and '{segment}' in message and words in message


def test_a_stray_brace_is_refused():
    assert 'brace' in refused({'templates': {'segment_up': {'test': 'a { b'}}})


def test_unknown_keys_kinds_and_metrics_are_refused():
    assert 'did you mean test?' in refused({'templates': {'segment_up': {'tset': 'x'}}})
    assert 'segment_gain' in refused({'templates': {'segment_up': {'evidence': ['segment_gian']}}})
    assert 'did you mean' in refused({'templates': {'segment_up': {'metrics': ['rosa']}}})
    assert 'did you mean power?' in refused({'powr': 0.9})
    assert 'expect' in refused(
        {'templates': {'segment_up': {'expect': {'least': 0.5, 'most': 0.2}}}}
    )


def test_no_kind_can_be_left_without_words():
    message = refused({'templates': {'tracking': {'enabled': False}}})
    assert 'tracking_break' in message


def test_a_customer_changes_one_key_of_one_template():
    change = {'templates': {'segment_up': {'do': 'Call the agency about {segment}.'}}}
    values = merge(LAYERS.values, {'recommendations': change})
    theirs = section(LAYERS._replace(values=values), 'recommendations', Recommendations)
    one = insight(
        evidence(metric='roas'), evidence_type='segment_gain', worse=False, direction='up'
    )
    assert (
        recommend([one], theirs, {})[0].what_to_do == 'Call the agency about creative type Video.'
    )
    assert theirs.templates['segment_up'].test == HOUSE.templates['segment_up'].test


@given(st.text(max_size=40), st.text(max_size=40))
@tuned(max_examples=100, deadline=None)
def test_filling_is_literal(name, other):
    words = dict.fromkeys(PLACES, other) | {'segment': name}
    assert fill('a {segment} b {metric}', words) == f'a {name} b {other}'
    assert honest('{segment} fell') == '{segment} fell'


# --- files

KEYS = 'hypothesis driver evidence_type affected_metrics affected_segments priority validation'
VALIDATION = 'validated impact confidence severity evidence statistical_tests'
EVIDENCE = (
    'metric baseline_value current_value absolute_delta relative_delta_pct segment segment_value'
)


def test_the_keys_of_earlier_tools_are_all_there():
    made = json.loads(
        files(diagnosis([insight()], baseline_start='2026-06-01'), [])['insights.json']
    )
    assert {'baseline_start', 'current_start', 'baseline_rows', 'current_rows'} <= set(
        made['metadata']
    )
    assert made['metadata']['current_rows'] is None and made['metadata']['bar'] is None
    one = made['insights'][0]
    assert set(KEYS.split()) <= set(one) and set(VALIDATION.split()) <= set(one['validation'])
    assert set(EVIDENCE.split()) <= set(one['validation']['evidence'][0])
    assert one['validation']['statistical_tests']['ctr']['t_test']['p_value'] == 0.0023


def test_four_files_the_same_twice():
    run = diagnosis([insight(), insight(evidence('ev-2'), validated=False)])
    rows = recommend(run.insights, HOUSE, run.about)
    made = files(run, rows)
    assert list(made) == ['insights.json', 'recommendations.json', 'report.md', 'log.jsonl']
    assert made == files(run, rows) and all(text.endswith('\n') for text in made.values())


@pytest.mark.parametrize('name', HOSTILE)
def test_hostile_names_stay_data(name):
    segment = {'campaign': name}
    one = insight(segment=segment, hypothesis=f'{name} fell', cause=name)
    run = diagnosis(
        [one, insight(evidence('ev-2'), segment=segment, validated=False)], customer=name
    )
    run = run._replace(notes=[name], steps=[{'chapter': name, 'words': name}])
    rows = recommend(run.insights, HOUSE, run.about, {one.id: name})
    assert rows[0].segment == segment and f'campaign {name}' in rows[0].what_to_do
    made = files(run, rows)
    for text in made.values():
        text.encode('utf-8')
    there = json.loads(made['insights.json'])
    assert there['insights'][0]['affected_segments'] == segment
    assert there['metadata']['customer'] == name
    assert json.loads(made['recommendations.json'])['recommendations'][0]['segment'] == segment
    for line in made['log.jsonl'].splitlines():
        json.loads(line)
    page = mistune.create_markdown(plugins=['table', 'strikethrough', 'url'])(made['report.md'])
    assert not re.search(r'<(a|img|script|em|del|i)\b', page), page
    plain = diagnosis([insight(cause='x'), insight(evidence('ev-2'), validated=False)])
    usual = mistune.create_markdown(plugins=['table'])(files(plain, rows[:0])['report.md'])
    for tag in ('h1', 'h2', 'table', 'hr'):
        assert page.count(f'<{tag}>') == usual.count(f'<{tag}>'), tag


@given(st.text(max_size=60))
@tuned(max_examples=300, deadline=None)
def test_markdown_shows_a_name_as_it_was(name):
    render = mistune.create_markdown(plugins=['table', 'strikethrough'])
    visible = re.sub(r'\s+', ' ', escape_free(name))
    item = unescape(re.sub('<[^>]*>', '', render(f'- {escape(name)}'))).strip()
    assert item == visible and render(f'- x {escape(name)}').count('<') == 4
    cell = render(table(['a'], [[name]]))
    assert cell.count('<td>') == 1 and unescape(cell.split('<td>')[1].split('</td>')[0]) == visible


def escape_free(name: str) -> str:
    "The name without what has no shape"
    import unicodedata

    shaped = ''.join(' ' if unicodedata.category(c)[0] in 'CZ' else c for c in name)
    return ' '.join(shaped.split())


def test_half_a_character_is_valid_json_too():
    text = written({'name': '\ud800', 'more': [math.inf, np.float64('nan'), pd.NA]})
    text.encode('utf-8')
    assert json.loads(text) == {'name': '\ud800', 'more': [None, None, None]}


# --- the log


def test_the_log_says_why_for_every_hypothesis():
    run = diagnosis([insight(), insight(evidence('ev-2'), validated=False, reason='q .61 > .08')])
    rows = recommend(run.insights, HOUSE, run.about)
    text = files(run, rows)['log.jsonl']
    decided = log_lines(text, chapter='hypotheses')
    assert list(decided['state']) == ['validated', 'noise']
    assert list(decided['reason']) == ['q .010 <= .08', 'q .61 > .08']
    assert list(decided['id']) == ['ev-1', 'ev-2'] and {'p', 'q', 'segment', 'metric'} <= set(
        decided
    )
    assert len(log_lines(text, level='INFO')) == len(log_lines(text)) - 1


def test_the_log_is_read_although_it_was_torn():
    run = diagnosis([insight()])
    torn = files(run, [])['log.jsonl'] + '{"chapter": "out\n[1]\n'
    errors = log_lines(torn, level='error')
    assert len(errors) == 2 and errors['words'].str.contains('cut off').all()
    assert len(log_lines('')) == 0
    with pytest.raises(Problem, match='did you mean views'):
        log_lines(torn, chapter='view')
    with pytest.raises(Problem, match='WARNING'):
        log_lines(torn, level='warn')


def test_progress_is_numbered():
    run = diagnosis([insight()])._replace(
        steps=[{'words': 'read 4,500 rows'}, {'words': 'a day\nis missing', 'level': 'WARNING'}]
    )
    assert progress(run) == ['1/2 read 4,500 rows ✓', '2/2 a day is missing !']


def test_a_run_with_nothing_still_makes_its_files():
    nothing = pd.DataFrame()
    made = files(Diagnosis([], nothing, nothing, nothing, nothing, [], [], {}), [])
    assert json.loads(made['insights.json'])['insights'] == [] and made['log.jsonl'] == ''
    assert 'unknown days' in made['report.md'].casefold()


def test_a_template_stands_alone():
    words = {'lever': 'budget', 'do': 'a', 'test': 'b', 'tell': 'c', 'evidence': ['segment_drop']}
    assert Template.model_validate(words).expect is None
