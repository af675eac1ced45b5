"""Files become tables: layouts, languages, numbers, names, grains, and the public data sets."""

import json
from datetime import date
from itertools import permutations
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from adsbench.data.cells import Ambiguous, ids, numbers
from adsbench.data.columns import ColumnMap, layouts, recognise
from adsbench.data.dates import dates, moments
from adsbench.data.files import cells, peek
from adsbench.data.ingest import Request, history, ingest
from adsbench.data.measures import Rules
from adsbench.data.names import Problem, find_root
from adsbench.data.parse import parse
from adsbench.data.recover import recover
from adsbench.data.settings import Account
from adsbench.data.spelling import merge_names, skeleton, variants
from adsbench.data.store import place, read_parts, read_table, table_names

USD = {'currency': 'USD', 'timezone': 'UTC'}
MADE = pd.Timestamp('2026-06-30', tz='UTC')


@pytest.fixture(scope='module')
def rules() -> Rules:
    "What a dollar account is read with, all defaults"
    from adsbench.data.layers import read_layers
    from adsbench.data.settings import section

    options = section(read_layers(find_root()), 'columns', ColumnMap)
    return Rules(options, Account(**USD), layouts(find_root()))


def text(*values: str) -> pd.Series:
    "A text column"
    return pd.Series(values, dtype='str')


def read(content: str | bytes, rules: Rules, tmp_path: Path, name: str = 'week.csv'):
    "Parse some content as a file"
    path = tmp_path / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return parse(path, rules, MADE)


def only(parsed) -> pd.DataFrame:
    "The one table of days or periods"
    found = [t for name, t in parsed.tables.items() if name.startswith(('days', 'period'))]
    assert len(found) == 1
    return found[0]


# Numbers and days

AMOUNTS = st.lists(
    st.floats(-1e9, 1e9, allow_nan=False).map(lambda x: round(x, 2)), min_size=1, max_size=30
)


@given(AMOUNTS, st.sampled_from([(',', '.'), ('.', ','), ('\u202f', ','), ("'", '.'), ('', ',')]))
def test_numbers_come_back_from_every_convention(amounts, signs):
    group, decimal = signs
    swap = str.maketrans({',': group, '.': decimal})
    found = numbers(text(*(f'{x:,.2f}'.translate(swap) for x in amounts)), 'Spend')
    assert np.allclose(found.values, amounts, rtol=0, atol=1e-6)
    assert found.decimal == decimal


@given(st.lists(st.integers(0, 10**9), min_size=1, max_size=30), st.sampled_from(',. '))
def test_counts_are_never_read_as_fractions(counts, group):
    written = [f'{n:,}'.replace(',', group) for n in counts]
    assert numbers(text(*written), 'Impressions', whole=True).values.tolist() == counts


@given(
    st.lists(st.dates(date(2005, 1, 1), date(2035, 12, 31)), min_size=1, max_size=40),
    st.sampled_from(['%Y-%m-%d', '%Y/%m/%d', '%d.%m.%Y', '%d %b %Y', '%b %d, %Y', '%Y%m%d']),
)
def test_days_come_back_from_every_unambiguous_form(days, form):
    found = dates(text(*(day.strftime(form) for day in days)), 'Day')
    assert found.dt.date.tolist() == days and found.dtype == 'datetime64[us]'


@given(
    st.lists(st.dates(date(2005, 1, 1), date(2035, 12, 31)), min_size=1, max_size=40),
    st.booleans(),
)
def test_slashed_days_are_right_or_refused(days, first):
    form = '%d/%m/%Y' if first else '%m/%d/%Y'
    column = text(*(day.strftime(form) for day in days))
    assert dates(column, 'Day', dayfirst=first).dt.date.tolist() == days
    try:
        assert dates(column, 'Day').dt.date.tolist() == days
    except Ambiguous:
        assert all(day.day <= 12 for day in days)


@pytest.mark.parametrize(
    ('cells', 'total'),
    [
        (['₹1,23,456', '₹12,34,567.50'], 1358023.5),
        (['$1,234.50', '$99.90'], 1334.4),
        (['1 234,50 €', '99,90 €'], 1334.4),
        (['USD 12.50', 'USD 7.50'], 20),
        (['(12.50)', '20.00'], 7.5),
        (['−3,5', '4,25'], 0.75),
        (['1.5', '', '—', 'n/a'], 1.5),
    ],
)
def test_numbers_as_people_write_them(cells, total):
    assert numbers(text(*cells), 'Spend').values.sum() == pytest.approx(total)


