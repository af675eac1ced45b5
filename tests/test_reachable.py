"""All 46 rules fire from `adsbench allocate`: one ad set for each, from CSV exports to decisions.json."""

import json
from collections import Counter
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
import pytest
from accounts import Adset, Answer, adsbench, adsets_csv, allocate, days_csv, decisions, take, write

from adsbench.budgets.state import Case, state
from adsbench.budgets.wishes import ruled
from adsbench.data.store import place
from adsbench.reports.budgeting import Asked, gather
from adsbench.rules.inputs import INPUTS, inputs
from adsbench.rules.rulebook import book

HIGH = (3.1, 3.1, 3.1)
LAST = '2025-11-19'  # a Wednesday of ISO week 47: no rule of time holds
SETS = {
    'excellent_all_round': Adset('r01', roas=(4.0, 3.5, 3.5), purchases=2.5),
    'excellent_above_usual': Adset('r02', roas=(4.0, 2.5, 2.5)),
    'high_efficient_impressions': Adset('r03', roas=HIGH, purchases=2.5, impressions=250),
    'high_above_usual': Adset('r04', roas=(3.2, 2.0, 2.0)),
    'high_above_account': Adset('r05', roas=(3.3, 3.3, 3.3)),
    'high_and_rising': Adset('r06', roas=(3.1, 2.7, 3.1)),
    'high_and_efficient': Adset('r07', roas=(3.1, 3.05, 3.1), purchases=2.5),
    'solid_with_dear_clicks': Adset(
        'r08', roas=(2.2, 2.15, 2.2), spend=(14, 14), clicks=(12, 12), purchases=2
    ),
    'solid_above_usual': Adset('r09', roas=(2.4, 2.2, 1.5)),
    'impressions_earn': Adset('r10', spend=(30, 30), impressions=720, clicks=(40, 40), purchases=2),
    'clicks_earn': Adset('r11', spend=(60, 60), impressions=4000, clicks=(40, 40), purchases=2),
    'clicks_do_not_buy': Adset('r12', roas=(2.0, 2.05, 2.0), clicks=(100, 100)),
    'small_and_good': Adset('r13', roas=(3.1, 3.15, 3.1), spend=(1, 1), clicks=(8, 8)),
    'large_and_falling': Adset('r14', roas=(2.0, 2.2, 2.2), spend=(20, 20)),
    'growing_and_good': Adset('r15', roas=HIGH, spend=(9, 7)),
    'wide_reach': Adset('r16', roas=HIGH, reach=1200),
    'more_clicks_than_usual': Adset('r17', clicks=(30, 20)),
    'small_part_of_campaign': Adset('r18', campaign='big', roas=HIGH),
    'one_ad_takes_all': Adset('r19', shares=(0.9, 0.1), better=(1, 1)),
    'ads_far_apart': Adset('r20', shares=(0.25,) * 4, better=(4, 0, 0, 0)),
    'many_different_ads': Adset('r21', shares=(0.2,) * 5, better=(0.5, 0.5, 0.5, 1.5, 2)),
    'ads_alike_and_good': Adset('r22', better=(1.0, 1.0)),
    'several_formats': Adset('r23', shares=(0.4, 0.3, 0.3), better=(1.5, 0.4, 0.933333)),
    'even_spend': Adset('r24', shares=(0.34, 0.33, 0.33), better=(1.5, 0.5, 0.985)),
    'low_and_falling': Adset('r25', roas=(1.2, 1.5, 1.5)),
    'low_but_new': Adset('r26', roas=(1.2, 1.1, 1.1), days=(0, 1, 2, 3, 8, 9)),
    'low_but_learning': Adset('r27', roas=(1.2, 1.1, 1.1), days=tuple(range(12))),
    'low_but_recovering': Adset('r28', roas=(1.2, 1.1, 1.1)),
    'low_and_slow': Adset('r29', roas=(1.23, 1.2, 1.2)),
    'middling_and_falling': Adset('r30', roas=(2.0, 2.5, 2.0)),
    'below_usual': Adset('r31', roas=(1.6, 1.7, 3.5)),
    'cold_and_high': Adset('r35', roas=HIGH, days=(0, 1, 2)),
    'cold_and_fair': Adset('r36', days=(0, 1, 2)),
    'cold': Adset('r37', roas=(1.2, 1.2, 1.2), days=(0, 1, 2)),
    'early_and_high': Adset('r38', roas=HIGH, days=tuple(range(6))),
    'early_and_fair': Adset('r39', days=tuple(range(6))),
    'young_and_high': Adset('r40', roas=(3.1, 3.05, 3.05), days=tuple(range(14))),
    'grown_and_high': Adset('r41', roas=HIGH, days=tuple(range(18))),
    'established_and_high': Adset('r42', roas=(3.1, 3.05, 3.1)),
    'rising_fast': Adset('r43', roas=(1.7, 1.4, 1.7)),
    'falling_fast': Adset('r44', roas=(0.6, 1.0, 0.6)),
    'middling_and_still': Adset('r45'),
    'nothing_special': Adset('r46', roas=(3.1, 3.3, 3.1)),
}
BIG = Adset(  # most of the money, so that the account's roas is 2.9
    'big', 'big', (2.95,) * 3, (6000, 6000), (12000, 12000), 6e5, 600, budget=6100
)
LONE = Adset('lone', shares=(1.0,), better=(1.0,))
TIMES = {  # rule of time: the day on which it is asked, and an ad set that nothing else moves
    'weekend': ('2025-11-23', 'r45'),
    'season': ('2025-11-25', 'r45'),
    'monday': ('2025-11-17', 'r42'),
}
ON = 'rules:\n  weekend: {on: true}\n  season: {on: true}\n  monday: {on: true}\n'


