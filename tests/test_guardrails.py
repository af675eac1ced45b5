"""The gate only makes actions smaller, every hold holds, and what is frozen can come back."""

from math import exp, factorial
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from adsbench.data.layers import Layers, read_yaml
from adsbench.data.money import offset
from adsbench.data.settings import Problem, Section, section
from adsbench.rules.bounds import PauseSettings, SizeSettings, StartSettings, StepSettings
from adsbench.rules.edits import EditSettings, edit_class, relearning_cost
from adsbench.rules.evidence import SafetySettings, evidence, safety
from adsbench.rules.guardrails import GuardSettings, Now, box, gate, limits, why
from adsbench.rules.history import HistorySettings, executed, inferred, learning
from adsbench.rules.limits import GUARDS

AT = pd.Timestamp('2026-06-29 06:00', tz='UTC')
HOUSE = GuardSettings()
STRENGTH = {'hold': 0, 'change': 1, 'retest': 1, 'freeze': 2, 'pause': 2}
ROWS = 500  # histories an example; 20 examples are 10,000


def before(hours: float) -> pd.Timestamp:
    return AT - pd.Timedelta(hours=hours)


def account(rng: np.random.Generator, per: int) -> tuple[pd.DataFrame, pd.DataFrame]:
    "Random units and a random log of edits: one history a row"
    ids = pd.Index([f'u{i:03}' for i in range(ROWS)], name='unit')
    some = lambda *values: rng.choice(np.array(values, dtype=object), ROWS)
    current = np.round(rng.lognormal(3.5, 1.5, ROWS) * per) / per
    current = np.where(rng.random(ROWS) < 0.15, 0.0, current)
    units = pd.DataFrame(
        {
            'current': current,
            'level': some('adset', 'adset', 'adset', 'campaign'),
            'campaign_id': some('c1', 'c2', 'c3'),
            'budget_level': some('adset', 'adset', 'campaign', None),
            'status': np.where(current == 0, some('PAUSED', 'ARCHIVED'), some('ACTIVE', 'ACTIVE', 'ACTIVE', 'PAUSED')),
            'learning_status': some('STEADY', 'STEADY', 'LEARNING', 'LIMITED', 'UNKNOWN', None),
            'days_active': some(0, 2, 3, 4, 90, np.nan).astype(float),
            'floor': some(np.nan, np.nan, np.nan, 5.0, 80.0).astype(float),
            'ceiling': some(np.nan, np.nan, np.nan, 30.0, 900.0).astype(float),
            'pin': some(None, None, None, None, True, 40.0),
            'exclude': rng.random(ROWS) < 0.05,
            'retest': np.where(rng.random(ROWS) < 0.5, rng.uniform(0.1, 60, ROWS), np.nan),
            'new': rng.random(ROWS) < 0.1,
            'stop': rng.random(ROWS) < 0.3,
            'spend': rng.uniform(0, 200, ROWS),
        },
        index=ids,
    )  # fmt: skip
    size = int(rng.integers(0, 3 * ROWS))
    who = rng.choice(ids, size)
    field = rng.choice(['daily_budget', 'daily_budget', 'status', 'targeting', 'name'], size)
    old = rng.uniform(0, 300, size).round(2).astype(str)
    new = rng.uniform(0, 300, size).round(2).astype(str)
    state = field == 'status'
    campaign = (units['level'] == 'campaign').reindex(who).to_numpy()
    changes = pd.DataFrame(
        {
            'at': [before(h) for h in rng.uniform(-10, 400, size)],
            'campaign_id': np.where(campaign, who, 'c1'),
            'adset_id': np.where(campaign, '', who),
            'ad_id': '',
            'field': field,
            'old': np.where(state, 'ACTIVE', old),
            'new': np.where(state, rng.choice(['ACTIVE', 'PAUSED'], size), new),
            'by': 'ana',
        }
    )
    return units, changes


