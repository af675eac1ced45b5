"""The store: nothing half written, nothing lost, nothing twice, whatever the order."""

import json
import os
import signal
import stat
import subprocess
import sys
import threading
import time
from datetime import date
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from adsbench.data.disk import digest, lock, place, read_json, write_atomic, write_json
from adsbench.data.names import MissingColumns, Problem
from adsbench.data.schemas import DAYS, TABLES, check, conform, require
from adsbench.data.settings import System
from adsbench.data.store import (
    has_table,
    keep,
    newest,
    read_parts,
    read_table,
    table_names,
    write_part,
    write_table,
)
from adsbench.data.tables import KEYS, key, table_of

DAY = date(2026, 6, 29)


@pytest.fixture
def acme(tmp_root: Path):
    "A customer without files"
    return place(tmp_root, 'acme')


def files(root: Path) -> list[str]:
    "Every file below a folder"
    return sorted(str(p.relative_to(root)) for p in root.rglob('*') if p.is_file())


# --- place


def test_asking_for_a_place_creates_nothing(tmp_root):
    at = place(tmp_root, 'acme', 'taboola')
    assert at.raw == tmp_root.resolve() / 'datasets/acme/taboola/raw'
    assert at.reports == tmp_root.resolve() / 'reports/acme/taboola'
    assert at.config == tmp_root.resolve() / 'config/acme/taboola'
    assert files(tmp_root) == [] and not at.tables.exists()


@pytest.mark.parametrize('name', ['../acme', 'Acme', 'latest', 'con', '', 'a/b'])
def test_a_bad_name_is_no_place(tmp_root, name):
    with pytest.raises(Problem):
        place(tmp_root, name)
    with pytest.raises(Problem):
        place(tmp_root, 'acme', name)


@pytest.mark.parametrize('link', ['datasets', 'datasets/acme', 'reports/acme', 'config/acme/meta'])
def test_no_link_is_followed(tmp_root, link):
    (tmp_root / 'elsewhere').mkdir()
    (tmp_root / link).parent.mkdir(parents=True, exist_ok=True)
    (tmp_root / link).symlink_to(tmp_root / 'elsewhere')
    with pytest.raises(Problem, match='link'):
        place(tmp_root, 'acme')


# --- writing


@pytest.mark.parametrize('failure', [KeyboardInterrupt, OSError, Problem, SystemExit])
def test_a_failed_write_leaves_the_old_file_and_nothing_else(tmp_root, failure):
    path = tmp_root / 'table'
    write_atomic(path, lambda part: part.write_text('old'))

    def fail(part: Path) -> None:
        part.write_text('half')
        raise failure

    with pytest.raises(failure):
        write_atomic(path, fail)
    assert path.read_text() == 'old' and files(tmp_root) == ['table']
    with pytest.raises(failure):
        write_atomic(tmp_root / 'new', fail)
    assert files(tmp_root) == ['table']


def test_a_writer_that_writes_nothing_is_an_error_and_leaves_the_old(tmp_root):
    path = tmp_root / 'x'
    path.write_text('old')
    with pytest.raises(FileNotFoundError):
        write_atomic(path, lambda part: None)
    assert path.read_text() == 'old'


def test_long_names_and_new_folders(tmp_root):
    path = tmp_root / 'a/b' / ('n' * 200 + '.csv')
    write_atomic(path, lambda part: part.write_text('x'))
    assert path.read_text() == 'x' and len(files(tmp_root)) == 1


def test_digest_is_of_the_content(tmp_root):
    path = tmp_root / 'x'
    path.write_bytes(b'abc')
    known = 'ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad'
    assert digest(path) == digest(b'abc') == digest('abc') == known


