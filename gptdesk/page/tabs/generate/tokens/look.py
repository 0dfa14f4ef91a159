"""Style sheet and script of the Tokens view: keys among tokens, tooltip line, colours, scrolling to what opens."""

# One of the tokens has tab index 0, and arrow keys move it. What is pressed goes to the server through hidden boxes.
# The view is below all texts: once it is there, the page scrolls to it, and it gets the focus. A table is scrolled to
# and announced, while the focus stays on its token for the arrow keys.
SCRIPT = """<script>
(() => {
  const one = selector => document.querySelector(selector);
  const calm = matchMedia("(prefers-reduced-motion: reduce)");
  let count = 0, measure = "probability";
  let awaited = null;  // what was asked for and is not there yet: "view", or the place of a table
  // scrolls no further than needed to show all from the first element to the last, or the beginning if that is too high
  const reveal = (first, last) => {
    const fits = last.getBoundingClientRect().bottom - first.getBoundingClientRect().top < innerHeight;
    const behavior = calm.matches ? "instant" : "smooth";
    if (fits) last.scrollIntoView({block: "nearest", behavior});
    else first.scrollIntoView({block: "start", behavior});
  };
  const revealView = () => {
    const view = one("#token-view :is(.token-view, .token-fault)"), isRead = view?.matches(".token-view");
    if (!isRead && view?.role !== "alert") return;  // none, or a place in the queue
    awaited = null;
    reveal(view, view);
    if (isRead) view.focus({preventScroll: true});
  };
  const revealTable = () => {
    const heading = one("#token-heading h3"), table = one("#token-explanation .token-table");
    const fault = one("#token-explanation [role=alert]");
    if (fault) reveal(fault, fault);
    else if (heading && table?.dataset.place === awaited) {
      reveal(one("#token-heading"), table);
      one("#live").textContent = heading.textContent;
    } else return;
    awaited = null;
  };
  const send = (id, data) => {
    const box = one(`#${id} textarea, #${id} input`);
    box.value = JSON.stringify({...data, n: ++count});  // another text each time, so that it counts as changed
    box.dispatchEvent(new Event("input", {bubbles: true}));
  };
  const chips = () => [...document.querySelectorAll(".tokens button")];
  const tell = chip => {
    const tip = one(".token-tip");
    if (tip && chip.dataset.tip && tip.textContent !== chip.dataset.tip) tip.textContent = chip.dataset.tip;
  };
  const move = chip => {
    for (const other of chips()) other.tabIndex = other === chip ? 0 : -1;
    chip.focus();
  };
  const beside = (from, down) => {  // the nearest token of the next line
    const box = from.getBoundingClientRect(), middle = box.left + box.width / 2;
    let best = null, least = Infinity;
    for (const chip of chips()) {
      const to = chip.getBoundingClientRect(), lines = (to.top - box.top) * (down ? 1 : -1);
      if (lines < 6) continue;
      const distance = lines * 1000 + Math.abs(to.left + to.width / 2 - middle);
      if (distance < least) { least = distance; best = chip; }
    }
    return best;
  };
  addEventListener("keydown", event => {
    const chip = event.target.closest?.(".tokens button");
    if (!chip || event.ctrlKey || event.altKey || event.metaKey) return;
    const all = chips(), at = all.indexOf(chip);
    const next = {ArrowRight: all[at + 1], ArrowLeft: all[at - 1], Home: all[0], End: all.at(-1),
      ArrowDown: beside(chip, true), ArrowUp: beside(chip, false)};
    if (!(event.key in next)) return;
    event.preventDefault();
    if (next[event.key]) move(next[event.key]);
  });
  for (const kind of ["focusin", "mouseover"])
    addEventListener(kind, event => { const chip = event.target.closest?.(".tokens button"); if (chip) tell(chip); });
  addEventListener("click", event => {
    const chip = event.target.closest?.(".tokens button"), branch = event.target.closest?.(".branches");
    const opener = event.target.closest?.(".looks");
    if (opener) awaited = opener.getAttribute("aria-expanded") === "true" ? null : "view";
    if (chip) {
      awaited = chip.dataset.i;
      for (const other of chips()) {
        other.tabIndex = other === chip ? 0 : -1;
        other.toggleAttribute("aria-current", other === chip);
      }
      send("token-picked", {i: Number(chip.dataset.i)});
    } else if (branch && one("#stop")?.disabled) {
      send("token-branched", {i: Number(branch.closest(".token-table").dataset.place),
        token: Number(branch.dataset.token)});
      cards = shownCards().length;
      looks = 0;
    }
  });
  addEventListener("change", event => {
    if (event.target.name !== "token-colour") return;
    measure = event.target.value;
    paint();
  });
  const scale = {probability: ["likely", "surprising"], rank: ["first", "far down"], entropy: ["sure", "undecided"],
    difference: ["less likely there", "likelier there"]};
  const say = text => window.gptdeskTexts?.[text] ?? text;  // in the page's language
  const paint = () => {
    const tokens = one(".tokens"), view = tokens?.closest(".token-view");
    if (!tokens) return;
    tokens.dataset.by = measure;
    const [least, most] = scale[measure];
    view.querySelector(".least").textContent = say(least);
    view.querySelector(".most").textContent = say(most);
    const radio = view.querySelector(`input[value=${measure}]`);
    if (!radio.checked) radio.checked = true;
  };
  // the text of another token gets the focus, and is scrolled into view
  let cards = null, looks = 0;  // cards before it, and looks for its own
  const shownCards = () => [...document.querySelectorAll(".text-card")].filter(card => card.checkVisibility());
  const followBranch = () => {
    const card = shownCards()[cards];
    if (!card && looks++ < 150) return;
    card?.querySelector("textarea").focus({preventScroll: true});
    card?.scrollIntoView({block: "nearest"});
    cards = null;
  };
  setInterval(() => {
    if (cards !== null) followBranch();
    const view = one(".token-view");
    if (view && !view.dataset.painted) {
      if (view.dataset.first === "difference") measure = "difference";  // a second model was just chosen
      else if (measure === "difference") measure = "probability";
      view.dataset.painted = 1;
      paint();
    }
    for (const button of document.querySelectorAll(".text-card .looks")) {
      const open = String(view?.dataset.card === button.id.replace("tokens-", ""));
      if (button.getAttribute("aria-expanded") !== open) button.setAttribute("aria-expanded", open);
    }
    if (awaited === "view") revealView();
    else if (awaited !== null) revealTable();
  }, 200);
})();
</script>"""

