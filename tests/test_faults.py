"""Bad input: a clear error, nothing written, nothing lost; and mutated exports in number."""

import os
from datetime import date
from pathlib import Path

import pandas as pd
import pytest
from fuzz import mutant, run

from adsbench.data import ingest as door
from adsbench.data.columns import ColumnMap, layouts
from adsbench.data.ingest import Request, ingest
from adsbench.data.measures import Rules
from adsbench.data.names import Problem, find_root
from adsbench.data.parse import parse
from adsbench.data.settings import Account
from adsbench.data.store import place, read_table

USD = {'currency': 'USD', 'timezone': 'UTC'}
RULES = Rules(ColumnMap(), Account(**USD), layouts(find_root()))
MADE = pd.Timestamp('2026-06-30', tz='UTC')
HEAD = 'Day,Campaign name,Amount spent (USD),Impressions\n'
GOOD = HEAD + '2026-03-02,Spring,100,4000\n2026-03-13,Spring,60,2000\n'

REFUSED = {
    'empty file': ('', 'empty'),
    'header only': (HEAD, 'no rows'),
    'a web page': ('<html><body>Sign in</body></html>', 'web page'),
    'an old workbook': (b'\xd0\xcf\x11\xe0\xa1\xb1', 'xls'),
    'a broken workbook': (b'PK\x03\x04 and nothing more', 'damaged'),
    'packed': (b'\x1f\x8b\x08\x00', 'gzip'),
    'zero bytes': (GOOD.replace('60', '6\0'), 'zero bytes'),
    'cut in a row': (GOOD + '2026-03-14,Spri', 'line 4.*2 cells'),
    'a cell too many': (GOOD + '2026-03-14,Spring,1,2,3\n', 'line 4.*5 cells'),
    'an open quote': (GOOD + '2026-03-14,"Spring,1,2\n', 'quotation mark'),
    'a swallowed row': (HEAD.replace('\n', ',Note\n') + '2026-03-02,A,1,2,"x\n2026-03-03,A,1,2,y"\n', 'quotation mark slipped'),
    'broken json': ('[{"date_start": "2026-03-02", "spend": ', 'cut or damaged'),
    'json without rows': ('{"error": {"message": "expired"}}', 'not recognised|no rows'),
    'nobody knows it': ('Month,Sales\n2026-03,5\n', 'nearest layout'),
    'a word for a number': (GOOD + '2026-03-14,Spring,twelve,5\n', 'row 4: "twelve" is not a number'),
    'infinity': (GOOD + '2026-03-14,Spring,inf,5\n', '"inf" is not a number'),
    'percent in spend': (GOOD + '2026-03-14,Spring,5%,5\n', 'percent'),
    'half a currency sign': (GOOD + '2026-03-14,Spring,$5,5\n', 'currency sign'),
    'two conventions in a column': (GOOD + '2026-03-14,Spring,1.5,5\n2026-03-15,Spring,"1,5",5\n', 'one format'),
    'ambiguous money': ('Day,Campaign name,Amount spent (USD)\n2026-03-02,A,"1,234"\n', 'decimal'),
    'ambiguous days': (GOOD.replace('2026-03-02', '03/02/2026').replace('2026-03-13', '04/02/2026'), 'dayfirst'),
    'mixed days': (GOOD.replace('2026-03-02', '13/02/2026').replace('2026-03-13', '02/13/2026'), 'mixes'),
    'no such day': (GOOD.replace('2026-03-13', '2026-02-30'), 'no day 2026-02-30'),
    'a serial number for a day': (GOOD.replace('2026-03-13', '46094'), 'is not a day'),
    'a two-digit year': (GOOD.replace('2026-03-13', '13/3/26'), 'four-digit year'),
    'a row on no day': (HEAD + '2026-03-02,A,1,2\n,B,7,9\n2026-03-03,A,1,2\n', 'row 3.*day'),
    'a row of nobody': (HEAD + '2026-03-02,A,1,2\n2026-03-02,,7,9\n2026-03-03,A,1,2\n', 'row 3'),
    'ids from a spreadsheet': ('Day,Ad ID,Amount spent (USD)\n2026-03-02,1.202E+17,5\n', 'do not open and save'),
    'another currency in the header': (GOOD.replace('USD', 'EUR'), 'EUR.*account is in USD'),
    'another currency in the cells': (GOOD.replace(',100,', ',€100,').replace(',60,', ',€60,'), 'EUR'),
    'two currencies': ('Day,Campaign name,Currency,Amount spent\n2026-03-02,A,USD,5\n2026-03-02,B,EUR,6\n', 'EUR and USD'),
    'two attribution settings': ('Day,Campaign name,Attribution setting,Amount spent (USD)\n2026-03-02,A,7-day click,5\n2026-03-02,B,1-day click,6\n', 'attribution'),
    'only totals': (HEAD + ',Total,160,6000\n', 'only total rows|names no campaign|total'),
    'a broken list of actions': ('[{"date_start": "2026-03-02", "spend": "5", "impressions": "9", "ad_id": "1", "actions": [{"action_type": "purchase"}]}]', 'actions'),
    'orders cut apart': ('Name,Created at,Total,Currency,Lineitem name\n#1,2026-03-02 10:00:00 +0000,20,USD,Shirt\n#2,,,,Socks\n', 'sorted or cut'),
}  # fmt: skip


