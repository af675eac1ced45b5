"""The weekly page of a small customer, word for word, and what it says when something is missing."""

import json
import os
import re
from pathlib import Path

import nbformat
import numpy as np
import pandas as pd
import pytest

from adsbench.data.disk import Place, place, write_json
from adsbench.data.names import Problem, share
from adsbench.data.store import write_part, write_table
from adsbench.reports import account, chance, shop, template, verdict, weekly
from adsbench.reports.render import Facts, ReportSettings, render, report
from adsbench.reports.run import Limits, run
from adsbench.reports.week import expected, load, sums, windows
from adsbench.reports.words import change, money, plain, span, text_of, written

GOLDEN = Path(__file__).parent / 'data' / 'weekly.txt'
EVIL = '<script>alert("x")</script>'
NAMES = {'a1': 'Broad | DE', 'a2': f'{EVIL} $x^2 {{{{ 7*7 }}}}', 'a3': 'مبيعات الصيف'}


def days_of(first: str = '2026-04-20', last: str = '2026-06-28') -> pd.DataFrame:
    "Ten weeks of three ad sets, no chance in them: spend 100, 50, 10 a day"
    date = pd.date_range(first, last, name='date').as_unit('us')
    pages = []
    for number, (key, spend, base) in enumerate(
        [('a1', 100.0, 6), ('a2', 50.0, 2), ('a3', 10.0, 1)]
    ):
        purchases = base + (np.arange(len(date)) * 7 + number * 3) % 5 % (base + 1)
        ids = {'account_id': 'account', 'campaign_id': 'c1', 'campaign_name': 'Summer & sun'}
        measures = {'impressions': spend * 90, 'clicks': spend + number, 'spend': spend}
        sold = {'purchases': purchases * 1.0, 'revenue': purchases * 50.0}
        told = {
            'recovered': '',
            'currency': 'EUR',
            'snapshot_at': pd.Timestamp('2026-06-29 05:00', tz='UTC'),
        }
        one = {
            'date': date,
            **ids,
            'adset_id': key,
            'adset_name': NAMES[key],
            **measures,
            **sold,
            **told,
        }
        pages.append(pd.DataFrame(one))
    return pd.concat(pages, ignore_index=True)


def customer(root: Path, days: pd.DataFrame, name: str = 'demo') -> Place:
    "A customer in a root of its own, with a house that prints no PDF"
    at = place(root, name)
    at.config.mkdir(parents=True)
    (at.config / 'account.yaml').write_text('currency: EUR\ntimezone: Europe/Berlin\n')
    (root / 'config' / 'default').mkdir(parents=True, exist_ok=True)
    (root / 'config' / 'default' / 'reports.yaml').write_text('pdf: never\n')
    write_table(at, 'days_adset', days)
    return at


def shop_orders(days: pd.DataFrame) -> pd.DataFrame:
    "The shop sold a quarter more than the platform claims, one order a day"
    daily = days.groupby('date')['revenue'].sum().reset_index()
    order = {
        'order_id': [f'#{n}' for n in range(len(daily))],
        'date': daily['date'],
        'total': daily['revenue'] * 1.25,
    }
    return pd.DataFrame(
        {**order, 'currency': 'EUR', 'source': 'facebook', 'campaign': 'summer-sun'}
    )


@pytest.fixture(scope='module')
def full(tmp_path_factory: pytest.TempPathFactory):
    "A rendered report of a customer with days, orders and notes of ingest"
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv('ADSBENCH_ROOT', raising=False)
        days = days_of()
        at = customer(tmp_path_factory.mktemp('full'), days)
        write_table(at, 'orders', shop_orders(days))
        notes = {
            'dropped': {'total rows': 2},
            'recovered': {'revenue': 1},
            'merged': [{'column': 'campaign_name', 'canonical': 'Summer & sun', 'spellings': ['SUMMER_&_SUN', EVIL], 'rows': 4}],
            'flags': [{'check': 'clicks above impressions', 'rows': 1, 'advice': 'look <b>twice</b>'}],
            'files': [{'name': f'{EVIL}.csv', 'kind': 'adsets', 'snapshot_at': '2026-06-29T05:00:00+00:00', 'rows': 210, 'digest': 'ab' * 32}],
        }  # fmt: skip
        write_json(at.tables / 'ingest.json', notes)
        yield at, report(at)


