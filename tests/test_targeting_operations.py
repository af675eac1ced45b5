"""Run, show, segments, history and apply on the simulated customer: typed, repeatable, never sent."""

import json
from pathlib import Path

import pandas as pd
import pytest

from adsbench.data.names import Problem
from adsbench.targeting.case import Session, TargetingSettings, scored, stub_tables
from adsbench.targeting.messages import (
    ApplyReply,
    ApplyRequest,
    Change,
    HistoryQuery,
    RunReply,
    RunRequest,
    Segment,
    SegmentQuery,
)
from adsbench.targeting.operations import apply, history, run, segment_list, show
from adsbench.targeting.recommendation import Recommendation

CAMPAIGN = '1202000000000001'
SETTINGS = TargetingSettings()
SEED_JSON = {
    RunRequest: '{"campaign_id": "123456789", "mode": "stub", "force_refresh": true}',
    RunReply: """{"run_id": "550e8400-e29b-41d4-a716-446655440000", "status": "completed",
        "campaign_ids": ["123456789"], "recommendations_count": 4, "duration_ms": 1234,
        "message": "Generated 4 recommendations in 1234ms"}""",
    ApplyRequest: '{"recommendation_id": "123", "mode": "stub", "dry_run": true}',
    ApplyReply: """{"recommendation_id": "123", "adset_id": "adset_123", "success": true,
        "applied_changes": {"countries": ["ES", "MX"], "age_range": "25-54", "interests_count": 15,
        "behaviors_count": 10, "lookalikes_count": 2}, "message": "Applied in STUB mode (simulated)"}""",
    Segment: """{"segment_id": "int_action_movies", "segment_name": "action movies",
        "segment_type": "interest", "total_impressions": 15000, "total_clicks": 450,
        "total_conversions": 75, "total_spend": 500.0, "total_revenue": 1800.0, "avg_ctr": 0.030,
        "avg_cvr": 0.167, "avg_roas": 3.6, "campaigns_count": 5,
        "last_used": "2025-11-26T12:00:00Z", "is_fatigued": false, "fatigue_reason": null}""",
    Change: """{"id": 123, "run_id": "550e8400", "campaign_id": "campaign_123",
        "adset_id": "adset_123", "applied_at": "2025-11-27T10:00:00Z", "old_targeting": {},
        "new_targeting": {}, "before_ctr": 0.018, "before_cvr": 0.020, "before_roas": 2.3,
        "after_ctr": 0.024, "after_cvr": 0.028, "after_roas": 3.1, "success": true,
        "error_message": null}""",
    Recommendation: """{"adset_id": "adset_123", "campaign_id": "campaign_123",
        "countries": ["ES", "MX"], "geo_allocations": [{"country_code": "ES",
        "country_name": "Spain", "budget_pct": 35.0, "budget_amount": 350.0, "avg_cpc": 0.45,
        "avg_ctr": 0.022, "avg_roas": 3.2, "engagement_score": 0.78}], "age_min": 25, "age_max": 54,
        "gender": "all", "interests": [{"interest_id": "int_action_movies",
        "interest_name": "action movies", "score": 0.85, "rank": 1}],
        "behaviors": [{"behavior_id": "beh_engaged_shoppers",
        "behavior_name": "Online shoppers who frequently make purchases", "score": 0.82, "rank": 1}],
        "custom_audiences": [{"audience_id": "ca_converters_12345", "name": "Custom - converters",
        "size": 5000, "description": "Custom audience: converters"}],
        "lookalikes": [{"source_audience_id": "ca_converters_12345", "country_codes": ["ES", "MX"],
        "ratio": 0.01, "name": "Lookalike 1% - ES+MX", "description": "based on ca"}],
        "frequency_cap": 3, "frequency_window_days": 7, "total_budget": 1000.0,
        "budget_per_segment": {"ES": 350.0, "MX": 200.0},
        "reasoning": {"method": "bayesian_optimization", "top_interests_count": 15},
        "expected_ctr": 0.023, "expected_cvr": 0.027, "expected_roas": 3.1, "confidence": 0.75}""",
}


@pytest.fixture(scope='module')
def customer() -> tuple[dict[str, pd.DataFrame], pd.Timestamp]:
    "Tables of the simulated customer and their last day"
    return stub_tables(0)


def session(folder: Path, end: pd.Timestamp) -> Session:
    "A quiet morning after the last day"
    at = pd.Timestamp('2026-06-29 06:00', tz='UTC')
    return Session(folder, at, end, {'currency': 'EUR'}, 0)


