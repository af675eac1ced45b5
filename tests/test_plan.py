"""A plan keeps Meta's limits and the categories' rules, sums to the cent, and promises nothing."""

import itertools

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from adsbench.data.names import Problem
from adsbench.data.settings import Category
from adsbench.rules.edits import EditSettings
from adsbench.targeting.basis import Basis, PlanSettings, money, ranked
from adsbench.targeting.customs import CustomSettings, Topic, custom_files, customs, hashed, topics
from adsbench.targeting.demographics import PeopleSettings, ages, frequency
from adsbench.targeting.expected import ExpectedSettings, expected
from adsbench.targeting.lookalikes import (
    LookalikeSettings,
    lookalike_faults,
    lookalikes,
    on_grid,
    same,
)
from adsbench.targeting.plan import plan
from adsbench.targeting.preview import (
    PreviewSettings,
    difference,
    edit_cost,
    exclusions,
    narrowing,
)
from adsbench.targeting.spec import SpecSettings, Wishes, faults, shape, sorted_wishes
from adsbench.targeting.trials import Pace, TrialSettings, purchases_needed, trial

AS_OF = pd.Timestamp('2026-06-28')
RULED = [name for name in Category.__args__ if name != 'NONE']


def segments() -> pd.DataFrame:
    "Segments of all kinds, some of them tired, unsure or unidentified"
    kinds = ['interest'] * 30 + ['behavior'] * 20 + ['country'] * 3 + ['age'] * 3 + ['gender'] * 2
    names = [f'Interest {n}' for n in range(30)] + [f'Behavior {n}' for n in range(20)]
    ids = [name.casefold().replace(' ', '_') for name in names] + ['country_ES', 'country_MX', 'country_AR']  # fmt: skip
    names += ['Spain', 'Mexico', 'Argentina', '18-24', '25-34', '65+', 'female', 'male']
    ids += ['age_18-24', 'age_25-34', 'age_65+', 'gender_female', 'gender_male']
    rng = np.random.default_rng(2)
    roas = np.r_[rng.uniform(1.5, 3, 53), [0.8, 2.6, 2.4], [2.5, 2.4]]
    table = pd.DataFrame({'segment_id': ids, 'segment_name': names, 'segment_type': kinds, 'roas': roas})  # fmt: skip
    table = table.assign(roas_low=roas * 0.88, roas_high=roas * 1.14, ctr=0.015, ctr_low=0.014)
    table = table.assign(ctr_high=0.016, cvr=0.03, cvr_low=0.027, cvr_high=0.033, confidence=0.8)
    table = table.assign(composite=roas / 5, is_fatigued=False, verdict='identified')
    table['total_spend'] = np.r_[np.full(50, 100.0), [3000, 2000, 900], [700, 4000, 1200], [3000, 2900]]  # fmt: skip
    table.loc[0, 'is_fatigued'] = True
    table.loc[1, 'verdict'] = 'weak: too few events to tell'
    table.loc[2, 'confidence'] = 0.1
    return table


def basis(category: str = 'NONE', **adset: object) -> Basis:
    "The basis of one ad set"
    geo = pd.DataFrame({'country_code': ['ES', 'MX', 'AR'], 'country_name': ['Spain', 'Mexico', 'Argentina'], 'budget_amount': [350.01, 400.0, 249.99]})  # fmt: skip
    row = {'adset_id': '1203', 'campaign_id': '1202', 'audience_type': 'Broad', 'optimization_goal': 'OFFSITE_CONVERSIONS', 'countries': 'ES, MX', 'age_min': 18, 'age_max': 65}  # fmt: skip
    account = {'currency': 'EUR', 'special_ad_category': category, 'roas': 2.3, 'cpa': 20.0, 'purchases_a_day': 40.0, 'spend_a_day': 1000.0}  # fmt: skip
    events = pd.DataFrame({'event': ['Purchase', 'PageView'], 'days': [180, 30], 'people': [5000, 48_000]})  # fmt: skip
    ids = {f'Interest {n}': str(600300 + n) for n in range(30)}
    return Basis(segments(), geo, row | adset, account, events, ids=ids)


