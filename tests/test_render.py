"""A run is whole or says where it stopped; what cannot run is refused; the page runs and loads nothing."""

import json
import os
import re
import sys
from pathlib import Path

import nbformat
import pandas as pd
import pytest
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output

from adsbench.data.disk import place
from adsbench.data.names import Problem
from adsbench.data.store import write_table
from adsbench.reports import page, render, run, template
from adsbench.reports.words import text_of

EVIL = '<script>alert("x")</script>'
STANDARD = "customer = 'demo'\nplatform = 'meta'\nas_of = None\nroot = None\nseed = 0"


def write(path: Path, parameters: str, *sections: tuple[str, str]) -> Path:
    "A template of sections: heading and code"
    cells = [new_code_cell(parameters, metadata={'tags': ['parameters']})]
    for heading, code in sections:
        cells += [new_markdown_cell(f'## {heading}'), new_code_cell(code)]
    path.parent.mkdir(parents=True, exist_ok=True)
    nbformat.write(new_notebook(cells=cells), path)
    return path


def facts(**settings) -> render.Facts:
    "Quick settings: no PDF"
    return render.Facts(render.ReportSettings(pdf='never', **settings), f'Test {EVIL}')


@pytest.fixture
def no_kernel(monkeypatch: pytest.MonkeyPatch) -> None:
    "Starting a kernel is a failure of the test"

    def refuse(*args, **kwargs):
        raise AssertionError('a kernel was started')

    monkeypatch.setattr('papermill.engines.NBClientEngine.execute_notebook', refuse)


# what is refused before a kernel starts


@pytest.mark.parametrize(
    'given, message',
    [
        ({'custmer': 'x'}, 'did you mean customer?'),
        ({'customer': 3}, "customer is 3; write text, as in customer = 'demo'"),
        ({'seed': '3'}, 'write a whole number'),
        ({'seed': True}, 'write a whole number'),
    ],
)
def test_a_wrong_parameter_is_refused_and_leaves_nothing(tmp_path, no_kernel, given, message):
    path = write(tmp_path / 't.ipynb', STANDARD, ('One', '1'))
    with pytest.raises(Problem, match=re.escape(message)):
        render.render(path, given, tmp_path / 'runs' / 'one', facts())
    assert not (tmp_path / 'runs').exists()


@pytest.mark.parametrize(
    'cell, message',
    [('x = today()', 'line 1'), ('x = 1\nimport os', 'line 2'), ('x.y = 1', 'name = constant')],
)
def test_parameters_are_constants(tmp_path, cell, message):
    with pytest.raises(Problem, match=message):
        template.filled(write(tmp_path / 't.ipynb', cell), {})


def test_a_template_has_exactly_one_parameters_cell(tmp_path):
    path = write(tmp_path / 't.ipynb', 'x = 1')
    notebook = nbformat.read(path, 4)
    notebook.cells *= 2
    nbformat.write(notebook, path)
    with pytest.raises(Problem, match='2 cells tagged parameters'):
        template.filled(path, {})


def test_a_hostile_parameter_stays_a_value(tmp_path):
    value = 'x"; import os; os.abort() #\n{{ 7*7 }} \\ \' ü 日本'
    path = write(tmp_path / 't.ipynb', "name = 'x'")
    space: dict = {}
    exec(template.filled(path, {'name': value}).cells[1].source, space)
    assert space['name'] == value


@pytest.mark.parametrize(
    'wanted, message',
    [
        ({'name': 'wekly'}, 'did you mean weekly?'),
        ({'name': '../weekly'}, 'cannot be a folder'),
        ({'as_of': '28.06.2026'}, 'write it as 2026-06-28'),
        ({'as_of': '2026-02-30'}, 'write it as 2026-06-28'),
        ({}, 'has no data'),
    ],
)
def test_a_report_that_cannot_be_made_is_refused(tmp_root, no_kernel, wanted, message):
    with pytest.raises(Problem, match=message):
        render.report(place(tmp_root, 'acme'), **wanted)
    assert not (tmp_root / 'reports').exists()


# what fails on the way

FAILURES = [
    ('error', 'raise ValueError(evil)', 'ValueError: <script>'),
    ('time-out', 'import time; time.sleep(60)', 'longer than 2 s'),
    ('dead kernel', 'import os; os.kill(os.getpid(), 9)', 'the kernel died'),
]


