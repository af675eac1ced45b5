"""`adsbench allocate` and `rules show` as people and programs meet them: keys, exit codes, refusals, platforms, time."""

import csv
import io
import json
import shutil
from pathlib import Path

import pandas as pd
import pytest
from accounts import (
    Adset,
    Answer,
    account,
    adsbench,
    adsets_csv,
    allocate,
    days_csv,
    decisions,
    take,
    write,
)

from adsbench.data.names import share
from adsbench.reports import budgeting, weekly

LAST, EARLY = '2025-11-19', '2025-11-12'
CBO = 'Using campaign budget'
SETS = (
    Adset('up', 'one', roas=(4.0, 3.5, 3.5), purchases=2.5, spend=(40, 40), budget=40.01),
    Adset('down', 'one', (2.0, 2.05, 2.0), (30, 30), (100, 100), budget=30.02),
    Adset('flat', 'two', budget=10.5),
    Adset('fair', 'two', (3.1, 3.3, 3.1), (50, 50), purchases=2, budget=49.99),
)
TOTAL = 130.52


@pytest.fixture(scope='module')
def base(tmp_path_factory) -> Path:
    "An account of four ad sets, ingested once"
    root = tmp_path_factory.mktemp('base')
    take(root, 'adsets.csv', adsets_csv(SETS), '2025-11-10')
    take(root, 'days.csv', days_csv(SETS, LAST), '2025-11-20')
    return root


@pytest.fixture(scope='module')
def plain(base: Path) -> Answer:
    "What is said of it as it is"
    return allocate(base)


@pytest.fixture(scope='module')
def early(base: Path) -> Answer:
    "What is said of it a week before"
    return allocate(base, '--as-of', EARLY)


@pytest.fixture
def home(base: Path, tmp_root: Path) -> Path:
    "A copy of it to change"
    return Path(shutil.copytree(base, tmp_root / 'root', ignore=lambda *_: ['reports']))


def amounts(said, key: str = 'proposed') -> dict[str, float]:
    "Unit -> amount"
    return {row['unit']: row[key] for row in said.json['budgets']}


def cents(said, key: str = 'proposed') -> int:
    "The sum of the amounts in cents"
    return round(sum(round(100 * value) for value in amounts(said, key).values()))


def written(root: Path) -> list[Path]:
    "Every file of a report"
    return [path for path in (root / 'reports').rglob('*') if path.is_file()]


# --- keys, totals, methods


def test_json_has_the_keys_of_the_contract(plain: Answer):
    said = plain
    assert said.code == 0 and said.out.count('\n') == 1
    told = said.json
    assert {'total', 'currency', 'budgets', 'certificate'} <= set(told)
    assert told['total'] == TOTAL and told['currency'] == 'EUR' and told['certificate'] is None
    assert len(told['budgets']) == len(SETS) and cents(said) == 13052 == cents(said, 'current')
    for row in told['budgets']:
        assert {'adset_id', 'current', 'proposed', 'rule', 'reason'} <= set(row)
        assert row['rule'] and any(c.isdigit() for c in row['reason'])
    assert 'NaN' not in said.out and 'Infinity' not in said.out
    assert {p.name for p in Path(told['folder']).iterdir()} == {
        'budgets.csv',
        'bulk_edit.csv',
        'decisions.json',
        'manifest.json',
    }


def test_each_row_of_a_decision_has_what_the_issue_asks_for(plain: Answer):
    made = decisions(plain)
    wanted = 'current proposed change rule reason gain gain_low gain_high edit_class relearning'
    for row in made['decisions']:
        assert set((wanted + ' confidence evidence expires').split()) <= set(row)
        assert row['expires'] > LAST
        if row['gain'] is not None and row['proposed'] != row['current']:
            assert row['gain_low'] <= row['gain'] <= row['gain_high']
    cited = {row['id'] for row in made['evidence']}
    assert all(set(row['evidence']) <= cited for row in made['decisions'])


@pytest.mark.parametrize(
    ('method', 'total'), [('rules', '125'), ('response', '140.01'), ('both', '120.07')]
)
def test_every_method_meets_the_total_to_the_cent(base: Path, method: str, total: str):
    said = allocate(base, '--method', method, '--total', total)
    assert said.code == 0, said.err
    assert cents(said) == round(100 * float(total))
    assert said.json['about']['method'] == method
    for row in said.json['budgets']:
        assert abs(row['proposed'] / row['current'] - 1) <= 0.15 + 1e-3, row['unit']


