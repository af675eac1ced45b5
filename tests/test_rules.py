"""The rulebook: closed forms, every rule at its row, three truth values, and no text runs as code."""

import itertools
import math
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import settings as tuned
from hypothesis import strategies as st

from adsbench.data.layers import read_layers
from adsbench.data.names import Problem
from adsbench.data.settings import find_root, section
from adsbench.rules.expressions import DEEPEST, LONGEST, evaluate, parse
from adsbench.rules.inputs import INPUTS, absent, inputs, spoken, units
from adsbench.rules.modify import modified
from adsbench.rules.outcomes import outcomes
from adsbench.rules.rulebook import (
    Parameter,
    Rule,
    RuleSettings,
    book,
    clashes,
    show,
    space,
    values,
)
from adsbench.rules.shapes import Ramp, ShapeSettings, shapes

LAYERS = read_layers(find_root(), environ={})
HOUSE = section(LAYERS, 'rules', RuleSettings)
BOOK = book(HOUSE)
ALL_ON = HOUSE.model_copy(
    update={'rules': {n: r.model_copy(update={'on': True}) for n, r in HOUSE.rules.items()}}
)
LIBRARY = shapes(HOUSE)
COLUMN = {i.name: i.column for i in INPUTS}


def rows(*known: dict[str, float]) -> pd.DataFrame:
    "Inputs of units by their short names; everything else is missing"
    table = pd.DataFrame([{COLUMN[name]: v for name, v in one.items()} for one in known])
    return inputs(table.astype('float64'))


def decided(settings: RuleSettings = HOUSE, **known: float) -> pd.Series:
    "The outcome of one unit"
    return outcomes(rows(known), book(settings)).table.iloc[0]


def with_rules(**changed: Rule) -> RuleSettings:
    "The house's book with rules changed or added"
    return HOUSE.model_copy(update={'rules': HOUSE.rules | changed})


def with_numbers(**numbers: float) -> RuleSettings:
    "The house's book with a customer's numbers"
    own = {n: HOUSE.parameters[n].model_copy(update={'value': v}) for n, v in numbers.items()}
    return HOUSE.model_copy(update={'parameters': HOUSE.parameters | own})


# --- closed forms


@pytest.mark.parametrize(
    ('text', 'expected'),
    [
        ('gradient(1.9, 2, 0.15)', 0),
        ('gradient(2.0, 2, 0.15)', 0.075),
        ('gradient(2.25, 2, 0.15)', 0.1125),
        ('gradient(2.5, 2, 0.15)', 0.15),
        ('falling(2.1, 2, 0.15)', 0),
        ('falling(2.0, 2, 0.15)', 0.075),
        ('falling(1.8, 2, 0.15)', 0.105),
        ('falling(1.5, 2, 0.15)', 0.15),
        ('scaled(0.02, 0.1)', 0.03),
        ('scaled(0.05, 0.1)', 0.04),
        ('scaled(0.06, 0.1)', 0.046),
        ('scaled(0.10, 0.1)', 0.07),
        ('scaled(-0.12, 0.1)', 0.076),
        ('scaled(0.15, 0.1)', 0.085),
        ('scaled(0.20, 0.1)', 0.1),
        ('relative(1.0, 1.2, 0.1)', 0),
        ('relative(1.2, 1.2, 0.1)', 0.1),
        ('relative(1.3, 1.2, 0.1)', 0.1 * 7 / 6),
        ('relative(1.5, 1.2, 0.1)', 0.15),
        ('relative(2.0, 1.2, 0.1)', 0.15),
        ('below(0.7, 0.8, 0.1)', 0.125),
        ('below(0.5, 0.8, 0.1)', 0.15),
        ('healthy(0)', 0.5),
        ('healthy(0.5)', 0.75),
        ('healthy(0.7)', 0.85),
        ('healthy(1)', 1),
        ('sampled(49, 0.1)', 0.05),
        ('sampled(199, 0.1)', 0.075),
        ('sampled(200, 0.1)', 0.1),
    ],
)
def test_shapes_have_their_closed_forms(text, expected):
    assert evaluate(parse(text, [], LIBRARY), {}, LIBRARY) == pytest.approx(expected, abs=1e-12)


