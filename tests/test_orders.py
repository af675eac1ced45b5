"""Orders: nothing dropped, nothing doubled, nobody named, and the right day."""

import numpy as np
import pandas as pd
import pytest

from adsbench.data.landing import landings, noted, person_keys, tags_of
from adsbench.data.order_rows import EXTRAS, order_layout
from adsbench.data.orders import order_totals, parse_orders
from adsbench.data.reconcile import (
    OrderSettings,
    agreement,
    reconcile,
    reconcile_campaigns,
    trailing_ratio,
)
from adsbench.data.settings import Account, MissingColumns, Problem, find_root, read_layers, section

BERLIN = Account(currency='EUR', timezone='Europe/Berlin')
HEAD = 'Name|Email|Financial Status|Created at|Currency|Total|Subtotal|Shipping|Taxes|Refunded Amount|Cancelled at|Payment Method|Tags|Note Attributes|Billing Name|Billing Street|Phone|Notes|Lineitem quantity|Lineitem name|Lineitem price|Id|Landing Site'.split('|')  # fmt: skip


def row(name, moment='', total='', item='Kissen', **more):
    "A row of an export; without a moment it continues the order above"
    cells = dict.fromkeys(HEAD, '') | {'Name': name, 'Lineitem name': item, 'Lineitem quantity': '1', 'Lineitem price': '10.00'}  # fmt: skip
    if moment:
        cells |= {'Created at': moment, 'Total': total, 'Currency': 'EUR', 'Email': f'{name[1:]}@example.com', 'Financial Status': 'paid', 'Refunded Amount': '0.00'}  # fmt: skip
    return cells | {key.replace('_', ' '): value for key, value in more.items()}


def export(*rows):
    return pd.DataFrame(list(rows), columns=HEAD)


def read(path):
    return pd.read_csv(path, dtype=str, keep_default_na=False, encoding='utf-8-sig')


# public fixtures ----------------------------------------------------------------------------


def test_the_public_sample_is_whole(shared):
    cells = read(shared / 'ltv_cohort_kit_shopify' / 'shopify_orders_sample.csv')
    orders, lines, notes = parse_orders(cells, Account(currency='USD', timezone='America/New_York'))
    assert order_totals(orders, lines, 'USD') == {
        'orders': 127,
        'gross': 15063.0,
        'refunds': 423.75,
        'lines': 249,
        'continuation_lines': 122,
    }
    assert notes == {'dropped': {}, 'flags': []}
    assert cells.duplicated().sum() == 7 and len(lines) == len(cells)  # legitimate twins
    assert orders.order_id.is_unique and not lines.duplicated(['order_id', 'line']).any()


@pytest.mark.parametrize(
    ('name', 'orders', 'lines'),
    [
        ('shopify_order_data', 8, None),
        ('shopify_gql_order_data', 9, None),
        ('shopify_order_line_data', None, 3),
        ('shopify_gql_order_line_data', None, 10),
    ],
)
def test_connector_tables_are_read(shared, name, orders, lines):
    cells = read(shared / 'dbt_shopify_seeds' / f'{name}.csv')
    made = parse_orders(cells, Account(currency='USD', timezone='UTC'))
    assert (None if made.orders is None else len(made.orders)) == orders
    assert (None if made.lines is None else len(made.lines)) == lines
    if orders:
        other = [f for f in made.notes['flags'] if f['check'] == 'orders in another currency']
        assert other[0]['rows'] == 3
        own = made.orders[(made.orders.currency == 'USD') & ~made.orders.test]
        assert order_totals(made.orders, None, 'USD')['gross'] == round(own.total.sum(), 2)
        assert not set(made.orders) & {'email', 'note', 'browser_ip', 'client_ip'}


def test_side_tables_of_the_seeds_add_without_changing(shared):
    folder = shared / 'dbt_shopify_seeds'
    names = {'refunds': 'gql_refund', 'visits': 'gql_customer_visit', 'url_tags': 'order_url_tag', 'tags': 'order_tag'}  # fmt: skip
    extras = {kind: read(folder / f'shopify_{name}_data.csv') for kind, name in names.items()}
    assert [order_layout(frame.columns) for frame in extras.values()] == list(EXTRAS)
    cells = read(folder / 'shopify_gql_order_data.csv')
    cells.loc[0, 'id'] = '5001'  # the fixtures' tables do not share an order
    usd = Account(currency='USD', timezone='UTC')
    plain, full = parse_orders(cells, usd).orders, parse_orders(cells, usd, extras=extras).orders
    assert len(full) == len(plain) and (full.total == plain.total).all()
    assert full.refunded[0] == 19.99 and full.refunded[1:].isna().all()
    assert full.campaign[0] and full.campaign[1:].isna().all()
    for kind in EXTRAS:
        with pytest.raises(Problem, match='no order file'):
            parse_orders(extras[kind], usd)