def case(seed: int) -> tuple[pd.DataFrame, pd.DataFrame, Now, GuardSettings]:
    "State, wild actions, moment and settings of a seed"
    rng = np.random.default_rng(seed)
    currency = rng.choice(['EUR', 'JPY', 'USD', 'KRW', 'BHD'])
    units, changes = account(rng, offset(currency))
    state = units.join(executed(changes, units, AT, HistorySettings()))
    lost = rng.choice([c for c in state if c != 'current'], int(rng.integers(0, 5)), replace=False)
    state = state.drop(columns=list(lost)) if rng.random() < 0.5 else state
    actions = pd.DataFrame(
        {
            'verb': rng.choice(list(STRENGTH), ROWS),
            'proposed': state['current'] * rng.uniform(0, 4, ROWS) + rng.choice([0, 0, 20], ROWS),
        }
    )
    actions['proposed'] = actions['proposed'].mask(rng.random(ROWS) < 0.03)
    rules = GuardSettings(
        cooldown_hours=rng.choice([0, 48, 72]),
        steps=StepSettings(max_daily_increase=rng.choice([None, 10.0])),
        sizes=SizeSettings(max_share=rng.choice([0.05, 0.4])),
    )
    total = int(max(state['current'].sum() * offset(currency), 1))
    return state, actions, Now(AT, currency, rng.choice(['meta', 'taboola']), total), rules


@settings(max_examples=20)
@given(st.integers(0, 10**9))
def test_gate_on_ten_thousand_histories(seed):
    state, actions, now, rules = case(seed)
    given_ = actions.copy(deep=True), state.copy(deep=True)
    passed = gate(actions, state, now, rules)
    assert actions.equals(given_[0]) and state.equals(given_[1])
    minor = 1 / offset(now.currency)
    current = state['current']
    # never larger, never the other way, never stronger, never another verb
    asked = actions['proposed'].where(actions['verb'].isin(['change', 'retest']), 0.0)
    asked = asked.mask(actions['verb'] == 'hold', current).fillna(current)
    moved, wanted = passed['proposed'] - current, asked - current
    assert (moved.abs() <= wanted.abs() + minor * 1e-5).all()
    assert (moved * wanted >= -1e-9).all()
    assert ((passed['verb'] == actions['verb']) | (passed['verb'] == 'hold')).all()
    assert ((passed['verb'] == 'hold') == (moved == 0)).all()
    # a change stays in the box, and the box holds today
    edges = box(limits(state, now, rules))
    today = np.rint(current / minor)
    assert (edges['low'] <= today).all() and (today <= edges['high']).all()
    goes = passed['verb'].isin(['change', 'retest'])
    landed = np.rint(passed['proposed'] / minor)
    assert ((landed >= edges['low']) & (landed <= edges['high']))[goes].all()
    assert (landed[goes] > 0).all(), 'a change is never a pause'
    # twice is once
    again = gate(passed, state, now, rules)
    assert again[['verb', 'current', 'proposed']].equals(passed[['verb', 'current', 'proposed']])
    # the order of rows decides nothing
    rng = np.random.default_rng(seed)
    mixed = gate(actions.iloc[rng.permutation(ROWS)], state.iloc[rng.permutation(ROWS)], now, rules)
    assert mixed.loc[passed.index].equals(passed)
    # whatever did not go through as proposed has a name, unless it was rounded to today
    clipped = (
        actions['verb'].ne('hold') & passed['verb'].eq('hold') & ((asked - current).abs() >= minor)
    )
    assert (passed.loc[clipped, 'held_by'].map(len) > 0).all()


@settings(max_examples=8)
@given(st.integers(0, 10**9))
def test_holds_commute_and_removing_one_only_widens(seed):
    state, _, now, rules = case(seed)
    bounds = limits(state, now, rules)
    rng = np.random.default_rng(seed)
    wish = rng.uniform(0, 3, ROWS) * state['current'].to_numpy() * offset(now.currency)
    ends = []
    for _ in range(3):
        goal = wish.copy()
        for name in rng.permutation(list(GUARDS)):
            goal = np.clip(goal, bounds.low[name], bounds.high[name])
        ends.append(np.asarray(goal))
    whole = box(bounds)
    assert all((end == ends[0]).all() for end in ends)
    assert (ends[0] == np.clip(wish, whole['low'], whole['high'])).all()
    gone = rng.choice(list(GUARDS))
    wider = box(type(bounds)(*(part.drop(columns=gone) for part in bounds)))
    assert (wider['low'] <= whole['low']).all() and (wider['high'] >= whole['high']).all()
    assert np.isfinite(bounds.low.to_numpy()).all() and not bounds.high.isna().to_numpy().any()
    assert (bounds.low.to_numpy() % 1 == 0).all()


