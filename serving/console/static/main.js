// The page: slates for a shopper, clicks, and what changes by them.

import {Refused, ask, forget, fresh, keep} from './api.js';
import * as board from './board.js';
import * as cards from './cards.js';
import * as condition from './condition.js';
import {$, el} from './dom.js';
import * as review from './review.js';
import * as shopper from './shopper.js';
import {label, load, t, tag, turn} from './words.js';

const state = {world: null, answer: null, before: null, recorded: false, query: ''};
const does = {click, block: (ad) => review.block(ad)};
let asking = 0;

function failed(error) {
  const told = error === null ? '' : error instanceof Refused ? t('problem', {message: error.message}) : t('offline');
  if (error !== null && !(error instanceof Refused || error instanceof TypeError)) console.error(error);
  if (error instanceof Refused && (error.status === 401 || error.status === 403)) return shut(error);
  if ($('problem').textContent !== told) $('problem').textContent = told;
  $('problem').hidden = !told;
}

/** The door: a service with tokens wants one. */
function shut(error) {
  const first = sessionStorage.getItem('adloom-token') === null;
  forget();
  $('door').hidden = false;
  $('inside').hidden = true;
  $('problem').textContent = first ? '' : t('token_wrong', {message: error.message});
  $('problem').hidden = first;
}

function relabel() {
  document.documentElement.lang = tag();
  document.title = t('title');
  label();
  $('language').textContent = t('other');
  $('language').lang = tag() === 'en' ? 'zh-CN' : 'en';
  condition.relabel();
  if (!state.world) return;
  const {policy, scenes, brands, max_slate: most, synthetic} = state.world;
  $('serving').textContent = t('serving_ready', {policy: t(`policy_${policy}`)});
  choose('scene', scenes, (name) => t(`scene_${name}`));
  $('brand-part').hidden = $('scene').value !== 'brand';
  $('brands').replaceChildren(...brands.map((value) => el('option', {value})));
  choose('k', Array.from({length: Math.min(5, most)}, (_, place) => String(place + 1)), (name) => name, '2');
  $('preview').disabled = !synthetic;
  $('preview').checked = $('preview').checked || !synthetic;
  $('preview').nextElementSibling.textContent = t(synthetic ? 'preview' : 'preview_forced');
}

function choose(id, values, told, first = values[0]) {
  const chosen = $(id).value || first;
  $(id).replaceChildren(...values.map((value) => el('option', {value, selected: value === chosen}, told(value))));
}

/** Where the ads are to stand: a brand is asked for in scene brand only. */
function place() {
  const scene = $('scene').value, brand = $('brand').value.trim();
  return {scene, k: Number($('k').value), ...(scene === 'brand' && brand ? {brand} : {})};
}

/** Draw slates for the shopper as they are now. how: other shopper, a deed of theirs, or again. */
async function draw(how, words = null) {
  const turnOf = (asking += 1);
  $('channels').setAttribute('aria-busy', 'true');
  try {
    const answer = await ask('/v1/console/slates', {...shopper.asked(), ...place(), preview: $('preview').checked});
    if (turnOf !== asking) return;
    const shown = new Set(answer.slates.flatMap((held) => held.answer.slate.map((ad) => `${held.channel}/${ad.creative_id}`)));
    state.before = how === 'other' || state.answer === null ? null
      : new Set(state.answer.slates.flatMap((held) => held.answer.slate.map((ad) => `${held.channel}/${ad.creative_id}`)));
    const changed = state.before === null ? 0 : [...shown].filter((one) => !state.before.has(one)).length;
    Object.assign(state, {answer, recorded: answer.recorded, query: answer.history.findLast((deed) => deed.query)?.query ?? ''});
    shopper.showPast(answer);
    condition.show(answer.slates.flatMap((held) => held.answer.degraded));
    show();
    const counts = {total: shown.size, changed};
    const said = words !== null ? t(words.key, {...words, ...counts}) : state.before === null ? t('said_first', {name: shopper.name()})
      : changed ? t('said_changed', counts) : t('said_same');
    $('said').textContent = answer.recorded ? said : `${said} ${t('said_unrecorded')}`;
    failed(null);
    board.look(failed);
  } catch (error) { failed(error); } finally { if (turnOf === asking) $('channels').removeAttribute('aria-busy'); }
}

function show() {
  if (state.answer) $('channels').replaceChildren(...state.answer.slates.map((held) => cards.channel(held, state, does)));
}

/** A click: told to the service, counted as a view of the product, and the next slates are drawn. The focus stays where it was. */
async function click(ad, channel, request) {
  try {
    if (state.recorded) await ask('/v1/events', {events: [{type: 'click', event_id: fresh(), request_id: request, position: ad.position}]});
    shopper.person.since.push({type: 'view', item_id: ad.item_id});
    await draw('deed', {key: 'said_clicked', title: ad.title});
    $('channels').querySelector(`.frame-${channel} li:nth-child(${ad.position + 1}) .ad`)?.focus({preventScroll: true});
    last(ad, request);
  } catch (error) { failed(error); }
}

/** What was clicked last, and the way to buy it: its own slate has gone. */
function last(ad, request) {
  if (!state.recorded) return;
  const buy = el('button', {type: 'button', class: 'quiet small', 'aria-label': t('converts_this', {title: ad.title}), click: () => convert(ad, request)}, t('converts'));
  $('said').append(' ', buy);
}

async function convert(ad, request) {
  try {
    await ask('/v1/events', {events: [{type: 'conversion', event_id: fresh(), request_id: request, position: ad.position, value_micros: ad.price_micros ?? 0}]});
    shopper.person.since.push({type: 'purchase', item_id: ad.item_id});
    await draw('deed', {key: 'said_bought', title: ad.title});
  } catch (error) { failed(error); }
}

async function enter() {
  await condition.look();
  state.world = await ask('/v1/console/world');
  $('door').hidden = true;
  $('inside').hidden = false;
  relabel();
  await shopper.start(draw, failed);
  await Promise.all([draw('other'), board.start(failed), review.start(() => draw('deed'), failed)]);
}

/** Enter as soon as the service is ready. */
async function wait() {
  try { await enter(); } catch (error) {
    failed(error);
    if (!(error instanceof Refused) || error.status === 503) setTimeout(wait, 2000);
  }
}

await load();
relabel();
$('language').addEventListener('click', () => {
  turn();
  relabel();
  if (!state.world) return;
  shopper.relabel(draw);
  board.relabel();
  review.relabel();
  show();
  $('said').textContent = state.answer ? t('said_first', {name: shopper.name()}) : '';
});
$('door').addEventListener('submit', (event) => { event.preventDefault(); keep($('token').value); $('token').value = ''; wait(); });
$('ask').addEventListener('submit', (event) => { event.preventDefault(); draw('again'); });
$('scene').addEventListener('change', () => {
  $('brand-part').hidden = $('scene').value !== 'brand';
  draw('other');
});
$('brand').addEventListener('change', () => draw('other'));
$('k').addEventListener('change', () => draw('other'));
$('preview').addEventListener('change', () => draw('again'));
await wait();
