// The service, asked with the token of this tab when it has one.

const KEPT = 'adloom-token';

export class Refused extends Error {
  constructor(status, message, code = '') {
    super(message);
    Object.assign(this, {status, code});
  }
}

export const keep = (token) => sessionStorage.setItem(KEPT, token);
export const forget = () => sessionStorage.removeItem(KEPT);

/** Answer of a path; with a body it is a POST. */
export async function ask(path, body = undefined) {
  const headers = {};
  const token = sessionStorage.getItem(KEPT);
  if (token) headers.authorization = `Bearer ${token}`;
  if (body !== undefined) headers['content-type'] = 'application/json';
  const sent = body === undefined ? {headers} : {method: 'POST', headers, body: JSON.stringify(body)};
  const answer = await fetch(path, sent);
  const text = await answer.text();
  let read = null;
  try { read = JSON.parse(text); } catch { /* not JSON */ }
  if (!answer.ok) throw new Refused(answer.status, read?.message ?? read?.problem ?? `${answer.status}`, read?.code);
  return read;
}

/** An id for an event; randomUUID needs a secure origin, which http on another machine is not. */
export function fresh() {
  return 'console-' + [...crypto.getRandomValues(new Uint8Array(12))].map((byte) => byte.toString(16).padStart(2, '0')).join('');
}
