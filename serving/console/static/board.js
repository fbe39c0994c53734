// The live board: tiles, spend against plan, and each creative's click rate as an interval.

import {Refused, ask} from './api.js';
import * as condition from './condition.js';
import {$, drawn, el, written} from './dom.js';
import {clock, money, share, t, whole} from './words.js';

const EVERY = 3000;
let held = null;

export async function start(failed) {
  $('days').addEventListener('change', () => look(failed));
  $('live').addEventListener('change', () => look(failed));
  relabel();
  await look(failed);
  setInterval(() => { if ($('live').checked && !document.hidden) look(failed); }, EVERY);
}

export function relabel() {
  const chosen = $('days').value || '1';
  $('days').replaceChildren(...['1', '7', '366'].map((days) => el('option', {value: days, selected: days === chosen}, t(`days_${days}`))));
  if (held) show(held);
}

export async function look(failed) {
  try {
    await condition.look();
    held = await ask(`/v1/console/board?days=${$('days').value}&limit=12`);
    show(held);
    failed(null);
  } catch (error) { if (!(error instanceof Refused && error.code === 'unavailable')) failed(error); }  // the banner says why
}

function show(board) {
  const plans = board.campaigns.filter((one) => one.daily_budget_micros !== null && one.state === 'running');
  const sum = (field) => plans.reduce((total, one) => total + one[field], 0);
  const {exploration} = board;
  $('pulse').replaceChildren(
    tile('ctr', rated(board.ctr), board.ctr.trials ? t('of_impressions', {n: whole(board.ctr.trials), m: whole(board.ctr.successes)}) : t('nothing_yet'), range(board.ctr)),
    tile('cvr', rated(board.cvr), board.cvr.trials ? t('of_clicks', {n: whole(board.cvr.trials), m: whole(board.cvr.successes)}) : t('nothing_yet'), range(board.cvr)),
    plans.length ? tile('spent_today', money(sum('spent_micros')), `${t('plan_now', {plan: money(sum('planned_micros'))})} · ${t('spent_of', {budget: money(sum('daily_budget_micros'))})}`,
      meter(sum('spent_micros'), sum('planned_micros'), sum('daily_budget_micros')))
      : tile('spent_today', '–', t('no_budget')),
    tile('explored', share(exploration.share, 1), exploration.positions ? t('explored_of', {n: whole(exploration.positions), m: whole(exploration.explored)}) : t('nothing_yet'),
      el('p', {class: 'small muted'}, t('floor', {floor: share(exploration.floor, 0)}))),
  );
  showSpend(board);
  const learning = board.posterior === 'linear_thompson' ? t('belief_learnt', {n: whole(board.learnt)}) : t('belief_still');
  $('belief-hint').textContent = [t(`belief_${board.posterior}`), learning, t('updated', {time: clock(board.now)})].filter(Boolean).join(' ');
  $('beliefs').replaceChildren(board.creatives.length ? table(board.creatives) : el('p', {class: 'empty'}, t('belief_none')));
}

const rated = (rate) => share(rate.value);
const range = (rate) => (rate.trials ? el('p', {class: 'small muted'}, t('interval', {low: share(rate.low), high: share(rate.high)})) : null);

function tile(name, value, under, more = null) {
  return el('div', {class: 'tile panel', 'data-tile': name}, el('h2', {}, t(name)), el('p', {class: 'figure'}, value), el('p', {class: 'small muted'}, under), more);
}

/** Money spent as a bar, the plan as a line; both stand in words beside it. */
function meter(spent, planned, budget) {
  const at = (value) => (budget ? Math.min(100, (100 * value) / budget) : 0);
  return drawn('svg', {class: 'meter', viewBox: '0 0 100 6', preserveAspectRatio: 'none', 'aria-hidden': 'true'},
    drawn('rect', {class: 'track', width: 100, height: 6}), drawn('rect', {class: 'fill', width: at(spent), height: 6}),
    drawn('rect', {class: 'mark', x: Math.min(99.2, at(planned)), width: 0.8, height: 6}));
}

/** The day's plan as a dashed curve, what was spent so far as a full one; from midnight to midnight, from nothing to the budget. */
function courses(one) {
  const top = Math.max(one.daily_budget_micros, one.spent_micros, 1);
  const y = (value) => 30 - (28 * value) / top;
  const along = (values) => values.map((value, hour) => `${(100 * hour) / 24},${y(value).toFixed(2)}`).join(' ');
  const now = one.course.length ? [...one.course.slice(0, -1), one.spent_micros] : [];
  return drawn('svg', {class: 'course', viewBox: '0 0 100 31', preserveAspectRatio: 'none', 'aria-hidden': 'true'},
    drawn('line', {class: 'rail', x1: 0, x2: 100, y1: 30, y2: 30}), drawn('polyline', {class: 'plan', points: along(one.plan)}),
    drawn('polyline', {class: 'spent', points: along(now)}));
}