# RULES: input, factor, rule. Row 31 says nothing of a trend, and its condition needs one (see below)
FACTORS = [
    ({'roas': 4.0, 'trend': 0.15, 'efficiency': 0.12, 'health': 0.9}, 1.121125, 1),
    ({'roas': 3.5, 'trend': 0.12, 'health': 0.75}, 1.09975, 6),
    ({'roas': 1.0, 'trend': -0.15, 'health': 0.40}, 0.7994, 25),
    ({'roas': 3.5, 'vs_adset': 1.3, 'vs_campaign': 1.2, 'health': 0.7}, 1.141051, 2),
    ({'roas': 2.5, 'weekend': 1}, 1.02, 32),
    ({'roas': 3.0, 'days_active': 2}, 1.03, 35),
    ({'roas': 2.5, 'week': 50}, 1.03, 33),
    ({'roas': 2.0, 'rpi': 0.10, 'impressions': 6000}, 1.10, 10),
    ({'roas': 2.0, 'rpc': 3.0, 'clicks': 60}, 1.05, 11),
    ({'roas': 2.0, 'trend': -0.01, 'efficiency': 0.01}, 0.90, 12),
    ({'roas': 2.0, 'trend': -0.06, 'spend': 150}, 0.90, 14),
    ({'roas': 2.2, 'trend': -0.20, 'health': 0.6}, 0.84, 30),
    ({'roas': 2.2, 'vs_adset': 0.6, 'health': 0.6, 'trend': 0}, 0.88, 31),
    ({'roas': 1.2, 'top_ad_share': 0.95, 'active_ads': 3}, 0.725, 19),
    ({'active_ads': 5, 'diversity': 10, 'roas': 2}, 1.15, 21),
    ({'roas': 3.2, 'trend': 0.05, 'days_active': 25, 'health': 0.8}, 1.018, 42),
    ({'roas': 2.0, 'trend': 0.01, 'days_active': 25}, 1.00, 45),
]


@pytest.mark.parametrize(('known', 'factor', 'number'), FACTORS)
def test_the_table_of_factors(known, factor, number):
    row = decided(ALL_ON, **known)
    assert row.number == number
    after = modified(row.to_frame().T.astype({'change': float}), rows(known), HOUSE)
    assert after.factor.item() == pytest.approx(factor, abs=1e-6)


def test_row_31_does_not_follow_without_a_trend():
    row = decided(roas=2.2, vs_adset=0.6, health=0.6)
    assert row.number == 46 and 'below_usual: trend absent' in row.could_not


