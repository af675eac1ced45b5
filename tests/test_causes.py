"""Causes: planted segments are found under their simplest name, once, and chance is called chance."""

import time
from itertools import product

import numpy as np
import pandas as pd
import pytest

from adsbench.data.names import MissingColumns, Problem
from adsbench.diagnose.causes import causes, merged, search
from adsbench.diagnose.cuboids import codes, compact, cuboids, numbered
from adsbench.diagnose.leaves import leaves_of, margins, sides
from adsbench.diagnose.scan import CauseSettings, p_value, scan_of, shuffled, strongest, usable

VALUES = {
    'adset_id': [f's{i}' for i in range(8)],
    'platform': ['audience', 'facebook', 'instagram'],
    'age': ['18-24', '25-34', '35-44', '45+'],
    'gender': ['female', 'male'],
}
ATTRIBUTES = ['campaign_id', *VALUES]
SETTINGS = CauseSettings(permutations=99)


def account(seed: int, changes=(), overall: float = 1.0, size: float = 60) -> pd.DataFrame:
    "Leaves with Poisson counts; ad sets 0-3 in campaign A, 4-5 in B, 6-7 in C"
    rng = np.random.default_rng(seed)
    leaves = pd.DataFrame(list(product(*VALUES.values())), columns=list(VALUES))
    number = leaves.adset_id.str[1:].astype(int)
    leaves.insert(0, 'campaign_id', np.where(number < 4, 'A', np.where(number < 6, 'B', 'C')))
    leaves['expected'] = size * rng.lognormal(0, 0.6, len(leaves))
    truth = leaves.expected * overall
    for values, factor in changes:
        inside = np.logical_and.reduce([leaves[a] == v for a, v in values.items()])
        truth = truth * np.where(inside, factor, 1)
    leaves['actual'] = rng.poisson(truth).astype(float)
    return leaves.assign(variance=leaves.expected)


def names(found: pd.DataFrame) -> set:
    return {frozenset(v.items()) for v in found['values']}


def days(seed: int, number: int, spend: float = 50.0, changes=()) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    leaves = account(0)[ATTRIBUTES]
    rows = pd.concat([leaves] * number, ignore_index=True)
    rows['date'] = pd.Timestamp('2026-05-01') + pd.to_timedelta(
        np.repeat(np.arange(number), len(leaves)), unit='D'
    )
    rows['spend'] = rng.lognormal(np.log(spend), 0.3, len(rows)).round(2)
    rate = np.full(len(rows), 0.05)
    for values, factor in changes:
        rate *= np.where(
            np.logical_and.reduce([rows[a] == v for a, v in values.items()]), factor, 1
        )
    rows['purchases'] = rng.poisson(rows.spend * rate).astype(float)
    rows['revenue'] = np.where(
        rows.purchases > 0, rng.gamma(np.maximum(rows.purchases, 1) * 2, 20), 0
    )
    return rows


@pytest.mark.parametrize('against', ['rest', 'before'])
@pytest.mark.parametrize(
    'planted',
    [
        [({'platform': 'instagram'}, 0.7)],
        [({'campaign_id': 'B'}, 0.6)],
        [({'adset_id': 's5', 'platform': 'facebook'}, 0.4)],
        [({'campaign_id': 'A', 'age': '45+'}, 1.5)],
        [({'campaign_id': 'A', 'platform': 'audience', 'gender': 'male'}, 0.5)],
        [({'adset_id': 's2'}, 0.4), ({'age': '25-34', 'platform': 'instagram'}, 1.6)],
    ],
    ids=lambda planted: (
        ' + '.join('&'.join(v.values()) for v, _ in planted)
        if isinstance(planted, list)
        else planted
    ),
)
def test_planted_causes_are_found_under_their_names(planted, against):
    settings = SETTINGS.model_copy(update={'against': against})
    found = causes(account(3, planted), ATTRIBUTES, settings, seed=1)
    sure = found[found.p <= 0.05]
    assert names(sure) == {frozenset(v.items()) for v, _ in planted}
    for values, factor in planted:
        row = sure[[v == values for v in sure['values']]].iloc[0]
        assert row.direction == ('up' if factor > 1 else 'down')
        assert row.relative == pytest.approx(factor - 1, abs=0.12)
        assert row.attributes == len(values)