def test_words_for_people(base: Path):
    said = adsbench(base, 'allocate', '-c', 'acme')
    assert said.code == 0 and Path(said.out.strip()).is_dir()
    assert 'note: ' in said.err


def test_a_method_that_there_is_not_and_totals_that_are_none(base: Path):
    said = allocate(base, '--method', 'rule')
    assert said.code == 1 and 'rules, response, both' in said.err
    for total in ('0', '-3', 'nan'):
        said = allocate(base, '--total', total)
        assert said.code == 1 and 'above 0' in said.err and said.out == ''


def test_the_same_question_has_the_same_answer_byte_for_byte(base: Path, plain: Answer):
    once, again = plain, allocate(base)
    texts = [
        [(Path(said.json['folder']) / name).read_bytes() for said in (once, again)]
        for name in ('decisions.json', 'budgets.csv', 'bulk_edit.csv')
    ]
    assert all(first == second for first, second in texts)


# --- infeasible


@pytest.fixture(scope='module')
def beyond(base: Path) -> dict[str, Answer]:
    "What is said of totals that no budgets sum to"
    return {total: allocate(base, '--total', total) for total in ('1', '100000')}


@pytest.mark.parametrize('total', ['1', '100000'])
def test_an_infeasible_total_is_a_certificate_and_exit_1(beyond, total: str):
    said = beyond[total]
    assert said.code == 1
    told = said.json
    assert set(told['certificate']) == {'binding', 'shortfall', 'relaxation'}
    assert told['certificate']['binding'] and told['certificate']['relaxation']
    assert (told['certificate']['shortfall'] > 0) == (total != '1')
    assert cents(said) == cents(said, 'current'), 'nothing moves'
    assert {row['verb'] for row in told['budgets']} == {'hold'}


def test_without_json_an_infeasible_total_is_words(base: Path):
    spoken = adsbench(base, 'allocate', '-c', 'acme', '--total', '1')
    assert spoken.code == 1 and 'no budgets sum to' in spoken.err and 'total: from' in spoken.err


def test_what_the_certificate_advises_is_feasible_and_a_cent_beyond_is_not(base: Path, beyond):
    way = beyond['1'].json['certificate']['relaxation']
    least = float(next(w['words'] for w in way if w['limit'] == 'total').split(' to ')[1])
    assert allocate(base, '--total', f'{least:.2f}').code == 0
    assert allocate(base, '--total', f'{least - 0.01:.2f}').code == 1


def test_a_paused_ad_set_binds_no_total_that_is_too_small(tmp_root: Path):
    sets = (*SETS, Adset('off', 'two', status='PAUSED', budget=12))
    account(tmp_root, sets, LAST, '2025-11-20')
    told = allocate(tmp_root, '--total', '1').json['certificate']
    assert all('off' not in one['units'] for one in told['binding'])
    assert all(one['limit'].count(' and ') < 5 for one in told['binding'] + told['relaxation'])


def test_an_infeasible_plan_does_not_say_that_nothing_was_worth_an_edit(beyond):
    told = beyond['100000'].json['budgets']
    assert all('not worth an edit' not in row['reason'] for row in told)
    assert all(row['limit'] != 'small step' for row in told)


# --- currency


@pytest.fixture(scope='module')
def yen(tmp_path_factory) -> Path:
    "The account in yen"
    root = tmp_path_factory.mktemp('yen')
    sets = [
        s._replace(budget=round(s.budget * 100), spend=tuple(100 * v for v in s.spend))
        for s in SETS
    ]
    zone = ('--currency', 'JPY', '--timezone', 'Asia/Tokyo')
    account(root, sets, LAST, '2025-11-20', *zone)
    return root


def test_yen_have_no_cents(yen: Path):
    said = allocate(yen, '--total', '12345')
    assert said.code == 0 and said.json['currency'] == 'JPY', said.err
    assert all(value == int(value) for value in amounts(said).values())
    assert sum(amounts(said).values()) == 12345
    assert allocate(yen, '--total', '100').code == 1, 'a yen is no cent'


def test_a_bulk_sheet_in_yen_has_whole_amounts(yen: Path):
    said = allocate(yen, '--total', '14000')
    table = pd.read_csv(Path(said.json['folder']) / 'bulk_edit.csv', dtype=str)
    assert len(table)
    assert not table['Ad Set Daily Budget'].str.contains('.', regex=False).any()


# --- no budget


