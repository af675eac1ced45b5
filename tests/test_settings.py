"""Names and settings: what a person types is taken exactly or refused with what would do."""

import os
from pathlib import Path
from typing import Annotated

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import Field

from adsbench.data.layers import leaves, merge, read_yaml
from adsbench.data.names import DEVICES, TAKEN, hint, inside
from adsbench.data.settings import (
    Account,
    Problem,
    Section,
    System,
    find_root,
    limit,
    read_layers,
    section,
    settings_table,
    share,
    slug,
)


def write(root: Path, name: str, text: str) -> Path:
    "A file below the root"
    path = root / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding='utf-8')
    return path


def said(call, *args, **more) -> str:
    "The message of the Problem that a call must raise"
    with pytest.raises(Problem) as caught:
        call(*args, **more)
    return str(caught.value)


@pytest.fixture
def acme(tmp_root: Path) -> Path:
    "A root with one customer whose account is known"
    write(tmp_root, 'config/acme/meta/account.yaml', 'currency: EUR\ntimezone: Europe/Berlin\n')
    return tmp_root


# --- names


@pytest.mark.parametrize('name', ['acme', '3m', 'a', 'shop_eu-2', 'x' * 63])
def test_a_slug_passes_unchanged(name):
    assert slug(name) == name


@pytest.mark.parametrize(
    'name',
    [
        '',
        'Acme',
        'a b',
        '-a',
        '_a',
        'a.b',
        '..',
        '../x',
        'a/b',
        'a\\b',
        'ä',
        'x' * 64,
        'a\n',
        '٣',
        'latest',
        'default',
        'con',
        'lpt1',
    ],
)
def test_what_is_no_slug_is_refused(name):
    assert name in said(slug, name) or repr(name) in said(slug, name)


@given(st.text(max_size=80))
def test_a_slug_is_always_one_plain_folder_and_a_suggestion_is_a_slug(name):
    try:
        kept = slug(name)
    except Problem as problem:
        if ' would do' in str(problem):
            suggested = str(problem).rpartition(';')[2].removesuffix(' would do').strip()
            assert slug(suggested) == suggested
    else:
        assert kept == name and Path(kept).name == kept and kept.isascii()


def test_every_name_that_means_something_already_is_taken():
    taken = 'default prompts creative columns team templates latest con nul prn aux com1 lpt9'
    for name in taken.split():
        assert name in TAKEN | DEVICES and name in said(slug, name)


def test_hint_names_the_nearest_and_keeps_its_spelling():
    assert hint('roas_treshold', ['roas_threshold']) == 'did you mean roas_threshold?'
    assert 'EUR' in hint('eur', ['EUR', 'USD'])
    assert hint('colour', ['spend', 'clicks']) == 'known: clicks, spend'
    assert '50' in hint('colour', [f'x{n}' for n in range(50)])


def test_inside_follows_no_link_and_no_dots(tmp_root):
    (tmp_root / 'elsewhere').mkdir()
    (tmp_root / 'datasets').mkdir()
    (tmp_root / 'datasets/acme').symlink_to(tmp_root / 'elsewhere')
    assert 'link' in said(inside, tmp_root, 'datasets', 'acme', 'meta')
    for part in ('..', '', '.', 'a/b', '/etc'):
        assert 'plain name' in said(inside, tmp_root, part)
    assert inside(tmp_root, 'datasets', 'other') == tmp_root.resolve() / 'datasets/other'


def test_root_is_the_variable_or_the_nearest_folder_with_config(tmp_root, monkeypatch):
    deep = tmp_root / 'a/b'
    deep.mkdir(parents=True)
    (tmp_root / 'config').mkdir()
    assert find_root(deep) == tmp_root.resolve()
    monkeypatch.chdir(deep)
    assert find_root() == tmp_root.resolve()
    monkeypatch.setenv('ADSBENCH_ROOT', str(tmp_root / 'a'))
    assert find_root() == (tmp_root / 'a').resolve()
    monkeypatch.setenv('ADSBENCH_ROOT', str(tmp_root / 'gone'))
    assert 'ADSBENCH_ROOT' in said(find_root)


# --- YAML