# one unit for each of the 46 outcomes that no earlier rule takes, with its change
REACHED = [
    (1, {'roas': 3.5, 'trend': 0.1, 'efficiency': 0.1, 'health': 0.85}, 0.075 * 0.7 * 0.925),
    (2, {'roas': 3.5, 'vs_adset': 1.2, 'vs_campaign': 1.15, 'health': 1, 'trend': -0.1}, 0.155),
    (3, {'roas': 3.0, 'efficiency': 0.1, 'rpi': 0.08, 'health': 1}, 0.075),
    (4, {'roas': 3.0, 'vs_adset': 1.2, 'vs_campaign': 1.15, 'health': 1}, 0.155),
    (5, {'roas': 3.0, 'vs_account': 1.1}, 0.15),
    (6, {'roas': 3.0, 'trend': 0.1, 'health': 0.7}, 0.075 * 0.7 * 0.85),
    (7, {'roas': 3.0, 'trend': 0.0, 'efficiency': 0.1}, 0.1),
    (8, {'roas': 2.0, 'efficiency': 0.1, 'rpc': 2.5, 'trend': 0, 'clicks': 120}, 0.075),
    (9, {'roas': 2.0, 'vs_adset': 1.2, 'trend': 0.05}, 0.09),
    (10, {'roas': 1.5, 'rpi': 0.08, 'impressions': 5000}, 0.1),
    (11, {'rpc': 2.5, 'clicks': 50}, 0.05),
    (12, {'efficiency': 0.019, 'roas': 2.9, 'trend': 0}, -0.1),
    (13, {'spend': 9.9, 'roas': 3.0, 'efficiency': 0.1, 'days_active': 21}, 0.1),
    (14, {'spend': 100, 'trend': -0.05, 'roas': 2.9}, -0.1),
    (15, {'spend_trend': 0.15, 'roas': 3.0}, 0.05),
    (16, {'reach': 1000, 'roas': 3.0}, 0.05),
    (17, {'clicks_vs_expected': 1.21}, 0.05),
    (18, {'campaign_spend_share': 0.09, 'roas': 3.0}, 0.1),
    (19, {'top_ad_share': 1, 'active_ads': 2, 'roas': 2.9}, -0.3),
    (20, {'ad_roas_range': 3}, -0.15),
    (21, {'diversity': 5, 'active_ads': 3}, 0.1),
    (22, {'diversity': 2, 'ad_roas_std': 0.5, 'ad_roas_mean': 2}, 0.1),
    (23, {'formats': 3}, 0.05),
    (24, {'spend_gini': 0.39, 'ads': 3}, 0.05),
    (25, {'roas': 1.4, 'trend': -0.1, 'health': 0.3}, -0.2 * 0.6 * 0.7 * 1.21),
    (26, {'roas': 1.4, 'trend': 0.01, 'days_active': 6}, 0),
    (27, {'roas': 1.4, 'trend': 0.01, 'days_active': 13}, 0),
    (28, {'roas': 1.4, 'trend': 0.05, 'days_active': 30}, 0),
    (29, {'roas': 1.4, 'trend': 0.04, 'days_active': 14}, -0.025),
    (30, {'roas': 1.5, 'trend': -0.1, 'health': 0.5}, -0.075),
    (31, {'vs_adset': 0.79, 'roas': 2.9, 'trend': 0, 'health': 1}, -0.1025),
    (32, {'weekend': 1, 'roas': 1.5}, 0.01),
    (33, {'week': 52, 'roas': 3}, 0.024),
    (34, {'weekday': 1, 'roas': 3}, 0.01),
    (35, {'days_active': 3, 'roas': 3}, 0.03),
    (36, {'days_active': 3, 'roas': 1.5}, 0.01),
    (37, {'days_active': 3, 'roas': 1.4}, 0),
    (38, {'days_active': 7, 'roas': 3, 'clicks': 20}, 0.05),
    (39, {'days_active': 7, 'roas': 1.5}, 0.05),
    (40, {'days_active': 14, 'roas': 3, 'trend': 0.05, 'clicks': 200}, 0.04),
    (41, {'days_active': 21, 'roas': 3, 'health': 0.7, 'trend': -0.01}, 0.085),
    (42, {'days_active': 22, 'roas': 3, 'trend': 0, 'health': 0.7}, 0.0425),
    (43, {'trend': 0.16, 'roas': 1.5}, 0.1),
    (44, {'trend': -0.16, 'roas': 0.5, 'health': 0.2}, -0.1),
    (45, {'roas': 2.9, 'trend': -0.05}, 0),
    (46, {'roas': 3.0, 'trend': -0.2}, 0),
]


@pytest.mark.parametrize(('number', 'known', 'change'), REACHED)
def test_every_rule_is_reached_and_asks_its_change(number, known, change):
    row = decided(ALL_ON, **known)
    assert row.number == number
    assert row.change == pytest.approx(change, abs=1e-9)
    assert 'unknown' not in row.because
    assert set(row.mattered) <= set(known) and row.mattered


def test_the_examples_reach_the_whole_book():
    assert [number for number, *_ in REACHED] == [line.rule.number for line in BOOK.lines]


@pytest.mark.parametrize(
    ('week', 'roas', 'change'),
    [(48, 2, 0.01), (49, 2, 0.02), (50, 2, 0.03), (51, 2, 0.03), (52, 2, 0.02), (51, 3, 0.036)],
)
def test_the_season_by_week(week, roas, change):
    assert decided(ALL_ON, week=week, roas=roas).change == pytest.approx(change)


@pytest.mark.parametrize(('week', 'number'), [(47, 46), (53, 46), (1, 46), (48, 33)])
def test_the_season_has_ends(week, number):
    assert decided(ALL_ON, week=week, roas=2.5).number == number


# --- order


def test_tiers_decide_the_order_and_are_a_setting():
    known = {'roas': 3.0, 'days_active': 2, 'clicks_vs_expected': 2}
    assert decided(**known).number == 17
    tiers = ('lifecycle', *(t for t in HOUSE.tiers if t != 'lifecycle'))
    assert decided(HOUSE.model_copy(update={'tiers': tiers}), **known).number == 35


def anything(count: int, seed: int, missing: float = 0.2) -> pd.DataFrame:
    "Units with random inputs around the thresholds, some of them missing"
    rng = np.random.default_rng(seed)
    table = pd.DataFrame({i.column: rng.gamma(2, 0.6, count) for i in INPUTS})
    for name in ('roas_trend', 'spend_trend'):
        table[name] = rng.normal(0, 0.12, count)
    for name in ('health', 'efficiency', 'top_ad_share', 'campaign_spend_share', 'spend_gini'):
        table[name] = rng.random(count) ** 2
    for name in ('clicks_7d', 'days_active', 'spend_7d', 'weekday', 'week', 'diversity', 'ads'):
        table[name] = rng.integers(0, 60, count).astype(float)
    for name in ('weekend', 'covered'):
        table[name] = rng.integers(0, 2, count).astype(float)
    return inputs(table.mask(rng.random(table.shape) < missing))