def test_shares_close_to_one():
    planted = [({'adset_id': 's2'}, 0.4), ({'platform': 'instagram'}, 1.3)]
    leaves = account(5, planted, overall=0.9)
    found = causes(leaves, ATTRIBUTES, SETTINGS, seed=1)
    total = (leaves.actual - leaves.expected).sum()
    assert np.allclose(found.share * total, found.change)
    overall = found.overall.iloc[0]
    assert overall == pytest.approx(-0.1, abs=0.03)
    # what neither the causes nor the common slip explain is nothing but the leaves outside, which close
    slipped = overall * leaves.expected.sum()
    assert found.change.sum() + slipped == pytest.approx(total, abs=1e-6)


def test_no_leaf_is_counted_twice():
    for seed in range(8):
        planted = [({'campaign_id': 'A', 'platform': 'facebook'}, 0.5), ({'age': '45+'}, 0.6)]
        leaves = account(seed, planted)
        kept = usable(leaves, ATTRIBUTES)
        scan = scan_of(kept, ATTRIBUTES, SETTINGS)
        found = merged(search(scan, SETTINGS, seed), scan, SETTINGS)
        assert np.sum([f.mine for f in found], axis=0).max() == 1


def test_a_loss_is_reported_once():
    "90 % of one ad set: not its campaign, not its platforms, not again"
    found = causes(account(7, [({'adset_id': 's6'}, 0.1)]), ATTRIBUTES, SETTINGS, seed=1)
    assert names(found[found.p <= 0.05]) == {frozenset({('adset_id', 's6')})}


def test_a_parent_is_named_when_the_siblings_moved_too():
    uneven = [
        ({'adset_id': 's0'}, 0.3),
        ({'adset_id': 's1'}, 0.55),
        ({'adset_id': 's2'}, 0.55),
        ({'adset_id': 's3'}, 0.55),
    ]
    found = causes(account(2, uneven, size=200), ATTRIBUTES, SETTINGS, seed=1)
    assert names(found[found.p <= 0.05]) == {frozenset({('campaign_id', 'A')})}
    weaker = [({'adset_id': 's0'}, 0.3)] + [({'adset_id': f's{i}'}, 0.9) for i in (1, 2, 3)]
    found = causes(account(2, weaker, size=200), ATTRIBUTES, SETTINGS, seed=1)
    assert frozenset({('adset_id', 's0')}) in names(found)
    assert frozenset({('campaign_id', 'A')}) not in names(found)


def test_a_refinement_makes_no_pair():
    leaves = account(1)
    made = {c.attributes for c in cuboids(leaves, ATTRIBUTES, 3)}
    assert not any({'campaign_id', 'adset_id'} <= set(m) for m in made)
    assert ('campaign_id', 'platform') in made and ('adset_id', 'age', 'gender') in made
    alias = leaves.assign(name=leaves.adset_id.str.upper())
    found = causes(
        alias.assign(actual=np.where(alias.adset_id == 's3', 0.3, 1) * alias.expected),
        ['name', *ATTRIBUTES],
        SETTINGS,
        seed=1,
    )
    assert names(found) == {frozenset({('name', 'S3')})}


def test_chance_is_called_chance():
    "Quiet accounts, thin and thick leaves: p at most .05 in about 5 of 100"
    quick, small = CauseSettings(permutations=39), []
    for seed in range(120):
        leaves = account(seed, size=(3, 60)[seed % 2])
        scan = scan_of(usable(leaves, ATTRIBUTES), ATTRIBUTES, quick)
        small.append(p_value(strongest(scan, quick).score, shuffled(scan, quick, seed)))
    assert 0.005 <= np.mean(np.array(small) <= 0.05) <= 0.10
    assert 0.35 < np.median(small) < 0.65


def test_chance_is_called_chance_from_days_too():
    "Thin leaves share the luck of their baseline; that must not look like a cause"
    quick, small = CauseSettings(permutations=39), []
    for seed in range(60):
        leaves = leaves_of(days(2 * seed, 14, 20), days(2 * seed + 1, 7, 20), ATTRIBUTES, 'roas')
        scan = scan_of(usable(leaves, ATTRIBUTES), ATTRIBUTES, quick)
        small.append(p_value(strongest(scan, quick).score, shuffled(scan, quick, seed)))
    assert np.mean(np.array(small) <= 0.05) <= 0.12
    assert 0.3 < np.median(small) < 0.7


@pytest.mark.parametrize('overall', [0.5, 0.8, 1.3])
def test_a_common_change_is_no_segments_doing(overall):
    found = causes(account(11, overall=overall), ATTRIBUTES, SETTINGS, seed=1)
    assert not (found.p <= 0.05).any()
    both = causes(
        account(12, [({'age': '45+'}, 0.5)], overall=overall), ATTRIBUTES, SETTINGS, seed=1
    )
    assert names(both[both.p <= 0.05]) == {frozenset({('age', '45+')})}
    assert both.overall.iloc[0] == pytest.approx(overall - 1, abs=0.03)