def test_without_a_budget_column_it_says_how_to_export_one(tmp_root: Path):
    take(tmp_root, 'days.csv', days_csv(SETS[:2], LAST), '2025-11-20')
    said = allocate(tmp_root)
    assert said.code == 1 and said.out == ''
    assert '"Ad set budget"' in said.err and 'ingest' in said.err
    assert not written(tmp_root)


# --- adsets.yaml


def test_pin_exclude_floor_and_ceiling_are_kept(home: Path):
    write(home, 'adsets', 'adsets:\n  up: {pin: true}\n  flat: {exclude: true}\n')
    said = allocate(home, '--total', '110')
    assert said.code == 0, said.err
    rows = {row['unit']: row for row in said.json['budgets']}
    assert rows['up']['verb'] == 'pinned' and rows['up']['proposed'] == 40.01
    assert rows['flat']['verb'] == 'excluded' and rows['flat']['proposed'] == 10.5
    part = sum(round(100 * rows[u]['proposed']) for u in ('up', 'down', 'fair'))
    assert part == 11000, 'the pinned money counts, the excluded money does not'
    sheet = (Path(said.json['folder']) / 'bulk_edit.csv').read_text()
    assert 'down' in sheet and 'flat' not in sheet and 'up,' not in sheet


def test_by_default_the_money_of_what_is_excluded_is_not_in_the_total(home: Path):
    write(home, 'adsets', 'adsets:\n  flat: {exclude: true}\n')
    assert allocate(home).json['total'] == pytest.approx(TOTAL - 10.5)


def test_floors_and_ceilings_move_what_would_not_move(home: Path):
    write(home, 'adsets', 'adsets:\n  down: {ceiling: 30.5}\n  fair: {floor: 49}\n')
    for total in ('140', '122'):
        rows = amounts(allocate(home, '--total', total, '--method', 'response'))
        assert rows['down'] <= 30.5 and rows['fair'] >= 49, total


def test_a_target_of_one_ad_set_changes_its_wish_alone(plain: Answer, home: Path):
    write(home, 'adsets', 'adsets:\n  fair: {target_roas: 6}\n  up: {target_roas: 2}\n')
    before, after = plain.json['budgets'], allocate(home).json['budgets']
    wishes = [{r['unit']: (r['rule'], r['ruled']) for r in rows} for rows in (before, after)]
    assert wishes[0]['down'] == wishes[1]['down'] and wishes[0]['flat'] == wishes[1]['flat']
    steps = {row['unit']: [step[0] for step in row['steps']] for row in after}
    assert 'distance from target' in steps['up']
    assert wishes[1]['up'][1] >= wishes[0]['up'][1]


def test_an_unknown_id_is_named_with_the_nearest(home: Path):
    write(home, 'adsets', 'adsets:\n  fiar: {pin: true}\n')
    said = allocate(home)
    assert said.code == 1 and 'fiar' in said.err and 'fair' in said.err and said.out == ''


# --- rules.yaml


MINE = """rules:
  mine:
    number: 0.5
    tier: excellent
    when: spend >= 200 and roas >= 3
    change: -moderate_down
    because: It spent {spend} at a roas of {roas}, and we want it smaller.
"""


def test_a_customers_rule_fires_and_is_cited(plain: Answer, home: Path):
    write(home, 'rules', MINE)
    rows = {row['unit']: row for row in allocate(home, '--method', 'rules').json['budgets']}
    assert {u for u, row in rows.items() if row['rule'] == 'mine'} == {'up', 'fair'}
    assert 'we want it smaller' in rows['up']['reason'] and '280.00' in rows['up']['reason']
    assert rows['up']['ruled'] < rows['up']['current']
    others = {row['unit']: row for row in plain.json['budgets']}
    assert all(rows[u]['ruled'] == others[u]['ruled'] for u in ('down', 'flat'))
    shown = adsbench(home, 'rules', 'show', '-c', 'acme', '--json').json['rules']
    assert len(shown) == 47 and shown[0]['rule'] == 'mine' and shown[0]['fired'] == 2