def test_blanks_are_missing_and_never_zero():
    assert numbers(text('', '0', '-'), 'Results').values.isna().tolist() == [True, False, True]


@pytest.mark.parametrize('cells', [['1.234', '5.678'], ['1,234'], ['12.345', '1.000']])
def test_a_lone_separator_in_money_is_ambiguous(cells):
    with pytest.raises(Ambiguous, match=r'decimal: "\."'):
        numbers(text(*cells), 'Amount spent (EUR)')


def test_percent_and_signs_are_remembered():
    found = numbers(text('1.52%', '2%'), 'CTR')
    assert found.percent and found.values.tolist() == [1.52, 2]
    assert numbers(text('€1', '€2'), 'Spend').signs == {'€'}


def test_moments_are_utc():
    found = moments(text('2026-03-29T01:30:00+0100', '2026-03-29 00:30:00', '1774744200'), 'at')
    assert found.nunique() == 1 and str(found.dt.tz) == 'UTC'


def test_ids_keep_every_digit():
    assert ids(text('120200000000000001', '42.0', ' 7 '), 'Ad ID').tolist() == [
        '120200000000000001',
        '42',
        '7',
    ]


# Files

PAGE = 'Day,Campaign name,Amount spent (USD),Impressions\n2026-03-02,"Été, ""neuf""",12.5,900\n2026-03-13,"two\nlines",7.5,100\n'


@pytest.mark.parametrize(
    ('encoding', 'delimiter'),
    [
        ('utf-8', ','), ('utf-8-sig', ','), ('cp1252', ','), ('latin-1', ';'), ('utf-16', '\t'),
        ('utf-16-le', '\t'), ('utf-16-be', ';'), ('utf-8', '|'),
    ],
)  # fmt: skip
def test_encodings_and_delimiters(encoding, delimiter, rules, tmp_path):
    frame = pd.read_csv(pd.io.common.StringIO(PAGE), dtype=str)
    content = frame.to_csv(sep=delimiter, index=False).encode(encoding)
    table = only(read(content, rules, tmp_path))
    assert table.spend.sum() == 20 and table.impressions.sum() == 1000
    assert set(table.campaign_name.astype(str)) == {'Été, "neuf"', 'two\nlines'}


def test_workbook_and_json_say_the_same(rules, tmp_path):
    frame = pd.read_csv(pd.io.common.StringIO(PAGE))
    frame.to_excel(tmp_path / 'week.xlsx', index=False)
    frame.to_json(tmp_path / 'week.json', orient='records')
    for name in ('week.xlsx', 'week.json'):
        assert only(parse(tmp_path / name, rules, MADE)).spend.sum() == 20


def test_ads_managers_workbook_has_a_raw_sheet(rules, tmp_path):
    frame = pd.read_csv(pd.io.common.StringIO(PAGE))
    with pd.ExcelWriter(tmp_path / 'report.xlsx') as book:
        frame.iloc[:1].to_excel(book, sheet_name='Formatted Report', index=False)
        frame.to_excel(book, sheet_name='Raw Data Report', index=False)
    assert only(parse(tmp_path / 'report.xlsx', rules, MADE)).spend.sum() == 20


def test_columns_are_read_by_position(tmp_path):
    (tmp_path / 'a.csv').write_text('Day,Spend,Spend\n2026-03-02,1,2\n')
    source = peek(tmp_path / 'a.csv')
    assert cells(source, [0], [1, 2]).iloc[0].tolist() == ['2026-03-02', 1, 2]


# Layouts

