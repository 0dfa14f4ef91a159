"""Style sheet of the Learn tab, and script of the attention maps."""

CSS = """
.learn-scroll { overflow-x: auto; max-width: 100%; padding: 2px; }
.learn-scroll:focus-visible { outline: 2px solid var(--color-accent); border-radius: var(--radius-md); }
.inside h4 { margin: 18px 0 4px; font-size: 1rem; }
.inside p { margin: 0 0 8px; }
.inside .maps { display: flex; flex-wrap: wrap; gap: 18px 28px; align-items: flex-start; }
.inside .maps > * { min-width: 0; }
.inside .heads { display: grid; gap: 4px; align-items: center; width: max-content; }
.inside .heads > span { font-size: .8rem; text-align: center; padding: 0 4px; }
.inside .head-map { border: 1px solid var(--border-color-primary); border-radius: 4px; padding: 2px; cursor: pointer;
  background: var(--background-fill-primary); line-height: 0; }
.inside .head-map img { width: var(--map); aspect-ratio: 1; image-rendering: pixelated; margin: 0; }
.inside .head-map[aria-pressed=true] { outline: 2px solid var(--color-accent); outline-offset: 1px; }
.inside .head-map:focus-visible { outline: 3px solid var(--color-accent); outline-offset: 1px; }
.inside .big { display: grid; grid-template-columns: max-content max-content; width: max-content; gap: 4px;
  font: .72rem/1 var(--font-mono); }
.inside .big .of-rows, .inside .big .of-columns { display: flex; }
.inside .big .of-rows { flex-direction: column; text-align: right; }
.inside .big .of-columns { grid-column: 2; align-items: flex-end; }
.inside .big .of-rows span { height: var(--cell); line-height: var(--cell); white-space: pre; }
.inside .big .of-columns span { width: var(--cell); line-height: var(--cell); writing-mode: vertical-rl;
  transform: rotate(180deg); white-space: pre; }
.inside .big img { width: calc(var(--cell) * var(--count)); height: calc(var(--cell) * var(--count)); margin: 0;
  image-rendering: pixelated; border: 1px solid var(--border-color-primary); cursor: crosshair; }
.dark .inside :is(.head-map, .big) img { filter: brightness(1.6); }
.inside .reading { min-height: 1.6rem; font-variant-numeric: tabular-nums; }
.inside .words, .inside .kl { line-height: 2; overflow-wrap: anywhere; }
.inside .words button, .inside .kl span { font: inherit; color: inherit; padding: 2px 1px; border: 0;
  border-radius: 3px; white-space: pre-wrap;
  background: color-mix(in srgb, var(--color-accent) calc(var(--weight, 0) * 45%), transparent); }
.inside .words button { cursor: pointer; }
.inside .words button[aria-pressed=true] { outline: 2px solid var(--color-accent); }
.inside .words button:focus-visible, .inside .kl span:focus-visible { outline: 3px solid var(--color-accent); }
.inside table.lens { border: 0 !important; border-collapse: separate; border-spacing: 2px; width: max-content;
  font-size: .82rem; }
.inside table.lens :is(th, td) { border: 0 !important; padding: 4px 6px !important; text-align: center;
  white-space: pre; border-radius: 4px; }
.inside table.lens td { background: color-mix(in srgb, var(--color-accent) calc(var(--weight) * 40%), transparent); }
.inside table.lens td small { display: block; font-variant-numeric: tabular-nums; }
.inside table.lens td.same { font-weight: 700; }
.inside table.lens tbody th { position: sticky; left: 0; background: var(--background-fill-primary); font-weight: 400; }
.inside table.lens thead th { font-family: var(--font-mono); font-weight: 400; vertical-align: bottom; }
.chips { display: flex; flex-wrap: wrap; gap: 4px; }
.chips > span { display: inline-flex; flex-direction: column; align-items: center; border-radius: 6px;
  padding: 2px 6px; background: var(--background-fill-secondary); border: 1px solid var(--border-color-primary);
  font-family: var(--font-mono); white-space: pre-wrap; overflow-wrap: anywhere; min-width: 1.6em; }
.chips > span:nth-child(3n) { border-color: #5b5bd6; }
.chips > span:nth-child(3n + 1) { border-color: #c2860a; }
.chips > span:nth-child(3n + 2) { border-color: #15865a; }
.chips > span.joined { background: var(--color-accent-soft); outline: 2px solid var(--color-accent); }
.chips small { font-size: .72rem; font-variant-numeric: tabular-nums; }
.merges { display: flex; flex-direction: column; gap: 6px; }
.merges details { border: 1px solid var(--border-color-primary); border-radius: var(--radius-lg); padding: 8px 12px; }
.merges summary { cursor: pointer; font-family: var(--font-mono); white-space: pre-wrap; overflow-wrap: anywhere; }
.merges ol { list-style: none; padding: 0; margin: 8px 0 0; display: grid; gap: 8px; }
.merges li { display: grid; grid-template-columns: minmax(5.5rem, max-content) 1fr; gap: 8px; align-items: center; }
.merges li > em { font-style: normal; font-size: .82rem; }
.lesson-progress { display: flex; flex-wrap: wrap; gap: 6px 16px; font-size: .9rem; margin: 2px 4px; }
.lesson-task h4 { margin: 4px 0; font-size: 1rem; }
.lesson-task .panes { display: flex; gap: 10px; }
.lesson-task .pane .text { min-height: 0; max-height: 16rem; font-variant-numeric: tabular-nums; }
.lesson-task .losses .text { font-family: var(--font-mono); font-size: .85rem; }
.verdict + .lesson-task { margin-top: 10px; }
.verdict { border-left: 4px solid var(--border-color-primary); padding: 8px 12px; border-radius: 4px;
  background: var(--background-fill-secondary); }
.verdict.right { border-color: #15865a; }
.verdict.wrong { border-color: #c2410c; }
.game .story { white-space: pre-wrap; overflow-wrap: anywhere; font-size: 1.05rem; line-height: 1.7; max-height: 22rem;
  overflow-y: auto; border: 1px solid var(--border-color-primary); border-radius: var(--radius-lg); padding: 12px 16px;
  background: var(--background-fill-primary); }
.game .story b { background: var(--color-accent-soft); border-radius: 4px; padding: 0 4px; }
.game .bars { display: grid; grid-template-columns: max-content 1fr max-content; gap: 6px 10px; align-items: center;
  margin: 12px 0; max-width: 40rem; }
.game .bars i { height: 12px; border-radius: 6px; background: var(--color-accent); min-width: 2px;
  width: calc(var(--part) * 100%); }
"""

