"""Mutated exports: no uncaught exception, and no total that is silently wrong.

Six base files are damaged the way people, spreadsheets and disks damage them, one to three times
each. The mutator keeps the table that the file means, so it knows the right totals; bytes that are
changed at random are judged by a slow reader of their own. A file may be refused, it may be
flagged, or it has to give the right totals.
"""

import csv
import io
import json
import random
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import pandas as pd

from adsbench.data.columns import ColumnMap, layouts
from adsbench.data.measures import Rules
from adsbench.data.names import Problem, find_root
from adsbench.data.parse import parse
from adsbench.data.settings import Account

CHECKED = ('spend', 'impressions', 'revenue')
HARMLESS = {'guessed_encoding', 'no_days'}  # flags that say nothing about numbers


@dataclass
class Doc:
    "An export as a table of plain text, and how it will be written"

    header: list[str]
    rows: list[list[str]]
    at: dict[str, int]  # our column -> position
    kind: str = 'csv'  # csv, json, xlsx
    extra: list[tuple[int, list[str]]] = field(default_factory=list)  # total rows: place, cells
    delimiter: str = ','
    encoding: str = 'utf-8'
    newline: str = '\n'
    quote_all: bool = False
    numbers: Callable[[str], str] | None = None  # writes every number of the file
    dates: Callable[[str], str] | None = None
    cells: dict[tuple[int, int], str] = field(default_factory=dict)  # cells written otherwise
    known: bool = True  # whether `truth` still holds
    plain: bool = True  # whether the slow reader can read it

    def truth(self) -> dict[str, float]:
        "The totals of the rows"
        return {
            name: sum(float(row[self.at[name]]) for row in self.rows if row[self.at[name]])
            for name in CHECKED
            if name in self.at
        }

    def numeric(self) -> list[int]:
        "Positions of the columns that hold numbers"
        return [place for name, place in self.at.items() if name not in ('date', 'name', 'id')]


def days(n: int) -> list[str]:
    "ISO days that go past the twelfth of a month"
    return [f'{day:%Y-%m-%d}' for day in pd.date_range('2026-03-02', periods=n)]


def base(which: int, rng: random.Random) -> Doc:
    "One of the six base files, with random numbers"

    def money(low: float, high: float) -> str:
        return f'{rng.uniform(low, high):.2f}'

    shops = ['Spring Sale', 'Evergreen Café', 'Retargeting']
    if which == 0:  # Ads Manager by ad, with ids
        header = ['Day', 'Campaign name', 'Ad set name', 'Ad name', 'Ad ID', 'Amount spent (USD)', 'Impressions', 'Link clicks', 'Purchases', 'Purchases conversion value', 'Purchase ROAS (return on ad spend)', 'Attribution setting']  # fmt: skip
        rows = []
        for day in days(14):
            for n, shop in enumerate(shops):
                spend, purchases = money(20, 2000), rng.randint(1, 30)
                revenue = money(50, 4000)
                rows.append([day, shop, f'Set {n}', f'Video {n}', str(120200000000000001 + n), spend, str(rng.randint(1000, 90000)), str(rng.randint(40, 900)), str(purchases), revenue, f'{float(revenue) / float(spend):.6f}', '7-day click'])  # fmt: skip
        at = {'date': 0, 'name': 1, 'id': 4, 'spend': 5, 'impressions': 6, 'clicks': 7, 'purchases': 8, 'revenue': 9, 'roas': 10}  # fmt: skip
        return Doc(header, rows, at)
    if which == 1:  # German, by ad set
        header = ['Tag', 'Kampagnenname', 'Anzeigengruppenname', 'Ausgegebener Betrag (USD)', 'Impressionen', 'Link-Klicks']  # fmt: skip
        rows = [[day, shop, f'Gruppe {n}', money(20, 2000), str(rng.randint(1000, 90000)), str(rng.randint(40, 900))] for day in days(14) for n, shop in enumerate(shops)]  # fmt: skip
        return Doc(header, rows, {'date': 0, 'name': 1, 'spend': 3, 'impressions': 4, 'clicks': 5})
    if which == 2:  # the diagnostics layout
        header = ['campaign_name', 'adset_name', 'date', 'spend', 'impressions', 'clicks', 'ctr', 'purchases', 'revenue', 'roas', 'creative_message', 'country']  # fmt: skip
        rows = []
        for day in days(14):
            for n, shop in enumerate(shops):
                spend, revenue = money(20, 2000), money(50, 4000)
                seen, clicks = rng.randint(1000, 90000), rng.randint(40, 900)
                rows.append([shop, f'Adset-{n} Broad', day, spend, str(seen), str(clicks), f'{clicks / seen:.4f}', str(rng.randint(1, 30)), revenue, f'{float(revenue) / float(spend):.2f}', 'Soft, and here to stay', 'US'])  # fmt: skip
        at = {'date': 2, 'name': 0, 'spend': 3, 'impressions': 4, 'clicks': 5, 'ctr': 6, 'purchases': 7, 'revenue': 8, 'roas': 9}  # fmt: skip
        return Doc(header, rows, at)
    if which == 3:  # by country
        header = ['Day', 'Campaign name', 'Country', 'Amount spent (USD)', 'Impressions', 'Purchases conversion value']  # fmt: skip
        rows = [[day, shop, land, money(20, 2000), str(rng.randint(1000, 90000)), money(50, 4000)] for day in days(13) for shop in shops[:2] for land in ('DE', 'FR')]  # fmt: skip
        return Doc(header, rows, {'date': 0, 'name': 1, 'spend': 3, 'impressions': 4, 'revenue': 5})
    header = ['date', 'campaign_id', 'campaign_name', 'ad_id', 'impressions', 'clicks', 'spend']
    rows = [[day, f'99{n}', shop, str(120200000000000001 + n), str(rng.randint(1000, 90000)), str(rng.randint(40, 900)), money(20, 2000)] for day in days(14) for n, shop in enumerate(shops)]  # fmt: skip
    at = {'date': 0, 'name': 2, 'id': 3, 'impressions': 4, 'clicks': 5, 'spend': 6}
    return Doc(header, rows, at, kind='json' if which == 4 else 'csv')  # the API's, the lead kit's