def creatives_csv() -> str:
    "The type of each ad: images, but for the ad set with several formats"
    kinds = {f'{one.name}_{ad}': 'image' for one in SETS.values() for ad in range(1, 6)}
    kinds |= {'r23_2': 'video', 'r23_3': 'carousel'}
    return '\n'.join(['ad_id,creative_type', *(f'{ad},{k}' for ad, k in kinds.items())]) + '\n'


class Asks(NamedTuple):
    "An account and what the command answered, by day"

    root: Path
    answers: dict[str, Answer]

    def row(self, day: str, unit: str) -> dict:
        "The decision on one ad set"
        return next(r for r in self.answers[day].json['budgets'] if r['adset_id'] == unit)


@pytest.fixture(scope='module')
def asks(tmp_path_factory) -> Asks:
    "One ingest, and the command on each day that a test reads"
    root = tmp_path_factory.mktemp('reachable')
    sets = [BIG, LONE, *SETS.values()]
    (root / 'creatives.csv').write_text(creatives_csv())
    take(root, 'adsets.csv', adsets_csv(sets), '2025-11-10')
    take(root, 'days.csv', days_csv(sets, LAST, 6), '2025-11-27', str(root / 'creatives.csv'))
    write(root, 'rules', ON)
    days = {LAST, *(day for day, _ in TIMES.values())}
    return Asks(root, {day: allocate(root, '--as-of', day) for day in sorted(days)})


@pytest.fixture(scope='module')
def full(asks: Asks) -> tuple[Case, pd.DataFrame]:
    "The case of the day on which every ad set runs, and its state"
    case = gather(place(asks.root, 'acme', 'meta'), Asked(LAST))
    return case, state(case)


@pytest.fixture(scope='module')
def early(asks: Asks) -> tuple[Case, pd.DataFrame]:
    "The same of a Sunday on which three ad sets have not begun"
    case = gather(place(asks.root, 'acme', 'meta'), Asked('2025-11-16'))
    return case, state(case)


# --- each rule


@pytest.mark.parametrize('rule', SETS)
def test_every_rule_fires_from_the_command(asks: Asks, rule: str):
    row = asks.row(LAST, SETS[rule].name)
    assert row['rule'] == rule, (row['rule'], row['reason'])
    assert row['could_not'] == [] or rule not in ' '.join(row['could_not'])


@pytest.mark.parametrize('rule', TIMES)
def test_every_rule_of_time_fires_once_it_is_switched_on(asks: Asks, rule: str):
    day, unit = TIMES[rule]
    row = asks.row(day, unit)
    assert row['rule'] == rule, (row['rule'], row['reason'])
    assert row['ruled'] == row['current'], 'a rule of time causes no edit by itself'


def test_all_46_are_asked_for(asks: Asks):
    told = adsbench(asks.root, 'rules', 'show', '-c', 'acme', '--as-of', LAST, '--json').json
    names = [row['rule'] for row in told['rules']]
    assert len(names) == 46 and set(names) == {*SETS, *TIMES}
    fired = {row['rule']: row['fired'] for row in decisions(asks.answers[LAST])['firings']}
    assert {row['rule']: row['fired'] for row in told['rules']} == fired