@settings(max_examples=8)
@given(st.integers(0, 10**9))
def test_stricter_settings_never_let_more_through(seed):
    state, actions, now, rules = case(seed)
    strict = rules.model_copy(
        update={
            'steps': rules.steps.model_copy(
                update={'max_increase': 0.05, 'max_decrease': 0.05, 'single_edit': 0.04}
            ),
            'cooldown_hours': 100,
            'sizes': SizeSettings(min_budget=3, max_share=0.04, share_room=1),
            'starts': StartSettings(cold_days=10, cold_increase=0, new_cap=5),
            'pauses': PauseSettings(min_spend=150, wait_days=20, max_share=0.1),
        }
    )
    loose, tight = (gate(actions, state, now, one) for one in (rules, strict))
    room = (loose['proposed'] - state['current']).abs() + 1e-9
    assert ((tight['proposed'] - state['current']).abs() <= room).all()


@pytest.mark.parametrize('nothing', [None, {}, 'guardrails.yaml', SafetySettings()])
def test_fails_closed_without_settings(nothing):
    state, actions, now, _ = case(1)
    held = gate(actions, state, now, nothing)
    assert (held['verb'] == 'hold').all() and held['proposed'].equals(held['current'])
    assert held['held_by'].map(lambda names: names == ('no guardrail settings',)).all()


def test_fails_closed_on_what_cannot_be_read():
    state = pd.DataFrame({'current': [100.0, np.nan, 50, 50]}, index=['a', 'b', 'c', 'c'])
    actions = pd.DataFrame({'verb': 'change', 'proposed': 110.0}, index=['a', 'b', 'c', 'ghost'])
    now = Now(AT, 'EUR', 'meta', 20000)
    passed = gate(actions, state, now, HOUSE)
    assert passed['verb'].tolist() == ['change', 'hold', 'hold', 'hold']
    assert passed['held_by'].tolist()[1:] == [('no_budget',)] * 3
    for currency in ('EURO', 'JPN', ''):
        with pytest.raises(Problem, match='currency'):
            gate(actions, state, now._replace(currency=currency), HOUSE)
    assert gate(actions.assign(verb='delete'), state, now, HOUSE)['held_by']['a'] == ('verb',)
    infinite = gate(actions.assign(proposed=np.inf), state, now, HOUSE)
    assert infinite['held_by']['a'] == ('no_number',)
    assert 'cooldown' in passed['unchecked']['a'] and 'learning' in passed['unchecked']['a']
    empty = gate(actions[:0], state, now, HOUSE)
    assert empty.empty and 'held_by' in empty


CALM = {
    'current': 100.0, 'level': 'adset', 'budget_level': 'adset', 'status': 'ACTIVE',
    'learning_status': 'STEADY', 'days_active': 90, 'hours_since': 400.0, 'edits_hour': 0,
    'hours_since_significant': 400.0, 'budget_day_ago': 100.0, 'budget_at_window_start': 100.0,
    'spend': 1000.0, 'stop': False,
}  # fmt: skip


def one(
    proposed: float, rules: GuardSettings = HOUSE, verb: str = 'change', **changed
) -> pd.Series:
    "The gate on one calm ad set of a large account, changed in one thing"
    state = pd.DataFrame([CALM | changed], index=['a'])
    actions = pd.DataFrame({'verb': [verb], 'proposed': [proposed]}, index=['a'])
    total = changed.get('total', 1_000_000)
    state = state.drop(columns='total', errors='ignore')
    return gate(actions, state, Now(AT, changed.get('currency', 'EUR'), 'meta', total), rules).iloc[
        0
    ]