def test_without_a_rule_only_its_own_units_change():
    seen = anything(3000, 1)
    before = outcomes(seen, BOOK).table
    for name in ('clicks_do_not_buy', 'more_clicks_than_usual', 'low_and_falling'):
        gone = HOUSE.model_copy(
            update={'rules': {n: r for n, r in HOUSE.rules.items() if n != name}}
        )
        off = with_rules(**{name: HOUSE.rules[name].model_copy(update={'on': False})})
        mine = before.rule == name
        assert mine.any()
        for other in (gone, off):
            after = outcomes(seen, book(other)).table
            assert before.rule[~mine].equals(after.rule[~mine])
            assert before.change[~mine].equals(after.change[~mine])
            assert (after.rule[mine] != name).all()


def test_order_and_selection_of_rows_do_not_matter():
    seen = anything(500, 2)
    whole = outcomes(seen, BOOK).table
    turned = outcomes(seen.iloc[::-1], BOOK).table.iloc[::-1]
    pd.testing.assert_frame_equal(whole, turned)
    pd.testing.assert_frame_equal(whole.iloc[7:9], outcomes(seen.iloc[7:9], BOOK).table)
    assert outcomes(seen.iloc[:0], BOOK).table.empty


def test_nothing_is_mutated_and_changes_are_bounded():
    seen = anything(2000, 3)
    copy = seen.copy(deep=True)
    found = outcomes(seen, book(ALL_ON))
    after = modified(found.table, seen, HOUSE)
    pd.testing.assert_frame_equal(seen, copy)
    assert found.table.change.between(-0.4, 0.4).all()
    assert after.factor.between(0.8, 1.2)[seen.current.notna()].all()
    assert found.firings.fired.sum() == (found.table.rule != '').sum()
    assert (found.firings.held >= found.firings.fired).all()


def test_ten_thousand_units_take_well_under_the_time_of_a_coffee():
    seen = anything(10_000, 4)
    start = time.perf_counter()
    outcomes(seen, BOOK)
    assert time.perf_counter() - start < 4  # about 0.2 s on one idle core


# --- what is missing


def test_a_missing_roas_is_reported_and_never_a_hold():
    row = decided(spend=500, trend=-0.3)
    assert row.rule == '' and math.isnan(row.number) and row.change == 0
    assert 'No rule could be asked to the end' in row.because and 'roas' in row.because
    assert 'large_and_falling: roas absent' in row.could_not


def test_a_false_half_settles_a_condition_whatever_the_rest():
    row = decided(roas=1.0, trend=0.02, days_active=30)
    assert row.number == 29
    assert not any(
        text.startswith('wide_reach') for text in row.could_not
    )  # reach absent, roas low
    assert 'more_clicks_than_usual: clicks_vs_expected absent' in row.could_not


def test_a_change_that_cannot_be_computed_does_not_fire():
    row = decided(roas=3.0, days_active=5)
    assert row.number == 39 and 'early_and_high: clicks absent' in row.could_not


def test_a_missing_boost_is_no_boost():
    plain = {'roas': 4.0, 'trend': 0.15, 'efficiency': 0.12, 'health': 0.9}
    assert decided(**plain, vs_adset=1.2).change == pytest.approx((0.1275 + 0.05) * 0.95)
    assert decided(**plain).could_not == ()


def test_firings_name_what_an_account_lacks():
    seen = rows(
        {'roas': 3.2, 'trend': -0.01, 'days_active': 30, 'health': 1}, {'roas': 1.0, 'trend': 0.1}
    )
    firings = outcomes(seen, BOOK).firings.set_index('rule')
    assert firings.loc['wide_reach', 'could_not'] == 1
    assert firings.loc['wide_reach', 'absent'] == ('reach',)
    assert firings.loc['nothing_special', 'fired'] == 1
    assert firings.loc['weekend', 'on'] == np.False_ and firings.loc['weekend', 'fired'] == 0
    table = show(BOOK, outcomes(seen, BOOK).firings)
    assert len(table) == 46 and table.why_off[~table.on].str.len().gt(40).all()


