"""The section 'What to move?' says what the plan says, claims nothing unknown, and survives hostile names."""

import re
from functools import cache

import numpy as np
import pandas as pd
import plans
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from adsbench.budgets.plan import Plan, checked
from adsbench.data.names import MissingColumns, Problem
from adsbench.reports.advice import advice, methods
from adsbench.reports.budget_pictures import (
    ROWS,
    dumbbell,
    largest,
    month,
    responses,
    tried,
)
from adsbench.reports.canvas import LIMIT, draw
from adsbench.reports.limits import binding, certificate, limit_words, noun, short, unit_name
from adsbench.reports.moves import curves_picture, listed, moves, pacing
from adsbench.reports.restraints import restraints
from adsbench.reports.words import money, text_of

KINDS = ('shop', 'still', 'infeasible', 'campaigns', 'taboola', 'hostile')


@cache
def page(kind: str) -> str:
    "The section of one of the plans, made once: its pictures take time"
    return moves(getattr(plans, kind)(), 'EUR')


def words(plan: Plan | Problem) -> str:
    "The section as a reader sees it"
    return text_of(moves(plan, 'EUR'))


@pytest.mark.parametrize('kind', KINDS)
def test_the_plans_of_these_tests_are_plans(kind):
    assert checked(getattr(plans, kind)())


@pytest.mark.parametrize('kind', KINDS)
def test_every_plan_is_a_section_without_nan(kind):
    html = page(kind)
    told = text_of(html)
    assert not re.search(r'\b(nan|None|inf|NaT)\b', told) and len(told) > 100
    assert html.count('<img') == html.count('alt="') and 'alt=""' not in html
    if kind == 'taboola':
        assert moves(getattr(plans, kind)(), 'EUR') == html, 'the same bytes twice'


def test_the_parts_come_in_the_order_of_the_questions():
    told = page('shop')
    parts = ['Move €', 'alt="18 budgets move', 'The 10 largest of 18', 'alt="Expected revenue']
    parts += ['Against what?', 'What holds this plan back', 'for June 2026', 'Why not more?']
    assert sorted(parts, key=told.index) == parts


def test_the_first_sentence_has_the_money_and_the_interval_of_the_plan():
    plan = plans.shop()
    first = text_of(advice(plan, 'EUR')).split('\n')[0]
    given_up = plan.decisions['move'].clip(lower=0).sum()
    assert f'Move {money(given_up, "EUR")} a day from 9 ad sets to 9 others' in first
    gains = [f'+{money(plan.about[name], "EUR")}' for name in ('gain', 'gain_low', 'gain_high')]
    assert f'{gains[0]} of revenue a day against leaving every budget' in first
    assert f'(80 % interval {gains[1]} to {gains[2]})' in first


def test_the_ten_rows_are_the_largest_with_their_numbers():
    plan = plans.shop()
    told = text_of(listed(plan, 'EUR'))
    rows = plan.decisions.reindex(plan.decisions['move'].abs().sort_values(ascending=False).index)
    for row in rows.head(10).itertuples():
        assert f'{money(row.current, "EUR")} → {money(row.proposed, "EUR")}' in told
        assert row.adset_name in told and money(abs(row.gain), 'EUR') in told
    assert told.count('→') == 11 and rows.iloc[10]['adset_name'] not in told


def test_amounts_carry_their_unit():
    told = text_of(page('shop'))
    for amount in re.findall(r'(?<![\d.,])[+-]?\S?\d[\d,]*\.\d\d(?!\d)', told.split('Why')[0]):
        assert '€' in amount, amount
    assert '¥' in text_of(advice(plans.shop(), 'JPY')) and '€' not in text_of(
        methods(plans.shop(), 'JPY')
    )


def test_shop_and_lead_value_are_named():
    plan = plans.shop()
    as_value = lambda value: plan._replace(about=plan.about | {'value': value})
    assert 'as the shop counts it' in text_of(listed(as_value('shop'), 'EUR'))
    leads = as_value('leads')
    told = text_of(advice(leads, 'EUR') + listed(leads, 'EUR') + binding(leads, 'EUR'))
    assert 'of lead value a day' in told and 'of revenue' not in told


def test_nothing_is_claimed_where_nothing_is_known():
    told = text_of(page('taboola'))
    assert 'no gain is claimed' in told and 'Gain a day' not in told and 'brings, 80' not in told
    assert 'is not known, so none is compared' in told and 'No monthly cap is set' in told
    assert 'interval' not in told and 'ad set' not in told and 'campaigns' in told
    plan = plans.shop()
    hole = plan.decisions.assign(
        gain_low=plan.decisions['gain_low'].where(plan.decisions.index != 9)
    )
    one = text_of(listed(plan._replace(decisions=hole), 'EUR'))
    assert money(abs(plan.decisions.loc[9, 'gain']), 'EUR') not in one, (
        'no gain without its interval'
    )