def test_json_is_reproducible_plain_and_refuses_nan(tmp_root):
    path = tmp_root / 'x.json'
    facts = {
        'b': np.int64(3),
        'a': [np.float64(0.5), None],
        'at': pd.Timestamp('2026-06-01'),
        'p': Path('x'),
    }
    write_json(path, facts)
    first = path.read_bytes()
    write_json(path, dict(reversed(facts.items())))
    assert path.read_bytes() == first
    assert read_json(path) == {'a': [0.5, None], 'at': '2026-06-01T00:00:00', 'b': 3, 'p': 'x'}
    for bad in ({'x': float('nan')}, {'x': np.float64('inf')}, {'x': object()}):
        with pytest.raises(Problem):
            write_json(path, bad)
    assert path.read_bytes() == first
    path.write_text('{"a": ')
    with pytest.raises(Problem, match='not JSON'):
        read_json(path)
    with pytest.raises(Problem, match='does not exist'):
        read_json(tmp_root / 'gone.json')


# --- the lock

HOLD = """
import sys, time
from pathlib import Path
from adsbench.data.disk import lock, place
with lock(place(Path(sys.argv[1]), 'acme')) as held:
    (Path(sys.argv[1]) / 'datasets/acme/meta/tables').mkdir(exist_ok=True)
    (Path(sys.argv[1]) / 'datasets/acme/meta/tables/.days.1234.part').write_text('half')
    print('held', flush=True)
    time.sleep(60)
"""


def test_the_kernel_releases_the_lock_of_a_killed_process(acme):
    holder = subprocess.Popen(
        [sys.executable, '-c', HOLD, str(acme.root)], stdout=subprocess.PIPE, text=True
    )
    try:
        assert holder.stdout.readline() == 'held\n'
        with (
            pytest.raises(Problem, match=f'process {holder.pid} on .*try again'),
            lock(acme, System(lock_wait_seconds=0.1)),
        ):
            raise AssertionError('two writers')
    finally:
        os.kill(holder.pid, signal.SIGKILL)
        holder.wait()
        holder.stdout.close()
    assert list(acme.tables.glob('.*.part'))
    with lock(acme, System(lock_wait_seconds=5)):
        assert not list(acme.tables.glob('.*.part')), 'left-overs of the dead are swept'


def test_the_lock_is_released_after_an_error_and_is_per_customer(acme):
    with pytest.raises(ZeroDivisionError), lock(acme):
        raise ZeroDivisionError
    with lock(acme), lock(place(acme.root, 'other')), lock(place(acme.root, 'acme', 'taboola')):
        pass


def test_a_waiting_writer_comes_in_when_the_first_is_done(acme):
    order = []

    def second() -> None:
        with lock(acme, System(lock_wait_seconds=10)):
            order.append('second')

    with lock(acme):
        waiting = threading.Thread(target=second)
        waiting.start()
        time.sleep(0.15)
        order.append('first')
    waiting.join()
    assert order == ['first', 'second']


# --- raw


def test_the_same_bytes_are_kept_once_under_any_name_and_day(acme, tmp_path):
    export = tmp_path / 'Ads June.csv'
    export.write_bytes(b'a,b\n1,2\n')
    kept = keep(acme, export, DAY)
    assert kept == acme.raw / '2026-06-29/Ads June.csv' and kept.read_bytes() == b'a,b\n1,2\n'
    other = tmp_path / 'copy (1).csv'
    other.write_bytes(b'a,b\n1,2\n')
    assert keep(acme, other, date(2026, 7, 1)) == kept == keep(acme, kept, DAY)
    assert files(acme.raw) == ['2026-06-29/Ads June.csv']


def test_raw_is_read_only_and_never_overwritten(acme, tmp_path):
    export = tmp_path / 'x.csv'
    export.write_bytes(b'one')
    first = keep(acme, export, DAY)
    assert not first.stat().st_mode & (stat.S_IWUSR | stat.S_IWGRP | stat.S_IWOTH)
    export.write_bytes(b'two')
    second = keep(acme, export, DAY)
    assert first.read_bytes() == b'one' and second.read_bytes() == b'two'
    assert second.parent == first.parent and second.name.startswith('x-')
    assert export.read_bytes() == b'two' and os.access(export, os.W_OK)