def test_rules_of_time_are_marked_as_no_reason_by_themselves():
    assert decided(ALL_ON, weekend=1, roas=2).alone
    assert not decided(ALL_ON, roas=3.2, trend=0.2, health=1, weekend=1).alone
    assert decided(weekend=1, roas=2).number == 46


# --- settings


def customer(tmp_root: Path, text: str) -> RuleSettings:
    "The rulebook of a customer whose rules.yaml has this text"
    home = tmp_root / 'config/acme/meta'
    home.mkdir(parents=True, exist_ok=True)
    (home / 'rules.yaml').write_text(text, encoding='utf-8')
    return section(read_layers(tmp_root, 'acme', environ={}), 'rules', RuleSettings)


def test_a_customer_adds_and_changes_rules_in_yaml(tmp_root):
    own = customer(
        tmp_root,
        'parameters:\n'
        '  high_roas: {value: 2.8}\n'
        '  good_ctr: {default: 0.02, unit: fraction}\n'
        'rules:\n'
        '  clicked_and_good:\n'
        '    number: 16.5\n'
        '    tier: volume\n'
        '    when: ctr_7d >= good_ctr and roas >= high_roas\n'
        '    change: 0.07\n'
        '    because: Its click rate is {ctr_7d} (from {good_ctr}).\n'
        '  several_formats: {on: false, why_off: We make formats for reach.}\n',
    )
    table = inputs(pd.DataFrame({'roas_7d': [2.9, 2.7], 'ctr_7d': [0.021, 0.03]}))
    found = outcomes(table, book(own)).table
    assert found.rule.tolist() == ['clicked_and_good', 'nothing_special']
    assert found.change.tolist() == [0.07, 0]
    assert found.because[0] == 'Its click rate is 2.1 % (from 2 %).'
    assert len(book(own).lines) == 47 and not own.rules['several_formats'].on
    assert own.rules['several_formats'].when == 'formats >= some_formats'


@pytest.mark.parametrize(
    ('text', 'words'),
    [
        ('rules: {weekend: {tier: tme}}', ['rules.rules.weekend.tier', 'did you mean time?']),
        ('rules: {weekend: {number: 33}}', ['number', 'season', 'weekend']),
        (
            'rules: {weekend: {when: wekend}}',
            ['weekend.when (rule 32), column 1', 'did you mean weekend?'],
        ),
        ('rules: {weekend: {change: "1 +"}}', ['weekend.change (rule 32), column 4']),
        ('rules: {weekend: {because: "At {rosa}."}}', ['weekend.because', 'column 5', 'roas']),
        ('parameters: {med_roas: {value: 3.0}}', ['med_roas 3', 'must rise']),
        ('parameters: {roas: {default: 1, unit: ratio}}', ['rules.parameters.roas', 'input']),
        (
            'parameters: {aggressive_up: {value: 15}}',
            ['0.15 for 15 %', 'config/acme/meta/rules.yaml'],
        ),
        ('parameters: {aggressive_up: {valeu: 0.1}}', ['did you mean value?']),
        ('gradient_config: {on: false}', ['gradient_config.on', 'unknown key']),
        ('sampling: {sizes: [0, 200, 50]}', ['sizes must rise']),
        ('threshold_unit: of_targets', ['threshold_unit']),
    ],
)
def test_what_does_not_fit_is_refused_with_its_place(tmp_root, text, words):
    with pytest.raises(Problem) as caught:
        book(customer(tmp_root, text + '\n'))
    assert all(word in str(caught.value) for word in words), caught.value
    assert len(str(caught.value)) < 600


def test_all_mistakes_are_told_at_once(tmp_root):
    with pytest.raises(Problem) as caught:
        book(customer(tmp_root, 'rules: {weekend: {when: a, change: b}, monday: {when: c}}\n'))
    assert str(caught.value).count('\n') == 2


def test_the_house_book_is_the_default_of_its_models():
    page = LAYERS.values['rules']
    for key in (
        'gradient_config',
        'trend_config',
        'relative_config',
        'health_score_config',
        'sampling',
    ):
        assert getattr(HOUSE, key) == getattr(ShapeSettings(), key), key
    assert set(page) <= set(RuleSettings.model_fields)
    assert type(HOUSE.decision_rules)() == HOUSE.decision_rules
    assert clashes(HOUSE) == []


