// Looking creatives over, blocking them, allowing them again, and the trail of both.

import {ask} from './api.js';
import {$, el, written} from './dom.js';
import {share, t, time, whole} from './words.js';

let held = null;
let trail = null;
let afterwards = () => {};
let fail = () => {};

/** changed: told when a creative was blocked or allowed again. */
export async function start(changed, failed) {
  afterwards = changed;
  fail = failed;
  $('finding').addEventListener('submit', (event) => { event.preventDefault(); look(true); });
  $('only').addEventListener('change', () => look(true));
  relabel();
  await look();
}

export function relabel() {
  const chosen = $('only').value || 'all';
  $('only').replaceChildren(...['all', 'shown', 'blocked'].map((only) => el('option', {value: only, selected: only === chosen}, t(`only_${only}`))));
  if (held) show();
}

async function look(say = false) {
  try {
    const words = new URLSearchParams({query: $('find').value, only: $('only').value, limit: 8});
    [held, trail] = await Promise.all([ask(`/v1/console/creatives?${words}`), ask('/v1/console/reviews?limit=12')]);
    show();
    if (say) $('reviewed').textContent = counted();
  } catch (error) { fail(error); }
}

const counted = () => (held.total ? t('found_of', {total: whole(held.total), n: whole(held.creatives.length)}) : t('found_none'));

function show() {
  $('found').replaceChildren(...held.creatives.map((one) => el('li', {class: `panel${one.blocked ? ' is-blocked' : ''}`, 'data-creative': one.creative_id},
    el('p', {class: 'row between'}, written('span', {class: 'copy'}, one.text),
      one.blocked
        ? el('button', {type: 'button', 'aria-label': t('allow_one', {text: one.text}), click: () => allow(one)}, t('allow'))
        : el('button', {type: 'button', class: 'danger', 'aria-label': t('block_one', {text: one.text}), click: () => block(one)}, t('block'))),
    el('p', {class: 'small muted'}, written('span', {}, one.title), ` · ${t(`channel_${one.channel}`)} · ${t(`scene_${one.scene}`)} · ${t(`origin_${one.origin}`)}`,
      one.ai_label ? ` · ${t('ai')}` : ''),
    el('p', {class: 'small'}, one.blocked ? el('span', {class: 'badge bad'}, t('is_blocked')) : null, ' ',
      one.mean === null ? '' : `${t('shown_clicked', {n: whole(one.impressions), m: whole(one.clicks)})} · ${share(one.mean)} [${share(one.low)}, ${share(one.high)}] `,
      el('code', {}, one.creative_id)))));
  if (!held.creatives.length) $('found').replaceChildren(el('li', {class: 'panel empty'}, t('found_none')));
  $('trail').replaceChildren(...(trail.reviews.length ? trail.reviews.map((line) => el('li', {},
    el('p', {}, el('span', {class: `badge ${line.verdict === 'blocked' ? 'bad' : 'good'}`}, t(`verdict_${line.verdict}`)), ' ', written('span', {}, line.text ?? line.creative_id)),
    line.note ? written('p', {class: 'small'}, line.note) : null,
    el('p', {class: 'small muted'}, t('trail_by', {reviewer: line.reviewer === 'open' ? t('by_open') : t('by_token', {reviewer: line.reviewer}), time: time(line.timestamp)}))))
    : [el('li', {class: 'empty'}, t('trail_none'))]));
}

/** Ask whether, and why; then block. */
export function block(one) {
  const dialog = $('blocking');
  $('blocking-text').textContent = one.text;
  $('blocking-text').lang = /[\u3400-\u9fff]/.test(one.text) ? 'zh-CN' : '';
  $('note').value = '';
  dialog.returnValue = 'no';
  const came = document.activeElement;
  dialog.addEventListener('close', async () => {
    if (dialog.returnValue === 'yes') await record(one, 'blocked', $('note').value);
    else came?.focus();
  }, {once: true});
  dialog.showModal();
  $('note').focus();
}

const allow = (one) => record(one, 'allowed', '');

async function record(one, verdict, note) {
  try {
    await ask('/v1/console/reviews', {creative_id: one.creative_id, verdict, note});
    await look();
    $('reviewed').textContent = t(`said_${verdict}`, {text: one.text});
    $('found').querySelector(`[data-creative="${CSS.escape(one.creative_id)}"] button`)?.focus();
    await afterwards(verdict, one);
  } catch (error) { fail(error); }
}
