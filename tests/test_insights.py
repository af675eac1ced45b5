"What a diagnosis says of accounts whose truth is known, and that it holds its tongue otherwise"

import itertools
import json
import warnings

import numpy as np
import pandas as pd
import pytest
from hypothesis import HealthCheck, example, given
from hypothesis import settings as tuned
from hypothesis import strategies as st

from adsbench.data.disk import place
from adsbench.data.ingest import Request, ingest
from adsbench.data.layers import read_layers
from adsbench.data.names import Problem
from adsbench.data.settings import find_root, section
from adsbench.diagnose.breaks import Breaks, breaks
from adsbench.diagnose.breaks import Evidence as Seen
from adsbench.diagnose.case import Ask, finest, gather
from adsbench.diagnose.chain import DriverSettings
from adsbench.diagnose.evidence import Diagnosis, Insight
from adsbench.diagnose.insights import diagnose
from adsbench.diagnose.outputs import files
from adsbench.diagnose.questions import Case
from adsbench.diagnose.recommendations import Recommendations, recommend
from adsbench.diagnose.thresholds import DiagnoseSettings
from adsbench.diagnose.tracking import findings
from adsbench.diagnose.views import window
from adsbench.stats.compare import CompareSettings

HOUSE = section(read_layers(find_root(), environ={}), 'recommendations', Recommendations)
END = '2026-06-21'
MEASURES = ('spend', 'impressions', 'clicks', 'purchases', 'revenue')
LABELS = ('adset_id', 'campaign_id', 'audience_type', 'country', 'creative_type')
TESTS = {'t_test', 'mann_whitney', 'cohens_d', 'cliffs_delta'}


