// Ads as each channel shows them, and under each of them why it stands there.

import {el, written} from './dom.js';
import {picture} from './picture.js';
import {day, money, share, t, whole} from './words.js';

/** One channel's slate in its frame. state.before: what stood there before, null for another shopper; does: {click, block}. */
export function channel(held, state, does) {
  const {channel: name, answer} = held;
  const title = `channel-${name}`;
  const ads = answer.slate.map((ad) => el('li', {}, place(ad, name, answer.request_id, state, does)));
  return el('section', {class: `frame frame-${name}`, 'aria-labelledby': title},
    el('div', {class: 'frame-head'},
      el('h3', {id: title}, t(`channel_${name}`)),
      el('p', {class: 'muted small'}, t('candidates', {n: whole(answer.candidates)}))),
    el('div', {class: 'device'}, head(name, state, answer), ads.length ? el('ol', {class: 'slate'}, ads) : el('p', {class: 'empty'}, t('empty'))));
}

/** What stands above the ads on such a page; decoration. */
function head(name, state, answer) {
  const dots = el('span', {class: 'dots'}, el('i'), el('i'), el('i'));
  if (name === 'onsite') return el('div', {class: 'device-head', 'aria-hidden': 'true'}, dots, el('b', {}, t('onsite_frame')));
  if (name === 'social') return el('div', {class: 'device-head phone', 'aria-hidden': 'true'}, el('span', {}, '9:41'), el('b', {}, t('social_frame')), el('span', {class: 'battery'}));
  const words = state.query || answer.slate[0]?.category || '';
  return el('div', {class: 'device-head searchbar', 'aria-hidden': 'true'},
    el('div', {class: 'searchbox'}, el('span', {}, '⌕'), written('span', {}, words)),
    el('span', {class: 'small'}, t('search_frame', {n: whole(answer.candidates * 1000)})));
}

function place(ad, name, request, state, does) {
  const fresh = state.before !== null && !state.before.has(`${name}/${ad.creative_id}`);
  const face = el('button', {type: 'button', class: `ad ad-${name}`, 'data-creative': ad.creative_id, 'data-item': ad.item_id,
    'aria-label': `${t('click', {title: ad.title})}. ${ad.text}`, click: () => does.click(ad, name, request)}, faces[name](ad));
  return el('article', {class: `place${fresh ? ' fresh' : ''}`},
    face,
    el('div', {class: 'under'},
      el('p', {class: 'why'}, fresh ? el('span', {class: 'badge'}, t('new')) : null, why(ad.why)),
      el('dl', {class: 'chances'},
        chance('p_click', ad.p_click), chance('p_convert', ad.p_convert), chance('propensity', ad.propensity)),
      more(ad, does)));
}

function chance(name, value) {
  return el('div', {}, el('dt', {}, t(name)), el('dd', {}, share(value)));
}

function more(ad, does) {
  const row = (name, value) => el('div', {}, el('dt', {}, name), typeof value === 'string' ? written('dd', {}, value) : el('dd', {}, value));
  return el('details', {}, el('summary', {}, t('numbers')),
    el('dl', {class: 'facts'},
      row(t('probability'), share(ad.probability)), row(t('bid'), money(ad.bid_micros)), row(t('ecpm'), money(ad.ecpm_micros)),
      row(t('campaign'), ad.campaign ? `${ad.campaign.name} · ${day(ad.campaign.start)} – ${day(ad.campaign.end)}` : t('none')),
      row(t('origin'), t(`origin_${ad.origin}`)), row(t('creative'), el('code', {}, ad.creative_id)),
      ['p_click', 'p_convert', 'propensity'].map((name) => row(t(name), t(`${name}_help`)))),
    el('button', {type: 'button', class: 'danger small', 'aria-label': t('block_one', {text: ad.text}), click: () => does.block(ad)}, t('block_this')));
}

/** The reason in the reader's words. */
export function why(cause) {
  return t(`why_${cause.kind}`, {
    query: cause.query ?? '', title: cause.title ?? '', category: cause.category ?? '',
    deed: cause.deed ? t(cause.deed).toLocaleLowerCase() : '',
  });
}

const labels = (ad, word) => el('span', {class: 'labels'}, el('span', {class: 'adlabel'}, t(word)), ad.ai_label ? el('span', {class: 'adlabel'}, t('ai')) : null);
const price = (ad) => (ad.price_micros === null ? null : el('span', {class: 'price'}, money(ad.price_micros)));
const ribbon = (ad) => (ad.campaign ? written('span', {class: 'ribbon'}, `${ad.campaign.name} ${day(ad.campaign.start)}–${day(ad.campaign.end)}`) : null);

const faces = {
  onsite: (ad) => [
    el('span', {class: 'thumb'}, picture(ad, 'square')),
    el('span', {class: 'words'},
      labels(ad, 'ad'), written('span', {class: 'copy'}, ad.text), written('span', {class: 'product'}, ad.title), ribbon(ad),
      el('span', {class: 'deal'}, price(ad), el('span', {class: 'cta'}, t('buy_now'))))],
  social: (ad) => [
    el('span', {class: 'poster'}, written('span', {class: 'avatar', 'aria-hidden': 'true'}, (ad.brand ?? ad.category).slice(0, 1)),
      el('span', {class: 'who'}, written('b', {}, ad.brand ?? ad.category), labels(ad, 'sponsored'))),
    written('span', {class: 'copy'}, ad.text),
    el('span', {class: 'thumb'}, picture(ad, 'wide')),
    el('span', {class: 'strip'}, el('span', {class: 'words'}, written('span', {class: 'product'}, ad.title), ribbon(ad), price(ad)), el('span', {class: 'cta'}, t('buy_now'))),
    el('span', {class: 'reactions', 'aria-hidden': 'true'}, el('span', {}, '♡'), el('span', {}, '✎'), el('span', {}, '↗'))],
  search: (ad) => [
    el('span', {class: 'source'}, labels(ad, 'ad'), written('span', {class: 'url'}, `${ad.brand ?? t('shop')} › ${ad.category}`)),
    written('span', {class: 'headline'}, ad.title), written('span', {class: 'copy'}, ad.text),
    el('span', {class: 'deal'}, price(ad), ribbon(ad))],
};
