// What the browser test measures on the page; see test_console_browser.py.
(() => {
  const visible = (node) => node.checkVisibility({visibilityProperty: true}) && node.getClientRects().length > 0;

  /** Controls without a name that a screen reader could speak. */
  const unnamed = () => [...document.querySelectorAll('a[href], button, input, select, summary, dialog[open], [role=region], [role=img]')]
    .filter(visible)
    .filter((node) => {
      const by = (node.getAttribute('aria-labelledby') ?? '').split(' ').filter(Boolean).map((id) => document.getElementById(id)?.textContent ?? '').join('');
      const labels = [...(node.labels ?? [])].map((label) => label.textContent).join('');
      const own = ['INPUT', 'SELECT'].includes(node.tagName) ? '' : node.textContent;
      return !(by || node.getAttribute('aria-label') || labels || own).trim();
    })
    .map((node) => node.outerHTML.slice(0, 120));

  const canvas = document.createElement('canvas').getContext('2d', {willReadFrequently: true});
  const rgba = (colour) => {
    canvas.clearRect(0, 0, 1, 1);
    canvas.fillStyle = colour;
    canvas.fillRect(0, 0, 1, 1);
    const [r, g, b, a] = canvas.getImageData(0, 0, 1, 1).data;
    return [r, g, b, a / 255];
  };
  const over = (top, below) => top.slice(0, 3).map((value, place) => value * top[3] + below[place] * (1 - top[3]));
  const ground = (node) => {
    const layers = [];
    for (let at = node; at; at = at.parentElement) {
      const colour = rgba(getComputedStyle(at).backgroundColor);
      layers.push(colour);
      if (colour[3] >= 0.999) break;
    }
    return layers.reverse().reduce((below, layer) => over(layer, below), [255, 255, 255]);
  };
  const light = (colour) => colour.slice(0, 3).map((value) => value / 255)
    .map((value) => (value <= 0.04045 ? value / 12.92 : ((value + 0.055) / 1.055) ** 2.4))
    .reduce((sum, value, place) => sum + value * [0.2126, 0.7152, 0.0722][place], 0);

  /** Texts that stand too faint on their ground: WCAG's ratio, 4.5 at the least. */
  const faint = () => {
    const found = [];
    const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
    for (let text = walker.nextNode(); text; text = walker.nextNode()) {
      const node = text.parentElement;
      if (!text.textContent.trim() || !visible(node) || node.closest('svg, .hidden, .skip') || node.tagName === 'OPTION') continue;
      const below = ground(node);
      const [one, other] = [light(over(rgba(getComputedStyle(node).color), below)), light(below)];
      const ratio = (Math.max(one, other) + 0.05) / (Math.min(one, other) + 0.05);
      if (ratio < 4.5) found.push(`${ratio.toFixed(2)} ${node.tagName}.${node.className}: ${text.textContent.trim().slice(0, 30)}`);
    }
    return found;
  };

  /** Ids that stand twice. */
  const twice = () => [...document.querySelectorAll('[id]')].map((node) => node.id).filter((id, place, all) => all.indexOf(id) !== place);

  /** Words that no language gave. */
  const wordless = () => [...document.querySelectorAll('[data-t]')].filter((node) => !node.textContent.trim()).map((node) => node.dataset.t);

  return {unnamed: unnamed(), faint: faint(), twice: twice(), wordless: wordless(), wide: document.documentElement.scrollWidth - innerWidth};
})()