# How the file is written: nothing may change


def group(sign: str, decimal: str) -> Callable[[str], str]:
    "Numbers with a sign between thousands"

    def write(text: str) -> str:
        whole, _, part = text.partition('.')
        found = f'{int(whole):,}'.replace(',', sign)
        return f'{found}{decimal}{part}' if part else found

    return write


def indian(text: str) -> str:
    "Groups of two above the thousands"
    whole, _, part = text.partition('.')
    head, tail = whole[:-3], whole[-3:]
    parts = []
    while head:
        parts.append(head[-2:])
        head = head[:-2]
    found = ','.join([*reversed(parts), tail])
    return f'{found}.{part}' if part else found


def written(doc: Doc, rng: random.Random) -> None:
    doc.numbers = rng.choice([
        group(',', '.'), group('.', ','), group(' ', ','), group('\u202f', ','), group("'", '.'), indian,
        lambda text: text.replace('.', ','),
    ])  # fmt: skip
    doc.plain = False


def dated(doc: Doc, rng: random.Random) -> None:
    form = rng.choice(['%d/%m/%Y', '%m/%d/%Y', '%d.%m.%Y', '%Y/%m/%d', '%d-%m-%Y', '%d %b %Y', '%b %d, %Y', '%Y%m%d', '%Y-%m-%d 00:00:00'])  # fmt: skip
    doc.dates = lambda text: pd.Timestamp(text).strftime(form)
    doc.plain = False


def encoded(doc: Doc, rng: random.Random) -> None:
    doc.encoding = rng.choice(['utf-8-sig', 'utf-16', 'utf-16-le', 'cp1252'])
    doc.plain = False


def delimited(doc: Doc, rng: random.Random) -> None:
    doc.delimiter, doc.plain = rng.choice([';', '\t', '|']), False


def lines(doc: Doc, rng: random.Random) -> None:
    doc.newline = rng.choice(['\r\n', '\r', '\n\n'])
    doc.plain = False


def quoted(doc: Doc, rng: random.Random) -> None:
    doc.quote_all = True


def shuffled(doc: Doc, rng: random.Random) -> None:
    rng.shuffle(doc.rows)


def moved(doc: Doc, rng: random.Random) -> None:
    order = list(range(len(doc.header)))
    rng.shuffle(order)
    doc.header = [doc.header[i] for i in order]
    doc.rows = [[row[i] for i in order] for row in doc.rows]
    doc.extra = [(place, [row[i] for i in order]) for place, row in doc.extra]
    doc.at = {name: order.index(place) for name, place in doc.at.items()}
    doc.cells = {(row, order.index(column)): cell for (row, column), cell in doc.cells.items()}


