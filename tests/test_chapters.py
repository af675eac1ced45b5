"""Each chapter runs against the module it was exported to, not against its own cells."""

import ast
import importlib
import json
import re
from pathlib import Path

import pytest

REPO = Path(__file__).resolve().parents[1]
BOOK = sorted(p for p in (REPO / 'nbs').rglob('*.ipynb') if '.ipynb_checkpoints' not in p.parts)


def show(source: str, space: dict) -> None:
    "Run a cell; the last expression is rendered as the notebook would, so that broken displays fail"
    tree = ast.parse(source)
    last = tree.body.pop() if tree.body and isinstance(tree.body[-1], ast.Expr) else None
    exec(compile(tree, '<cell>', 'exec'), space)
    if last is not None:
        value = eval(compile(ast.Expression(last.value), '<cell>', 'eval'), space)
        html = getattr(value, '_repr_html_', None)
        html() if callable(html) else repr(value)


@pytest.mark.parametrize('path', BOOK, ids=lambda p: p.stem)
def test_chapter_against_its_module(
    path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
):
    import matplotlib.pyplot

    matplotlib.use('agg')
    monkeypatch.chdir(path.parent)
    space: dict = {'__name__': '__main__', 'display': lambda *values: [repr(v) for v in values]}
    module = None
    for cell in json.loads(path.read_text())['cells']:
        source = ''.join(cell['source'])
        if cell['cell_type'] != 'code' or not source.strip():
            continue
        if found := re.search(r'(?m)^#\|\s*default_exp\s+(\S+)', source):
            module = importlib.import_module(f'adsbench.{found[1]}')
        elif re.search(r'(?m)^#\|\s*exports?\b', source):
            # what the cell defined comes from the package; a name the module lacks fails below
            names = {n: v for n, v in vars(module).items() if not n.startswith('__')}
            space.update(names)
        else:
            try:
                show(source, space)
            except Exception as problem:
                pytest.fail(
                    f'{path.name}, cell {cell["id"]}: {type(problem).__name__}: {problem}\n{source}',
                    pytrace=False,
                )
    matplotlib.pyplot.close('all')