def words_of(page: str) -> str:
    "The page as text, without what changes from run to run"
    text = text_of(page)
    text = re.sub(r'\d+ \w{3} \d{4}, \d\d:\d\d UTC', 'TIME', text)
    return re.sub(r'adsbench \d+\.\d+\.\d+\w*', 'adsbench VERSION', text) + '\n'


def test_the_weekly_page_word_for_word(full):
    _, outcome = full
    assert outcome.status == 'ok', outcome.message
    text = words_of(outcome.html.read_text())
    if os.environ.get('RENEW_GOLDEN'):  # then read the difference before it is committed
        GOLDEN.write_text(text)
    assert text == GOLDEN.read_text()


def test_its_numbers_are_the_sums_of_the_days(full):
    _, outcome = full
    text, days = text_of(outcome.html.read_text()), days_of()
    this = days[days.date.between('2026-06-15', '2026-06-21')]
    last = days[days.date.between('2026-06-08', '2026-06-14')]
    assert this.spend.sum() == 7 * 160 and '€1,120' in text
    row = next(line for line in text.splitlines() if line.startswith('ROAS | '))
    roas = [
        f.revenue.sum() / f.spend.sum()
        for f in (this, last, days[days.date.between('2026-05-25', '2026-06-21')], days)
    ]
    cells = row.split(' | ')
    assert [cells[1], cells[2], cells[4], cells[6]] == [f'{r:.2f}' for r in roas]
    assert 'The platform claims 80 % of what the shop sold' in text


def test_hostile_names_stay_names(full):
    _, outcome = full
    html = outcome.html.read_text()
    assert '<script' not in html and '{{ 7*7 }}' in html and '&lt;script&gt;' in html
    assert '<bdi>مبيعات الصيف</bdi>' in html and 'look &lt;b&gt;twice' in html
    assert not re.search(r'(?:src|href)="(?!data:)', html)
    assert (
        all('alt="' in tag for tag in re.findall(r'<img[^>]*>', html))
        and html.count('<figcaption>') == 5
    )
    assert len(html) < 400_000


def test_sections_come_in_the_order_of_the_house(full):
    _, outcome = full
    wanted = ['Verdict', 'How is the account doing?', 'What changed, and why?', 'What to move?', 'Which audiences to scale, hold, pause or retest?', 'Whom to reach?', 'Where does the money go?', 'Does the shop agree?', 'What we do not know', 'Provenance']  # fmt: skip
    assert re.findall(r'<h2[^>]*>([^<]+)</h2>', outcome.html.read_text()) == wanted
    tables = re.findall(r'<table>.*?</table>', outcome.html.read_text(), re.S)
    assert all('<caption>' in t and 'scope="col"' in t and 'scope="row"' in t for t in tables)


def test_the_kernel_stays_light(full, tmp_path):
    at, _ = full
    notebook = nbformat.read(share('reports') / 'weekly.ipynb', 4)
    heavy = "{'statsmodels', 'sklearn', 'skopt', 'lightgbm', 'seaborn', 'pandera', 'openpyxl', 'matplotlib.pyplot'}"
    notebook.cells.append(
        nbformat.v4.new_code_cell(f'import sys\nsorted({heavy} & set(sys.modules))')
    )
    nbformat.write(notebook, tmp_path / 'weekly.ipynb')
    facts = Facts(ReportSettings(pdf='never'), 'light')
    outcome = render(tmp_path / 'weekly.ipynb', {'root': str(at.root)}, tmp_path / 'out', facts)
    assert outcome.status == 'ok', outcome.message
    assert nbformat.read(outcome.notebook, 4).cells[-1].outputs[0].data['text/plain'] == '[]'