def test_every_parameter_is_used_and_its_search_space_holds_it():
    used = {n for line in BOOK.lines for n in (*line.when.names, *line.change.names)}
    assert set(HOUSE.parameters) <= used
    searched = space(HOUSE)
    assert searched.default.between(searched.low, searched.high, inclusive='neither').all()
    origins = LAYERS.origins
    assert origins['rules.parameters.low_roas.default'].provenance == 'seed_default'
    assert origins['rules.parameters.top_share.bounds'].provenance == 'house_default'


@pytest.mark.parametrize(
    ('key', 'known', 'number', 'change'),
    [
        ('gradient_config', {'roas': 3.0, 'trend': 0.2, 'health': 1}, 6, 0.15),
        ('trend_config', {'roas': 3.5, 'trend': 0.12, 'health': 1}, 6, 0.15),
        ('health_score_config', {'roas': 2.2, 'trend': -0.2, 'health': 0.6}, 30, -0.2),
        ('sampling', {'roas': 3.0, 'days_active': 6, 'clicks': 10}, 38, 0.1),
        ('relative_config', {'vs_adset': 0.5, 'roas': 2, 'trend': 0, 'health': 1}, 31, -0.1),
    ],
)
def test_each_group_of_settings_can_be_switched_off(key, known, number, change):
    group = getattr(HOUSE, key).model_copy(update={'enabled': False})
    row = decided(HOUSE.model_copy(update={key: group}), **known)
    assert row.number == number and row.change == pytest.approx(change)
    assert decided(**known).change != row.change


def test_thresholds_may_follow_the_target_and_the_account():
    seen = inputs(
        pd.DataFrame(
            {'roas_7d': [6.0, 6.0], 'target_roas': [4.0, 5.0], 'account_roas_28d': [3.0, 3.0]}
        )
    ).assign(vs_account=1.2)
    assert outcomes(seen, BOOK).table.number.tolist() == [5, 5]
    of_target = HOUSE.model_copy(update={'threshold_unit': 'of_target'})
    assert values(of_target, seen)['high_roas'].tolist() == [6, 7.5]
    assert outcomes(seen, book(of_target)).table.number.tolist() == [5, 46]
    of_account = HOUSE.model_copy(update={'threshold_unit': 'of_account'})
    assert values(of_account, seen)['exc_roas'].tolist() == [5.25, 5.25]


def test_without_a_target_the_thresholds_are_unknown_and_said_to_be():
    of_target = HOUSE.model_copy(update={'threshold_unit': 'of_target'})
    row = decided(of_target, roas=6.0, vs_account=1.2)
    assert row.number == 46 and 'high_above_account: target_roas absent' in row.could_not


def test_the_target_follows_from_its_ratio():
    table = inputs(pd.DataFrame({'roas_7d': [4.0, 0.0, 2.0], 'target_ratio': [2.0, 0.0, 1.0]}))
    assert table.target_roas.tolist() == [2, 2, 2]


def test_amounts_of_money_may_follow_the_median():
    scaled = HOUSE.model_copy(update={'volume_unit': 'of_median'})
    euros = pd.DataFrame(
        {'spend_7d': [60.0, 50, 200], 'rpc_7d': [1.0, 2.6, 0.5], 'clicks_7d': 90.0}
    )
    yen = euros.assign(spend_7d=euros.spend_7d * 160, rpc_7d=euros.rpc_7d * 160)
    both = [outcomes(inputs(t), book(scaled)).table for t in (euros, yen)]
    assert both[0].rule.tolist() == both[1].rule.tolist()
    assert both[0].rule[1] == 'clicks_earn'


@given(
    st.tuples(*[st.floats(0.1, 9, allow_nan=False) for _ in range(4)]),
)
@tuned(max_examples=60, deadline=None)
def test_unordered_thresholds_never_pass(levels):
    own = with_numbers(**dict(zip(('low_roas', 'med_roas', 'high_roas', 'exc_roas'), levels)))
    rising = all(a < b for a, b in itertools.pairwise(levels))
    assert (clashes(own) == []) == rising


# --- the language under attack

NAMES = ('roas', 'trend', 'high_roas')
COLUMNS = {
    'roas': np.array([3.0, 0, np.nan, np.inf, -np.inf]),
    'trend': np.array([0.1, 0, np.nan, -0.1, 1e308]),
    'high_roas': 3.0,
}


