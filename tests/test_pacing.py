"""Pacing: the closed form, the calendar, and the week that may not run over."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from adsbench.budgets.pacing import (
    PacingSettings,
    account_day,
    course,
    daily,
    exhausted,
    pace,
    spent_by_day,
)
from adsbench.data.names import Problem

CAP = PacingSettings(cap=10_000)
DAY = pd.Timedelta(days=1)


def flat(first: str, last: str, spend: float) -> pd.DataFrame:
    "The same spend every day"
    return pd.DataFrame({'date': pd.date_range(first, last), 'spend': spend})


@pytest.mark.parametrize(
    'day, spent, may',
    [
        ('2026-01-01', 0, 245.16),
        ('2026-01-15', 5_000, 279.41),
        ('2026-01-30', 9_500, 237.50),
        ('2026-01-30', 9_900, 0),
        ('2026-01-30', 9_899.99, 47.50),
        ('2026-01-31', 20_000, 0),
    ],
)
def test_the_closed_form(day, spent, may):
    assert daily(1_000_000, round(spent * 100), pd.Timestamp(day), CAP) == round(may * 100)


def test_the_first_day_before_its_factor_and_the_edge_of_exhaustion():
    whole = CAP.model_copy(update={'first_day': 1.0})
    assert daily(1_000_000, 0, pd.Timestamp('2026-01-01'), whole) == 30645
    assert exhausted(1_000_000, 990_000, CAP) and not exhausted(1_000_000, 900_000, CAP)
    assert exhausted(0, 0, CAP), 'a cap of 0 is no money'


@pytest.mark.parametrize(
    'month, length', [('2026-02', 28), ('2028-02', 29), ('2100-02', 28), ('2026-04', 30)]
)
def test_months_have_their_own_length(month, length):
    first = pd.Timestamp(f'{month}-01')
    table = course(pd.Series(dtype='Int64'), 10**6, first, CAP)
    assert len(table) == length
    last = first + (length - 1) * DAY
    assert daily(10**6, 0, last, CAP) == 950_000, 'one day is left, and it gets all but the margin'


@pytest.mark.parametrize(
    'zone', ['Europe/Berlin', 'America/Sao_Paulo', 'Australia/Lord_Howe', 'Asia/Kathmandu']
)
def test_every_hour_of_a_year_falls_on_the_calendar_day_of_the_zone(zone):
    hours = pd.date_range('2026-01-01', '2026-12-31', freq='h', tz='UTC')
    days = pd.Series([account_day(hour, zone) for hour in hours[::7]])
    local = pd.Series(hours[::7].tz_convert(zone).strftime('%Y-%m-%d'))
    assert days.dt.strftime('%Y-%m-%d').equals(local) and days.dt.hour.eq(0).all()


@pytest.mark.parametrize('clock', ['2026-03-29', '2026-10-25'])
def test_the_change_of_clocks_takes_no_day_and_gives_none(clock):
    "A month with a day of 23 or 25 hours paces like any other of its length"
    noon = pd.Timestamp(clock, tz='Europe/Berlin') + pd.Timedelta(hours=12)
    day = account_day(noon.tz_convert('UTC'), 'Europe/Berlin')
    days = flat(f'{clock[:7]}-01', clock, 300.0)
    changed = pace(days, day, CAP, 'EUR')
    moved = days.assign(date=days.date.map(lambda d: d.replace(month=7)))
    plain = pace(moved, day.replace(month=7), CAP, 'EUR')
    assert changed.remaining == plain.remaining and changed.daily == plain.daily
    assert len(changed.course) == 31 and changed.course.date.is_unique


def test_the_last_day_of_a_month_plans_the_next_with_nothing_spent():
    days = flat('2026-01-01', '2026-03-05', 500.0)
    turn = pace(days, pd.Timestamp('2026-02-28'), CAP, 'EUR')
    assert turn.day == pd.Timestamp('2026-03-01') and turn.spent == 0 and turn.remaining == 31
    assert turn.daily == 245.16 and turn.course.cumulative.isna().all()
    year = pace(flat('2025-12-01', '2025-12-31', 9.0), pd.Timestamp('2025-12-31'), CAP, 'EUR')
    assert year.day == pd.Timestamp('2026-01-01') and year.words[0].endswith(
        'January 2026 are spent.'
    )


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.integers(0, 60_000), min_size=1, max_size=27),
    st.integers(1, 2_000_000),
    st.sampled_from(['EUR', 'JPY', 'KWD', 'VND']),
)
def test_who_follows_the_plan_never_passes_the_cap_and_every_cent_is_counted(spends, cap, currency):
    unit = 1 if currency in ('JPY', 'VND') else 100
    dates = pd.date_range('2026-02-01', periods=len(spends))
    days = pd.DataFrame({'date': dates, 'spend': np.array(spends) / unit})
    made = pace(days, dates[-1], PacingSettings(cap=cap / unit), currency)
    assert round(made.spent * unit) == sum(spends) and round(made.left * unit) == cap - sum(spends)
    assert made.exhausted == (100 * (cap - sum(spends)) <= cap) and made.daily >= 0
    assert made.exhausted <= (made.daily == 0)
    ends = made.course.expected.max() * unit
    assert ends <= max(cap, sum(spends)) + 1e-6
    assert round(made.course.spent.sum() * unit) == sum(spends)
    assert made.daily == made.course.loc[made.course.date == made.day, 'budget'].item()


def test_a_dear_day_rings_nothing_and_a_dear_week_does():
    days = flat('2026-05-01', '2026-05-20', 300.0)
    last = pd.Timestamp('2026-05-20')
    day = days.assign(spend=days.spend.where(days.date != last, 300 * 1.75))
    week = days.assign(spend=days.spend.where(days.date <= last - 7 * DAY, 300 * 1.25))
    assert not pace(days, last, CAP, 'EUR').alarm
    even = flat('2026-05-01', '2026-05-20', 310.0)
    assert not pace(even, last, PacingSettings(cap=310 * 31), 'EUR').alarm, 'the even line'
    assert pace(week, last, CAP, 'EUR').alarm
    one = pace(day, last, CAP, 'EUR')
    assert one.alarm == (one.week > one.week_limit) and one.week == 6 * 300 + 525
    assert not one.alarm


def test_over_the_turn_of_a_month_each_month_answers_for_its_own_days():
    days = flat('2026-01-01', '2026-02-02', 300.0)
    caps = PacingSettings(months={'2026-01': 9_300, '2026-02': 2_800})
    turned = pace(days, pd.Timestamp('2026-02-02'), caps, 'EUR')
    assert turned.week_limit == 5 * 300 + 2 * 100 and turned.alarm and turned.cap == 2_800
    lone = pace(days, pd.Timestamp('2026-02-02'), PacingSettings(months={'2026-02': 2_800}), 'EUR')
    assert np.isnan(lone.week_limit) and not lone.alarm, 'January had no cap'


def test_facts_only_up_to_the_cut_off_and_holes_are_named():
    days = flat('2026-01-01', '2026-01-31', 100.0)
    cut = pd.Timestamp('2026-01-10')
    poisoned = days.assign(spend=days.spend.where(days.date <= cut, 1e6))
    clean, same = (pace(table, cut, CAP, 'EUR') for table in (days, poisoned))
    assert clean._replace(course=None) == same._replace(course=None)
    pd.testing.assert_frame_equal(clean.course, same.course)
    gap = days[~days.date.isin(pd.to_datetime(['2026-01-04', '2026-01-09']))]
    holed = pace(gap.assign(spend=gap.spend.where(gap.date.dt.day != 6)), cut, CAP, 'EUR')
    assert [day.day for day in holed.missing] == [4, 6, 9] and '4 January' in holed.words[-1]
    assert holed.spent == 700 and holed.course.spent.isna().sum() == 3 + 21


def test_a_day_with_one_unknown_row_is_unknown():
    days = pd.DataFrame({'date': pd.to_datetime(['2026-01-01'] * 2), 'spend': [5.0, np.nan]})
    first = pd.Timestamp('2026-01-01')
    assert spent_by_day(days, first, first, 'EUR').isna().all()


def test_no_cap_no_pace_and_switched_off_none_either():
    days = flat('2026-01-01', '2026-01-05', 1.0)
    last = pd.Timestamp('2026-01-05')
    assert pace(days, last, PacingSettings(), 'EUR') is None
    assert pace(days, last, PacingSettings(cap=5, enabled=False), 'EUR') is None
    assert pace(days, last, PacingSettings(months={'2026-02': 5}), 'EUR') is None
    with pytest.raises(ValueError):
        PacingSettings(months={'2026-13': 5})
    with pytest.raises(Problem):
        pace(days, last, PacingSettings(cap=5), 'EURO')


def test_an_empty_table_is_a_month_of_unknown_days():
    nothing = pace(flat('2026-01-01', '2025-12-31', 1.0), pd.Timestamp('2026-01-05'), CAP, 'EUR')
    assert nothing.spent == 0 and len(nothing.missing) == 5
