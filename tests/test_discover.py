"""Patterns are reported when others confirm them later, and on noise nothing is."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from ruamel.yaml import YAML

from adsbench.data.layers import merge, read_layers
from adsbench.data.settings import Problem
from adsbench.rules.inputs import units
from adsbench.rules.outcomes import outcomes
from adsbench.rules.policy import Policy, policy
from adsbench.rules.rulebook import book
from adsbench.tuning.patterns import (
    PatternSettings,
    ahead,
    halves,
    holds,
    neighbours,
    patterns,
    sides,
    text,
)
from adsbench.tuning.proposals import ProposalSettings, name_of, proposals
from adsbench.tuning.selection import selected

SPARE = ('top_ad_share', 'utilisation', 'roas_trend', 'ctr_7d', 'spend_gini', 'clicks_7d')


def account(seed: int, effect: float = 0.0, shape: tuple[int, int, int] = (24, 4, 20)):
    "Ad sets, campaigns and weeks that differ, in the value and in columns that mean nothing"
    adsets, each, weeks = shape
    rng = np.random.default_rng(seed)
    unit, week = np.divmod(np.arange(adsets * weeks), weeks)

    def noise(lasting: float) -> np.ndarray:
        own = np.sqrt(lasting) * rng.standard_normal(adsets)[unit]
        campaign = 0.6 * rng.standard_normal(adsets)[unit // each]
        date = 0.6 * rng.standard_normal(weeks)[week]
        return own + campaign + date + np.sqrt(1 - lasting) * rng.standard_normal(len(unit))

    table = pd.DataFrame({name: noise(rng.random()) for name in SPARE})
    table['date'] = pd.Timestamp('2026-01-04') + pd.to_timedelta(7 * week, 'D')
    table['adset_id'] = [f's{u}' for u in unit]
    table['campaign_id'] = [f'c{u // each}' for u in unit]
    worth = 0.3 * noise(0.5) + np.log1p(effect) * (table['utilisation'] > 0.5)
    return table, pd.Series(2 * np.exp(worth), name='next_roas')


def reported(seed: int, **given) -> pd.Series:
    found = patterns(*account(seed, **given), seed=seed)
    return found.loc[found['accepted'], 'rule']


def test_on_noise_nothing_is_reported():
    shapes = [(24, 4, 20), (24, 1, 20), (16, 16, 20)]
    false = [len(reported(seed, shape=shapes[seed % 3])) > 0 for seed in range(108)]
    print(f'something reported in {np.mean(false):.1%} of {len(false)} runs of noise')
    assert np.mean(false) <= 0.05


def test_a_planted_pattern_is_found_with_its_lift():
    found = [patterns(*account(seed, effect=0.6), seed=seed) for seed in range(300, 320)]
    best = [one[one['accepted'] & one['rule'].str.startswith('utilisation > ')] for one in found]
    power = np.mean([len(one) > 0 for one in best])
    lift = np.mean([one['lift'].iloc[0] for one in best if len(one)])
    print(f'found in {power:.0%} of runs, lift {lift:.2f}')
    assert power >= 0.7 and 1.35 < lift < 1.85


def test_judging_sees_neither_the_dates_nor_the_ad_sets_of_growing():
    for shape in ((24, 4, 20), (9, 9, 20), (8, 4, 20)):
        table, _ = account(1, shape=shape)
        side = sides(table, 3)
        first, second = halves(table, side, PatternSettings())
        for turn in (first, second):
            grow, judge = table[turn.grow], table[turn.judge]
            assert not set(grow['adset_id']) & set(judge['adset_id'])
            assert (judge['date'].min() - grow['date'].max()).days > 14
        assert (
            len(set(table['adset_id'][first.judge]) | set(table['adset_id'][second.judge]))
            == shape[0]
        )


def test_later_values_do_not_change_what_is_asked():
    table, value = account(2, effect=0.6)
    late = table['date'] > table['date'].quantile(0.6)
    other = value.where(~late, value[::-1].to_numpy())
    rules = [set(patterns(table, v, seed=1)['rule']) for v in (value, other)]
    assert rules[0] == rules[1], 'candidates come from the earlier half alone'


def test_same_seed_same_answer_whatever_the_order_of_rows():
    table, value = account(3, effect=0.6)
    order = np.random.default_rng(0).permutation(len(table))
    one, two = (
        patterns(table, value, seed=4),
        patterns(table.iloc[order], value.iloc[order], seed=4),
    )
    assert one['rule'].tolist() == two['rule'].tolist()
    assert np.allclose(one['p'], two['p'], equal_nan=True)


def test_unknown_values_take_no_part():
    table, value = account(4, effect=0.6)
    table.loc[::7, 'utilisation'] = np.nan
    found = patterns(table, value.where(np.arange(len(value)) % 5 > 0), seed=1)
    met = holds(table[['utilisation']], (('utilisation', '>', -99.0),))
    assert met.sum() == table['utilisation'].notna().sum()
    assert found['p'].notna().any()
    with pytest.raises(Problem, match='no positive value'):
        patterns(table, value * np.nan)
    with pytest.raises(Problem, match='adset_id'):
        patterns(table.drop(columns='adset_id'), value)


def test_one_ad_set_a_campaign_is_compared_with_the_account():
    assert len(np.unique(neighbours(account(1, shape=(24, 1, 20))[0]))) == 20
    assert len(np.unique(neighbours(account(1)[0]))) == 120


def test_ahead_reads_the_row_a_week_later():
    table, _ = account(5)
    later = ahead(table.sample(frac=1, random_state=1), 'ctr_7d', 7)
    assert np.allclose(
        later.sort_index(), table.groupby('adset_id')['ctr_7d'].shift(-1), equal_nan=True
    )


# --- selection


def test_reasons():
    table, value = account(6)
    table['roas_7d'] = value - 1  # a leak
    table['bent'] = np.sign(np.random.default_rng(1).normal(size=len(value))) * np.sqrt(value)
    table['next_clicks'] = np.arange(len(value)) % 7
    table['clicks_again'], table['ctr_rank'] = table['clicks_7d'], table['ctr_7d'].rank() ** 3
    table['tax'] = 0.19
    found = selected(table, value).set_index('column')
    begins = found['reason'].str.split(n=1).str[0].to_dict()
    assert begins['roas_7d'] == begins['bent'] == begins['next_clicks'] == 'leaking:'
    assert begins['clicks_again'] == 'duplicate' and begins['tax'] == 'constant'
    assert found.loc['ctr_rank', 'reason'].startswith('redundant with ctr_7d')
    assert not found.loc[found['reason'] != '', 'kept'].any()
    assert found.loc[found['reason'] == '', 'kept'].all()


def test_selection_keeps_what_matters():
    kept = [selected(*account(seed, effect=1.0)).set_index('column')['kept'] for seed in range(10)]
    assert np.mean([k['utilisation'] for k in kept]) >= 0.8


# --- proposals


RULES = policy(read_layers(Path('nowhere')))


def made(*conditions, lift=0.7) -> pd.DataFrame:
    "One accepted pattern"
    row = {'rule': text(conditions), 'conditions': conditions, 'support': 0.2, 'lift': lift}
    judged = {'low': lift - 0.1, 'high': lift + 0.1, 'p': 0.001, 'q': 0.01, 'seen': lift}
    return pd.DataFrame([row | judged | {'accepted': True}])


def pasted(page: str) -> Policy:
    return Policy.model_validate(merge(RULES.model_dump(), YAML(typ='safe').load(page) or {}))


@pytest.mark.parametrize('column', [*sorted(units())[::9], 'roas_7d', 'budget'])
def test_every_column_that_rules_read_makes_a_rule_that_parses(column):
    for sign, number in (('>', 1.5), ('<=', 0.2), ('>', 0.0), ('<=', -0.25)):
        page = proposals(made((column, sign, number)), RULES)
        after = pasted(page)
        read = book(after)
        assert len(after.rules) == len(RULES.rules) + 1
        line = next(line for line in read.lines if line.name == 'found_1')
        name = name_of(column)
        near = pd.DataFrame({n: [np.nan] * 2 for n in (column, name)})
        near[name] = near[column] = [number - 0.01, number + 0.01]
        told = outcomes(near, read._replace(lines=(line,))).table
        assert (told['rule'] == 'found_1').tolist() == [sign == '<=', sign == '>'], page


def test_proposals_follow_those_pasted_before():
    page = proposals(made(('roas_7d', '>', 2.0), lift=1.4), RULES)
    again = proposals(made(('ctr_7d', '>', 0.02), lift=1.4), pasted(page))
    assert 'found_2:' in again and 'number: 48' in again
    assert 'ctr_7d > found_2_over_ctr_7d' in again


def test_what_rules_cannot_read_is_named_and_left_out():
    page = proposals(made(('adset_name_length', '>', 3.0)), RULES)
    assert 'cannot read adset_name_length' in page and 'rules:\n' not in page
    with pytest.raises(Problem, match='sinking'):
        proposals(made(('ctr_7d', '>', 0.02)), RULES, ProposalSettings(tier_down='sinking'))