def test_a_plan_is_what_its_parts_say():
    found = plan(basis(), AS_OF, 0, PlanSettings())
    assert found == plan(basis(), AS_OF, 0, PlanSettings())
    assert len(found.interests) == 15 and len(found.behaviors) == 10
    assert not {'Interest 0', 'Interest 1', 'Interest 2'} & {
        i.interest_name for i in found.interests
    }
    assert [one.rank for one in found.interests] == list(range(1, 16))
    assert [one.ratio for one in found.lookalikes] == [0.01, 0.03, 0.05]
    assert {one.name for one in found.custom_audiences if one.use == 'exclude'} == {'Buyers 180 d'}
    assert found.edit_class == 'reset' and found.relearning_cost == 1000.0
    assert found.suggestions['ages'] == [25, 65] and found.controls['age_min'] == 18
    assert found.frequency_cap is None and faults(found.targeting) == []
    assert found.trial['days'] and found.evidence
    span = found.expected['roas']
    assert span.low < found.expected_roas < span.high


@pytest.mark.parametrize('category', RULED)
def test_special_categories_emit_no_age_gender_zip_or_lookalike(category: str):
    found = plan(basis(category), AS_OF, 0, PlanSettings())
    told = found.model_dump()
    assert told['age_min'] is None and told['age_max'] is None and told['gender'] is None
    assert told['lookalikes'] == []
    words = str(found.targeting) + str(found.controls) + str(found.suggestions)
    assert not any(word in words for word in ("'age_", "'ages", 'gender', 'zips', 'ookalike'))
    assert faults(found.targeting, category) == []


def test_budgets_sum_in_currencies_with_and_without_cents():
    for currency in ('EUR', 'JPY'):
        geo = pd.DataFrame({'country_code': ['ES', 'MX', 'AR'], 'country_name': list('abc'), 'budget_amount': [333.0, 333.0, 334.0]})  # fmt: skip
        _, per, total = money(geo, currency)
        assert sum(per.values()) == total == 1000.0


@settings(max_examples=200)
@given(st.lists(st.integers(0, 10**7), min_size=1, max_size=12).filter(sum))
def test_budgets_sum_to_the_total_in_minor_units(cents: list[int]):
    codes = 'ES MX AR CO CL PE DE FR IT GB US CA'.split()[: len(cents)]
    geo = pd.DataFrame({'country_code': codes, 'country_name': codes, 'budget_amount': [c / 100 for c in cents]})  # fmt: skip
    records, per, total = money(geo, 'EUR')
    assert round(total * 100) == sum(cents) == sum(round(value * 100) for value in per.values())
    assert len(records) == sum(c > 0 for c in cents)


def test_a_plan_equal_to_today_is_no_edit():
    first = plan(basis(), AS_OF, 0, PlanSettings())
    assert difference(first.targeting, first.targeting).empty
    assert edit_cost(difference(first.targeting, first.targeting), 20.0, EditSettings()) == (
        'no',
        0,
    )


@pytest.mark.parametrize('ratio', [0.01, 0.05, 0.2])
def test_ratios_on_the_grid(ratio: float):
    assert on_grid(ratio) and not lookalike_faults({'ratio': ratio, 'countries': ['ES']}, 100)


@pytest.mark.parametrize('ratio', [0, 0.005, 0.015, 0.21, 1.0])
def test_ratios_off_the_grid(ratio: float):
    assert not on_grid(ratio) and lookalike_faults({'ratio': ratio, 'countries': ['ES']}, 100)


def test_lookalikes_need_a_hundred_and_are_never_double():
    rows = pd.DataFrame({'audience_id': ['a', 'a', 'b'], 'name': list('xyz'), 'kind': ['converters', 'converters', 'list'], 'size': [100, 100, 99]})  # fmt: skip
    found, left = lookalikes(rows, ['ES'], 'NONE', LookalikeSettings(most=20))
    assert len(found) == 3 and len({same(one) for one in found}) == 3
    assert any('99 people' in words for words in left)
    assert lookalike_faults({'ratio': 0.01, 'type': 'similarity', 'countries': ['ES']}, 100)
    assert lookalike_faults({'ratio': 0.03, 'starting_ratio': 0.03, 'countries': ['ES']}, 100)
    assert lookalike_faults({'ratio': 0.03, 'countries': ['ES']}, 99)
    assert lookalikes(rows.iloc[:0], ['ES'], 'NONE', LookalikeSettings()) == ([], [])


