"""Export and clean, in a copy: `write` puts the modules into adsbench/, `check` says what would change."""

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

REPO = Path(__file__).resolve().parents[1]
BIN = Path(sys.executable).parent


def run(*words: str, cwd: Path) -> None:
    "A tool of the environment; its words are shown when it fails"
    env = os.environ | {'PYTHONPATH': str(cwd)}
    done = subprocess.run(
        [str(BIN / words[0]), *words[1:]], cwd=cwd, env=env, capture_output=True, text=True
    )
    if done.returncode:
        sys.exit(f'error: {" ".join(words)} failed\n{done.stdout}{done.stderr}')


def fresh(copy: Path) -> None:
    "Chapters, templates and settings in `copy`, exported and cleaned there from nothing"
    ignore = shutil.ignore_patterns('.ipynb_checkpoints', '__pycache__')
    for name in ('settings.ini', 'pyproject.toml'):
        shutil.copy(REPO / name, copy)
    shutil.copytree(REPO / 'nbs', copy / 'nbs', ignore=ignore)
    (copy / 'reports').mkdir()
    for template in (REPO / 'reports').glob('*.ipynb'):
        shutil.copy(template, copy / 'reports')
    run('nbdev_export', cwd=copy)
    for _ in range(2):
        run('ruff', 'check', '--fix', '--quiet', 'adsbench', cwd=copy)
        run('ruff', 'format', '--quiet', 'adsbench', cwd=copy)
    run('nbdev_clean', '--fname', 'nbs', cwd=copy)
    for template in sorted((copy / 'reports').glob('*.ipynb')):
        run('nbdev_clean', '--fname', str(template), cwd=copy)


def files(root: Path) -> dict[str, bytes]:
    "Every file that export and clean may write, by its path"
    patterns = ('adsbench/**/*.py', 'nbs/**/*.ipynb', 'reports/*.ipynb')
    found = [p for pattern in patterns for p in root.glob(pattern)]
    return {
        str(p.relative_to(root)): p.read_bytes()
        for p in found
        if '.ipynb_checkpoints' not in p.parts
    }


def main(what: str) -> None:
    "`write` or `check`"
    with tempfile.TemporaryDirectory() as name:
        copy = Path(name)
        fresh(copy)
        there, here = files(copy), files(REPO)
        modules = {n: b for n, b in there.items() if n.startswith('adsbench/')}
        if not [n for n in modules if not n.endswith(('__init__.py', '_modidx.py'))]:
            sys.exit('error: the export wrote no module; is a chapter readable?')
        if what == 'write':
            for path in (REPO / 'adsbench').rglob('*.py'):
                if str(path.relative_to(REPO)) not in modules:
                    path.unlink()
            for path_name, content in modules.items():
                target = REPO / path_name
                target.parent.mkdir(parents=True, exist_ok=True)
                if not target.exists() or target.read_bytes() != content:
                    target.write_bytes(content)
            return
        changed = sorted(n for n in there.keys() | here.keys() if there.get(n) != here.get(n))
        if changed:
            words = {True: 'no chapter makes it', False: 'export or clean would change it'}
            lines = [f'{n}: {words[n not in there]}' for n in changed]
            sys.exit(
                'error: chapters and modules drifted apart; run make export clean\n'
                + '\n'.join(lines)
            )
        print(f'drift: none ({len(modules)} modules, {len(there) - len(modules)} notebooks)')


if __name__ == '__main__':
    main(sys.argv[1] if len(sys.argv) > 1 else 'check')