# rows and lines -----------------------------------------------------------------------------


def test_header_fields_come_from_the_first_line_only():
    cells = export(
        row('#1', '2026-05-01 10:00:00 +0200', '30.00'),
        row('#1', item='Decke'),
        row('#1', item='Decke'),
        row('#2', '2026-05-01 11:00:00 +0200', '10.00'),
    )
    orders, lines, _ = parse_orders(cells, BERLIN)
    assert orders.total.tolist() == [30, 10]
    assert lines.groupby('order_id').size().tolist() == [3, 1]
    assert lines.line.tolist() == ['1', '2', '3', '1']


def test_blank_names_on_continuation_lines_belong_to_the_order_above():
    cells = export(row('#1', '2026-05-01 10:00:00 +0200', '30.00'), row('', item='Decke'))
    orders, lines, _ = parse_orders(cells, BERLIN)
    assert len(orders) == 1 and lines.order_id.tolist() == ['#1', '#1']


def test_a_sorted_file_is_refused_with_the_row():
    cells = export(row('#1', '2026-05-01 10:00:00 +0200', '30.00'), row('#2', '2026-05-01 11:00:00 +0200', '10.00'), row('#1', item='Decke'))  # fmt: skip
    with pytest.raises(Problem, match=r'row 4.*#1.*#2'):
        parse_orders(cells, BERLIN)
    with pytest.raises(Problem, match='row 2'):
        parse_orders(export(row('#9', item='Decke')), BERLIN)


def test_a_file_pasted_twice_counts_once_and_says_so():
    one = export(row('#1', '2026-05-01 10:00:00 +0200', '30.00'), row('#1', item='Decke'))
    orders, lines, notes = parse_orders(pd.concat([one, one]), BERLIN)
    assert len(orders) == 1 and len(lines) == 2 and notes['dropped'] == {'repeated order': 2}
    other = export(row('#1', '2026-05-01 10:00:00 +0200', '31.00'))
    with pytest.raises(Problem, match='comes twice'):
        parse_orders(pd.concat([one, other]), BERLIN)


def test_refunds_and_cancellations_stay_with_their_order():
    cells = export(
        row('#1', '2026-05-01 10:00:00 +0200', '30.00', Refunded_Amount='12.50'),
        row('#2', '2026-05-01 10:00:00 +0200', '20.00', Cancelled_at='2026-05-02 08:00:00 +0200'),
    )
    orders = parse_orders(cells, BERLIN).orders
    assert orders.refunded.tolist() == [12.5, 0]
    assert orders.cancelled_at.isna().tolist() == [True, False]


def test_test_orders_are_kept_flagged_and_not_counted():
    cells = export(row('#1', '2026-05-01 10:00:00 +0200', '30.00'), row('#2', '2026-05-01 10:00:00 +0200', '999.00', Payment_Method='(for testing) Bogus Gateway'))  # fmt: skip
    orders, lines, notes = parse_orders(cells, BERLIN)
    assert orders.test.tolist() == [False, True]
    assert order_totals(orders, lines, 'EUR')['gross'] == 30
    assert notes['flags'][0]['check'] == 'test orders'


# days and zones -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ('moment', 'berlin', 'tokyo'),
    [
        ('2026-03-28 23:30:00 +0100', '2026-03-28', '2026-03-29'),  # the night clocks go forward
        ('2026-03-29 00:30:00 +0100', '2026-03-29', '2026-03-29'),
        ('2026-10-25 02:30:00 +0200', '2026-10-25', '2026-10-25'),  # the hour that comes twice
        ('2026-10-25 02:30:00 +0100', '2026-10-25', '2026-10-25'),
        ('2026-05-01 18:30:00 -0500', '2026-05-02', '2026-05-02'),
        ('2026-12-31 23:59:59 UTC', '2027-01-01', '2027-01-01'),
    ],
)
def test_the_day_is_the_accounts(moment, berlin, tokyo):
    cells = export(row('#1', moment.replace('UTC', '+0000'), '30.00'))
    for zone, day in (('Europe/Berlin', berlin), ('Asia/Tokyo', tokyo)):
        orders = parse_orders(cells, Account(currency='EUR', timezone=zone)).orders
        assert orders.date[0] == pd.Timestamp(day) and str(orders.created_at.dt.tz) == 'UTC'


