"""Objectives: holding scores 1, and a broken constraint never pays."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from adsbench.budgets.objectives import (
    AdsetSettings,
    Constraints,
    ObjectiveSettings,
    Weights,
    checked,
    score,
    terms,
    violations,
)
from adsbench.data.layers import read_layers
from adsbench.data.names import Problem, share
from adsbench.data.settings import section

HOUSE = ObjectiveSettings()


@st.composite
def plans(draw) -> tuple[pd.DataFrame, pd.DataFrame]:
    "Today and a plan; both may break any constraint"
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    count = draw(st.integers(1, 6))
    budget = rng.gamma(1, 100, count) + 1

    def side(budget):
        spend = budget * rng.uniform(0.6, 1.2)
        value = spend * rng.gamma(4, draw(st.sampled_from([0.2, 0.5, 1.0])), count)
        return pd.DataFrame({'budget': budget, 'spend': spend, 'value': value, 'clicks': spend * 2})

    return side(budget), side(budget * rng.lognormal(0, draw(st.sampled_from([0, 0.1, 1])), count))


@settings(max_examples=300, deadline=None)
@given(plans())
def test_a_violation_never_improves_the_objective(case):
    now, then = case
    free = Constraints(change_rate=(0, 1e9), utilisation=(0, 1e9), max_share=1, min_roas=0)
    without = score(now, then, HOUSE.model_copy(update={'constraints': free}))
    before = violations(now, now, HOUSE.constraints)
    further = (violations(now, then, HOUSE.constraints) - before).clip(lower=0)
    made = score(now, then, HOUSE)
    assert made <= without
    if further.sum() > 0:
        assert made < score(now, now, HOUSE) == 1
    else:
        assert made == without


@settings(max_examples=200, deadline=None)
@given(plans(), st.floats(0.01, 0.4), st.sampled_from(['change', 'use', 'share', 'roas']))
def test_a_wider_constraint_never_lowers_the_score(case, by, which):
    narrow = HOUSE.constraints
    wide = {
        'change': {'change_rate': (max(0.05 - by, 0), 0.5 + by)},
        'use': {'utilisation': (0.8 - by, 1.05 + by)},
        'share': {'max_share': 0.5 + by},
        'roas': {'min_roas': 1.5 - by},
    }[which]
    wider = HOUSE.model_copy(update={'constraints': narrow.model_copy(update=wide)})
    assert score(*case, wider) >= score(*case, HOUSE) - 1e-12


@settings(max_examples=100, deadline=None)
@given(plans())
def test_holding_scores_one_whatever_the_account(case):
    now, _ = case
    assert score(now, now, HOUSE) == pytest.approx(1, abs=1e-12)


@settings(max_examples=100, deadline=None)
@given(plans(), st.floats(0.01, 1000))
def test_neither_the_currency_nor_the_order_of_rows_matters(case, rate):
    now, then = case
    money = ['budget', 'spend', 'value']
    dear = [side.assign(**{m: side[m] * rate for m in money}) for side in (now, then)]
    assert np.allclose(terms(*dear), terms(now, then))
    assert score(*dear, HOUSE) == pytest.approx(score(now, then, HOUSE), abs=1e-9)
    assert score(now, then[::-1], HOUSE) == pytest.approx(score(now[::-1], then, HOUSE))


def test_more_revenue_more_clicks_fewer_changes_score_more():
    now = pd.DataFrame({'budget': [100.0, 100], 'spend': 95.0, 'value': 300.0, 'clicks': 50.0})
    step = now.assign(budget=[106.0, 94])
    assert score(now, step.assign(value=330.0), HOUSE) > score(now, step, HOUSE)
    assert score(now, step.assign(clicks=55.0), HOUSE) > score(now, step, HOUSE)
    assert score(now, now.assign(budget=[112.0, 88]), HOUSE) < score(now, step, HOUSE) < 1


def test_a_unit_from_zero_and_unknown_values_do_not_break_the_terms():
    now = pd.DataFrame(
        {'budget': [0.0, 100], 'spend': [0.0, 95], 'value': [0.0, 300], 'clicks': [0, 9.0]}
    )
    then = now.assign(budget=[10.0, 90], value=[np.nan, 290])
    found = terms(now, then)
    assert np.isfinite(found).all() and found['roas'] == pytest.approx(290 / 300)
    assert found['stability'] == pytest.approx(1 - (10 + 1) / 100)
    assert np.isnan(score(now * np.nan, then, HOUSE))


def test_settings_refuse_what_has_no_meaning():
    for wrong in (
        lambda: Weights(roas=0, ctr=0, stability=0, utilisation=0),
        lambda: Weights(roas=-1),
        lambda: Constraints(change_rate=(0.5, 0.05)),
        lambda: Constraints(max_share=0),
        lambda: ObjectiveSettings.model_validate({'weight': {}}),
        lambda: AdsetSettings(adsets={'1': {'pin': True, 'exclude': True}}),
        lambda: AdsetSettings(adsets={'1': {'floor': -1}}),
        lambda: AdsetSettings(adsets={1: {}, '1': {}}),
        lambda: AdsetSettings(adsets={'1': {'flor': 1}}),
    ):
        with pytest.raises(ValueError):
            wrong()


def test_the_default_files_are_the_models():
    layers = read_layers(share('config').parent, environ={})
    assert section(layers, 'objectives', ObjectiveSettings) == HOUSE
    assert section(layers, 'adsets', AdsetSettings) == AdsetSettings()
    kinds = {k: o.provenance for k, o in layers.origins.items() if k.startswith('objectives.')}
    assert kinds and set(kinds.values()) == {'seed_default'}


def test_a_customers_file_names_its_mistakes(tmp_path):
    folder = tmp_path / 'config/acme/meta'
    folder.mkdir(parents=True)
    (folder / 'adsets.yaml').write_text('adsets:\n  120201: {pinn: true}\n')
    with pytest.raises(Problem, match='did you mean pin') as told:
        section(read_layers(tmp_path, 'acme', environ={}), 'adsets', AdsetSettings)
    assert 'adsets.yaml' in str(told.value)


def test_unknown_ids_are_all_named_with_the_nearest():
    fixed = AdsetSettings(adsets={'12021': {'pin': True}, 'zzz': {}, '12099': {'floor': 3}})
    with pytest.raises(Problem) as told:
        checked(fixed, ['12022', '12099'])
    assert '12021: did you mean 12022?' in str(told.value) and 'zzz' in str(told.value)
    assert '12099:' not in str(told.value)
    table = checked(fixed, ['zzz', '12099', '12021', 'x'])
    assert table.index.tolist() == ['zzz', '12099', '12021', 'x']
    assert table.floor.tolist()[1] == 3 and table.pin.tolist() == [False, False, True, False]
    assert checked(AdsetSettings(), []).empty