def test_an_interrupted_copy_leaves_nothing(acme, tmp_path, monkeypatch):
    export = tmp_path / 'x.csv'
    export.write_bytes(b'one')

    def interrupted(source, target):
        Path(target).write_bytes(b'o')
        raise KeyboardInterrupt

    monkeypatch.setattr('adsbench.data.store.shutil.copyfile', interrupted)
    with pytest.raises(KeyboardInterrupt):
        keep(acme, export, DAY)
    assert files(acme.root) == ['x.csv'], 'only the export itself'


def test_a_file_that_is_still_growing_is_not_kept(acme, tmp_path, monkeypatch):
    export = tmp_path / 'x.csv'
    export.write_bytes(b'half')
    monkeypatch.setattr(
        'adsbench.data.store.shutil.copyfile',
        lambda _, target: Path(target).write_bytes(b'half more'),
    )
    with pytest.raises(Problem, match='changed'):
        keep(acme, export, DAY)
    assert files(acme.root) == ['x.csv']


@pytest.mark.parametrize('name', ['gone.csv', '.'])
def test_what_is_no_file_is_not_kept(acme, tmp_path, name):
    with pytest.raises(Problem, match='no file'):
        keep(acme, tmp_path / name, DAY)


# --- tables


def test_a_table_comes_back_as_it_went(acme):
    days = conform(
        pd.DataFrame(
            {
                'date': ['2026-06-01', '2026-06-02'],
                'ad_id': ['1', None],
                'spend': [1.5, None],
                'snapshot_at': ['2026-06-03T04:00:00Z', None],
            }
        ),
        'days',
    )
    write_table(acme, 'days_ad', days)
    pd.testing.assert_frame_equal(read_table(acme, 'days_ad'), days)
    write_table(acme, 'days_ad', days.iloc[:0])
    pd.testing.assert_frame_equal(read_table(acme, 'days_ad'), days.iloc[:0])
    assert table_names(acme) == ['days_ad'] and has_table(acme, 'days_ad')


def test_what_is_no_table_says_so(acme):
    with pytest.raises(Problem, match='none yet'):
        read_table(acme, 'orders')
    for name in ('../x', 'Days', '', 'a.b', 'days/ad'):
        with pytest.raises(Problem, match='not a table name'):
            read_table(acme, name)
    write_table(acme, 'days_ad', pd.DataFrame({'a': [1]}))
    (acme.tables / 'days_ad.parquet').write_bytes(b'PAR1 broken')
    with pytest.raises(Problem, match='cannot be read'):
        read_table(acme, 'days_ad')


def part(day: int, spend: float, shown: float = 100.0, ad: str = 'a') -> pd.DataFrame:
    "What an export of a day in June says about one ad on the first"
    return pd.DataFrame(
        {
            'date': pd.to_datetime(['2026-06-01']).astype('datetime64[us]'),
            'ad_id': [ad],
            'impressions': [shown],
            'spend': [spend],
            'snapshot_at': pd.to_datetime([f'2026-06-{day:02}T00:00:00Z']).astype(
                'datetime64[us, UTC]'
            ),
        }
    )


def test_the_same_export_is_one_part_even_when_its_snapshot_was_corrected(acme):
    write_part(acme, 'days_ad', part(3, 1.0), digest('x'))
    write_part(acme, 'days_ad', part(3, 2.0), digest('x'))
    write_part(acme, 'days_ad', part(5, 2.0), digest('x'))
    write_part(acme, 'days_ad', part(5, 2.0, ad='b').iloc[:0], digest('y'))
    parts = read_parts(acme, 'days_ad')
    assert parts.spend.tolist() == [2.0] and parts.content.tolist() == [digest('x')[:12]]
    with pytest.raises(MissingColumns, match='snapshot_at'):
        write_part(acme, 'days_ad', pd.DataFrame({'a': [1]}), digest('z'))
    with pytest.raises(Problem, match='no part'):
        read_parts(acme, 'orders')


rows = st.tuples(
    st.sampled_from('ab'),
    st.integers(1, 3),
    st.integers(1, 4),
    st.integers(0, 3),
    st.integers(0, 9),
)


