"""The split of a change closes, names what was planted, and survives what exports lack."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from adsbench.data.names import MissingColumns, Problem
from adsbench.diagnose.chain import CHAINS, STEPS, change
from adsbench.diagnose.drivers import drivers, main_driver, sentence
from adsbench.diagnose.mix import METRICS, mix, split

QUICK = settings(max_examples=25, deadline=None)


def frame(seed: int, days: int, holes: float = 0.0, zeros: float = 0.0) -> pd.DataFrame:
    "Random day rows of five segments, some cells missing, some zero, some infinite"
    rng = np.random.default_rng(seed)
    size = days * 5
    spend = rng.gamma(2, 50, size)
    impressions = spend * rng.gamma(9, 12, size)
    clicks = impressions * rng.beta(2, 100, size)
    purchases = rng.poisson(clicks * 0.05).astype(float)
    revenue = purchases * rng.gamma(4, 15, size)
    table = pd.DataFrame(
        {
            'spend': spend,
            'impressions': impressions,
            'clicks': clicks,
            'purchases': purchases,
            'revenue': revenue,
        }
    )
    mask = rng.random(table.shape)
    table = table.mask(mask < holes).mask((mask >= holes) & (mask < holes + zeros), 0.0)
    table = table.mask(rng.random(table.shape) < holes / 10, np.inf)
    table['date'] = pd.Timestamp('2026-05-01') + pd.to_timedelta(
        np.repeat(np.arange(days), 5), unit='D'
    )
    return table.assign(segment=[f's{i}' for i in range(5)] * days)


def smooth(days: int = 21) -> pd.DataFrame:
    "Three segments whose rates never change"
    day, segment = np.divmod(np.arange(days * 3), 3)
    spend = 100.0 * (1 + segment)
    impressions = spend * 1000 / (8 + segment)
    clicks = impressions * (0.01 + 0.004 * segment)
    purchases = clicks * (0.04 - 0.01 * segment)
    date = pd.Timestamp('2026-05-01') + pd.to_timedelta(day, unit='D')
    columns = dict(zip(STEPS, (spend, impressions, clicks, purchases, purchases * (50 + segment))))
    return pd.DataFrame({'date': date, 'segment': segment.astype(str), **columns})


def windows() -> tuple[pd.DataFrame, pd.DataFrame]:
    "Fourteen days, and the seven after"
    days = smooth()
    return days[days.date < '2026-05-15'], days[days.date >= '2026-05-15']


def observed(baseline: pd.DataFrame, current: pd.DataFrame, metric: str) -> float:
    "The change of a metric, worked out another way"
    values = []
    for page in (baseline, current):
        clean = page[list(STEPS)].where(np.isfinite(page[list(STEPS)]))
        if metric == 'revenue':
            values.append(clean.revenue.sum() / page.date.nunique())
            continue
        top, bottom = {
            'roas': ('revenue', 'spend'),
            'cpa': ('spend', 'purchases'),
            'ctr': ('clicks', 'impressions'),
            'cvr': ('purchases', 'clicks'),
        }[metric]
        both = clean[[top, bottom]].dropna()
        values.append(both[top].sum() / both[bottom].sum())
    gap = values[1] - values[0]
    return gap * current.date.nunique() if metric == 'revenue' else gap


def closes(effect: pd.Series, gap: float, size: float) -> bool:
    "Whether effects add up to the change, to 1e-9 of the metric"
    return bool(np.isfinite(effect).all()) and abs(effect.sum() - gap) <= 1e-9 * max(size, 1)


@QUICK
@given(
    st.integers(0, 10**6),
    st.sampled_from(sorted(CHAINS)),
    st.sampled_from([0, 0.1, 0.6]),
    st.sampled_from([0, 0.3]),
)
def test_drivers_close(seed, metric, holes, zeros):
    baseline, current = frame(seed, 14, holes, zeros), frame(seed + 1, 7, holes, zeros)
    try:
        moved = change(baseline, current, metric)
    except Problem:
        return
    parts = drivers(baseline, current, metric)
    size = abs(moved.before) + abs(moved.after)
    assert np.isclose(
        moved.after - moved.before, observed(baseline, current, metric), rtol=1e-9, atol=1e-9 * size
    )
    assert closes(parts.effect, moved.after - moved.before, size)
    if moved.before > 0:
        assert np.isclose(parts.percent.sum(), 100 * (moved.after / moved.before - 1))
    assert parts.share.isna().all() or np.isclose(parts.share.sum(), 1)


@QUICK
@given(
    st.integers(0, 10**6),
    st.sampled_from([*sorted(METRICS), 'revenue']),
    st.sampled_from([0, 0.1, 0.6]),
    st.integers(1, 5),
)
def test_mix_closes(seed, metric, holes, kept):
    baseline = frame(seed, 14, holes, 0.3).query(f'segment > "s{5 - kept}" or segment == "s0"')
    current = frame(seed + 1, 7, holes, 0.3).query(f'segment < "s{kept}"')
    try:
        found = mix(baseline, current, 'segment', metric)
    except Problem:
        return
    names = (
        ['revenue', 'spend']
        if metric == 'revenue'
        else [METRICS[metric].top, METRICS[metric].bottom]
    )
    sums = []
    for page in (baseline, current):
        both = page[names].where(np.isfinite(page[names]))
        both = both if metric == 'revenue' else both.dropna()
        per = METRICS[metric].per if metric in METRICS else 1
        sums.append(
            both[names[0]].sum() * 7 / page.date.nunique()
            if metric == 'revenue'
            else per * both[names[0]].sum() / both[names[1]].sum()
        )
    assert closes(found.total, sums[1] - sums[0], sum(sums))


@settings(max_examples=8, deadline=None)
@given(st.integers(0, 10**6), st.sampled_from(['roas', 'cpa']), st.sampled_from([0, 0.1]))
def test_drivers_within_segments_close(seed, metric, holes):
    baseline, current = frame(seed, 14, holes), frame(seed + 1, 7, holes)
    moved = change(baseline, current, metric)
    assert closes(
        split(baseline, current, 'segment', metric).effect, moved.after - moved.before, moved.before
    )


AFTER = {'cpm': STEPS[1:], 'ctr': STEPS[2:], 'cvr': STEPS[3:], 'aov': STEPS[4:]}


@pytest.mark.parametrize('factor', [0.5, 0.99, 1.4])
@pytest.mark.parametrize('name', AFTER)
def test_a_planted_driver_is_named(name, factor):
    baseline, current = windows()
    current = current.assign(**{m: current[m] * factor for m in AFTER[name]})
    metrics = ('roas', 'revenue') if name == 'aov' else ('roas', 'revenue', 'cpa')
    for metric in metrics:
        parts = drivers(baseline, current, metric).set_index('driver')
        assert main_driver(parts.reset_index()) == name
        assert abs(parts.share[name] - 1) < 1e-9 and parts.drop(name).share.abs().max() < 1e-9
    for metric in set(metrics) - {'revenue'}:
        within = split(baseline, current, 'segment', metric).set_index('driver')
        assert within.share.idxmax() == name
        # a common factor on impressions, clicks or purchases shifts no share
        assert abs(within.share['mix']) < 1e-9


def test_a_change_of_spend_is_named():
    baseline, current = windows()
    parts = drivers(baseline, current.assign(**{m: current[m] * 1.5 for m in STEPS}), 'revenue')
    assert main_driver(parts) == 'spend'
    assert np.isclose(parts.money.sum(), 0.5 * current.revenue.sum())


def test_a_shift_of_money_is_mix_and_nothing_else():
    baseline, current = windows()
    factor = current.segment.map({'0': 3.0, '1': 1.0, '2': 0.3})
    moved = current.assign(**{m: current[m] * factor for m in STEPS})
    for metric in ('roas', 'cpa'):
        parts = split(baseline, moved, 'segment', metric).set_index('driver')
        assert abs(parts.share['mix'] - 1) < 1e-9 and parts.drop('mix').share.abs().sum() < 1e-9
    for metric in METRICS:
        assert mix(baseline, moved, 'segment', metric).within.abs().max() < 1e-12


def test_days_count_and_not_rows():
    baseline, current = windows()
    parts = drivers(
        baseline, pd.concat([current, current.assign(**dict.fromkeys(STEPS, 0.0))]), 'revenue'
    )
    assert parts.share.isna().all() and parts.effect.abs().max() < 1e-9
    assert sentence(parts, change(baseline, current, 'revenue')) == 'revenue did not change.'


@pytest.mark.parametrize(
    'absent',
    [(), ('purchases',), ('clicks',), ('impressions',), ('impressions', 'clicks'), STEPS[1:4]],
)
def test_a_missing_step_joins_its_neighbours(absent):
    baseline, current = windows()
    worse = current.assign(revenue=current.revenue * 0.7).drop(columns=list(absent))
    for before in (baseline, baseline.assign(**dict.fromkeys(absent, np.nan))):
        parts = drivers(before, worse)
        assert closes(
            parts.effect,
            observed(baseline, current.assign(revenue=current.revenue * 0.7), 'roas'),
            3,
        )
        assert bool(absent) == (parts.note != '').any() and not parts.driver.eq('unmatched').any()
        assert parts[['before', 'after', 'log_change']].notna().all(axis=None)


def test_zero_stays_finite_and_whole():
    baseline, current = windows()
    dead = current.assign(purchases=0.0, revenue=0.0)
    parts = drivers(baseline, dead).set_index('driver')
    assert np.isclose(parts.share['cvr'], 1) and 'aov' not in parts.index
    assert np.isfinite(parts[['effect', 'percent', 'money']]).all(axis=None)
    back = drivers(dead, current, 'revenue')
    assert closes(back.effect, current.revenue.sum(), 1) and back.percent.isna().all()
    clickless = drivers(baseline, current.assign(clicks=0.0))
    assert (
        'purchases_per_impression' in set(clickless.driver)
        and clickless.note.str.contains('clicks').any()
    )


def test_disjoint_holes_never_empty_the_chain():
    baseline, current = windows()
    even = np.arange(len(current)) % 2 == 0
    holes = current.assign(
        clicks=current.clicks.where(even), purchases=current.purchases.where(~even)
    )
    parts = drivers(baseline, holes)
    assert closes(parts.effect, observed(baseline, current, 'roas'), 3)
    assert parts.before.notna().all()


@pytest.mark.parametrize(
    ('spoil', 'said'),
    [
        (lambda f: f[:0], 'no rows'),
        (lambda f: f.assign(spend=0.0), 'undefined'),
        (lambda f: f.assign(spend=np.nan), 'undefined'),
        (lambda f: f.assign(spend=np.inf), 'undefined'),
        (lambda f: f.drop(columns='spend'), 'spend not among'),
        (lambda f: f.assign(spend='?'), 'undefined'),
    ],
)
def test_what_cannot_be_split_says_why(spoil, said):
    baseline, current = windows()
    for page in ((spoil(baseline), current), (baseline, spoil(current))):
        with pytest.raises(Problem, match=said):
            drivers(*page)
        with pytest.raises(Problem):
            mix(*page, 'segment')
        with pytest.raises(Problem):
            split(*page, 'segment')
    with pytest.raises(MissingColumns, match='nowhere'):
        mix(baseline, current, 'nowhere')


def test_nothing_is_changed_in_place():
    baseline, current = windows()
    copies = baseline.copy(), current.copy()
    drivers(baseline, current)
    split(baseline, current, 'segment')
    pd.testing.assert_frame_equal(baseline, copies[0])
    pd.testing.assert_frame_equal(current, copies[1])


def test_the_public_export(shared):
    raw = pd.read_csv(shared / 'undergarments' / 'synthetic_fb_ads_undergarments.csv')
    days = raw.assign(date=pd.to_datetime(raw['date'], errors='coerce', format='mixed')).dropna(
        subset='date'
    )
    last = days.date.max()
    current = days[days.date > last - pd.Timedelta(days=7)]
    baseline = days[
        (days.date <= last - pd.Timedelta(days=7)) & (days.date > last - pd.Timedelta(days=21))
    ]
    parts, moved = drivers(baseline, current), change(baseline, current)
    assert abs(parts.effect.sum() - (moved.after - moved.before)) < 1e-9
    assert mix(baseline, current, ['country', 'audience_type']).total.sum() == pytest.approx(
        moved.after - moved.before, abs=1e-9
    )
