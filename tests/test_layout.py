"""The contents page, the chapters and the package agree, and the house rules hold."""

import ast
import json
import re
import subprocess
import tomllib
from pathlib import Path

import pytest

REPO = Path(__file__).resolve().parents[1]
BOOK = sorted(p for p in (REPO / 'nbs').rglob('*.ipynb') if '.ipynb_checkpoints' not in p.parts)
TOP = set('settings.ini README.md nbs adsbench config datasets reports tests Makefile'.split())
FORCED = set(
    'pyproject.toml requirements.lock .ci .gitignore .gitattributes LICENSE CHANGELOG.md'.split()
)
# numbers that may stand in a comparison: everything else is a setting or a named constant
PLAIN = {0, 1, -1, 2, 100}
# module -> literals with a reason
REASONED: dict[str, set[float]] = {}


def cells(path: Path) -> list[dict]:
    "Code cells of a notebook: id and source"
    notebook = json.loads(path.read_text())
    return [
        {'id': c['id'], 'source': ''.join(c['source']), **c['metadata']}
        for c in notebook['cells']
        if c['cell_type'] == 'code'
    ]


def export_name(path: Path) -> str | None:
    "`part.name` that a notebook exports to, None for a page"
    names = [
        m[1]
        for c in cells(path)
        if (m := re.search(r'(?m)^#\|\s*default_exp\s+(\S+)', c['source']))
    ]
    assert len(names) < 2, f'{path.name} has {len(names)} default_exp'
    return names[0] if names else None


CHAPTERS = {p: name for p in BOOK if (name := export_name(p))}
MODULES = {name: REPO / 'adsbench' / (name.replace('.', '/') + '.py') for name in CHAPTERS.values()}
ORDER = {name: i for i, name in enumerate(CHAPTERS.values())}


def imports(path: Path) -> set[str]:
    "adsbench modules (`part.name`) imported anywhere in a module, relative imports resolved"
    found = set()
    package = path.relative_to(REPO).parent.parts
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else ()
            module = '.'.join([*base, *([node.module] if node.module else [])])
            if module.startswith('adsbench.') or module == 'adsbench':
                inside = module.removeprefix('adsbench').removeprefix('.')
                names = {f'{inside}.{a.name}' for a in node.names}
                found |= {inside} if '.' in inside else names
        elif isinstance(node, ast.Import):
            names = {a.name for a in node.names if a.name.startswith('adsbench.')}
            found |= {name.removeprefix('adsbench.') for name in names}
    return found


def parts() -> dict[str, set[str]]:
    "The part table of the contents page: part -> parts it may import"
    text = '\n'.join(
        ''.join(c['source'])
        for c in json.loads((REPO / 'nbs/index.ipynb').read_text())['cells']
        if c['cell_type'] == 'markdown'
    )
    rows = [
        [c.strip() for c in line.strip('| ').split('|')]
        for line in text.splitlines()
        if re.match(r'\| \d\d_', line)
    ]
    return {r[0].split('_', 1)[1]: set(re.findall(r'[a-z]+', r[-1])) for r in rows}


def test_top_level_is_the_house_plan():
    tracked = subprocess.run(
        ['git', 'ls-files', '--cached', '--others', '--exclude-standard'],
        cwd=REPO,
        capture_output=True,
        text=True,
        check=True,
    )
    assert {line.split('/')[0] for line in tracked.stdout.split()} <= TOP | FORCED


def test_path_minus_numbers_is_the_module_path():
    for path, name in CHAPTERS.items():
        plain = '.'.join(
            re.sub(r'^\d\d_', '', p) for p in path.relative_to(REPO / 'nbs').with_suffix('').parts
        )
        assert plain == name, f'{path} exports to {name}'


def test_no_two_chapters_export_to_one_module():
    assert len(set(CHAPTERS.values())) == len(CHAPTERS)