def frame_of(told: list[tuple]) -> pd.DataFrame:
    "Rows of (ad, day, snapshot, impressions, spend) as parts"
    return pd.DataFrame(
        {
            'ad_id': [ad for ad, *_ in told],
            'date': pd.to_datetime([f'2026-06-{day:02}' for _, day, *_ in told]),
            'snapshot_at': pd.to_datetime([f'2026-07-{at:02}' for _, _, at, *_ in told], utc=True),
            'impressions': [float(shown) for *_, shown, _ in told],
            'spend': [float(spend) for *_, spend in told],
            'content': [f'{spend}{shown}' for *_, shown, spend in told],
        }
    )


@given(st.lists(rows, min_size=1, max_size=20), st.data())
def test_newest_does_not_depend_on_order_or_grouping(told, data):
    parts, by = frame_of(told), ['date', 'ad_id']
    table = newest(parts, by)
    shuffled = data.draw(st.permutations(told))
    pd.testing.assert_frame_equal(newest(frame_of(shuffled), by), table)
    cut = data.draw(st.integers(0, len(told)))
    halves = [newest(frame_of(half), by) for half in (told[:cut], told[cut:]) if half]
    pd.testing.assert_frame_equal(newest(pd.concat(halves), by), table)
    pd.testing.assert_frame_equal(newest(pd.concat([parts, parts, table]), by), table)
    assert not table.duplicated(by).any()
    latest = parts.groupby(by).snapshot_at.max()
    assert (table.set_index(by).snapshot_at == latest.sort_index()).all()


def test_newest_says_what_it_lacks_and_keeps_rows_whole():
    with pytest.raises(MissingColumns, match='ad_id'):
        newest(part(3, 1.0).drop(columns='ad_id'), ['ad_id'])
    old, new = part(3, 1.0).assign(revenue=9.0), part(5, 2.0)
    table = newest(pd.concat([new, old]), ['date', 'ad_id'])
    assert table.spend.tolist() == [2.0] and table.revenue.isna().all()
    missing = pd.concat([part(3, 1.0, ad=None), part(5, 2.0, ad=None)])
    assert newest(missing, ['date', 'ad_id']).spend.tolist() == [2.0]


# --- schemas


def test_every_table_is_keyed_by_its_own_columns_and_named_plainly():
    for table, declared in TABLES.items():
        names = [column.name for column in declared]
        assert len(names) == len(set(names)) and set(KEYS[table]) <= set(names), table
        assert all(c.name.endswith('_at') or c.name == 'at' for c in declared if c.unit == 'moment')
        assert all(c.meaning or c.unit in ('text', 'moment', 'number', 'money') for c in declared)
        assert table_of(table) == table
    assert not {'roas', 'ctr', 'cpc', 'cpm'} & {column.name for column in DAYS}


def test_conform_casts_orders_and_changes_no_argument():
    raw = pd.DataFrame(
        {'spend': [1, None], 'mood': 'x', 'adset_id': [7, '007'], 'date': '2026-06-01 13:00'}
    )
    before = raw.copy(deep=True)
    days = conform(raw, 'days_adset')
    pd.testing.assert_frame_equal(raw, before)
    assert list(days) == ['date', 'adset_id', 'spend'] and days.adset_id.tolist() == ['7', '007']
    assert days.date.tolist() == [pd.Timestamp('2026-06-01')] * 2
    assert [str(dtype) for dtype in days.dtypes] == ['datetime64[us]', 'str', 'float64']
    assert list(conform(raw, 'days', keep=('mood',))) == ['date', 'adset_id', 'spend', 'mood']
    pd.testing.assert_frame_equal(conform(days, 'days'), days)


def test_moments_become_utc_and_flags_keep_unknown():
    leads = conform(
        pd.DataFrame({'lead_id': ['1'], 'created_at': ['2026-06-01T01:00:00+02:00']}), 'leads'
    )
    assert leads.created_at[0] == pd.Timestamp('2026-05-31 23:00', tz='UTC')
    known = conform(pd.DataFrame({'lead_id': list('ab'), 'qualified': [True, None]}), 'outcomes')
    assert known.qualified.isna().tolist() == [False, True]


