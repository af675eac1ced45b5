"""Whom to reach, end to end: the five commands, the section of the weekly page, and customers who make it hard."""

import functools
import io
import json
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from accounts import Adset, Answer, adsbench, adsets_csv, days_csv, take

from adsbench.data.names import Problem
from adsbench.data.store import place
from adsbench.reports import targeting, weekly
from adsbench.reports.reach import Reach, judged
from adsbench.reports.reach_page import reach_page
from adsbench.reports.words import text_of
from adsbench.targeting.case import scored

LAST, EXPORTED = '2025-11-19', '2025-11-20'
SETS = (
    Adset('broad', 'one', roas=(3.0, 3.0, 3.0), purchases=4, spend=(40, 40), budget=40.01),
    Adset('look', 'one', roas=(2.0, 2.0, 2.0), purchases=3, spend=(30, 30), budget=30.02),
    Adset('warm', 'two', roas=(5.0, 5.0, 5.0), purchases=5, spend=(20, 20), budget=19.99),
)
PLACES = {'ES': (0.5, 1.0), 'MX': (0.3, 0.4), 'FR': (0.2, 1.6)}  # of spend, of roas
BAD = '<script>alert(1)</script> & "x" | nan'
KEYS = {'run_id', 'status', 'campaign_ids', 'recommendations_count', 'duration_ms', 'message'}
GET = """adset_id campaign_id countries geo_allocations age_min age_max gender interests behaviors
custom_audiences lookalikes frequency_cap frequency_window_days total_budget budget_per_segment
reasoning expected_ctr expected_cvr expected_roas confidence""".split()
LISTED = """segment_id segment_name segment_type total_impressions total_clicks total_conversions
total_spend total_revenue avg_ctr avg_cvr avg_roas campaigns_count last_used is_fatigued
fatigue_reason""".split()
CHANGED = """id run_id campaign_id adset_id applied_at old_targeting new_targeting before_ctr
before_cvr before_roas after_ctr after_cvr after_roas success error_message""".split()


def places_csv(sets: tuple[Adset, ...], column: str = 'country') -> str:
    "The export of days by ad set and place: the same money, cut into parts"
    rows = pd.read_csv(io.StringIO(days_csv(sets, LAST)), dtype={'adset_id': str})
    by = ['date', 'campaign_id', 'campaign_name', 'adset_id', 'adset_name']
    whole = rows.groupby(by, as_index=False)[
        ['spend', 'impressions', 'clicks', 'purchases', 'revenue']
    ].sum()
    pages = []
    for code, (part, better) in PLACES.items():
        page = whole.assign(**{name: whole[name] * part for name in whole.columns[5:]})
        pages.append(page.assign(revenue=page['revenue'] * better, **{column: code}))
    return pd.concat(pages).round(4).to_csv(index=False)


def account(root: Path, sets=SETS, **more: str) -> Path:
    "An account with days, ad sets and countries"
    told = {'countries': 'ES, MX, FR', 'age_min': '18', 'age_max': '50'} | more
    take(root, 'adsets.csv', adsets_csv(sets, **told), EXPORTED)
    take(root, 'days.csv', days_csv(sets, LAST), EXPORTED)
    take(root, 'places.csv', places_csv(sets), EXPORTED)
    return root


@pytest.fixture(scope='module')
def base(tmp_path_factory) -> Path:
    "The account, ingested once"
    return account(tmp_path_factory.mktemp('base'))


STUB = functools.cache(targeting.stub_tables)


@pytest.fixture(autouse=True)
def one_simulation(monkeypatch: pytest.MonkeyPatch) -> None:
    "The simulated customer of a seed is made once for all tests"
    monkeypatch.setattr(targeting, 'stub_tables', STUB)