def headed(doc: Doc, rng: random.Random) -> None:
    way = rng.choice([str.upper, str.title, lambda text: f' {text} ', lambda text: text.replace(' ', '  ')])  # fmt: skip
    doc.header = [way(name) for name in doc.header]
    doc.plain = False


def unknown(doc: Doc, rng: random.Random) -> None:
    doc.header = [*doc.header, 'Quality ranking']
    doc.rows = [[*row, rng.choice(['Average', 'Above average', '-'])] for row in doc.rows]
    doc.extra = [(place, [*row, '']) for place, row in doc.extra]


def spelled(doc: Doc, rng: random.Random) -> None:
    place = doc.at['name']
    for row in rng.sample(doc.rows, 3):
        row[place] = rng.choice(
            [row[place].upper(), row[place].replace(' ', '_'), row[place] + ' ']
        )


# What people do to the content


def totalled(doc: Doc, rng: random.Random) -> None:
    row = [''] * len(doc.header)
    for name, place in doc.at.items():
        if name in (*CHECKED, 'clicks', 'purchases'):
            total = sum(float(one[place]) for one in doc.rows if one[place])
            row[place] = f'{total:.2f}' if name in ('spend', 'revenue') else f'{total:.0f}'
    if rng.random() < 0.5:
        row[doc.at['name']] = rng.choice(['Total', 'Gesamt', 'TOTALS'])
    doc.extra.append((rng.choice([0, len(doc.rows)]), row))
    doc.plain = False


def doubled(doc: Doc, rng: random.Random) -> None:
    doc.extra.append((rng.randrange(len(doc.rows)), list(rng.choice(doc.rows))))
    doc.plain = False


def pasted(doc: Doc, rng: random.Random) -> None:
    row = list(rng.choice(doc.rows))
    row[doc.at['spend']] = f'{float(row[doc.at["spend"]] or 0) + 1:.2f}'
    doc.extra.append((len(doc.rows), row))
    doc.plain = False


def emptied(doc: Doc, rng: random.Random) -> None:
    row, place = rng.choice(doc.rows), rng.choice(doc.numeric())
    row[place] = ''


def removed(doc: Doc, rng: random.Random) -> None:
    del doc.rows[rng.randrange(len(doc.rows))]


def dropped_column(doc: Doc, rng: random.Random) -> None:
    place = rng.randrange(len(doc.header))
    doc.header = doc.header[:place] + doc.header[place + 1 :]
    doc.rows = [row[:place] + row[place + 1 :] for row in doc.rows]
    doc.extra = [(at, row[:place] + row[place + 1 :]) for at, row in doc.extra]
    doc.at = {n: p - (p > place) for n, p in doc.at.items() if p != place}
    doc.cells = {}


def twice(doc: Doc, rng: random.Random) -> None:
    "A column that comes twice; an object of JSON holds a name once, so there it cannot happen"
    if doc.kind == 'json':
        raise KeyError(doc.kind)
    place = rng.randrange(len(doc.header))
    doc.header = [*doc.header, doc.header[place]]
    doc.rows = [[*row, row[place]] for row in doc.rows]
    doc.extra = [(at, [*row, row[place]]) for at, row in doc.extra]


def cell(doc: Doc, rng: random.Random) -> None:
    "One cell that does not fit, or means something else"
    row, place = rng.randrange(len(doc.rows)), rng.choice(doc.numeric())
    text = doc.rows[row][place] or '1'
    odd = rng.choice(['inf', 'NaN', 'twelve', '-', '1.2.3', '--5', '12 5', text.replace('.', ','), f'{text}%', f'${text}', f'€{text}', f'({text})', f'{text}e3', '1,2,3', '١٢', text[0] + ' ' + text[1:], text[0] + ',' + text[1:], f'{text} USD', "1'2"])  # fmt: skip
    doc.cells[(row, place)] = odd
    doc.known = odd in ('NaN', '-') and doc.known
    if odd in ('NaN', '-'):
        doc.rows[row][place] = ''
    doc.plain = False