def test_every_module_has_its_chapter():
    there = {str(p.relative_to(REPO / 'adsbench')) for p in (REPO / 'adsbench').rglob('*.py')}
    there -= {n for n in there if n.endswith(('__init__.py', '_modidx.py'))}
    assert there == {str(p.relative_to(REPO / 'adsbench')) for p in MODULES.values()}


def test_imports_point_to_earlier_chapters_of_allowed_parts():
    allowed = parts()
    for name, path in MODULES.items():
        part = name.split('.')[0]
        assert part in allowed, f'{part} is missing from the contents page'
        for other in imports(path):
            theirs = other.split('.')[0]
            assert other in ORDER, f'{name} imports {other}, which is no chapter'
            assert ORDER[other] < ORDER[name], f'{name} imports the later chapter {other}'
            assert theirs == part or theirs in allowed[part] or 'everything' in allowed[part], (
                f'{name} may not import {theirs}'
            )


def test_contents_page_names_every_chapter():
    text = (REPO / 'nbs/index.ipynb').read_text()
    for name in CHAPTERS.values():
        assert re.search(rf'\b{name.split(".")[1]}\b', text), f'{name} is not on the contents page'


@pytest.mark.parametrize('path', CHAPTERS, ids=lambda p: p.stem)
def test_chapter_is_well_formed(path: Path):
    notebook = json.loads(path.read_text())
    assert notebook['metadata']['kernelspec']['language'] == 'python', (
        'nbdev_test skips other languages silently'
    )
    code = cells(path)
    exports = [c for c in code if re.search(r'(?m)^#\|\s*exports?\b', c['source'])]
    for cell in exports:
        lines = [line for line in cell['source'].splitlines() if line.strip()]
        assert len(lines) <= 40, f'cell {cell["id"]}: {len(lines)} lines'
    hidden = [c for c in code if re.search(r'(?m)^#\|\s*hide\b', c['source'])]
    assert len(hidden) <= 0.1 * len(code), 'too many hidden cells'
    for cell in code:
        assert not re.search(r'eval:\s*false', cell['source']), f'cell {cell["id"]} is never run'
        assert not re.search(r'(?m)^\s*from \S+ import \*', cell['source']), (
            f'cell {cell["id"]}: star import'
        )
    prose = [''.join(c['source']) for c in notebook['cells'] if c['cell_type'] == 'markdown']
    assert prose[0].startswith('# ') and '\n> ' in prose[0], 'a title and a promise come first'
    assert any(p.startswith('## All together') for p in prose) and any(
        p.startswith('## Limits') for p in prose
    )
    assert sum(len(p.split()) for p in prose) >= 40 * len(exports), 'too little prose'
    outputs = [o for c in notebook['cells'] for o in c.get('outputs', [])]
    assert any('image/png' in o.get('data', {}) for o in outputs), 'a chapter has a picture'
    assert not [o for o in outputs if o['output_type'] == 'error'], 'an output is an error'


@pytest.mark.parametrize('name', MODULES)
def test_module_keeps_the_house_rules(name: str):
    text = MODULES[name].read_text()
    tree = ast.parse(text)
    assert len(text.splitlines()) <= 260, 'split the chapter'
    reasoned = REASONED.get(name, set())
    for node in ast.walk(tree):
        if isinstance(node, ast.Compare):
            for side in [node.left, *node.comparators]:
                value = side.operand if isinstance(side, ast.UnaryOp) else side
                if (
                    isinstance(value, ast.Constant)
                    and isinstance(value.value, int | float)
                    and not isinstance(value.value, bool)
                ):
                    assert value.value in PLAIN | reasoned, (
                        f'line {node.lineno}: {value.value} is a threshold in code'
                    )
        if isinstance(node, ast.ExceptHandler):
            caught = ast.unparse(node.type) if node.type else ''
            assert node.type is not None and caught not in ('Exception', 'BaseException'), (
                f'line {node.lineno}: {caught or "bare"} except'
            )
        if (
            isinstance(node, ast.FunctionDef)
            and not node.name.startswith('_')
            and not name.startswith(
                (
                    'reports.cli',
                    'reports.inquiry',
                    'reports.commands',
                    'reports.tuning_commands',
                    'reports.audience_commands',
                    'reports.target_commands',
                )
            )
        ):
            count = len(node.args.posonlyargs + node.args.args + node.args.kwonlyargs) - any(
                a.arg in ('self', 'cls') for a in node.args.args
            )
            assert count <= 4, f'{node.name} takes {count} parameters'
            assert ast.get_docstring(node), f'{node.name} has no docstring'
        if isinstance(node, ast.Import | ast.ImportFrom):
            module = getattr(node, 'module', None) or node.names[0].name
            assert module.split('.')[0] not in ('nbdev', 'fastcore', 'IPython'), (
                f'{module} is for chapters only'
            )


