"""The setup of audiences: segments, merged audiences, the seventeen checks, headroom, gaps and what else is read from them."""

import json
import time

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as some

from adsbench.audiences.buyers import BuyerSettings, addresses, buyers, sold, zips
from adsbench.audiences.cases import AudienceSettings, SetupSettings, case_of
from adsbench.audiences.constraints import ConstraintSettings, constraints, handed, restricted
from adsbench.audiences.fit import FitSettings, compatibility
from adsbench.audiences.gaps import GapSettings, gaps
from adsbench.audiences.headroom import density, headroom, sizes
from adsbench.audiences.issues import ISSUES, Case, CheckSettings, Owner, bars
from adsbench.audiences.merged import merge, plain_name
from adsbench.audiences.odds import ABOVE, BELOW, Group, distance, measured, ruled, versus
from adsbench.audiences.overlap import by_delivery, by_people, by_settings, overlap
from adsbench.audiences.segments import SegmentSettings, by_segment, by_words, inferred, segments
from adsbench.audiences.setup import check, records, setup
from adsbench.data.inventory import Plan
from adsbench.data.layers import read_yaml
from adsbench.data.lists import adset_list, creative_list, exposure_list
from adsbench.data.names import MissingColumns, Problem
from adsbench.data.reconcile import OrderSettings
from adsbench.data.simulate import simulate
from adsbench.data.snapshots import reported
from adsbench.data.world import World
from adsbench.stats.confidence import ShrinkSettings

DAY = pd.Timestamp('2026-05-31')
SETTINGS = SetupSettings()


@pytest.fixture(scope='module')
def tables() -> dict[str, pd.DataFrame]:
    "A simulated account as the workbench stores it"
    history = simulate(World(), 42, 3, (Plan(), ()))
    end = history.frames['cells'].date.max()
    return {
        'days_ad': reported(history, end, 'ad'),
        'days_adset_by_country': reported(history, end, 'adset', ('country',)),
        'adsets': adset_list(history, ('EUR', 'Europe/Berlin')),
        'creatives': creative_list(history),
        'exposures': exposure_list(history, end),
    }


@pytest.fixture(scope='module')
def case(tables) -> Case:
    "The same as the checks read it"
    return case_of(tables, tables['days_ad'].date.max(), SETTINGS)


def account(count=12, length=42, seed=0, **columns) -> Case:
    "Sound ad sets that are alike: 1.2 % click, 3 % of them buy, roas about 2.5"
    rng = np.random.default_rng(seed)
    ids = [f'u{n:03d}' for n in range(count)]
    dates = pd.date_range(end=DAY, periods=length)
    grid = pd.MultiIndex.from_product([ids, dates], names=['adset_id', 'date']).to_frame(
        index=False
    )
    shown = rng.poisson(8000, len(grid)).astype(float)
    clicks = rng.binomial(shown.astype(int), 0.012)
    bought = rng.binomial(clicks, 0.03)
    days = grid.assign(
        campaign_id='c', impressions=shown, clicks=clicks.astype(float), spend=(0.009 * shown).round(2),
        purchases=bought.astype(float), revenue=(60 * bought * rng.lognormal(0, 0.1, len(grid))).round(2), reach=shown / 1.1,
    )  # fmt: skip
    told = {
        'adset_id': ids, 'adset_name': [f'Broad {n}' for n in range(count)], 'audience_type': 'Broad', 'countries': 'DE',
        'age_min': 25, 'age_max': 50, 'genders': 'all', 'interests': '', 'source': '', 'lookalike_ratio': np.nan, 'budget': 70.0,
    }  # fmt: skip
    adsets = pd.DataFrame(told | columns)
    return Case(days, adsets, segments(adsets, SegmentSettings()))


def raised(case: Case) -> set[tuple[str, str]]:
    "Check and unit of everything that is raised"
    found = check(case, CheckSettings()).query("state == 'raised'")
    return set(zip(found.check, found.unit))


def state(case: Case, name: str, unit: str = 'u000') -> str:
    "What became of one question"
    found = check(case, CheckSettings())
    return found[(found.check == name) & (found.unit == unit)].state.iloc[0]


# segments and merged audiences


def test_a_custom_audience_is_no_lookalike():
    lists = pd.DataFrame(
        {
            'adset_id': ['a', 'b', 'c'],
            'source': 'Customer list',
            'lookalike_ratio': [np.nan, 0.02, np.nan],
            'adset_name': ['x', 'y', 'Custom purchasers 1%'],
        }
    )
    assert segments(lists, SegmentSettings()).audience.tolist() == ['Custom', 'Lookalike', 'Custom']


@pytest.mark.parametrize(
    ('name', 'audience'),
    [('LLA 1% buyers', 'Lookalike'), ('CRM list', 'Custom'), ('RT cart 14d', 'Retargeting'), ('ASC main', 'Advantage'),
     ('INT yoga', 'Interest'), ('open 25-45', 'Broad'), ('prospecting excl. buyers', 'Exclusion'), ('Summer', 'Unknown')],
)  # fmt: skip
def test_names_tell_the_audience(name, audience):
    assert by_words(pd.Series([name]), SegmentSettings().words)[0] == audience