def test_the_template_runs_from_its_own_folder_as_in_jupyterlab(full, monkeypatch):
    at, _ = full
    folder = at.root / 'reports'
    path = folder / 'mine.ipynb'
    path.write_text((share('reports') / 'weekly.ipynb').read_text())
    assert template.defaults(template.load(path), 'mine')['customer'] == 'demo'
    ran = run(template.load(path), folder / 'mine-run.ipynb', Limits(60, 60), lambda event: None)
    assert ran.failure is None
    code = [c.source for c in ran.notebook.cells if c.cell_type == 'code']
    assert all(len(source.splitlines()) <= 5 for source in code)


def test_a_second_run_says_the_same(full):
    at, first = full
    second = report(at)
    assert words_of(second.html.read_text()) == words_of(first.html.read_text())
    assert second.html.parent != first.html.parent
    assert (at.reports / 'latest').resolve() == second.html.parent.resolve()


# which days


def test_weeks_are_whole_and_end_before_the_days_that_may_change(tmp_root):
    at = customer(tmp_root, days_of())
    week = load(at)
    found = windows(week)
    assert [f'{found[k].first:%m-%d}-{found[k].last:%m-%d}' for k in ('this', 'last', 'four', 'open')] == [
        '06-15-06-21', '06-08-06-14', '05-25-06-21', '06-22-06-28',
    ]  # fmt: skip
    assert windows(load(at, '2026-05-31'))['this'].last == pd.Timestamp('2026-05-31')
    assert 'open' not in windows(load(at, '2026-05-31'))
    (at.config / 'reports.yaml').write_text('provisional: include\n')
    counted = load(at)
    assert counted.end == pd.Timestamp('2026-06-28') and 'open' not in windows(counted)
    assert 'may still change' in verdict.title(counted)
    (at.config / 'reports.yaml').write_text('')
    (at.config / 'account.yaml').write_text(
        'currency: EUR\ntimezone: Europe/Berlin\nattribution_lag_days: 3\n'
    )
    assert load(at).end == pd.Timestamp('2026-06-25')


def test_an_account_younger_than_its_lag_still_reports(tmp_root):
    week = load(customer(tmp_root, days_of('2026-06-24')))
    assert week.end == pd.Timestamp('2026-06-28') and sums(week).loc['this', 'spend'] == 5 * 160
    assert '(5 of 7 days)' in account.account(week) and 'no earlier week' in verdict.verdict(week)


def test_two_exports_teach_what_is_still_to_come(tmp_root):
    days = days_of()
    at = customer(tmp_root, days)
    young = (pd.Timestamp('2026-06-22') - days.date).dt.days <= 3
    short = days.assign(revenue=days.revenue.where(~young, days.revenue * 0.5))
    early = short[short.date < '2026-06-22'].assign(
        snapshot_at=pd.Timestamp('2026-06-22 05:00', tz='UTC')
    )
    write_part(at, 'days_adset', early, 'a' * 12)
    write_part(at, 'days_adset', days, 'b' * 12)
    week = load(at)
    assert week.end == pd.Timestamp('2026-06-25') and 'earlier exports show' in verdict.title(week)
    value, low, high = expected(week, 'revenue')
    reported = sums(week).loc['open', 'revenue']
    assert reported < low <= value <= high and 'should come to' in account.account(week)


# what is missing is said


MISSING = {
    'revenue': ('these files do not|at a CPA of', 'Revenue is unknown in 210 of 210 rows'),
    'spend': ('Nothing is known about spend', 'Spend is unknown in 210 of 210 rows'),
}