def test_lists_are_hashed_and_never_show_an_address():
    people = [f'Person{n}@Example.com ' for n in range(100)] + ['person1@example.com', 'not one']
    hashes, strange = hashed(people)
    assert len(hashes) == 100 and strange == 1 and hashed(hashes) == (hashes, 0)
    files = custom_files({'all': people, 'few': people[:99]}, CustomSettings(pixel='1'))
    assert 'list_1.csv' in files and 'list_2.csv' not in files
    assert not any('example' in text.casefold() for text in files.values())
    made, left = customs(pd.DataFrame(columns=['event', 'days', 'people']), {'Credit score A': people}, 'NONE', CustomSettings())  # fmt: skip
    assert any('health or finances' in words for words in left)
    assert all(one.size is None for one in made)


def test_a_content_without_a_row_gives_no_interest():
    contents = pd.DataFrame({'content': ['Towels', 'Candles'], 'events': [80, 900]})
    table = (Topic(content='towels', interest_id='1', interest_name='Sauna'),)
    found, unknown = topics(contents, CustomSettings(topics=table))
    assert found['interest_name'].tolist() == ['Sauna'] and unknown == ['candles']
    assert topics(contents, CustomSettings())[0].empty


def test_frequency_is_capped_only_where_meta_caps():
    for goal, runs in itertools.product(('REACH', 'THRUPLAY', 'OFFSITE_CONVERSIONS', ''), (True, False)):  # fmt: skip
        told = frequency(goal, runs, PeopleSettings())
        capped = goal in ('REACH', 'THRUPLAY') and not runs
        assert (told['cap'] is not None) == capped and (told['watch'] is None) == capped


def test_ages_never_leave_a_hole_and_never_take_too_much():
    table = pd.DataFrame({'segment_name': ['18-24', '25-34', '35-44', '45-54'], 'total_spend': [100.0, 400, 400, 100], 'roas_low': [0.5, 2, 0.5, 0.5], 'roas_high': [0.7, 3, 0.7, 0.7]})  # fmt: skip
    found = ages(table, 2.0, PeopleSettings())
    kept = found.bands['kept'].tolist()
    assert kept == [False, True, True, False], 'ends only, and no more than three tenths'
    assert found.span == (25, 44)


def test_advantage_turns_demographics_into_suggestions_except_in_retargeting():
    wishes = Wishes(('ES',), (25, 54), 'women', exclude=({'id': '1', 'name': 'Buyers'},))
    plus = sorted_wishes(wishes, 'NONE', SpecSettings())
    bound = sorted_wishes(wishes, 'NONE', SpecSettings(), 'Retargeting')
    assert (
        'ages' in plus.suggestions and 'gender' in plus.suggestions and 'exclude' in plus.controls
    )
    assert 'ages' in bound.controls and bound.suggestions == {}
    assert 'age_max' not in shape(plus)[0] and shape(bound)[0]['age_max'] == 54
    with pytest.raises(Problem, match='GB'):
        sorted_wishes(Wishes(('UK',)), 'NONE', SpecSettings())


def test_exclusions_cumulate_over_rows_and_are_blocked_above_the_limit():
    cells = pd.MultiIndex.from_product([list('ABCD'), list('xyz')], names=['country', 'age']).to_frame(index=False).assign(spend=1.0)  # fmt: skip
    found = exclusions(cells, [{'country': ['A']}, {'age': ['x']}, {'country': ['B']}], PreviewSettings(most_removed=0.5))  # fmt: skip
    assert np.allclose(found['removed'], [1 / 4, 1 / 3, 1 / 4])
    assert np.allclose(found['cumulated'], [1 / 4, 1 / 2, 2 / 3])
    assert found['blocked'].tolist() == [False, False, True]