def test_what_was_inferred_is_said():
    found = segments(
        pd.DataFrame({'adset_id': ['a', 'b'], 'adset_name': ['LAL 1 %', 'Summer']}),
        SegmentSettings(),
    )
    assert found.by.tolist() == ['name', 'nothing'] and len(inferred(found)) == 2
    doubt = segments(
        pd.DataFrame({'adset_id': ['a'], 'adset_name': ['LAL 1 %'], 'audience_type': ['Broad']}),
        SegmentSettings(),
    )
    assert doubt.audience[0] == 'Broad' and doubt.doubt[0] and 'contradicts' in inferred(doubt)[0]


def test_segments_of_the_simulator_are_found_without_the_column(tables):
    adsets = tables['adsets']
    found = segments(adsets.drop(columns='audience_type'), SegmentSettings())
    assert (found.audience == adsets.audience_type).all()


def test_combinations_add_up(case):
    for by in (['geo'], ['audience'], ['creative_type'], ['geo', 'audience', 'creative_type']):
        table = by_segment(case.ads, case.segments, by, ShrinkSettings())
        assert (
            np.isclose(table.spend.sum(), case.ads.spend.sum()) and not table.duplicated(by).any()
        )
        assert (table.roas_low < table.roas).all() and (table.roas < table.roas_high).all()


def test_copies_are_one_audience_and_money_is_kept():
    alike = account(
        4,
        adset_name=['Yoga', 'Yoga copy', 'Yoga #2', 'Golf'],
        audience_type='Interest',
        interests=['Yoga, Pilates', 'pilates, yoga', 'Yoga,Pilates', 'Golf'],
    )
    both = merge(alike.days, alike.adsets, alike.segments)
    assert sorted(both.adsets.members) == [1, 3] and both.adsets.budget.sum() == 280
    for name in ('spend', 'purchases', 'revenue', 'impressions'):
        assert np.isclose(both.days[name].sum(), alike.days[name].sum())
    assert 'reach' not in both.days, 'people are never added'
    assert 'u003' in set(both.adsets.adset_id), 'who is alone keeps its id'
    assert set(both.adsets) >= set(alike.adsets)


def test_lists_of_one_pixel_are_told_apart_by_name_or_id():
    two = account(
        2, adset_name=['viewed 30 d', 'cart 14 d'], audience_type='Retargeting', source='Pixel'
    )
    assert len(merge(two.days, two.adsets, two.segments).adsets) == 2
    targeting = pd.DataFrame(
        {'adset_id': ['u000', 'u001'], 'kind': 'custom_audience', 'value': '77'}
    )
    assert len(merge(two.days, two.adsets, two.segments, targeting).adsets) == 1


@given(some.text('aZ# _%+0123copyv-()', max_size=20))
def test_plain_names_settle(name):
    assert plain_name(plain_name(name, []), []) == plain_name(name, [])


# odds


def test_intervals_hold_what_they_promise():
    rng, inside = np.random.default_rng(1), []
    for _ in range(12):
        truth = 0.012 * rng.lognormal(0, 0.2, 40)
        frame = pd.DataFrame(
            {'unit': np.repeat(np.arange(40).astype(str), 14), 'impressions': 900.0}
        )
        frame['clicks'] = rng.binomial(900, np.repeat(truth, 14)).astype(float)
        told = measured(frame, 'ctr', (BELOW, 0.01))
        there = pd.Series(truth, np.arange(40).astype(str)).reindex(told.index)
        inside.append(((there >= told.low) & (there <= told.high)).mean())
    assert 0.74 <= np.mean(inside) <= 0.86


def test_costs_turn_the_interval():
    frame = pd.DataFrame(
        {'unit': ['a'] * 7 + ['b'] * 7, 'clicks': [10.0] * 7 + [20.0] * 7, 'spend': 40.0}
    )
    told = measured(frame, 'cpc', (ABOVE, 3))
    assert (told.low < told.value).all() and (told.value < told.high).all()
    assert told.value['a'] > told.value['b'] and told.p['a'] < 0.5 < told.p['b']


@given(some.integers(0, 200), some.integers(0, 200), some.floats(0.5, 2000), some.floats(0.5, 2000))
def test_ratios_of_groups_are_sane_and_turn_round(first, second, spend, other):
    one = versus(Group(first, spend), Group(second, other))
    two = versus(Group(second, other), Group(first, spend), (BELOW, 1.0))
    assert 0 <= one['low'] <= one['value'] <= one['high'] and 0 <= one['p'] <= 1
    assert np.isclose(one['p'], two['p'], atol=1e-9)


@given(
    some.lists(some.integers(0, 60), min_size=2, max_size=8),
    some.lists(some.floats(0, 1e5), min_size=2, max_size=8),
)
def test_distances_are_shares(counts, shown):
    size = min(len(counts), len(shown))
    told = distance(counts[:size], shown[:size], 0.4)
    if not np.isnan(told['value']):
        assert 0 <= told['low'] <= told['value'] <= told['high'] <= 1 and 0 <= told['p'] <= 1


