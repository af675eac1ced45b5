"""What the tests share: the repository, the public data beside it, an empty root."""

import os
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

os.environ.setdefault('OMP_NUM_THREADS', '1')
os.environ.setdefault('MPLBACKEND', 'agg')
# machines differ; the same cases every time, so that a red build is red for everyone
slow = [HealthCheck.too_slow]  # how fast a case is made says something of the machine only
settings.register_profile(
    'house', deadline=None, derandomize=True, print_blob=True, suppress_health_check=slow
)
settings.load_profile('house')
REPO = Path(__file__).resolve().parents[1]


@pytest.fixture(scope='session')
def repo() -> Path:
    "The checkout"
    return REPO


@pytest.fixture(scope='session')
def shared() -> Path:
    "Public data beside the checkout; a test that needs it says so when it is absent"
    folder = REPO.parent / 'shared' / 'data'
    if not folder.is_dir():
        pytest.skip(f'public data absent: {folder}')
    return folder


@pytest.fixture
def tmp_root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    "An empty folder to work in; no variable of the machine reaches it"
    for name in [n for n in os.environ if n.startswith('ADSBENCH_')]:
        monkeypatch.delenv(name)
    return tmp_path
