"""Script and style sheet of the header, and names and keys that Gradio's widgets lack."""

# The theme is Gradio's class "dark", set again after Gradio has set its own. The model chip shows what the lists of
# Generate hold, which no event of the browser tells, so it looks twice a second.
HEADER_SCRIPT = """<script>
(() => {
  const one = selector => document.querySelector(selector);
  const say = text => window.gptdeskTexts?.[text] ?? text;  // in the page's language
  const THEMES = ["system", "light", "dark"];
  const LABELS = {system: "Theme: system", light: "Theme: light", dark: "Theme: dark"};
  const system = matchMedia("(prefers-color-scheme: dark)");
  let theme = "system";
  try { theme = THEMES.find(name => name === localStorage.getItem("gptdesk-theme")) ?? "system"; } catch {}
  const applyTheme = () => {
    document.body?.classList.toggle("dark", theme === "dark" || theme === "system" && system.matches);
    const button = one("#theme-button");
    if (button) button.textContent = say(LABELS[theme]);
  };
  system.addEventListener("change", applyTheme);
  const openTab = name => one(`[role=tab][data-tab-id="${name}"]`)?.click();
  addEventListener("click", event => {
    const id = event.target.closest?.("#title button, #training button, #actions button")?.id;
    if (id === "model-chip" && one('[role=tab][data-tab-id="Models"]')) openTab("Models");
    else if (id === "model-chip") { openTab("Generate"); one("#model input").focus(); }  // a public desk
    if (id === "training-pill") openTab("Train");
    if (id === "settings-button") openTab("Settings");
    if (id === "help-button") one("#help").showModal();
    if (id === "help-close") one("#help").close();
    if (id !== "theme-button") return;
    // the one that looks otherwise comes first
    const order = system.matches ? ["system", "light", "dark"] : ["system", "dark", "light"];
    theme = order[(order.indexOf(theme) + 1) % order.length];
    try { localStorage.setItem("gptdesk-theme", theme); } catch {}
    applyTheme();
  });
  addEventListener("keydown", event => {
    const tab = event.target.closest?.("[role=tab]");
    if (!tab) return;
    const tabs = [...tab.parentElement.querySelectorAll("[role=tab]")].filter(other => other.offsetParent);
    const at = tabs.indexOf(tab);
    const next = {ArrowLeft: at - 1, ArrowRight: at + 1, Home: 0, End: tabs.length - 1}[event.key];
    if (next === undefined) return;
    const chosen = tabs[(next + tabs.length) % tabs.length];
    event.preventDefault();
    chosen.click();
    chosen.focus();
  });
  const showModel = () => {
    const chip = one("#model-chip"), model = one("#model input")?.value;
    if (!chip || !model) return;
    const precision = one("#precision input")?.value;
    const label = precision ? `${model} · ${precision}` : model;
    if (chip.textContent !== label) chip.textContent = label;
    chip.hidden = false;
  };
  const showSettings = () => {
    const settings = one("#settings-button");
    if (settings) settings.hidden = !one('[role=tab][data-tab-id="Settings"]');
  };
  const openTabAgain = () => {  // after a change of the language
    try {
      const name = sessionStorage.getItem("gptdesk-tab");
      sessionStorage.removeItem("gptdesk-tab");
      if (name) openTab(name);
    } catch {}
  };
  // the page appears when the saved state of Generate has been restored, so that nothing moves under a finger
  const appear = () => {
    if (!one("#count")?.innerText.trim()) return requestAnimationFrame(appear);
    applyTheme();
    showModel();
    showSettings();
    setTimeout(() => {
      document.documentElement.classList.add("appeared");
      holdViews();
      new MutationObserver(holdViews).observe(one("#tabs"), {childList: true});
      release();
      openTabAgain();
      settle();
    }, 50);
  };
  // each other tab takes no input before its own state is there; html is "restored" once those are that need no opening
  const isRestored = new Set();  // ids of views, by the events that restore them
  let hasGivenUp = false;
  const waiting = name => gradio_config.components.map(({props}) => props)
    .filter(one => one.elem_classes?.includes(name) && !isRestored.has(one.elem_id)).map(one => one.elem_id);
  const holdViews = () => {  // Gradio makes the view of a tab when it is opened first
    const held = hasGivenUp ? [] : ["restored-at-once", "restored-when-opened"].flatMap(waiting);
    for (const view of document.querySelectorAll("#tabs > [role=tabpanel]")) view.inert = held.includes(view.id);
  };
  const settle = () => {
    const html = document.documentElement;
    html.classList.toggle("restored", html.matches(".appeared") && !waiting("restored-at-once").length);
  };
  window.tabRestored = title => {
    isRestored.add(`view-${title}`);
    holdViews();
    settle();
  };
  appear();
  // where that takes so long that the page is seen before, it takes no input that the saved state would overwrite
  const APPEARS = 1500, GIVES_UP = 30000;  // milliseconds
  let focused = null;
  const release = () => {
    const tabs = one("#tabs");
    if (!tabs?.inert) return;
    tabs.inert = false;
    if (document.activeElement === document.body) focused?.focus({preventScroll: true});
  };
  const hold = () => {
    const tabs = one("#tabs");
    if (document.documentElement.matches(".appeared")) return;
    if (!tabs) return void new MutationObserver((_, looking) => {
      if (!one("#tabs")) return;
      looking.disconnect();
      hold();
    }).observe(document, {subtree: true, childList: true});
    focused = document.activeElement;
    tabs.inert = true;
  };
  setTimeout(hold, APPEARS - 100);
  setTimeout(() => {
    release();
    hasGivenUp = true;
    holdViews();
  }, GIVES_UP);
  let wasRunning = false;
  new MutationObserver(() => {  // at once: a short text ends before one would look twice
    const stop = one("#stop"), live = one("#live");
    const isRunning = Boolean(stop && !stop.disabled);  // also while another tab is open
    if (live && isRunning !== wasRunning) live.textContent = say(isRunning ? "Generating." : "Generation ended.");
    wasRunning = isRunning;
  }).observe(document, {subtree: true, attributeFilter: ["disabled"]});
  let wasTraining = false, isThemed = false;
  setInterval(() => {
    if (!isThemed && one("#theme-button")) { applyTheme(); isThemed = true; }
    showModel();
    showSettings();
    for (const reset of document.querySelectorAll(".reset-button:not([data-named])")) {
      const name = reset.closest(".block")?.querySelector("label")?.innerText.split("\\n")[0].trim();
      if (name) reset.setAttribute("aria-label", `${say("Reset")} ${name}`);
      if (name) reset.dataset.named = "";
    }
    // below the page's one h1, the headings of a tab are of the second level, whatever their size
    for (const heading of document.querySelectorAll(".tabs :is(h3, h4):not([aria-level])"))
      heading.setAttribute("aria-level", "2");
    // what scrolls can be scrolled by keys; a closed accordion has its button
    const scrolling = ":is(.block, .html-container, .prose):not([tabindex], :has(> .label-wrap))";
    for (const block of document.querySelectorAll(`.tabs ${scrolling}`)) {
      const {overflowX, overflowY} = getComputedStyle(block);
      if (block.scrollWidth > block.clientWidth && overflowX !== "visible"
        || block.scrollHeight > block.clientHeight && overflowY !== "visible") block.tabIndex = 0;
    }
    const live = one("#live");
    const isTraining = Boolean(one("#training-pill"));
    if (live && isTraining !== wasTraining)
      live.textContent = say(isTraining ? "Training started." : "Training ended.");
    wasTraining = isTraining;
    // of several Stop buttons, each says what it stops
    for (const stop of document.querySelectorAll(".halt[id$=-stop]:not([aria-label])")) {
      const [start, last, ...others] = stop.parentElement.querySelectorAll("button");
      if (last === stop && !others.length)
        stop.setAttribute("aria-label", `${stop.textContent.trim()}: ${start.textContent.trim()}`);
    }
  }, 500);
})();
</script>"""