def test_an_interval_that_reaches_zero_is_said():
    plan = plans.shop()
    unsure = plan._replace(about=plan.about | {'gain_low': -4.0})
    assert 'may as well bring nothing' in text_of(
        advice(unsure, 'EUR')
    ) and 'as well bring' not in text_of(page('shop'))


def test_no_move_is_calm_and_says_what_holds():
    told = text_of(page('still'))
    assert told.startswith('Leave all 24 budgets as they are.') and 'Which budgets' not in told
    assert 'They are held: 24 by the wait after the last change.' in told
    assert 'adsbench allocate' not in told and 'largest of' not in told


def test_infeasible_is_a_certificate_and_no_comparison():
    plan = plans.infeasible()
    told = words(plan)
    total = plan.about['total']
    assert f'{money(total, "EUR")} a day are asked for' in told
    assert f'allow at most {money(total - 350, "EUR")} a day' in told
    assert 'The limit for budgets of this size and the limit on one increase | 17 ad sets' in told
    assert f'A total of {money(total - 350, "EUR")} a day instead of' in told
    assert 'wider by 14.1 %' in told and 'The wait after the last change lifted' in told
    assert 'Against what?' not in told and 'Why not more?' not in told
    less = plan._replace(certificate=plan.certificate | {'shortfall': -350.0})
    assert 'need at least' in words(less) and 'lower by 14.1 %' in words(less)
    bare = plan._replace(certificate={'shortfall': None})
    assert 'cannot both be kept' in words(bare) and text_of(certificate(bare, 'EUR')) == ''


def test_campaign_budgets_are_named_and_counted_as_budgets():
    plan = plans.campaigns()
    told = words(plan)
    assert 'CH | Sales | Campaign budget' in text_of(listed(plan, 'EUR'))
    assert 'from 9 budgets to 9 others' in told and 'Ad set or campaign' in told
    assert noun(plan.decisions) == 'budget' and '1 budget to pause' in told


def test_hostile_names_stay_names():
    html = page('hostile')
    assert '<script' not in html and html.count('&lt;script&gt;') > 20
    assert '\u202e' not in html and not re.search(r'&(?!\w+;|#)', html)
    assert '{{ 7*7 }}' in html and '49' not in re.findall(r'alt="[^"]*"', html)[0]
    assert max(map(len, re.findall(r'x+', text_of(html)))) <= 80
    assert len(html) < 250_000 and 'The 10 largest of 150 moves' in html


def test_a_problem_is_a_note_and_a_missing_column_says_how_to_export_it():
    assert 'could not be worked out: 9 days; 21 are needed' in words(
        Problem('9 days; 21 are needed')
    )
    told = words(MissingColumns('daily_budget not among date'))
    assert 'Ad set budget and Campaign budget' in told
    empty = plans.shop()
    empty = empty._replace(decisions=empty.decisions.head(0), notes=['every ad set is off'])
    assert words(empty) == 'There is nothing to move: every ad set is off'
    assert '<b>' not in moves(Problem('<b>'), 'EUR')


def test_the_pictures_have_the_numbers_and_stay_light():
    plan = plans.shop()
    svg = draw(dumbbell(plan.decisions, 'EUR'), 'svg').decode()
    for row in largest(plan.decisions, ROWS).itertuples():
        assert f'{money(row.current, "EUR")} → {money(row.proposed, "EUR")}' in svg
    pictures = (
        dumbbell(plan.decisions, 'EUR'),
        responses(plan.curves, plan.decisions, 'EUR'),
        month(plan.pacing.course, 'EUR'),
        dumbbell(plans.hostile().decisions, 'EUR'),
    )
    assert max(len(draw(one, 'svg')) for one in pictures) < LIMIT