@pytest.mark.parametrize(
    ('column', 'value'),
    [('spend', '1.234,56'), ('date', 'yesterday'), ('snapshot_at', '31/31/2026')],
)
def test_a_value_that_will_not_be_cast_is_named(column, value):
    with pytest.raises(Problem, match=f'days.{column} must be'):
        conform(pd.DataFrame({column: [value]}), 'days')


def test_require_names_every_absent_column_and_the_file():
    with pytest.raises(MissingColumns) as caught:
        require(
            pd.DataFrame({'date': [], 'spend': []}), ['date', 'revenue', 'clicks'], 'days of acme'
        )
    message = str(caught.value)
    assert 'revenue, clicks not among date, spend in days of acme' in message
    assert 'columns.yaml' in message
    require(pd.DataFrame({'date': []}), ['date'], 'x')


def test_key_follows_the_frame():
    assert key(['date', 'campaign_id', 'age', 'spend'], 'days_campaign_by_age') == [
        'date',
        'campaign_id',
        'age',
    ]
    assert key(['ad_id', 'date_start'], 'period_ad') == ['date_start', 'ad_id']
    assert key(['order_id', 'country'], 'orders') == ['order_id']


def failed(frame: pd.DataFrame, table: str) -> set[tuple[str, str, int]]:
    "What check finds, without words"
    found = check(frame, table)
    assert list(found) == ['table', 'column', 'check', 'rows', 'example', 'advice']
    assert found.advice.notna().all()
    json.dumps(found.to_dict('records'))
    return set(zip(found.column, found['check'], found.rows))


def test_check_finds_all_failures_at_once_and_nothing_in_good_days():
    good = conform(
        pd.DataFrame(
            {
                'date': ['2026-06-01'] * 4,
                'ad_id': list('abcd'),
                'impressions': [100.0, 90, 80, None],
                'link_clicks': [3.0, 1, None, 2],
                'reach': [90.0, 80, 70, 60],
                'spend': [1.5, None, 0, 2],
                'snapshot_at': '2026-06-02T00:00:00Z',
            }
        ),
        'days',
    )
    assert failed(good, 'days_ad') == set()
    bad = good.assign(
        date=pd.to_datetime(['2026-06-01', '2026-06-01', '2026-12-06', '2026-06-01']).astype(
            'datetime64[us]'
        ),
        ad_id=pd.array(['a', 'a', 'c', None], dtype='str'),
        link_clicks=[300.0, 1, 2, 2],
        reach=[91.0, 99, 70, 60],
        spend=[np.inf, -2.0, -1.0, 5],
    )
    assert failed(bad, 'days_ad') == {
        ('ad_id', 'missing', 1),
        ('date, ad_id', 'twice', 2),
        ('date', 'after its export', 1),
        ('link_clicks', 'above impressions', 1),
        ('reach', 'above impressions', 1),
        ('spend', 'infinite', 1),
        ('spend', 'negative', 2),
    }


def test_check_asks_for_what_the_name_promises_and_for_types():
    assert failed(
        conform(pd.DataFrame({'date': ['2026-06-01'], 'spend': [1]}), 'days'), 'days_adset'
    ) == {('adset_id', 'present', 1)}
    assert ('spend', 'type', 2) in failed(
        pd.DataFrame({'adset_id': ['1', '2'], 'spend': ['1', 'x']}), 'period_adset'
    )
    adsets = conform(pd.DataFrame({'adset_id': ['a'], 'lookalike_ratio': [3.0]}), 'adsets')
    assert failed(adsets, 'adsets') == {('lookalike_ratio', 'above 1', 1)}
    assert failed(
        conform(pd.DataFrame({'order_id': ['1', '1'], 'total': [1.0, 2]}), 'orders'), 'orders'
    ) == {('order_id', 'twice', 2)}