def test_packages_list_matches_the_tree():
    listed = set(
        tomllib.loads((REPO / 'pyproject.toml').read_text())['tool']['setuptools']['packages']
    )
    tree = {
        '.'.join(p.parent.relative_to(REPO).parts) for p in (REPO / 'adsbench').rglob('__init__.py')
    }
    assert listed == tree | {'adsbench.share.config', 'adsbench.share.reports'}


def test_versions_agree():
    project = tomllib.loads((REPO / 'pyproject.toml').read_text())['project']
    settings = (REPO / 'settings.ini').read_text()
    import adsbench

    assert (
        project['version']
        == adsbench.__version__
        == re.search(r'(?m)^version = (.+)$', settings)[1]
    )


def test_lock_pins_everything_and_names_no_index():
    lock = (REPO / 'requirements.lock').read_text()
    project = tomllib.loads((REPO / 'pyproject.toml').read_text())['project']
    wanted = project['dependencies'] + [
        d for extra in project['optional-dependencies'].values() for d in extra
    ]
    plain = lambda name: re.sub('[._-]+', '-', name.lower())
    pinned = {plain(m) for m in re.findall(r'(?m)^([A-Za-z0-9_.-]+)==', lock)}
    for dependency in wanted:
        assert plain(re.match(r'[A-Za-z0-9._-]+', dependency)[0]) in pinned, dependency
    assert '://' not in lock and '--index' not in lock


def test_no_customer_file_can_be_committed(tmp_path: Path):
    ours = [
        'datasets/acme/meta/raw/2026-01-01/export.csv',
        'datasets/x.csv',
        'reports/acme/meta/2026-01-01/1/report.html',
        'reports/ledger.sqlite',
        'config/acme/meta/account.yaml',
    ]
    theirs = [
        'reports/weekly.ipynb',
        'adsbench/reports/cli.py',
        'config/default/account.yaml',
        'config/columns/en.yaml',
        'nbs/14_reports/01_charts.ipynb',
        'datasets/README.md',
    ]
    for name in ours:
        assert (
            subprocess.run(['git', 'check-ignore', '-q', '--no-index', name], cwd=REPO).returncode
            == 0
        ), f'{name} is not ignored'
    for name in theirs:
        assert (
            subprocess.run(['git', 'check-ignore', '-q', '--no-index', name], cwd=REPO).returncode
            == 1
        ), f'{name} is ignored'


def test_repository_does_not_speak_of_its_making():
    words = re.compile(
        r'\bpypi\.org|files\.pythonhosted|registry\.npmjs|/work/(main|shared|tools)|\bsubagent',
        re.I,
    )
    listed = subprocess.run(
        ['git', 'ls-files', '--cached', '--others', '--exclude-standard'],
        cwd=REPO,
        capture_output=True,
        text=True,
        check=True,
    ).stdout.split('\n')
    for name in filter(None, listed):
        path = REPO / name
        if path.name == 'test_layout.py' or path.suffix in ('.lock', '.png') or not path.is_file():
            continue
        assert not (found := words.search(path.read_text(errors='ignore'))), f'{name}: {found[0]}'
