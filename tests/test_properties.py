"""What must hold whatever the exports are: money is neither lost nor counted twice, the future stays unseen."""

import shutil
import tempfile
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from adsbench.data.grains import days
from adsbench.data.ingest import Request, ingest
from adsbench.data.money import to_minor
from adsbench.data.store import place
from adsbench.features.ratios import summed

CASES = settings(max_examples=12, suppress_health_check=list(HealthCheck), deadline=None)
NEW = Request(currency='EUR', timezone='Europe/Berlin', snapshot=pd.Timestamp('2026-04-01'))
HEADERS = {
    'date': 'Day',
    'campaign': 'Campaign name',
    'adset': 'Ad set name',
    'ad': 'Ad name',
    'cents': 'Amount spent (EUR)',
    'impressions': 'Impressions',
    'purchases': 'Purchases',
    'value': 'Purchases conversion value',
}


@st.composite
def accounts(draw) -> pd.DataFrame:
    "Two weeks of ads: one row an ad and day that delivered, amounts in cents"
    rng = np.random.default_rng(draw(st.integers(0, 10_000)))
    names = [(f'C{a % 2}', f'S{a % 4}', f'A{a}') for a in range(draw(st.integers(1, 8)))]
    dates = pd.date_range('2026-03-02', periods=14).strftime('%Y-%m-%d')
    rows = [(day, *name) for day in dates for name in names if rng.random() < 0.9]
    frame = pd.DataFrame(rows, columns=['date', 'campaign', 'adset', 'ad'])
    return frame.assign(
        cents=rng.integers(1, 500_000, len(rows)),
        impressions=rng.integers(1, 90_000, len(rows)),
        purchases=rng.integers(0, 9, len(rows)),
        value=rng.integers(0, 900_000, len(rows)),
    )


def export(rows: pd.DataFrame, path: Path, by: list[str] | None = None) -> Path:
    "An Ads Manager CSV of these rows, summed to a coarser grain when asked"
    if by:
        rows = rows.groupby(by, as_index=False)[
            ['cents', 'impressions', 'purchases', 'value']
        ].sum()
    page = rows.assign(cents=rows.cents / 100, value=rows.value / 100)
    page.rename(columns=HEADERS).to_csv(path, index=False, float_format='%.2f')
    return path


def taken(files: list[Path]) -> tuple[dict, pd.DataFrame]:
    "What ingest says of the files, one after the other in a new root, and the account by day"
    root = Path(tempfile.mkdtemp())
    home = place(root, 'acme', 'meta')
    for file in files:
        told = ingest(home, [file], NEW)
    by_day = days(home, 'account')
    shutil.rmtree(root)
    return told, by_day


@CASES
@given(accounts(), st.randoms())
def test_grains_in_any_order_leave_every_sum_unchanged(rows: pd.DataFrame, random):
    folder = Path(tempfile.mkdtemp())
    files = [
        export(rows, folder / 'ads.csv'),
        export(rows, folder / 'adsets.csv', ['date', 'campaign', 'adset']),
        export(rows, folder / 'campaigns.csv', ['date', 'campaign']),
    ]
    random.shuffle(files)
    told, by_day = taken(files)
    assert to_minor(by_day.spend, 'EUR').sum() == rows.cents.sum()
    assert to_minor(told['totals']['spend'], 'EUR') == rows.cents.sum()
    assert to_minor(told['totals']['revenue'], 'EUR') == rows.value.sum()
    assert told['totals']['purchases'] == rows.purchases.sum()


@CASES
@given(accounts(), st.integers(1, 12), st.integers(0, 5), st.randoms())
def test_overlapping_exports_are_never_added(rows: pd.DataFrame, cut: int, overlap: int, random):
    folder = Path(tempfile.mkdtemp())
    dates = sorted(rows.date.unique())
    first = rows[rows.date.isin(dates[: cut + overlap])]
    second = rows[rows.date.isin(dates[cut:])]
    files = [export(p, folder / f'{n}.csv') for n, p in enumerate((first, second)) if len(p)]
    random.shuffle(files)
    _, by_day = taken(files)
    both = rows[rows.date.isin(set(first.date) | set(second.date))]
    assert to_minor(by_day.spend, 'EUR').sum() == both.cents.sum()


@CASES
@given(accounts())
def test_the_same_export_twice_changes_nothing(rows: pd.DataFrame):
    folder = Path(tempfile.mkdtemp())
    file = export(rows, folder / 'ads.csv')
    again = shutil.copy(file, folder / 'ads (1).csv')
    once, by_day = taken([file])
    twice, same = taken([file, Path(again)])
    assert once == twice
    pd.testing.assert_frame_equal(by_day, same)


@settings(max_examples=50, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 10**9), st.integers(0, 10**9)), min_size=1, max_size=30))
def test_a_ratio_of_sums_lies_between_the_ratios_it_is_made_of(pairs):
    rows = pd.DataFrame(pairs, columns=['spend', 'revenue'], dtype='float64')
    told = summed(rows.assign(campaign_id='c'), ['campaign_id']).roas.iloc[0]
    own = (rows.revenue / rows.spend.where(rows.spend != 0)).dropna()
    if rows.spend.sum() == 0:
        assert np.isnan(told)
    elif (rows.spend > 0).all():
        assert own.min() * (1 - 1e-9) <= told <= own.max() * (1 + 1e-9)
    assert not np.isinf(told)


def test_a_broken_file_among_good_ones_writes_nothing(tmp_root: Path):
    good, bad = tmp_root / 'good.csv', tmp_root / 'bad.csv'
    good.write_text('Day,Campaign name,Amount spent (EUR)\n2026-03-01,Spring,10.00\n')
    bad.write_bytes(b'PK\x03\x04 this is no workbook')
    home = place(tmp_root / 'root', 'acme', 'meta')
    with pytest.raises(ValueError, match=r'bad\.csv'):
        ingest(home, [good, bad], NEW)
    assert not (tmp_root / 'root').exists()
