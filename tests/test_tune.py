"""Tuning judges its own procedure on days it did not search, and says so when there are too few."""

import numpy as np
import pandas as pd
import pytest

from adsbench.budgets.state import House
from adsbench.data.layers import read_layers
from adsbench.data.settings import Problem, find_root
from adsbench.data.world import World
from adsbench.rules.policy import policy
from adsbench.tuning.grid import simulated
from adsbench.tuning.parts import known, part, task, windows
from adsbench.tuning.policies import deciding
from adsbench.tuning.search import SearchSettings
from adsbench.tuning.space import space_of
from adsbench.tuning.steps import ReplaySettings, steps
from adsbench.tuning.tune import Asked, TuningSettings, tune
from adsbench.tuning.verdict import VerdictSettings, verdict, weights

HOUSE = House(policy(read_layers(find_root(), environ={})))


@pytest.fixture(scope='module')
def past():
    facts = simulated(World(adsets=6), 170, 1)
    return steps(facts, HOUSE, ReplaySettings(), facts.days['adset']['date'].max())


def page(effect: float, seed: int, blocks: int = 6, spread: float = 0.006) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    market = rng.normal(0.05, 0.02, blocks)
    return pd.DataFrame(
        {'customer': 'a', 'defaults': market, 'tuned': market + rng.normal(effect, spread, blocks)}
    )


def test_verdict_keeps_the_defaults_without_an_effect_and_sees_one():
    words = lambda effect: [verdict(page(effect, s), VerdictSettings()).word for s in range(300)]
    assert words(0.0).count('ADOPT') <= 0.08 * 300 and words(-0.01).count('ADOPT') == 0
    assert words(0.02).count('ADOPT') >= 0.9 * 300


def test_verdict_interval_covers_the_effect():
    found = [verdict(page(0.01, s), VerdictSettings()) for s in range(400)]
    assert 0.86 <= np.mean([v.low <= 0.01 <= v.high for v in found]) <= 0.94


def test_verdict_without_difference_or_blocks():
    same = page(0.0, 1).assign(tuned=lambda p: p['defaults'])
    assert verdict(same, VerdictSettings()).word == 'KEEP DEFAULTS'
    assert verdict(page(0.1, 1, 3), VerdictSettings()).word == 'NOT ENOUGH DATA'
    assert verdict(page(0.1, 1).iloc[:0], VerdictSettings()).word == 'NOT ENOUGH DATA'


def test_a_surely_better_baseline_is_named_and_forbids_only_where_asked():
    strict = VerdictSettings(beat=('hold', 'equal'))
    better = page(0.02, 1).assign(equal=lambda p: p['tuned'] + 0.05)
    found = verdict(better, VerdictSettings())
    assert found.word == 'ADOPT' and 'equal would do better still' in found.why
    assert verdict(better, strict).word == 'KEEP DEFAULTS'
    worse = page(0.02, 1).assign(equal=lambda p: p['tuned'] - 0.05)
    assert verdict(worse, strict).word == 'ADOPT' and 'still' not in verdict(worse, strict).why


def test_who_only_rests_is_not_adopted():
    idle = page(0.0, 1).assign(defaults=-0.02, tuned=lambda p: 1e-5 * np.arange(len(p)) - 4e-5)
    found = verdict(idle, VerdictSettings())
    assert found.low > 0.01 and found.word == 'KEEP DEFAULTS' and 'hold' in found.why


def test_weights_of_customers():
    both = pd.concat([page(0.02, 1), page(-0.02, 1).assign(customer='b')])
    assert weights(both)['a'] > 0.8 and weights(both)['b'] == 0
    assert weights(page(0.02, 1, 1))['a'] == 0, 'one block is no evidence'


def test_parts_score_like_the_whole(past):
    space = space_of(HOUSE.policy, deciding(past, HOUSE, [{}]))
    asked = task([past], HOUSE, space, 4)
    assert np.allclose(asked.evaluate({}, [2]), asked.evaluate({}, range(4))[2])
    assert known([past]) != known([part(past, np.arange(4))])


def test_outer_windows_keep_their_distance(past):
    made = windows([past], 3, 2)
    assert made
    for window in made:
        gap = past.dates[window.test[0][0]] - past.dates[window.train[0][-1]]
        assert gap.days >= past.embargo + past.horizon


def test_tune_resumes_and_says_what_it_did(past, tmp_path):
    quick = TuningSettings(search=SearchSettings(iterations=5), outer=1, processes=1)
    first = tune([past], HOUSE, quick, Asked(folder=tmp_path))
    again = tune([past], HOUSE, quick, Asked(folder=tmp_path))
    assert (tmp_path / 'all').is_dir()
    assert first.trials['values'].equals(again.trials['values']) and first.chosen == again.chosen
    assert first.why == again.why and first.about['dimensions'] > 0
    names = {'defaults', 'hold', 'equal', 'proportional', 'shrunk_squared', 'thompson'}
    assert names <= set(first.methods['policy'])
    with pytest.raises(Problem, match='remove it'):
        tune([part(past, np.arange(10))], HOUSE, quick, Asked(folder=tmp_path))