LANGUAGES = {
    'en': 'Day,Campaign name,Amount spent (USD),Impressions,Link clicks\n2026-03-02,A,1234.5,12345,9\n2026-03-13,A,99.9,800,1\n',
    'de': 'Tag;Kampagnenname;Ausgegebener Betrag (USD);Impressionen;Link-Klicks\n02.03.2026;A;1.234,50;12.345;9\n13.03.2026;A;99,90;800;1\n',
    'es': 'Día;Nombre de la campaña;Importe gastado (USD);Impresiones;Clics en el enlace\n02/03/2026;A;1234,5;12345;9\n13/03/2026;A;99,9;800;1\n',
    'pt': 'Dia;Nome da campanha;Valor usado (USD);Impressões;Cliques no link\n02/03/2026;A;1.234,50;12.345;9\n13/03/2026;A;99,90;800;1\n',
    'fr': 'Jour;Nom de la campagne;Montant dépensé (USD);Impressions;Clics sur un lien\n02/03/2026;A;1 234,50;12 345;9\n13/03/2026;A;99,90;800;1\n',
    'ja': '日,キャンペーン名,消化金額 (USD),インプレッション,リンクのクリック\n2026/3/2,A,"1,234.50","12,345",9\n2026/3/13,A,99.90,800,1\n',
}


@pytest.mark.parametrize('language', LANGUAGES)
def test_ads_manager_speaks_six_languages(language, rules, tmp_path):
    parsed = read(LANGUAGES[language], rules, tmp_path)
    table = parsed.tables['days_campaign']
    assert parsed.notes['layout'] == f'ads_manager_{language}'
    assert table.spend.sum() == pytest.approx(1334.4)
    assert (table.impressions.sum(), table.link_clicks.sum()) == (13145, 10)
    assert table.date.dt.day.tolist() == [2, 13]


@pytest.mark.parametrize(
    ('name', 'content', 'table'),
    [
        ('ads.csv', 'date,campaign_id,campaign_name,adset_id,adset_name,ad_id,ad_name,impressions,clicks,spend\n2026-03-02,1,A,2,B,3,C,100,5,2.5\n', 'days_ad'),
        ('ads_placement.csv', 'date,ad_id,placement,impressions,clicks,spend\n2026-03-02,3,feed,100,5,2.5\n', 'days_ad_by_placement'),
        ('ads_geo.csv', 'date,ad_id,geo,impressions,clicks,spend\n2026-03-02,3,DE,100,5,2.5\n', 'days_ad_by_country'),
        ('adset_targeting.csv', 'adset_id,audience_keywords\n2,yoga;tea\n', 'targeting'),
        ('ad_creatives.csv', 'ad_id,creative_type\n3,video\n', 'creatives'),
        ('leads.csv', 'lead_id,created_time,ad_id\n1,2026-03-02T10:00:00Z,3\n', 'leads'),
        ('lead_to_ad_map.csv', 'lead_id,ad_id\n1,3\n', 'lead_ads'),
        ('outcomes.csv', 'lead_id,qualified_time\n1,\n', 'outcomes'),
        ('changes.csv', 'at,adset_id,field,old,new\n2026-03-02T10:00:00Z,2,budget,40,50\n', 'changes'),
        ('exposures.csv', 'date,adset_id,audience,audience_size,reach\n2026-03-02,2,Broad,100000,900\n', 'exposures'),
        ('adsets.csv', 'adset_id,campaign_id,adset_name,budget,status,audience_type\n2,1,B,40,active,Broad\n', 'adsets'),
        ('taboola.csv', 'Day,Campaign ID,Campaign,Viewable impressions,Clicks,Spent,Conversions,Conversions value\n2026-03-02,9,A,100,5,2.5,1,30\n', 'days_campaign'),
        ('orders.csv', 'Name,Created at,Total,Currency,Lineitem name\n#1,2026-03-02 10:00:00 +0100,20.00,USD,Shirt\n#1,,,,Socks\n', 'orders'),
    ],
)  # fmt: skip
def test_every_kind_of_file_is_known(name, content, table, rules, tmp_path):
    assert table in read(content, rules, tmp_path, name).tables


def test_taboola_counts_what_was_seen(rules, tmp_path):
    content = 'Day,Campaign,Impressions,Viewable impressions,Clicks,Spent,Conversions\n2026-03-02,A,1000,400,5,2.5,1\n'
    table = only(read(content, rules, tmp_path))
    assert (table.impressions[0], table.conversions[0], table.spend[0]) == (400, 1, 2.5)