def test_yaml_is_1_2_and_expands_nothing(tmp_root):
    page = write(
        tmp_root, 'x.yaml', 'country: NO\nword: on\nhome: ${HOME}\nzip: "01234"\nhalf: .5\n'
    )
    assert read_yaml(page) == {
        'country': 'NO',
        'word': 'on',
        'home': '${HOME}',
        'zip': '01234',
        'half': 0.5,
    }


@pytest.mark.parametrize(
    ('text', 'words'),
    [
        ('a: 1\nb: 2\na: 3\n', ['line 3', 'duplicate']),
        ('a:\n  b: 1\n  b: 2\n', ['line 3', 'duplicate']),
        ('a: [1\n', ['line', 'x.yaml']),
        ('a:\n\t- b\n', ['line 2']),
        ('- 1\n- 2\n', ['key: value']),
        ('just words\n', ['key: value']),
        ('a: !!python/object/apply:os.system [ls]\n', ['line 1']),
        ('a: 1\n---\nb: 2\n', ['x.yaml']),
        ('a: \x07\n', ['x.yaml']),
    ],
)
def test_yaml_that_is_not_plain_settings_names_file_and_line(tmp_root, text, words):
    message = said(read_yaml, write(tmp_root, 'x.yaml', text))
    assert all(word in message for word in words), message


def test_yaml_in_another_encoding_is_refused_and_an_empty_file_is_no_setting(tmp_root):
    latin = tmp_root / 'x.yaml'
    latin.write_bytes('a: Müller\n'.encode('latin-1'))
    assert 'UTF-8' in said(read_yaml, latin)
    latin.write_bytes('\ufeffa: Müller\n'.encode())
    assert read_yaml(latin) == {'a': 'Müller'}
    assert read_yaml(write(tmp_root, 'y.yaml', '# nothing\n')) == {}


tree = st.recursive(
    st.integers(),
    lambda inner: st.dictionaries(st.sampled_from('abc'), inner, max_size=3),
    max_leaves=8,
)
mapping = st.dictionaries(st.sampled_from('abcd'), tree, max_size=4)


@given(mapping, mapping)
def test_merge_keeps_everything_that_is_not_overridden_and_changes_no_argument(below, above):
    before = (repr(below), repr(above))
    merged = merge(below, above)
    assert (repr(below), repr(above)) == before
    together = dict(leaves(merged))
    assert all(together.get(key) == value for key, value in leaves(above) if value != {})
    over = set(dict(leaves(above)))
    for key, value in leaves(below):
        touched = any(key == o or key.startswith(f'{o}.') or o.startswith(f'{key}.') for o in over)
        assert touched or together[key] == value
    assert merge(merged, above) == merged


# --- layers


def test_package_house_customer_environment_in_this_order(acme):
    listed = read_yaml(share('config') / 'default/system.yaml')['environment']
    assert 'ADSBENCH_ACCOUNT__ATTRIBUTION_LAG_DAYS' in listed
    lag = lambda **environ: section(read_layers(acme, 'acme', environ=environ), 'account', Account)
    assert lag().attribution_lag_days == 7
    write(acme, 'config/default/account.yaml', 'attribution_lag_days: 10\n')
    assert lag().attribution_lag_days == 10
    own = 'currency: EUR\ntimezone: UTC\nattribution_lag_days: 3\n'
    write(acme, 'config/acme/meta/account.yaml', own)
    assert lag().attribution_lag_days == 3
    assert lag(ADSBENCH_ACCOUNT__ATTRIBUTION_LAG_DAYS='5').attribution_lag_days == 5
    assert lag(ADSBENCH_ACCOUNT__ATTRIBUTION_LAG_DAYS='').attribution_lag_days == 3
    assert 'ADSBENCH_ACCOUNT__ATTRIBUTION_LAG_DAYS' in said(
        lag, ADSBENCH_ACCOUNT__ATTRIBUTION_LAG_DAYS='soon'
    )