def inside(small: object, large: object) -> bool:
    "Whether every key of the one is in the other with the same value, moments aside"
    if isinstance(small, dict):
        return isinstance(large, dict) and all(
            key.endswith(('_at', 'last_used')) or inside(value, large.get(key)) for key, value in small.items()
        )  # fmt: skip
    if isinstance(small, list):
        return len(small) == len(large) and all(map(inside, small, large))
    return small == large


@pytest.mark.parametrize('model', SEED_JSON, ids=lambda m: m.__name__)
def test_json_of_others_passes_and_comes_back(model):
    text = SEED_JSON[model]
    made = model.model_validate_json(text)
    assert inside(json.loads(text), made.model_dump(mode='json'))
    with pytest.raises(ValueError):
        model.model_validate(json.loads(text) | {'nobody_reads_this': 1})


def test_run_is_kept_shown_and_not_repeated(customer, tmp_path: Path):
    tables, end = customer
    here = session(tmp_path, end)
    reply = run(RunRequest(campaign_id=CAMPAIGN), tables, here, SETTINGS)
    assert reply.status == 'completed' and reply.recommendations_count == 4
    assert 'simulated' in reply.message
    one = show(tmp_path, CAMPAIGN)
    assert sum(one.budget_per_segment.values()) == one.total_budget
    assert one.run_id == reply.run_id and one.frequency_cap is None
    assert one.expected['roas'].low < one.expected['roas'].value < one.expected['roas'].high
    assert 'nan' not in one.model_dump_json().casefold()
    assert run(RunRequest(campaign_id=CAMPAIGN), tables, here, SETTINGS).status == 'skipped'
    assert run(RunRequest(), tables, here, TargetingSettings(enabled=False)).status == 'disabled'
    with pytest.raises(Problem, match='no running ad set'):
        run(RunRequest(campaign_id='7'), tables, here, SETTINGS)
    with pytest.raises(Problem, match='no recommendation'):
        show(tmp_path, '7')


def test_the_same_seed_gives_the_same_run(customer, tmp_path: Path):
    tables, end = customer
    found = []
    for name in ('a', 'b'):
        run(RunRequest(campaign_id=CAMPAIGN), tables, session(tmp_path / name, end), SETTINGS)
        found.append(show(tmp_path / name, CAMPAIGN))
    assert found[0] == found[1]
    again, _ = stub_tables(0)
    assert all(again[name].equals(tables[name]) for name in tables), 'stub numbers are not random'


def test_later_days_change_nothing(customer, tmp_path: Path):
    tables, end = customer
    cut = end - pd.Timedelta(days=10)
    poisoned = {
        name: page.assign(purchases=page['purchases'].where(page['date'] <= cut, 999.0))
        if 'date' in page
        else page
        for name, page in tables.items()
    }
    found = []
    for name, page in (('plain', tables), ('poisoned', poisoned)):
        run(RunRequest(campaign_id=CAMPAIGN), page, session(tmp_path / name, cut), SETTINGS)
        found.append(show(tmp_path / name, CAMPAIGN))
    assert found[0] == found[1]


def test_segments_apply_and_history(customer, tmp_path: Path):
    tables, end = customer
    here = session(tmp_path, end)
    run(RunRequest(campaign_id=CAMPAIGN), tables, here, SETTINGS)
    one = show(tmp_path, CAMPAIGN)
    rows = segment_list(
        SegmentQuery(segment_type='country', limit=2), scored(tables, end, SETTINGS)
    )
    assert [row.segment_type for row in rows] == ['country', 'country']
    assert rows[0].composite >= rows[1].composite and rows[0].roas.low < rows[0].roas.high
    early = here._replace(at=pd.Timestamp('2026-06-05 09:00', tz='UTC'))
    dry = apply(ApplyRequest(recommendation_id=one.recommendation_id), early)
    wet = apply(ApplyRequest(recommendation_id=one.recommendation_id, dry_run=False), early)
    assert dry.success and dry.edit_class == 'reset' and dry.relearning_cost > 0
    live = ApplyRequest(recommendation_id=one.recommendation_id, mode='live', dry_run=False)
    refused = apply(live, here)
    assert not refused.success and 'ledger' in refused.message
    past = history(HistoryQuery(campaign_id=CAMPAIGN), tables, here, SETTINGS)
    assert [change.id for change in past] == [2, 1] and wet.success
    assert past[0].before_roas > 0 and past[0].after_roas > 0 and past[0].new_targeting == one.targeting  # fmt: skip
    assert past[1].after_roas is None, 'a dry run changed nothing'
    assert history(HistoryQuery(adset_id='nobody'), tables, here, SETTINGS) == []