def choice(seed: int, spread: float) -> tuple[float, float, float, bool]:
    "Raw, shrunk and corrected over true roas of the best five of twenty, and whether 80 % held"
    rng = np.random.default_rng(seed)
    true = 2 * np.exp(spread * rng.standard_normal(20))
    seen = np.log(true) + 0.25 * rng.standard_normal(20)
    between = max(seen.var(ddof=1) - 0.25**2, 0.02**2)
    own = between / (between + 0.25**2)
    middle = seen.mean() + own * (seen - seen.mean())
    left = np.hypot(np.sqrt(own) * 0.25, (1 - own) * np.sqrt((between + 0.25**2) / 20))
    table = pd.DataFrame({'roas': np.exp(middle + left**2 / 2), 'composite': middle})
    table = table.assign(roas_low=np.exp(middle - 1.2816 * left), roas_high=np.exp(middle + 1.2816 * left))  # fmt: skip
    best = pd.Series((-middle).argsort().argsort() < 5).astype(float)
    span, real = expected(table, best, seed, ExpectedSettings(draws=200))[0]['roas'], true[best > 0].mean()  # fmt: skip
    raw = np.exp(seen)[best > 0].mean()
    return raw / real, (table['roas'] * best).sum() / 5 / real, span.value / real, span.low <= real <= span.high  # fmt: skip


def test_expectations_are_free_of_the_winners_curse():
    for spread in (0.05, 0.3):
        raw, _, fair, held = np.array([choice(1000 + s, spread) for s in range(150)]).mean(0)
        assert raw > 1.08, 'what was seen promises too much'
        assert abs(fair - 1) < 0.035 and abs(fair - 1) < (raw - 1) / 3
        assert 0.7 < held < 0.93


def test_tests_shrink_with_the_gain_and_whole_weeks_only():
    needed = [purchases_needed(gain, 0.8, TrialSettings()) for gain in (0.05, 0.1, 0.2, 0.4)]
    assert needed == sorted(needed, reverse=True)
    told = trial(0.3, Pace(50, 1000, 0.8), TrialSettings())
    assert told['fits'] and told['days'] % 7 == 0
    assert not trial(0.05, Pace(2, 40, 0.8), TrialSettings())['fits']
    assert trial(-0.2, Pace(50, 1000), TrialSettings())['gain'] == TrialSettings().least_gain


def test_ranking_leaves_out_what_is_not_known():
    table = segments()
    assert ranked(table.assign(composite=np.nan), 'interest', 15, PlanSettings()) == []
    assert ranked(table.iloc[:0], 'interest', 15, PlanSettings()) == []


def test_ages_and_genders_are_in_the_preview_and_blocked_above_the_limit():
    found = plan(basis(), AS_OF, 0, PlanSettings())
    taken = found.reasoning['removed_delivery']
    assert [one['kind'] for one in taken] == ['age'] and '18-24' in taken[0]['excludes']
    assert taken[0]['removed'] == pytest.approx(700 / 5900) and not taken[0]['blocked']
    tight = PlanSettings(preview=PreviewSettings(most_removed=0.1))
    kept = plan(basis(), AS_OF, 0, tight)
    assert kept.reasoning['removed_delivery'][0]['blocked'] and 'ages' not in kept.suggestions
    assert 'too much' in kept.reasoning['demographics'][-1]
    table = segments().assign(total_clicks=1.0)
    gone = {'country': ['Mexico'], 'age': ['18-24'], 'gender': ['male']}
    page = narrowing(table, gone, PreviewSettings(most_removed=0.4))
    shares = [2000 / 5900, 700 / 5900, 2900 / 5900]
    assert np.allclose(page['removed'], shares) and page['blocked'].tolist() == [False, True, True]
    assert page['cumulated'].iloc[1] == pytest.approx(shares[0] + shares[1]), 'at most the sum'
    assert narrowing(table, {'gender': ['nobody']}, PreviewSettings()).empty


def test_what_nobody_saw_is_expected_of_nobody_and_overflows_nothing():
    table = segments().query("segment_type == 'country'").reset_index(drop=True)
    lost = table.assign(roas=1e-3, roas_low=1e-300, roas_high=1e200)
    with np.errstate(all='raise'):
        spans, page = expected(lost, pd.Series(1.0, lost.index), 0, ExpectedSettings())
    assert spans['roas'].value is None and spans['ctr'].value > 0 and 'roas' not in page.index