@pytest.mark.parametrize('case', REFUSED)
def test_refused_with_what_would_do_and_nothing_written(case, tmp_root):
    content, message = REFUSED[case]
    at = place(tmp_root / 'root', 'shop')
    good, bad = tmp_root / 'good.csv', tmp_root / 'bad.csv'
    good.write_text(GOOD)
    bad.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(Problem, match=f'(?s){message}') as caught:
        ingest(at, [good, bad], Request(**USD))
    assert len(str(caught.value)) < 900 and 'Traceback' not in str(caught.value)
    assert not [p for p in (tmp_root / 'root').rglob('*') if p.is_file()]


@pytest.mark.parametrize('case', REFUSED)
def test_what_was_held_before_is_still_held(case, tmp_root):
    content, _ = REFUSED[case]
    at = place(tmp_root / 'root', 'shop')
    (tmp_root / 'good.csv').write_text(GOOD)
    ingest(at, [tmp_root / 'good.csv'], Request(snapshot=date(2026, 3, 20), **USD))
    before = {p: p.read_bytes() for p in (tmp_root / 'root').rglob('*') if p.is_file()}
    bad = tmp_root / 'bad.csv'
    bad.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(Problem):
        ingest(at, [bad], Request())
    assert {p: p.read_bytes() for p in (tmp_root / 'root').rglob('*') if p.is_file()} == before


def test_a_failure_while_settling_leaves_nothing(tmp_root, monkeypatch):
    at = place(tmp_root / 'root', 'shop')
    (tmp_root / 'good.csv').write_text(GOOD)

    def fails(*_):
        raise Problem('no')

    monkeypatch.setattr(door, 'settle', fails)
    with pytest.raises(Problem):
        ingest(at, [tmp_root / 'good.csv'], Request(**USD))
    left = [p.name for p in (tmp_root / 'root').rglob('*') if p.is_file()]
    assert not [name for name in left if name.endswith(('.parquet', '.csv', '.json', '.yaml'))]


def test_currency_and_zone_are_required_once(tmp_root):
    at = place(tmp_root, 'shop')
    (tmp_root / 'good.csv').write_text(GOOD)
    with pytest.raises(Problem, match='currency is not set'):
        ingest(at, [tmp_root / 'good.csv'], Request())
    ingest(at, [tmp_root / 'good.csv'], Request(**USD))
    assert ingest(at, [tmp_root / 'good.csv'], Request())['totals']['spend'] == 160
    with pytest.raises(Problem, match='contradicts'):
        ingest(at, [tmp_root / 'good.csv'], Request(currency='EUR'))