@pytest.mark.parametrize(
    ('text', 'told'),
    [
        (MINE.replace('spend >= 200', 'spned >= 200'), ('mine.when', 'column 1', 'spend')),
        (MINE.replace('-moderate_down', '-__import__("os")'), ('mine.change', 'column')),
        (MINE.replace('{roas}', '{raos}'), ('mine.because', 'column', 'roas')),
        (MINE.replace('number: 0.5', 'number: 1'), ('mine', 'excellent_all_round')),
        (MINE.replace('tier: excellent', 'tier: excelent'), ('mine.tier', 'excellent')),
        ('parameters:\n  low_roas: {value: 9}\n', ('low_roas', 'rise')),
        ('rules: [1, 2\n', ('rules.yaml', 'line')),
    ],
)
def test_a_broken_rule_is_refused_with_its_place(home: Path, text: str, told: tuple[str, ...]):
    write(home, 'rules', text)
    for said in (allocate(home), adsbench(home, 'rules', 'show', '-c', 'acme', '--json')):
        assert said.code == 1 and said.out == ''
        assert all(word in said.err for word in told), said.err
    assert not written(home)


# --- guardrails


@pytest.mark.parametrize(
    ('text', 'told'),
    [
        ('guardrails: {steps: {max_increase: 0.5}}\n', 'max_increase'),
        ('guardrails: {cooldown_hours: 1}\n', 'cooldown_hours'),
        ('guardrails: {sizes: {max_share: 0.9}}\n', 'max_share'),
        ('guardrails: {edits_per_hour: 10}\n', 'edits_per_hour'),
        ('guardrails: {steps: {single_edit: "much"}}\n', 'single_edit'),
        ('guardrails: {steps: null}\n', 'steps'),
        ('guardrails: null\n', 'guardrails'),
        ('guardrails: {}\nsafety_rules: null\n', 'safety_rules'),
        ('guardrails: off\n', 'guardrails'),
        ('guardrails: {max_incraese: 0.1}\n', 'max_incraese'),
        ('safety_rules: {tail: 0.5}\n', 'tail'),
        ('rules: null\n', 'rules'),
    ],
)
def test_limits_are_never_looser_and_nothing_is_decided_without_them(home: Path, text, told):
    write(home, 'rules', text)
    said = allocate(home)
    assert said.code == 1 and said.out == '' and told in said.err, said.err
    assert not written(home), 'nothing is written'


def test_steps_by_size_are_never_looser(home: Path):
    write(home, 'rules', 'guardrails: {steps: {by_size: [[0, 0.9]]}}\n')
    said = allocate(home)
    assert said.code == 1 and 'by_size' in said.err


def test_stricter_limits_are_kept(home: Path):
    write(home, 'rules', 'guardrails: {steps: {max_increase: 0.02, max_decrease: 0.02}}\n')
    for row in allocate(home).json['budgets']:
        assert abs(row['proposed'] / row['current'] - 1) <= 0.02 + 1e-6


def test_the_kill_switch_holds_everything(home: Path):
    write(home, 'rules', 'guardrails: {kill: true}\n')
    said = allocate(home)
    assert said.code == 0, said.err
    assert amounts(said) == amounts(said, 'current')
    assert {row['verb'] for row in said.json['budgets']} == {'hold'}
    assert {row['limit'] for row in said.json['budgets']} == {'kill'}
    sheet = (Path(said.json['folder']) / 'bulk_edit.csv').read_text()
    assert sheet.count('\n') == 1, 'a header and no edit'
    assert allocate(home, '--total', '140').code == 1


# --- rules show


def test_rules_show_is_the_book(tmp_root: Path):
    said = adsbench(tmp_root, 'rules', 'show')
    assert said.code == 0 and 'excellent_all_round' in said.out and 'nothing_special' in said.out
    told = adsbench(tmp_root, 'rules', 'show', '--json').json['rules']
    assert [row['number'] for row in told] == list(range(1, 47))
    assert [row['rule'] for row in told if not row['on']] == ['weekend', 'season', 'monday']
    assert all(row['why_off'] for row in told if not row['on'])
    assert all(row['when'] and row['because'] and row['change'] for row in told)


def test_rules_show_counts_what_fired_and_what_it_moved(base: Path, plain: Answer):
    told = adsbench(base, 'rules', 'show', '-c', 'acme', '--json').json['rules']
    rows = plain.json['budgets']
    for rule in told:
        mine = [row for row in rows if row['rule'] == rule['rule']]
        assert rule['fired'] == len(mine)
        assert rule['moved'] == pytest.approx(sum(r['ruled'] - r['current'] for r in mine))
        assert {'could_not', 'absent', 'median_change'} <= set(rule)


# --- campaign budgets


BOTH = (
    Adset('a1', 'shared', roas=(4.0, 3.5, 3.5), budget=60, level='campaign', spend=(30, 30)),
    Adset('a2', 'shared', roas=(1.2, 1.5, 1.5), budget=60, level='campaign', spend=(28, 28)),
    *SETS[:2],
)