def test_every_value_tells_its_file_and_provenance(acme):
    own = 'currency: EUR\ntimezone: UTC\nattribution_lag_days: 3\nprovenance:\n  attribution_lag_days: tuned\n'
    write(acme, 'config/acme/meta/account.yaml', own)
    environ = {'ADSBENCH_SYSTEM__LOG_LEVEL': 'DEBUG'}
    table = settings_table(read_layers(acme, 'acme', environ=environ)).set_index('key')
    assert (table.file != '').all() and (table.provenance != '').all()
    assert tuple(table.loc['account.attribution_lag_days']) == (
        3,
        'config/acme/meta/account.yaml',
        'tuned',
    )
    assert table.loc['account.currency', 'provenance'] == 'customer'
    assert tuple(table.loc['system.log_level']) == (
        'DEBUG',
        'ADSBENCH_SYSTEM__LOG_LEVEL',
        'environment',
    )
    assert not table.index.str.endswith('provenance').any()


def test_every_default_has_a_known_provenance_and_is_ours_to_read():
    layers = read_layers(share('config').parent, environ={})
    kinds = {origin.provenance for origin in layers.origins.values()}
    assert kinds <= {'meta_fact', 'seed_default', 'house_default'}
    assert section(layers, 'system', System).lock_wait_seconds > 0


def test_two_customers_do_not_see_each_other(acme):
    write(acme, 'config/other/meta/account.yaml', 'currency: USD\ntimezone: UTC\n')
    currency = lambda name: (
        section(read_layers(acme, name, environ={}), 'account', Account).currency
    )
    assert (currency('acme'), currency('other')) == ('EUR', 'USD')
    assert 'currency' in said(section, read_layers(acme, environ={}), 'account', Account)
    assert 'currency' in said(section, read_layers(acme, 'acme', 'taboola', {}), 'account', Account)


@pytest.mark.parametrize(
    ('name', 'text', 'words'),
    [
        ('acount.yaml', 'currency: EUR\n', ['acount.yaml', 'did you mean account?']),
        ('account.yml', 'currency: EUR\n', ['account.yml']),
        ('account.yaml', 'currency: EUR\ncurrency: USD\n', ['account.yaml', 'line 2']),
        ('account.yaml', 'currency: EUR\nprovenance:\n  currency: meta_fakt\n', ['meta_fact']),
        ('account.yaml', 'currency: EUR\nprovenance:\n  curency: tuned\n', ['currency']),
        ('account.yaml', 'currency: EUR\nprovenance: tuned\n', ['labels']),
        ('system.yaml', 'environment:\n  PATH: account.currency\n', ['config/default']),
    ],
)
def test_a_file_that_would_not_be_read_as_meant_stops_the_run(tmp_root, name, text, words):
    write(tmp_root, f'config/acme/meta/{name}', text)
    message = said(read_layers, tmp_root, 'acme', environ={})
    assert all(word in message for word in words), message


def test_a_linked_settings_file_or_folder_is_not_followed(acme):
    real = acme / 'config/acme/meta/account.yaml'
    (acme / 'config/evil/meta').mkdir(parents=True)
    (acme / 'config/evil/meta/account.yaml').symlink_to(real)
    assert 'link' in said(read_layers, acme, 'evil', environ={})
    (acme / 'config/worse').symlink_to(acme / 'config/acme')
    assert 'link' in said(read_layers, acme, 'worse', environ={})


def test_an_unlisted_variable_stops_with_the_nearest(acme):
    message = said(read_layers, acme, 'acme', environ={'ADSBENCH_ACCOUNT__CURENCY': 'USD'})
    assert 'ADSBENCH_ACCOUNT__CURRENCY' in message and 'system.yaml' in message
    read_layers(acme, 'acme', environ={'ADSBENCH_ROOT': str(acme), 'HOME': '/', 'META__X': '1'})


def test_the_house_lists_variables_of_its_own(acme):
    write(acme, 'config/default/system.yaml', 'environment:\n  ACCOUNT_TZ: account.timezone\n')
    layers = read_layers(acme, 'acme', environ={'ACCOUNT_TZ': 'Asia/Tokyo'})
    assert section(layers, 'account', Account).timezone == 'Asia/Tokyo'
    assert layers.origins['account.timezone'] == ('ACCOUNT_TZ', 'environment')


def test_the_process_environment_is_heard_when_none_is_given(acme, monkeypatch):
    monkeypatch.setenv('ADSBENCH_SYSTEM__LOG_LEVEL', 'ERROR')
    assert read_layers(acme, 'acme').values['system']['log_level'] == 'ERROR'
    assert 'ADSBENCH_SYSTEM__LOG_LEVEL' in os.environ