# when a sampler changes: the server is asked for what is shown, the table of a token or the text alone
FOLLOW = """() => {
  const isShown = selector => document.querySelector(selector);
  if (isShown("#token-view .token-view"))
    document.querySelector(isShown("#token-explanation .token-table") ? "#token-chain" : "#token-text-chain").click();
}"""

CSS = """
#token-view, #token-redrawn, #token-heading, #token-explanation { padding: 0 !important; }
.token-view { border-top: 1px solid var(--border-color-primary); padding: 14px 20px 4px; --heat: #f0932b;
  --likelier: #6ea8fe; }
.dark .token-view { --heat: #b4480f; --likelier: #1f5fbf; }
.token-head { margin: 0 0 8px; font-size: .9rem; color: var(--body-text-color-subdued);
  font-variant-numeric: tabular-nums; }
.token-head b { color: var(--body-text-color); margin-right: 8px; }
.token-bar { display: flex; flex-wrap: wrap; gap: 6px 20px; align-items: center; margin-bottom: 10px;
  font-size: .875rem; }
.token-colour { border: 0; margin: 0; padding: 0; display: flex; flex-wrap: wrap; gap: 4px 14px; align-items: center; }
.token-colour legend { float: left; margin-right: 14px; padding: 0; color: var(--body-text-color-subdued); }
.token-colour label { display: inline-flex; gap: 6px; align-items: center; cursor: pointer; }
.token-colour input { accent-color: var(--color-accent); }
.token-scale { display: inline-flex; gap: 8px; align-items: center; color: var(--body-text-color-subdued); }
.token-scale i { width: 90px; height: 10px; border-radius: 5px; border: 1px solid var(--border-color-primary);
  background: linear-gradient(to right, transparent, color-mix(in srgb, var(--heat) 80%, transparent)); }
.tokens { line-height: 2; max-height: 24rem; overflow-y: auto; padding: 4px; margin: 0 -4px; }
.tokens button { --s: var(--p, 0); font: inherit; font-size: 1rem; line-height: 1.5; padding: 1px 2px;
  margin: 0 1px 0 0;
  border: 0; border-radius: 4px; color: var(--body-text-color); cursor: pointer; max-width: 100%;
  overflow-wrap: anywhere; text-align: start; white-space: pre-wrap;
  background: color-mix(in srgb, var(--heat) calc(var(--s) * 80%), transparent); }
.tokens[data-by=rank] button { --s: var(--r, 0); }
.tokens[data-by=entropy] button { --s: var(--e, 0); }
.tokens[data-by=difference] button { --s: var(--d, 0); }
.tokens[data-by=difference] button.likelier {
  background: color-mix(in srgb, var(--likelier) calc(var(--s) * 80%), transparent); }
.token-view:has([data-by=difference]) .token-scale i { background: linear-gradient(to right,
  color-mix(in srgb, var(--heat) 80%, transparent), transparent,
  color-mix(in srgb, var(--likelier) 80%, transparent)); }
#token-beside-box { padding: 0 20px 10px; align-items: flex-start; }
#token-beside-box .block { padding: 0 !important; max-width: 320px; margin: 0; align-self: flex-start; }
.tokens button.given { border-bottom: 2px solid var(--border-color-primary); border-radius: 4px 4px 0 0; }
.tokens button.cut { background: none; color: var(--body-text-color-subdued); border-bottom-style: dashed; }
.tokens button.end { background: none; color: var(--body-text-color-subdued); padding: 1px 8px;
  border: 1px dashed var(--border-color-primary); }
.tokens button:hover { outline: 1px solid var(--body-text-color-subdued); }
.tokens button:focus-visible, .tokens button[aria-current] {
  outline: 2px solid var(--color-accent); outline-offset: 1px; }
.token-tip { margin: 6px 0 8px; font-size: .875rem; min-height: 1.4em; color: var(--body-text-color-subdued);
  font-variant-numeric: tabular-nums; overflow-wrap: anywhere; }
.token-redrawn { margin: 0; padding: 0 20px 10px; font-size: .9rem; overflow-wrap: anywhere; }
.token-table { padding: 0 20px 6px; }
.token-heading { padding: 10px 20px 0; border-top: 1px solid var(--border-color-primary); }
.token-heading h3 { font-size: 1.05rem; margin: 0 0 6px; overflow-wrap: anywhere; }
.token-heading ul { margin: 0 0 10px; padding: 0; list-style: none; font-size: .9rem; line-height: 1.6; }
.token-table table { border-collapse: collapse; font-size: .9rem; }
.token-legend { margin: 0 0 6px; font-size: .875rem; color: var(--body-text-color-subdued); }
.token-table :is(th, td) { padding: 5px 10px !important; vertical-align: middle !important; }
.token-table thead th { color: var(--body-text-color-subdued); font-weight: 600; white-space: nowrap; }
.token-table tbody th { font-weight: 400; opacity: 1; min-width: 8em; overflow-wrap: anywhere; }
.token-table tbody th small, .token-table td small { color: var(--body-text-color-subdued); margin-left: 6px; }
.token-table tbody td { position: relative; white-space: nowrap; min-width: 96px; }
.token-table td > i { position: absolute; left: 8px; top: 5px; bottom: 5px; border-radius: 3px;
  width: calc((100% - 16px) * var(--share, 0)); min-width: 2px; background: var(--color-accent); opacity: .22; }
.token-table td > span { position: relative; }
.token-table tr.own th b { text-decoration: underline; text-decoration-color: var(--color-accent);
  text-decoration-thickness: 2px; text-underline-offset: 3px; }
.token-table s { color: var(--body-text-color-subdued); }
.token-table tr.gone th b { color: var(--body-text-color-subdued); text-decoration: line-through; }
.token-table tfoot :is(th, td) { color: var(--body-text-color-subdued); font-weight: 400; border-bottom: 0 !important;
  padding-top: 3px !important; padding-bottom: 3px !important; }
.token-table .branches { font-size: .85rem; padding: 3px 10px; border-radius: 999px; cursor: pointer;
  border: 1px solid var(--border-color-primary); background: var(--button-secondary-background-fill);
  color: var(--button-secondary-text-color); }
.token-table .branches:hover { border-color: var(--color-accent); }
#generate-row[data-writing] .branches { visibility: hidden; }
.token-idle { margin: 4px 0 0; font-size: .85rem; color: var(--body-text-color-subdued); }
.token-fault { padding: 10px 20px; margin: 0; }
#token-search-box { padding: 0 20px 14px; align-items: flex-start; }
#token-search-box .block { padding: 0 !important; max-width: 320px; margin: 0; align-self: flex-start; }
#canvas #token-search-box :is(input, textarea) { border: 1px solid var(--border-color-primary); border-radius: 8px;
  padding: 6px 10px; font-size: .95rem; }
.text-card .looks[aria-expanded=true] { outline: 2px solid var(--color-accent); }
@media (max-width: 900px) {
  .token-view, .token-redrawn, .token-heading, .token-table, #token-beside-box {
    padding-left: 14px; padding-right: 14px; }
  .token-table tr > th:first-child { position: sticky; left: 0; z-index: 1; min-width: 0; max-width: 9rem;
    background: var(--block-background-fill) !important; }
  .token-table td:last-child { position: sticky; right: 0; min-width: 0; padding-left: 4px !important;
    background: var(--block-background-fill); }
  .token-table .branches span { display: none; }
  .token-table tbody th { min-width: 6em; }
  #token-search-box { padding-left: 14px; padding-right: 14px; }
}
"""