def test_few_buyers_of_the_same_places_are_no_mismatch():
    rng, shares = np.random.default_rng(2), np.full(12, 1 / 12)
    told = [distance(rng.multinomial(25, shares), shares, 0.4) for _ in range(300)]
    assert np.mean([t['p'] <= 0.1 for t in told]) == 0


# the seventeen checks


def test_there_are_seventeen():
    names = """age_too_wide missing_lookalike too_many_countries high_frequency underfunded_winner age_too_narrow
        low_ctr high_cpc low_cvr small_reach high_cpm low_video_engagement single_gender missing_video wrong_format
        age_mismatch geo_mismatch"""
    assert set(ISSUES) == set(names.split())


def test_seed_defaults():
    bar, people = CheckSettings(), BuyerSettings()
    assert (bar.age_span, bar.age_roas, bar.countries, bar.frequency) == (30, 1.5, 5, 6)
    assert (bar.winner_roas, bar.winner_spend, bar.least_span) == (2, 50, 5)
    assert (bar.ctr, bar.ctr_impressions, bar.cpc, bar.cvr, bar.cvr_clicks) == (
        0.005,
        100,
        5,
        0.01,
        10,
    )
    assert (bar.reach, bar.cpm, bar.engagement) == (1000, 50, 0.1)
    assert (people.age_distance, people.geo_distance) == (0.35, 0.40)


def test_sound_accounts_are_left_alone():
    count = 0
    for seed in range(5):
        sound = account(30, 21, seed)
        known = Case(*sound[:3], exposures=weeks(sound, 60_000.0))
        count += len(raised(known) - {('missing_lookalike', 'account')})
    assert count <= 1, f'{count} raised in 5 accounts of 30 ad sets without a fault'


def weeks(case: Case, reach) -> pd.DataFrame:
    "Exposures: the last day of each of four weeks"
    dates = [DAY - pd.Timedelta(days=7 * n) for n in range(4)]
    ids = case.adsets.adset_id
    return pd.DataFrame(
        {
            'adset_id': np.repeat(ids, 4),
            'date': dates * len(ids),
            'reach': np.repeat(np.broadcast_to(reach, len(ids)), 4),
        }
    )


def first(case: Case, **factors) -> Case:
    "Measures of the first ad set times factors"
    mine = case.days.adset_id == 'u000'
    moved = {
        name: np.floor(case.days[name] * np.where(mine, by, 1)) for name, by in factors.items()
    }
    return case._replace(days=case.days.assign(**moved))


def test_low_ctr_high_cpc_low_cvr_high_cpm():
    one = ('u000',)
    assert ('low_ctr', *one) in raised(first(account(), clicks=0.25, purchases=0.25))
    assert ('high_cpc', *one) in raised(first(account(), spend=9))
    assert ('low_cvr', *one) in raised(first(account(), purchases=0.1))
    assert ('high_cpm', *one) in raised(first(account(), spend=8))


def test_a_bare_threshold_is_not_enough():
    "No purchase from 30 clicks is below 1 %, and says nothing"
    days = account().days
    some_days = days.adset_id.eq('u000')
    little = days.assign(
        impressions=days.impressions.mask(some_days, 60.0),
        clicks=days.clicks.mask(some_days, 0.7),
        purchases=days.purchases.mask(some_days, 0.0),
    )
    case = account()._replace(days=little)
    assert state(case, 'low_cvr') == 'clear' and ('low_cvr', 'u000') not in raised(case)
    assert state(case._replace(days=little[~some_days | (little.date == DAY)]), 'low_cvr') == 'thin'


def test_people():
    sound = account()
    often = np.where(sound.adsets.index == 0, 6000.0, 50_000.0)
    found = raised(sound._replace(exposures=weeks(sound, often)))
    assert ('high_frequency', 'u000') in found and len(
        [f for f in found if f[0] == 'high_frequency']
    ) == 1
    few = first(sound, impressions=0.02, clicks=0.02, purchases=0.02, spend=0.02)
    reach = np.where(sound.adsets.index == 0, 700.0, 50_000.0)
    assert ('small_reach', 'u000') in raised(few._replace(exposures=weeks(sound, reach)))
    back = few._replace(
        exposures=weeks(sound, reach), segments=sound.segments.assign(audience='Retargeting')
    )
    assert not [f for f in raised(back) if f[0] == 'small_reach'], 'small by nature'
    blind = check(sound._replace(days=sound.days.drop(columns='reach')), CheckSettings())
    assert blind[blind.check == 'high_frequency'].state.eq('unknown').all()


def test_underfunded_winner():
    poor = first(account(), spend=0.4)
    assert raised(poor) - {('missing_lookalike', 'account')} == {('underfunded_winner', 'u000')}
    assert ('underfunded_winner', 'u000') not in raised(
        first(account(), spend=0.4, revenue=0.2, purchases=0.2)
    )


def test_ages_need_harm():
    wide = account(age_min=18, age_max=65)
    assert state(wide, 'age_too_wide') == 'watch'
    assert ('age_too_wide', 'u000') in raised(first(wide, purchases=0.3, revenue=0.3))
    narrow = account(age_min=[30] + [25] * 11, age_max=[33] + [50] * 11)
    assert state(narrow, 'age_too_narrow') == 'watch'
    assert ('age_too_narrow', 'u000') in raised(first(narrow, purchases=0.4, revenue=0.4))


