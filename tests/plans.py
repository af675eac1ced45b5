"""Plans of an invented European bedding shop, made by hand for the section "What to move?"."""

import numpy as np
import pandas as pd

from adsbench.budgets.pacing import Pace, PacingSettings, pace
from adsbench.budgets.plan import Plan

PLACES = ('DE', 'AT', 'NL')
GROUPS = (
    'Broad | Linen sets',
    'Lookalike 2 % | Pillows',
    'Retargeting 30 d | All',
    'Interest: sleep | Duvets',
    'Advantage+ | Bestsellers',
    'Broad | Mattress toppers',
    'Newsletter lookalike | Linen sets',
    'Interest: home | Throws',
)


def value(theta: np.ndarray, half: np.ndarray, budget: np.ndarray) -> np.ndarray:
    "Revenue a day of a budget: a saturating curve"
    return theta * budget / (budget + half)


def decided(units: int, seed: int) -> tuple[pd.DataFrame, np.ndarray, np.ndarray]:
    "Decisions of a shop with so many ad sets, and the parameters of their curves"
    rng = np.random.default_rng(seed)
    now = (rng.lognormal(4.2, 0.7, units) * 100).round() / 100
    half = now * rng.choice([0.5, 1, 2, 4], units)
    roas = rng.lognormal(1.0, 0.35, units)
    theta = roas * (now + half)
    slope = theta * half / (now + half) ** 2
    wish = np.clip(slope / np.median(slope), 0.7, 1.4) ** 0.5
    idle = np.arange(units) % 4 == 3
    then = np.where(idle, now, np.clip(now * wish, 0.85 * now, 1.15 * now)).round(2)
    fix = np.abs(then - now).argmax()
    then[fix] = round(then[fix] - (then.sum() - now.sum()), 2)
    gain = value(theta, half, then) - value(theta, half, now)
    width = np.abs(gain) * 0.6 + 1
    move = (then - now).round(2)
    names = [f'{PLACES[n % 3]} | {GROUPS[n % 8]}{"" if n < 24 else f" {n}"}' for n in range(units)]
    capped = np.abs(move) >= 0.1499 * now
    limit = np.where(capped, np.where(move > 0, 'step_up', 'step_down'), '')
    limit[idle] = np.where(np.arange(units)[idle] % 8 == 3, 'learning', 'cooldown')
    verb = np.where(move > 0, 'increase', np.where(move < 0, 'decrease', 'hold'))
    reason = [
        f'ROAS of 7 days {r:.2f}; the next €1 brings about €{s:.2f}, in the account €{np.median(slope):.2f}'
        for r, s in zip(roas, slope)
    ]
    rows = pd.DataFrame(
        {
            'unit': [f'2385{n:06d}' for n in range(units)],
            'level': 'adset',
            'campaign_id': [f'c{n % 3}' for n in range(units)],
            'campaign_name': [f'{PLACES[n % 3]} | Sales | Bed linen' for n in range(units)],
            'adset_id': [f'2385{n:06d}' for n in range(units)],
            'adset_name': names,
            'verb': verb,
            'current': now,
            'proposed': then,
            'change': then / now - 1,
            'move': move,
            'rule': np.where(move > 0, 'high_roas_efficient', 'low_efficiency'),
            'number': np.where(move > 0, 7, 12),
            'tier': np.where(move > 0, 'high', 'efficiency'),
            'ruled': now * np.where(move > 0, 1.1, 0.9),
            'optimum': now * wish**2,
            'reason': reason,
            'steps': [()] * units,
            'could_not': [
                ('reach_many: reach absent',) if n % 6 == 0 else () for n in range(units)
            ],
            'limit': limit,
            'gain': gain,
            'gain_low': gain - width,
            'gain_high': gain + width,
            'marginal': slope,
            'marginal_low': 0.7 * slope,
            'marginal_high': 1.3 * slope,
            'average': roas,
            'extrapolates': np.arange(units) % 12 == 5,
            'known_low': 0.55 * now,
            'known_high': np.where(np.arange(units) % 12 == 5, 1.02, 1.45) * now,
            'edit_class': np.where(
                move == 0, 'no', np.where(np.abs(move) > 0.14 * now, 'maybe', 'no')
            ),
            'relearning': np.where(np.abs(move) > 0.14 * now, 310.0, 0.0),
            'confidence': np.where(gain > 0, 0.86, 0.2),
            'evidence': [('ev-5b1c07aa32',)] * units,
            'expires': '2026-06-24',
            'spend_7d': 7 * 0.93 * now,
            'roas_7d': roas,
            'purchases_7d': np.round(roas * now * 7 / 89),
            'learning_status': np.where(np.arange(units) % 8 == 3, 'LEARNING', 'STEADY'),
        }
    )
    return rows, theta, half