def test_of_two_halves_the_one_that_moved_is_named():
    for fallen in ('female', 'male'):
        found = causes(account(4, [({'gender': fallen}, 0.6)]), ATTRIBUTES, SETTINGS, seed=1)
        assert found.segment.iloc[0] == f'gender={fallen}' and found.direction.iloc[0] == 'down'


def test_identical_periods_give_nothing():
    leaves = account(1)
    found = causes(leaves.assign(actual=leaves.expected), ATTRIBUTES, SETTINGS, seed=1)
    assert found.empty and 'segment' in found
    rows = days(1, 14)
    found = causes(leaves_of(rows, rows, ATTRIBUTES, 'roas'), ATTRIBUTES, SETTINGS, seed=1)
    assert not (found.p <= 0.05).any()


def test_the_order_of_rows_and_the_type_of_values_do_not_matter():
    leaves = account(6, [({'adset_id': 's4', 'age': '18-24'}, 0.3)])
    first = causes(leaves, ATTRIBUTES, SETTINGS, seed=1)
    again = causes(leaves.sample(frac=1, random_state=3), ATTRIBUTES, SETTINGS, seed=1)
    pd.testing.assert_frame_equal(first, again)
    objects = leaves.astype(dict.fromkeys(ATTRIBUTES, object))
    categories = leaves.astype(dict.fromkeys(ATTRIBUTES, 'category'))
    for other in (objects, categories):
        pd.testing.assert_frame_equal(first, causes(other, ATTRIBUTES, SETTINGS, seed=1))


def test_arguments_stay_as_they_are():
    leaves, rows = account(6, [({'adset_id': 's4'}, 0.3)]), days(1, 3)
    copies = leaves.copy(), rows.copy()
    causes(leaves, ATTRIBUTES, SETTINGS, seed=1)
    leaves_of(rows, rows, ATTRIBUTES, 'cpa')
    pd.testing.assert_frame_equal(leaves, copies[0])
    pd.testing.assert_frame_equal(rows, copies[1])


def test_missing_numbers_stay_out_and_missing_attributes_are_a_value():
    leaves = account(8, [({'platform': 'instagram'}, 0.5)])
    gone = leaves.assign(platform=leaves.platform.where(leaves.platform != 'instagram'))
    gone.loc[::7, 'actual'] = np.nan
    gone.loc[1::7, 'expected'] = 0.0
    gone.loc[2::7, 'expected'] = np.inf
    found = causes(gone, ATTRIBUTES, SETTINGS, seed=1)
    assert names(found[found.p <= 0.05]) == {frozenset({('platform', 'unknown')})}
    assert np.isfinite(found[['actual', 'expected', 'change', 'share', 'score']]).all(axis=None)


def test_without_a_variance_the_scale_is_the_leaves_own():
    leaves = account(9, [({'age': '45+'}, 0.5)]).drop(columns='variance')
    cents = leaves.assign(actual=leaves.actual * 100, expected=leaves.expected * 100)
    found = [causes(frame, ATTRIBUTES, SETTINGS, seed=1) for frame in (leaves, cents)]
    assert found[0].segment[0] == found[1].segment[0] == 'age=45+'


@pytest.mark.parametrize(
    'broken',
    [
        lambda leaves: leaves[:0],
        lambda leaves: leaves[:1],
        lambda leaves: leaves.assign(expected=0.0),
        lambda leaves: leaves.assign(actual=np.nan),
        lambda leaves: leaves.assign(**dict.fromkeys(ATTRIBUTES, 'same')),
        lambda leaves: leaves.drop(columns='actual'),
        lambda leaves: leaves.drop(columns='age'),
    ],
)
def test_what_cannot_be_compared_is_said(broken):
    with pytest.raises(Problem) as told:
        causes(broken(account(1)), ATTRIBUTES, SETTINGS, seed=1)
    assert len(str(told.value)) > 30


def test_leaves_of_says_what_is_wrong():
    rows = days(1, 3)
    for before, now, metric in (
        (rows[:0], rows, 'roas'),
        (rows, rows[:0], 'roas'),
        (rows, rows, 'raos'),
        (rows.assign(revenue=0.0), rows, 'roas'),
    ):
        with pytest.raises(Problem):
            leaves_of(before, now, ATTRIBUTES, metric)
    with pytest.raises(MissingColumns):
        leaves_of(rows, rows.drop(columns='spend'), ATTRIBUTES, 'roas')