def account(
    days: int = 70,
    seed: int = 3,
    adsets: int = 12,
    change=None,  # (rows, whether now, factor of each measure) -> None, in place
    size: float = 400.0,
) -> pd.DataFrame:
    "Days of ad sets in campaigns of four, with attributes that cross; noise and Poisson luck"
    rng, each = np.random.default_rng(seed), np.arange(adsets)
    dates = pd.date_range(end=END, periods=days).as_unit('us')
    pick = lambda words, place: np.array(words)[place % len(words)]
    labels = {
        'adset_id': [f's{i:02d}' for i in each],
        'campaign_id': [f'c{i // 4}' for i in each],
        'audience_type': pick(['broad', 'lookalike', 'retargeting'], each),
        'country': pick(['US', 'GB'], each // 2),
        'creative_type': pick(['Video', 'Image', 'Carousel'], each // 3),
    }
    rows = pd.DataFrame({'date': np.repeat(dates, adsets)})
    for name, words in labels.items():
        rows[name] = pd.array(list(words) * days, dtype='str')
    noise = np.exp(rng.normal(0, 0.05, (len(rows), 4)))
    factor = {m: np.ones(len(rows)) for m in ('spend', 'cpm', 'ctr', 'cvr', 'aov')}
    if change is not None:
        change(rows, (rows['date'] > dates[-8]).to_numpy(), factor)
    rows['spend'] = size * noise[:, 0] * factor['spend']
    seen = rng.poisson(rows['spend'] * 100 / factor['cpm'])
    clicks = rng.binomial(seen, np.clip(0.015 * noise[:, 1] * factor['ctr'], 0, 1))
    bought = rng.binomial(clicks, np.clip(0.04 * noise[:, 2] * factor['cvr'], 0, 1))
    told = {'impressions': seen, 'clicks': clicks, 'purchases': bought}
    rows = rows.assign(**{name: values.astype(float) for name, values in told.items()})
    return rows.assign(revenue=rows['purchases'] * 60 * noise[:, 3] * factor['aov'])


def fall(measure: str, by: str | None, value: str, factor: float):
    "A change of one measure of one segment (or of the account) in the current window"

    def change(rows, now, factors):
        mine = now if by is None else now & (rows[by] == value).to_numpy()
        factors[measure][mine] *= factor

    return change


def case(
    tables: dict, look: bool = False, settings: DiagnoseSettings | None = None, **analysis
) -> Case:
    "A case of tables, the windows ending with the last day"
    given = settings or DiagnoseSettings()
    told = given.model_dump() | {'analysis': given.analysis.model_dump() | analysis}
    given = DiagnoseSettings.model_validate(told)
    yard, first = given.compared(CompareSettings()), next(iter(tables.values()))
    days = window(first['date'].max(), *yard.widths)
    seen = Seen(first, None, tables, None, as_of=days.current[1])
    found = breaks(seen, given.breaks) if look else None
    return Case(tables, days, given, yard, given.causes, found, {'currency': 'EUR'})


def run(rows: pd.DataFrame, name: str = 'days_adset', **more) -> Diagnosis:
    "The diagnosis of one table"
    return diagnose(case({name: rows}, **more))


def told(found: Diagnosis) -> list[tuple]:
    "Validated insights in short"
    return [(one.evidence_type, one.segment) for one in found.validated]


def sound(found: Diagnosis, settings: DiagnoseSettings | None = None) -> None:
    "What is true of any diagnosis whatever the data"
    bars = (settings or DiagnoseSettings()).thresholds
    ids = [one.id for one in found.insights if one.validated]
    assert len(set(ids)) == len(ids), 'two validated insights share an id'
    known = {one.id: one for one in found.insights}
    for one in found.insights:
        assert one.validated == (one.state == 'validated') and one.reason and one.evidence
        assert one.state in ('validated', 'covered', 'noise', 'small', 'thin', 'unsure')
        assert 0 <= one.confidence <= 1
        if one.covered_by:
            assert not one.validated and one.covered_by in known
        if one.state == 'covered' and 'late reports' not in one.reason:
            assert one.covered_by, one.hypothesis
        if one.validated and one.evidence_type != 'tracking_break':
            assert one.confidence >= bars.confidence_minimum
            assert one.severity in ('moderate', 'severe')
            for piece in one.evidence:
                least = 100 * bars.sizes(piece.metric)[0]
                assert piece.q <= bars.q_threshold
                assert abs(piece.relative_delta_pct) >= least - 1e-7
                assert piece.n >= 30
                assert min(piece.low_pct, piece.high_pct) <= piece.estimate_pct
    log = found.hypotheses
    assert log['state'].notna().all() and (log['reason'].str.len() > 0).all()
    assert not (log['state'] == 'found').any(), 'every hypothesis has a final state'
    assert log['id'].is_unique
    assert found.about['validated'] == len(found.validated)
    told = files(found, recommend(found.insights, HOUSE, found.about))
    page = json.loads(told['insights.json'], parse_constant=pytest.fail)
    assert len(page['insights']) == len(found.insights)
    assert len(told['log.jsonl'].splitlines()) >= len(log)
    assert 'nan' not in told['report.md'].lower().split() and 'inf' not in told['report.md'].split()


# ------------------------------------------------------------------ 1. undergarments


@pytest.fixture(scope='module')
def shop(shared, tmp_path_factory):
    "The customer of the public undergarments export"
    file = shared / 'undergarments' / 'synthetic_fb_ads_undergarments.csv'
    if not file.is_file():
        pytest.skip(f'public data absent: {file}')
    at = place(tmp_path_factory.mktemp('root'), 'shop')
    ingest(at, [file], Request(currency='INR', timezone='Asia/Kolkata'))
    return at


def test_undergarments_has_no_targeting_story(shop):
    asked = gather(shop, Ask(provisional_days=0))
    found = diagnose(asked)
    about = found.about
    last = asked.tables[finest(asked.tables)]['date'].max()
    assert asked.days == window(last, 14, 7) and about['provisional_days'] == 0
    told = [round(about[name], 3) for name in ('roas_before', 'roas_after')]
    assert told == [5.792, 5.227]
    assert [round(about[f'ctr_{side}'], 5) for side in ('before', 'after')] == [0.01257, 0.01284]
    random = {'audience_type', 'country', 'platform', 'creative_type', 'creative_message'}
    for one in found.validated:
        assert not random & set(one.segment), one.hypothesis
    change = 100 * (about['roas_after'] / about['roas_before'] - 1)
    assert found.drivers['percent'].sum() == pytest.approx(change, abs=1e-9)
    total = about['roas_after'] - about['roas_before']
    assert found.drivers['effect'].sum() == pytest.approx(total, abs=1e-9)
    sound(found, asked.settings)


def test_undergarments_leaves_unfinished_days_out(shop):
    asked = gather(shop)
    last = asked.tables[finest(asked.tables)]['date'].max()
    late = asked.about['provisional_days']
    assert late > 0 and asked.days.current[1] == last - pd.Timedelta(days=late)
    found = diagnose(asked)
    assert found.about['provisional_days'] == late and found.about['provisional_from']
    assert all(not piece.provisional for one in found.insights for piece in one.evidence)
    assert 'may still change' in files(found, [])['report.md']


# ------------------------------------------------------------------ 2. a planted third


def planted_third(seed: int = 0) -> pd.DataFrame:
    "Eight ad sets, ten days of about 300 for 100 and ten of about 200"
    rng = np.random.default_rng(seed)
    dates = pd.date_range(end=END, periods=20).as_unit('us')
    rows = pd.DataFrame(
        list(itertools.product(dates, [f's{i}' for i in range(8)])), columns=['date', 'adset_id']
    ).astype({'adset_id': 'str'})
    level = np.where(rows['date'] > dates[9], 200, 300)
    return rows.assign(spend=100.0, revenue=rng.normal(level, 20))


@pytest.mark.parametrize('seed', range(2))
def test_a_planted_third_is_one_severe_insight(seed):
    found = run(planted_third(seed), baseline_days=10, current_days=10)
    assert [one.segment for one in found.validated] == [{}], [i.reason for i in found.insights]
    (one,) = found.validated
    assert (one.severity, one.evidence_type) == ('severe', 'global_performance')
    assert one.direction == 'down' and one.worse and one.priority == 'high'
    assert one.evidence[0].metric == 'roas'
    assert one.evidence[0].relative_delta_pct == pytest.approx(-33.3, abs=2)
    assert set(one.tests['roas']) == TESTS and one.tests['roas']['t_test']['significant']
    assert one.money == pytest.approx(-8000, rel=0.1)
    sound(found)


# ------------------------------------------------------------------ 3. a planted loss


@pytest.mark.parametrize('days', [112, 21])
@pytest.mark.parametrize('factor', [0.1, pytest.param(0.0)])
def test_a_planted_loss_is_found_and_reported_once(days, factor):
    found = run(account(days, change=fall('cvr', 'adset_id', 's04', factor)))
    assert told(found) == [('landing_page', {'ad set': 's04'})]
    (one,) = found.validated
    assert one.severity == 'severe' and one.worse and one.confidence > 0.95
    for other in found.insights[1:]:
        if other.state == 'covered':
            assert other.covered_by == one.id
    log = found.hypotheses.query('attribute == "adset_id" and value == "s04" and metric == "roas"')
    assert log['state'].tolist() == ['validated'] and log['id'].tolist() == [one.id]
    sound(found)


@pytest.mark.parametrize('factor', [0.1, pytest.param(0.0)])
def test_a_planted_loss_costs_what_is_missing(factor):
    rows = account(change=fall('cvr', 'adset_id', 's04', factor))
    (one,) = run(rows).validated
    mine = rows[rows['adset_id'] == 's04']
    now = mine['date'] > mine['date'].max() - pd.Timedelta(days=7)
    usual = mine[~now].tail(14)
    fair = usual['revenue'].sum() / usual['spend'].sum() * mine[now]['spend'].sum()
    assert one.money == pytest.approx(mine[now]['revenue'].sum() - fair, rel=0.25)
    assert one.impact == 'high' and one.priority == 'high'


# ------------------------------------------------------------------ 4. nothing happened


@pytest.mark.parametrize('days', [70, 21])
def test_identical_days_say_nothing(days):
    rows = account(days)
    first = rows[rows['date'] == rows['date'].min()]
    same = pd.concat([first.assign(date=day) for day in rows['date'].unique()], ignore_index=True)
    found = run(same)
    assert not found.insights and not found.about['raised']
    sound(found)


def test_a_quiet_account_is_quiet():
    loud = [run(account(seed=seed)).about['validated'] > 0 for seed in range(6)]
    assert sum(loud) <= 1


# ------------------------------------------------------------------ 5. only video


def two_kinds(rows, now, factors):
    "Half of the ad sets are Video, by turns, and Video falls"
    kind = np.where(rows['adset_id'].str[-1].isin(list('02468')), 'Video', 'Image')
    rows['creative_type'] = pd.array(kind, dtype='str')
    fall('cvr', 'creative_type', 'Video', 0.5)(rows, now, factors)


@pytest.mark.parametrize('days', [70, 21])
@pytest.mark.parametrize(
    'change', [fall('cvr', 'creative_type', 'Video', 0.5), two_kinds], ids=['three', 'two']
)
def test_only_video_falls(days, change):
    found = run(account(days, seed=2, change=change))
    assert {'creative_type': 'Video'} in [one.segment for one in found.validated]
    assert found.validated[0].segment == {'creative_type': 'Video'}
    for one in found.validated:
        assert 'Image' not in one.segment.values(), one.hypothesis
    sound(found)


def test_one_change_of_a_kind_is_one_insight():
    "Ad sets inside Video are the same change: said twice in few runs"
    twice = []
    for seed in range(6):
        rows = account(112, seed=seed, change=fall('cvr', 'creative_type', 'Video', 0.5))
        video = set(rows.loc[rows['creative_type'] == 'Video', 'adset_id'])
        found = [one for one in run(rows).validated if one.worse]
        assert {'creative_type': 'Video'} in [one.segment for one in found]
        twice.append(any(one.segment.get('ad set') in video for one in found))
    assert sum(twice) <= 1, twice


# ------------------------------------------------------------------ 6. fatigue


def ads(ctr=1.0, frequency=1.0, spend=1.0, low=1.0, days: int = 70, young: int = 0) -> pd.DataFrame:
    "Days of eight ads; of s01 these change in the current window, and its level is `low`"
    one = lambda rows: (rows['adset_id'] == 's01').to_numpy()

    def change(rows, now, factors):
        factors['ctr'][one(rows)] *= low
        factors['ctr'][now & one(rows)] *= ctr
        factors['spend'][now & one(rows)] *= spend

    rows = account(days, seed=1, adsets=8, change=change, size=2000.0)
    now = (rows['date'] > rows['date'].max() - pd.Timedelta(days=7)).to_numpy()
    rows['frequency'] = np.where(now & one(rows), 1.5 * frequency, 1.5)
    if young:
        rows = rows[~one(rows) | (rows['date'] > rows['date'].max() - pd.Timedelta(days=young))]
    kept = ['date', 'adset_id', 'frequency', *MEASURES]
    return rows[kept].rename(columns={'adset_id': 'ad_id'}).reset_index(drop=True)


def test_a_click_rate_down_with_frequency_up_is_fatigue():
    found = run(ads(ctr=0.6, frequency=1.4), name='days_ad')
    assert told(found) == [('creative_fatigue', {'ad': 's01'})]
    (one,) = found.validated
    assert 'frequency rose by 40 %' in one.hypothesis and one.driver == 'Creative fatigue'
    assert any(piece.metric == 'ctr' for piece in one.evidence)


def test_fatigue_needs_spend_and_a_sign_of_age():
    cut = run(ads(ctr=0.6, frequency=1.4, spend=0.4), name='days_ad')
    assert [one.segment for one in cut.validated] == [{'ad': 's01'}]
    assert cut.validated[0].evidence_type != 'creative_fatigue'
    fresh = run(ads(ctr=0.6, days=20, young=20), name='days_ad', baseline_days=13)
    assert [one.segment for one in fresh.validated] == [{'ad': 's01'}]
    assert fresh.validated[0].evidence_type != 'creative_fatigue', 'young, seen as often as before'


def test_a_low_but_constant_click_rate_is_no_fatigue():
    found = run(ads(low=0.3, frequency=1.4), name='days_ad')
    assert not found.validated
    assert all(one.evidence_type != 'creative_fatigue' for one in found.insights)


# ------------------------------------------------------------------ 7. kinds


@pytest.mark.parametrize(
    ('measure', 'factor', 'kind', 'driver'),
    [
        ('cpm', 2.0, 'cost_pressure', 'Cost pressure'),
        ('cvr', 0.4, 'landing_page', 'Landing page or checkout'),
        ('aov', 0.4, 'order_value', 'Order value'),
    ],
)
def test_each_driver_has_its_kind(measure, factor, kind, driver):
    found = run(account(change=fall(measure, 'adset_id', 's07', factor)))
    assert told(found) == [(kind, {'ad set': 's07'})]
    assert found.validated[0].driver == driver and found.validated[0].money < 0
    sound(found)


@pytest.mark.parametrize(('opened', 'driver'), [(0.5, 'Landing page'), (1.0, 'Checkout')])
def test_page_views_tell_the_page_from_the_checkout(opened, driver):
    rows = account(change=fall('cvr', 'adset_id', 's07', 0.4))
    hit = (rows['date'] > rows['date'].max() - pd.Timedelta(days=7)) & (rows['adset_id'] == 's07')
    views = 0.8 * rows['clicks'] * np.where(hit, opened, 1.0)
    found = run(rows.assign(landing_page_views=views))
    assert told(found) == [('landing_page', {'ad set': 's07'})]
    assert found.validated[0].driver == driver


def test_a_gain_is_a_gain():
    found = run(account(change=fall('cvr', 'adset_id', 's07', 2.0)))
    assert told(found) == [('segment_gain', {'ad set': 's07'})]
    (one,) = found.validated
    assert not one.worse and one.direction == 'up' and one.money > 0
    sound(found)


@pytest.mark.parametrize(
    ('measure', 'factor'), [('cvr', 0.5), pytest.param('aov', 0.5), ('cpm', 2.0)]
)
def test_the_account_names_its_driver_and_its_roas(measure, factor):
    found = run(account(112, change=fall(measure, None, '', factor)))
    assert told(found) == [('global_performance', {})]
    (one,) = found.validated
    pieces = {piece.metric: piece for piece in one.evidence}
    assert measure in pieces and one.money == pytest.approx(-found.about['revenue'], rel=0.1)
    assert 'roas' in pieces, 'roas fell by half as well'
    assert pieces['roas'].low_pct <= -45 and pieces['roas'].estimate_pct < -40


def test_more_spend_at_a_lower_return_is_saturation():
    def change(rows, now, factors):
        fall('spend', 'adset_id', 's07', 2.0)(rows, now, factors)
        fall('cvr', 'adset_id', 's07', 0.5)(rows, now, factors)

    found = run(account(change=change))
    assert told(found) == [('saturation', {'ad set': 's07'})]
    assert 'while spend rose by' in found.validated[0].hypothesis


def moved_budget(rows, now, factors):
    "Money leaves the campaign that returns four times as much; no rate changes"
    rich = (rows['campaign_id'] == 'c0').to_numpy()
    factors['aov'][rich] = 4
    factors['spend'][now & rich] = 0.2
    factors['spend'][now & ~rich] = 1.4


def test_money_that_moved_between_campaigns_is_budget_mix():
    rows = account(112, change=moved_budget)
    found = run(rows.drop(columns=['audience_type', 'country', 'creative_type']))
    assert [one.evidence_type for one in found.validated] == ['budget_mix']
    (one,) = found.validated
    assert one.segment == {} and one.worse and one.money < 0
    sound(found)


def test_conversions_that_stop_are_a_tracking_break_and_cover_what_fell():
    found = run(account(change=fall('cvr', None, '', 0.0)), look=True)
    assert told(found) == [('tracking_break', {})]
    (stop,) = found.validated
    assert stop.severity == 'severe' and stop.priority == 'high' and stop.worse
    rest = found.insights[1:]
    assert rest and all(one.state == 'covered' and one.covered_by == stop.id for one in rest)
    sound(found)


def test_the_evidence_of_a_stop_is_in_the_unit_of_its_metric():
    (stop,) = run(account(change=fall('cvr', None, '', 0.0)), look=True).validated
    lead = stop.evidence[0]
    if lead.metric == 'cvr':
        assert lead.baseline_value == pytest.approx(0.04, rel=0.1), 'purchases a day are no rate'


def stopped_apart(rows, now, factors):
    "One ad set loses its pixel; elsewhere a campaign sells cheaper goods"
    fall('cvr', 'adset_id', 's05', 0.0)(rows, now, factors)
    fall('aov', 'campaign_id', 'c2', 0.5)(rows, now, factors)


def test_a_stop_of_one_ad_set_is_told_of_that_ad_set():
    found = run(account(112, change=stopped_apart), look=True)
    stops = [one for one in found.validated if one.evidence_type == 'tracking_break']
    assert [one.segment for one in stops] == [{'ad set': 's05'}]
    elsewhere = [one for one in found.validated if one.evidence_type == 'order_value']
    assert [one.segment for one in elsewhere] == [{'campaign': 'c2'}], 'a stop covers its own only'


def test_two_stops_are_two_insights_with_two_ids():
    def change(rows, now, factors):
        fall('cvr', 'adset_id', 's05', 0.0)(rows, now, factors)
        fall('cvr', 'adset_id', 's08', 0.0)(rows, now, factors)

    found = run(account(change=change), look=True)
    stops = [one for one in found.validated if one.evidence_type == 'tracking_break']
    assert len(stops) == 2 and len({one.id for one in stops}) == 2


def test_late_reports_cover_the_drop_of_the_account():
    asked = case({'days_adset': account(change=fall('cvr', None, '', 0.5))})
    late = {
        'check': 'reporting_lag',
        'since': asked.days.current[0],
        'until': asked.days.current[1],
    }
    seen = Breaks(findings([late]), pd.DataFrame({'check': [], 'why': []}))
    found = diagnose(asked._replace(breaks=seen))
    assert not found.validated
    covered = [one for one in found.insights if one.state == 'covered' and not one.segment]
    assert covered and 'late reports' in covered[0].reason


def test_a_season_is_named_when_last_year_did_the_same():
    def change(rows, now, factors):
        year = rows['date'] - pd.Timestamp(END)
        last = year.between(pd.Timedelta(days=-370), pd.Timedelta(days=-364)).to_numpy()
        factors['cvr'][now | last] *= 0.5

    assert told(run(account(400, adsets=4, change=change))) == [('seasonality', {})]


# ------------------------------------------------------------------ 8. sizes


@pytest.mark.parametrize(
    ('clicks', 'grave', 'pct'),
    [(1500.0, 'severe', -25.0), (1500.2, 'moderate', -24.99), (1799.8, 'moderate', -10.01)],
)
@pytest.mark.parametrize('days', [70, 21])
def test_a_quarter_is_severe_and_a_little_less_is_moderate(clicks, grave, pct, days):
    dates = pd.date_range(end=END, periods=days).as_unit('us')
    rows = pd.DataFrame(
        list(itertools.product(dates, [f's{i}' for i in range(8)])), columns=['date', 'adset_id']
    ).astype({'adset_id': 'str'})
    hit = (rows['adset_id'] == 's3') & (rows['date'] > dates[-8])
    rows = rows.assign(spend=500.0, impressions=1e5, clicks=np.where(hit, clicks, 2000.0))
    found = run(rows)
    assert [one.segment for one in found.validated] == [{'ad set': 's3'}], found.insights
    (one,) = found.validated
    assert one.severity == grave and one.evidence[0].relative_delta_pct == pytest.approx(pct)
    assert one.evidence[0].baseline_value == pytest.approx(0.02)


# ------------------------------------------------------------------ 9. bad input

PLAIN = account(58, adsets=6, seed=4).drop(columns='audience_type')


def survives(rows: pd.DataFrame, name: str = 'days_adset', **more) -> Diagnosis | None:
    "The diagnosis, or None with a message; no other exception, no warning of arithmetic"
    with warnings.catch_warnings():
        warnings.simplefilter('error', RuntimeWarning)
        try:
            found = run(rows, name, look=True, **more)
        except Problem as problem:
            assert len(str(problem)) > 20
            return None
    sound(found)
    return found


@pytest.mark.parametrize('days', [58, 21])
@pytest.mark.parametrize(
    'gone',
    [
        ('clicks',),
        ('purchases',),
        ('revenue',),
        ('impressions',),
        ('spend',),
        ('revenue', 'purchases'),
        ('impressions', 'clicks', 'purchases'),
        tuple(name for name in LABELS if name in PLAIN),
    ],
    ids=' '.join,
)
def test_columns_that_are_missing_cost_only_what_needs_them(gone, days):
    rows = PLAIN[PLAIN['date'] > PLAIN['date'].max() - pd.Timedelta(days=days)]
    found = survives(rows.drop(columns=list(gone)))
    assert found is not None and not found.validated and found.about['tested'] > 0
    if 'revenue' in gone:
        assert np.isnan(found.about['roas_before']) and np.isnan(found.about['revenue'])
        page = json.loads(files(found, [])['insights.json'])['metadata']
        assert page['roas_before'] is None and page['revenue'] is None, 'unknown is not 0'
        assert any('revenue' in note for note in found.notes)


@pytest.mark.parametrize('gone', [MEASURES[1:], MEASURES], ids=['spend only', 'no measure'])
def test_without_any_ratio_there_is_a_message(gone):
    survives(PLAIN.drop(columns=list(gone)))


def test_leads_are_enough():
    rows = account(change=fall('cvr', 'adset_id', 's04', 0.1))
    found = survives(rows.rename(columns={'purchases': 'leads'}).drop(columns='revenue'))
    assert found is not None and told(found) == [('landing_page', {'ad set': 's04'})]
    assert found.validated[0].evidence[0].metric == 'cpl' and found.validated[0].money < 0


def test_renamed_columns_are_missing_columns():
    found = survives(PLAIN.rename(columns={'revenue': 'Umsatz', 'clicks': 'Klicks'}))
    assert found is not None and not found.validated


def test_a_table_without_a_date_is_a_message():
    asked = case({'days_adset': PLAIN})
    with pytest.raises(Problem):
        diagnose(asked._replace(tables={'days_adset': PLAIN.drop(columns='date')}))


@pytest.mark.parametrize('value', [np.nan, np.inf, -50.0])
@pytest.mark.parametrize('measure', MEASURES)
def test_bad_cells_are_survived(measure, value):
    bad = np.random.default_rng(1).random(len(PLAIN)) < 0.03
    found = survives(PLAIN.assign(**{measure: PLAIN[measure].mask(bad, value)}))
    assert found is not None
    if np.isinf(value):
        blank = run(PLAIN.assign(**{measure: PLAIN[measure].mask(bad)}), look=True)
        assert told(found) == told(blank), 'what is endless is unknown'


@pytest.mark.parametrize('measure', ['spend', 'revenue'])
def test_an_endless_amount_does_not_make_the_total_endless(measure):
    bad = PLAIN.index == PLAIN.index[-3]
    found = run(PLAIN.assign(**{measure: PLAIN[measure].mask(bad, np.inf)}))
    whole = PLAIN.loc[~bad & (PLAIN['date'] > PLAIN['date'].max() - pd.Timedelta(days=7)), measure]
    assert found.about[measure] == pytest.approx(whole.sum())


@pytest.mark.parametrize('value', [np.nan, 0.0])
@pytest.mark.parametrize('measure', MEASURES)
def test_a_measure_that_is_bad_throughout_is_survived(measure, value):
    with warnings.catch_warnings():
        warnings.simplefilter('ignore', RuntimeWarning)
        found = run(PLAIN.assign(**{measure: value}), look=True)
    assert not found.validated
    sound(found)


@pytest.mark.parametrize('measure', ['spend', 'revenue', 'clicks'])
def test_a_blank_measure_does_not_warn(measure):
    survives(PLAIN.assign(**{measure: np.nan}))


def test_one_segment_one_campaign_and_few_days():
    one = survives(PLAIN[PLAIN['adset_id'] == 's00'])
    assert one is not None and not one.validated and np.isnan(one.about['detectable'])
    whole = PLAIN[PLAIN['campaign_id'] == 'c0'].drop(columns='adset_id')
    assert survives(whole, 'days_campaign') is not None
    last = PLAIN['date'].max()
    assert survives(PLAIN[PLAIN['date'] > last - pd.Timedelta(days=3)]) is None
    assert survives(PLAIN, baseline_days=40, current_days=40) is None


@pytest.mark.parametrize('rows', ['none', 'no baseline', 'no current', 'a gap'])
def test_an_empty_window_is_a_message(rows):
    asked, date = case({'days_adset': PLAIN}), PLAIN['date']
    first, last = asked.days.baseline[0], asked.days.current[0]
    kept = {
        'none': date < date.min(),
        'no baseline': date >= last,
        'no current': date < last,
        'a gap': (date < first) | (date >= last),
    }[rows]
    with pytest.raises(Problem, match='export these days'):
        diagnose(asked._replace(tables={'days_adset': PLAIN[kept]}))
    other = PLAIN.assign(ad_id=PLAIN['adset_id'])[kept]
    found = diagnose(asked._replace(tables={'days_adset': PLAIN, 'days_ad': other}))
    assert any(note.startswith('days_ad has no rows') for note in found.notes)


def test_no_table_of_days_is_a_message():
    asked = case({'days_adset': PLAIN})
    for tables in ({}, {'adsets': PLAIN}):
        with pytest.raises(Problem):
            diagnose(asked._replace(tables=tables))


def test_long_windows_without_quiet_ones_still_have_a_yardstick():
    "Sixty days hold one pair of 40 and 20: nothing to learn from, so the fallback judges"
    rows = account(63, change=None, seed=5)
    now = rows['date'] > rows['date'].max() - pd.Timedelta(days=20)
    hit = now & (rows['adset_id'] == 's04')
    rows = rows.assign(revenue=rows['revenue'].mask(hit, rows['revenue'] * 0.1))
    found = run(rows, baseline_days=40, current_days=20)
    assert found.about['tested'] > 50
    assert [one.segment for one in found.validated] == [{'ad set': 's04'}]


def test_values_of_other_types_change_nothing():
    rows = account(change=fall('cvr', 'adset_id', 's04', 0.1))
    wanted = told(run(rows))
    counts = ['impressions', 'clicks', 'purchases']
    assert told(run(rows.astype(dict.fromkeys(counts, 'int64')))) == wanted
    assert told(run(rows.astype({'adset_id': 'category', 'country': 'object'}))) == wanted
    blank = rows.assign(country=rows['country'].mask(rows['country'] == 'GB'))
    assert told(run(blank)) == wanted


# ------------------------------------------------------------------ 10. determinism


def short(found: Diagnosis) -> list[tuple]:
    "Every insight, without digits that the order of a sum may move"
    number = lambda value: None if np.isnan(value) else round(float(value), 4)
    row = lambda one: (one.id, one.state, one.evidence_type, one.segment, one.covered_by)
    return [(*row(one), number(one.money), number(one.confidence)) for one in found.insights]


LOST = account(112, change=fall('cvr', 'creative_type', 'Video', 0.5))


def coarser(rows: pd.DataFrame, by: str) -> pd.DataFrame:
    "Sums by campaign and a breakdown"
    return rows.groupby(['date', 'campaign_id', by], as_index=False)[list(MEASURES)].sum()


def test_order_of_rows_and_tables_is_irrelevant():
    fine = LOST.drop(columns='country')
    tables = {'days_adset': fine, 'days_campaign_by_country': coarser(LOST, 'country')}
    first = diagnose(case(tables))
    mixed = {
        name: rows.sample(frac=1, random_state=7) for name, rows in reversed(list(tables.items()))
    }
    again = diagnose(case(mixed))
    assert short(first) == short(again) and first.insights
    assert [i.id for i in first.validated] == [i.id for i in diagnose(case(tables)).validated]
    assert 'country' in set(first.hypotheses['attribute'])


def test_the_future_changes_nothing():
    asked = case({'days_adset': LOST}, look=True)
    days = LOST[LOST['date'] > LOST['date'].max() - pd.Timedelta(days=9)]
    wild = {m: 1e9 * (1 + np.arange(len(days)) % 3) for m in MEASURES}
    after = days.assign(date=days['date'] + pd.Timedelta(days=9), adset_id='new', **wild)
    poisoned = pd.concat([LOST, after], ignore_index=True)
    found = diagnose(asked._replace(tables={'days_adset': poisoned}))
    wanted = diagnose(asked)
    assert short(found) == short(wanted) and wanted.validated
    assert found.about == wanted.about
    pd.testing.assert_frame_equal(found.hypotheses, wanted.hypotheses)
    pd.testing.assert_frame_equal(found.strongest, wanted.strongest)


def test_nothing_given_is_changed():
    before = LOST.copy(deep=True)
    run(LOST, look=True)
    pd.testing.assert_frame_equal(LOST, before)


# ------------------------------------------------------------------ 11. invariants


@tuned(max_examples=15, suppress_health_check=list(HealthCheck))
@given(
    seed=st.integers(0, 10**6),
    days=st.sampled_from([20, 21, 24, 40, 57, 64]),
    adsets=st.integers(1, 6),
    measure=st.sampled_from(['spend', 'cpm', 'ctr', 'cvr', 'aov']),
    factor=st.sampled_from([0.0, 0.05, 0.4, 0.8, 1.0, 1.5, 4.0]),
    gone=st.sets(st.sampled_from(MEASURES), max_size=2),
    size=st.sampled_from([3.0, 40.0, 400.0]),
)
@example(seed=1, days=64, adsets=4, measure='spend', factor=0.05, gone=set(), size=400.0)
def test_what_is_validated_has_passed_every_bar(seed, days, adsets, measure, factor, gone, size):
    change = fall(measure, 'adset_id', 's00', factor)
    rows = account(days, seed, adsets, change, size).drop(columns=sorted(gone))
    try:
        found = run(rows)
    except Problem:
        assert days < 21
        return
    sound(found)


# ------------------------------------------------------------------ 12. adaptive


def wild(rows, now, factors):
    "A rough account: every ad set's conversion rate wanders by weeks"
    rng = np.random.default_rng(0)
    week = ((rows['date'] - rows['date'].min()).dt.days // 7).to_numpy()
    place = rows['adset_id'].str[1:].astype(int).to_numpy()
    factors['cvr'] *= np.exp(rng.normal(0, 0.35, (week.max() + 1, place.max() + 1)))[week, place]


def test_sizes_can_be_learnt_from_the_history():
    plain = DiagnoseSettings()
    learning = plain.model_copy(
        update={'adaptive': plain.adaptive.model_copy(update={'enabled': True})}
    )
    least = lambda found: found.hypotheses.query('metric == "roas" and state == "small"')['reason']
    rough = account(112, change=wild)
    off, on = run(rough), run(rough, settings=learning)
    assert least(off).str.contains('smaller than 15%').all()
    assert not least(on).str.contains('smaller than 15%').any(), 'this account moves by more'
    calm = account(112, change=fall('ctr', 'adset_id', 's04', 0.92), size=40000.0)
    fixed, learnt = run(calm), run(calm, settings=learning)
    assert not fixed.validated, 'eight per cent is little in general'
    assert [one.segment for one in learnt.validated] == [{'ad set': 's04'}], 'and much here'
    assert 'ctr' in [piece.metric for piece in learnt.validated[0].evidence]


def test_without_history_the_fixed_sizes_hold():
    plain = DiagnoseSettings()
    adaptive = plain.adaptive.model_copy(update={'enabled': True})
    learning = plain.model_copy(update={'adaptive': adaptive})
    rows = account(21, change=fall('cvr', 'adset_id', 's04', 0.1))
    assert short(run(rows)) == short(run(rows, settings=learning))


# ------------------------------------------------------------------ the rest of a diagnosis


def test_the_picture_of_the_strongest_segment():
    found = run(LOST)
    shown = found.strongest
    assert list(shown) == ['date', 'value', 'baseline', 'low', 'high']
    assert shown['date'].max() == LOST['date'].max() and shown['date'].is_monotonic_increasing
    last, lead = shown.iloc[-1], found.validated[0].evidence[0]
    assert last['value'] == pytest.approx(lead.current_value) and last['value'] < last['low']
    assert last['baseline'] == pytest.approx(lead.baseline_value)
    assert found.about['strongest']['segment'] == 'creative type Video'


def test_an_edit_then_and_there_is_named_as_likely():
    rows = account(change=fall('cvr', 'adset_id', 's04', 0.1))
    at = pd.Timestamp(END, tz='UTC') - pd.Timedelta(days=6)
    edit = {'field': 'budget', 'old': '50', 'new': '500', 'by': 'Ana'}
    changes = pd.DataFrame(
        [{'at': at, 'adset_id': 's04', **edit}, {'at': at, 'adset_id': 's01', **edit}]
    )
    found = diagnose(case({'days_adset': rows, 'changes': changes}))
    assert found.validated[0].cause == 'budget 50 -> 500 on 2026-06-15 by Ana'
    elsewhere = diagnose(case({'days_adset': rows, 'changes': changes[1:]}))
    assert elsewhere.validated[0].cause == ''


def of(found: Diagnosis, state: str) -> list[Insight]:
    "Insights of a state"
    return [one for one in found.insights if one.state == state]


def test_steps_and_counts_agree():
    found = run(LOST)
    assert [step['step'] for step in found.steps] == list(range(1, len(found.steps) + 1))
    assert found.about['raised'] == len(found.insights)
    assert found.about['tested'] == found.hypotheses['p'].notna().sum()
    assert of(found, 'covered') and len(of(found, 'validated')) == found.about['validated']


@pytest.mark.parametrize(
    ('baseline', 'current', 'whole'),
    [(14, 7, True), (28, 14, True), (10, 7, False), (14, 5, False)],
)
def test_windows_that_are_not_whole_weeks_are_noted(baseline, current, whole):
    found = run(LOST, baseline_days=baseline, current_days=current)
    said = [note for note in found.notes if 'whole weeks' in note]
    assert not said if whole else len(said) == 1
    for note in said:
        assert f'{baseline} and {current} days' in note and 'weekdays' in note
        assert '--baseline-days' in note and 'multiples of 7' in note


def test_drivers_follow_the_settings():
    "Half of the money has no clicks: enough to split it by them, unless the customer asks for more"
    rows = LOST.assign(clicks=LOST['clicks'].mask(LOST['campaign_id'] == 'c0'))
    strict = DiagnoseSettings(drivers=DriverSettings(least_coverage=0.99))
    first, second = run(rows).drivers, run(rows, settings=strict).drivers
    assert 'ctr' in set(first['driver']) and 'ctr' not in set(second['driver'])


def test_a_case_takes_the_customers_spike_settings(tmp_path):
    rows, file = account(42, adsets=4), tmp_path / 'days.csv'
    loud = rows['spend'].mask(rows['date'] == rows['date'].max(), 3 * rows['spend'])
    rows.assign(spend=loud).rename(columns={'adset_id': 'adset_name'}).to_csv(file, index=False)
    at = place(tmp_path, 'acme')
    ingest(at, [file], Request(currency='EUR', timezone='UTC'))
    seen = lambda: set(gather(at, Ask(provisional_days=0)).breaks.found['check'])
    assert 'day_unusual' in seen()
    (tmp_path / 'config/acme/meta/stats.yaml').write_text('spikes: {threshold: 1000}\n')
    assert 'day_unusual' not in seen()