def test_leads_lose_what_is_personal(rules, tmp_path):
    content = 'lead_id,created_time,ad_id,full_name,email,phone_number,budget_range\n1,2026-03-02T23:30:00Z,3,Ann,a@b.c,1,high\n'
    known = rules._replace(
        attributes=('budget_range', 'email'),
        account=Account(currency='USD', timezone='Europe/Berlin'),
    )
    parsed = read(content, known, tmp_path, 'leads.csv')
    table = parsed.tables['leads']
    assert set(parsed.notes['personal']) == {'full_name', 'email', 'phone_number'}
    assert not {'full_name', 'email', 'phone_number'} & set(table)
    assert table.budget_range.tolist() == ['high'] and table.date.dt.day.tolist() == [3]


INSIGHTS = [
    {
        'date_start': '2026-03-02', 'date_stop': '2026-03-02', 'ad_id': '120200000000000001', 'ad_name': 'Video',
        'spend': '10.50', 'impressions': '900', 'inline_link_clicks': '12',
        'actions': [
            {'action_type': 'purchase', 'value': '2'}, {'action_type': 'omni_purchase', 'value': '2'},
            {'action_type': 'offsite_conversion.fb_pixel_purchase', 'value': '2'}, {'action_type': 'lead', 'value': '3'},
        ],
        'action_values': [{'action_type': 'purchase', 'value': '80'}, {'action_type': 'omni_purchase', 'value': '80'}],
    },
    {'date_start': '2026-03-03', 'date_stop': '2026-03-03', 'ad_id': '120200000000000001', 'spend': '9', 'impressions': '800', 'inline_link_clicks': '7'},
]  # fmt: skip


@pytest.mark.parametrize(
    'page',
    [{'data': INSIGHTS, 'paging': {}}, [{'data': INSIGHTS[:1]}, {'data': INSIGHTS[1:]}], INSIGHTS],
    ids=['page', 'pages', 'rows'],
)
def test_insights_pages_count_one_alias_of_a_purchase(page, rules, tmp_path):
    table = only(read(json.dumps(page), rules, tmp_path, 'insights.json'))
    assert table.purchases.tolist() == [2, 0] and table.revenue.tolist() == [80, 0]
    assert table.leads.tolist() == [3, 0] and table.spend.sum() == 19.5
    assert table.ad_id.astype(str).tolist() == ['120200000000000001'] * 2


def test_the_accounts_purchase_event_decides(rules, tmp_path):
    pixel = Account(**USD, purchase_event='offsite_conversion.fb_pixel_purchase')
    page = [
        {**INSIGHTS[0], 'actions': [
            {'action_type': 'omni_purchase', 'value': '9'},
            {'action_type': 'offsite_conversion.fb_pixel_purchase', 'value': '4'},
        ]}
    ]  # fmt: skip
    table = only(read(json.dumps(page), rules._replace(account=pixel), tmp_path, 'insights.json'))
    assert table.purchases.tolist() == [4]


def test_purchases_and_website_purchases_are_not_added(rules, tmp_path):
    content = (
        'Day,Campaign name,Amount spent (USD),Website purchases,Purchases\n2026-03-02,A,5,3,4\n'
    )
    parsed = read(content, rules, tmp_path)
    assert only(parsed).purchases.tolist() == [4] and parsed.notes['unused'] == [
        'Website purchases'
    ]


def test_a_map_of_ones_own(rules, tmp_path):
    options = ColumnMap(
        columns={'date': 'Period', 'campaign_name': 'Line', 'spend': 'Cost'},
        constants={'country': 'DE', 'impressions': 10},
        decimal=',',
        dayfirst=True,
    )
    content = 'Period;Line;Cost;Extra\n03/04/2026;A;1.234;x\n'
    table = only(read(content, rules._replace(options=options, forced=True), tmp_path))
    assert table.spend.tolist() == [1234] and table.date.dt.month.tolist() == [4]
    assert table.country.tolist() == ['DE'] and table.impressions.tolist() == [10]


def test_maps_are_found_and_the_nearest_layout_is_named(rules):
    assert recognise(('Day', 'Ad ID', 'Amount spent (USD)'), rules.layouts).kind == 'ads'
    with pytest.raises(Problem, match=r'nearest layout is \w+.*spend'):
        recognise(('Day', 'Campaign name', 'Reach'), rules.layouts)


# Rows


