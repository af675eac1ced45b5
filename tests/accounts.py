"""Accounts as exports: CSV files of days by ad and of ad sets, ingested and asked by the command line."""

import contextlib
import io
import json
import sys
from collections.abc import Iterable
from copy import deepcopy
from pathlib import Path
from typing import NamedTuple
from unittest import mock

import pandas as pd

from adsbench.data import columns, layers
from adsbench.reports import cli

HEADER = [
    'date',
    'campaign_id',
    'campaign_name',
    'adset_id',
    'adset_name',
    'ad_id',
    'ad_name',
    'spend',
    'impressions',
    'reach',
    'clicks',
    'purchases',
    'revenue',
]
WEEK = 7
PAGES: dict[tuple[Path, str], dict] = {}


READER = layers.read_yaml


def read_yaml(path: Path) -> dict:
    "The program's own reader, which reads a text only once: a test runs many commands"
    key = path, path.read_text(encoding='utf-8-sig')
    if key not in PAGES:
        PAGES[key] = READER(path)
    return deepcopy(PAGES[key])


class Answer(NamedTuple):
    "What the command said"

    code: int
    out: str
    err: str

    @property
    def json(self) -> dict:
        "Its one JSON object"
        return json.loads(self.out)


def adsbench(root: Path, *words: object) -> Answer:
    "The command in this process, through main()"
    out, err = io.StringIO(), io.StringIO()
    line = ['adsbench', '--root', str(root), *map(str, words)]
    code = 0
    with (
        mock.patch.object(sys, 'argv', line),
        mock.patch.object(layers, 'read_yaml', read_yaml),
        mock.patch.object(columns, 'read_yaml', read_yaml),
        contextlib.redirect_stdout(out),
        contextlib.redirect_stderr(err),
    ):
        try:
            cli.main()
        except SystemExit as end:
            code = int(end.code or 0)
    return Answer(code, out.getvalue(), err.getvalue())


class Adset(NamedTuple):
    "An ad set, a day of it and what differs by week; money is of a day"

    name: str
    campaign: str = ''  # empty: one of its own
    roas: tuple[float, float, float] = (2.0, 2.0, 2.0)  # last week, the week before, earlier
    spend: tuple[float, float] = (7.0, 7.0)  # last week, earlier
    clicks: tuple[float, float] = (20.0, 20.0)
    impressions: float = 1000.0
    purchases: float = 1.0
    reach: float = 400.0
    shares: tuple[float, ...] = (0.5, 0.5)  # of spend, by ad
    better: tuple[float, ...] = (1.4, 0.6)  # roas of each ad over that of the ad set
    days: tuple[int, ...] = tuple(range(33))  # days before the last one on which it ran
    budget: float | None = 10.0
    level: str = 'adset'
    status: str = 'ACTIVE'
    title: str = ''

    @property
    def own_campaign(self) -> str:
        "Id of its campaign"
        return f'c_{self.campaign or self.name}'


def day_rows(one: Adset, last: pd.Timestamp, after: int = 0) -> Iterable[tuple]:
    "Rows of days by ad; `after` more days than `last` go on as the last week"
    for back in (*(-d for d in range(after, 0, -1)), *one.days):
        week = min(max(back, 0) // WEEK, 2)
        first = min(week, 1)
        for ad, (part, better) in enumerate(zip(one.shares, one.better), 1):
            spend = one.spend[first] * part
            yield (
                f'{last - pd.Timedelta(days=back):%Y-%m-%d}',
                one.own_campaign,
                one.own_campaign,
                one.name,
                one.title or one.name,
                f'{one.name}_{ad}',
                f'{one.name}_{ad}',
                round(spend, 4),
                round(one.impressions * part, 4),
                round(one.reach, 4),
                round(one.clicks[first] * part, 4),
                round(one.purchases * part, 4),
                round(spend * one.roas[week] * better, 4),
            )


def days_csv(sets: Iterable[Adset], last: str, after: int = 0) -> str:
    "The export of days by ad"
    rows = [row for one in sets for row in day_rows(one, pd.Timestamp(last), after)]
    return pd.DataFrame(rows, columns=HEADER).to_csv(index=False)


def adsets_csv(sets: Iterable[Adset], **more: str) -> str:
    "The table of ad sets with their budgets; `more` are columns that are the same for all"
    rows = [
        {
            'adset_id': one.name,
            'campaign_id': one.own_campaign,
            'campaign_name': one.own_campaign,
            'adset_name': one.title or one.name,
            'budget': one.budget,
            'budget_level': one.level,
            'status': one.status,
            **more,
        }
        for one in sets
    ]
    return pd.DataFrame(rows).to_csv(index=False)


def take(root: Path, name: str, text: str, snapshot: str, *words: str) -> dict:
    "Write an export and ingest it for customer acme; what the command said"
    path = root / name
    path.write_text(text, encoding='utf-8')
    known = ('--currency', 'EUR') if '--currency' not in words else ()
    zone = ('--timezone', 'Europe/Berlin') if '--timezone' not in words else ()
    given = ('-c', 'acme', '--snapshot', snapshot, *known, *zone, *words)
    said = adsbench(root, 'ingest', path, *given, '--json')
    assert said.code == 0, said.err
    return said.json


def account(root: Path, sets: Iterable[Adset], last: str, snapshot: str, *words: str) -> None:
    "An account from one call with both of its exports"
    (root / 'adsets.csv').write_text(adsets_csv(sets), encoding='utf-8')
    take(root, 'days.csv', days_csv(sets, last), snapshot, str(root / 'adsets.csv'), *words)


def write(root: Path, part: str, text: str, platform: str = 'meta') -> None:
    "A customer's own settings"
    folder = root / 'config' / 'acme' / platform
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f'{part}.yaml').write_text(text, encoding='utf-8')


def allocate(root: Path, *words: object) -> Answer:
    "adsbench allocate -c acme --json"
    return adsbench(root, 'allocate', '-c', 'acme', '--json', *words)


def decisions(answer: Answer) -> dict:
    "decisions.json of a run"
    return json.loads((Path(answer.json['folder']) / 'decisions.json').read_text())