function showSpend(board) {
  $('spend-hint').textContent = t('spend_hint', {plan_of: t(`plan_${board.plan}`)});
  const running = board.campaigns.filter((one) => one.state === 'running' || one.spent_micros > 0);
  const rest = board.campaigns.length - running.length;
  const rows = running.map((one) => el('li', {},
    el('p', {class: 'row between'}, written('b', {}, one.name), el('span', {class: 'badge'}, t(`campaign_state_${one.state}`))),
    one.daily_budget_micros === null ? null : meter(one.spent_micros, one.planned_micros, one.daily_budget_micros),
    one.plan.length ? courses(one) : null,
    el('p', {class: 'small muted'}, one.daily_budget_micros === null ? t('spend_open', {spent: money(one.spent_micros)})
      : t('spend_line', {spent: money(one.spent_micros), plan: money(one.planned_micros), budget: money(one.daily_budget_micros)})),
    one.short ? el('p', {class: 'small'}, t('spend_short', {forecast: money(one.forecast_micros)})) : null,
    one.given_micros ? el('p', {class: 'small muted'}, t('spend_given', {given: money(one.given_micros)})) : null));
  const channels = ['onsite', 'social', 'search'].map((name) => el('div', {}, el('dt', {}, t(`channel_${name}`)),
    el('dd', {}, `${rated(board.channels[name])} `, el('span', {class: 'muted small'}, `(${whole(board.channels[name].successes)}/${whole(board.channels[name].trials)})`))));
  $('spend').replaceChildren(
    rows.length ? el('ul', {class: 'spends'}, rows) : el('p', {class: 'empty'}, t('no_campaigns')),
    rest ? el('p', {class: 'small muted'}, t('more_campaigns', {n: whole(rest)})) : '',
    el('h4', {}, t('channel_rates')), el('dl', {class: 'rates'}, channels));
}

function table(creatives) {
  const most = scale(Math.max(...creatives.map((one) => Math.min(one.high, 4 * one.mean + 0.05))));
  return el('table', {class: 'beliefs'},
    el('thead', {}, el('tr', {}, el('th', {scope: 'col'}, t('th_creative')), el('th', {scope: 'col'}, t('th_counts')), el('th', {scope: 'col'}, t('th_rate'), axis(most)))),
    el('tbody', {}, creatives.map((one) => el('tr', {class: one.blocked ? 'is-blocked' : ''},
      el('th', {scope: 'row'}, written('span', {class: 'copy'}, one.text), el('span', {class: 'small muted'}, `${t(`channel_${one.channel}`)} · ${t(`scene_${one.scene}`)} · ${t(`origin_${one.origin}`)}`),
        one.blocked ? el('span', {class: 'badge bad'}, t('is_blocked')) : null),
      el('td', {class: 'small'}, t('shown_clicked', {n: whole(one.impressions), m: whole(one.clicks)})),
      el('td', {class: 'spread'}, spread(one, most), el('span', {class: 'small'}, `${share(one.mean)} [${share(one.low)}, ${share(one.high)}]`))))));
}

/** A round number that is not below. */
function scale(value) {
  const step = [0.02, 0.05, 0.1, 0.2, 0.3, 0.5, 0.75, 1].find((one) => one >= value);
  return step ?? 1;
}

function axis(most) {
  return el('span', {class: 'axis', 'aria-hidden': 'true'}, el('span', {}, '0'), el('span', {}, share(most / 2, most < 0.1 ? 1 : 0)), el('span', {}, share(most, 0)));
}

export function spread(one, most) {
  const at = (value) => Math.min(200, (200 * value) / most);
  return drawn('svg', {class: 'interval', viewBox: '0 0 200 16', role: 'img', preserveAspectRatio: 'none',
    'aria-label': t('belief_label', {mean: share(one.mean), low: share(one.low), high: share(one.high), predicted: share(one.predicted)})},
    drawn('line', {class: 'rail', x1: 0, x2: 200, y1: 8, y2: 8}),
    drawn('rect', {class: 'range', x: at(one.low), width: Math.max(1.5, at(one.high) - at(one.low)), y: 4.5, height: 7, rx: 2}),
    drawn('rect', {class: 'alone', x: at(one.predicted) - 0.6, width: 1.2, y: 1, height: 14}),
    drawn('rect', {class: 'mean', x: at(one.mean) - 1.6, width: 3.2, y: 4.5, height: 7}));
}
