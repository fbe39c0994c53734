// Elements of the page, made without markup in strings: whatever a product or a person is called, it stays text.

export const $ = (id) => document.getElementById(id);

/** An element: attributes by name (a function listens, true is an empty attribute, false or null is none), then what it holds. */
export function el(name, attributes = {}, ...held) {
  const node = document.createElement(name);
  give(node, attributes);
  node.append(...held.flat().filter((one) => one !== null && one !== undefined && one !== false));
  return node;
}

const SVG = 'http://www.w3.org/2000/svg';

/** The same for drawings. */
export function drawn(name, attributes = {}, ...held) {
  const node = document.createElementNS(SVG, name);
  give(node, attributes);
  node.append(...held.flat());
  return node;
}

function give(node, attributes) {
  for (const [name, value] of Object.entries(attributes)) {
    if (value === false || value === null || value === undefined) continue;
    if (typeof value === 'function') node.addEventListener(name, value);
    else node.setAttribute(name, value === true ? '' : String(value));
  }
}

/** Text with the language it is written in, as far as one can see: screen readers then speak it rightly. */
export function written(name, attributes, text) {
  const chinese = /[\u3400-\u9fff]/.test(text);
  return el(name, {...attributes, lang: chinese ? 'zh-CN' : null}, text);
}