@pytest.mark.parametrize('column', MISSING)
def test_a_missing_measure_is_a_dash_and_never_zero(tmp_root, column):
    week = load(customer(tmp_root, days_of().drop(columns=column)))
    said, told = MISSING[column]
    shown = account.account(week)
    assert re.search(said, verdict.verdict(week)) and told in shown
    row = next(
        line for line in text_of(shown).splitlines() if line.startswith(f'{column.title()} | ')
    )
    assert set(row.split(' | ')[1:]) == {'-'}
    assert '€0.00' not in shown and 'nan' not in text_of(shown)
    for piece in (weekly.money(week), shop.shop(week), weekly.unknown(week), account.course(week)):
        assert not re.search(r'\bnan\b|\binf\b', text_of(piece))


def test_rows_without_both_sides_stay_out_of_a_ratio(tmp_root):
    days = days_of()
    days.loc[days.adset_id == 'a1', 'revenue'] = np.nan
    numbers = sums(load(customer(tmp_root, days))).loc['all']
    both = days[days.adset_id != 'a1']
    assert numbers['spend'] == days.spend.sum()
    assert numbers['roas'] == both.revenue.sum() / both.spend.sum()


def test_without_orders_one_sentence_names_the_file(tmp_root):
    said = text_of(shop.shop(load(customer(tmp_root, days_of()))))
    assert said.count('\n') == 0 and 'orders_export.csv' in said and 'Orders, Export' in said


def test_orders_that_cannot_be_compared_are_said(tmp_root):
    at = customer(tmp_root, days_of())
    write_table(at, 'orders', shop_orders(days_of()).assign(currency='USD'))
    assert 'orders in USD' in shop.shop(load(at))
    write_table(at, 'orders', shop_orders(days_of()).assign(date=pd.Timestamp('2025-01-01')))
    assert 'no day in common' in shop.shop(load(at))


def test_what_is_unknown_is_listed_with_the_way_to_get_it(tmp_root):
    days = days_of()
    at = customer(tmp_root, days)
    by_country = days.groupby(['date', 'campaign_id', 'campaign_name'], as_index=False)[
        ['spend']
    ].sum()
    write_table(
        at,
        'days_campaign_by_country',
        by_country.assign(country='DE', spend=by_country.spend * 0.9),
    )
    text = text_of(weekly.unknown(load(at)))
    rows = {
        line.split(' | ')[0]: line.split(' | ')[1] for line in text.splitlines() if ' | ' in line
    }
    assert rows['Judge the return (ROAS)'] == 'yes' and rows['Compare countries'] == 'yes'
    assert rows['Compare the platform with the shop'] == 'no' and rows['See fatigue'] == 'no'
    assert 'add the columns Reach and Frequency' in text and '-10.0 %' in text
    assert 'what was done to these tables is unknown' in text


def test_customers_without_days_are_told_so(tmp_root):
    at = customer(tmp_root, days_of())
    (at.tables / 'days_adset.parquet').unlink()
    write_table(at, 'period_adset', pd.DataFrame({'spend': [1.0]}))
    with pytest.raises(Problem, match='breakdown Day'):
        load(at)
    outcome = report(at)
    assert outcome.status == 'failed' and 'breakdown Day' in outcome.message
    assert 'Problem' not in outcome.message.split('(error)')[1]
    assert json.loads(outcome.manifest.read_text())['failure']['section'] == 'Weekly report'


# the bootstrap and the words


def test_intervals_are_seeded_and_hold_the_truth_about_as_often_as_they_say():
    rng = np.random.default_rng(0)
    date = pd.date_range('2026-01-01', periods=28).as_unit('us')
    inside = 0
    for trial in range(200):
        revenue = rng.gamma(4, 75, 28)
        days = pd.DataFrame({'date': date, 'adset_id': 'a', 'spend': 100.0, 'revenue': revenue})
        one = chance.intervals(days, 'adset_id', chance.roas, chance.Draws(300, 0.8, trial)).loc[
            'a'
        ]
        inside += one.low <= 3 <= one.high
    assert 0.72 < inside / 200 < 0.88
    again = chance.intervals(days, 'adset_id', chance.roas, chance.Draws(300, 0.8, trial)).loc['a']
    assert again.equals(one)