WIDE = StepSettings(max_increase=1, max_decrease=0.9, single_edit=0.9, by_size=((0, 0.9),))
OPEN = GuardSettings(steps=WIDE, cumulated_increase=5, cumulated_decrease=0.9)


@pytest.mark.parametrize(
    ('name', 'proposed', 'result', 'rules', 'changed'),
    [
        ('by_size', 112.11, 110, HOUSE, {}),  # case 1 of the table of factors
        ('by_size', 50, 54, HOUSE, {'current': 60.0, 'budget_day_ago': 60.0, 'budget_at_window_start': 60.0, 'steps': 0}),
        ('step_up', 200, 115, GuardSettings(steps=WIDE.model_copy(update={'max_increase': 0.15})), {}),
        ('step_down', 10, 85, GuardSettings(steps=WIDE.model_copy(update={'max_decrease': 0.15})), {}),
        ('single_edit', 200, 120, OPEN.model_copy(update={'steps': WIDE.model_copy(update={'single_edit': 0.2})}), {}),
        ('step_up', 130, 100, OPEN.model_copy(update={'steps': WIDE.model_copy(update={'max_increase': 0.15})}), {'budget_day_ago': 80.0}),
        ('daily_money', 150, 105, OPEN.model_copy(update={'steps': WIDE.model_copy(update={'max_daily_increase': 5})}), {}),
        ('cumulated', 150, 112, GuardSettings(steps=WIDE), {'budget_at_window_start': 80.0}),
        ('cumulated', 20, 60, GuardSettings(steps=WIDE), {}),
        ('cooldown', 105, 100, HOUSE, {'hours_since': 47.9}),
        ('cooldown', 105, 100, GuardSettings(cooldown_hours=72), {'hours_since': 50.0}),
        ('learning', 105, 100, HOUSE, {'learning_status': 'LEARNING'}),
        ('learning', 95, 100, HOUSE, {'learning_status': 'LIMITED', 'hours_since_significant': 60.0}),
        ('cold_start', 190, 110, OPEN, {'days_active': 3}),
        ('cold_start', 190, 110, OPEN, {'days_active': np.nan}),
        ('floor', 10, 70, OPEN, {'floor': 70.0}),
        ('floor', 0.2, 1, OPEN, {'current': 2.0, 'budget_day_ago': 2.0, 'budget_at_window_start': 2.0}),
        ('ceiling', 190, 130, OPEN, {'ceiling': 130.0}),
        ('ceiling', 190, 100, OPEN, {'ceiling': 40.0}),
        ('share', 600, 400, OPEN, {'current': 390.0, 'budget_day_ago': 390.0, 'budget_at_window_start': 390.0, 'total': 100_000}),
        ('campaign_budget', 105, 100, HOUSE, {'budget_level': 'campaign'}),
        ('edits', 105, 100, HOUSE, {'edits_hour': 4}),
        ('status', 105, 100, HOUSE, {'status': 'PAUSED'}),
        ('pin', 105, 100, HOUSE, {'pin': True}),
        ('pin', 105, 103, HOUSE, {'pin': 103.0}),
        ('exclude', 105, 100, HOUSE, {'exclude': True}),
        ('kill', 105, 100, GuardSettings(kill=True), {}),
        ('start', 50, 0, HOUSE, {'current': 0.0}),
    ],
)  # fmt: skip
def test_every_hold(name, proposed, result, rules, changed):
    if changed.pop('steps', None) is not None:
        rules = OPEN.model_copy(
            update={'steps': WIDE.model_copy(update={'by_size': ((100, 0.5), (50, 0.1), (0, 0.9))})}
        )
    # a share is 40 % only where there are ad sets enough; one alone has all
    if name == 'share':
        rules = rules.model_copy(update={'sizes': SizeSettings(share_room=1)})
        state = pd.DataFrame([CALM | changed] * 4, index=list('abcd')).drop(columns='total')
        actions = pd.DataFrame({'verb': 'change', 'proposed': float(proposed)}, index=['a'])
        row = gate(actions, state, Now(AT, 'EUR', 'meta', 100_000), rules).iloc[0]
    else:
        row = one(proposed, rules, **changed)
    assert row['proposed'] == pytest.approx(result, abs=1e-9)
    assert name in row['held_by']