def test_countries_need_harm():
    many = account(countries=['DE, AT, CH, FR, IT, ES'] + ['DE'] * 11)
    assert state(many, 'too_many_countries') == 'watch'
    assert ('too_many_countries', 'u000') in raised(first(many, purchases=0.4, revenue=0.4))


def cut_by(
    case: Case, column: str, shares: dict[str, float], sells: dict[str, float]
) -> pd.DataFrame:
    "Days of every ad set cut by a column, with shares of delivery and relative sales"
    pages = []
    for value, share in shares.items():
        part = case.days.assign(**{column: value})
        for name in ('impressions', 'clicks', 'spend'):
            part[name] = part[name] * share
        pages.append(
            part.assign(
                purchases=np.random.default_rng(len(value))
                .poisson(part.purchases * share * sells[value])
                .astype(float)
            )
        )
    return pd.concat(pages, ignore_index=True)


def test_single_gender():
    women = account(genders=['women'] + ['all'] * 11)
    equal = cut_by(women, 'gender', {'female': 0.5, 'male': 0.5}, {'female': 1, 'male': 1.1})
    worse = cut_by(women, 'gender', {'female': 0.5, 'male': 0.5}, {'female': 1, 'male': 0.5})
    assert ('single_gender', 'u000') in raised(women._replace(parts={'gender': equal}))
    assert state(women._replace(parts={'gender': worse}), 'single_gender') == 'watch'
    assert state(women, 'single_gender') == 'unknown'


def test_formats_and_videos():
    sound = account()
    mixed = {'Video': 0.4, 'Image': 0.6}
    ads = cut_by(sound, 'creative_type', mixed, {'Video': 2, 'Image': 1}).assign(
        ad_id='a',
        video_plays_3s=lambda t: np.where(t.creative_type == 'Video', t.impressions * 0.3, np.nan),
    )
    ads = ads[~(ads.adset_id.eq('u000') & ads.creative_type.eq('Video'))]
    found = raised(sound._replace(ads=ads))
    assert ('missing_video', 'u000') in found and ('wrong_format', 'u001') in found
    dull = ads.assign(
        video_plays_3s=ads.video_plays_3s.mask(ads.adset_id.eq('u002'), ads.impressions * 0.05)
    )
    found = {f for f in raised(sound._replace(ads=dull)) if f[0] == 'low_video_engagement'}
    assert found == {('low_video_engagement', 'u002')}
    level = cut_by(sound, 'creative_type', mixed, {'Video': 1, 'Image': 1}).assign(ad_id='a')
    assert not [
        f for f in raised(sound._replace(ads=level)) if f[0] in ('missing_video', 'wrong_format')
    ]


def test_missing_lookalike():
    assert ('missing_lookalike', 'account') in raised(account())
    assert ('missing_lookalike', 'account') not in raised(account(2, 7))
    there = account(audience_type=['Lookalike'] + ['Broad'] * 11)
    assert 'missing_lookalike' not in set(check(there, CheckSettings()).check)


def bought(n=300) -> pd.DataFrame:
    "Orders of old people in Hamburg"
    return pd.DataFrame(
        {
            'date': DAY,
            'value': 60.0,
            'region': np.where(np.arange(n) % 10, 'Hamburg', 'Berlin'),
            'age': np.where(np.arange(n) % 10, '55-64', '25-34'),
        }
    )


def delivered() -> dict[str, pd.DataFrame]:
    "Ads shown to young people in Berlin"
    ages = pd.DataFrame({'age': ['25-34', '55-64'], 'impressions': [9e5, 1e5], 'purchases': 1.0})
    return {
        'age': ages,
        'region': pd.DataFrame(
            {'region': ['Berlin', 'Hamburg'], 'impressions': [8e5, 2e5], 'purchases': 99.0}
        ),
    }


def test_mismatch_with_buyers():
    told = buyers(bought(), delivered(), BuyerSettings())
    found = raised(account()._replace(buyers=told))
    assert {('age_mismatch', 'account'), ('geo_mismatch', 'account')} <= found
    few = buyers(bought(2), delivered(), BuyerSettings())
    assert ('geo_mismatch', 'account') not in raised(account()._replace(buyers=few))


def test_every_check_can_be_raised_and_carries_its_proof():
    told = check(
        first(account(age_min=18, age_max=65), clicks=0.2, purchases=0.1, revenue=0.1),
        CheckSettings(),
    )
    proof = told[told.state == 'raised']
    assert len(proof) and proof[['value', 'low', 'high', 'p', 'q', 'n']].notna().all(axis=None)
    assert (
        (proof.low <= proof.value).all()
        and (proof.value <= proof.high).all()
        and proof.evidence.str.match('ev-[0-9a-f]{10}$').all()
    )