def drawn(rows: pd.DataFrame, theta: np.ndarray, half: np.ndarray) -> pd.DataFrame:
    "Curves of the six largest moves"
    pages = []
    for at in rows['move'].abs().sort_values(ascending=False, kind='stable').index[:6]:
        row = rows.loc[at]
        budget = np.linspace(0.1, 1.8, 35) * row['current']
        there = value(theta[at], half[at], budget)
        seen = (budget >= row['known_low']) & (budget <= row['known_high'])
        pages.append(
            pd.DataFrame(
                {
                    'unit': row['unit'],
                    'budget': budget,
                    'value': there,
                    'low': 0.85 * there,
                    'high': 1.15 * there,
                    'observed': seen,
                }
            )
        )
    return pd.concat(pages, ignore_index=True)


def month(cap: float = 66_000.0, last: str = '2026-06-21') -> Pace | None:
    "June: what was spent up to the last day, and what is left"
    date = pd.date_range('2026-05-20', '2026-06-28')
    spend = np.random.default_rng(5).normal(0.97, 0.08, len(date)) * 2013
    facts = pd.DataFrame({'date': date, 'spend': spend.round(2)})
    return pace(facts, pd.Timestamp(last), PacingSettings(cap=cap), 'EUR')


def shop(units: int = 24, seed: int = 4) -> Plan:
    "A plan of the shop: gains with intervals, four methods, three limits that bind"
    rows, theta, half = decided(units, seed)
    total = float(rows['current'].sum())
    gain = float(rows['gain'].sum())
    base = float((rows['average'] * rows['current']).sum())
    methods = pd.DataFrame(
        {
            'method': ['hold', 'proportional', 'rules', 'response', 'both'],
            'chosen': [False, False, False, False, True],
            'revenue': base + np.array([0, 0.2, 0.6, 1.1, 1.0]) * gain,
            'gain': np.array([0, 0.2, 0.6, 1.1, 1.0]) * gain,
            'low': np.array([0, -0.9, 0.1, 0.3, 0.3]) * gain,
            'high': np.array([0, 1.2, 1.1, 1.8, 1.7]) * gain,
        }
    )
    binding = pd.DataFrame(
        {
            'limit': ['step_up', 'step_down', 'learning'],
            'units': [
                tuple(rows['unit'][rows['limit'] == n])
                for n in ('step_up', 'step_down', 'learning')
            ],
            'shadow': [0.84, 0.31, 0.12],
            'words': [''] * 3,
        }
    )
    about = {
        'customer': 'nordbett', 'platform': 'meta', 'as_of': '2026-06-21', 'currency': 'EUR',
        'total': total, 'current_total': total, 'method': 'both', 'value': 'platform', 'units': units,
        'width': 0.8, 'seed': 0, 'price': 1.72, 'gain': gain, 'gain_low': 0.3 * gain,
        'gain_high': 1.7 * gain, 'unknown_learning': 2,
    }  # fmt: skip
    firings = pd.DataFrame({'rule': ['low_efficiency'], 'fired': [9], 'moved': [-120.0]})
    notes = ['reach is absent from the export; rules that need it could not fire']
    return Plan(
        rows, None, firings, methods, binding, month(), drawn(rows, theta, half), about, notes
    )


def still() -> Plan:
    "A plan without any move: every budget stays"
    plan = shop()
    rows = plan.decisions.assign(
        proposed=plan.decisions['current'], move=0.0, change=0.0, verb='hold', gain=0.0,
        gain_low=0.0, gain_high=0.0, edit_class='no', relearning=0.0, limit='cooldown',
    )  # fmt: skip
    about = plan.about | {'gain': 0.0, 'gain_low': 0.0, 'gain_high': 0.0}
    ways = plan.methods.copy()
    ways.loc[ways['method'] == 'both', ['gain', 'low', 'high']] = 0.0
    ways.loc[ways['method'] == 'both', 'revenue'] = ways.loc[0, 'revenue']
    return plan._replace(decisions=rows, about=about, methods=ways, curves=plan.curves.head(0))