# A head is shown large when it is clicked or reached by the arrow keys, and so is what a token reads from. The weights
# are the alpha values of the images, of 255 at most. Listeners are attached once, so they look at what is there now.
ATTENTION = """
const all = selector => [...element.querySelectorAll(selector)], one = selector => element.querySelector(selector);
const pressed = selector => one(`${selector}[aria-pressed=true]`);
const press = (selector, chosen) => all(selector).forEach(other => {
  other.setAttribute("aria-pressed", other === chosen);
  other.tabIndex = other === chosen ? 0 : -1;
});
const weights = () => {
  const image = pressed(".head-map").querySelector("img"), canvas = document.createElement("canvas");
  const size = canvas.width = canvas.height = image.naturalWidth;
  const brush = canvas.getContext("2d");
  brush.drawImage(image, 0, 0);
  const data = brush.getImageData(0, 0, size, size).data;
  return (row, column) => data[4 * (row * size + column) + 3] / 255;
};
const percent = share => (100 * share).toFixed(0) + " %";
const quoted = token => "“" + token.dataset.text + "”";
const show = () => {
  const head = pressed(".head-map"), token = pressed(".words button");
  if (!head || !token) return;
  const image = head.querySelector("img");
  if (!image.complete) return void image.addEventListener("load", show, {once: true});
  const tokens = all(".words button"), row = tokens.indexOf(token), weight = weights();
  one(".big img").src = head.querySelector("img").src;
  one(".big img").alt = one(".big-title").textContent = head.getAttribute("aria-label");
  const read = tokens.map((other, column) => [column > row ? 0 : weight(row, column), other]);
  for (const [share, other] of read) other.style.setProperty("--weight", share.toFixed(3));
  const most = read.filter(([share]) => share >= .005).sort((a, b) => b[0] - a[0]).slice(0, 5);
  one(".reading").textContent = quoted(token) + " → " +
    most.map(([share, other]) => `${quoted(other)} ${percent(share)}`).join(", ");
};
const choose = button => {
  if (!button) return;
  press(button.matches(".head-map") ? ".head-map" : ".words button", button);
  show();
};
element.addEventListener("click", event => choose(event.target.closest(".head-map, .words button")));
element.addEventListener("keydown", event => {
  const button = event.target.closest(".head-map, .words button");
  if (!button) return;
  const isHead = button.matches(".head-map"), buttons = all(isHead ? ".head-map" : ".words button");
  const across = isHead ? Number(one(".heads").dataset.heads) : 1;
  const step = {ArrowLeft: -1, ArrowRight: 1, ArrowUp: -across, ArrowDown: across}[event.key];
  const next = step && buttons[buttons.indexOf(button) + step];
  if (!step) return;
  event.preventDefault();
  if (next) { choose(next); next.focus(); }
});
element.addEventListener("mousemove", event => {
  const image = event.target.closest(".big img");
  if (!image) return;
  const tokens = all(".words button"), size = image.clientWidth / tokens.length;
  const row = Math.floor(event.offsetY / size), column = Math.floor(event.offsetX / size);
  if (column > row || !tokens[row] || !tokens[column]) return;
  one(".reading").textContent = `${quoted(tokens[row])} → ${quoted(tokens[column])} ${percent(weights()(row, column))}`;
});
"""
