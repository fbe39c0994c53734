// Both languages, from strings.json; numbers, money and times as the language writes them.

const KEPT = 'adloom-language';
let strings = {};
let language = 'en';

export async function load() {
  strings = await (await fetch('strings.json')).json();
  const asked = new URLSearchParams(location.search).get('lang') ?? localStorage.getItem(KEPT) ?? navigator.language ?? 'en';
  language = asked.toLowerCase().startsWith('zh') ? 'zh' : 'en';
}

export function turn() {
  language = language === 'zh' ? 'en' : 'zh';
  localStorage.setItem(KEPT, language);
}

const locale = () => (language === 'zh' ? 'zh-CN' : 'en-GB');
export const tag = () => (language === 'zh' ? 'zh-CN' : 'en');

/** The words for a key, with {names} filled in. */
export function t(key, values = {}) {
  const found = strings[language]?.[key];
  if (found === undefined) throw new Error(`no words for ${key}`);
  return found.replace(/\{(\w+)\}/g, (whole, name) => (name in values ? String(values[name]) : whole));
}

/** Put words wherever the page asks for them. */
export function label(root = document) {
  for (const node of root.querySelectorAll('[data-t]')) node.textContent = t(node.dataset.t);
  for (const node of root.querySelectorAll('[data-t-label]')) node.setAttribute('aria-label', t(node.dataset.tLabel));
  for (const node of root.querySelectorAll('[data-t-placeholder]')) node.setAttribute('placeholder', t(node.dataset.tPlaceholder));
}

export const whole = (value) => new Intl.NumberFormat(locale()).format(value);

export function share(value, digits = null) {
  if (value === null || value === undefined) return '–';
  const places = digits ?? (value < 0.0995 ? 2 : 1);
  return new Intl.NumberFormat(locale(), {style: 'percent', minimumFractionDigits: places, maximumFractionDigits: places}).format(value);
}

/** Money; catalogues carry no currency, the market's is the yuan. */
export function money(micros) {
  const value = micros / 1e6;
  const places = Number.isInteger(value) || value >= 1000 ? 0 : 2;
  return '¥' + new Intl.NumberFormat(locale(), {minimumFractionDigits: places, maximumFractionDigits: places}).format(value);
}

export const time = (iso) => new Intl.DateTimeFormat(locale(), {month: 'short', day: 'numeric', hour: '2-digit', minute: '2-digit', timeZone: 'UTC'}).format(new Date(iso));
export const clock = (iso) => new Intl.DateTimeFormat(locale(), {hour: '2-digit', minute: '2-digit', second: '2-digit', timeZone: 'UTC'}).format(new Date(iso)) + ' UTC';
export const day = (iso) => new Intl.DateTimeFormat(locale(), {month: 'short', day: 'numeric', timeZone: 'UTC'}).format(new Date(iso));