@pytest.mark.parametrize(
    'category', ['HOUSING', 'EMPLOYMENT', 'FINANCIAL_PRODUCTS_SERVICES', 'CREDIT', 'A_NEW_ONE']
)
def test_special_categories_are_told_nothing_that_is_closed(category):
    wide = first(
        account(age_min=18, age_max=65, genders='women', special_ad_category=category),
        purchases=0.2,
        revenue=0.2,
        clicks=0.3,
    )
    wide = wide._replace(buyers=buyers(bought(), delivered(), BuyerSettings(), True))
    told = check(wide, CheckSettings())
    shut = told[told.check.isin([name for name, issue in ISSUES.items() if issue.closed])]
    assert (
        len(shut)
        and shut.state.eq('suppressed').all()
        and shut[['value', 'p', 'q']].isna().all(axis=None)
    )
    assert ('low_ctr', 'u000') in raised(wide), 'what is open is still said'
    assert wide.buyers.zips.empty


def test_one_ad_set_of_a_special_category_closes_itself_only():
    one = account(age_min=18, age_max=65, special_ad_category=['HOUSING'] + ['NONE'] * 11)
    assert (
        state(one, 'age_too_wide') == 'suppressed' and state(one, 'age_too_wide', 'u001') == 'watch'
    )


def test_bars_of_other_currencies_are_the_accounts_own():
    dear = account()
    rupees = dear._replace(
        days=dear.days.assign(spend=90 * dear.days.spend, revenue=90 * dear.days.revenue),
        account=Owner('INR'),
    )
    assert not [f for f in raised(rupees) if f[0] in ('high_cpc', 'high_cpm')]
    assert bars(rupees, CheckSettings())['cpc'] > 100
    assert ('high_cpm', 'u000') in raised(first(rupees, spend=8))


def test_ad_sets_for_leads_are_not_asked_for_sales():
    leads = first(
        account(optimization_goal=['LEAD_GENERATION'] + ['OFFSITE_CONVERSIONS'] * 11),
        purchases=0,
        revenue=0,
    )
    told = check(leads, CheckSettings())
    assert 'u000' not in set(
        told[told.check.isin(['low_cvr', 'underfunded_winner', 'age_too_wide'])].unit
    )


def test_power_and_false_discoveries():
    "Click rates at half of the bar are found, and hardly a sound one with them"
    rng, hits, false = np.random.default_rng(3), [], []
    for _ in range(10):
        truth = np.r_[np.full(10, 0.0025), np.full(90, 0.012)]
        frame = pd.DataFrame(
            {'unit': np.repeat(np.arange(100).astype(str), 14), 'impressions': 700.0}
        )
        frame['clicks'] = rng.binomial(700, np.repeat(truth, 14)).astype(float)
        found = ruled(
            measured(frame, 'ctr', (BELOW, 0.005)).reset_index().assign(check='low_ctr'), 0.1, DAY
        )
        bad = found.unit.astype(int) < 10
        hits.append(found.found[bad].mean())
        false.append((found.found & ~bad).sum() / max(found.found.sum(), 1))
    assert np.mean(hits) >= 0.5 and np.mean(false) <= 0.1


# headroom


def test_people_are_found_again():
    pool = np.array([2000.0, 20_000, 200_000])
    shown = np.array([6000.0, 15_000, 100_000])
    reach = -pool * np.expm1(-shown / pool)
    assert np.allclose(shown / density(shown / reach), pool, rtol=1e-6)


def test_an_audience_is_never_its_reach(tables):
    same = tables['exposures'].assign(audience_size=lambda t: t.reach)
    assert sizes(same).isna().all() and sizes(tables['exposures']).notna().all()


def test_headroom_of_the_simulator(case, tables):
    room = headroom(case.days, case.exposures, SETTINGS.headroom)
    assert (
        (room.low < room.value).all() and (room.value < room.high).all() and room.evidence.is_unique
    )
    assert (room.new_people <= 1).all() and (room.step_roas <= room.roas).all(), (
        'the next money is never better'
    )
    worn = case.exposures.assign(reach=case.exposures.reach / 4)
    tired = headroom(case.days, worn, SETTINGS.headroom)
    assert tired.set_index('adset_id').step_roas.lt(room.set_index('adset_id').step_roas).all()
    blind = headroom(case.days.drop(columns='reach', errors='ignore'), None, SETTINGS.headroom)
    assert blind.verdict.eq('unknown').all() and blind[['value', 'people']].isna().all(axis=None)


def test_no_audience_has_more_people_than_meta_counts(case):
    room = headroom(case.days, case.exposures, SETTINGS.headroom).set_index('adset_id')
    few = case.exposures.assign(audience_size=case.exposures.audience_size / 50)
    tight = headroom(case.days, few, SETTINGS.headroom).set_index('adset_id').loc[room.index]
    counted = tight.audience_size > 0
    assert counted.sum() > 12 and (tight.people <= tight.audience_size * 1.001)[counted].all()
    assert (tight.step_roas < room.step_roas)[counted].all(), 'fewer people, less room'
    same = few.assign(audience_size=few.reach)
    copied = headroom(case.days, same, SETTINGS.headroom).set_index('adset_id').loc[room.index]
    assert np.allclose(copied.people, room.people), 'a size that is the reach counts for nothing'


def test_a_size_without_reach_tells_something_and_less(case):
    blind = case.days.drop(columns='reach', errors='ignore')
    sized = case.exposures.drop(columns='reach')
    told = headroom(blind, sized, SETTINGS.headroom)
    assert told.value.notna().all() and told.frequency.isna().all()
    assert (told.people_high / told.people_low > 2).all(), "Meta's sizes are rough"


