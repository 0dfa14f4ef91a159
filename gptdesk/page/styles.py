"""Style sheet and script of the page."""

CSS = """
html { scrollbar-gutter: stable; }  /* nothing moves sideways from a short tab to a long one */
.gradio-container .block:has(> .label-wrap:not(.open)) { overflow: visible !important; }  /* its icon sticks out */
.gradio-container { width: 100% !important; max-width: 1600px !important; margin: 0 auto !important; }
.dark, html:has(> body.dark) { color-scheme: dark; }  /* scrollbars, too */
.gradio-container input[type=range]::-webkit-slider-thumb { box-shadow: 0 0 0 1px var(--neutral-400), 0 1px 3px #0003; }
input { text-overflow: ellipsis; }
.gradio-container input[role=combobox] { padding-right: 24px; }
.note { padding: 0 4px; opacity: .85; overflow-wrap: anywhere; }
.note p { font-size: .9rem; line-height: 1.5; }
/* while an action runs, Stop takes the place of what starts it */
.halt:disabled, .actions:has(> .halt:enabled) > .starts { display: none; }
.actions > .starts { animation: meant-for-stop .6s; }  /* begins whenever they appear: a click so soon was for Stop */
@keyframes meant-for-stop { from, to { pointer-events: none; } }
#train-choice, #train-hint, #seed-note:has(p) { background: var(--block-background-fill);
  padding: 4px 12px !important; }
/* what is touched is 40 px high where fingers are likely */
@media (max-width: 640px), (pointer: coarse) {
  #top :is(button, label) { min-height: 40px; }
  #tabs :is(button, .wrap > label) { min-height: 40px; }
  #tabs label.checkbox-container { min-height: 40px; align-items: center; }
  #tabs .tab-container.visually-hidden button { min-height: 0; }
  #tabs .tab-container:not(.visually-hidden) { height: auto; min-height: 40px; }
  #tabs .tab-wrapper { height: auto; }
  #tabs .reset-button { min-width: 40px; }
  #tabs .tab-like-container { height: 40px; }
  #tabs button.label-wrap { align-items: center; margin-block: -10px; }
  #tabs button.label-wrap.open { margin-bottom: 0; }
}
#tabs button.aside { flex: none; align-self: flex-start; width: auto; border-radius: 999px; padding: 4px 12px;
  font-weight: 400; }
.note:has(.empty) { opacity: 1; }
.empty { display: grid; place-content: center; min-height: 9rem; padding: 16px 24px !important; margin: 0;
  text-align: center; border: 1px dashed var(--border-color-primary); border-radius: var(--radius-lg);
  color: var(--body-text-color-subdued); }
#examples { gap: 8px; }
#examples button { font-weight: 400; flex: 0 1 auto; }
"""

# Ctrl/Cmd+Enter starts and Esc stops what the visible tab does, wherever the cursor is, if its buttons can be pressed.
# Esc closes an open list first. Pressed before a run has begun, it stops the run once its Stop button can be pressed.
# The button that starts an action gives the focus to the Stop button that takes its place, and gets it back.
# Once a run of training begins, its Stop button has the focus, which the button that started it has lost.
SCRIPT = """<script>
let starting = null;  // Stop button of a run that has not begun
let isStopAsked = false;  // for that run
addEventListener("keydown", event => {
  const isEscape = event.key === "Escape", isStart = event.key === "Enter" && (event.ctrlKey || event.metaKey);
  const isOpen = document.activeElement?.matches("input[role=combobox][aria-expanded=true]");
  if (isEscape && (closeLists() || isOpen) || !isEscape && !isStart) return;
  const buttons = [...document.querySelectorAll(isEscape ? ".halt" : ".go")];
  const button = buttons.find(one => one.offsetParent && !one.disabled);
  if (isEscape && !button && starting) isStopAsked = true;
  if (!button) return;
  event.preventDefault();
  event.stopPropagation();
  if (isStart) closeLists(() => true);
  button.click();
}, true);
addEventListener("click", event => {
  const start = event.target.closest?.(".starts, .branches");
  if (!start) return;
  starting = start.parentElement.querySelector(".halt") ?? document.getElementById("stop");
  isStopAsked = false;
  setTimeout(stop => { if (starting === stop) starting = null; }, 30_000, starting);  // it has failed, or never began
}, true);
new MutationObserver(changes => {
  if (!starting || starting.disabled || !changes.some(({target}) => target === starting)) return;
  if (isStopAsked) starting.click();
  starting = null;
}).observe(document, {subtree: true, attributeFilter: ["disabled"]});
let held = null;  // a button that starts an action, or Stop, while it has the focus
let starter = null;  // the button that started the action
let looks = 0;  // for it, while the focus is nowhere
let awaited = 0;  // looks that are left for the Stop button of a run that is being started
addEventListener("focusin", event => {
  if (event.target.matches(".starts")) held = starter = event.target;
  else if (!event.target.matches(".halt")) held = null;  // the reader has gone elsewhere
});
addEventListener("pointerdown", event => { if (!event.target.closest?.(".starts, .halt")) held = null; }, true);
addEventListener("click", event => { if (event.target.closest?.("#train-start")) awaited = 600; }, true);
setInterval(() => {
  const now = document.activeElement;
  const usable = one => one?.isConnected && !one.disabled && one.checkVisibility({visibilityProperty: true});
  const stop = starter?.parentElement?.querySelector(".halt") ?? document.getElementById("stop");
  if (now?.matches(".starts")) held = now;
  else if (now === stop && stop) held = stop;
  else if (held && now === document.body) {
    // the button that started it may come back a moment after Generate, or has come back at once without the focus
    const next = [stop, held, starter].find(usable) ?? (looks++ > 5 ? document.getElementById("generate") : null);
    if (usable(next)) {
      next.focus({preventScroll: true});
      held = next;  // now, since it may be gone before the next look
      looks = 0;
    }
  } else if (now !== document.body) held = null;  // the reader has gone elsewhere
  const run = awaited-- > 0 && document.getElementById("run-stop");
  if (run && usable(run) && (now === document.body || now.id === "train-start")) {
    run.focus();
    awaited = 0;
  }
  const heading = wanted && document.querySelector(wanted);
  if (wanted && now !== document.body && now !== asker) wanted = null;  // the reader has gone elsewhere
  else if (heading && heading !== left && heading.checkVisibility()) {
    if (!heading.matches("button, textarea")) heading.tabIndex = -1;
    heading.focus();
    wanted = null;
  } else if (wanted && looksForHeading++ > 100) wanted = null;
}, 100);
// buttons after which something else is to be read: its heading gets the focus once it is there
const HEADINGS = {"compare-before": "#history-compared :is(h2, h3)", "share-text": "#history-copy-link",
  "history-open": "#text-1 textarea", "history-tree": "#text-1 textarea",
  "lesson-next": ":is(#lesson-question h4, #lesson-start-line p)"};
let wanted = null, asker = null, left = null, looksForHeading = 0;
addEventListener("click", event => {
  asker = event.target.closest?.("button");
  wanted = HEADINGS[asker?.id] ?? null;
  left = wanted && [...document.querySelectorAll(wanted)].find(one => one.checkVisibility());
  looksForHeading = 0;
}, true);
</script>"""