# --- sections


class Inner(Section):
    "Limits inside a section"

    top: Annotated[float, limit('max')] = Field(0.2, ge=0, description='highest')
    floor: Annotated[float, limit('min')] = 1.0


class Outer(Section):
    "A section with a section"

    safety: Inner = Inner()
    name: str = 'x'
    many: dict[str, Inner] = Field(default_factory=dict)


def outer(root: Path, text: str, environ=None) -> Outer:
    "The part `orders` of a customer read as Outer (any known part name serves)"
    write(root, 'config/acme/meta/orders.yaml', text)
    layers = read_layers(root, 'acme', environ=environ or {})
    page = read_yaml(root / 'config/acme/meta/orders.yaml')
    clean = layers._replace(values={'orders': page}, house={'orders': {'safety': {'top': 0.15}}})
    return section(clean, 'orders', Outer)


def test_a_customer_may_tighten_a_hard_limit_and_not_loosen_it(tmp_root):
    assert outer(tmp_root, 'safety: {top: 0.1, floor: 5}\n').safety.top == 0.1
    assert outer(tmp_root, 'safety: {top: 0.15}\n').safety.top == 0.15
    message = said(outer, tmp_root, 'safety: {top: 0.3, floor: 0.5}\n')
    assert 'orders.safety.top is 0.3 in config/acme/meta/orders.yaml' in message
    assert 'hard limit 0.15' in message and 'orders.safety.floor' in message


def test_the_environment_may_not_loosen_a_hard_limit_either(tmp_root):
    write(tmp_root, 'config/default/orders.yaml', 'safety: {top: 0.15}\n')
    write(tmp_root, 'config/default/system.yaml', 'environment: {TOP: orders.safety.top}\n')

    def top(text: str) -> float:
        layers = read_layers(tmp_root, environ={'TOP': text})
        only = lambda pages: {'orders': {'safety': pages['orders']['safety']}}
        clean = layers._replace(values=only(layers.values), house=only(layers.house))
        return section(clean, 'orders', Outer).safety.top

    assert top('0.1') == 0.1
    assert 'orders.safety.top is 0.3 in TOP' in said(top, '0.3')


def test_all_mistakes_are_told_at_once_with_the_nearest_key(tmp_root):
    message = said(outer, tmp_root, 'safety: {tp: 0.1, top: no}\nnmae: y\nmany: {a: {flor: 1}}\n')
    for word in ('did you mean top?', 'did you mean name?', 'did you mean floor?', "'no'"):
        assert word in message, message
    assert message.count('\n') == 3


def test_a_section_is_frozen():
    with pytest.raises(ValueError):
        Outer().name = 'z'


@pytest.mark.parametrize(
    ('text', 'words'),
    [
        (
            'currency: EUR\n',
            ['account.timezone is not set', '--timezone', 'config/acme/meta/account.yaml'],
        ),
        ('timezone: UTC\n', ['account.currency is not set', '--currency']),
        ('currency: JPN\ntimezone: UTC\n', ['JPN', 'JPY']),
        ('currency: eur\ntimezone: UTC\n', ['EUR']),
        ('currency: EUR\ntimezone: Europe/Berln\n', ['Europe/Berlin']),
        ('currency: EUR\ntimezone: ../etc/passwd\n', ['no such time zone']),
        ('currency: EUR\ntimezone: ""\n', ['no such time zone']),
        ('currency: EUR\ntimezone: Europe\n', ['no such time zone']),
        ('currency: EUR\ntimezone: UTC\nattribution_lag_days: 29\n', ['28']),
        (
            'currency: EUR\ntimezone: UTC\nspecial_ad_category: CREDIT\n',
            ['FINANCIAL_PRODUCTS_SERVICES'],
        ),
        ('currency: [EUR]\ntimezone: UTC\n', ['account.currency']),
        ('7: EUR\n', ['account']),
    ],
)
def test_an_account_that_cannot_be_is_refused_with_what_would_do(tmp_root, text, words):
    write(tmp_root, 'config/acme/meta/account.yaml', text)
    message = said(section, read_layers(tmp_root, 'acme', environ={}), 'account', Account)
    assert all(word in message for word in words), message