# constraints


def test_controls_and_suggestions(case):
    split = constraints(case.adsets, case.segments, ConstraintSettings())
    assert (
        set(split.role) == {'control', 'suggestion'}
        and not split.duplicated(['adset_id', 'field', 'value']).any()
    )
    for category in ('HOUSING', 'EMPLOYMENT', 'FINANCIAL_PRODUCTS_SERVICES'):
        page = handed(
            constraints(case.adsets, case.segments, ConstraintSettings(), (None, category))
        )
        assert not {'age_min', 'age_max', 'genders', 'lookalike', 'zip'} & {
            f for p in page.values() for side in p.values() for f in side
        }
    assert restricted(pd.Series(['POLITICS?', 'none'])).tolist() == [True, False]


# overlap


def test_overlap_is_symmetric_in_words_and_labelled(case):
    pairs = overlap(case.adsets, case.parts)
    assert (
        set(pairs.source) == {'spec', 'delivered country'}
        and pairs.value.between(0, 1 + 1e-9).all()
    )
    assert (pairs.low <= pairs.value + 1e-12).all() and (pairs.value <= pairs.high + 1e-12).all()
    assert (
        not pairs.duplicated(['adset_id', 'other_id', 'source']).any()
        and (pairs.adset_id != pairs.other_id).all()
    )


def test_overlap_of_boxes():
    boxes = pd.DataFrame(
        {
            'adset_id': list('abc'),
            'countries': ['DE', 'DE', 'FR'],
            'age_min': [18, 28, 18],
            'age_max': [37, 47, 37],
            'genders': ['all', 'women', 'all'],
        }
    )
    told = by_settings(boxes).set_index(['adset_id', 'other_id']).value
    assert np.isclose(told['a', 'b'], 10 / (40 + 20 - 10)) and told['a', 'c'] == 0


def test_what_is_not_known_is_no_overlap(case, tables):
    bare = tables['adsets'][['adset_id', 'adset_name', 'campaign_id']]
    assert by_settings(bare).empty, 'never 100 % where nothing is known'
    made = setup(case._replace(adsets=bare, parts={}, exposures=None), SETTINGS)
    assert made.overlap.empty
    assert any('targeting of 24 ad sets is not known' in note for note in made.notes)
    half = bare.assign(countries='DE')
    assert by_settings(half).bound.all(), 'the same country alone is an upper bound'
    one = tables['adsets'].assign(countries=None, age_min=np.nan, age_max=np.nan)
    some = pd.concat([tables['adsets'].iloc[:3], one.iloc[3:4].drop(columns='genders')])
    told = by_settings(some)
    assert told.bound[told.other_id == some.adset_id.iloc[3]].all()
    assert not any('overlap' in note for note in setup(case, SETTINGS).notes)


def test_delivery_and_people():
    days = pd.DataFrame(
        {
            'date': DAY,
            'adset_id': ['a', 'a', 'b', 'b'],
            'age': ['x', 'y', 'x', 'y'],
            'impressions': [1.0, 3, 2, 6],
        }
    )
    assert np.isclose(by_delivery(days, 'age').value[0], 1)
    seen = pd.DataFrame({'person_key': [1, 2, 3, 3], 'adset_id': ['a', 'a', 'a', 'b']})
    assert np.isclose(by_people(seen).value[0], 1 / 3)


# fit


def played(planted: float, seed: int) -> pd.DataFrame:
    "Creatives with audiences, additive but for one pair"
    rng = np.random.default_rng(seed)
    cells = pd.MultiIndex.from_product(
        [list('ABCD'), list('vwxyz'), range(28)], names=['creative_type', 'audience', 'day']
    ).to_frame(index=False)
    rate = cells.creative_type.map(dict(zip('ABCD', (1, 1.3, 0.8, 1.1)))) * cells.audience.map(
        dict(zip('vwxyz', (0.6, 1, 1.2, 1.5, 2)))
    )
    rate = rate * np.where((cells.creative_type == 'A') & (cells.audience == 'v'), planted, 1)
    spend = rng.lognormal(4.6, 0.3, len(cells))
    return cells.assign(spend=spend, purchases=rng.poisson(spend / 20 * rate), date=DAY)


def test_fit_is_found_where_it_is_and_nowhere_else():
    null = [
        compatibility(played(1, seed), ['creative_type', 'audience'], FitSettings()).found.any()
        for seed in range(15)
    ]
    power = [
        compatibility(played(2, seed), ['creative_type', 'audience'], FitSettings())
        .set_index('unit')
        .verdict['A x v']
        for seed in range(15)
    ]
    assert np.mean(null) <= 0.1 and power.count('fits') >= 9


# buyers


def test_addresses_read_no_more_than_places():
    export = pd.DataFrame(
        {
            'Name': ['#1', '#1', '#2'],
            'Email': 'a@b.c',
            'Shipping Name': 'Somebody',
            'Shipping Zip': ["'20095", '', ''],
            'Billing Zip': ['', '', "'80331"],
            'Shipping Country': ['DE', '', 'DE'],
        }
    )
    told = addresses(export)
    assert (
        list(told) == ['name', 'country', 'region', 'zip']
        and told.zip.tolist() == ['20095', '80331']
        and told.region.isna().all()
    )