@pytest.fixture
def home(base: Path, tmp_root: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    "A copy of it to change"
    for name in ('META_TARGETING_ENABLED', 'TARGETING_SPAIN_MIN_PCT'):
        monkeypatch.delenv(name, raising=False)
    return Path(shutil.copytree(base, tmp_root / 'root', ignore=lambda *_: ['reports']))


def call(root: Path, word: str, *words: object) -> Answer:
    "adsbench target ... -c acme --json"
    return adsbench(root, 'target', word, '-c', 'acme', '--json', *words)


def section(root: Path, platform: str = 'meta') -> str:
    "The section of the weekly page as HTML"
    return targeting.reached(weekly.begin(str(root), ('acme', platform)))


def sound(page: str) -> str:
    "The words of a page, in which nothing unknown is printed and no name acts"
    words = text_of(page)
    assert '<script' not in page and 'None' not in words
    assert not [
        w
        for w in words.replace(BAD, '').split()
        if w.strip('.,;:()') in ('nan', 'inf', 'NaT', '<NA>')
    ]
    return words


def test_run_show_apply_and_history_speak_as_others_do(home: Path):
    made = call(home, 'run', '--campaign', 'c_one')
    assert made.code == 0 and made.out.count('\n') == 1 and set(made.json) >= KEYS
    assert made.json['status'] == 'completed' and made.json['campaign_ids'] == ['c_one']
    assert made.json['recommendations_count'] == 2
    folder = Path(made.json['folder'])
    assert {'targeting.json', 'segments.csv', 'manifest.json'} <= {
        path.name for path in folder.iterdir()
    }
    assert json.loads((folder / 'manifest.json').read_text())['report'] == 'target'
    again = call(home, 'run', '--campaign', 'c_one')
    assert (
        again.code == 0
        and again.json['status'] == 'skipped'
        and again.json['run_id'] == made.json['run_id']
    )
    assert call(home, 'run', '--campaign', 'c_one', '--force-refresh').json['status'] == 'completed'
    shown = call(home, 'show', '--campaign', 'c_one').json
    assert set(GET) <= set(shown) and shown['adset_id'] == 'broad'
    cents = [round(100 * row['budget_amount']) for row in shown['geo_allocations']]
    assert sum(cents) == 4001 == round(100 * shown['total_budget'])
    other = call(home, 'show', '--campaign', 'c_one', '--adset', 'look').json
    assert other['adset_id'] == 'look' and other['total_budget'] == 30.02
    dry = call(home, 'apply', shown['recommendation_id'], '--as-of', EXPORTED)
    assert dry.code == 0 and dry.json['dry_run'] and dry.json['success']
    assert dry.json['applied_changes']['countries'] == shown['countries']
    assert dry.json['edit_class'] == shown['edit_class']
    rows = call(home, 'history', '--campaign', 'c_one').json
    assert len(rows) == 1 and set(CHANGED) <= set(rows[0]) and rows[0]['dry_run']
    assert rows[0]['before_ctr'] > 0 and rows[0]['after_ctr'] is None
    assert call(home, 'history', '--adset', 'look').json == []


def test_live_belongs_to_another_part(home: Path):
    for word in ('run', 'show', 'segments', 'history'):
        said = call(home, word, '--mode', 'live')
        assert said.code == 1 and said.out == '' and 'actions' in said.err, word
    assert call(home, 'run', '--campaign', 'c_two').code == 0
    for words in (('--mode', 'live'), ('--no-dry-run',)):
        said = call(home, 'apply', *words)
        assert said.code == 1 and said.json['success'] is False and 'ledger' in said.json['message']
        assert said.json['applied_changes'] == {}
    assert call(home, 'history').json == [], 'what was refused is no change'
    odd = call(home, 'run', '--mode', 'half')
    assert odd.code == 1 and odd.err.startswith('error: ') and 'half' in odd.err


def test_the_simulated_customer_is_kept_apart_and_named(home: Path):
    made = call(home, 'run', '--mode', 'stub', '--seed', '3', '--campaign', '1202000000000001')
    assert made.code == 0 and 'simulated' in made.json['message']
    assert not (home / 'reports/acme/meta/targeting').exists()
    key = made.json['campaign_ids'][0]
    shown = call(home, 'show', '--campaign', key)
    assert shown.code == 0 and shown.json['campaign_id'] == key and 'simulated' in shown.err
    done = call(home, 'apply', '--campaign', key, '--mode', 'stub', '--no-dry-run')
    assert done.code == 0 and 'STUB' in done.json['message'] and not done.json['dry_run']
    assert len(call(home, 'history', '--mode', 'stub').json) == 1
    own = call(home, 'run', '--campaign', 'c_one')
    assert own.code == 0 and call(home, 'show').json['campaign_id'] == 'c_one', (
        'her own comes first'
    )


def test_segments_are_listed_and_regions_refused(home: Path):
    rows = call(home, 'segments').json
    assert set(LISTED) <= set(rows[0]) and {row['segment_type'] for row in rows} == {'country'}
    assert rows[0]['segment_name'] == 'France', 'the best first'
    assert (
        rows[0]['avg_roas'] > rows[-1]['avg_roas']
        and rows[0]['roas']['low'] < rows[0]['roas']['high']
    )
    assert len(call(home, 'segments', '--limit', '1').json) == 1
    assert call(home, 'segments', '--segment-type', 'demographic').json == []
    for kind, word in (
        ('region', 'orders'),
        ('dma', 'orders'),
        ('hour', 'orders'),
        ('moon', 'moon'),
    ):
        said = call(home, 'segments', '--segment-type', kind)
        assert said.code == 1 and said.err.startswith('error: ') and word in said.err
        assert said.err.count('\n') == 1 and said.out == ''
    assert adsbench(home, 'target', 'segments', '-c', 'acme', '--limit', '0').code == 2
    words = adsbench(home, 'target', 'segments', '-c', 'acme')
    assert words.code == 0 and 'France' in words.out and 'NaN' not in words.out


def test_the_names_of_the_environment_work(home: Path, monkeypatch: pytest.MonkeyPatch):
    free = call(home, 'run', '--campaign', 'c_two', '--force-refresh')
    share = lambda: next(
        row
        for row in call(home, 'show', '--campaign', 'c_two').json['geo_allocations']
        if row['country_code'] == 'ES'
    )
    assert free.code == 0 and share()['floor'] == 0
    monkeypatch.setenv('TARGETING_SPAIN_MIN_PCT', '80')
    assert call(home, 'run', '--campaign', 'c_two', '--force-refresh').code == 0
    assert share()['floor'] == 0.8 and share()['budget_pct'] >= 80
    monkeypatch.setenv('META_TARGETING_ENABLED', 'false')
    off = call(home, 'run')
    assert off.code == 0 and off.json['status'] == 'disabled' and off.json['folder'] is None
    for name, value in {'META_TARGETING_INTERVAL_HOURS': '6', 'TARGETING_PRIOR_CTR': '0.02', 'TARGETING_PRIOR_CVR': '0.03', 'TARGETING_PRIOR_ROAS': '3', 'TARGETING_MAX_INTERESTS': '7', 'TARGETING_MAX_BEHAVIORS': '5', 'TARGETING_MAX_LOOKALIKES': '2'}.items():  # fmt: skip
        monkeypatch.setenv(name, value)
    found = targeting.gather(place(home, 'acme')).settings
    assert found.interval_hours == 6 and found.segments.seed.ctr == 0.02 and not found.enabled
    assert (found.segments.seed.cvr, found.segments.seed.roas) == (0.03, 3)
    assert (found.plan.max_interests, found.plan.max_behaviors, found.plan.lookalikes.most) == (
        7,
        5,
        2,
    )


def test_the_section_says_what_to_do_first(home: Path):
    page = section(home)
    words = sound(page)
    first = words.splitlines()[0]
    assert first.startswith(('Leave', 'To try first', 'No ad set')), first
    assert (
        'Clearly below it: Mexico (country)' in words
        and 'France' in words
        and '<img alt="Of 3 segments' in page
    )
    assert 'To try first' not in words, 'a campaign that is better is no plan that is better'
    assert 'age' in words and 'breakdown' in words, 'what is missing, and what would bring it'
    assert section(home) == page, 'the same files, the same page'
    assert not (home / 'reports').exists(), 'looking keeps nothing'


def test_ages_nobody_reported_stay_as_they_are(home: Path):
    call(home, 'run', '--campaign', 'c_one')
    shown = call(home, 'show', '--campaign', 'c_one').json
    fields = {row['field'] for row in shown['difference']}
    assert (
        'ages' not in fields and 'gender' not in fields and shown['suggestions']['ages'] == [18, 50]
    )


@pytest.fixture(scope='module')
def housing(tmp_path_factory) -> Path:
    "A landlord who pays in yen, planned once"
    root, told = tmp_path_factory.mktemp('yen'), ('--currency', 'JPY', '--timezone', 'Asia/Tokyo')
    sets = tuple(one._replace(budget=4001, spend=(4000, 4000)) for one in SETS)
    ruled = {'special_ad_category': 'HOUSING', 'genders': 'women', 'age_min': '18'}
    rows = adsets_csv(sets, countries='ES, MX, FR', **ruled, age_max='50')
    take(root, 'adsets.csv', rows, EXPORTED, *told)
    take(root, 'days.csv', days_csv(sets, LAST), EXPORTED, *told)
    take(root, 'places.csv', places_csv(sets), EXPORTED, *told)
    assert call(root, 'run', '--campaign', 'c_one').code == 0
    return root


@pytest.fixture(scope='module')
def landlord(housing: Path) -> str:
    "The section of her page"
    return section(housing)


def test_a_special_category_asks_for_nobody_in_particular(housing: Path, landlord: str):
    shown = call(housing, 'show', '--campaign', 'c_one').json
    assert shown['special_ad_category'] == 'HOUSING'
    assert shown['age_min'] is None and shown['gender'] is None and shown['lookalikes'] == []
    asked = json.dumps([shown['targeting'], shown['controls'], shown['suggestions']])
    assert not [w for w in ('age_min', 'age_range', 'genders', 'zips', 'lookalike') if w in asked]
    assert 'HOUSING' in sound(landlord)


def test_yen_has_no_cents(housing: Path, landlord: str):
    shown = call(housing, 'show', '--campaign', 'c_one').json
    cents = [row['budget_amount'] for row in shown['geo_allocations']]
    assert all(amount == int(amount) for amount in cents) and sum(cents) == 4001
    assert '¥' in sound(landlord)


def test_regions_with_sales_elsewhere_are_refused_on_the_page(home: Path):
    take(home, 'regions.csv', places_csv(SETS, 'region'), EXPORTED)
    words = sound(section(home))
    assert 'Not scored: region' in words and 'orders of the shop' in words
    assert 'Region,' not in words


def orders_csv(regions: dict[str, int]) -> str:
    "A shop's export: so many orders a day from each region, over the days of the account"
    days, rows = pd.date_range(end=LAST, periods=21), []
    for place_name, count in regions.items():
        for day in days:
            rows += [
                {'Created at': f'{day:%Y-%m-%d} 10:00:00 +0100', 'Shipping Province': place_name}
            ] * count
    page = pd.DataFrame(rows).assign(Currency='EUR', Subtotal=50, Total=50)
    page['Financial Status'], page['Lineitem quantity'], page['Lineitem name'] = 'paid', 1, 'Shirt'
    page['Lineitem price'] = 50
    return page.assign(Name=[f'#{n}' for n in range(1, len(page) + 1)]).to_csv(index=False)


def test_regions_are_worth_what_the_shop_sold_there(home: Path):
    take(home, 'regions.csv', places_csv(SETS, 'region'), EXPORTED)
    take(home, 'orders_export.csv', orders_csv({'es': 2, 'FR': 6}), EXPORTED)
    rows = call(home, 'segments', '--segment-type', 'region').json
    told = {row['segment_name']: row['total_conversions'] for row in rows}
    assert told['FR'] == 3 * told['ES'] > told['MX'] == 0, 'spelling aside; a region without orders'
    assert 'Not scored: region' not in section(home)
    assert call(home, 'segments', '--segment-type', 'region', '--campaign', 'c_one').json == []


def test_regions_under_other_names_stay_refused(home: Path):
    take(home, 'regions.csv', places_csv(SETS, 'region'), EXPORTED)
    take(home, 'orders_export.csv', orders_csv({'Bayern': 2, 'FR': 1}), EXPORTED)
    said = call(home, 'segments', '--segment-type', 'region')
    assert said.code == 1 and 'orders' in said.err
    assert 'under the same names' in section(home)


HARD = {  # what is hard in a name does not touch what is hard in a number, so some go together
    'html, no budget': tuple(one._replace(title=BAD, budget=None) for one in SETS),
    'alone, one week': (SETS[0]._replace(days=tuple(range(5))),),
    'nothing sold': tuple(one._replace(purchases=0, roas=(0, 0, 0)) for one in SETS),
    'paused': tuple(one._replace(status='PAUSED') for one in SETS),
}


@pytest.mark.parametrize('name', HARD)
def test_customers_who_make_it_hard(name: str, tmp_root: Path):
    account(tmp_root, HARD[name])
    sound(section(tmp_root))
    for word in ('run', 'segments'):
        said = call(tmp_root, word)
        assert said.code in (0, 1) and 'Traceback' not in said.err, said.err
        assert said.code == 0 or (said.err.startswith('error: ') and said.out == '')
        assert 'NaN' not in said.out and 'Infinity' not in said.out


def test_without_countries_ad_sets_or_ids(tmp_root: Path):
    take(tmp_root, 'days.csv', days_csv(SETS, LAST), EXPORTED)
    words = sound(section(tmp_root))
    assert words.count('No plan') == 1 and 'ad sets' in words, words
    said = call(tmp_root, 'run')
    assert said.code == 1 and '--kind adsets' in said.err
    take(tmp_root, 'adsets.csv', adsets_csv(SETS, countries='ES, MX'), EXPORTED)
    said = call(tmp_root, 'run')
    assert said.code == 1 and 'by country' in said.err
    assert 'No plan for' in sound(section(tmp_root))
    assert call(tmp_root, 'show').code == 1 and 'target run' in call(tmp_root, 'show').err


def test_another_platform_has_no_ad_sets_to_plan_for(tmp_root: Path):
    text = 'date,campaign_id,campaign_name,spend,impressions,clicks,conversions,revenue\n'
    text += ''.join(
        f'2025-11-{d:02d},7,"Native | {BAD.replace(chr(34), "")}",20.0,9000,60,3,80.0\n'
        for d in range(1, 20)
    )
    path = tmp_root / 'taboola.csv'
    path.write_text(text)
    said = adsbench(
        tmp_root,
        'ingest',
        path,
        '-c',
        'acme',
        '-p',
        'taboola',
        '--snapshot',
        EXPORTED,
        '--currency',
        'USD',
        '--timezone',
        'UTC',
        '--json',
    )
    assert said.code == 0, said.err
    words = sound(section(tmp_root, 'taboola'))
    assert len(words.splitlines()) <= 4, words
    done = adsbench(tmp_root, 'target', 'run', '-c', 'acme', '-p', 'taboola', '--json')
    assert done.code == 1 and done.err.startswith('error: ') and done.out == ''


def test_equal_segments_are_rarely_called_clear():
    rng = np.random.default_rng(11)
    clear = 0
    for values in np.exp(rng.normal(np.log(2), 0.15, (100, 24))):
        rows = pd.DataFrame(
            {
                'segment_id': range(24),
                'segment_name': 'x',
                'segment_type': 'age',
                'total_spend': 1.0,
                'roas': values,
            }
        )
        for side, sign in (('low', -1), ('high', 1)):
            rows[f'roas_{side}'] = values * np.exp(sign * 0.15 * 1.2816)
        clear += bool(
            (judged(Reach(rows, [], {}, [], {}, {'roas': 2.0}, 'EUR'))['state'] != 0).any()
        )
    assert clear <= 100 * 0.16


def test_nothing_known_is_one_sentence():
    empty = Reach(pd.DataFrame(), [], {}, [], {}, {}, 'EUR')
    assert text_of(reach_page(empty)).count('\n') == 0
    assert text_of(reach_page(Problem('no days'))).count('\n') == 0


def test_later_days_do_not_reach_back(home: Path):
    early = targeting.gather(place(home, 'acme'), targeting.Asked('2025-11-12'))
    whole = scored(early.tables, early.session.as_of, early.settings)
    cut = {n: t[t['date'] <= '2025-11-12'] if 'date' in t else t for n, t in early.tables.items()}
    pd.testing.assert_frame_equal(whole, scored(cut, early.session.as_of, early.settings))


def test_pixel_and_lists_reach_the_plan_and_nothing_else(home: Path):
    own = home / 'config/acme/meta'
    own.mkdir(parents=True, exist_ok=True)
    customs = {'pixel': '77', 'events_file': 'pixel.csv', 'lists_folder': 'lists'}
    (own / 'targeting.yaml').write_text(json.dumps({'plan': {'customs': customs}}))
    (home / 'pixel.csv').write_text('event,days,people,audience_id\nPurchase,180,5000,123\n')
    (home / 'lists').mkdir()
    people = 'email\n' + ''.join(f'buyer{n}@example.com\n' for n in range(150))
    (home / 'lists/VIP.csv').write_text(people)
    made = call(home, 'run', '--campaign', 'c_two')
    shown = call(home, 'show', '--campaign', 'c_two').json
    sizes = {one['name']: one['size'] for one in shown['custom_audiences']}
    assert sizes['VIP'] == 150 and sizes['Buyers 180 d'] == 5000
    assert len(shown['lookalikes']) == 3 and 'VIP' in shown['to_create']
    assert shown['targeting']['excluded_custom_audiences'] == [{'id': '123'}]
    files = {path.name: path.read_text() for path in Path(made.json['folder']).iterdir()}
    assert len(files['list_1.csv'].splitlines()) == 151 and '77' in files['custom_audiences.json']
    kept = [path.read_text() for path in (home / 'reports').rglob('*.*') if path.is_file()]
    assert not [text for text in kept if 'example.com' in text], 'nobody is named anywhere'
    (home / 'lists/VIP.csv').unlink()
    (home / 'lists').rmdir()
    said = call(home, 'run', '--force-refresh')
    assert said.code == 1 and 'lists_folder' in said.err and said.out == ''


def test_a_campaign_that_cannot_be_planned_stops_no_other(home: Path):
    rows = pd.read_csv(io.StringIO(adsets_csv(SETS, countries='ES, MX')))
    rows.loc[rows['adset_id'] == 'warm', 'countries'] = 'UK'
    take(home, 'adsets.csv', rows.to_csv(index=False), '2025-11-21')
    made = call(home, 'run')
    assert made.code == 0 and made.json['status'] == 'partial' and made.json['folder']
    assert made.json['campaign_ids'] == ['c_one'] and list(made.json['failed']) == ['c_two']
    assert 'GB' in made.json['failed']['c_two'] and 'c_two' in made.json['message']
    assert call(home, 'show', '--campaign', 'c_one').json['countries'] == ['ES', 'MX']
    said = call(home, 'run', '--campaign', 'c_two')
    assert said.code == 1 and 'GB' in said.err, 'of one campaign nothing came: an error'
    assert 'No plan for c_two' in sound(section(home))


def test_executed_changes_stand_in_the_history(home: Path):
    log = 'at,campaign_id,adset_id,field,old,new,by\n'
    log += '2025-11-05T10:00:00Z,c_one,broad,targeting,"{""age_min"": 18}","{""age_min"": 25}",me\n'
    log += '2025-11-05T11:00:00Z,c_one,broad,daily_budget,10,12,me\n'
    take(home, 'changes.csv', log, EXPORTED)
    assert call(home, 'run', '--campaign', 'c_one').code == 0
    assert call(home, 'apply', '--campaign', 'c_one').json['dry_run']
    rows = call(home, 'history', '--adset', 'broad').json
    assert [row['source'] for row in rows] == ['run', 'log'], 'budgets are no targeting'
    done = rows[1]
    assert done['old_targeting'] == {'age_min': 18} and done['new_targeting'] == {'age_min': 25}
    assert done['campaign_id'] == 'c_one' and not done['dry_run'] and done['before_roas'] > 0
    assert done['after_roas'] is None, 'its two weeks are not over'
    assert call(home, 'history', '--adset', 'warm').json == []