def test_totals_and_subtotals_go(rules, tmp_path):
    content = """Day,Campaign name,Country,Amount spent (USD),Impressions
,,,30,300
2026-03-02,A,All,30,300
2026-03-02,A,DE,10,100
2026-03-02,A,AT,20,200
"""
    parsed = read(content, rules, tmp_path)
    assert only(parsed).spend.sum() == 30
    assert parsed.notes['dropped'] == {'subtotal_rows': 1, 'total_rows': 1}


def test_a_total_of_each_day_goes_too(rules, tmp_path):
    days = ''.join(
        f'2026-03-{d:02d},,{3 * d},{30 * d}\n2026-03-{d:02d},A,{d},{10 * d}\n2026-03-{d:02d},B,{2 * d},{20 * d}\n'
        for d in (2, 13)
    )
    parsed = read(f'Day,Campaign name,Amount spent (USD),Impressions\n{days}', rules, tmp_path)
    assert only(parsed).spend.sum() == 45 and parsed.notes['dropped'] == {'total_rows': 2}


def test_a_campaign_called_total_stays(rules, tmp_path):
    days = ''.join(f'2026-03-{d},Total,{d},{d}\n2026-03-{d},A,{2 * d},{2 * d}\n' for d in (12, 13))
    table = only(read(f'Day,Campaign name,Amount spent (USD),Impressions\n{days}', rules, tmp_path))
    assert table.spend.sum() == 75


def test_the_same_adset_name_under_two_campaigns_is_two(tmp_root):
    (tmp_root / 'a.csv').write_text(
        'Day,Campaign name,Ad set name,Amount spent (USD)\n2026-03-02,A,Broad,5\n2026-03-02,B,Broad,6\n'
    )
    at = place(tmp_root, 'shop')
    told = ingest(at, [tmp_root / 'a.csv'], Request(**USD))
    assert told['entities']['adsets'] == 2
    assert read_table(at, 'days_adset').adset_id.tolist() == ['A / Broad', 'B / Broad']


def test_budgets_of_campaigns(rules, tmp_path):
    content = """Day,Campaign name,Ad set name,Amount spent (USD),Ad set budget,Ad set budget type,Ad set delivery
2026-03-02,A,One,5,50,Daily,active
2026-03-03,A,One,5,60,Daily,inactive
2026-03-02,A,Two,5,Using campaign budget,Using campaign budget,active
2026-03-02,A,Three,5,900,Lifetime,active
"""
    adsets = read(content, rules, tmp_path).tables['adsets'].set_index('adset_name')
    assert adsets.budget['One'] == 60 and adsets.status['One'] == 'PAUSED'
    assert np.isnan(adsets.budget['Two']) and adsets.budget_level['Two'] == 'campaign'
    assert np.isnan(adsets.budget['Three'])


def test_reach_is_never_added(rules, tmp_path):
    content = 'Day,Campaign name,Objective,Amount spent (USD),Reach,Frequency\n2026-03-02,A,x,5,10,1.5\n2026-03-02,A,y,6,20,1.2\n'
    parsed = read(content, rules, tmp_path)
    table = only(parsed)
    assert table.spend.tolist() == [11] and table[['reach', 'frequency']].isna().all(axis=None)
    assert parsed.notes['flags'][0]['check'] == 'summed_rows'
    assert 'Objective' in parsed.notes['flags'][0]['advice']


def test_files_without_days_are_periods(rules, tmp_path):
    content = 'Reporting starts,Reporting ends,Campaign name,Amount spent (USD)\n2026-03-01,2026-03-31,A,5\n'
    parsed = read(content, rules, tmp_path)
    assert parsed.tables['period_campaign'].date_stop.dt.day.tolist() == [31]
    assert parsed.notes['flags'][0]['check'] == 'no_days'


def test_one_day_ranges_are_days(rules, tmp_path):
    content = 'Reporting starts,Reporting ends,Campaign name,Amount spent (USD)\n2026-03-01,2026-03-01,A,5\n'
    assert 'days_campaign' in read(content, rules, tmp_path).tables


