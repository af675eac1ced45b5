"""What could be tried next, an ad set's own countries, and what a customer lays beside her exports."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from adsbench.data.names import Problem
from adsbench.data.schemas import conform
from adsbench.targeting.case import Session, TargetingSettings, aims, scored, stub_tables
from adsbench.targeting.customs import CustomSettings
from adsbench.targeting.delivery import people_lists, pixel_tables
from adsbench.targeting.groups import GeoSettings
from adsbench.targeting.messages import SegmentQuery
from adsbench.targeting.operations import planned, segment_list
from adsbench.targeting.roadmap import RoadmapSettings
from adsbench.targeting.state import State, basis_of, members, state_of, view_of
from adsbench.targeting.steps import (
    account_steps,
    balanced,
    campaign_steps,
    geo_groups,
    moving,
    new_countries,
    roadmap,
    untried,
)

CAMPAIGN = '1202000000000001'
AT = pd.Timestamp('2026-06-29 06:00', tz='UTC')


@pytest.fixture(scope='module')
def tables() -> dict[str, pd.DataFrame]:
    "The simulated customer"
    return stub_tables(0)[0]


@pytest.fixture(scope='module')
def state(tables, tmp_path_factory) -> State:
    "What a run sees of it"
    end = tables['days_adset_by_country']['date'].max()
    session = Session(tmp_path_factory.mktemp('runs'), AT, end, {'currency': 'EUR'})
    return state_of(tables, session, TargetingSettings())


def set_to(state: State, **countries: str) -> State:
    "The same with other countries of the first ad sets of the campaign"
    adsets = state.adsets.copy()
    for key, codes in zip(members(state, CAMPAIGN), countries.values()):
        adsets.loc[key, 'countries'] = codes
    return state._replace(adsets=adsets)


def settled(state: State, **roadmap: object) -> State:
    "The same with other settings of the roadmap"
    told = RoadmapSettings(**roadmap)
    return state._replace(settings=state.settings.model_copy(update={'roadmap': told}))


def test_every_ad_set_keeps_its_own_countries(state: State):
    asked = set_to(state, first='AT', second='CH, DE', third='DE, AT, FR')
    made = planned(asked, [CAMPAIGN]).made
    by = {one.adset_id: one for one in made}
    mine = [by[key] for key in members(asked, CAMPAIGN)]
    assert mine[0].countries == ['AT'] and mine[0].budget_per_segment == {
        'AT': mine[0].total_budget
    }
    assert sorted(mine[1].countries) == ['CH', 'DE'] and 'AT' not in mine[1].budget_per_segment
    assert set(mine[2].countries) == {'AT', 'DE', 'FR'}, 'one that never delivered starts small'
    for one in mine:
        assert round(100 * sum(one.budget_per_segment.values())) == round(100 * one.total_budget)
        changed = [row['field'] for row in one.difference]
        assert 'countries' not in changed, 'nobody asked for another country'
    unknown = state._replace(adsets=state.adsets.drop(columns='countries'))
    shown = state.places[(state.places['adset_id'] == mine[0].adset_id)]
    shown = set(shown.loc[shown['impressions'] > 0, 'country'])
    found = basis_of(unknown, mine[0].adset_id, view_of(unknown, CAMPAIGN))
    assert set(found.geo['country_code']) == shown, 'where it was shown, when nobody says'


def test_limits_hold_for_the_countries_an_ad_set_has(state: State):
    geo = GeoSettings(countries={'DE': {'floor': 0.6}, 'AT': {'ceiling': 0.5}})
    held = state._replace(settings=state.settings.model_copy(update={'geo': geo}))
    asked = set_to(held, first='AT', second='CH, DE')
    by = {one.adset_id: one for one in planned(asked, [CAMPAIGN]).made}
    first, second = (by[key] for key in members(asked, CAMPAIGN)[:2])
    assert first.countries == ['AT'], 'one country gets all the money: nothing is divided'
    assert second.budget_per_segment['DE'] >= 0.6 * second.total_budget - 0.005


def test_one_that_cannot_be_planned_stops_no_other(state: State):
    asked = set_to(state, first='UK')
    bad, *good = members(asked, CAMPAIGN)
    found = planned(asked, [CAMPAIGN])
    assert [one.adset_id for one in found.made] == good
    assert list(found.failed) == [bad] and 'GB' in found.failed[bad]
    none = set_to(state, **{f'n{n}': 'UK' for n in range(len(good) + 1)})
    assert list(planned(none, [CAMPAIGN]).failed) == [CAMPAIGN], 'the reason is the campaign then'


def test_groups_of_countries_are_told_with_their_limits():
    groups = [
        {'name': 'Europe', 'countries': ['EU', 'GB'], 'floor': 0.3, 'basis': 'performance'},
        {'name': 'Latin America', 'countries': ['LATAM'], 'ceiling': 0.5, 'basis': 'engagement'},
        {'name': 'Asia', 'countries': ['JP']},
    ]
    geo = pd.DataFrame({'country_code': ['ES', 'GB', 'MX'], 'budget_amount': [50.0, 20.0, 30.0]})
    found = geo_groups(geo, GeoSettings(groups=groups)).set_index('group')
    assert list(found.index) == ['Europe', 'Latin America'], 'no country of Asia, no row'
    assert found.loc['Europe', ['countries', 'budget_pct', 'floor', 'basis']].tolist() == [
        'ES, GB', 70.0, 0.3, 'performance',
    ]  # fmt: skip
    with pytest.raises(ValueError, match='GB'):
        GeoSettings(groups=[{'name': 'Islands', 'countries': ['UK']}])


def test_new_countries_are_a_test_or_known_from_other_campaigns(state: State):
    segments = view_of(state, CAMPAIGN).segments
    found = new_countries(settled(state, candidates=('FR', 'DE', 'LATAM')), CAMPAIGN, segments)
    assert len(found) == 5 and 'DE' not in set(found['country_code']), 'five at most, none it has'
    assert found['verdict'].eq('needs a test').all() and (found['test_days'] >= 1).all()
    assert (found['low'] < found['value']).all() and (found['value'] < found['high']).all()
    fewer = segments[segments['segment_id'] != 'country_CH']
    known = new_countries(state, CAMPAIGN, fewer).set_index('country_code')
    assert known.loc['CH', 'verdict'] == 'known from other campaigns'
    assert new_countries(state, CAMPAIGN, segments).empty, 'nothing to say, nothing said'


def test_interests_to_try_stand_beside_good_ones(state: State):
    seen = scored({}, state.session.as_of, state.settings) if state.aims is None else state.aims
    first = seen['segment_id'].iloc[0]
    good = seen.assign(verdict='not identified', odds=0.5)
    good.loc[good['segment_id'] == first, ['verdict', 'odds']] = 'identified', 0.99
    found = untried(state._replace(aims=good))
    assert first not in set(found['segment_id']) and (found['nearness'] > 0).all()
    assert len(found) <= state.settings.roadmap.most and (found['test_days'] >= 1).all()
    assert untried(state._replace(aims=None)).empty


def test_a_planted_fall_of_an_interest_is_a_trend(state: State):
    days, names = state.days.adsets, state.adsets['interests'].dropna()
    one = names.str.split(',').explode().str.strip().value_counts().index[0]
    hit = days['adset_id'].isin(names[names.str.contains(one, regex=False)].index)
    first = days['date'] <= state.session.as_of - pd.Timedelta(days=30)
    many = ['clicks', 'purchases', 'revenue']
    moved = days.assign(**{name: days[name].mask(hit & first, 6 * days[name]) for name in many})
    rows = state.days._replace(adsets=moved)
    after = aims(rows, state.adsets, state.session.as_of, state.settings)
    found = moving(state._replace(days=rows, aims=after))
    assert set(found.get('trend', [])) <= {'rising', 'falling'}
    assert 'rising' not in set(found.get('trend', [])), 'what fell is not said to rise'
    quiet = moving(state)
    assert len(quiet) <= 1, 'nothing was planted'


def test_the_tired_get_a_strategy_and_a_day(state: State):
    segments = view_of(state, CAMPAIGN).segments
    rows = segments['segment_type'] == 'country'
    small = segments[rows].sort_values('total_spend')['segment_id'].iloc[0]
    tired = segments.assign(is_fatigued=segments['segment_id'].eq(small))
    found = campaign_steps(state, CAMPAIGN, tired)['recovery']
    assert found['segment_id'].tolist() == [small] and found['strategy'].iloc[0] in (
        'rest',
        'rotate',
    )
    assert (found['ask_again'] > state.session.as_of).all()
    assert campaign_steps(state, CAMPAIGN, segments.assign(is_fatigued=False))['recovery'].empty


def test_money_moves_between_campaigns_only_when_proved(state: State):
    days = state.days.adsets
    rich = days.assign(
        revenue=days['revenue'].where(days['campaign_id'] != CAMPAIGN, 5 * days['revenue'])
    )
    found = balanced(state, rich, 'campaign').set_index('campaign_id')
    assert found.loc[CAMPAIGN, 'change'] > 0.05 and found['change'].abs().max() <= 0.2 + 1e-3
    assert round(100 * found['proposed'].sum()) == round(100 * found['budget'].sum())
    alike = days.assign(revenue=60.0 * days['purchases'], purchases=days['spend'] / 20)
    assert balanced(state, alike, 'campaign').empty, 'alike: nothing to say'
    mine = days[days['adset_id'] == members(state, CAMPAIGN)[0]]
    assert balanced(state, mine, 'adset').empty, 'one ad set has nobody to share with'


def test_the_roadmap_is_in_the_plan_and_in_what_is_shown(state: State):
    from adsbench.reports.reach_page import ROADMAP, roadmap_words

    days = state.days.adsets
    rich = days.assign(
        revenue=days['revenue'].where(days['campaign_id'] != CAMPAIGN, 5 * days['revenue'])
    )
    held = settled(state._replace(days=state.days._replace(adsets=rich)), candidates=('FR',))
    beside = lambda *which: {**account_steps(held), **campaign_steps(held, *which)}
    made = planned(held, [CAMPAIGN], beside).made
    assert made and {'campaigns', 'expansion'} <= set(made[0].roadmap) <= set(ROADMAP)
    assert type(made[0]).model_validate_json(made[0].model_dump_json()) == made[0]
    words = '\n'.join(roadmap_words(made[0]))
    assert 'Countries to try:' in words and 'France' in words and 'needs a test' in words
    assert 'Money a day between the campaigns:' in words and 'nan' not in words.casefold()
    assert roadmap(held, basis_of(held, made[0].adset_id, view_of(held, CAMPAIGN)), {}) == {}


def test_audiences_and_devices_can_be_listed(tables, state: State):
    days = tables['days_adset_by_country']
    device = days.drop(columns='country').assign(device=np.where(days['country'] == 'DE', 'mobile', 'desktop'))  # fmt: skip
    more = {**tables, 'days_adset_by_device': conform(device, 'days')}
    table = scored(more, state.session.as_of, state.settings)
    for kind in ('audience', 'device'):
        rows = segment_list(SegmentQuery(segment_type=kind), table)
        assert len(rows) >= 2 and {row.segment_type for row in rows} == {kind}
        assert rows[0].roas.low < rows[0].roas.high, 'the best first'


def test_files_beside_the_exports_are_read_and_hashed(tmp_path: Path):
    (tmp_path / 'lists').mkdir()
    mails = '\n'.join(f'Person {n},p{n}@example.com,+49 170 12345{n:02d}' for n in range(99))
    (tmp_path / 'lists/VIP.csv').write_text(f'Name,E-Mail,Phone\n{mails}\nX,,+49 170 9999999\n')
    (tmp_path / 'lists/hashes.txt').write_text('a' * 64 + '\n' + 'b' * 64 + '\n')
    (tmp_path / 'lists/notes.md').write_text('no list')
    found = people_lists(tmp_path, CustomSettings(lists_folder='lists'))
    assert {name: len(people) for name, people in found.items()} == {'VIP': 100, 'hashes': 2}
    assert '@' not in str(found) and '+49' not in str(found)
    (tmp_path / 'lists/odd.csv').write_text('Name,Town\nA,B\n')
    (tmp_path / 'pixel.csv').write_text('event,days\nPurchase,180\n')
    (tmp_path / 'many.csv').write_text('event,days,people\nPurchase,180,-5\n')
    for broken, word in (
        ({'lists_folder': 'lists'}, 'odd.csv'),
        ({'lists_folder': 'nowhere'}, 'nowhere'),
    ):
        with pytest.raises(Problem, match=word):
            people_lists(tmp_path, CustomSettings(**broken))
    for broken, word in (('pixel.csv', 'people'), ('many.csv', 'no count'), ('x.csv', 'no file')):
        with pytest.raises(Problem, match=word):
            pixel_tables(tmp_path, CustomSettings(events_file=broken))