@pytest.mark.parametrize(
    'text',
    [
        "__import__('os').system('true')",
        '().__class__.__bases__[0].__subclasses__()',
        'roas.__class__',
        '(lambda: 1)()',
        '[x for x in (1,)]',
        'roas[0]',
        "f'{roas}'",
        "'text'",
        'roas if trend',
        'roas := 3',
        'roas = 3',
        'roas; trend',
        'import os',
        'roas ** 2',
        'roas // 2',
        'roas % 2',
        '~roas',
        'roas is 3',
        'roas in (1, 2)',
        'size(*roas)',
        'size(x=roas)',
        'size()',
        'size(1, 2)',
        'size',
        'roas(1)',
        'print(roas)',
        'eval(roas)',
        'None',
        'True',
        '...',
        '1j',
        '1e999',
        '1' + '0' * 400,
        '',
        '   ',
        '\x00',
        '\ud800',
        '(' * 300 + 'roas' + ')' * 300,
        '-' * 900 + 'roas',
        'not ' * 200 + 'roas',
        'roas + ' * 60 + 'roas',
        'roas' + ' ' * LONGEST,
        'await roas',
        'yield roas',
        '{1: 2}',
        'roas > 3 and',
        'roas > > 3',
        'rоas',  # a Cyrillic letter
    ],
)
def test_what_is_not_in_the_language_is_refused_with_a_column(text):
    with pytest.raises(Problem, match=r'^column \d+: '):
        parse(text, NAMES, LIBRARY)


@pytest.mark.parametrize(
    ('text', 'column'),
    [
        ('rosa', 1),
        ('  rosa', 3),
        ('roas > 3 and rosa', 14),
        ('roas >\n  rosa', 10),
        ('roas > 3 and', 13),
        ('size(1, 2) + roas', 1),
        ('roas + trend.x', 8),
    ],
)
def test_the_column_is_counted_in_letters(text, column):
    with pytest.raises(Problem, match=f'^column {column}: '):
        parse(text, NAMES, LIBRARY)


@given(
    st.text(max_size=60) | st.text('roastendhigh_.,()[]<>=+-*/ 0123\'"{}:@~|&^%!\n', max_size=60)
)
@tuned(max_examples=300, deadline=None)
def test_any_text_is_read_or_refused_and_nothing_else(text):
    try:
        read = parse(text, NAMES, LIBRARY)
    except Problem:
        return
    assert set(read.names) <= set(NAMES) and set(read.functions) <= set(LIBRARY)
    assert evaluate(read, COLUMNS, LIBRARY).dtype == np.float64


def written(inner: st.SearchStrategy) -> st.SearchStrategy:
    "Larger expressions from smaller ones"
    pair = st.tuples(inner, inner)
    return st.one_of(
        st.builds(
            '({0[0]} {1} {0[1]})'.format,
            pair,
            st.sampled_from('+ - * / < <= > >= == != and or'.split()),
        ),
        st.builds('({0[0]} < {0[1]} <= {1})'.format, pair, inner),
        st.builds('(not {})'.format, inner),
        st.builds('(-{})'.format, inner),
        st.builds('({0[0]} if {1} else {0[1]})'.format, pair, inner),
        st.builds('most({0[0]}, {0[1]})'.format, pair),
        st.builds('gradient({0[0]}, {0[1]}, {1})'.format, pair, inner),
        st.builds('relative({0[0]}, {0[1]}, {1})'.format, pair, inner),
        st.builds('sampled({0[0]}, {0[1]})'.format, pair),
        st.builds('scaled({0[0]}, {0[1]})'.format, pair),
        st.builds('known({0[0]}, {0[1]})'.format, pair),
    )


TEXTS = st.recursive(st.sampled_from([*NAMES, '0', '1', '2.5', '1e300']), written, max_leaves=8)


@given(TEXTS)
@tuned(max_examples=150, deadline=None)
@pytest.mark.filterwarnings('error')
def test_what_is_in_the_language_has_a_finite_or_an_unknown_value(text):
    read = parse(text, NAMES, LIBRARY)
    value = evaluate(read, COLUMNS, LIBRARY)
    assert not np.isinf(value).any()
    rowwise = [
        evaluate(
            read,
            {n: np.broadcast_to(c, 5)[row] for n, c in COLUMNS.items()},
            LIBRARY,
        )
        for row in range(5)
    ]
    np.testing.assert_array_equal(np.broadcast_to(value, 5), np.array(rowwise))