@given(
    st.lists(
        st.tuples(st.floats(1, 1e4), st.floats(0.01, 30)).map(
            lambda pair: (round(pair[0], 2), round(pair[0] * pair[1], 2))
        ),
        min_size=8,
        max_size=40,
    )
)
def test_recovered_intervals_hold_the_truth(pairs):
    spend, revenue = (pd.Series(column) for column in zip(*pairs))
    ratio = (revenue / spend).round(2)
    rows = pd.DataFrame({'spend': spend, 'revenue': revenue, 'reported_roas': ratio})
    hidden = rows.assign(
        revenue=revenue.where(rows.index % 4 != 0), spend=spend.where(rows.index % 4 != 1)
    )
    cells = recover(hidden).cells
    truth = np.where(cells.column == 'spend', spend[cells.row], revenue[cells.row])
    assert ((cells.low <= truth * (1 + 1e-9)) & (truth <= cells.high * (1 + 1e-9))).all()


# Names


def test_case_and_separators_are_one_name():
    assert skeleton('Men_ComfortMax-LAUNCH') == skeleton('men comfortmax | launch')
    assert skeleton('Set 1 1') != skeleton('Set 11')


@pytest.mark.parametrize(
    ('counts', 'merged'),
    [
        ({'Summer Sale': 50, 'Sumer Sale': 2}, {'Sumer Sale': 'Summer Sale'}),
        ({'Summer Sale': 50, 'Sumemr Sale': 2}, {'Sumemr Sale': 'Summer Sale'}),
        ({'Campaign 1': 50, 'Campaign 2': 2}, {}),
        ({'Prospecting A': 50, 'Prospecting B': 2}, {}),
        ({'Summer Sale': 50, 'Sumer Sale': 40}, {}),
        ({'Linen Shirts': 50, 'Linen Skirts': 50, 'Linen Sirts': 1}, {}),
        ({'Men': 50, 'Man': 1}, {}),
    ],
)
def test_one_slip_is_merged_when_unambiguous(counts, merged):
    assert variants(pd.Series(counts), ColumnMap()) == merged


def test_spellings_that_were_both_there_stay_apart():
    names = pd.Series(['Summer Sale'] * 30 + ['summer_sale'] * 2, dtype='str', name='campaign_name')
    days = pd.Series(pd.date_range('2026-03-02', periods=30).append(pd.DatetimeIndex(['2026-03-02', '2026-05-01'])))  # fmt: skip
    assert merge_names(names, [days], ColumnMap()).names.nunique() == 2
    later = pd.Series(pd.date_range('2026-03-02', periods=32))
    assert merge_names(names, [later], ColumnMap()).names.nunique() == 1


# Several files

GRAINS = {
    'campaigns.csv': 'Day,Campaign name,Amount spent (USD),Impressions\n2026-03-02,Spring,100,4000\n2026-03-13,Spring,60,2000\n',
    'adsets.csv': 'Day,Campaign name,Ad set name,Amount spent (USD),Impressions\n2026-03-02,spring,B,40,1000\n2026-03-02,spring,L,60,3000\n2026-03-13,spring,B,60,2000\n',
    'countries.csv': 'Day,Campaign name,Country,Amount spent (USD),Impressions\n2026-03-02,Spring,DE,100,4000\n2026-03-13,Spring,AT,60,2000\n',
}


@pytest.mark.parametrize('order', permutations(GRAINS), ids='-'.join)
def test_grains_in_any_order_leave_spend_unchanged(order, tmp_root):
    for name, content in GRAINS.items():
        (tmp_root / name).write_text(content)
    at = place(tmp_root, 'shop')
    for name in order:
        told = ingest(at, [tmp_root / name], Request(snapshot=date(2026, 3, 20), **USD))
        assert told['totals']['spend'] == 160 and told['totals']['impressions'] == 6000
    assert set(told['tables']) == {'days_campaign', 'days_adset', 'days_campaign_by_country'}
    assert told['entities'] == {'campaigns': 1, 'adsets': 2, 'ads': 0}
    assert read_table(at, 'days_adset').campaign_id.unique().tolist() == ['Spring']


def test_the_same_bytes_are_a_no_op(tmp_root):
    (tmp_root / 'a.csv').write_text(GRAINS['campaigns.csv'])
    at = place(tmp_root, 'shop')
    first = ingest(at, [tmp_root / 'a.csv'], Request(**USD))
    files = {p: p.read_bytes() for p in sorted(tmp_root.rglob('*')) if p.is_file()}
    (tmp_root / 'again').mkdir()
    (tmp_root / 'again' / 'b.csv').write_text(GRAINS['campaigns.csv'])
    assert ingest(at, [tmp_root / 'a.csv'], Request()) == first
    for path, content in files.items():
        if path.suffix != '.lock' and 'holder' not in path.name:
            assert path.read_bytes() == content, path
    assert ingest(at, [tmp_root / 'again' / 'b.csv'], Request())['totals'] == first['totals']
    assert len(list(at.raw.rglob('*.csv'))) == 1


