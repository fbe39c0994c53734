// A drawn picture for a product without a photograph: colours from the category's name, shapes from the product's.

import {drawn} from './dom.js';

/** FNV-1a of a text, 32 bits. */
function hash(text) {
  let found = 0x811c9dc5;
  for (const byte of new TextEncoder().encode(text)) found = Math.imul(found ^ byte, 0x01000193) >>> 0;
  return found;
}

let made = 0;

export function picture(product, shape) {
  const [width, height] = {wide: [320, 180], square: [160, 160]}[shape];
  const hue = hash(product.category) % 360;
  let seed = hash(product.title);
  const next = (below) => {
    seed = (Math.imul(seed, 1664525) + 1013904223) >>> 0;
    return (seed >>> 8) % below;
  };
  const name = `picture-${(made += 1)}`;
  const size = Math.round(height * 0.3);
  return drawn('svg', {viewBox: `0 0 ${width} ${height}`, class: 'picture', 'aria-hidden': 'true', preserveAspectRatio: 'xMidYMid slice'},
    drawn('defs', {}, drawn('linearGradient', {id: name, x1: 0, y1: 0, x2: 1, y2: 1},
      drawn('stop', {offset: 0, 'stop-color': `hsl(${hue} 62% 48%)`}),
      drawn('stop', {offset: 1, 'stop-color': `hsl(${(hue + 38) % 360} 66% 32%)`}))),
    drawn('rect', {width, height, fill: `url(#${name})`}),
    ...[0, 1, 2, 3].map((turn) => drawn('circle', {cx: next(width), cy: next(height), r: height * 0.16 + next(height / 2),
      fill: `hsl(${(hue + 24 * turn) % 360} 80% 66%)`, opacity: 0.22})),
    drawn('text', {x: width / 2, y: height / 2 + size * 0.36, 'text-anchor': 'middle', 'font-size': size, 'font-weight': 700, fill: '#fff', opacity: 0.94},
      product.category.slice(0, 2)));
}