def day(doc: Doc, rng: random.Random) -> None:
    "One day that does not fit"
    row = rng.randrange(len(doc.rows))
    odd = rng.choice(['', '2026-02-30', '30/02/2026', '46023', 'yesterday', '3/4/26', '04/05/2026', '2026-13-01'])  # fmt: skip
    doc.cells[(row, doc.at['date'])] = odd
    doc.plain = False


def ids(doc: Doc, rng: random.Random) -> None:
    if 'id' in doc.at:
        doc.cells[(rng.randrange(len(doc.rows)), doc.at['id'])] = '1.202E+17'
        doc.plain = False


def nameless(doc: Doc, rng: random.Random) -> None:
    doc.rows[rng.randrange(len(doc.rows))][doc.at['name']] = ''


def money(doc: Doc, rng: random.Random) -> None:
    doc.header = [
        name.replace('(USD)', rng.choice(['(EUR)', '(XXX)', '($)'])) for name in doc.header
    ]
    doc.plain = False


def column_style(doc: Doc, rng: random.Random) -> None:
    "One column in another convention"
    place, way = rng.choice(doc.numeric()), rng.choice([group('.', ','), group(',', '.'), group(' ', ',')])  # fmt: skip
    for n, row in enumerate(doc.rows):
        if row[place]:
            doc.cells[(n, place)] = way(row[place])
    doc.plain = False


def header_swap(doc: Doc, rng: random.Random) -> None:
    "Two headers of numbers exchanged: the file now means something else, and says so itself"
    a, b = rng.sample(doc.numeric(), 2)
    doc.header[a], doc.header[b] = doc.header[b], doc.header[a]
    places = {a: b, b: a}
    doc.at = {name: places.get(place, place) for name, place in doc.at.items()}


TABLE = (written, written, dated, encoded, delimited, lines, quoted, shuffled, moved, headed, unknown, spelled, totalled, totalled, doubled, pasted, emptied, removed, dropped_column, twice, cell, cell, cell, day, ids, nameless, money, column_style, header_swap)  # fmt: skip


LATE = (
    doubled,
    pasted,
    cell,
    day,
    ids,
    column_style,
)  # they name rows by their place, so nothing may move after them


# What disks and transfers do to the bytes


def flipped(data: bytes, rng: random.Random) -> bytes:
    found = bytearray(data)
    for _ in range(rng.randint(1, 4)):
        found[rng.randrange(len(found))] = rng.randrange(256) if rng.random() < 0.5 else rng.choice(b' ,.;-"\'0123456789eE$%\n\r\t()')  # fmt: skip
    return bytes(found)


def cut(data: bytes, rng: random.Random) -> bytes:
    return data[: rng.randrange(1, len(data))]


def holed(data: bytes, rng: random.Random) -> bytes:
    start = rng.randrange(len(data))
    return data[:start] + data[start + rng.randint(1, 40) :]


def stuffed(data: bytes, rng: random.Random) -> bytes:
    at = rng.randrange(len(data))
    return data[:at] + rng.choice([b'\0', b'"', b'\xff', b'\n', b',', b'""', b'\r\n', b'\xef\xbb\xbf']) + data[at:]  # fmt: skip


BYTES = (flipped, flipped, cut, holed, stuffed)


def write(doc: Doc) -> bytes:
    "The bytes of an export"
    rows = []
    for n, row in enumerate(doc.rows):
        cells = list(row)
        for place in doc.numeric() if doc.numbers else ():
            cells[place] = doc.numbers(cells[place]) if cells[place] else ''
        if doc.dates and 'date' in doc.at:
            cells[doc.at['date']] = doc.dates(cells[doc.at['date']])
        for (at, place), text in doc.cells.items():
            if at == n:
                cells[place] = text
        rows.append(cells)
    for at, row in doc.extra:
        cells = list(row)
        for place in doc.numeric() if doc.numbers else ():
            cells[place] = doc.numbers(cells[place]) if cells[place] else ''
        if doc.dates and 'date' in doc.at and cells[doc.at['date']]:
            cells[doc.at['date']] = doc.dates(cells[doc.at['date']])
        rows.insert(at, cells)
    if doc.kind == 'json':
        return json.dumps({'data': [dict(zip(doc.header, row)) for row in rows]}).encode()
    stream = io.StringIO()
    quoting = csv.QUOTE_ALL if doc.quote_all else csv.QUOTE_MINIMAL
    writer = csv.writer(stream, delimiter=doc.delimiter, lineterminator='\n', quoting=quoting)
    writer.writerows([doc.header, *rows])
    return stream.getvalue().replace('\n', doc.newline).encode(doc.encoding, errors='replace')