def test_times_that_lost_their_offset_are_read_in_the_accounts_zone_and_flagged():
    cells = export(row('#1', '2026-07-01 00:30:00', '30.00'), row('#2', '2026-07-01 00:30:00 +0000', '30.00'))  # fmt: skip
    orders, _, notes = parse_orders(cells, BERLIN)
    assert orders.created_at.dt.strftime('%d %H:%M').tolist() == ['30 22:30', '01 00:30']
    assert notes['flags'][0]['check'] == 'order times without a zone' and notes['flags'][0]['rows'] == 1  # fmt: skip


def test_a_header_that_comes_twice_is_read_once():
    cells = export(row('#1', '2026-05-01 10:00:00 +0200', '30.00'))
    twice = pd.concat([cells, cells[['Total', 'Phone']]], axis='columns')
    assert parse_orders(twice, BERLIN).orders.total.tolist() == [30]


# people -------------------------------------------------------------------------------------


def test_nothing_personal_gets_past():
    cells = export(row('#1', '2026-05-01 10:00:00 +0200', '30.00', Billing_Name='Erika Muster', Billing_Street='Weg 1', Phone='0301234', Notes='ring twice', Note_Attributes='birthday: 1.1.\nutm_source: ig'))  # fmt: skip
    orders, lines, _ = parse_orders(cells, BERLIN, salt='acme')
    text = orders.to_csv() + lines.to_csv()
    assert not [s for s in ('Erika', 'Weg 1', '0301234', 'ring', 'birthday', '@') if s in text]
    assert orders.source[0] == 'ig'


def test_keys_join_within_a_customer_and_not_across():
    people = pd.Series(['A@x.de', 'a@x.de ', None, 'b@x.de'])
    keys = person_keys(people, 'acme')
    assert keys[0] == keys[1] and keys[0] != keys[3] and pd.isna(keys[2])
    assert person_keys(people, 'other')[0] != keys[0] and len(keys[0]) == 32


# links --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ('address', 'source', 'campaign'),
    [
        (
            'https://x.example/p?utm_source=facebook&utm_campaign=S%20%7C%20Broad',
            'facebook',
            'S | Broad',
        ),
        ('/p?utm_source=ig&utm_campaign=S+%C3%B6', 'ig', 'S ö'),
        ('/p?fbclid=abc', 'facebook', None),
        ('/p?utm_source=&fbclid=abc', 'facebook', None),
        ('/p', None, None),
        ('', None, None),
        ('not an address % at all', None, None),
    ],
)
def test_utm_of_addresses(address, source, campaign):
    tags = tags_of(address)
    assert (tags.get('source'), tags.get('campaign')) == (source, campaign)
    frame = landings(pd.Series([address, None]))
    assert frame.source.isna()[1] and (frame.source[0] == source or source is None)


def test_note_attributes_may_hold_the_address():
    assert noted(pd.Series(['landing_site: /?utm_source=fb\ngift: yes']))[0] == '/?utm_source=fb'


# money --------------------------------------------------------------------------------------


def test_german_spreadsheets_are_read():
    cells = export(row('#1', '2026-05-01 10:00:00 +0200', '1.234,50', Lineitem_price='10,00'))
    cells['Refunded Amount'] = '1,50'
    orders, lines, _ = parse_orders(cells, BERLIN)
    assert orders.total[0] == 1234.5 and orders.refunded[0] == 1.5 and lines.price[0] == 10


def test_broken_amounts_and_moments_name_their_cell():
    with pytest.raises(Problem, match='thirty'):
        parse_orders(export(row('#1', '2026-05-01 10:00:00 +0200', 'thirty')), BERLIN)
    with pytest.raises(Problem, match='yesterday'):
        parse_orders(export(row('#1', 'yesterday', '30.00')), BERLIN)


# reconciliation -----------------------------------------------------------------------------