def test_calm_ad_set_goes_through_untouched():
    row = one(108.0)
    assert (row['verb'], row['proposed'], row['held_by'], row['unchecked']) == (
        'change',
        108,
        (),
        (),
    )
    assert one(105.0, learning_status='UNKNOWN')['unchecked'] == ('learning',)
    assert one(95.0, learning_status='LIMITED', hours_since_significant=200.0)['proposed'] == 95
    assert one(105.0, stale=True)['unchecked'] == ('cumulated', 'cooldown') or set(
        one(105.0, stale=True)['unchecked']
    ) == {'cumulated', 'cooldown'}


def test_over_its_share_it_may_come_back_and_an_unchanged_total_is_feasible():
    state = pd.DataFrame({'current': [600.0, 100, 100, 100, 100]}, index=list('abcde'))
    edges = box(limits(state, Now(AT, 'EUR', 'meta', 100_000), HOUSE))
    assert edges.loc['a', 'high'] == 60_000 and edges.loc['a', 'low'] == 54_000
    assert edges['low'].sum() <= 100_000 <= edges['high'].sum()


def test_starts_from_nothing():
    assert one(30.0, verb='retest', current=0.0, status='PAUSED', retest=12.0)['proposed'] == 12
    assert one(30.0, verb='change', current=0.0, status='PAUSED', retest=12.0)['verb'] == 'hold'
    assert one(0.5, verb='retest', current=0.0, status='PAUSED', retest=12.0)['held_by'] == (
        'floor',
    )
    assert one(30.0, verb='retest', current=0.0, status='ARCHIVED', retest=12.0)['verb'] == 'hold'
    assert 'start' in one(30.0, verb='retest')['held_by']
    assert one(300.0, current=0.0, status='ACTIVE', new=True)['proposed'] == 100


@pytest.mark.parametrize(
    ('verb', 'changed', 'result', 'held'),
    [
        ('freeze', {'stop': True}, 0, ()),
        ('freeze', {'stop': True, 'learning_status': 'LEARNING', 'hours_since': 3.0}, 0, ()),
        ('freeze', {}, 100, ('evidence',)),
        ('freeze', {'stop': np.nan}, 100, ('evidence',)),
        ('freeze', {'stop': True, 'pin': True}, 100, ('pin',)),
        ('freeze', {'stop': True, 'floor': 50.0}, 100, ('floor',)),
        ('freeze', {'stop': True, 'budget_level': 'campaign'}, 100, ('campaign_budget',)),
        ('freeze', {'stop': True, 'current': 0.0}, 0, ('status',)),
        ('freeze', {'stop': True, 'total': 15_000}, 100, ('mass_pause',)),
        ('pause', {}, 0, ()),
        ('pause', {'spend': 49.0}, 100, ('pause_spend',)),
        ('pause', {'spend': np.nan}, 100, ('pause_spend',)),
        ('pause', {'hours_since_significant': 100.0}, 100, ('pause_wait',)),
        ('pause', {'hours_since_significant': np.nan}, 100, ('pause_wait',)),
        ('pause', {'spend': 49.0, 'hours_since_significant': 2.0, 'stop': True}, 0, ()),
    ],
)
def test_pauses(verb, changed, result, held):
    row = one(0.0, verb=verb, **changed)
    assert row['proposed'] == result and row['held_by'] == held