def slow_read(data: bytes, doc: Doc) -> dict[str, float] | None:
    "The totals of a plain CSV by a reader of its own; None when it cannot be read strictly"
    try:
        rows = [
            row for row in csv.reader(io.StringIO(data.decode(), newline=''), strict=True) if row
        ]
        header = [name.strip() for name in rows[0]]
        if any(len(row) != len(header) for row in rows):
            return None
        found = {}
        for name in CHECKED:
            place = header.index(doc.header[doc.at[name]]) if name in doc.at and doc.header[doc.at[name]] in header else None  # fmt: skip
            if place is not None:
                found[name] = sum(float(row[place]) for row in rows[1:] if row[place].strip())
        return found
    except (ValueError, csv.Error, IndexError):
        return None


RULES = Rules(ColumnMap(), Account(currency='USD', timezone='UTC'), layouts(find_root()))
MADE = pd.Timestamp('2026-06-30', tz='UTC')


@dataclass
class Verdict:
    "What became of one mutated file"

    what: str  # right, refused, flagged, uncaught, silent
    steps: list[str]
    detail: str = ''
    data: bytes = b''


def judge(data: bytes, truth: dict[str, float] | None, path: Path, steps: list[str]) -> Verdict:
    "Parse the bytes and compare the totals with the truth"
    path.write_bytes(data)
    try:
        parsed = parse(path, RULES, MADE)
    except Problem as problem:
        return Verdict('refused', steps, str(problem))
    except Exception as error:
        return Verdict('uncaught', steps, f'{type(error).__name__}: {error}', data)
    days = {name: table for name, table in parsed.tables.items() if name.startswith(('days', 'period'))}  # fmt: skip
    noted = {flag['check'] for flag in parsed.notes['flags']} - HARMLESS
    if noted or parsed.notes['recovered']:
        return Verdict('flagged', steps, ', '.join(noted))
    if truth is None:
        return Verdict('silent', steps, 'a file that cannot be read strictly was read', data)
    table = next(iter(days.values()))
    for name, total in truth.items():
        got = table[name].sum() if name in table else None
        if got is not None and abs(got - total) > 0.005 + 1e-9 * abs(total):
            return Verdict('silent', steps, f'{name} {got} is not {total}', data)
    return Verdict('right', steps)


def mutant(seed: int, path: Path) -> Verdict:
    "One mutated export and what became of it"
    rng = random.Random(seed)
    doc = base(rng.randrange(6), rng)
    steps = []
    changes = [rng.choice(TABLE) for _ in range(rng.randint(0, 3))]
    for change in sorted(changes, key=lambda one: one in LATE):
        try:
            change(doc, rng)
        except (KeyError, IndexError, ValueError):  # the column it wants has been dropped
            continue
        steps.append(change.__name__)
    if not doc.rows:
        return Verdict('right', steps)
    data = write(doc)
    truth = doc.truth() if doc.known else None
    if not doc.known and doc.plain:
        truth = slow_read(data, doc)
    if rng.random() < 0.4 and doc.plain and doc.kind == 'csv':
        change = rng.choice(BYTES)
        data = change(data, rng)
        steps.append(change.__name__)
        truth = slow_read(data, doc)
    found = judge(data, truth, path, steps)
    if found.what == 'silent' and truth is None:
        found.what = 'unjudged'
    return found


def run(files: int, seed: int = 0, keep: Path | None = None) -> dict:
    "Try many mutated exports; files, uncaught, silent_wrong and what became of the rest"
    counts = dict.fromkeys(('right', 'refused', 'flagged', 'unjudged', 'uncaught', 'silent'), 0)
    path = Path(tempfile.mkdtemp()) / 'mutant.csv'
    bad = []
    for n in range(files):
        found = mutant(seed * 1_000_003 + n, path)
        counts[found.what] += 1
        if found.what in ('uncaught', 'silent'):
            bad.append((n, found))
            if keep:
                (keep / f'{n}.csv').write_bytes(found.data)
    return {
        'files': files,
        'uncaught': counts.pop('uncaught'),
        'silent_wrong': counts.pop('silent'),
        **counts,
        'examples': [f'{n}: {" > ".join(one.steps)}: {one.detail}' for n, one in bad[:20]],
    }