def test_zip_codes_need_revenue():
    rng = np.random.default_rng(5)
    orders = pd.DataFrame(
        {
            'zip': np.r_[np.repeat('20095', 40), rng.integers(10_000, 10_080, 240).astype(str)],
            'value': 50.0,
            'date': DAY,
        }
    )
    assert zips(orders, BuyerSettings())[0].zip.tolist() == ['20095']
    assert zips(orders.drop(columns='value'), BuyerSettings())[0].empty
    assert zips(orders, BuyerSettings(), closed=True)[0].empty
    assert zips(orders[orders.zip != '20095'], BuyerSettings())[0].empty, 'luck makes no list'


def test_regions_are_never_bought_from_meta():
    told = buyers(None, {'region': delivered()['region']}, BuyerSettings())
    assert (
        told.cells.empty and told.distances.empty and any('region' in note for note in told.notes)
    )
    shop = buyers(bought(), delivered(), BuyerSettings())
    assert set(shop.cells.source) == {'shop'}


def test_orders_keep_who_has_no_address():
    orders = pd.DataFrame(
        {'name': ['#1', '#2'], 'date': DAY, 'total': [10.0, 20], 'currency': 'EUR'}
    )
    places = pd.DataFrame(
        {'name': ['#1'], 'country': ['DE'], 'region': ['Berlin'], 'zip': ['10115']}
    )
    told = sold(orders, places, OrderSettings())
    assert told.value.tolist() == [10, 20] and told.region.isna().tolist() == [False, True]


# gaps


def test_gaps_are_ready_and_promise_nothing(case):
    found = gaps(
        case,
        GapSettings(
            most=30,
            kinds=('Broad', 'Lookalike', 'Interest', 'Retargeting', 'Custom', 'Advantage', 'Reels'),
        ),
    )
    tried = case.parts['country'].merge(case.segments, on='adset_id').query('spend > 0')
    ran = set(zip(tried.country, tried.audience))
    assert not ran & set(zip(found.place, found.audience)) and {'Reels'} < set(found.audience)
    reels = found[found.audience == 'Reels']
    assert len(reels) == 3 and (reels.low < reels.value).all() and (reels.low < 0).all(), (
        'it may lose'
    )
    few = case._replace(days=case.days[case.days.adset_id != case.adsets.adset_id[0]])
    assert (gaps(few, GapSettings()).start_budget > 0).all()


def test_a_gap_has_a_configuration():
    rng = np.random.default_rng(6)
    two = account(
        6,
        countries=['DE', 'DE', 'DE', 'FR', 'FR', 'FR'],
        audience_type=['Broad', 'Interest', 'Retargeting', 'Broad', 'Broad', 'Interest'],
        interests=['', 'Yoga', '', '', '', 'Golf'],
        source=['', '', 'Pixel', '', '', ''],
    )
    two = two._replace(
        days=two.days.assign(purchases=rng.poisson(two.days.purchases).astype(float))
    )
    found = gaps(two, GapSettings(most=20)).set_index(['place', 'audience'])
    page = found.configuration['FR', 'Retargeting']
    assert page['targeting_automation'] == {'advantage_audience': 0} and page['controls'][
        'custom_audiences'
    ] == ['Pixel']
    look = found.configuration['FR', 'Lookalike']
    assert look['suggestions']['lookalike']['ratio'] == 0.01 and look['exclusions'] == [
        'purchasers of 180 days'
    ]
    assert look['controls']['geo_locations'] == {'countries': ['FR']}
    assert ((found.start_budget * 100).round(6) % 1 == 0).all(), 'whole cents'
    home = gaps(two._replace(account=Owner(category='HOUSING')), GapSettings(most=20))
    text = json.dumps(home.configuration.tolist())
    assert not any(word in text for word in ('age_m', 'gender', 'zip', 'ookalike', 'purchasers'))


def test_a_gap_in_a_group_names_its_countries(case):
    grouped = case._replace(parts={}, segments=case.segments.assign(geo='HOME'))
    found = gaps(grouped, GapSettings(kinds=('Never run',)))
    told = [page['controls']['geo_locations']['countries'] for page in found.configuration]
    assert told and all(codes == ['AT', 'CH', 'DE'] for codes in told), 'codes, not the name'


# all of it


def cells(days: pd.DataFrame, by: str, names: list[str]) -> pd.DataFrame:
    "The same days cut into shares by a breakdown"
    parts, share = [], np.random.default_rng(1).dirichlet(np.ones(len(names)))
    for name, part in zip(names, share):
        parts.append(days.assign(**{by: name}, spend=days.spend * part))
        for measure in ('impressions', 'clicks', 'purchases', 'revenue'):
            parts[-1][measure] = np.floor(days[measure] * part)
    return pd.concat(parts, ignore_index=True)