def test_yen_have_no_cents_and_cents_are_exact():
    state = pd.DataFrame(
        [CALM | {'current': 333.0, 'budget_day_ago': 333.0, 'budget_at_window_start': 333.0}],
        index=['a'],
    )
    bounds = box(limits(state, Now(AT, 'JPY', 'taboola', 10**6), HOUSE))
    assert bounds.loc['a', ['low', 'high']].tolist() == [300, 366]
    for current in np.round(np.arange(0.05, 40, 1.37), 2):
        page = state.assign(current=current, budget_day_ago=current, budget_at_window_start=current)
        edge = box(limits(page, Now(AT, 'EUR', 'taboola', 10**6), HOUSE)).iloc[0]
        assert edge['high'] == max(round(current * 100), (round(current * 100) * 115 + 0) // 100)


def test_sentence_names_limit_number_and_provenance():
    state = pd.DataFrame([CALM], index=['a'])
    now = Now(AT, 'EUR', 'meta', 10**6)
    text = why(limits(state, now, HOUSE), 'a', HOUSE)
    assert 'by_size, seed_default' in text and '10 % from 100' in text
    tight = GuardSettings(steps=StepSettings(single_edit=0.03))
    text = why(limits(state, now, tight), 'a', tight)
    assert "3 % at most (not Meta's rule) [single_edit, customer]" in text
    told = why(limits(state, now, tight), 'a', tight, {'steps.single_edit': 'tuned'})
    assert '[single_edit, tuned]' in told
    for name in GUARDS:
        assert GUARDS[name].says.format(**dict(HOUSE), by_size='')


class Page(Section):
    "rules.yaml with the guardrails alone"

    guardrails: GuardSettings = GuardSettings()
    safety_rules: SafetySettings = SafetySettings()


@pytest.mark.parametrize(
    ('mine', 'refused'),
    [
        ({'steps': {'max_increase': 0.3}}, True),
        ({'steps': {'max_increase': 0.1}}, False),
        ({'steps': {'max_daily_increase': 10}}, False),
        ({'cooldown_hours': 12}, True),
        ({'cooldown_hours': 72}, False),
        ({'kill': True}, False),
        ({'pauses': {'max_share': 0.9}}, True),
        ({'history': {'edits': {'small_budget_change': 0.5}}}, True),
        ({'max_increase': 0.1}, True),
    ],
)
def test_customer_may_only_tighten(mine, refused):
    layers = Layers({'rules': {'guardrails': mine}}, {}, {'rules': {}})
    if refused:
        with pytest.raises(Problem):
            section(layers, 'rules', Page)
    else:
        section(layers, 'rules', Page)
    locked = Layers(
        {'rules': {'guardrails': {'kill': False}}}, {}, {'rules': {'guardrails': {'kill': True}}}
    )
    with pytest.raises(Problem, match='hard limit'):
        section(locked, 'rules', Page)


def provenance(model: type[Section], key: str) -> dict[str, str]:
    "Dotted key -> provenance as the models tell it"
    found = {}
    for name, field in model.model_fields.items():
        if isinstance(field.default, Section):
            found |= provenance(type(field.default), f'{key}.{name}')
        elif isinstance(field.json_schema_extra, dict):
            found[f'{key}.{name}'] = field.json_schema_extra['provenance']
    return found


def test_the_file_says_what_the_models_say(repo: Path):
    page = read_yaml(repo / 'config' / 'default' / 'rules.yaml')
    if 'guardrails' not in page:
        pytest.skip('rules.yaml holds no guardrails yet')
    assert GuardSettings.model_validate(page['guardrails']) == HOUSE
    assert SafetySettings.model_validate(page['safety_rules']) == SafetySettings()
    told = page['provenance']
    for key, label in provenance(GuardSettings, 'guardrails').items():
        ups = ['.'.join(key.split('.')[:n]) for n in range(key.count('.') + 1, 0, -1)]
        assert next((told[up] for up in ups if up in told), told.get('*')) == label, key


@pytest.mark.parametrize(
    ('field', 'old', 'new', 'paused', 'expected'),
    [
        ('daily_budget', 100, 101, None, 'no'),
        ('daily_budget', 100, 120, None, 'no'),
        ('daily_budget', 100, 80, None, 'no'),
        ('daily_budget', 100, 120.5, None, 'maybe'),
        ('daily_budget', 100, 1000, None, 'maybe'),
        ('daily_budget', 100, 'a lot', None, 'maybe'),
        ('daily_budget', 0, 20, 8, 'reset'),
        ('daily_budget', 0, 20, 6.9, 'no'),
        ('daily_budget', 100, 0, None, 'no'),
        ('bid_amount', 5, 9, None, 'maybe'),
        ('targeting', '', '', None, 'reset'),
        ('ad_created', '', 'a1', None, 'reset'),
        ('ad_creative', 'x', 'y', None, 'reset'),
        ('bid_strategy', 'x', 'y', None, 'reset'),
        ('optimization_goal', 'x', 'y', None, 'reset'),
        ('status', 'PAUSED', 'ACTIVE', 7, 'reset'),
        ('status', 'PAUSED', 'ACTIVE', 1, 'no'),
        ('status', 'PAUSED', 'ACTIVE', None, 'maybe'),
        ('status', 'ACTIVE', 'PAUSED', None, 'no'),
        ('ad_status', 'ACTIVE', 'PAUSED', None, 'no'),
        ('name', 'x', 'y', None, 'no'),
        ('something', 'x', 'y', None, 'maybe'),
    ],
)
def test_edit_classes(field, old, new, paused, expected):
    row = pd.DataFrame({'field': [field], 'before': [old], 'after': [new], 'paused_days': [paused]})
    row['paused_days'] = row['paused_days'].astype('float64')
    assert edit_class(row, EditSettings()).tolist() == [expected]
    cost = relearning_cost(row.assign(edit_class=expected, cpa=20.0), EditSettings())
    assert cost.iloc[0] == {'reset': 1000, 'maybe': 500, 'no': 0}[expected]


def test_history_of_units_and_campaigns():
    units = pd.DataFrame(
        {
            'level': ['adset', 'campaign'],
            'campaign_id': ['c1', 'c1'],
            'current': [50.0, 200.0],
            'status': 'ACTIVE',
        },
        index=pd.Index(['a', 'c1'], name='unit'),
    )
    rows = [
        (before(10), 'c1', '', '', 'bid_strategy', 'x', 'y', 'ana', before(30)),
        (before(0.5), 'c1', '', '', 'daily_budget', '180', '200', 'ana', before(30)),
        (before(0.2), 'c1', 'a', 'ad7', 'status', 'ACTIVE', 'PAUSED', 'ana', before(30)),
    ]
    names = 'at campaign_id adset_id ad_id field old new by snapshot_at'.split()
    told = executed(pd.DataFrame(rows, columns=names), units, AT, HistorySettings())
    # the campaign's bid reaches the ad set, its budget does not; pausing one ad is no edit
    assert told['hours_since'].round(1).tolist() == [10, 0.5]
    assert told['edits_hour'].tolist() == [0, 1]
    assert told['budget_at_window_start'].tolist() == [50, 180]
    assert told['stale'].all()
    assert executed(None, units, AT, HistorySettings()).columns.empty
    none = executed(
        pd.DataFrame(columns=names).astype({'at': 'datetime64[us, UTC]'}),
        units,
        AT,
        HistorySettings(),
    )
    assert none['hours_since'].isna().all() and none['cumulated'].tolist() == [0, 0]
    assert inferred(pd.DataFrame({'adset_id': ['a'], 'snapshot_at': [AT], 'budget': [5.0]})).empty


def test_unknown_learning_is_not_steady():
    units = pd.DataFrame({'learning_status': ['SUCCESS', None, 'STEADY']}, index=list('abc'))
    days = pd.DataFrame({'unit': ['a'], 'date': [pd.Timestamp('2026-06-28')], 'purchases': [90.0]})
    state = learning(units, days, pd.Timestamp('2026-06-28'), HistorySettings())
    assert state.tolist() == ['UNKNOWN', 'UNKNOWN', 'STEADY']


def shop(
    rates: dict[str, float], days: int = 28, spend: float = 100, seed: int = 0
) -> pd.DataFrame:
    "Day rows of units that buy at 20 and sell for 50; the rate is in usual purchases"
    rng = np.random.default_rng(seed)
    dates = pd.date_range(end='2026-06-28', periods=days)
    rows = pd.MultiIndex.from_product([rates, dates], names=['unit', 'date']).to_frame(index=False)
    bought = rng.poisson(spend / 20 * rows['unit'].map(rates)).astype(float)
    return rows.assign(spend=float(spend), purchases=bought, revenue=bought * 50)


AS_OF = pd.Timestamp('2026-06-28')


def test_poisson_tail_by_hand():
    days = pd.DataFrame(
        {
            'unit': ['a', 'b'],
            'date': AS_OF,
            'spend': [100.0, 900],
            'purchases': [2.0, 38],
            'revenue': [90.0, 1900],
        }
    )
    proof = evidence(days, pd.DataFrame(index=['a', 'b']), AS_OF, SafetySettings())
    assert proof.loc['a', 'expected'] == 4
    assert proof.loc['a', 'tail'] == pytest.approx(
        sum(exp(-4) * 4**k / factorial(k) for k in range(3))
    )


def test_freeze_and_retest_life_cycle():
    usual = {f'u{i}': 1.0 for i in range(9)}
    days = shop(usual | {'dead': 0.0})
    units = pd.DataFrame({'current': 100.0}, index=pd.Index([*usual, 'dead'], name='unit'))
    rules, past = SafetySettings(), pd.DataFrame(index=units.index)
    proof = evidence(days, units, AS_OF, rules)
    verdict = safety(units, proof, past, rules)
    assert verdict.index[verdict['verb'] == 'freeze'].tolist() == ['dead']
    assert '0 purchases where' in verdict.loc['dead', 'reason']
    # at 0 it stays there, whatever the roas, until the wait is over
    frozen = units.assign(current=units['current'].where(units.index != 'dead', 0.0))
    for age, roas, verb in [
        (1, 0.0, 'keep_frozen'),
        (13, 0.59, 'keep_frozen'),
        (14, 0.0, 'retest'),
        (2, 0.6, 'retest'),
    ]:
        past = pd.DataFrame(
            {'paused_days': age, 'paused_by': 'adsbench', 'budget_before_pause': 100.0},
            index=units.index,
        )
        row = safety(frozen, proof.assign(roas=roas), past, rules).loc['dead']
        assert row['verb'] == verb
        assert row['budget'] == (25 if verb == 'retest' else 0)
    # restarted three days ago: the old weeks do not count against it
    back = units.assign(since=pd.Series({'dead': AS_OF - pd.Timedelta(days=2)}))
    low = days.assign(
        spend=days['spend'].where((days['unit'] != 'dead') | (days['date'] < '2026-06-26'), 25)
    )
    judged = evidence(low, back, AS_OF, rules)
    assert not judged.loc['dead', 'stop'] and judged.loc['dead', 'spend'] == 75
    assert safety(back, judged, past, rules).loc['dead', 'verb'] == ''
    # switched off: nothing is frozen, nothing restarts
    off = SafetySettings(enabled=False)
    assert set(safety(frozen, proof, past, off)['verb']) == {'', 'keep_frozen'}


def test_low_roas_without_evidence_is_no_freeze():
    days = shop({f'u{i}': 1.0 for i in range(9)} | {'young': 0.0})
    days = days[(days['unit'] != 'young') | (days['date'] == AS_OF)]
    days.loc[days['unit'] == 'young', 'spend'] = 50.0
    units = pd.DataFrame({'current': 50.0, 'health': 0.0, 'roas': 0.0}, index=days['unit'].unique())
    proof = evidence(days, units, AS_OF, SafetySettings())
    verdict = safety(units, proof, pd.DataFrame(index=units.index), SafetySettings())
    assert verdict.loc['young', 'verb'] == '' and 'too little' in verdict.loc['young', 'reason']
    leads = units.assign(optimization_goal='LEAD_GENERATION')
    proof = evidence(shop({'u': 1.0, 'young': 0.0}), leads.loc[['young']], AS_OF, SafetySettings())
    assert not proof['stop'].any()


@pytest.mark.parametrize('rate', [2, 10, 50, 200])
def test_identical_ad_sets_are_hardly_ever_stopped(rate):
    days = shop({f'u{i}': 1.0 for i in range(200)}, days=14, spend=20.0 * rate, seed=rate)
    units = pd.DataFrame(
        {'current': 20.0 * rate}, index=pd.Index(days['unit'].unique(), name='unit')
    )
    proof = evidence(days, units, AS_OF, SafetySettings())
    assert proof['stop'].mean() == 0
