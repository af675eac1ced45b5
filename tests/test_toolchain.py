"""What the tools do wrong in silence is caught here."""

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest

REPO = Path(__file__).resolve().parents[1]
BIN = Path(sys.executable).parent
BOOK = sorted(p for p in (REPO / 'nbs').rglob('*.ipynb') if '.ipynb_checkpoints' not in p.parts)
TEMPLATES = sorted((REPO / 'reports').glob('*.ipynb'))
CELL = {'cell_type': 'code', 'execution_count': None, 'id': 'aaaa', 'metadata': {}, 'outputs': []}


def notebook(*sources: str) -> dict:
    "The smallest notebook with these code cells"
    cells = [CELL | {'id': f'a{i:03}', 'source': [s]} for i, s in enumerate(sources)]
    kernel = {'display_name': 'python3', 'language': 'python', 'name': 'python3'}
    return {'cells': cells, 'metadata': {'kernelspec': kernel}, 'nbformat': 4, 'nbformat_minor': 5}


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    "A little repository of one chapter with the tools' settings and tests/drift.py"
    for name in ('settings.ini', 'pyproject.toml', 'Makefile'):
        shutil.copy(REPO / name, tmp_path)
    for name in ('nbs/01_data', 'reports', 'tests', 'adsbench'):
        (tmp_path / name).mkdir(parents=True)
    shutil.copy(REPO / 'tests/drift.py', tmp_path / 'tests')
    chapter = notebook('#| default_exp data.one', '#| export\nx=1')
    (tmp_path / 'nbs/01_data/01_one.ipynb').write_text(json.dumps(chapter))
    drift(tmp_path, 'write')
    for path, content in made(tmp_path).items():
        path.write_bytes(content)
    return tmp_path


def made(copy: Path) -> dict[Path, bytes]:
    "The chapters of `copy`, cleaned"
    subprocess.run(
        [BIN / 'nbdev_clean', '--fname', 'nbs'], cwd=copy, check=True, capture_output=True
    )
    return {p: p.read_bytes() for p in (copy / 'nbs').rglob('*.ipynb')}


def drift(root: Path, what: str) -> subprocess.CompletedProcess:
    "Run tests/drift.py of a repository"
    return subprocess.run(
        [sys.executable, 'tests/drift.py', what], cwd=root, capture_output=True, text=True
    )


@pytest.mark.parametrize('path', BOOK + TEMPLATES, ids=lambda p: p.stem)
def test_notebooks_are_valid_and_clean(path: Path):
    # nbdev_clean exits 0 on a notebook it cannot read
    content = nbformat.read(path, as_version=4)
    nbformat.validate(content)
    assert content.metadata.kernelspec.language == 'python'
    assert set(content.metadata) == {'kernelspec'}
    assert all(c.get('execution_count') is None for c in content.cells)


@pytest.mark.parametrize('path', TEMPLATES, ids=lambda p: p.stem)
def test_templates_keep_the_papermill_tag(path: Path):
    tagged = [
        c
        for c in nbformat.read(path, as_version=4).cells
        if 'parameters' in c.metadata.get('tags', [])
    ]
    assert len(tagged) == 1


def test_cleaning_keeps_tags(copy: Path):
    path = copy / 'reports/page.ipynb'
    page = notebook('x = 1')
    page['cells'][0]['metadata'] = {'tags': ['parameters'], 'noise': 1}
    path.write_text(json.dumps(page))
    subprocess.run(
        [BIN / 'nbdev_clean', '--fname', str(path)], cwd=copy, check=True, capture_output=True
    )
    assert json.loads(path.read_text())['cells'][0]['metadata'] == {'tags': ['parameters']}


def test_drift_sees_a_hand_edited_module(copy: Path):
    assert drift(copy, 'check').returncode == 0, drift(copy, 'check').stderr
    module = copy / 'adsbench/data/one.py'
    module.write_text(module.read_text() + '\ny = 2\n')
    found = drift(copy, 'check')
    assert found.returncode == 1 and 'adsbench/data/one.py' in found.stderr


def test_drift_sees_a_module_without_a_chapter(copy: Path):
    stray = copy / 'adsbench/data/stray.py'
    stray.write_text('x = 1\n')
    found = drift(copy, 'check')
    assert found.returncode == 1 and 'stray.py: no chapter makes it' in found.stderr
    drift(copy, 'write')
    assert not stray.exists()


def test_export_of_nothing_is_an_error(copy: Path):
    # nbdev_export on no notebooks leaves an empty package and exits 0
    module = copy / 'adsbench/data/one.py'
    module.parent.mkdir(exist_ok=True)
    module.write_text('x = 1\n')
    shutil.rmtree(copy / 'nbs/01_data')
    assert drift(copy, 'write').returncode == 1
    assert module.exists(), 'nothing may be deleted by an export that failed'


def test_nothing_calls_what_wants_quarto_or_writes_home():
    forbidden = r'nbdev_(prepare|docs|proc_nbs|preview|readme|install_hooks)'
    for path in [
        REPO / 'Makefile',
        REPO / '.ci/run',
        *(REPO / 'tests').rglob('*.py'),
        REPO / 'README.md',
    ]:
        assert path.name == 'test_toolchain.py' or not re.search(forbidden, path.read_text()), path


def test_make_lists_its_targets():
    listed = subprocess.run(
        ['make', 'help'], cwd=REPO, capture_output=True, text=True, check=True
    ).stdout
    for target in 'setup export clean chapters drift lint book report run validate format test-coverage lab bench test'.split():
        assert re.search(rf'(?m)^{target}\s', listed), target
    assert '-B .venv/.done' not in listed


def test_ci_runs_what_a_person_runs():
    assert 'make test' in (REPO / '.ci/run').read_text()


@pytest.mark.parametrize('path', BOOK + TEMPLATES, ids=lambda p: p.stem)
def test_notebooks_are_written_as_jupyterlab_writes_them(path: Path):
    # else the first save in JupyterLab changes every line of the file
    assert path.read_text() == nbformat.writes(nbformat.read(path, as_version=4)) + '\n'


def test_the_save_hook_of_make_lab_cleans(monkeypatch: pytest.MonkeyPatch):
    from nbdev.clean import clean_jupyter

    assert 'pre_save_hook=nbdev.clean.clean_jupyter' in (REPO / 'Makefile').read_text()
    page = notebook('x = 1')
    page['cells'][0] |= {'execution_count': 7, 'metadata': {'junk': 1, 'tags': ['parameters']}}
    monkeypatch.chdir(REPO)
    monkeypatch.setattr('nbdev.clean.nbdev_trust.__wrapped__', lambda path: None)
    clean_jupyter(str(REPO / 'nbs/page.ipynb'), {'type': 'notebook', 'content': page})
    assert page['cells'][0]['execution_count'] is None
    assert page['cells'][0]['metadata'] == {'tags': ['parameters']}