def test_leaves_from_days_lead_to_the_cause():
    planted = [({'campaign_id': 'B', 'platform': 'facebook'}, 0.3)]
    before, now = days(1, 14), days(2, 7, changes=planted)
    for metric, direction in (('roas', 'down'), ('revenue', 'down'), ('cpa', 'up')):
        leaves = leaves_of(before, now, ATTRIBUTES, metric)
        found = causes(leaves, ATTRIBUTES, SETTINGS, seed=1)
        sure = found[found.p <= 0.05]
        assert names(sure) == {frozenset(planted[0][0].items())}, metric
        assert sure.direction.tolist() == [direction]
    budget = now.assign(spend=now.spend * np.where(now.platform == 'facebook', 3, 1))
    budget = budget.assign(revenue=days(2, 7).revenue * np.where(now.platform == 'facebook', 3, 1))
    found = causes(leaves_of(before, budget, ATTRIBUTES, 'roas'), ATTRIBUTES, SETTINGS, seed=1)
    assert not (found.p <= 0.01).any(), 'three times the budget at the same roas is no cause'


def test_a_cost_that_bought_nothing_is_still_seen():
    before, now = days(1, 14), days(2, 7)
    now.loc[now.adset_id == 's1', 'purchases'] = 0.0
    found = causes(leaves_of(before, now, ATTRIBUTES, 'cpa'), ATTRIBUTES, SETTINGS, seed=1)
    assert found.segment[0] == 'adset_id=s1' and found.direction[0] == 'up'


def test_expectations_of_thin_leaves_come_from_their_attributes():
    top, bottom = np.array([0.0, 500, 500]), np.array([0.1, 100, 100])
    rate = margins(top, bottom, [np.array([0, 0, 1]), np.array([0, 1, 1])], 1.0)
    assert 4 < rate[0] < 6, 'a tenth of spend without a purchase says nothing'
    assert sides('cpm').sign == -1 and sides('ctr').bottom == 'impressions'


def test_numbers_of_values():
    assert codes(pd.Series(['b', None, 'a'])).tolist() == [1, 2, 0]
    (left, right), words = numbered(pd.Series([2, 1]), pd.Series(['2', None]))
    assert words.tolist() == ['1', '2', 'unknown']
    assert left.tolist() == [1, 0] and right.tolist() == [1, 2]
    keys = np.random.default_rng(0).integers(0, 10**6, 300)
    dense, hashed = compact(keys, 10**6), np.unique(keys, return_inverse=True)
    assert dense[1] == len(hashed[0]) and (dense[0] == hashed[1]).all()


def test_same_seed_same_answer():
    leaves = account(1, size=2)
    scan = scan_of(usable(leaves, ATTRIBUTES), ATTRIBUTES, SETTINGS)
    assert (shuffled(scan, SETTINGS, 1) == shuffled(scan, SETTINGS, 1)).all()
    assert not (shuffled(scan, SETTINGS, 1) == shuffled(scan, SETTINGS, 2)).all()
    assert len(shuffled(scan, SETTINGS.model_copy(update={'work': 1, 'fewest': 7}), 1)) == 7


def test_many_leaves_are_no_trouble():
    rng = np.random.default_rng(0)
    number = 200_000
    adset = rng.integers(0, 400, number)
    leaves = pd.DataFrame({'campaign_id': adset // 20, 'adset_id': adset})
    for name, size in (('platform', 4), ('age', 7), ('gender', 3), ('country', 30)):
        leaves[name] = rng.integers(0, size, number)
    leaves = leaves.astype('str')
    leaves['expected'] = rng.lognormal(1, 1, number)
    hit = (leaves.adset_id == '17') & (leaves.age == '2')
    leaves['actual'] = rng.poisson(leaves.expected * np.where(hit, 0.2, 1)).astype(float)
    leaves['variance'] = leaves.expected
    start = time.perf_counter()
    found = causes(leaves, list(leaves.columns[:6]), CauseSettings(permutations=0), seed=1)
    assert found.segment.tolist() == ['adset_id=17 & age=2']
    assert time.perf_counter() - start < 10, 'about a second where nothing else runs'


def test_squeeze_sample(shared):
    file = shared / 'root_cause' / 'squeeze_sample' / '1451019300.csv'
    if not file.is_file():
        pytest.skip(f'public data absent: {file}')
    cells = pd.read_csv(file, keep_default_na=False)
    leaves = cells.rename(columns={'real': 'actual', 'predict': 'expected'})
    attributes = [c for c in cells if c not in ('real', 'predict')]
    found = causes(leaves, attributes, CauseSettings(against='before', permutations=19), seed=1)
    assert found.segment.tolist() == ['logstream_isp=ALIBABA']