# In the head and not in Gradio's style sheet, which arrives later.
HEAD_STYLE = """<style>
@keyframes appear { from { opacity: 0; } }
#top, #tabs { animation: appear .12s 1.5s both; }  /* without the script, too */
.appeared :is(#top, #tabs) { animation-delay: 0s; }
#tabs[inert] { opacity: .55; cursor: progress; }
@keyframes hold { to { opacity: .55; } }
[role=tabpanel][inert] > * { animation: hold .1s .4s both; }
@media (max-width: 640px) { .main.fillable { padding-inline: 16px !important; } }
</style>"""

HEADER_CSS = """
#top { align-items: center; flex-wrap: nowrap; gap: 10px; height: 44px; }
#title, #training, #actions { flex: 0 1 auto; width: auto; min-width: 0; padding: 0 !important; border: 0;
  background: none; overflow: visible !important; }
#title { flex-grow: 1; }
#title .prose, #title .html-container, #actions .prose { padding: 0; }
#title, #title > div, #title .prose, #actions .prose { display: flex; align-items: center; gap: 10px; min-width: 0; }
.mark { display: flex; align-items: center; gap: 8px; white-space: nowrap; --mark: var(--primary-500); }
.mark h1 { margin: 0; font-size: 1.15rem; letter-spacing: -.01em; }
#tagline { margin: 0; font-size: .875rem; color: var(--body-text-color-subdued); overflow: hidden;
  text-overflow: ellipsis; white-space: nowrap; }
@media (max-width: 1000px) { #tagline { display: none; } }
#top button { margin: 0; padding: 8px 11px; font-size: .875rem; line-height: 1; white-space: nowrap;
  border-radius: 999px; border: 1px solid var(--border-color-primary); background: var(--block-background-fill);
  color: var(--body-text-color); cursor: pointer; }
#top button:hover { border-color: var(--color-accent); }
#model-chip { overflow: hidden; text-overflow: ellipsis; min-width: 0; }
#training-pill { position: relative; overflow: hidden; isolation: isolate; }
#training-pill span { position: absolute; inset: 0 auto 0 0; z-index: -1; background: var(--primary-100); }
.dark #training-pill span { background: var(--primary-800); }
#help { position: fixed; inset: 0; height: fit-content; max-height: calc(100dvh - 32px); margin: auto !important;
  overflow: auto; max-width: min(34rem, calc(100vw - 32px)); padding: 24px; border-radius: 14px;
  border: 1px solid var(--border-color-primary); background: var(--block-background-fill);
  color: var(--body-text-color); }
#help::backdrop { background: #0008; }
#help p { margin: 8px 0; line-height: 1.5; }
#help dl { display: grid; grid-template-columns: auto 1fr; gap: 6px 16px; margin: 16px 0; }
#help dt { font-weight: 700; }
#help h2:focus { outline: none; }
.unseen { position: absolute; width: 1px; height: 1px; overflow: hidden; clip-path: inset(50%); }
.gradio-container :is(button, input:not([role=combobox]), summary, a):focus-visible {
  outline: 2px solid var(--color-accent) !important; outline-offset: 2px; }
/* those whose surroundings would cut off what lies outside them */
.gradio-container :is([role=tab], .label-wrap, .reset-button, #canvas textarea):focus-visible {
  outline: 2px solid var(--color-accent) !important; outline-offset: -2px; }
.gradio-container input[type=range]:focus-visible { outline-offset: 5px; border-radius: 4px; }
.gradio-container :is(.min_value, .max_value) { color: var(--body-text-color-subdued) !important; }
.gradio-container [role=tab].selected { color: var(--primary-600); font-weight: 700; }
.dark .gradio-container [role=tab].selected, .dark.gradio-container [role=tab].selected { color: var(--primary-300); }
.dark input[type=range] { --neutral-200: var(--neutral-600); }
#tabs .tab-container { background: none; }
@media (max-width: 640px) {
  .gradio-container :is(input:not([type=range]):not([type=checkbox]):not([type=radio]), textarea, select) {
    font-size: 16px !important; }
  #top { flex-wrap: wrap; height: auto; min-height: 92px; align-content: center; row-gap: 4px; }
  #title { flex: 1 0 100%; height: 40px; }
  #training { order: 3; }
  #top button { padding: 8px; }
  #top, #actions .prose { column-gap: 6px; }
  #share { flex: 0 0 auto; width: auto; min-width: 0; order: 2; }
  #settings-button { display: none; }  /* the tab is in the rows below */
  #tabs .tab-wrapper { padding-bottom: 0; }
  #tabs .tab-container > button { padding-inline: 8px; font-size: .8125rem; }
  /* all tabs at once, in two rows */
  #tabs > .tab-wrapper > .tab-container { display: grid; grid-template-columns: repeat(4, auto); }
  #tabs > .tab-wrapper > .tab-container > button { justify-content: center; padding-inline: 2px; }
}
@media (max-width: 380px) { #top button { padding: 8px 6px; } }
"""