@pytest.mark.parametrize('kind, code, message', FAILURES, ids=[f[0] for f in FAILURES])
def test_a_failed_run_is_kept_and_says_where(tmp_path, kind, code, message):
    path = write(
        tmp_path / 't.ipynb',
        f'evil = {EVIL!r}',
        ('Before', '6 * 7'),
        ('Breaks here', code),
        ('After', '8 * 9'),
    )
    out = tmp_path / 'runs' / 'one'
    outcome = render.render(path, {}, out, facts(cell_timeout_s=2))
    assert outcome.status == 'failed'
    assert (
        'Breaks here' in outcome.message and kind in outcome.message and message in outcome.message
    )
    html, notebook = outcome.html.read_text(), nbformat.read(outcome.notebook, 4)
    assert 'This report is not complete.' in html and 'Breaks here' in html
    assert '<script' not in html and '42' in text_of(html) and '72' not in text_of(html)
    assert (
        notebook.cells[0].metadata.tags == ['banner'] and 'Breaks here' in notebook.cells[0].source
    )
    assert notebook.cells[4].outputs[0].data['text/plain'] == '42'
    manifest = json.loads(outcome.manifest.read_text())
    assert manifest['status'] == 'failed' and manifest['failure']['section'] == 'Breaks here'
    assert not list((tmp_path / 'runs').glob('*.part'))
    events = [json.loads(line) for line in (out / 'log.jsonl').read_text().splitlines()]
    assert events[-1] == {**events[-1], 'event': 'end', 'status': 'failed'}


def test_an_interrupted_run_leaves_nothing(tmp_path, monkeypatch):
    def interrupt(*args):
        raise KeyboardInterrupt

    monkeypatch.setattr(render, 'run', interrupt)
    path = write(tmp_path / 't.ipynb', 'x = 1', ('One', '1'))
    with pytest.raises(KeyboardInterrupt):
        render.render(path, {}, tmp_path / 'runs' / 'one', facts())
    assert not list((tmp_path / 'runs').iterdir())


# the kernel


def test_the_kernel_is_this_interpreter_whatever_is_installed(tmp_path, monkeypatch):
    foreign = tmp_path / 'jupyter' / 'kernels' / 'python3'
    foreign.mkdir(parents=True)
    spec = {'argv': ['/bin/false', '{connection_file}'], 'display_name': 'x', 'language': 'python'}
    (foreign / 'kernel.json').write_text(json.dumps(spec))
    monkeypatch.setenv('JUPYTER_DATA_DIR', str(tmp_path / 'jupyter'))
    monkeypatch.setenv('JUPYTER_PATH', str(tmp_path / 'jupyter'))
    code = (
        'import sys, json, adsbench\nfrom ipykernel import get_connection_info\n'
        "json.dumps([sys.executable, json.loads(get_connection_info())['transport'], "
        "adsbench.__file__, '' in sys.path])"
    )
    outcome = render.render(
        write(tmp_path / 't.ipynb', 'x = 1', ('Who', code)), {}, tmp_path / 'runs' / 'one', facts()
    )
    assert outcome.status == 'ok', outcome.message
    said = nbformat.read(outcome.notebook, 4).cells[3].outputs[0].data['text/plain']
    executable, transport, module, working_folder = json.loads(said.strip("'"))
    import adsbench

    assert (executable, transport, module) == (sys.executable, 'ipc', adsbench.__file__)
    assert not working_folder


def test_a_kernel_that_cannot_start_is_a_failed_run(tmp_path, monkeypatch):
    monkeypatch.setattr(run, 'command', lambda folder: ['/bin/false', '{connection_file}'])
    outcome = render.render(
        write(tmp_path / 't.ipynb', 'x = 1', ('One', '1')), {}, tmp_path / 'runs' / 'one', facts()
    )
    assert outcome.status == 'failed' and 'did not start' in outcome.message


# the run folder


@pytest.fixture
def acme(tmp_root: Path):
    "A customer with one table, a house without PDF, and a template of its own"
    write(
        tmp_root / 'reports' / 'hello.ipynb',
        STANDARD,
        ('Hello', "assert seed < 9, 'nine'\ncustomer"),
    )
    (tmp_root / 'config' / 'default').mkdir(parents=True)
    (tmp_root / 'config' / 'default' / 'reports.yaml').write_text('pdf: never\n')
    at = place(tmp_root, 'acme')
    write_table(at, 'days_ad', pd.DataFrame({'spend': [1.0]}))
    return at


def test_runs_are_immutable_and_latest_leads_to_the_newest_good_one(acme):
    first = render.report(acme, 'hello', '2026-06-28', 3)
    latest = acme.reports / 'latest'
    assert latest.resolve() == first.html.parent.resolve()
    manifest = json.loads(first.manifest.read_text())
    assert manifest['parameters'] == {
        'customer': 'acme', 'platform': 'meta', 'as_of': '2026-06-28', 'root': str(acme.root), 'seed': 3,
    }  # fmt: skip
    assert list(manifest['inputs']) == ['datasets/acme/meta/tables/days_ad.parquet']
    assert {'python', 'pandas', 'papermill', 'adsbench'} <= set(manifest['versions'])
    assert set(manifest['files']) == {'report.html', 'report.ipynb', 'log.jsonl'}
    assert manifest['seconds']['all'] >= manifest['seconds']['kernel'] > 0
    assert not any(os.stat(p).st_mode & 0o222 for p in first.html.parent.iterdir())
    assert re.fullmatch(
        r'reports/acme/meta/\d{4}-\d\d-\d\d/\d{6}-hello',
        str(first.html.parent.relative_to(acme.root)),
    )
    failed = render.report(acme, 'hello', seed=9)
    assert failed.status == 'failed' and latest.resolve() == first.html.parent.resolve()