@given(TEXTS, st.sampled_from([0.0, 1.0, -2.0, 3.0]))
@tuned(max_examples=150, deadline=None)
def test_what_is_known_without_an_input_stays_when_it_becomes_known(text, later):
    if 'known' in text:
        return  # asks for a replacement, so it may change
    read = parse(text, NAMES, LIBRARY)
    before = evaluate(read, {'roas': np.nan, 'trend': 0.5, 'high_roas': 3.0}, LIBRARY)
    after = evaluate(read, {'roas': later, 'trend': 0.5, 'high_roas': 3.0}, LIBRARY)
    assert np.isnan(before) or before == after


def test_depth_is_bounded_and_long_flat_conditions_are_fine():
    flat = ' and '.join(['roas > 1'] * 70)
    assert evaluate(parse(flat, NAMES, LIBRARY), {'roas': 2.0}, LIBRARY) == 1
    with pytest.raises(Problem, match=str(DEEPEST)):
        parse('-' * (DEEPEST + 1) + 'roas', NAMES, LIBRARY)


# --- after the rule


@pytest.mark.parametrize(
    ('change', 'known', 'factor', 'steps'),
    [
        (0.121125, {'current': 100}, 1.10, ['size of the budget']),
        (0.10, {'covered': 0}, 1.05, ['half a week known']),
        (-0.10, {'covered': 0}, 0.95, ['half a week known']),
        (0.10, {'target_ratio': 1.2}, 1.16, ['distance from target']),
        (0.10, {'target_ratio': 0.1}, 1.0, ['distance from target']),
        (0.10, {'marginal_ratio': 0.5}, 1.1 * 0.975, ['marginal roas']),
        (0.10, {'marginal_ratio': 0.9}, 1.10, []),
        (0.10, {'utilisation': 0.69}, 1.05, ['utilisation']),
        (-0.10, {'utilisation': 0.69}, 0.90, []),
        (0.02, {'utilisation': 0.96}, 1.122, ['utilisation']),
        (0.10, {'utilisation': 0.96}, 1.15, ['utilisation']),
        (0.30, {'utilisation': 0.96}, 1.30, []),
        (-0.05, {'utilisation': 0.96}, 0.95, []),
        (0.30, {'current': 20}, 1.15, ['size of the budget']),
        (-0.30, {'current': 19}, 0.80, ['size of the budget']),
        (0.0, {'target_ratio': 3, 'utilisation': 1, 'current': 5}, 1.0, []),
    ],
)
def test_each_correction_by_itself(change, known, factor, steps):
    after = modified(pd.DataFrame({'change': [change]}), rows(known), HOUSE)
    assert after.factor.item() == pytest.approx(factor)
    assert [name for name, *_ in after.steps.item()] == steps


def test_corrections_can_be_switched_off():
    off = HOUSE.decision_rules.model_copy(update={'enabled': False})
    after = modified(
        pd.DataFrame({'change': [0.3]}),
        rows({'current': 500}),
        HOUSE.model_copy(update={'decision_rules': off}),
    )
    assert after.factor.item() == 1.3 and after.steps.item() == ()


# --- inputs


def test_inputs_keep_the_index_and_know_what_is_absent():
    table = pd.DataFrame(
        {'roas_7d': [1.0, np.inf], 'name': ['a', 'b'], 'frequency': [1, 2]}, index=['x', 'y']
    )
    seen = inputs(table)
    assert seen.index.tolist() == ['x', 'y'] and seen.frequency.tolist() == [1, 2]
    assert seen.roas.isna().tolist() == [False, True] and 'name' not in seen
    assert 'reach' in absent(seen) and 'roas' not in absent(seen)
    assert {i.name for i in INPUTS} <= set(units())


@pytest.mark.parametrize(
    ('value', 'unit', 'text'),
    [
        (0.05, 'change', '+5 %'),
        (-0.1234, 'change', '-12.3 %'),
        (0.0195, 'fraction', '1.95 %'),
        (1234.5, 'currency', '1,234.50'),
        (6000.0, 'count', '6,000'),
        (2.0, 'ratio', '2.00'),
        (math.nan, 'ratio', 'unknown'),
        (math.inf, 'days', 'unknown'),
    ],
)
def test_numbers_are_spoken_in_their_unit(value, unit, text):
    assert spoken(value, unit) == text


def test_a_share_is_never_written_in_per_cent():
    for wrong in (15, -0.1):
        with pytest.raises(ValueError, match=r'0\.15 for 15 %'):
            Parameter(default=wrong, unit='fraction')
    with pytest.raises(ValueError, match='sizes must rise'):
        Ramp(sizes=(1, 1), parts=(1, 1))