@pytest.fixture
def shop():
    rng = np.random.default_rng(0)
    date = pd.Series(np.repeat(pd.date_range('2026-03-01', periods=60, unit='us'), 20))
    orders = pd.DataFrame({'date': date, 'total': rng.lognormal(4, 0.8, 1200), 'currency': 'EUR'})
    claimed = rng.random(1200) < 0.6
    days = (orders.total * claimed).groupby(orders.date).sum().rename('revenue').reset_index()
    return days.assign(currency='EUR', campaign_name='A'), orders


def test_ratio_and_interval_hold_the_planted_share(shop):
    days, orders = shop
    whole = agreement(reconcile(days, orders, OrderSettings()), OrderSettings())
    assert whole['low'] < whole['ratio'] < whole['high'] and abs(whole['ratio'] - 0.6) < 0.05
    assert whole == agreement(reconcile(days, orders, OrderSettings()), OrderSettings())
    wide = agreement(reconcile(days, orders, OrderSettings()), OrderSettings(width=0.99))
    assert wide['low'] < whole['low'] and wide['high'] > whole['high']


def test_bootstrap_interval_covers(shop):
    rng, settings, held = np.random.default_rng(3), OrderSettings(draws=300), 0
    for _ in range(120):
        value = rng.lognormal(4, 0.8, (42, 20))
        claimed = value * (rng.random((42, 20)) < 0.6)
        table = pd.DataFrame({'attributed': claimed.sum(1), 'shop': value.sum(1)})
        known = agreement(table, settings)
        held += known['low'] <= 0.6 <= known['high']
    assert 0.65 < held / 120 < 0.92, held


def test_only_common_days_count_and_gaps_are_zero_sales(shop):
    days, orders = shop
    late = orders[orders.date >= '2026-03-20']
    table = reconcile(days, late[late.date != '2026-04-01'], OrderSettings())
    assert table.date.min() == pd.Timestamp('2026-03-20')
    assert table.set_index('date').shop['2026-04-01'] == 0
    with pytest.raises(Problem, match='no day in common'):
        reconcile(days, orders.assign(date=orders.date + pd.Timedelta(days=99)), OrderSettings())


def test_currencies_are_never_mixed(shop):
    days, orders = shop
    mixed = orders.assign(currency=np.where(orders.index < 5, 'USD', 'EUR'))
    with pytest.raises(Problem, match='5 in USD'):
        reconcile(days, mixed, OrderSettings())
    with pytest.raises(Problem, match='days are in EUR'):
        reconcile(days, orders.assign(currency='USD'), OrderSettings())
    with pytest.raises(MissingColumns, match='revenue'):
        reconcile(days.drop(columns='revenue'), orders, OrderSettings())


def test_cancelled_and_test_orders_and_refunds_follow_the_settings(shop):
    days, orders = shop
    orders = orders.assign(
        cancelled_at=pd.Series(pd.NaT, orders.index).dt.tz_localize('UTC'),
        test=pd.Series(False, orders.index, dtype='boolean'),
        refunded=orders.total / 2,
    )
    orders.loc[0, 'cancelled_at'] = pd.Timestamp('2026-03-02', tz='UTC')
    orders.loc[1, 'test'] = True
    total = lambda **kw: reconcile(days, orders, OrderSettings(**kw)).shop.sum()
    kept = orders.total.iloc[2:].sum()
    assert abs(total() - kept) < 1e-6
    assert abs(total(count_cancelled=True) - kept - orders.total[0]) < 1e-6
    assert abs(total(subtract_refunds=True) - kept / 2) < 1e-6


def test_campaigns_are_matched_by_name_and_by_id(shop):
    days, orders = shop
    days = days.assign(campaign_name='Sales | Broad', campaign_id='120')
    linked = orders.assign(source='ig', campaign=np.where(orders.index % 2, 'sales_broad', '120'))
    found = reconcile_campaigns(days, linked, OrderSettings())
    assert found.campaign_name.tolist() == ['Sales | Broad'] and found.orders[0] == 1200
    other = reconcile_campaigns(days, linked.assign(source='google'), OrderSettings())
    assert other.orders.tolist() == [0] and np.isnan(other.ratio[0])


def test_a_week_without_orders_has_no_ratio():
    zero = trailing_ratio(pd.Series([1.0] * 9), pd.Series([0.0] * 9), 7, 0.8)
    assert zero.isna().all().all()


def test_settings_file_is_the_model():
    assert section(read_layers(find_root()), 'orders', OrderSettings) == OrderSettings()