def test_the_newest_snapshot_wins_in_any_order(tmp_root):
    old, new = GRAINS['campaigns.csv'], GRAINS['campaigns.csv'].replace('60,2000', '66,2200')
    for customer, order in (('one', (0, 1)), ('two', (1, 0))):
        at = place(tmp_root, customer)
        for n in order:
            path = tmp_root / f'{n}.csv'
            path.write_text((old, new)[n])
            told = ingest(at, [path], Request(snapshot=date(2026, 3, 20 + n), **USD))
        assert told['totals']['spend'] == 166
        assert len(read_parts(at, 'days_campaign')) == 4


def test_what_lies_in_raw_is_found(tmp_root):
    at = place(tmp_root, 'shop')
    (at.raw / '2026-03-20').mkdir(parents=True)
    (at.raw / '2026-03-20' / 'ads.csv').write_text(GRAINS['campaigns.csv'])
    (at.raw / 'shopify.csv').write_text(
        'Name,Created at,Total,Refunded Amount,Currency,Lineitem name\n#1,2026-03-02 10:00:00 +0000,20.00,5.00,USD,Shirt\n#1,,,,,Socks\n'
    )
    told = ingest(at, [], Request(**USD))
    assert told['totals']['spend'] == 160
    assert (told['totals']['orders'], told['totals']['gross'], told['totals']['refunds']) == (
        1,
        20,
        5,
    )
    assert told['totals']['lines'] == 2 and told['totals']['continuation_lines'] == 1
    assert history(at)['files'][0]['snapshot_at'].startswith('2026-03-20')
    assert len(list(at.raw.rglob('*.csv'))) == 2, 'nothing is copied onto itself'


def test_ids_and_names_meet(tmp_root):
    (tmp_root / 'ids.csv').write_text(
        'Day,Campaign name,Campaign ID,Amount spent (USD)\n2026-03-02,Spring Sale,11,5\n'
    )
    (tmp_root / 'names.csv').write_text(
        'Day,Campaign name,Amount spent (USD)\n2026-03-03,spring_sale,6\n'
    )
    at = place(tmp_root, 'shop')
    ingest(at, [tmp_root / 'ids.csv', tmp_root / 'names.csv'], Request(**USD))
    table = read_table(at, 'days_campaign')
    assert table.campaign_id.tolist() == ['11', '11']
    assert table.campaign_name.tolist() == ['Spring Sale'] * 2


def test_folders_may_hold_other_things(tmp_root):
    folder = tmp_root / 'exports'
    folder.mkdir()
    (folder / 'ads.csv').write_text(GRAINS['campaigns.csv'])
    (folder / 'months.csv').write_text('Month,Sales\n2026-03,5\n')
    (folder / 'README.txt').write_text('about')
    told = ingest(place(tmp_root, 'shop'), [folder], Request(**USD))
    assert told['totals']['spend'] == 160 and told['not_used'] == ['months.csv']


# Public data


def test_undergarments(shared, tmp_root):
    path = shared / 'undergarments' / 'synthetic_fb_ads_undergarments.csv'
    at = place(tmp_root, 'shop')
    told = ingest(at, [path], Request(**USD))
    assert told['entities'] == {'campaigns': 10, 'adsets': 50, 'ads': 0} and told['days'] == 90
    assert told['recovered'] == {'clicks': 152, 'revenue': 131, 'spend': 102}
    assert told['missing'] == {'spend': 11, 'revenue': 2}
    assert told['roas'] == pytest.approx(5.843, abs=5e-4)
    (name,) = told['tables']
    days = read_table(at, name)
    assert len(days) == 4500 and not days.duplicated(['date', 'adset_id']).any()
    cells = read_parts(at, 'recovered')
    assert cells.column.value_counts().to_dict() == told['recovered']
    assert ((cells.low <= cells.value) & (cells.value <= cells.high)).all()
    assert told['merged_names'] == 356 and table_names(at) == [name]
    assert ingest(at, [path], Request()) == told