def test_maps_with_mistakes_are_refused(tmp_root):
    at = place(tmp_root, 'shop')
    (tmp_root / 'good.csv').write_text(GOOD)
    for text, message in (
        ('columns: {spend: Cost}', 'does not have'),
        ('colums: {spend: Cost}', 'unknown key'),
        ('columns: {spend: A}\ncolumns: {spend: B}', 'duplicate|already'),
        ('decimal: ";"', 'decimal'),
    ):
        (tmp_root / 'map.yaml').write_text(text)
        with pytest.raises(Problem, match=f'(?i){message}'):
            ingest(at, [tmp_root / 'good.csv'], Request(columns=tmp_root / 'map.yaml', **USD))
    with pytest.raises(Problem, match='no such file'):
        ingest(at, [tmp_root / 'good.csv'], Request(columns=tmp_root / 'none.yaml', **USD))
    with pytest.raises(Problem, match='no such file'):
        ingest(at, [tmp_root / 'absent.csv'], Request(**USD))


def test_a_name_that_is_no_file_of_ours_in_a_folder_stops_when_it_is_all(tmp_root):
    (tmp_root / 'folder').mkdir()
    (tmp_root / 'folder' / 'months.csv').write_text('Month,Sales\n2026-03,5\n')
    with pytest.raises(Problem, match='none of the 1 files is known'):
        ingest(place(tmp_root, 'shop'), [tmp_root / 'folder'], Request(**USD))


def test_broken_files_in_folders_are_not_skipped(tmp_root):
    (tmp_root / 'folder').mkdir()
    (tmp_root / 'folder' / 'good.csv').write_text(GOOD)
    (tmp_root / 'folder' / 'bad.csv').write_text(GOOD.replace('USD', 'EUR'))
    with pytest.raises(Problem, match=r'bad\.csv'):
        ingest(place(tmp_root, 'shop'), [tmp_root / 'folder'], Request(**USD))


def test_hostile_names_stay_text(tmp_root):
    hostile = '=HYPERLINK("http://x"),<script>alert(1)</script>,../../etc,\u202egnp'
    frame = pd.DataFrame(
        {'Day': ['2026-03-02'], 'Campaign name': [hostile], 'Amount spent (USD)': [5]}
    )
    frame.to_csv(tmp_root / 'a.csv', index=False)
    at = place(tmp_root, 'shop')
    ingest(at, [tmp_root / 'a.csv'], Request(**USD))
    assert read_table(at, 'days_campaign').campaign_name.tolist() == [hostile]


def test_flags_are_told(tmp_path):
    path = tmp_path / 'odd.csv'
    path.write_text(
        'Day,Campaign name,Amount spent (USD),Impressions,Clicks (all),Purchases\n'
        '2026-03-02,A,-5,10,0,3\n2026-03-03,A,5,10,20,0\n2026-07-03,A,5,10,1,0\n'
    )
    checks = {flag['check'] for flag in parse(path, RULES, MADE).notes['flags']}
    assert checks == {
        'conversions_without_clicks', 'more_clicks_than_impressions', 'negative_values', 'days_after_snapshot',
    }  # fmt: skip


def test_a_total_that_disagrees_is_dropped_and_told(tmp_path):
    path = tmp_path / 'odd.csv'
    path.write_text(HEAD + ',,500,9000\n2026-03-02,A,100,4000\n2026-03-03,A,60,2000\n')
    parsed = parse(path, RULES, MADE)
    assert parsed.tables['days_campaign'].spend.sum() == 160
    assert [flag['check'] for flag in parsed.notes['flags']] == ['total_disagrees']


FILES = int(os.environ.get('FUZZ', '2000'))


@pytest.mark.parametrize('chunk', range(8))
def test_mutated_exports_are_right_refused_or_flagged(chunk):
    found = run(FILES // 8, seed=chunk)
    assert found['uncaught'] == 0 and found['silent_wrong'] == 0, found['examples']
    assert found['right'] > found['files'] / 4, 'the mutator must leave files that can be read'


def test_the_mutator_notices_a_wrong_total(tmp_path: Path, monkeypatch):
    import sys

    fuzz = sys.modules[mutant.__module__]

    def cheats(path, rules, made):
        parsed = parse(path, rules, made)
        tables = {
            name: t.assign(spend=t.spend * 1000) if 'spend' in t else t
            for name, t in parsed.tables.items()
        }
        return parsed._replace(tables=tables)

    monkeypatch.setattr(fuzz, 'parse', cheats)
    assert run(40, seed=3)['silent_wrong'] > 5