@pytest.mark.parametrize(
    'made, wanted',
    [
        (money(19.99, 'EUR'), '€19.99'), (money(1234567.891, 'CHF'), 'CHF 1,234,567.89'),
        (money(1999.6, 'JPY'), '¥2,000'), (money(-5, 'USD'), '-$5.00'), (money(float('inf'), 'USD'), '-'),
        (written('ctr', 0.5, 'EUR'), '50.00 %'), (written('purchases', 3.5, 'EUR'), '3.50'),
        (written('clicks', 0, 'EUR'), '0'), (text_of(change('cpa', 1, 2)), '-50.0 % ▼'),
        (text_of(change('roas', 1, 0)), '-'), (plain('a\x1b[1;31m\u202eb\x00\n c', 5), 'a b c'),
        (span(pd.Timestamp('2026-06-01'), pd.Timestamp('2026-06-01')), '1 Jun 2026'),
    ],
)  # fmt: skip
def test_values_read_as_people_write_them(made, wanted):
    assert made == wanted


def test_real_files_with_holes_agree_with_what_was_counted_by_hand(tmp_root, shared):
    from adsbench.data.ingest import Request, ingest

    at = place(tmp_root, 'shop')
    file = shared / 'undergarments' / 'synthetic_fb_ads_undergarments.csv'
    ingest(at, [file], Request(currency='USD', timezone='UTC'))
    week = load(at)
    numbers = sums(week)
    assert (
        round(numbers.loc['all', 'roas'], 3) == 5.843
        and round(numbers.loc['open', 'roas'], 3) == 5.227
    )
    assert windows(week)['this'].words == '18–24 Mar 2025'
    text = text_of(account.account(week))
    assert 'Spend is unknown in 11 of 4,500 rows. Revenue is unknown in 2 of 4,500 rows.' in text
    assert '$2,158,641.07' in text and '$12,635,038.18' in text
    said = text_of(verdict.verdict(week))
    assert 'Adset-3 Broad · Men Bold Colors Drop' in said, 'five ad sets are called Adset-3 Broad'
    unknown = text_of(weekly.unknown(week))
    for found in (
        'recovered | clicks | 152',
        'recovered | revenue | 131',
        'recovered | spend | 102',
    ):
        assert found in unknown
    assert 'missing | spend | 11' in unknown and 'and 32 more' in unknown


def test_days_without_a_date_are_a_failed_report_that_says_what_to_export(tmp_root, shared):
    from adsbench.data.ingest import Request, ingest

    at = place(tmp_root, 'kag')
    columns = tmp_root / 'kag.yaml'
    columns.write_text(
        'columns: {ad_id: ad_id, campaign_id: xyz_campaign_id, spend: Spent, clicks: Clicks,\n'
        '  impressions: Impressions, conversions: Total_Conversion, purchases: Approved_Conversion}\n'
    )
    file = next((shared / 'kag').glob('*.csv'))
    ingest(at, [file], Request(columns=columns, currency='USD', timezone='UTC'))
    with pytest.raises(Problem, match='breakdown Day'):
        load(at)


def test_every_section_of_the_page_is_the_function_that_a_script_calls(full):
    at, outcome = full
    page, week = text_of(outcome.html.read_text()), weekly.begin(str(at.root), ('demo', 'meta'))
    sections = [
        verdict.title(week), verdict.verdict(week), account.account(week), account.course(week),
        weekly.money(week), shop.shop(week), weekly.unknown(week), weekly.provenance(week),
    ]  # fmt: skip
    for section in sections:
        assert text_of(section) in page