@pytest.fixture(scope='module')
def mixed(tmp_path_factory) -> Path:
    "An account with a budget of a campaign and budgets of ad sets"
    root = tmp_path_factory.mktemp('mixed')
    account(root, BOTH, LAST, '2025-11-20')
    return root


def test_a_campaign_that_holds_the_budget_is_decided_as_one(mixed: Path):
    said = allocate(mixed)
    assert said.code == 0, said.err
    rows = {row['unit']: row for row in said.json['budgets']}
    assert set(rows) == {'c_shared', 'up', 'down'}
    assert rows['c_shared']['level'] == 'campaign' and rows['c_shared']['adset_id'] is None
    assert rows['c_shared']['current'] == 60 and rows['c_shared']['rule']
    assert cents(said) == 13003, 'the shared budget is counted once'
    moved = allocate(mixed, '--total', '140')
    with (Path(moved.json['folder']) / 'bulk_edit.csv').open(newline='') as file:
        sheet = list(csv.DictReader(file))
    assert not {'a1', 'a2'} & {line['Ad Set ID'] for line in sheet}
    for line in sheet:
        campaign = line['Campaign ID'] == 'c_shared'
        assert bool(line['Campaign Daily Budget']) == campaign
        assert bool(line['Ad Set Daily Budget']) == (not campaign)


def test_where_a_campaign_holds_its_budget_is_known(mixed: Path):
    assert 'campaign_budget' not in ' '.join(allocate(mixed).json['notes'])


def manager(ids: bool, shared: str = '') -> str:
    "An Ads Manager export with budgets, with or without ids, and a campaign that holds its own"
    head = 'Day,Campaign name,Ad set name,Ad set budget,Ad set budget type,Amount spent (EUR),'
    head += 'Impressions,Link clicks,Purchases,Purchases conversion value'
    own = [('Spring', 'Broad', '11', '111', '20.00', 'Daily', '19.5,1000,20,2,50')]
    own += [('Spring', 'Narrow', '11', '112', '30.00', 'Daily', '29.5,1000,30,2,40')]
    whole = [('Autumn', name, '12', f'12{name}', CBO, CBO, '9.5,900,30,2,40') for name in 'AB']
    lines = [head + (',Campaign ID,Ad set ID' if ids else '')]
    for day in pd.date_range('2025-10-13', LAST).strftime('%Y-%m-%d'):
        for campaign, adset, cid, aid, budget, kind, rest in {'': own, 'all': whole}.get(
            shared, own + whole
        ):
            tail = [cid, aid] if ids else []
            lines.append(','.join([day, campaign, adset, budget, kind, rest, *tail]))
    return '\n'.join(lines) + '\n'


def test_an_ads_manager_export_with_ids_is_enough(tmp_root: Path):
    take(tmp_root, 'export.csv', manager(True), '2025-11-20')
    said = allocate(tmp_root)
    assert said.code == 0 and amounts(said, 'current') == {'111': 20, '112': 30}


def test_an_ads_manager_export_with_names_alone_is_enough(tmp_root: Path):
    take(tmp_root, 'export.csv', manager(False), '2025-11-20')
    said = allocate(tmp_root)
    assert said.code == 0 and sorted(amounts(said, 'current').values()) == [20, 30]


def test_a_campaign_whose_budget_is_not_in_the_export_is_named(tmp_root: Path):
    take(tmp_root, 'export.csv', manager(True, 'some'), '2025-11-20')
    said = allocate(tmp_root)
    assert said.code == 0
    assert 'Autumn' in ' '.join(said.json['notes']) or '12' in amounts(said)


def test_a_campaign_budget_from_a_table_outlives_the_next_export_of_days(tmp_root: Path):
    table = 'adset_id,campaign_id,budget,budget_level\n12A,12,25,campaign\n12B,12,25,campaign\n'
    take(tmp_root, 'budgets.csv', table, '2025-11-13')
    take(tmp_root, 'export.csv', manager(True, 'some'), '2025-11-20')
    said = allocate(tmp_root)
    assert said.code == 0 and amounts(said, 'current') == {'111': 20, '112': 30, '12': 25}


def test_an_export_of_campaign_budgets_alone_says_how_to_give_them(tmp_root: Path):
    take(tmp_root, 'export.csv', manager(True, 'all'), '2025-11-20')
    said = allocate(tmp_root)
    assert said.code == 1 and 'with campaign_id and budget' in said.err


