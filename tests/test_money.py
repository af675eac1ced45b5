"""Money: minor units by Meta's table, the decimal a person sees, parts that sum exactly."""

from decimal import ROUND_HALF_UP, Decimal
from fractions import Fraction

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from adsbench.data.money import from_minor, offset, split_exact, to_minor
from adsbench.data.names import Problem

amounts = st.floats(-1e12, 1e12, allow_nan=False)
cents = st.integers(-(10**13), 10**13)


def by_decimal(amount: float, units: int) -> int:
    "The slow and obvious answer"
    return int((Decimal(str(amount)) * units).quantize(Decimal(1), rounding=ROUND_HALF_UP))


def test_the_eleven_whole_currencies_and_no_other():
    whole = 'CLP COP CRC HUF ISK IDR JPY KRW PYG TWD VND'.split()
    assert {offset(code) for code in whole} == {1}
    assert {offset(code) for code in 'EUR USD GBP INR BHD JOD KWD TND BRL NOK'.split()} == {100}


@pytest.mark.parametrize('code', ['JPN', 'eur', '', 'XXX', 'EURO', 'BTC', '€', 'EUR '])
def test_unknown_codes_raise(code):
    with pytest.raises(Problem, match='not in use'):
        offset(code)
    with pytest.raises(Problem):
        to_minor(1.0, code)


def test_1999_is_1999():
    assert to_minor(19.99, 'EUR') == 1999 and to_minor('19.99', 'EUR') == 1999
    assert to_minor(Decimal('0.005'), 'EUR') == 1 and to_minor(-0.005, 'EUR') == -1
    assert to_minor(1.005, 'EUR') == 101 and to_minor(1234, 'JPY') == 1234
    assert from_minor(1999, 'EUR') == 19.99 and from_minor(1999, 'JPY') == 1999


@given(st.lists(amounts, max_size=20), st.sampled_from(['EUR', 'JPY']))
def test_a_series_is_converted_like_its_amounts_one_by_one(values, currency):
    whole = to_minor(pd.Series(values, dtype=float), currency)
    assert whole.tolist() == [by_decimal(value, offset(currency)) for value in values]
    assert [to_minor(value, currency) for value in values] == whole.tolist()


@given(st.lists(st.integers(-(10**9), 10**9), min_size=1, max_size=30))
def test_halves_are_decided_by_the_decimal(tenths):
    "x.xx5 in every size: where floats lie"
    values = [n / 1000 for n in tenths]
    assert to_minor(pd.Series(values), 'EUR').tolist() == [by_decimal(v, 100) for v in values]


@given(cents, st.sampled_from(['EUR', 'JPY']))
def test_there_and_back_changes_nothing(minor, currency):
    assert to_minor(from_minor(minor, currency), currency) == minor
    assert to_minor(from_minor(pd.Series([minor]), currency), currency).tolist() == [minor]


def test_missing_stays_missing_and_infinite_is_refused():
    kept = to_minor(pd.Series([1.5, None, 0.0], index=['a', 'b', 'c'], name='spend'), 'EUR')
    assert kept.isna().tolist() == [False, True, False] and kept.name == 'spend'
    assert from_minor(kept, 'EUR').isna().tolist() == [False, True, False]
    for amount in (float('nan'), float('inf'), pd.Series([1.0, float('inf')])):
        with pytest.raises(Problem):
            to_minor(amount, 'EUR')


weights = st.lists(st.floats(0, 1e6, allow_subnormal=False), min_size=1, max_size=25)


@given(st.integers(-(10**7), 10**7), weights)
def test_parts_sum_exactly_and_stay_within_one_of_their_quota(total, values):
    plan = pd.Series(values, index=[f'adset {n}' for n in range(len(values))])
    if not sum(values):
        if total:
            with pytest.raises(Problem):
                split_exact(total, plan)
        return
    parts = split_exact(total, plan)
    assert parts.sum() == total and parts.index.equals(plan.index)
    whole = sum(map(Fraction, values))
    for weight, part in zip(values, parts):
        assert abs(part - Fraction(weight) * total / whole) < 1
        assert weight or not part


@given(weights.filter(any), st.integers(0, 10**6), st.randoms(use_true_random=False))
def test_the_order_of_the_ids_does_not_matter(values, total, random):
    plan = pd.Series(values, index=[f'adset {n}' for n in range(len(values))])
    shuffled = list(plan.index)
    random.shuffle(shuffled)
    again = split_exact(total, plan[shuffled])
    pd.testing.assert_series_equal(again[plan.index], split_exact(total, plan))


def test_ties_go_by_id():
    assert split_exact(100, pd.Series({'c': 1, 'a': 1, 'b': 1})).to_dict() == {
        'c': 33,
        'a': 34,
        'b': 33,
    }


@pytest.mark.parametrize('values', [[-1.0, 2.0], [float('nan'), 1.0], [float('inf'), 1.0], []])
def test_weights_that_cannot_be_are_refused(values):
    with pytest.raises(Problem):
        split_exact(100, pd.Series(values, dtype=float))


def test_nothing_is_split_into_nothing():
    assert split_exact(0, pd.Series([0.0, 0.0])).tolist() == [0, 0]
