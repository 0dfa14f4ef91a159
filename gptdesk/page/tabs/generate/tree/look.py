"""Style sheet and script of the Tree view: keys among texts, and the open one scrolled into view."""

# One of the texts has tab index 0, and arrow keys move it. What is pressed goes to the server through a hidden box.
SCRIPT = """<script>
(() => {
  const one = selector => document.querySelector(selector);
  const items = () => [...document.querySelectorAll(".tree-items [role=treeitem]")];
  let count = 0, focus = null, drawn = null;  // what gets the focus in the picture after the one that is drawn
  const send = (action, node) => {
    if (!one("#stop")?.disabled) return;  // a text is being written
    const box = one("#tree-asked textarea, #tree-asked input"), at = document.activeElement;
    focus = at?.dataset?.do ?? (at?.closest?.(".tree-items") ? "item" : null);
    drawn = one(".branch-tree");
    box.value = JSON.stringify({do: action, node, n: ++count});  // another text each time
    box.dispatchEvent(new Event("input", {bubbles: true}));
  };
  const move = item => {
    for (const other of items()) other.tabIndex = other === item ? 0 : -1;
    item.focus({preventScroll: true});
    item.scrollIntoView({block: "nearest", inline: "nearest"});
  };
  const beside = (item, by) => {
    const row = items().filter(other => other.dataset.parent === item.dataset.parent
      && other.ariaLevel === item.ariaLevel);
    return row[row.indexOf(item) + by];
  };
  const above = item => items().find(other => other.dataset.node === item.dataset.parent);
  const below = item => {  // what is on the way to the open text, else the first
    const row = item.matches(".more") ? [] : items().filter(other => other.dataset.parent === item.dataset.node);
    return row.find(other => other.matches(".on")) ?? row[0];
  };
  const deepest = item => { let next; while ((next = below(item))) item = next; return item; };
  addEventListener("keydown", event => {
    const item = event.target.closest?.(".tree-items [role=treeitem]"), key = event.key;
    if (!item || event.altKey) return;
    if (event.ctrlKey || event.metaKey) {
      const action = {z: event.shiftKey ? "redo" : "undo", y: "redo"}[key.toLowerCase()];
      if (action) { event.preventDefault(); event.stopPropagation(); send(action); }
      return;
    }
    const next = {ArrowUp: above, ArrowDown: below, ArrowLeft: item => beside(item, -1),
      ArrowRight: item => beside(item, 1), Home: () => items()[0], End: deepest}[key];
    if (!next && !["Enter", " ", "Delete"].includes(key)) return;
    event.preventDefault();
    if (next) { const to = next(item); if (to) move(to); }
    else if (key !== "Delete") item.click();
    else if (!item.matches(".more")) send("remove", Number(item.dataset.node));
  });
  addEventListener("click", event => {
    const item = event.target.closest?.(".tree-items [role=treeitem]");
    const button = event.target.closest?.(".tree-actions button");
    if (item) { move(item); send("open", Number(item.dataset.node)); }
    else if (button) send(button.dataset.do, Number(one(".tree-items [aria-selected=true]")?.dataset.node));
  });
  addEventListener("resize", () => delete one(".branch-tree")?.dataset.painted);  // a phone that is turned
  setInterval(() => {
    const tree = one(".branch-tree"), open = tree?.querySelector("[aria-selected=true]");
    if (!open || tree.dataset.painted || !tree.checkVisibility()) return;
    tree.dataset.painted = 1;
    const around = tree.querySelector(".tree-scroll");
    around.scrollLeft = open.offsetLeft - (around.clientWidth - open.offsetWidth) / 2;
    around.scrollTop = open.offsetTop - (around.clientHeight - open.offsetHeight) / 2;
    if (focus && tree !== drawn) {
      const button = tree.querySelector(`[data-do="${focus}"]:not(:disabled)`);
      (button ?? open).focus({preventScroll: true});
      if (!button) one("#live").textContent = window.gptdeskTexts?.["Text opened."] ?? "Text opened.";
      focus = null;
    }
  }, 100);
})();
</script>"""

CSS = """
#tree-picture { padding: 0 !important; }
.tree-head { display: flex; flex-wrap: wrap; gap: 6px 16px; align-items: center; justify-content: space-between;
  margin: 2px 0 8px; }
.tree-head p { margin: 0; font-size: .9rem; color: var(--body-text-color-subdued);
  font-variant-numeric: tabular-nums; }
.tree-actions { display: flex; gap: 8px; }
.tree-actions button { font-size: .85rem; font-weight: 400; margin: 0 !important;
  padding: 3px 12px; border-radius: 999px; cursor: pointer;
  border: 1px solid var(--border-color-primary); background: var(--button-secondary-background-fill);
  color: var(--button-secondary-text-color); }
.tree-actions button:disabled { opacity: .5; cursor: default; }
.tree-actions button:not(:disabled):hover { border-color: var(--color-accent); }
.tree-note { margin: 4px 0 8px; font-size: .9rem; }
.tree-scroll { overflow: auto; max-height: 26rem; padding: 4px; margin: 0 -4px; }
.tree-items { position: relative; margin: 0 auto; }
.tree-items svg { position: absolute; inset: 0; display: block; }
.tree-items path { fill: none; stroke: var(--body-text-color-subdued); stroke-width: 1; opacity: .6; }
.tree-items path.on { stroke: var(--color-accent); stroke-width: 2.5; opacity: 1; }
.tree-items [role=treeitem] { position: absolute; box-sizing: border-box; width: 152px; height: 62px; padding: 6px 9px;
  border: 1px solid var(--border-color-primary); border-radius: 10px; overflow: hidden; cursor: pointer;
  background: var(--block-background-fill); color: var(--body-text-color); line-height: 1.3; }
.tree-items [role=treeitem]:hover { border-color: var(--body-text-color-subdued); }
.tree-items [role=treeitem].on { border-color: var(--color-accent); }
.tree-items [role=treeitem].open { box-shadow: inset 0 0 0 1px var(--color-accent);
  background: color-mix(in srgb, var(--color-accent) 12%, var(--block-background-fill)); }
.tree-items [role=treeitem]:focus-visible { outline: 3px solid var(--color-accent); outline-offset: 1px; }
.tree-items b { display: -webkit-box; -webkit-box-orient: vertical; -webkit-line-clamp: 2; overflow: hidden;
  font-weight: 400; font-size: .8rem; height: 2.6em; overflow-wrap: anywhere; unicode-bidi: plaintext; }
.tree-items i { color: var(--body-text-color-subdued); }
.tree-items span { display: block; font-size: .72rem; white-space: nowrap; overflow: hidden; text-overflow: ellipsis;
  color: var(--body-text-color-subdued); font-variant-numeric: tabular-nums; }
.tree-items .open :is(span, i) { color: var(--body-text-color); }
.tree-items [role=treeitem].more { border-style: dashed; display: grid; place-items: center; font-size: .8rem;
  color: var(--body-text-color-subdued); background: none; }
#canvas #tree-write { gap: 10px; align-items: flex-end; padding: 8px 0 4px; flex-wrap: nowrap; }
#tree-write > * { flex: 0 0 auto !important; }
#canvas #tree-write .block { padding: 0 !important; width: 96px; }
#canvas #tree-write input { border: 1px solid var(--border-color-primary); border-radius: 8px; padding: 5px 10px; }
#write-below { border-radius: 999px; padding: 6px 14px; }
"""
