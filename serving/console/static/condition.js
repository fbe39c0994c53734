// What the service does without at the moment, said as long as it lasts.

import {ask} from './api.js';
import {$, el} from './dom.js';
import {t} from './words.js';

let away = [];

/** parts: as answers name them. */
export function show(parts) {
  const told = [...new Set(parts)].sort();
  if (told.join() !== away.join()) {
    away = told;
    relabel();
  }
}

export function relabel() {
  $('degraded').replaceChildren(...away.map((part) => el('p', {}, t(`degraded_${part}`))));
  $('degraded').hidden = !away.length;
}

export async function look() {
  show((await ask('/healthz')).degraded);
}