# --- Taboola


def taboola() -> str:
    "A campaign report of Taboola"
    head = 'Day,Account,Campaign ID,Campaign,Spent,Viewable impressions,Clicks,Conversions,Conversions value,Currency'
    lines = [head]
    for back, day in enumerate(pd.date_range('2025-10-13', LAST).strftime('%Y-%m-%d')):
        one, two = 60 + back % 3, 44 + back % 5
        lines += [f'{day},acc,901,Native one,{19 + back % 2},10000,50,2,{one},EUR']
        lines += [f'{day},acc,902,Native two,{39 + back % 3},20000,90,2,{two},EUR']
    return '\n'.join(lines) + '\n'


CAPS = 'adset_id,campaign_id,campaign_name,budget,budget_level\n901,901,Native one,20,campaign\n902,902,Native two,40,campaign\n'


@pytest.fixture(scope='module')
def native(tmp_path_factory) -> Path:
    "A customer on Taboola, ingested once"
    root = tmp_path_factory.mktemp('taboola')
    (root / 'caps.csv').write_text(CAPS)
    caps = str(root / 'caps.csv')
    take(root, 'days.csv', taboola(), '2025-11-20', caps, '-p', 'taboola')
    return root


def test_taboola_from_ingest_to_budgets(native: Path):
    said = allocate(native, '-p', 'taboola')
    assert said.code == 0, said.err
    assert set(amounts(said)) == {'901', '902'} and cents(said) == 6000
    assert {row['level'] for row in said.json['budgets']} == {'campaign'}
    assert said.json['about']['platform'] == 'taboola'
    names = {path.name for path in Path(said.json['folder']).iterdir()}
    assert names == {'budgets.csv', 'decisions.json', 'manifest.json'}
    assert any('bulk sheet' in note for note in said.json['notes'])
    more = allocate(native, '-p', 'taboola', '--total', '63', '--method', 'rules')
    assert more.code == 0 and cents(more) == 6300


def test_taboola_without_budgets_is_told_how_to_give_daily_caps(tmp_root: Path):
    take(tmp_root, 'days.csv', taboola(), '2025-11-20', '-p', 'taboola')
    said = allocate(tmp_root, '-p', 'taboola')
    assert said.code == 1 and 'Ads Manager' not in said.err and 'campaign' in said.err


def test_a_table_of_campaign_budgets_needs_no_ad_sets(tmp_root: Path):
    take(tmp_root, 'days.csv', taboola(), '2025-11-20', '-p', 'taboola')
    path = tmp_root / 'caps.csv'
    path.write_text('campaign_id,budget\n901,20\n902,40\n')
    given = ('-p', 'taboola', '--snapshot', '2025-11-20', '--currency', 'EUR')
    assert adsbench(tmp_root, 'ingest', path, '-c', 'acme', *given).code == 0
    said = allocate(tmp_root, '-p', 'taboola')
    assert said.code == 0 and amounts(said, 'current') == {'901': 20, '902': 40}
    assert {row['level'] for row in said.json['budgets']} == {'campaign'}


def test_taboola_has_curves(native: Path):
    said = allocate(native, '-p', 'taboola')
    assert not any('No curve could be learnt' in note for note in said.json['notes'])


def moving(root: Path) -> None:
    "The weekly template of a customer who reads nothing but `What to move?`: its cells, unchanged"
    whole = json.loads((share('reports') / 'weekly.ipynb').read_text())
    first, begin = [cell for cell in whole['cells'] if cell['cell_type'] == 'code'][:2]
    asks = [cell for cell in whole['cells'] if 'budgeting.moved' in ''.join(cell['source'])]
    assert asks, 'the weekly report has the section'
    place = whole['cells'].index(asks[0])
    cells = [first, whole['cells'][1], begin, *whole['cells'][place - 1 : place + 1]]
    (root / 'reports').mkdir(exist_ok=True)
    (root / 'reports' / 'weekly.ipynb').write_text(json.dumps({**whole, 'cells': cells}))