def test_the_files_and_the_firings_say_the_same(asks: Asks):
    made = decisions(asks.answers[LAST])
    fired = {row['rule']: row['fired'] for row in made['firings']}
    decided = Counter(row['rule'] for row in made['decisions'])
    assert {rule: number for rule, number in fired.items() if number} == decided
    assert {rule: fired[rule] for rule in TIMES} == dict.fromkeys(TIMES, 0)
    assert all(fired[rule] >= 1 for rule in SETS) and sum(fired.values()) == len(SETS) + 2
    table = pd.read_csv(Path(asks.answers[LAST].json['folder']) / 'budgets.csv')
    rules = dict(zip(table['adset_id'], table['rule']))
    assert all(rules[one.name] == rule for rule, one in SETS.items())


def test_every_reason_has_its_numbers(asks: Asks):
    for row in asks.answers[LAST].json['budgets']:
        assert 'unknown' not in row['reason'] and '{' not in row['reason']
        assert any(c.isdigit() for c in row['reason']), row['reason']


def test_the_method_changes_budgets_and_never_the_rule_that_fired(asks: Asks):
    told = lambda answer: {r['adset_id']: (r['rule'], r['ruled']) for r in answer.json['budgets']}
    usual, alone = asks.answers[LAST], allocate(asks.root, '--as-of', LAST, '--method', 'rules')
    assert (usual.json['about']['method'], alone.json['about']['method']) == ('both', 'rules')
    assert told(usual) == told(alone)


# --- what a rule adds, and what it lacks


def test_without_a_rule_only_the_units_on_which_it_fired_change(full):
    case, told = full
    before = ruled(told, None, case.house).table
    for name in list(SETS)[::3]:
        rules = {n: r for n, r in case.house.policy.rules.items() if n != name}
        policy = case.house.policy.model_copy(update={'rules': rules})
        after = ruled(told, None, case.house._replace(policy=policy)).table
        mine = (before['rule'] == name).to_numpy()
        assert SETS[name].name in before.index[mine]
        columns = ['rule', 'number', 'change', 'factor', 'ruled']
        pd.testing.assert_frame_equal(before.loc[~mine, columns], after.loc[~mine, columns])
        assert (after.loc[mine, 'rule'] != name).all()


def test_a_rule_switched_off_by_a_customer_is_the_same_as_none(full):
    case, told = full
    rules = case.house.policy.rules
    for name in ('clicks_do_not_buy', 'even_spend', 'middling_and_falling'):
        gone = {n: r for n, r in rules.items() if n != name}
        off = {**rules, name: rules[name].model_copy(update={'on': False})}
        tables = [
            ruled(
                told,
                None,
                case.house._replace(policy=case.house.policy.model_copy(update={'rules': book})),
            ).table['ruled']
            for book in (gone, off)
        ]
        pd.testing.assert_series_equal(*tables)


def test_an_ad_set_without_days_says_what_could_not_be_asked(early):
    case, told = early
    table = ruled(told, None, case.house).table
    for unit in ('r35', 'r36', 'r37'):
        row = table.loc[unit]
        assert row['rule'] == '' and np.isnan(row['number'])
        assert len(row['could_not']) > 20 and row['ruled'] == 10.0
        assert row['because'].startswith('No rule could be asked to the end: roas')


def test_no_missing_input_is_a_silent_hold(full):
    case, told = full
    rng = np.random.default_rng(4)
    whole = book(case.house.policy)
    read = sorted({n for line in whole.lines for n in line.when.names} & set(inputs(told)))
    columns = {one.name: one.column for one in INPUTS if one.name in read and one.column in told}
    for _ in range(8):
        gone = told.copy()
        for column in columns.values():
            gone[column] = gone[column].astype('float64').mask(rng.random(len(gone)) < 0.4)
        table = ruled(gone, None, case.house).table
        held = table[table['change'] == 0]
        for unit, row in held.iterrows():
            firm = row['rule'] != '' and not row['could_not']
            assert firm or row['could_not'], unit
            if row['could_not']:
                assert 'could not be asked' in row['because'] or 'could be asked' in row['because']


# --- faults


def test_an_ad_set_that_has_not_begun_takes_no_input_from_the_others(early):
    case, told = early
    known = inputs(told)
    assert known.loc['r45', 'weekend'] == 1 and known.loc['r45', 'covered'] == 1
    assert ruled(told, None, case.house).table.loc['r45', 'rule'] == 'weekend'


def test_one_ad_alone_is_not_alike(asks: Asks):
    assert asks.row(LAST, 'lone')['rule'] != 'ads_alike_and_good'


def test_decisions_are_json_that_anyone_reads(asks: Asks):
    folder = Path(asks.answers[LAST].json['folder'])
    text = (folder / 'decisions.json').read_text()
    assert 'NaN' not in text and 'Infinity' not in text
    assert json.loads(text)['about']['as_of'] == LAST
