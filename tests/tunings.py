"""Made-up tunings for the tests of the tuning page: adopt, keep, too little data, hostile."""

import json

import numpy as np
import pandas as pd

from adsbench.tuning.tune import Tuned

PARAMETERS = {
    'high_roas': (2.5, 2.12, 1.2, 5.0),
    'low_roas': (0.8, 0.93, 0.4, 1.6),
    'fast_rise': (0.2, 0.2, 0.05, 0.4),
    'cold_spend': (50.0, 41.5, 25.0, 100.0),
    'fade_days': (7.0, 7.0, 3.0, 14.0),
    'least_purchases': (5.0, 5.0, 2.0, 10.0),
}
POLICIES = 'tuned defaults shrunk_squared proportional hold thompson equal'.split()
TERMS = ('roas', 'ctr', 'stability', 'utilisation')


def trials(count: int, seed: int) -> pd.DataFrame:
    "Trials with their values, scores and terms"
    rng = np.random.default_rng(seed)
    rows = []
    for trial in range(count):
        values = {
            name: default if trial == 0 or rng.random() < 0.6 else round(rng.uniform(low, high), 3)
            for name, (default, _, low, high) in PARAMETERS.items()
        }
        mean = 1.012 if trial == 0 else 1.012 + 0.03 * rng.random() * min(1, trial / 20)
        rows.append(
            {
                'trial': trial,
                'stage': 'defaults' if trial == 0 else 'screen' if trial < 8 else 'region',
                'values': json.dumps(values),
                'scores': tuple(float(x) for x in mean + 0.01 * rng.standard_normal(4)),
                'mean': mean,
                'error': 0.006,
                'seconds': 0.03,
                'roas': mean + 0.01,
                'ctr': 1.0 + 0.01 * rng.standard_normal(),
                'stability': 1 - 0.04 * rng.random(),
                'utilisation': 1.0,
                'violation': 0.0,
            }
        )
    return pd.DataFrame(rows).assign(best=lambda t: t['mean'].cummax())


def lines(found: pd.DataFrame) -> pd.DataFrame:
    "The course of a search and of random search"
    every = np.arange(1, len(found) + 1)
    luck = 1.012 + 0.012 * (1 - np.exp(-every / 30))
    ours = pd.DataFrame({'evaluations': every, 'method': 'ours', 'best': found['best']})
    random = pd.DataFrame({'evaluations': every, 'method': 'random', 'best': luck})
    return pd.concat([ours, random], ignore_index=True)


def outer(count: int) -> pd.DataFrame:
    "Folds of three weeks with an embargo of one"
    begin = pd.Timestamp('2026-01-05')
    day = lambda n: begin + pd.Timedelta(days=n)
    number = np.arange(1, count + 1)
    return pd.DataFrame(
        {
            'fold': number,
            'train_first': begin,
            'train_last': [day(int(35 + 21 * n)) for n in number],
            'test_first': [day(int(43 + 21 * n)) for n in number],
            'test_last': [day(int(63 + 21 * n)) for n in number],
            'defaults': np.array([0.021, 0.014, 0.03, 0.018, 0.02, 0.01])[:count],
            'tuned': np.array([0.034, 0.02, 0.027, 0.031, 0.03, 0.02])[:count],
        }
    )


def adopt(count: int = 60, seed: int = 3) -> Tuned:
    "A tuning that found something"
    found = trials(count, seed)
    parameters = pd.DataFrame(
        [(name, *row) for name, row in PARAMETERS.items()],
        columns=['parameter', 'default', 'chosen', 'low', 'high'],
    ).assign(importance=[1.0, 0.71, 0.42, 0.2, 0.11, 0.0])
    gain = np.array([0.031, 0.021, 0.026, 0.017, 0.0, -0.012, -0.042])
    wide = np.array([0.013, 0.009, 0.017, 0.02, 0.0, 0.027, 0.03])
    methods = pd.DataFrame(
        {'policy': POLICIES, 'gain': gain, 'low': gain - wide, 'high': gain + wide}
    ).assign(linear=gain + np.array([0.03, 0.019, 0.076, 0.073, 0.0, 0.067, -0.009]))
    about = {'customer': 'demo', 'platform': 'meta', 'as_of': '2026-06-28', 'steps': 17}
    about |= {'units': 24, 'evaluations': count, 'seconds': 41.2, 'seed': 0, 'run': 'made-up'}
    about |= {'objective': 'weights', 'dimensions': 61, 'screened_out': 37}
    return Tuned(
        verdict='ADOPT',
        why='The interval lies above 0.2 %, the least gain worth having, and no baseline does better.',
        gain=0.012,
        low=0.004,
        high=0.02,
        chosen={'high_roas': 2.12, 'low_roas': 0.93, 'cold_spend': 41.5},
        trials=found,
        convergence=lines(found),
        importance=parameters,
        folds=outer(4),
        methods=methods,
        pareto=found.nlargest(5, 'mean'),
        about=about,
        notes=['Three rules that never fired took no part in the search.'],
        each={},
    )


def keep() -> Tuned:
    "A tuning that found nothing better"
    why = 'The interval of the gain, -0.9 to +1.2 %, holds 0.'
    own = {'chosen': {}, 'verdict': 'KEEP DEFAULTS', 'why': why}
    return adopt()._replace(gain=0.001, low=-0.009, high=0.012, **own)


def few() -> Tuned:
    "A tuning that could not be: every number is missing and every frame empty"
    own = adopt()
    frames = ('trials', 'convergence', 'importance', 'folds', 'methods', 'pareto')
    empty = {name: getattr(own, name).head(0) for name in frames}
    about = {'customer': 'demo', 'platform': 'meta', 'as_of': '2026-06-28', 'steps': 3}
    own = own._replace(gain=np.nan, low=np.nan, high=np.nan, chosen={}, about=about, **empty)
    return own._replace(verdict='NOT ENOUGH DATA', why='3 weekly decisions; 8 are needed.')


def hostile() -> Tuned:
    "A tuning whose words are markup"
    bad = '<script>alert(1)</script>$x^2$'
    own = adopt()
    notes = [bad, '`code` | **bold**']
    about = dict(own.about) | {'customer': 'demo', 'objective': bad}
    return own._replace(why=bad, notes=notes, about=about, chosen={bad: 1.0})