def test_a_weekly_report_of_taboola_decides_the_same_without_meta_only_parts(native: Path):
    moving(native)
    said = adsbench(native, 'report', 'weekly', '-c', 'acme', '-p', 'taboola', '--json')
    assert said.code == 0, said.err
    week = Path(said.json['html']).parent
    names = {path.name for path in week.rglob('*')}
    assert {'budgets.csv', 'decisions.json'} <= names and 'bulk_edit.csv' not in names
    page = (week / 'report.html').read_text()
    assert 'What to move?' in page and 'no bulk sheet of this kind' in page
    alone = Path(allocate(native, '-p', 'taboola').json['folder'])
    for name in ('decisions.json', 'budgets.csv'):
        assert (week / name).read_bytes() == (alone / name).read_bytes(), name


# --- the weekly report


def test_weekly_and_allocate_decide_the_same_byte_for_byte(base: Path, early: Answer, monkeypatch):
    week = weekly.begin(str(base), ('acme', 'meta'), EARLY)
    part = base / f'weekly{budgeting.PART}'  # as the folder of a run while it is made
    part.mkdir()
    monkeypatch.chdir(part)
    page = budgeting.moved(week)
    alone = Path(early.json['folder'])
    for name in ('decisions.json', 'budgets.csv', 'bulk_edit.csv'):
        assert (part / name).read_bytes() == (alone / name).read_bytes(), name
    assert json.loads((part / 'decisions.json').read_text())['about']['as_of'] == EARLY
    assert 'up' in page and any(path.name == 'decisions.json' for path in part.iterdir())


# --- time, order


def text_of(said) -> str:
    "decisions.json of a run as text"
    return (Path(said.json['folder']) / 'decisions.json').read_text()


DECIDED = ('unit', 'verb', 'current', 'proposed', 'rule', 'ruled', 'optimum', 'gain', 'reason')


def decided(said) -> list[list]:
    "What was decided, without the notes"
    return [[row[key] for key in DECIDED] for row in said.json['budgets']]


def test_what_comes_later_changes_no_earlier_decision(early: Answer, home: Path):
    wild = [s._replace(days=(0, 1), roas=(90.0,) * 3, spend=(9e4, 9e4)) for s in SETS]
    take(home, 'later.csv', days_csv(wild, '2025-11-22'), '2025-11-24')
    assert text_of(allocate(home, '--as-of', EARLY)) == text_of(early), 'days'
    dear = [s._replace(budget=9999.0, status='PAUSED') for s in SETS]
    changes = 'at,adset_id,field,old,new,by\n' + ''.join(
        f'2025-11-2{n}T10:00:00Z,{s.name},daily_budget,{s.budget},9999,me\n'
        for n, s in enumerate(SETS)
    )
    (home / 'changes.csv').write_text(changes)
    take(
        home,
        'budgets.csv',
        adsets_csv(dear, learning_status='LEARNING'),
        '2025-11-24',
        str(home / 'changes.csv'),
    )
    assert decided(allocate(home, '--as-of', EARLY)) == decided(early), 'ad sets and changes'


def test_a_later_snapshot_of_budgets_checks_no_earlier_cooldown(early: Answer, home: Path):
    dear = [s._replace(budget=9999.0) for s in SETS]
    take(home, 'budgets.csv', adsets_csv(dear), '2025-11-24')
    assert text_of(allocate(home, '--as-of', EARLY)) == text_of(early)


def test_the_future_is_heard_once_it_is_the_past(home: Path):
    dear = [s._replace(budget=2 * s.budget) for s in SETS]
    take(home, 'budgets.csv', adsets_csv(dear), '2025-11-15')
    assert cents(allocate(home, '--as-of', EARLY), 'current') == 13052
    assert cents(allocate(home), 'current') == 2 * 13052


def test_a_later_export_of_the_same_days_changes_no_earlier_decision(early: Answer, home: Path):
    take(home, 'again.csv', days_csv(SETS, LAST) + '\n', '2025-11-24')
    assert text_of(allocate(home, '--as-of', EARLY)) == text_of(early)


def test_the_order_of_rows_does_not_matter(plain: Answer, tmp_root: Path):
    def shuffled(text: str) -> str:
        head, *rows = text.splitlines()
        order = pd.Series(rows).sample(frac=1, random_state=7)
        return '\n'.join([head, *order]) + '\n'

    take(tmp_root, 'days.csv', shuffled(days_csv(SETS, LAST)), '2025-11-20')
    take(tmp_root, 'adsets.csv', shuffled(adsets_csv(SETS)), '2025-11-10')
    assert text_of(allocate(tmp_root)) == text_of(plain)


# --- hostile names


HOSTILE = ('=HYPERLINK("http://x","y")', "+1+cmd|' /C calc'!A0", '@SUM(A1)', '-2+3', '<b>x</b>')