def test_two_hundred_ad_sets_are_checked_in_a_second():
    kinds = ['Broad', 'Lookalike', 'Interest', 'Retargeting', 'Custom'] * 40
    many = account(200, audience_type=kinds, countries=['DE', 'FR', 'DE,AT', 'ES'] * 50)
    ads = cells(many.days, 'creative_type', ['Video', 'Image'])
    ads = ads.assign(ad_id=ads.adset_id + ads.creative_type)
    weeks = pd.date_range(end=DAY, periods=5, freq='7D')
    grid = pd.MultiIndex.from_product([weeks, many.adsets.adset_id], names=['date', 'adset_id'])
    many = many._replace(
        ads=ads.assign(video_plays_3s=ads.impressions * 0.3),
        exposures=grid.to_frame(index=False).assign(reach=20_000.0, audience_size=5e5),
        parts={
            'country': cells(many.days, 'country', ['DE', 'FR', 'AT', 'ES']),
            'age': cells(many.days, 'age', ['18-24', '25-34', '35-44', '45-54', '55+']),
            'gender': cells(many.days, 'gender', ['female', 'male']),
        },
    )
    took = []
    for _ in range(3):
        began = time.process_time()
        made = setup(many, SETTINGS)
        took.append(time.process_time() - began)
    assert len(made.headroom) == 200 and len(made.fit) and len(made.gaps)
    assert min(took) < 1.5, 'about 0.7 s of an idle core'


def test_one_call_and_its_record(case):
    made = setup(case, SETTINGS)
    page = records(made)
    assert json.loads(json.dumps(page, allow_nan=False)) == page
    assert page['about']['raised'] == sum(row['state'] == 'raised' for row in page['issues'])
    assert {
        'issues',
        'headroom',
        'gaps',
        'constraints',
        'overlap',
        'fit',
        'segments',
        'audiences',
        'notes',
    } <= set(page)
    again = records(setup(case, SETTINGS))
    assert again == page, 'the same input gives the same record'


def test_nothing_is_changed_and_nothing_later_is_read(tables):
    last = tables['days_ad'].date.max() - pd.Timedelta(days=7)
    copies = {name: table.copy(deep=True) for name, table in tables.items()}
    case = case_of(tables, last, SETTINGS)
    setup(case, SETTINGS)
    for name, table in tables.items():
        pd.testing.assert_frame_equal(table, copies[name])
    future = tables['days_ad'].date > last
    poisoned = tables | {
        'days_ad': tables['days_ad'].assign(purchases=tables['days_ad'].purchases.mask(future, 1e6))
    }
    assert check(case_of(poisoned, last, SETTINGS), SETTINGS.checks).equals(
        check(case, SETTINGS.checks)
    )


def test_orders_join_the_check(tables):
    last = tables['days_ad'].date.max()
    orders = pd.DataFrame(
        {'name': [f'#{n}' for n in range(400)], 'date': last, 'total': 60.0, 'currency': 'EUR'}
    )
    places = pd.DataFrame(
        {
            'name': orders.name,
            'country': np.where(orders.index % 10 == 0, 'DE', 'CH'),
            'region': None,
            'zip': None,
        }
    )
    case = case_of(tables | {'orders': orders, 'addresses': places}, last, SETTINGS)
    assert case.buyers.distances.source.tolist() == ['shop']
    assert ('geo_mismatch', 'account') in raised(case)


def test_orders_count_as_the_customer_says(tables):
    last = tables['days_ad'].date.max()
    off = np.arange(400) < 300
    orders = pd.DataFrame(
        {
            'name': [f'#{n}' for n in range(400)],
            'date': last,
            'total': 60.0,
            'currency': 'EUR',
            'cancelled_at': pd.Series([last] * 400).where(off),
        }
    )
    places = pd.DataFrame({'name': orders.name, 'country': 'CH', 'region': None, 'zip': None})
    both = tables | {'orders': orders, 'addresses': places}
    n = {}
    for counts in (False, True):
        owner = Owner(orders=OrderSettings(count_cancelled=counts))
        n[counts] = case_of(both, last, SETTINGS, owner).buyers.distances.n.iloc[0]
    assert n == {False: 100, True: 400}


def test_what_is_missing_is_said(tables):
    last = tables['days_ad'].date.max()
    with pytest.raises(Problem, match='adsets'):
        case_of({'days_ad': tables['days_ad']}, last, SETTINGS)
    with pytest.raises(MissingColumns, match='adset_id'):
        segments(pd.DataFrame({'adset_name': ['x']}), SegmentSettings())
    bare = case_of(
        {
            'days_adset': tables['days_adset_by_country']
            .groupby(['date', 'campaign_id', 'adset_id'])[['spend', 'impressions']]
            .sum()
            .reset_index(),
            'adsets': tables['adsets'][['adset_id']],
        },
        last,
        SETTINGS,
    )
    made = setup(bare, SETTINGS)
    assert made.gaps.empty and made.fit.empty and made.headroom.empty and len(made.notes) >= 3
    assert json.dumps(records(made), allow_nan=False)


def test_the_file_holds_the_defaults(repo):
    page = read_yaml(repo / 'config' / 'default' / 'audiences.yaml')
    told = {name: value for name, value in page.items() if name != 'provenance'}
    assert AudienceSettings.model_validate(told).setup == SetupSettings()