def test_no_curve_is_drawn_outside_what_was_tried():
    plan = plans.shop()
    rows = plan.decisions.set_index('unit', drop=False)
    for unit, page in plan.curves.groupby('unit'):
        seen = tried(page, rows.loc[unit])
        low, high = rows.loc[unit, ['known_low', 'known_high']]
        assert seen['budget'].min() >= low - 1e-9 and seen['budget'].max() <= high + 1e-9
    figure = responses(plan.curves, plan.decisions, 'EUR')
    order = [u for u in largest(plan.decisions, 24)['unit'] if u in set(plan.curves['unit'])]
    for axes, unit in zip(figure.axes, order):
        curve = axes.lines[0].get_xdata()
        assert curve.max() <= rows.loc[unit, 'known_high'] + 1e-9
        said = [text.get_text() for text in axes.texts if text.get_visible()]
        assert ('not tried yet' in said) == (rows.loc[unit, 'proposed'] > curve.max())


@pytest.mark.parametrize('column', ['value', 'low', 'high'])
def test_curves_with_holes_are_gaps(column):
    plan = plans.shop()
    holed = plan.curves.assign(**{column: plan.curves[column].where(plan.curves.index % 7 != 3)})
    assert len(responses(holed, plan.decisions, 'EUR').axes) == 6
    gone = plan._replace(curves=plan.curves.assign(**{column: np.nan}))
    assert len(curves_picture(gone, 'EUR')) == (column != 'value')


def test_limits_and_prices_are_those_of_the_plan():
    plan = plans.shop()
    told = text_of(binding(plan, 'EUR'))
    assert 'the limit on one increase (3 ad sets): the next €1' in told and '€0.84' in told
    assert '€1 a day more in the total would bring about €1.72' in told
    dark = plan._replace(
        binding=plan.binding.assign(shadow=np.nan), about=plan.about | {'price': None}
    )
    assert 'would' not in text_of(binding(dark, 'EUR'))
    assert limit_words('my_limit and step_up') == 'my limit and the limit on one increase'


def test_why_not_more_counts_what_the_decisions_say():
    plan = plans.shop()
    rows, told = plan.decisions, text_of(restraints(plan, 'EUR'))
    stopped = int(((rows['move'] != 0) & (rows['limit'] != '')).sum())
    assert f'{stopped} of 18 moves cut short' in told and '6 ad sets held in place' in told
    assert '3 ad sets in the learning phase' in told and 'Whether 2 ad sets still learn' in told
    beyond = int(((rows['move'] != 0) & rows['extrapolates']).sum())
    assert f'{beyond} of 18 moves beyond the budgets that were tried' in told
    assert 'reach_many: reach absent (4 ad sets)' in told


def test_the_month_says_its_state_in_money():
    plan = plans.shop()
    pace = plan.pacing
    told = text_of(page('shop'))
    assert f'{money(pace.spent, "EUR")} of the {money(pace.cap, "EUR")} for June 2026' in told
    assert f'{money(pace.daily, "EUR")} a day may be spent over the 9 days left' in told
    over = text_of(pacing(plan._replace(pacing=plans.month(30_000)), 'EUR'))
    assert 'is used up' in over and 'more than the' in over


@pytest.mark.parametrize('name', ['rule', 'limit', 'reason', 'adset_name', 'campaign_name'])
def test_missing_words_are_no_fault(name):
    plan = plans.shop()
    for nothing in (None, np.nan, ''):
        bare = plan._replace(decisions=plan.decisions.assign(**{name: nothing}))
        told = text_of(listed(bare, 'EUR')) + text_of(restraints(bare, 'EUR'))
        assert not re.search(r'\b(nan|None)\b', told)


@settings(max_examples=10, deadline=None)
@given(
    moved=st.lists(
        st.tuples(st.floats(0, 1e6), st.floats(0, 1e6)), min_size=1, max_size=20
    )
)  # fmt: skip
def test_any_budgets_can_be_drawn_and_told(moved):
    now, then = (np.round(side, 2) for side in zip(*moved))
    rows = plans.shop().decisions.head(len(moved)).assign(current=now, proposed=then)
    rows['move'] = (then - now).round(2)
    rows['change'] = np.where(now > 0, then / np.where(now > 0, now, 1) - 1, np.nan)
    told = text_of(listed(plans.shop()._replace(decisions=rows), 'EUR'))
    assert 'nan' not in told.lower().split()
    if (rows['move'] != 0).any():
        left, right = dumbbell(rows, 'EUR').axes[0].get_xlim()
        assert left <= 0 and right >= max(rows['proposed'].max(), 0) * 0.99
    else:
        assert told == ''


def test_names_are_shortened_in_the_middle():
    assert short('x' * 99, 20).count('…') == 1 and len(short('x' * 99, 20)) == 20
    assert unit_name({'level': 'adset', 'adset_name': None, 'adset_id': '23', 'unit': 'u'}) == '23'
    assert unit_name(pd.Series({'unit': 'u'})) == 'u'