def test_no_name_is_a_formula_in_a_spreadsheet(tmp_root: Path):
    names = iter(HOSTILE)
    sets = [s._replace(title=next(names)) for s in SETS]
    account(tmp_root, sets, LAST, '2025-11-20')
    said = allocate(tmp_root, '--total', '140')
    assert said.code == 0, said.err
    folder, found = Path(said.json['folder']), 0
    for name in ('budgets.csv', 'bulk_edit.csv'):
        with (folder / name).open(newline='') as file:
            for row in csv.DictReader(file):
                for column, cell in row.items():
                    if not cell or _number(cell):
                        continue
                    assert cell[0] not in '=+-@\t\r\n', (name, column, cell)
                    found += any(cell.endswith(h) for h in HOSTILE)
    assert found >= len(SETS)
    shown = [row['adset_name'] for row in said.json['budgets']]
    assert set(shown) <= set(HOSTILE), 'JSON keeps the names as they are'


def _number(text: str) -> bool:
    "Whether a cell is a plain number"
    try:
        float(text)
    except ValueError:
        return False
    return True


# --- what is missing


def without(root: Path, columns: list[str]) -> Answer:
    "What is said of the account whose export lacks these columns"
    days = pd.read_csv(io.StringIO(days_csv(SETS, LAST))).drop(columns=columns)
    (root / 'adsets.csv').write_text(adsets_csv(SETS))
    take(root, 'days.csv', days.to_csv(index=False), '2025-11-20', str(root / 'adsets.csv'))
    return allocate(root)


def test_a_hold_for_want_of_revenue_says_so(tmp_root: Path):
    said = without(tmp_root, ['revenue'])
    assert said.code == 0
    for row in said.json['budgets']:
        assert row['rule'] == '' and row['proposed'] == row['current'] and row['could_not']
        assert 'roas' in row['reason'] and 'unknown' in row['reason'], row['reason']
        assert row['limit'] != 'small step'


def test_without_curves_a_budget_falls_only_by_its_rule(tmp_root: Path):
    "Nobody pays for another where nothing is known of what money brings"
    said = without(tmp_root, ['purchases'])
    assert said.json['budgets'] and any('curve' in note for note in said.json['notes'])
    for row in said.json['budgets']:
        if row['verb'] == 'decrease':
            assert row['ruled'] < row['current'] and row['rule'], row['reason']


def test_budgets_of_ad_sets_that_no_day_names_are_refused(tmp_root: Path):
    (tmp_root / 'other.csv').write_text('adset_id,campaign_id,budget\nx1,c,10\nx2,c,20\n')
    take(tmp_root, 'days.csv', days_csv(SETS, LAST), '2025-11-20', str(tmp_root / 'other.csv'))
    said = allocate(tmp_root)
    assert said.code == 1 and 'same ids' in said.err


@pytest.mark.parametrize('unit', ['gone', 'a1'])
def test_an_id_that_the_account_has_is_never_unknown(tmp_root: Path, unit: str):
    quiet = Adset('gone', 'three', days=tuple(range(30, 33)), budget=60.0, status='PAUSED')
    account(tmp_root, (*BOTH, quiet), LAST, '2025-11-20')
    write(tmp_root, 'adsets', f'adsets:\n  {unit}: {{pin: true}}\n')
    said = allocate(tmp_root)
    assert 'never had' not in said.err


def test_before_the_first_budget_is_known_it_says_since_when(base: Path):
    said = allocate(base, '--as-of', '2025-11-01')
    assert said.code == 1 and '2025-11' in said.err


def test_an_ad_set_that_sells_nothing_is_frozen_and_the_sheet_pauses_it(tmp_root: Path):
    dead = Adset('dead', 'three', (0, 0, 0), (60, 60), purchases=0, budget=60.0)
    account(tmp_root, (*SETS, dead), LAST, '2025-11-20')
    said = allocate(tmp_root)
    row = next(row for row in said.json['budgets'] if row['unit'] == 'dead')
    assert row['verb'] == 'freeze' and row['proposed'] == 0 and '0 purchases' in row['reason']
    assert any('stays unspent' in note for note in said.json['notes'])
    with (Path(said.json['folder']) / 'bulk_edit.csv').open(newline='') as file:
        line = next(line for line in csv.DictReader(file) if line['Ad Set ID'] == 'dead')
    assert line['Ad Set Run Status'] == 'PAUSED' and not line['Ad Set Daily Budget']