def test_kag(shared, tmp_root, repo):
    path = shared / 'kag' / 'KAG_conversion_data.csv'
    at = place(tmp_root, 'kag')
    told = ingest(at, [path], Request(columns=repo / 'tests/data/kag_columns.yaml', **USD))
    assert told['totals']['spend'] == 58705.23
    assert told['totals']['clicks'] == 38165 and told['totals']['impressions'] == 213434828
    assert told['totals']['conversions'] == 3264 and told['totals']['purchases'] == 1079
    flags = {flag['check']: flag['rows'] for flag in told['flags']}
    assert flags['conversions_without_clicks'] == 204 and 'no_days' in flags
    table = read_table(at, 'period_ad_by_age_and_gender')
    assert np.isfinite(table.select_dtypes('number').fillna(0)).all(axis=None)
    assert ingest(at, [], Request()) == told, 'what lies in raw/ is read with the map it came with'


def test_facebook_connector(shared, tmp_root):
    at = place(tmp_root, 'fivetran')
    told = ingest(at, [shared / 'dbt_facebook_ads_seeds'], Request(**USD))
    assert {'days_ad', 'days_account_by_country', 'days_account_by_region', 'ads', 'adsets', 'creatives'} <= set(told['tables'])  # fmt: skip
    days = read_table(at, 'days_ad')
    assert days.spend.sum() == pytest.approx(643.63) and days.leads.sum() == 3
    assert days.revenue.sum() == pytest.approx(29324.84), 'one alias of the purchase'
    known = days[days.ad_id == '6229007992271']
    assert known.campaign_name.notna().all() and known.adset_id.eq('6229007985271').all()
    assert len(told['not_used']) == 3


def test_shopify_sample(shared, tmp_root):
    path = shared / 'ltv_cohort_kit_shopify' / 'shopify_orders_sample.csv'
    told = ingest(place(tmp_root, 'shop'), [path], Request(**USD))
    totals = told['totals']
    assert (totals['orders'], totals['gross'], totals['refunds']) == (127, 15063.00, 423.75)
    assert (totals['lines'], totals['continuation_lines']) == (249, 122)


def test_shopify_connector(shared, tmp_root):
    told = ingest(place(tmp_root, 'shop'), [shared / 'dbt_shopify_seeds'], Request(**USD))
    assert told['totals']['orders'] == 17 and 'order_lines' in told['tables']


def taken_in_turn(root: Path, files: dict[str, tuple[str, str]], order: tuple[str, ...]) -> dict:
    "Ingest files (name -> day of the export, content) one after the other; the last answer"
    home = place(root / '-'.join(order), 'acme', 'meta')
    for name in order:
        day, content = files[name]
        path = root / f'{name}.csv'
        path.write_text(content)
        told = ingest(home, [path], Request(snapshot=pd.Timestamp(day), **USD))
    return told


@pytest.mark.parametrize('order', permutations(('named', 'unnamed')))
def test_an_account_named_in_one_export_only_is_still_one_account(tmp_root: Path, order):
    files = {
        'named': (
            '2026-03-05',
            'Day,Account ID,Campaign name,Amount spent (USD)\n2026-03-01,123,Spring,10\n',
        ),
        'unnamed': ('2026-03-06', 'Day,Campaign name,Amount spent (USD)\n2026-03-01,Spring,11\n'),
    }
    told = taken_in_turn(tmp_root, files, order)
    assert told['totals']['spend'] == 11 and told['tables']['days_campaign']['rows'] == 1


@pytest.mark.parametrize('order', permutations(('full', 'short')))
def test_a_newer_export_without_a_column_forgets_nothing_and_says_so(tmp_root: Path, order):
    files = {
        'full': (
            '2026-03-05',
            'Day,Campaign name,Amount spent (USD),Purchases\n2026-03-01,Spring,10,3\n2026-03-02,Spring,5,\n',
        ),
        'short': (
            '2026-03-06',
            'Day,Campaign name,Amount spent (USD)\n2026-03-01,Spring,11\n2026-03-02,Spring,6\n',
        ),
    }
    told = taken_in_turn(tmp_root, files, order)
    assert told['totals']['spend'] == 17 and told['totals']['purchases'] == 3
    flag = next(flag for flag in told['flags'] if flag['check'] == 'older_columns')
    assert flag['rows'] == 1