def test_latest_never_overwrites_a_folder(acme):
    (acme.reports / 'latest').mkdir(parents=True)
    with pytest.raises(Problem, match='move it away'):
        render.report(acme, 'hello')


def test_no_link_is_followed_out_of_the_root(acme, tmp_path_factory):
    outside = tmp_path_factory.mktemp('outside')
    acme.reports.parent.mkdir(parents=True)
    acme.reports.symlink_to(outside)
    with pytest.raises(Problem, match='is a link'):
        render.report(acme, 'hello')
    assert not list(outside.iterdir())


def test_a_pdf_is_printed_when_a_browser_is_found(tmp_path, monkeypatch):
    browser = tmp_path / 'bin' / 'chromium'
    browser.parent.mkdir()
    browser.write_text(
        '#!/bin/sh\nfor a in "$@"; do case $a in --print-to-pdf=*) echo pdf > "${a#*=}";; esac; done\n'
    )
    browser.chmod(0o755)
    html = tmp_path / 'a page.html'
    html.write_text('x')
    monkeypatch.setenv('PATH', f'{browser.parent}:/bin:/usr/bin')
    assert (
        page.to_pdf(html, tmp_path / 'out.pdf', 10) == ''
        and (tmp_path / 'out.pdf').read_text() == 'pdf\n'
    )
    browser.write_text('#!/bin/sh\nsleep 30\n')
    assert 'TimeoutExpired' in page.to_pdf(html, tmp_path / 'no.pdf', 1)
    monkeypatch.setenv('PATH', str(tmp_path))
    assert page.to_pdf(html, tmp_path / 'no.pdf', 1) == page.HOW


# the page


def hostile_page() -> str:
    "A page from a notebook that tries everything"
    outputs = [
        new_output('execute_result', {'text/plain': EVIL, 'application/javascript': 'alert(2)'}),
        new_output(
            'display_data', {'text/markdown': f'[x](javascript:alert(3)) {EVIL}', 'text/plain': 'm'}
        ),
        new_output('stream', name='stdout', text=f'\x1b[31m{EVIL}\u202e'),
        new_output('stream', name='stderr', text='a warning that nobody asked for'),
        new_output('error', ename=EVIL, evalue=EVIL, traceback=[EVIL]),
        new_output('display_data', {'image/png': 'aGk=', 'text/plain': '<Figure "x">'}),
        new_output('display_data', {'image/svg+xml': f'<svg>{EVIL}</svg>', 'text/plain': 'svg'}),
    ]
    cells = [
        new_markdown_cell(f'# A\n\n{EVIL} <img src="https://example.invalid/x.png"> {{{{ 7*7 }}}}')
    ]
    cells += [new_code_cell('secret_code()', outputs=[o]) for o in outputs]
    meta = {
        'adsbench': {
            'title': EVIL,
            'foot': EVIL,
            'lang': '"><script>',
            'failed': {'sentence': EVIL},
        }
    }
    return page.to_html(new_notebook(metadata=meta, cells=cells))


def test_nothing_hostile_survives_in_the_page():
    html = hostile_page()
    assert '<script' not in html and 'javascript:' not in html and 'alert(2)' not in html
    assert '{{ 7*7 }}' in html and '49' not in text_of(html)
    assert 'secret_code' not in html and 'nobody asked' not in html and '\x1b' not in html
    assert not re.search(r'(?:src|href|action|url)\s*[=(]\s*["\']?\s*(?:https?:)?//', html)


def test_the_page_forbids_script_and_load_and_can_be_read_by_everyone():
    html = hostile_page()
    policy = re.search(r'<meta http-equiv="Content-Security-Policy" content="([^"]+)">', html)[1]
    assert policy.startswith("default-src 'none'; img-src data:; style-src 'unsafe-inline'")
    assert html.index('Content-Security-Policy') < html.index('<style>')
    assert all(re.search(r'\balt="[^"]+"', tag) for tag in re.findall(r'<img[^>]*>', html))
    assert html.count('<figure') == html.count('<figcaption')
    assert re.search(r'<html lang="[^"<>]+">', html)


def test_a_root_may_bring_its_own_page(tmp_root):
    assert page.template_file(tmp_root).name == 'report.html.j2'
    own = tmp_root / 'reports' / 'report.html.j2'
    own.parent.mkdir()
    own.write_text('ours: {{ nb.cells | length }}')
    assert (
        page.to_html(new_notebook(cells=[new_markdown_cell('x')]), page.template_file(tmp_root))
        == 'ours: 1'
    )
