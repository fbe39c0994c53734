// Whom the ads are for: one of the shop's, one who is named, or one composed of events.

import {ask, fresh} from './api.js';
import {$, el, written} from './dom.js';
import {money, t, time, whole} from './words.js';

const DEEDS = ['view', 'search', 'cart', 'favourite', 'purchase'];

const MOST = 200;

/** shopper: a pseudonym; user: a raw id until the service has answered with its pseudonym; own: of the composed one; since: what they did here. */
export const person = {mode: 'pick', shopper: null, user: null, own: fresh(), since: []};
let people = [];
let past = null;

export function asked() {
  const body = {history: person.since.slice(-MOST).map(({type, item_id, query}) => (type === 'search' ? {type, query} : {type, item_id}))};
  if (person.mode === 'compose') body.user_id = person.own;
  else if (person.user !== null) body.user_id = person.user;
  else if (person.shopper !== null) body.shopper = person.shopper;
  return body;
}

export const short = (pseudonym) => pseudonym.slice(0, 8);
export const name = () => (person.mode === 'compose' ? t('composed') : person.shopper ? t('shopper_label', {name: short(person.shopper)}) : t('person'));

/** Wire the panel up. changed: told when another shopper, or another past, is to be shown ads. */
export async function start(changed, failed) {
  const safely = (work) => async (event) => {
    event?.preventDefault();
    try { await work(event); } catch (error) { failed(error); }
  };
  const fetched = async () => {
    people = (await ask('/v1/console/shoppers?count=6')).shoppers;
    showPeople(changed);
  };
  for (const radio of document.querySelectorAll('[name=mode]')) {
    radio.addEventListener('change', safely(async () => {
      person.mode = radio.value;
      person.since = [];
      showMode();
      await changed('other');
    }));
  }
  $('others').addEventListener('click', safely(async () => { await fetched(); $('people').querySelector('button')?.focus(); }));
  $('named').addEventListener('submit', safely(async () => {
    Object.assign(person, {user: $('user').value, shopper: null, since: []});
    $('user').value = '';
    await changed('other');
    showPeople(changed);
  }));
  $('searching').addEventListener('submit', safely(async () => {
    person.since.push({type: 'search', query: $('query').value});
    $('query').value = '';
    await changed('deed');
  }));
  $('meeting').addEventListener('submit', safely(async () => {
    const chosen = $('product').selectedOptions[0];
    if (!chosen) return;
    person.since.push({type: $('deed').value, item_id: chosen.value});
    await changed('deed');
  }));
  $('clear').addEventListener('click', safely(async () => { Object.assign(person, {own: fresh(), since: []}); await changed('other'); }));
  let waiting = null;
  $('words').addEventListener('input', () => { clearTimeout(waiting); waiting = setTimeout(safely(findProducts), 200); });
  relabel(changed);
  await Promise.all([fetched(), findProducts()]);
  if (people.length) person.shopper = people[0].shopper;
  showPeople(changed);
  showMode();
}

/** Words in another language. */
export function relabel(changed) {
  const chosen = $('deed').value || 'view';
  $('deed').replaceChildren(...DEEDS.filter((deed) => deed !== 'search').map((deed) => el('option', {value: deed, selected: deed === chosen}, t(deed))));
  showPeople(changed);
  if (past) showPast(past);
}

function showMode() {
  $('pick').hidden = person.mode !== 'pick';
  $('compose').hidden = person.mode !== 'compose';
}

function showPeople(changed) {
  $('people').replaceChildren(...people.map((one) => {
    const chosen = person.user === null && one.shopper === person.shopper;
    const likes = [...one.queries.slice(0, 1).map((query) => `“${query}”`), ...one.categories].slice(0, 3).join(' · ');
    return el('li', {}, el('button', {type: 'button', class: 'someone', 'aria-pressed': String(chosen), click: async () => {
      Object.assign(person, {shopper: one.shopper, user: null, since: []});
      for (const button of $('people').querySelectorAll('button')) button.setAttribute('aria-pressed', String(button.dataset.shopper === one.shopper));
      await changed('other');
    }, 'data-shopper': one.shopper}, el('code', {}, short(one.shopper)), written('span', {class: 'likes'}, likes || '–'), el('span', {class: 'muted small'}, t('shopper_sum', {n: whole(one.events)}))));
  }));
  if (!people.length) $('people').replaceChildren(el('li', {class: 'muted small'}, t('people_none')));
}

async function findProducts() {
  const found = (await ask(`/v1/console/products?limit=40&query=${encodeURIComponent($('words').value)}`)).products;
  const chosen = (found.find((product) => product.item_id === $('product').value) ?? found[0])?.item_id;
  $('product').replaceChildren(...found.map((product) => written('option', {value: product.item_id, selected: product.item_id === chosen},
    product.title + (product.price_micros === null ? '' : ` · ${money(product.price_micros)}`))));
  if (!found.length) $('product').replaceChildren(el('option', {disabled: true, value: ''}, t('product_none')));
}

/** What they did, with the events that carried an ad marked. */
export function showPast(answer) {
  past = answer;
  if (person.mode === 'pick' && answer.shopper) Object.assign(person, {shopper: answer.shopper, user: null});
  const causes = new Set(answer.slates.flatMap((held) => held.answer.slate.map((ad) => ad.why.timestamp)).filter(Boolean));
  $('audience').textContent = [answer.history_length ? t('past_of', {n: whole(answer.history_length)}) : t('past_none'),
    answer.audience ? t('audience', {name: answer.audience.name}) : ''].filter(Boolean).join(' · ');
  const first = answer.history.length - person.since.length;
  $('past').hidden = answer.history.length === 0;
  $('past').replaceChildren(...answer.history.map((deed, place) => el('li', {class: `deed deed-${deed.type}${causes.has(deed.timestamp) ? ' carried' : ''}`},
    el('span', {class: 'what'}, t(deed.type)),
    written('span', {class: 'thing'}, deed.query ? `“${deed.query}”` : deed.title ?? deed.item_id ?? ''),
    el('span', {class: 'muted small when'}, place >= first ? t('now') : time(deed.timestamp)))).reverse());
}