def infeasible() -> Plan:
    "A plan whose total cannot be spent within the limits: nothing moves"
    plan = still()
    certificate = {
        'binding': [
            {'limit': 'by_size and step_up', 'units': [str(n) for n in range(17)], 'amount': 310.0},
            {'limit': 'share', 'units': ['x'], 'amount': 40.0},
        ],
        'shortfall': 350.0,
        'relaxation': [
            {
                'limit': 'by_size and step_up',
                'stretch': 0.141,
                'units': [str(n) for n in range(17)],
                'words': 'by_size and step_up: allow 14.1 % more (0 to 48.20)',
            },
            {
                'limit': 'total',
                'stretch': 0.13,
                'units': [],
                'words': 'total: from 2,713.51 to 2,363.51',
            },
            {
                'limit': 'cooldown',
                'stretch': None,
                'units': ['3', '7'],
                'words': 'cooldown: lift it (3 to 121.00)',
            },
        ],
    }
    about = plan.about | {'total': plan.about['total'] + 700.0}
    return plan._replace(certificate=certificate, about=about)


def campaigns() -> Plan:
    "A plan in which two campaigns hold the budget for their ad sets"
    plan = shop()
    rows = plan.decisions.copy()
    rows.loc[:1, 'level'] = 'campaign'
    rows.loc[:1, ['adset_id', 'adset_name']] = ''
    rows.loc[:1, 'campaign_name'] = ['CH | Sales | Campaign budget', 'BE | Sales | Campaign budget']
    rows.loc[2, ['verb', 'limit']] = ['freeze', 'kill']
    return plan._replace(decisions=rows)


def taboola() -> Plan:
    "A plan of a platform without learning phase and without curves: no gain may be claimed"
    plan = shop(9, 7)
    claims = ['gain', 'gain_low', 'gain_high', 'marginal', 'marginal_low', 'marginal_high', 'confidence', 'relearning', 'known_low', 'known_high', 'optimum']  # fmt: skip
    rows = plan.decisions.assign(**dict.fromkeys(claims, np.nan), level='campaign', adset_name=None, adset_id=None, edit_class='no', learning_status='UNKNOWN', extrapolates=False)  # fmt: skip
    rows['campaign_name'] = [f'Native | {name}' for name in plan.decisions['adset_name']]
    methods = plan.methods.assign(
        revenue=np.nan,
        gain=np.nan,
        low=np.nan,
        high=np.nan,
        chosen=plan.methods['method'] == 'rules',
    )
    nothing = dict.fromkeys(('price', 'gain', 'gain_low', 'gain_high'), np.nan)
    about = plan.about | nothing | {'platform': 'taboola', 'method': 'rules', 'unknown_learning': 9}
    notes = ['Taboola has no learning phase in its export; nothing is held for it']
    return plan._replace(
        decisions=rows, methods=methods, binding=plan.binding.head(0), pacing=None,
        curves=plan.curves.head(0), about=about, notes=notes,
    )  # fmt: skip


EVIL = '<script>alert("x")</script> & {{ 7*7 }} $x^2$ \u202egnp.exe'


def hostile() -> Plan:
    "Two hundred ad sets, all texts of which are an attack"
    plan = shop(200, 11)
    rows = plan.decisions.copy()
    rows['adset_name'] = [f'{EVIL} {n} ' + 'x' * (40 * (n % 5)) for n in range(200)]
    rows['campaign_name'] = EVIL
    rows['reason'] = EVIL * 3
    rows['limit'] = EVIL
    rows['rule'] = EVIL
    rows['could_not'] = [(EVIL,)] * 200
    binding = plan.binding.assign(limit=EVIL, words=EVIL)
    return plan._replace(
        decisions=rows, binding=binding, notes=[EVIL],
        methods=plan.methods.assign(method=EVIL),
    )  # fmt: skip
